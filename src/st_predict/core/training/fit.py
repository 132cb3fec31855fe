"""From sections and their tiles to a model: what is usable, the panel, the flat training set, the fit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from st_predict.core.errors import InputError
from st_predict.core.expression import choose_panel, dense, gene_columns, section_expression, total_counts
from st_predict.core.methods.interface import Needs
from st_predict.core.methods.registry import build_method
from st_predict.core.neighbors import array_places, nearest_spots, pitch_px
from st_predict.core.training.inputs import InputTransform, expand
from st_predict.core.training.model import Model
from st_predict.core.training.selection import Fitting, center_targets, history_rows, inner_folds, select_epochs
from st_predict.core.training.spots import SpotSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from st_predict.core.encoders.encoder import Encoder
    from st_predict.core.encoders.frozen import EncoderIdentity
    from st_predict.core.expression import GeneRanking
    from st_predict.core.methods.recipe import Recipe
    from st_predict.core.section import Section
    from st_predict.core.tiles.geometry import TileSpec
    from st_predict.core.training.network import Hardware

logger = logging.getLogger("st_predict")
_LEAST_SCORED = 3  # two points correlate perfectly


@dataclass(frozen=True)
class Task:
    """What a fit is asked to do, beside the recipe.

    Parameters
    ----------
    method
        Name of the method.
    genes, gene_ranking
        Panel, see :func:`~st_predict.core.expression.choose_panel`.
    min_counts
        Spots with fewer counts are not trained on.
    seed
        Seed of everything random.
    """

    method: str
    genes: int | Sequence[str]
    gene_ranking: GeneRanking
    min_counts: float
    seed: int

    def __post_init__(self) -> None:
        if isinstance(self.genes, Integral):  # NumPy's too
            object.__setattr__(self, "genes", int(self.genes))


def usable_spots(section: Section, min_counts: float) -> NDArray[np.bool_]:
    """Spots with enough counts to learn from or to be scored on."""
    enough: NDArray[np.bool_] = total_counts(section.counts) >= max(min_counts, 1)
    return enough


def check_task(sections: Sequence[Section], recipe: Recipe, task: Task) -> list[str]:
    """Refuse what cannot be trained, before any tile is encoded; gives the panel.

    Raises
    ------
    InputError
        As :func:`check_fit` and :func:`task_panel`.
    """
    check_fit(sections, recipe, task)
    return task_panel(sections, task)


def check_fit(sections: Sequence[Section], recipe: Recipe, task: Task) -> None:
    """Refuse sections a method cannot be trained on.

    Raises
    ------
    InputError
        If there are too few spots, or an encoder cannot be trained with the method.
    """
    needs = _needs(recipe, task)
    if recipe.fit.trainable_encoder and not needs.gradient:
        raise InputError(
            f"method {task.method!r} is not trained by gradient, so no encoder can be trained with it",
            where="trainable_encoder",
            expected="a method with a loss, such as nh2st",
            remedy="leave trainable_encoder out",
        )
    usable = [int(usable_spots(s, task.min_counts).sum()) for s in sections]
    for section, n in zip(sections, usable, strict=True):
        if n <= max(needs.neighbors, 1):
            raise InputError(
                f"section {section.name!r} has {n} of {section.n_spots} spots with at least {task.min_counts:g} counts",
                where="min_counts",
                expected=f"more than {max(needs.neighbors, 1)} usable spots in every section",
                remedy="lower min_counts (shallow data), or leave this section out",
            )
    whole_sections = needs.section and not recipe.fit.trainable_encoder
    if needs.gradient and not whole_sections and sum(usable) < recipe.fit.batch_size:
        raise InputError(
            f"{sum(usable)} usable spots are fewer than one batch of {recipe.fit.batch_size}",
            where="batch_size",
            expected="at least one full batch of training spots",
            remedy=f"use batch_size={max(2, sum(usable) // 4)}, or more sections",
        )


def task_panel(sections: Sequence[Section], task: Task) -> list[str]:
    """Choose the panel on the usable spots of the sections, and say how much there is.

    Raises
    ------
    InputError
        If there is no gene in common.
    """
    kept = [s.keep(usable_spots(s, task.min_counts)) for s in sections]
    panel = choose_panel(kept, task.genes, task.gene_ranking)
    logger.info(
        "%d sections, %d of %d spots with at least %g counts, %d genes",
        len(sections),
        sum(s.n_spots for s in kept),
        sum(s.n_spots for s in sections),
        max(task.min_counts, 1),
        len(panel),
    )
    if isinstance(task.genes, int) and len(panel) < task.genes:
        logger.warning("only %d genes are common to all sections; %d were asked for", len(panel), task.genes)
    return panel


def check_scorable(section: Section, panel: Sequence[str], task: Task) -> None:
    """Refuse a held-out section that could not be predicted or scored.

    Raises
    ------
    InputError
        If it has none of the panel's genes, or fewer than three spots to be scored on.
    """
    n_scored = int(usable_spots(section, task.min_counts).sum())
    if n_scored < _LEAST_SCORED:
        raise InputError(
            f"section {section.name!r} has {section.n_spots} spots, {n_scored} of them with enough counts to be scored on",
            where="min_counts",
            expected=f"at least {_LEAST_SCORED} spots with {task.min_counts:g} counts",
            remedy="lower min_counts, or leave this section out",
        )
    if not (gene_columns(section.gene_names, panel) >= 0).any():
        raise InputError(
            f"section {section.name!r} has none of the {len(panel)} genes ({', '.join(panel[:3])}, ...)",
            where="var_names",
            expected="gene names of the kind the training sections have",
            remedy="map the names of this table to those of the others",
        )


def train_model(
    sections: Sequence[Section],
    tiles: Sequence[NDArray[Any]],
    encoder: Encoder | None,
    *,
    panel: list[str],
    recipe: Recipe,
    task: Task,
    identity: EncoderIdentity,
    tile_spec: TileSpec,
    hardware: Hardware,
    compare: bool = True,
) -> Model:
    """Train a method: inner folds find when to stop, then all sections are trained on for that long.

    Parameters
    ----------
    sections
        Training sections, with counts.
    tiles
        Per section: features ``(n, S, d)``, or pixels ``(n, S, px, px, 3)`` uint8 where ``encoder`` is given.
    encoder
        Encoder to train end to end; ``None`` where the features are final.
    panel
        Genes to predict.
    recipe, task
        Settings.
    identity, tile_spec
        How the tiles were made, kept with the model.
    hardware
        Where Lightning runs.
    compare
        Score mean and ridge beside the method on what the inner folds hold out. Without it, closed-form methods, which
        need no stopping epoch, run no inner folds.
    """
    usable = [usable_spots(s, task.min_counts) for s in sections]
    stored = [torch.from_numpy(t) for t in tiles]
    if encoder is None:
        stored = [expand(recipe.inputs, t, s.centers_px) for t, s in zip(tiles, sections, strict=True)]
    spots = _spot_set(sections, stored, usable, panel, _needs(recipe, task))
    fitting = Fitting(recipe, task.method, task.seed, hardware)
    folds = inner_folds(sections, recipe.fit.inner_folds)
    selection = select_epochs(fitting, spots, encoder, folds, compare=compare)
    transform = InputTransform(recipe.inputs, {})
    if encoder is None:
        transform = InputTransform.fit(recipe.inputs, spots.tiles)
        spots = spots.with_tiles(transform.reduce(spots.tiles))
    centered, center = center_targets(spots, recipe.inputs)
    network, encoder, records = fitting.fit(centered, encoder, selection.epochs, {}, "fit all sections")
    names = [s.name for s in sections]
    return Model(
        method=task.method,
        recipe=recipe,
        panel=panel,
        encoder_identity=identity,
        tiles=tile_spec,
        um_per_px=sections[0].um_per_px if tile_spec.widths_px else None,
        pitch_um=_pitch_um(sections),
        min_counts=task.min_counts,
        seed=task.seed,
        sections=names,
        n_inputs=spots.tiles.shape[1] * (1 if encoder is None else encoder.dim),
        epochs=selection.epochs,
        history_rows=[*selection.history_rows(names), *history_rows("final", records, names)],
        held_out_rows=selection.held_out_rows(names),
        transform=transform,
        center=center,
        network=network,
        encoder=encoder,
    )


def _pitch_um(sections: Sequence[Section]) -> float | None:
    """Median over sections of the distance between neighboring spots; ``None`` where no scale is known."""
    known = [pitch_px(s.centers_px) * s.um_per_px for s in sections if s.um_per_px is not None]
    return float(np.median(known)) if known else None


def _needs(recipe: Recipe, task: Task) -> Needs:
    needs: Needs = build_method(task.method, recipe.method, 1, 1).needs
    return needs


def _spot_set(
    sections: Sequence[Section],
    stored: Sequence[Tensor],
    usable: Sequence[NDArray[np.bool_]],
    panel: list[str],
    needs: Needs,
) -> SpotSet:
    """Usable spots of all sections as flat arrays; ``stored`` are expanded rows or pixels of all spots."""
    parts: list[SpotSet] = []
    offset = 0
    for number, (section, rows, mask) in enumerate(zip(sections, stored, usable, strict=True)):
        kept = section.keep(mask)
        places = array_places(section.centers_px)[mask]  # counted from the corner that a prediction counts from
        nearest = nearest_spots(kept.centers_px, needs.neighbors)
        parts.append(
            SpotSet(
                tiles=rows[torch.from_numpy(mask)],
                expression=torch.from_numpy(section_expression(kept, panel)),
                sections=torch.full((kept.n_spots,), number),
                neighbors=torch.from_numpy(nearest + offset),
                places=torch.from_numpy(places).float(),
                counts=torch.from_numpy(dense(kept.counts[:, gene_columns(kept.gene_names, panel)])),
                totals=torch.from_numpy(total_counts(kept.counts)).float(),
            )
        )
        offset += kept.n_spots
    return SpotSet(*(torch.cat(values) for values in zip(*parts, strict=True)))
