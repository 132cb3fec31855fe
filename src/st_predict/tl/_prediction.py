"""One prediction, as ``predict`` and ``predict_cohort`` make it: checks, features, expression, and where they are written."""

from __future__ import annotations

import logging
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict._spatialdata.features import cached_features, feature_table, features_record, kept_in
from st_predict._spatialdata.image import image_source
from st_predict._spatialdata.keys import Elements, find_image
from st_predict._spatialdata.prediction import Prediction
from st_predict._spatialdata.read import read_section
from st_predict._spatialdata.scale import stored_scale
from st_predict._spatialdata.slide import add_spots, grid_record, sdata_has_spots
from st_predict._spatialdata.write import check_free, write_prediction
from st_predict.core.encoders.embed import embed_section
from st_predict.core.encoders.frozen import EncoderIdentity, FrozenEncoder, torch_device
from st_predict.core.errors import InputError
from st_predict.core.grid import sublattices
from st_predict.core.tiles.glass import say_glass
from st_predict.tl import _remarks as remarks

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed
    from st_predict.core.model.model import Model
    from st_predict.core.section import Section

logger = logging.getLogger("st_predict")
_NAMED = 10


class Request(NamedTuple):
    """A prediction as it is asked for, of one slide or of many; see :func:`st_predict.tl.predict`."""

    key_added: str = "predicted"
    interval: float | None = None
    min_reliability: float | None = None
    pitch_um: float | None = None
    """Pitch of the grid on bare slides; ``None``: that of the training spots."""
    encoder_weights: str | None = None
    device: str = "auto"

    def identity(self) -> dict[str, Any]:
        """What the numbers depend on; not where they are computed, or where the weights lie."""
        own = {name: value for name, value in self._asdict().items() if name not in ("device", "encoder_weights")}
        # A number is found again in JSON whatever type it came as.
        return {name: float(value) if isinstance(value, Real) else value for name, value in own.items()}


def predict_sdata(
    sdata: SpatialData,
    model: Model,
    request: Request,
    elements: Elements = Elements(),
    *,
    keep: Path | None = None,
) -> Prediction:
    """Predict one section or slide into its SpatialData, see :func:`st_predict.tl.predict`.

    Parameters
    ----------
    sdata, model
        As there.
    request
        What is asked for.
    elements
        The user's choice of elements.
    keep
        Folder for features of a bare slide while it is encoded: a run that is killed goes on from them.

    Returns
    -------
    The prediction, as it was written.
    """
    kept = kept_genes(model, request)
    torch_device(request.device)  # a wrong one is an error now, not once tiles were read
    bare = not sdata_has_spots(sdata, elements.shapes_key)
    if bare:
        check_bare(sdata, model, elements.image_key)
        pitch_um = model.pitch_um if request.pitch_um is None else request.pitch_um
        add_spots(sdata, elements.image_key, pitch_um=pitch_um, layout=model.layout)
    section, placed = read_section(sdata, elements, need_counts=False)
    arrays = _check_fit(sdata, section, placed, model, bare=bare)
    check_free(sdata, placed, request.key_added, interval=request.interval is not None)
    if placed.table is not None:
        remarks.say_lost_genes(
            [gene for gene in (model.panel[i] for i in kept) if gene not in model.gene_sets], section
        )
    if model.tiles.widths_px and None in (section.um_per_px, model.um_per_px):
        logger.warning("tiles are in pixels and a scale is unknown; nobody can tell whether the scales agree")
    features = _features(sdata, section, placed, model, request, keep)
    predicted, genes = _predicted(model, section, features, arrays, kept, request)
    write_prediction(sdata, placed, request.key_added, predicted, genes, section.centers_px)
    slide, of_another = placed.image.removesuffix("_image"), model.is_of_another(section.subject)
    remarks.say_result(slide, model, predicted, request.key_added, of_another=of_another)
    return predicted


def _predicted(
    model: Model,
    section: Section,
    features: NDArray[np.float32],
    arrays: NDArray[np.int64] | None,
    kept: NDArray[np.intp],
    request: Request,
) -> tuple[Prediction, pd.DataFrame]:
    """The prediction, and what to expect of its genes; ``kept`` are their numbers in the panel."""
    shift = model.shift(features)
    genes = model.genes_on(shift, of_another=model.is_of_another(section.subject)).iloc[kept]
    if request.min_reliability is not None:
        enough = _reliable_here(genes["expected_pcc"], request.min_reliability, section.name)
        kept, genes = kept[enough], genes[enough]
    expression = model.predict_features(features, section.centers_px, arrays, kept)
    distance = model.distance(features)
    notes: dict[str, Any] = {
        "unlike_training": float((distance > 1).mean()),
        "slide_shift": shift,
        "ridge_share": model.anchored(features),
    }
    ends = None
    if model.reliability is not None:
        notes["expected_pcc"] = genes["expected_pcc"].tolist()
        notes["expected_for"] = model.ground or ""
        own = model.reliability.only(kept)
        if own.chance is not None:
            notes["chance"] = own.chance.tolist()
        if request.interval is not None:
            remarks.say_groups(model.reliability)
            ends = own.interval(expression, request.interval)
            notes["interval"] = float(request.interval)
    if section.um_per_px is not None:
        notes["um_per_px"] = section.um_per_px
    provenance = {**model.provenance([model.panel[i] for i in kept]), **notes}
    return Prediction(expression, distance, ends, provenance), genes


