"""What a comparison is asked for, and whether it can be done: all that is found out before any tile is encoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from st_predict._spatialdata.sections import read_sections
from st_predict.core.errors import InputError
from st_predict.core.expression import count_genes
from st_predict.core.fitting.plan import Plan, check_scorable, plan_panel
from st_predict.core.log import logger, quiet
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import METHODS
from st_predict.core.methods.settle import settle_candidates
from st_predict.core.protocol.choose import check_choice
from st_predict.core.protocol.study import Candidate
from st_predict.core.splits import outer_folds
from st_predict.core.technology import least_counts
from st_predict.core.tiles.geometry import check_scales, tile_spec
from st_predict.tl._train import train

if TYPE_CHECKING:
    from pathlib import Path

    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Elements
    from st_predict._spatialdata.sections import ReadSections
    from st_predict.core.methods.recipe import Recipe
    from st_predict.core.section import Section
    from st_predict.core.splits import OuterFold
    from st_predict.core.tiles.geometry import TileSpec

_DRAWS = 2**32  # numbers of a permutation; seeds may end beyond
CONTROLS = ("mean", "shuffled", "ridge")
"""In every table: the training mean, ridge on shuffled images, and ridge, tuned."""


class Comparison(NamedTuple):
    """What is compared on what."""

    read: ReadSections
    candidates: list[Candidate]
    """Controls first; one a seed of what a seed changes."""
    specs: dict[bool, TileSpec]
    """Tile widths of candidates with a frozen (``False``) and with a trainable encoder, where there are such."""
    split: str
    """How sections are held out, in words."""
    folds: list[OuterFold]


class Terms(NamedTuple):
    """What is the same for all that is compared; see :func:`st_predict.tl.cross_validate`."""

    groups: Literal["subject", "section"] | Sequence[str] | Mapping[str, str] | None
    genes: int | Sequence[str]
    gene_sets: Mapping[str, Sequence[str]] | None
    gene_ranking: Literal["heg", "hvg"]
    min_counts: float | None
    """``None``: as the technology has it, which only the sections tell."""
    tile_um: float | Sequence[float] | None
    tile_px: float | Sequence[float] | None
    seed: int
    seeds: int

    def plan(self, recipe: Recipe, seed: int) -> Plan:
        """A fit of one method on these terms."""
        return Plan(recipe, self.genes, self.gene_ranking, self.min_counts or 0, seed)


def check_comparison(
    sections: Sequence[SpatialData | str | Path] | Mapping[str, SpatialData | str | Path],
    methods: str | Sequence[str] | Mapping[str, Mapping[str, Any]],
    terms: Terms,
    elements: Elements,
) -> Comparison:
    """Settle a comparison, or refuse it; ``sections`` and ``methods`` as in :func:`st_predict.tl.cross_validate`.

    Raises
    ------
    InputError
        If the input cannot be used.
    """
    candidates = _candidates(methods, terms)  # wrong ones are refused before anything is read
    wanted = {candidate.plan.recipe.fit.trainable_encoder for candidate in candidates}
    specs = {kind: tile_spec(terms.tile_um, terms.tile_px, trainable=kind) for kind in sorted(wanted)}
    read = read_sections(sections, elements, gene_sets=terms.gene_sets)
    terms = terms._replace(min_counts=least_counts(read.sections, terms.min_counts))
    with quiet():
        candidates = _candidates(methods, terms)
    split, folds = outer_folds(read.sections, terms.groups)
    _check_folds(read.sections, candidates, folds)
    for spec in specs.values():
        check_scales(read.sections, spec)
    return Comparison(read, candidates, specs, split, folds)


def _candidates(methods: str | Sequence[str] | Mapping[str, Mapping[str, Any]], terms: Terms) -> list[Candidate]:
    """What is compared, controls first."""
    seeds = range(terms.seed, terms.seed + terms.seeds)
    if isinstance(methods, Mapping):
        named = {str(label): dict(settings) for label, settings in methods.items()}
    else:
        names = [methods] if isinstance(methods, str) else list(methods)
        named = {name: {} for name in (list(METHODS) if names == ["all"] else names)}
    if not named:
        raise InputError("there are no methods", where="methods", expected="at least one", remedy="name methods")
    changed = [name for name in CONTROLS if named.get(name)]
    if changed:
        raise InputError(
            f"{changed[0]!r} is given settings, but is the control of that name in every table",
            where="methods",
            expected="another label for a method with settings of your own",
            remedy=f"methods={{'my {changed[0]}': {{'method': '{changed[0]}', ...}}}}",
        )
    candidates, known = [], _recipe_settings()
    for label, settings in {**{name: {} for name in CONTROLS}, **named}.items():
        method = settings.pop("method", label)
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise InputError(
                f"{label!r} has unknown settings: {', '.join(unknown)}",
                where="methods",
                expected=", ".join(("method", *known)),
                remedy="correct the names",
            )
        settled = settle_candidates(method, **settings)
        if len(settled) == 1:
            candidates += [Candidate(label, terms.plan(one, seed)) for seed, one in _seeded(settled[0], seeds)]
            continue
        for seed in seeds:
            among = tuple(Candidate(recipe.method, terms.plan(recipe, seed)) for recipe in settled)
            candidates.append(Candidate(label, among[0].plan, among))
    return candidates


def _recipe_settings() -> list[str]:
    """Arguments of ``train`` that make a recipe."""
    own = {"preset", "params", *(field.name for part in (InputConfig, FitConfig) for field in fields(part))}
    return [name for name in signature(train).parameters if name in own]


def _seeded(recipe: Recipe, seeds: range) -> list[tuple[int, Recipe]]:
    """A recipe for every seed that changes what comes of it; for the first alone where none does."""
    if recipe.method == "shuffled":  # what its seed changes is a setting of its own
        draws = [recipe.settings.shuffle + seed % _DRAWS for seed in seeds]
        return [
            (s, replace(recipe, settings=replace(recipe.settings, shuffle=n)))
            for s, n in zip(seeds, draws, strict=True)
        ]
    return [(seed, recipe) for seed in (seeds if recipe.needs.gradient else seeds[:1])]


def _check_folds(sections: Sequence[Section], candidates: Sequence[Candidate], folds: Sequence[OuterFold]) -> None:
    """Refuse what a fold could not fit or score, naming the fold, before any tile is encoded."""
    shared = candidates[0].plan  # all but the method and the seed, which change nothing here, is the same for all
    candidates = list({candidate.label: candidate for candidate in candidates}.values())
    for fold in folds:
        training = [sections[i] for i in fold.train]
        for candidate in candidates:
            with _named(f"{candidate.label} with {fold.name!r} held out"):
                check_choice(training, candidate.among or (candidate,))
        with _named(f"with {fold.name!r} held out"):
            with quiet():
                panel = plan_panel(training, shared)
            for i in fold.held_out:
                check_scorable(sections[i], panel, shared.min_counts)
        n_genes = count_genes(panel, sections[0].gene_sets)
        if isinstance(shared.genes, int) and n_genes < shared.genes:
            logger.warning("with %s held out only %d of %d genes are common", fold.name, n_genes, shared.genes)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Say in an error where in the comparison it would come up."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{what}: {error.what}", where=error.where, expected=error.expected, remedy=error.remedy
        ) from error
