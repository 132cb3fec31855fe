"""What a comparison is asked for, and whether it can be done: all that is found out before any tile is encoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from spatialdata import SpatialData

    from st_predict._setup import ReadSections
    from st_predict.core.protocol.study import Candidate, OuterFold
    from st_predict.core.section import Section
    from st_predict.core.tiles.geometry import TileSpec

CONTROLS = ("mean", "shuffled", "ridge")
"""In every table: the training mean, ridge on shuffled images, and ridge, tuned."""


class Comparison(NamedTuple):
    """What is compared on what."""

    read: ReadSections
    candidates: list[Candidate]
    """Controls first."""
    specs: dict[bool, TileSpec]
    """Tile widths of candidates with a frozen (``False``) and with a trainable encoder, where there are such."""
    split: str
    """How sections are held out, in words."""
    folds: list[OuterFold]


def check_comparison(
    sections: Sequence[SpatialData | str | Path] | Mapping[str, SpatialData | str | Path],
    *,
    methods: str | Sequence[str] | Mapping[str, Mapping[str, Any]],
    groups: Literal["subject", "section"] | Sequence[str] | None,
    genes: int | Sequence[str],
    gene_sets: Mapping[str, Sequence[str]] | None,
    gene_ranking: Literal["heg", "hvg"],
    min_counts: float,
    tile_um: float | Sequence[float] | None,
    tile_px: float | Sequence[float] | None,
    image_key: str | None,
    shapes_key: str | None,
    table_key: str | None,
    layer: str | None,
    seed: int,
) -> Comparison:
    """Settle a comparison, or refuse it; arguments as in :func:`st_predict.tl.cross_validate`.

    Raises
    ------
    InputError
        If the input cannot be used.
    """
    from st_predict._setup import check_scales, read_sections, tile_spec
    from st_predict.core.protocol.study import outer_folds

    candidates = _candidates(methods, genes, gene_ranking, min_counts, seed)
    wanted = {candidate.recipe.fit.trainable_encoder for candidate in candidates}
    specs = {trainable: tile_spec(tile_um, tile_px, trainable=trainable) for trainable in sorted(wanted)}
    read = read_sections(
        sections, gene_sets=gene_sets, image_key=image_key, shapes_key=shapes_key, table_key=table_key, layer=layer
    )
    split, folds = outer_folds(read.sections, groups)
    _check_folds(read.sections, candidates, folds)
    for spec in specs.values():
        check_scales(read.sections, spec)
    return Comparison(read, candidates, specs, split, folds)


def _candidates(methods: str | Sequence[str] | Mapping[str, Mapping[str, Any]], *shared: Any) -> list[Candidate]:
    """What is compared, controls first."""
    from st_predict._setup import RECIPE_SETTINGS, settle_method
    from st_predict.core.methods.registry import METHODS
    from st_predict.core.protocol.study import Candidate
    from st_predict.core.training.task import Task

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
    candidates = []
    for label, settings in {**{name: {} for name in CONTROLS}, **named}.items():
        method = settings.pop("method", label)
        unknown = [name for name in settings if name not in RECIPE_SETTINGS]
        if unknown:
            raise InputError(
                f"{label!r} has unknown settings: {', '.join(unknown)}",
                where="methods",
                expected=", ".join(("method", *RECIPE_SETTINGS)),
                remedy="correct the names",
            )
        method, recipe = settle_method(method, **settings)
        candidates.append(Candidate(label, recipe, Task(method, *shared)))
    return candidates


def _check_folds(sections: Sequence[Section], candidates: Sequence[Candidate], folds: Sequence[OuterFold]) -> None:
    """Refuse what a fold could not fit or score, naming the fold, before any tile is encoded."""
    from st_predict._log import logger, quiet
    from st_predict.core.expression import count_genes
    from st_predict.core.training.task import check_fit, check_scorable, task_panel

    shared = candidates[0].task  # all but the method is the same for all
    for fold in folds:
        training = [sections[i] for i in fold.train]
        for candidate in candidates:
            with _named(f"{candidate.label} with {fold.name!r} held out"):
                check_fit(training, candidate.recipe, candidate.task)
        with _named(f"with {fold.name!r} held out"):
            with quiet():
                panel = task_panel(training, shared)
            for i in fold.held_out:
                check_scorable(sections[i], panel, shared)
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
