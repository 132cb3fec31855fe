"""What a fit is asked to do: which spots are usable, the panel, and what is refused before any tile is encoded."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.errors import InputError
from st_predict.core.expression import choose_panel, count_genes, describe_panel, known_targets, total_counts
from st_predict.core.gene_names import of_note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from st_predict.core.expression import GeneRanking
    from st_predict.core.methods.recipe import Recipe
    from st_predict.core.section import Section

logger = logging.getLogger("st_predict")
_LEAST_SCORED = 3  # two points correlate perfectly


@dataclass(frozen=True)
class Plan:
    """What a fit is asked to do.

    Parameters
    ----------
    recipe
        The method and its settings.
    genes, gene_ranking
        Panel, see :func:`~st_predict.core.expression.choose_panel`.
    min_counts
        Spots with fewer counts are not trained on.
    seed
        Seed of everything random.
    """

    recipe: Recipe
    genes: int | Sequence[str]
    gene_ranking: GeneRanking
    min_counts: float
    seed: int

    def __post_init__(self) -> None:
        if isinstance(self.genes, Integral):  # NumPy's too
            object.__setattr__(self, "genes", int(self.genes))

    def of(self, panel: Sequence[str], gene_sets: Mapping[str, Any]) -> Plan:
        """The same plan for the genes of a panel."""
        return replace(self, genes=tuple(panel[: count_genes(panel, gene_sets)]))

    def panel(self, gene_sets: Mapping[str, Any]) -> list[str]:
        """Names of what is predicted: genes, which must be named, then gene sets."""
        if isinstance(self.genes, int):
            raise ValueError("the genes of this plan are not named yet")
        return [*self.genes, *gene_sets]

    def to_dict(self) -> dict[str, Any]:
        """All settings by name, with the method; from their changes follows what must be trained again."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"method": self.recipe.method, **own, "recipe": self.recipe.to_dict()}


def usable_spots(section: Section, min_counts: float) -> NDArray[np.bool_]:
    """Spots with enough counts to learn from or to be scored on."""
    enough: NDArray[np.bool_] = total_counts(section.counts) >= max(min_counts, 1)
    return enough


def check_plan(sections: Sequence[Section], plan: Plan) -> Plan:
    """Refuse what cannot be trained, before any tile is encoded; gives the plan whose genes are named.

    Raises
    ------
    InputError
        As :func:`check_fit` and :func:`plan_panel`.
    """
    check_fit(sections, plan)
    return plan.of(plan_panel(sections, plan), sections[0].gene_sets)


def check_fit(sections: Sequence[Section], plan: Plan) -> None:
    """Refuse sections a method cannot be trained on.

    Raises
    ------
    InputError
        If there are too few spots, or neither an encoder nor several members can be trained with the method.
    """
    recipe, needs = plan.recipe, plan.recipe.needs
    if recipe.fit.trainable_encoder and not needs.gradient:
        raise InputError(
            f"method {recipe.method!r} is not trained by gradient, so no encoder can be trained with it",
            where="trainable_encoder",
            expected="a method with a loss, such as nh2st",
            remedy="leave trainable_encoder out",
        )
    if recipe.fit.members > 1 and not needs.gradient:
        raise InputError(
            f"method {recipe.method!r} is not trained by gradient, so {recipe.fit.members} of it are all the same",
            where="members",
            expected="1, or a method with a loss, such as nh2st",
            remedy="leave members out",
        )
    usable = [int(usable_spots(s, plan.min_counts).sum()) for s in sections]
    for section, n in zip(sections, usable, strict=True):
        if n <= max(needs.neighbors, 1):
            remedies = ["lower min_counts (shallow data)"] if n < section.n_spots else []
            remedies += ["use fewer neighbors"] if needs.neighbors else []
            raise InputError(
                f"section {section.name!r} has {n} of {section.n_spots} spots with at least {plan.min_counts:g} counts",
                where="min_counts" if n < section.n_spots else "neighbors" if needs.neighbors else "sections",
                expected=f"more than {max(needs.neighbors, 1)} usable spots in every section"
                + (f": a spot and its {needs.neighbors} neighbors" if needs.neighbors else ""),
                remedy=", or ".join([*remedies, "leave this section out"]),
            )
    whole_sections = needs.section and not recipe.fit.trainable_encoder
    if needs.gradient and not whole_sections and sum(usable) < recipe.fit.batch_size:
        raise InputError(
            f"{sum(usable)} usable spots are fewer than one batch of {recipe.fit.batch_size}",
            where="batch_size",
            expected="at least one full batch of training spots",
            remedy=f"use batch_size={max(2, sum(usable) // 4)}, or more sections",
        )


def plan_panel(sections: Sequence[Section], plan: Plan) -> list[str]:
    """Choose the panel on the usable spots of the sections, then their gene sets, and say how much there is.

    Raises
    ------
    InputError
        If there is no gene in common.
    """
    kept = [s.keep(usable_spots(s, plan.min_counts)) for s in sections]
    gene_sets = sections[0].gene_sets
    panel = [*choose_panel(kept, plan.genes, plan.gene_ranking), *gene_sets]
    logger.info(
        "%d sections, %d of %d spots with at least %g counts, %s",
        len(sections),
        sum(s.n_spots for s in kept),
        sum(s.n_spots for s in sections),
        max(plan.min_counts, 1),
        describe_panel(panel, gene_sets),
    )
    n_genes = count_genes(panel, gene_sets)
    if isinstance(plan.genes, int) and n_genes < plan.genes:
        logger.warning("only %d genes are common to all sections; %d were asked for", n_genes, plan.genes)
    return panel


def check_scorable(section: Section, panel: Sequence[str], min_counts: float) -> None:
    """Refuse a held-out section that could not be predicted or scored.

    Raises
    ------
    InputError
        If it has none of the panel's genes, or fewer than three spots to be scored on.
    """
    n_scored = int(usable_spots(section, min_counts).sum())
    if n_scored < _LEAST_SCORED:
        raise InputError(
            f"section {section.name!r} has {section.n_spots} spots, {n_scored} of them with enough counts to be scored on",
            where="min_counts",
            expected=f"at least {_LEAST_SCORED} spots with {min_counts:g} counts",
            remedy="lower min_counts, or leave this section out",
        )
    if not known_targets(section, panel).any():
        raise InputError(
            f"section {section.name!r} has none of the {len(panel)} genes ({', '.join(panel[:3])}, ...)",
            where="var_names",
            expected="gene names of the kind the training sections have",
            remedy="map the names of this table to those of the others" + of_note(panel, section.gene_names),
        )
