"""What a prediction says of a slide: how it differs from training, and how sure the prediction is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from st_predict._spatialdata.prediction import distance_column
from st_predict.core.gene_names import named_like, say_lost, why_lost
from st_predict.core.grid import array_layout
from st_predict.core.inputs.rows import FEW_SPOTS, own_share
from st_predict.core.model.reliability import ALIKE, kept_share
from st_predict.core.neighbors import pitch_px

if TYPE_CHECKING:
    from st_predict._spatialdata.prediction import Prediction
    from st_predict.core.model.model import Model
    from st_predict.core.model.reliability import Reliability
    from st_predict.core.section import Section

logger = logging.getLogger("st_predict")
SAME_PITCH = 0.2
"""Share by which pitches may differ and be called the same."""
_SAME_GRID, _COARSER = 0.02, 1.5
_FAR = 3.0  # times: a scan at 40x for a model of one at 15x is no error, at 100x it is hardly anything else
_MANY_UNLIKE = 5  # % of spots
_LAYOUTS = {"hex": "hexagonal", "square": "square"}


def compare_scale(model: Model, um_per_px: float | None, slide: str) -> None:
    """Say so where the image is not of the scale of training: in tiles that are blurred beside those, or by far."""
    if model.um_per_px is None or um_per_px is None:
        return
    times = um_per_px / model.um_per_px
    if max(times, 1 / times) > _FAR:
        logger.warning(
            "%s has %.2g um/px by its file or by your setting, %.1f times %s than the %.2g of training: if this scale is "
            "wrong, its tiles show too much or too little of the tissue; st_predict.pp.set_scale corrects it",
            slide, um_per_px, max(times, 1 / times), "coarser" if times > 1 else "finer", model.um_per_px,
        )  # fmt: skip
    if times > _COARSER:
        logger.warning(
            "the image has %.2g um/px, training had %.2g: its tiles are enlarged and show less detail than those of "
            "training; give a finer image of this slide",
            um_per_px, model.um_per_px,
        )  # fmt: skip


def compare_pitch(model: Model, section: Section) -> None:
    """Say so where a model that looks at neighbors sees them at another distance than in training."""
    if None in (model.pitch_um, section.um_per_px) or not model.looks_around:
        return
    pitch = pitch_px(section.centers_px) * section.um_per_px  # type: ignore[operator]
    if pitch and abs(pitch / model.pitch_um - 1) > SAME_PITCH:  # type: ignore[operator]
        logger.warning(
            "spots lie %.0f um apart, in training %.0f um: the surroundings that %s looks at are not those it was "
            "trained on; train with context=() for grids of any pitch",
            pitch, model.pitch_um, model.method,
        )  # fmt: skip


def compare_layout(model: Model, section: Section) -> None:
    """Say so where a model that looks at neighbors finds them in other directions than in training."""
    if model.layout is None or not model.looks_around:
        return
    layout = array_layout(section.centers_px)
    if layout is not None and layout != model.layout:
        logger.warning(
            "spots lie in a %s array, in training in a %s one: the surroundings that %s looks at are not those it was "
            "trained on; lay a grid with layout=%r, or train with context=() for grids of any layout",
            _LAYOUTS[layout], _LAYOUTS[model.layout], model.method, model.layout,
        )  # fmt: skip


def compare_grid(section: Section, record: dict[str, Any] | None) -> None:
    """Say so where a grid was laid in um of another scale."""
    if record is None or section.um_per_px is None:
        return
    pitch = pitch_px(section.centers_px) * section.um_per_px
    if pitch and abs(pitch / record["pitch_um"] - 1) > _SAME_GRID:
        logger.warning(
            "the spots of the grid were laid %.0f um apart, but by the present scale of the image they are %.0f um apart; "
            "lay the grid again with st_predict.pp.spot_grid",
            record["pitch_um"], pitch,
        )  # fmt: skip


def compare_size(model: Model, section: Section) -> None:
    """Say so where a slide has too few spots to be scored by what it has itself."""
    own = own_share(section.n_spots)
    if model.recipe.inputs.standardize == "slide" and not model.has_own_encoder and own < 1:
        logger.warning(
            "%d spots are too few to measure the stain of a slide: their features are standardized to %.0f %% by a typical "
            "training slide. From %d spots on, a slide is standardized by itself alone, which is more accurate",
            section.n_spots, 100 * (1 - own), FEW_SPOTS,
        )  # fmt: skip


def say_lost_genes(genes: list[str], section: Section) -> None:
    """Say so where the table has no column for what is predicted."""
    known = set(map(str, named_like(section, genes).gene_names))
    lost = [gene for gene in genes if gene not in known]
    if len(lost) < len(genes):
        say_lost(lost, genes, known, of=f"the table of {section.name}", so="those are in obsm, and not in the layer")
    elif genes:
        why = why_lost(lost, known)
        logger.warning(
            "the table has none of the %d predicted genes: its layer is all NaN, see obsm%s",
            len(genes), f" ({why})" if why else "",
        )  # fmt: skip


def say_groups(reliability: Reliability) -> None:
    """Say so where intervals know nothing of how sections differ."""
    if reliability.n_groups == 1:
        logger.warning(
            "intervals were set on only one held-out section, so how much sections differ is not known. On a slide unlike "
            "that section they cover fewer spots than stated. Train on more sections, with more inner folds"
        )


def say_result(slide: str, model: Model, predicted: Prediction, key: str, *, of_another: bool) -> None:
    """How much of a slide looks as nothing in training did, and what that changes."""
    _say_unlike(slide, predicted, distance_column(key))
    _say_expected(slide, model, predicted, of_another=of_another)


def _say_unlike(slide: str, predicted: Prediction, column: str) -> None:
    """How much of a slide looks as nothing in training did."""
    unlike, shift, distance = 100 * predicted.unlike_training, predicted.slide_shift, predicted.distance
    if shift > ALIKE:
        logger.warning(
            "%s as a whole looks unlike the training sections (%.1f times the limit; %.0f %% of %d spots are "
            "beyond theirs): another tissue, stain or scanner, or a wrong scale. Treat its predictions as guesses",
            slide, shift, unlike, len(distance),
        )  # fmt: skip
    elif unlike > _MANY_UNLIKE:
        logger.warning(
            "%.0f %% of the %d spots of %s look unlike the training tiles (1 %% is usual): folds, ink, blood, or another "
            "tissue. Treat their predictions as guesses; they are the spots with obs[%r] above 1",
            unlike, len(distance), slide, column,
        )  # fmt: skip
    else:
        logger.info("%.1f %% of the %d spots of %s look unlike the training tiles", unlike, len(distance), slide)


def _say_expected(slide: str, model: Model, predicted: Prediction, *, of_another: bool) -> None:
    """What a slide unlike training, or of another subject, changes of the prediction and of what is expected of it."""
    shift, ridge = predicted.slide_shift, predicted.provenance["ridge_share"]
    if ridge:
        logger.info(
            "%.0f %% of the prediction of %s comes from ridge, which extrapolates less than networks",
            100 * ridge,
            slide,
        )
    if model.reliability is None or kept_share(shift, of_another=of_another) == 1:
        return
    lowered = model.reliability.on_slide(shift, of_another=of_another)
    before, after = (f"{float(found.expected_pcc.mean()):.2f}" for found in (model.reliability, lowered))
    if before == after:
        return
    why = "it is of another subject than all training sections, and " if of_another else ""
    logger.warning(
        "the mean PCC to expect of %s is lowered from %s (%s) to %s: %son slides unlike training, held-out subjects "
        "reached as little as a third of what was expected",
        slide, before, model.ground or "sections held out", after, why,
    )  # fmt: skip
