"""``cross_validate``: compare methods on one's own sections, leak-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal

from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.sections import check_outside
from st_predict.core.arguments.checked import checked
from st_predict.core.encoders.frozen import FrozenEncoder, torch_device
from st_predict.core.ending import ended_by_signals, telling_what_is_left
from st_predict.core.files import replacing_file
from st_predict.core.fitting.hardware import find_hardware
from st_predict.core.full import NotWritten
from st_predict.core.lock import alone_in
from st_predict.core.log import be_heard, logger, quiet
from st_predict.core.outputs import check_places
from st_predict.core.progress import hidden_progress, progress_bar
from st_predict.core.protocol.fold import run_fold
from st_predict.core.protocol.keep import KeptFolds, check_comparison_folder, make_comparison_folder
from st_predict.core.protocol.study import Study
from st_predict.core.tiles.store import TileStore
from st_predict.tl._comparison import Terms, check_comparison
from st_predict.tl._processes import n_cores, run_jobs
from st_predict.tl._scores_table import assemble
from st_predict.tl._training import encode_sections

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from st_predict.core.fitting.hardware import Hardware
    from st_predict.core.protocol.study import Candidate
    from st_predict.core.splits import OuterFold
    from st_predict.tl._comparison import Comparison
    from st_predict.tl._scores_table import ScoreTable


@checked
@ended_by_signals()
def cross_validate(
    sections: Sequence[SpatialData | str | Path] | Mapping[str, SpatialData | str | Path],
    *,
    methods: str | Sequence[str] | Mapping[str, Mapping[str, Any]] = ("mean", "ridge", "nh2st"),
    groups: Literal["subject", "section"] | Sequence[str] | Mapping[str, str] | None = None,
    encoder: str = "efficientnet_lite0",
    genes: int | Sequence[str] = 250,
    gene_sets: Mapping[str, Sequence[str]] | None = None,
    gene_ranking: Literal["heg", "hvg"] = "heg",
    min_counts: float | None = None,
    tile_um: float | Sequence[float] | None = None,
    tile_px: float | Sequence[float] | None = None,
    encoder_weights: str | None = None,
    tile_store: str | Path | None = None,
    tile_store_gb: float = 200.0,
    out: str | Path | None = None,
    n_jobs: int | None = None,
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    layer: str | None = None,
    accelerator: str = "auto",
    seed: int = 0,
    seeds: int = 1,
) -> ScoreTable:
    """Score methods on sections they have not seen, each group of sections held out in turn.

    Panel, scaling, components, penalties and epochs are found on the training sections of each fold alone. The
    training mean, ridge on shuffled images and tuned ridge are added to every table as controls. Tiles are encoded
    once for all methods, folds and seeds.

    Parameters
    ----------
    sections
        One SpatialData for each section, or the path of its Zarr store; a dict names the sections.
    methods
        Names of methods, ``"all"``, or a dict from labels to settings. Settings are any of ``method`` (default: the
        label), ``preset``, ``params``, ``context``, ``standardize``, ``trainable_encoder``, ``max_epochs``,
        ``batch_size``, ``learning_rate``, ``encoder_learning_rate``, ``inner_folds``, ``members``, ``anchor`` and
        ``stain_jitter``, as :func:`st_predict.tl.train` takes them. The labels ``mean``, ``shuffled`` and ``ridge``
        belong to the controls, which have no settings.
    groups
        What is held out together: ``"subject"``, ``"section"``, or what each section belongs to, as a list in their
        order, or as a dict or a Series by their names. ``None``: by subject if several are known, else by section; the
        table then says that the scores are within one subject.
    encoder, genes, gene_ranking, min_counts, tile_um, tile_px, encoder_weights, tile_store, tile_store_gb
        As in :func:`st_predict.tl.train`; spots with fewer than ``min_counts`` counts are not scored either.
    gene_sets
        As in :func:`st_predict.tl.train`. A set keeps the genes that all sections have, so that it is the same in every
        fold. Scores over the panel are those of its genes alone; the sets have rows of their own.
    out
        Folder for the results. Every finished fold is kept there, and a comparison that was interrupted goes on from
        these folds. Tables are written as ``scores.csv``, ``gene_scores.csv`` and ``failures.csv``.
    n_jobs
        How many folds to run at a time, each in its own process; ``None``: one for each core (one if fits run on a
        GPU).
    image_key, shapes_key, table_key, layer
        Names of the elements in each SpatialData, if there are several.
    accelerator
        As in :func:`st_predict.tl.train`.
    seed
        Seed of everything random.
    seeds
        How many seeds (``seed`` and those after it) to train every network with in every fold, and to shuffle images
        with. One seed does not show what chance does to a network; ask for three or more before you call one method
        better than another. Closed-form methods, which no seed changes, are fitted once.

    Returns
    -------
    A DataFrame, one row for each ``method``, ``fold``, ``seed``, ``section``, ``gene_set`` and ``metric``, with its
    ``value``. Further columns tell how the method was fitted: ``networks``, the number of networks whose mean it
    predicts (0: closed form), ``inputs`` and ``stopping`` in words, ``epochs`` of the final fit, and the ``seconds`` that
    the whole fit took. ``.genes`` is the table of scores by gene, ``.failures`` lists the folds that failed.

    The column ``gene_set`` names the panel (``"heg250"``), its 50 genes most variable in training (``"hvg50"``), or
    ``"gene_sets"``: the sets that you asked for, each of which counts as one gene. The metrics are

    - means over genes: ``pcc``, ``spearman``, ``mse``, ``mae``, ``r2``, ``relative_variance``, ``ceiling``,
      ``ceiling_sd`` and ``pcc_of_ceiling``;
    - numbers of genes: ``n_genes``, and ``constant``, the genes whose PCC could not be computed and counts 0;
    - ``gene_correlation`` and ``morans_i``: how well the correlations between genes, and Moran's I, agree with the
      measured ones;
    - from the images alone, and so the same for every method: ``slide_shift``, how far the section lies off the training
      sections (beyond 1: half as far again as any of them off the others), and ``unlike_training``, the share of its
      spots beyond the limit that one training spot in a hundred passes;
    - for methods that are stopped by inner folds: ``covered50`` to ``covered95``, the share of spots within intervals for
      50 to 95 %, and ``expected_rank_correlation``, the rank correlation between the PCC that the model expected of each
      gene and the one it reached;
    - for comparison with papers only, since they flatter: ``pcc_h_testselected``, ``pcc_hvg_from_test_truth`` and
      ``pcc_pooled_slides``.

    Raises
    ------
    InputError
        If the input cannot be used, or ``out`` holds anything but an earlier comparison, lies within a store that is
        read, cannot be written to, or another run is at work there. This is found before any tile is encoded.

    Examples
    --------
    >>> table = stp.tl.cross_validate(sections, methods=["ridge"], genes=20, n_jobs=1)
    >>> pcc = table[(table["metric"] == "pcc") & (table["gene_set"] == "heg20")]
    >>> pcc.pivot_table(index="fold", columns="method", values="value").round(1)
    method  mean  ridge  shuffled
    fold
    P1       0.0    0...      ...
    P2       0.0    0...      ...
    P3       0.0    0...      ...
    """
    be_heard()
    folder = None if out is None else Path(out)
    check_places(out=folder, tile_store=tile_store)
    if folder is not None:
        check_comparison_folder(folder)
    hardware, device = find_hardware(accelerator, 1)
    frozen = FrozenEncoder(encoder, encoder_weights, device=device)
    terms = Terms(groups, genes, gene_sets, gene_ranking, min_counts, tile_um, tile_px, seed, seeds)
    asked = check_comparison(sections, methods, terms, Elements(image_key, shapes_key, table_key, layer))
    check_outside(asked.read, out=folder, tile_store=tile_store)
    logger.debug("encoder %s", frozen.identity)  # one that is unknown is said before a folder is made
    if folder is not None:
        make_comparison_folder(folder)
    with (
        nullcontext() if folder is None else alone_in(folder, where="out"),
        TileStore(tile_store, limit_gb=tile_store_gb) as store,
        telling_what_is_left(partial(_left, folder)),
    ):
        study = _study(asked, frozen, hardware, store)
        labels = ", ".join(dict.fromkeys(candidate.label for candidate in asked.candidates))
        logger.info("%s: %d folds, %d seed%s, of %s", asked.split, len(asked.folds), seeds, "s" * (seeds > 1), labels)
        kept = KeptFolds(folder, study)
        results, failures = _run(study, asked.candidates, asked.folds, kept, _processes(n_jobs, study))
        table = assemble(results, failures, split=asked.split)
        if folder is not None:
            _write(table, folder)
    return table


def _write(table: ScoreTable, folder: Path) -> None:
    """Write the tables; where that cannot be done they are not lost: they are returned."""
    for name, part in {"scores": table, "gene_scores": table.genes, "failures": table.failures}.items():
        try:
            with replacing_file(folder / f"{name}.csv") as file:
                part.to_csv(file, index=False)
        except NotWritten as error:
            logger.error("%s; the table is returned all the same: write it elsewhere with to_csv", error.what)


def _left(folder: Path | None) -> str:
    if folder is None:
        return "Nothing of the comparison is kept; out would keep the folds that are finished"
    return f"The folds that were finished are kept in {folder}; the same call goes on with the others"


def _study(asked: Comparison, frozen: FrozenEncoder, hardware: Hardware, store: TileStore) -> Study:
    """Encode every tile once."""
    tiles = {
        # Tiles that are stored come first: a full disk is found before anything is encoded.
        kind: encode_sections(asked.read, frozen, asked.specs[kind], store, trainable=kind)
        for kind in sorted(asked.specs, reverse=True)
    }
    return Study(asked.read.sections, tiles.get(False), tiles.get(True), hardware)


def _processes(n_jobs: int | None, study: Study) -> int:
    """Number of processes: as asked for, else one for each core, or one where fits share a GPU."""
    import os

    if n_jobs is not None:
        return n_jobs
    on_cpu = study.hardware.accelerator == "cpu" or torch_device(study.hardware.accelerator) == "cpu"
    return n_cores() if on_cpu and os.name == "posix" else 1


def _run(
    study: Study, candidates: Sequence[Candidate], folds: Sequence[OuterFold], kept: Any, n_jobs: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Results and failures of every candidate and fold, in the order of the candidates."""
    jobs = [(candidate, fold) for candidate in candidates for fold in folds]
    results = {i: found for i, job in enumerate(jobs) if (found := kept.find(*job)) is not None}
    if results:
        logger.info("%d of %d folds were finished earlier", len(results), len(jobs))
    todo = [i for i in range(len(jobs)) if i not in results]
    failures = {}
    with progress_bar(len(jobs), "cross-validate", unit="fold") as bar, quiet(), hidden_progress():
        bar.update(len(results))
        for n, result, error in run_jobs(run_fold, study, [jobs[i] for i in todo], n_jobs=n_jobs):
            candidate, fold = jobs[todo[n]]
            bar.update(1)
            if error is None:
                results[todo[n]] = result
                kept.keep(candidate, fold, result)
            else:
                failed = {"method": candidate.label, "fold": fold.name, "seed": candidate.plan.seed}
                failures[todo[n]] = {**failed, "error": _said(error)}
    for failure in failures.values():
        logger.warning(
            "%(method)s failed with %(fold)s held out (seed %(seed)d), and has no score there: %(error)s", failure
        )
    ordered = [{**results[i], "label": jobs[i][0].label} for i in sorted(results)]
    return ordered, [failures[i] for i in sorted(failures)]


def _said(error: Exception) -> str:
    """One line a user can read."""
    if type(error).__name__ == "KilledWorker":
        return "its process died twice: out of memory, or a crash in a library"
    return f"{type(error).__name__}: {shorten(str(error), 300, placeholder=' ...')}"
