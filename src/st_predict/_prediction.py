"""One prediction, as ``tl.predict`` and cohorts make it: checks, features, expression, and where they are written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from st_predict.core.checks import check_number
from st_predict.core.errors import InputError
from st_predict.core.gene_names import say_lost, why_lost
from st_predict.core.tiles.glass import say_glass
from st_predict.core.training.reliability import ALIKE, check_level, kept_share
from st_predict.core.training.rows import FEW_SPOTS, own_share

if TYPE_CHECKING:
    from pathlib import Path

    from geopandas import GeoDataFrame
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Keys
    from st_predict.core.section import Section
    from st_predict.core.training.model import Model
    from st_predict.core.training.reliability import Reliability

logger = logging.getLogger("st_predict")
_SAME_PITCH, _SAME_GRID, _COARSER = 0.2, 0.02, 1.5
_FAR = 3.0  # times: a scan at 40x for a model of one at 15x is no error, at 100x it is hardly anything else
_MANY_UNLIKE = 5  # % of spots
_NAMED = 10
_LAYOUTS = {"hex": "hexagonal", "square": "square"}


def predict_sdata(
    sdata: SpatialData,
    model: Model,
    *,
    key_added: str,
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    encoder_weights: str | None = None,
    device: str = "auto",
    interval: float | None = None,
    min_reliability: float | None = None,
    pitch_um: float | None = None,
    keep: Path | None = None,
) -> None:
    """Predict one section or slide, see :func:`st_predict.tl.predict`.

    Parameters
    ----------
    sdata, model, key_added, image_key, shapes_key, table_key, encoder_weights, device, interval, min_reliability
        As there.
    pitch_um
        Pitch of the grid on a bare slide; ``None``: that of the training spots.
    keep
        Folder for features of a bare slide while it is encoded: a run that is killed goes on from them.
    """
    from st_predict._spatialdata.read import read_section
    from st_predict._spatialdata.slide import add_spots, grid_record, sdata_has_spots
    from st_predict._spatialdata.write import Predicted, check_free, distance_column, write_prediction

    kept = kept_genes(model, interval, min_reliability)
    bare = not sdata_has_spots(sdata, shapes_key)
    if bare:
        _check_bare(sdata, model, image_key)
        add_spots(sdata, image_key, pitch_um=model.pitch_um if pitch_um is None else pitch_um, layout=model.layout)
    section, keys = read_section(
        sdata, image_key=image_key, shapes_key=shapes_key, table_key=table_key, need_counts=False
    )
    model.check_section(section)
    model.tiles.sides_px(section)
    record = grid_record(sdata, keys.shapes)
    arrays = None if record is None else _interleaved(model, sdata.shapes[keys.shapes], record)
    if arrays is None:
        _compare_pitch(model, section)
    _compare_layout(model, section)
    if not bare:
        _compare_scale(model, section.um_per_px, keys.image.removesuffix("_image"))
    _compare_size(model, section)
    _compare_grid(section, record)
    check_free(sdata, keys, key_added, interval=interval is not None)
    panel = [model.panel[i] for i in kept]
    if keys.table is not None:
        _say_lost_genes([gene for gene in panel if gene not in model.gene_sets], section)
    if model.tiles.widths_px and None in (section.um_per_px, model.um_per_px):
        logger.warning("tiles are in pixels and a scale is unknown; nobody can tell whether the scales agree")
    features = _features(sdata, section, keys, model, encoder_weights, device, keep)
    expression = model.predict_features(features, section.centers_px, arrays, kept)
    distance = model.distance(features)
    shift = model.shift(features)
    of_another = model.is_of_another(section.subject)
    genes = model.genes_on(shift, of_another=of_another).iloc[kept]
    notes: dict[str, Any] = {
        "unlike_training": float((distance > 1).mean()),
        "slide_shift": shift,
        "ridge_share": model.anchored(features),
    }
    if model.reliability is not None:
        notes["expected_pcc"] = genes["expected_pcc"].tolist()
        notes["expected_for"] = model.ground or ""
        if model.reliability.chance is not None:
            notes["chance"] = model.reliability.chance[torch.from_numpy(kept)].tolist()
    ends = None
    if interval is not None and model.reliability is not None:
        _say_groups(model.reliability)
        ends = model.reliability.only(torch.from_numpy(kept)).interval(expression, interval)
        notes["interval"] = float(interval)
    if section.um_per_px is not None:
        notes["um_per_px"] = section.um_per_px
    predicted = Predicted(expression, distance, genes, ends)
    provenance = {**model.provenance(panel), **notes}
    write_prediction(sdata, keys, key_added, predicted, section.centers_px, provenance)
    slide = keys.image.removesuffix("_image")
    _say_unlike(slide, shift, distance, distance_column(key_added))
    _say_expected(slide, model, shift, notes["ridge_share"], of_another=of_another)


def kept_genes(model: Model, interval: float | None, min_reliability: float | None) -> NDArray[np.intp]:
    """Numbers of the genes that are predicted: all, or those of which enough is expected.

    Raises
    ------
    InputError
        If the model does not know how sure it is, or expects as much of no gene; or the interval is none it knows, or
        the least reliability no number.
    """
    if interval is not None:
        check_level(interval)
    if min_reliability is not None:
        check_number(min_reliability, where="min_reliability")
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


def _say_lost_genes(genes: list[str], section: Section) -> None:
    """Say so where the table has no column for what is predicted."""
    known = set(map(str, section.gene_names))
    lost = [gene for gene in genes if gene not in known]
    if len(lost) < len(genes):
        say_lost(lost, genes, known, of=f"the table of {section.name}", so="those are in obsm, and not in the layer")
    elif genes:
        why = why_lost(lost, known)
        logger.warning(
            "the table has none of the %d predicted genes: its layer is all NaN, see obsm%s",
            len(genes), f" ({why})" if why else "",
        )  # fmt: skip


def _say_groups(reliability: Reliability) -> None:
    """Say so where intervals know nothing of how sections differ."""
    if reliability.n_groups == 1:
        logger.warning(
            "intervals were set on one section that was held out: how much sections differ is not known, and on a slide "
            "unlike that one they cover less than they say. Train on more sections, with more inner folds"
        )


def _features(
    sdata: SpatialData,
    section: Section,
    keys: Keys,
    model: Model,
    encoder_weights: str | None,
    device: str,
    keep: Path | None,
) -> NDArray[np.float32]:
    """Features ``(n, S, d)`` by the model's own encoder, or by the frozen one it was trained on."""
    from st_predict._spatialdata.features import cached_features, features_record, kept_in
    from st_predict._spatialdata.slide import grid_record
    from st_predict.core.encoders.embed import embed_section
    from st_predict.core.encoders.frozen import EncoderIdentity, FrozenEncoder, torch_device

    def folder(identity: EncoderIdentity) -> Path | None:
        return keep and kept_in(keep, features_record(identity, model.tiles, section, keys.image))

    if (model.encoder is not None or keys.table is None) and grid_record(sdata, keys.shapes) is None:
        say_glass(section)  # a grid of ours lies on tissue; features kept in a table say so when they are made
    if model.encoder is not None:
        trained = EncoderIdentity(model.encoder_identity.name, None, model.id)
        try:
            return embed_section(section, model.encoder, model.tiles, device=torch_device(device), keep=folder(trained))
        finally:
            model.encoder.cpu()
    weights = encoder_weights or model.encoder_identity.weights
    frozen = FrozenEncoder(model.encoder_identity.name, weights, device=device)
    model.check_encoder(frozen.identity)
    if keys.table is None:
        return frozen.encode(section, model.tiles, keep=folder(frozen.identity))
    return cached_features(sdata, section, keys, frozen, model.tiles)[1]


