"""From sections and their tiles to a model: the flat training set, the fit, and what the tiles look like."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from st_predict.core.ceiling import target_ceilings
from st_predict.core.expression import count_genes, section_expression, set_counts, target_counts, total_counts
from st_predict.core.fitting.control import chosen_pcc
from st_predict.core.fitting.plan import usable_spots
from st_predict.core.fitting.selection import Fitting, Selection, center_targets, history_rows, select_epochs
from st_predict.core.grid import array_layout
from st_predict.core.inputs.pixels import TileRows, joined
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.interface import Needs
from st_predict.core.model.anchor import fit_anchor
from st_predict.core.model.domain import Domain
from st_predict.core.model.model import Model
from st_predict.core.model.predict import features_of
from st_predict.core.model.reliability import Reliability
from st_predict.core.neighbors import array_places, nearest_spots, pitch_px
from st_predict.core.splits import ground_of, held_out_groups, inner_folds, only_subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from st_predict.core.fitting.network import Run
    from st_predict.core.fitting.plan import Plan
    from st_predict.core.grid import Layout
    from st_predict.core.inputs.encoded import EncodedTiles
    from st_predict.core.section import Section

logger = logging.getLogger("st_predict")
_FOLDS = 5


def train_model(
    sections: Sequence[Section], encoded: EncodedTiles, plan: Plan, run: Run, *, compare: bool = True
) -> Model:
    """Train a method: inner folds find when to stop, then all sections are trained on for that long.

    Parameters
    ----------
    sections
        Training sections, with counts.
    encoded
        Their tiles.
    plan
        What is asked for, its genes named, see :func:`~st_predict.core.fitting.plan.check_plan`.
    run
        Where it runs, what looks on while the final fit does, and where all fits are kept as they go.
    compare
        Score mean and ridge beside the method on what the inner folds hold out. Without it, closed-form methods, which
        need no stopping epoch, run no inner folds.

    Returns
    -------
    The model; :func:`with_domain` adds what its training tiles look like.
    """
    recipe, panel = plan.recipe, plan.panel(sections[0].gene_sets)
    usable = [usable_spots(s, plan.min_counts) for s in sections]
    inputs = encoded.inputs(recipe.inputs, sections, usable)
    tiles = [inputs.tiles(number, mask) for number, mask in enumerate(usable)]
    spots = _spot_set(sections, tiles, usable, panel, recipe.needs)
    fitting = Fitting(recipe, plan.seed, run)
    selection = select_epochs(fitting, spots, inputs, inner_folds(sections, recipe.fit.inner_folds), compare=compare)
    transform, spots = inputs.of_all(spots)
    centered, center = center_targets(spots, recipe.inputs)
    kept = [s.keep(mask) for s, mask in zip(sections, usable, strict=True)]
    reliability = _reliability(selection, recipe.method, spots, kept, panel, plan.seed)
    network, encoder, records = fitting.fit(centered, inputs, selection.epochs, {}, "fit all sections")
    names = [s.name for s in sections]
    return Model(
        recipe=recipe,
        panel=panel,
        gene_sets=dict(sections[0].gene_sets),
        encoder_identity=encoded.identity,
        tiles=encoded.spec,
        um_per_px=_median([s.um_per_px for s in sections if s.um_per_px is not None]),
        pitch_um=_median([pitch_px(s.centers_px) * s.um_per_px for s in sections if s.um_per_px is not None]),
        min_counts=plan.min_counts,
        seed=plan.seed,
        sections=names,
        n_inputs=inputs.n_inputs(spots),
        epochs=selection.epochs,
        history_rows=[*selection.history_rows(names), *history_rows("final", records, names)],
        held_out_rows=selection.held_out_rows(names),
        transform=transform,
        center=center,
        network=network,
        encoder=encoder,
        anchor=fit_anchor(centered) if recipe.fit.anchor else None,
        reliability=reliability,
        ground=ground_of(sections) if selection.held else None,
        subject=only_subject(sections),
        layout=_common_layout(sections),
    )


def with_domain(model: Model, sections: Sequence[Section], tiles: Sequence[Any], *, device: str = "cpu") -> Model:
    """The same model with what its training tiles look like.

    Parameters
    ----------
    model
        A trained model.
    sections
        Its training sections.
    tiles
        Per section features ``(n, S, d)``, or pixels ``(n, S, px, px, 3)`` uint8 where its encoder was trained.
    device
        Torch device on which pixels are encoded.
    """
    features = [torch.from_numpy(features_of(values, model.encoder, device)) for values in tiles]
    used = [torch.from_numpy(np.flatnonzero(usable_spots(s, model.min_counts))) for s in sections]
    return dataclasses.replace(model, domain=Domain.fit(features, inner_folds(sections, _FOLDS), used))


def _reliability(
    selection: Selection, method: str, spots: SpotSet, sections: Sequence[Section], panel: list[str], seed: int
) -> Reliability | None:
    """How sure predictions are, and how sure the noise of the counts lets them be; unknown where nothing was held out."""
    held_out = selection.held_out(method, spots)
    if not held_out or spots.counts is None or spots.totals is None:
        return None
    ceilings = []
    for number, section in enumerate(sections):
        rows = (spots.sections == number).nonzero()[:, 0]
        genes = spots.counts[rows, : count_genes(panel, section.gene_sets)].numpy()
        sets = (counts for _, counts in set_counts(section, panel))
        totals = spots.totals[rows].double().numpy()
        ceilings.append(torch.from_numpy(target_ceilings(genes, sets, totals, seed=seed).value))
    shuffled = chosen_pcc(selection.shuffled) if selection.shuffled else None
    return Reliability.fit(held_out, torch.stack(ceilings).mean(dim=0), shuffled)


def _median(known: Sequence[float]) -> float | None:
    return float(np.median(known)) if known else None


def _common_layout(sections: Sequence[Section]) -> Layout | None:
    """Layout that all sections have whose layout can be told; ``None`` if they differ, or none can."""
    found = {array_layout(section.centers_px) for section in sections} - {None}
    return found.pop() if len(found) == 1 else None


def _spot_set(
    sections: Sequence[Section],
    stored: Sequence[Tensor | TileRows],
    usable: Sequence[NDArray[np.bool_]],
    panel: list[str],
    needs: Needs,
) -> SpotSet:
    """Usable spots of all sections as flat arrays; ``stored`` are their tiles."""
    parts: list[SpotSet] = []
    names = held_out_groups(sections)[1]
    groups = {name: number for number, name in enumerate(dict.fromkeys(names))}
    for number, (section, rows, mask) in enumerate(zip(sections, stored, usable, strict=True)):
        kept = section.keep(mask)
        places = array_places(section.centers_px)[mask]  # counted from the corner that a prediction counts from
        parts.append(
            SpotSet(
                tiles=rows,
                expression=torch.from_numpy(section_expression(kept, panel)),
                sections=torch.full((kept.n_spots,), number),
                neighbors=torch.empty(kept.n_spots, 0, dtype=torch.long),  # of all sections at once, below
                places=torch.from_numpy(places).float(),
                counts=torch.from_numpy(target_counts(kept, panel)),
                totals=torch.from_numpy(total_counts(kept.counts)).float(),
                groups=torch.full((kept.n_spots,), groups[names[number]]),
            )
        )
    centers = np.concatenate([s.centers_px[mask] for s, mask in zip(sections, usable, strict=True)])
    values: list[Any] = [None if of[0] is None else joined(of) for of in zip(*parts, strict=True)]
    spots = SpotSet(*values)
    return spots.with_neighbors(nearest_spots(centers, needs.neighbors, spots.sections.numpy()))