def kept_genes(model: Model, request: Request) -> NDArray[np.intp]:
    """Numbers of the genes that are predicted: all, or those of which enough is expected.

    Raises
    ------
    InputError
        If the model does not know how sure it is, or expects as much of no gene.
    """
    interval, min_reliability = request.interval, request.min_reliability
    if interval is None and min_reliability is None:
        return np.arange(len(model.panel))
    if model.reliability is None:
        raise InputError(
            f"{model!r} does not know how sure it is: nothing was held out while it was trained",
            where="interval" if min_reliability is None else "min_reliability",
            expected="a model trained on two or more sections, with inner folds",
            remedy="train on more sections, or leave interval and min_reliability out",
        )
    if min_reliability is None:
        return np.arange(len(model.panel))
    expected = model.reliability.expected_pcc.numpy()
    kept = np.flatnonzero(expected >= min_reliability)
    if not len(kept):
        raise InputError(
            f"min_reliability is {min_reliability:g}; the best of {len(expected)} genes has an expected PCC of "
            f"{expected.max():.2f}",
            where="min_reliability",
            expected="a PCC that some gene reaches on sections that were held out, see model.genes",
            remedy="lower min_reliability",
        )
    if left := [f"{model.panel[i]} ({expected[i]:.2f})" for i in np.flatnonzero(expected < min_reliability)]:
        logger.warning(
            "%d of %d genes are left out, as a PCC under %g is expected of them: %s%s",
            len(left), len(expected), min_reliability, ", ".join(left[:_NAMED]), ", ..." if len(left) > _NAMED else "",
        )  # fmt: skip
    return kept


def _reliable_here(expected: pd.Series, least: float, name: str) -> NDArray[np.bool_]:
    """Genes of which enough is expected of this very slide, which may be unlike training or of another subject ``(G,)``.

    Raises
    ------
    InputError
        If there is none.
    """
    enough: NDArray[np.bool_] = expected.to_numpy() >= least
    if not enough.any():
        raise InputError(
            f"min_reliability is {least:g}; of {name}, which is unlike training or of another subject, the best of "
            f"{len(expected)} genes has an expected PCC of {expected.max():.2f}",
            where="min_reliability",
            expected="a PCC that some gene is expected to reach on this slide",
            remedy="lower min_reliability, or train on sections more like this one",
        )
    if not enough.all():
        logger.warning(
            "%d of %d genes are left out of %s as well: it is unlike training or of another subject, and a PCC under %g is "
            "expected of them there",
            (~enough).sum(), len(enough), name, least,
        )  # fmt: skip
    return enough


def check_bare(sdata: SpatialData, model: Model, image_key: str | None) -> None:
    """Refuse a slide that cannot be cut, and say what is odd about its scale, before anything is looked for on it."""
    image = find_image(sdata, image_key)
    um_per_px, source = stored_scale(sdata, image), image_source(sdata, image)
    if um_per_px is None:
        return  # the grid asks for it
    size = int(source.col_edges[-1]), int(source.row_edges[-1])
    remarks.compare_scale(model, um_per_px, image.removesuffix("_image"))
    model.tiles.sides_at(um_per_px, f"image {image!r}", size_px=size)


def _check_fit(
    sdata: SpatialData, section: Section, placed: Placed, model: Model, *, bare: bool
) -> NDArray[np.int64] | None:
    """Refuse a section that a model cannot predict, and say what differs from training; arrays of a finer grid."""
    model.check_section(section)
    model.tiles.check_section(section)
    record = grid_record(sdata, placed.shapes)
    arrays = None if record is None else _interleaved(model, sdata.shapes[placed.shapes], record)
    if arrays is None:
        remarks.compare_pitch(model, section)
    remarks.compare_layout(model, section)
    if not bare:
        remarks.compare_scale(model, section.um_per_px, placed.image.removesuffix("_image"))
    remarks.compare_size(model, section)
    remarks.compare_grid(section, record)
    return arrays


def _interleaved(model: Model, spots: GeoDataFrame, record: dict[str, Any]) -> NDArray[np.int64] | None:
    """The arrays of the training pitch that a finer grid is made of; ``None`` where it is one array."""
    step = 1 if model.pitch_um is None else round(model.pitch_um / record["pitch_um"])
    if step < 2 or not model.looks_around or abs(step * record["pitch_um"] / model.pitch_um - 1) > remarks.SAME_PITCH:
        return None
    arrays = sublattices(spots["array_row"].to_numpy(), spots["array_col"].to_numpy(), record["layout"], step)
    if np.unique(arrays, return_counts=True)[1].min() <= model.reach:
        return None
    logger.info(
        "the grid is %d times finer than the array of training; a spot's surroundings are taken from the one of its "
        "%d interleaved arrays that it belongs to",
        step, step**2,
    )  # fmt: skip
    return arrays


def _features(
    sdata: SpatialData,
    section: Section,
    placed: Placed,
    model: Model,
    request: Request,
    keep: Path | None,
) -> NDArray[np.float32]:
    """Features ``(n, S, d)`` by the model's own encoder, or by the frozen one it was trained on."""

    def folder(identity: EncoderIdentity) -> Path | None:
        return keep and kept_in(keep, features_record(identity, model.tiles, section, placed.image))

    placed = feature_table(sdata, placed, make=False)
    if (model.has_own_encoder or placed.table is None) and grid_record(sdata, placed.shapes) is None:
        say_glass(section)  # a grid of ours lies on tissue; features kept in a table say so when they are made
    if model.encoder:
        trained = EncoderIdentity(model.encoder_identity.name, None, model.id)
        try:
            return embed_section(
                section, model.encoder, model.tiles, device=torch_device(request.device), keep=folder(trained)
            )
        finally:
            model.encoder.cpu()
    weights = request.encoder_weights or model.encoder_identity.weights
    frozen = FrozenEncoder(model.encoder_identity.name, weights, device=request.device)
    model.check_encoder(frozen.identity)
    if placed.table is None:
        return frozen.encode(section, model.tiles, keep=folder(frozen.identity))
    return cached_features(sdata, section, placed, frozen, model.tiles)[1]