def _interleaved(model: Model, spots: GeoDataFrame, record: dict[str, Any]) -> NDArray[np.int64] | None:
    """The arrays of the training pitch that a finer grid is made of; ``None`` where it is one array."""
    from st_predict.core.grid import sublattices

    step = 1 if model.pitch_um is None else round(model.pitch_um / record["pitch_um"])
    if step < 2 or not model.looks_around or abs(step * record["pitch_um"] / model.pitch_um - 1) > _SAME_PITCH:
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


def _compare_grid(section: Section, record: dict[str, Any] | None) -> None:
    """Say so where a grid was laid in um of another scale."""
    from st_predict.core.neighbors import pitch_px

    if record is None or section.um_per_px is None:
        return
    pitch = pitch_px(section.centers_px) * section.um_per_px
    if pitch and abs(pitch / record["pitch_um"] - 1) > _SAME_GRID:
        logger.warning(
            "the grid was laid %.0f um apart, and is %.0f um apart by the scale the image has now; "
            "st_predict.pp.spot_grid lays it anew",
            record["pitch_um"], pitch,
        )  # fmt: skip


def _compare_size(model: Model, section: Section) -> None:
    """Say so where a slide has too few spots to be scored by what it has itself."""
    own = own_share(section.n_spots)
    if model.recipe.inputs.standardize == "slide" and model.encoder is None and own < 1:
        logger.warning(
            "%d spots are too few to tell a slide's stain by: their features are scored by those of a typical training "
            "slide, to %.0f %%. From %d spots on a slide is scored by itself, which is more accurate",
            section.n_spots, 100 * (1 - own), FEW_SPOTS,
        )  # fmt: skip


def _compare_scale(model: Model, um_per_px: float | None, slide: str) -> None:
    """Say so where the image is not of the scale of training: in tiles that are blurred beside those, or by far."""
    if model.um_per_px is None or um_per_px is None:
        return
    times = um_per_px / model.um_per_px
    if max(times, 1 / times) > _FAR:
        logger.warning(
            "%s has %.2g um/px by what its file or its user states, which is %.1f times %s than the %.2g of training: if that "
            "is not so, its tiles show another part of the tissue than they should; st_predict.pp.set_scale corrects it",
            slide, um_per_px, max(times, 1 / times), "coarser" if times > 1 else "finer", model.um_per_px,
        )  # fmt: skip
    if times > _COARSER:
        logger.warning(
            "the image has %.2g um/px, training had %.2g: its tiles are enlarged and show less than those learned from; "
            "give a finer image of this slide",
            um_per_px, model.um_per_px,
        )  # fmt: skip


def _check_bare(sdata: SpatialData, model: Model, image_key: str | None) -> None:
    """Refuse a slide that cannot be cut, and say what is odd about its scale, before anything is looked for on it."""
    from st_predict._spatialdata.image import image_source
    from st_predict._spatialdata.keys import find_image
    from st_predict._spatialdata.scale import stored_scale

    image = find_image(sdata, image_key)
    um_per_px, source = stored_scale(sdata, image), image_source(sdata, image)
    if um_per_px is None:
        return  # the grid asks for it
    size = int(source.col_edges[-1]), int(source.row_edges[-1])
    _compare_scale(model, um_per_px, image.removesuffix("_image"))
    model.tiles.sides_at(um_per_px, f"image {image!r}", size_px=size)


def _say_unlike(slide: str, shift: float, distance: NDArray[np.float32], column: str) -> None:
    """How much of a slide looks as nothing in training did."""
    unlike = 100 * (distance > 1).mean()
    if shift > ALIKE:
        logger.warning(
            "%s as a whole looks unlike the training sections (%.1f times the limit; %.0f %% of %d spots are "
            "beyond theirs): another tissue, stain or scanner, or a wrong scale. Take its predictions for guesses",
            slide, shift, unlike, len(distance),
        )  # fmt: skip
    elif unlike > _MANY_UNLIKE:
        logger.warning(
            "%.0f %% of the %d spots of %s look unlike the training tiles, of which 1 %% do: folds, ink, blood, or another "
            "tissue. Take their predictions for guesses: obs[%r] tells which, 1 is the limit",
            unlike, len(distance), slide, column,
        )  # fmt: skip
    else:
        logger.info("%.1f %% of the %d spots of %s look unlike the training tiles", unlike, len(distance), slide)


def _say_expected(slide: str, model: Model, shift: float, ridge: float, *, of_another: bool) -> None:
    """What a slide unlike training, or of another subject, changes of the prediction and of what is expected of it."""
    if ridge:
        logger.info(
            "%.0f %% of the prediction of %s are ridge's, which guesses less far than networks", 100 * ridge, slide
        )
    if model.reliability is None or kept_share(shift, of_another=of_another) == 1:
        return
    lowered = model.reliability.on_slide(shift, of_another=of_another)
    before, after = (float(found.expected_pcc.mean()) for found in (model.reliability, lowered))
    why = "it is of another subject than all training sections, and " if of_another else ""
    logger.warning(
        "the mean PCC to expect of %s is lowered from %.2f (%s) to %.2f: %son slides unlike training, subjects that were "
        "held out reached as little as a third of what was expected",
        slide, before, model.ground or "sections held out", after, why,
    )  # fmt: skip


def _compare_pitch(model: Model, section: Section) -> None:
    """Say so where a model that looks at neighbors sees them at another distance than in training."""
    from st_predict.core.neighbors import pitch_px

    if None in (model.pitch_um, section.um_per_px) or not model.looks_around:
        return
    pitch = pitch_px(section.centers_px) * section.um_per_px  # type: ignore[operator]
    if pitch and abs(pitch / model.pitch_um - 1) > _SAME_PITCH:  # type: ignore[operator]
        logger.warning(
            "spots lie %.0f um apart, in training %.0f um: the surroundings that %s looks at are not those it was "
            "trained on; train with context=() for grids of any pitch",
            pitch, model.pitch_um, model.method,
        )  # fmt: skip


def _compare_layout(model: Model, section: Section) -> None:
    """Say so where a model that looks at neighbors finds them in other directions than in training."""
    from st_predict.core.grid import array_layout

    if model.layout is None or not model.looks_around:
        return
    layout = array_layout(section.centers_px)
    if layout is not None and layout != model.layout:
        logger.warning(
            "spots lie in a %s array, in training in a %s one: the surroundings that %s looks at are not those it was "
            "trained on; lay a grid with layout=%r, or train with context=() for grids of any layout",
            _LAYOUTS[layout], _LAYOUTS[model.layout], model.method, model.layout,
        )  # fmt: skip
