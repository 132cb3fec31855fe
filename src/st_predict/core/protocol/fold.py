"""One fold of one candidate: fit without what is held out, predict it, score it."""

from __future__ import annotations

import dataclasses
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata

from st_predict.core import paper_style
from st_predict.core.expression import count_genes, known_targets, section_expression
from st_predict.core.fitting.fit import train_model, with_domain
from st_predict.core.fitting.network import Run
from st_predict.core.fitting.plan import check_plan, usable_spots
from st_predict.core.metrics import agreement
from st_predict.core.model.predict import features_of
from st_predict.core.protocol.choose import choose
from st_predict.core.protocol.scores import score_genes, score_reliability, score_sets
from st_predict.core.protocol.terms import inputs_in_words, stopping_in_words
from st_predict.core.splits import held_out_groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from st_predict.core.model.domain import Domain
    from st_predict.core.model.model import Model
    from st_predict.core.protocol.study import Candidate, Study
    from st_predict.core.section import Section
    from st_predict.core.splits import OuterFold

N_VARIABLE = 50
"""Size of the gene set of the most variable panel genes."""
GIVEN = "gene_sets"
"""What tables call the gene sets that the user gave, which are scored beside the genes."""


def fit_fold(study: Study, candidate: Candidate, fold: OuterFold) -> Model:
    """Everything that is fitted in a fold; sees the training sections and nothing else."""
    return fit_study(study.only(fold.train), candidate)


def fit_study(training: Study, candidate: Candidate) -> Model:
    """Train a candidate on all sections of a study, chosen on them where it is to be chosen."""
    if candidate.among:
        choice = choose(training, candidate.among, fit_study)
        told = choice.told(held_out_groups(training.sections)[0])
        return dataclasses.replace(fit_study(training, choice.chosen), choice=told)
    plan = check_plan(training.sections, candidate.plan)
    return train_model(training.sections, training.tiles_of(candidate), plan, Run(training.hardware), compare=False)


def gene_sets(training: Sequence[Section], panel: list[str], candidate: Candidate) -> dict[str, list[str]]:
    """The panel's genes, the 50 most variable where it has more, chosen on training sections; the user's sets, if any."""
    plan = candidate.plan
    given = training[0].gene_sets
    panel = panel[: count_genes(panel, given)]
    last = {GIVEN: list(given)} if given else {}
    # By what was asked for, so that folds whose sections share fewer genes are of the same set.
    name = f"{plan.gene_ranking}{plan.genes}" if isinstance(plan.genes, int) else "listed"
    if len(panel) <= N_VARIABLE:
        return {name: panel, **last}
    shown = [section.keep(usable_spots(section, plan.min_counts)) for section in training]
    variance = np.concatenate([section_expression(section, panel) for section in shown]).var(axis=0)
    variable = np.argsort(-variance, kind="stable")[:N_VARIABLE]
    return {name: panel, f"hvg{N_VARIABLE}": [panel[i] for i in variable], **last}


class Scored(NamedTuple):
    """One held-out section, as it was predicted and scored. ``n`` spots that are scored, ``G`` genes without gene sets."""

    rows: list[dict[str, Any]]
    """Scores, as in the table."""
    columns: Mapping[str, NDArray[Any]]
    """Scores of each gene and gene set."""
    genes: list[str]
    predicted: NDArray[np.float32]
    """``(n, G)``."""
    truth: NDArray[np.float32]
    """``(n, G)``."""


def _scored(
    study: Study,
    candidate: Candidate,
    model: Model,
    domain: Domain | None,
    sets: Mapping[str, list[str]],
    number: int,
) -> Scored:
    """Predict and score one section; ``domain`` is what training looks like, ``sets`` the gene sets of means."""
    section = study.sections[number]
    # Every spot is predicted, also those that are not scored: which those are follows from the held-out truth.
    features = features_of(study.tiles_of(candidate).values[number], model.encoder)
    whole = model.predict_features(features, section.centers_px)
    scored = usable_spots(section, candidate.plan.min_counts)
    kept, known = section.keep(scored), known_targets(section, model.panel)
    genes = [gene for gene, has in zip(model.panel, known, strict=True) if has]
    predicted, truth = whole[scored][:, known], section_expression(kept, genes)
    values = score_genes(kept, predicted, truth, genes, seed=candidate.plan.seed)
    sure: dict[str, NDArray[np.float64]] = {}
    if model.reliability is not None:
        shift, of_another = model.shift(features), model.is_of_another(section.subject)
        expected = model.reliability.on_slide(shift, of_another=of_another)
        sure = score_reliability(expected.only(known), predicted, truth)
    found = score_sets(predicted, truth, genes, values, sets)
    columns = {"section": np.full(len(genes), section.name), "gene": np.array(genes), **values, **sure}
    n_genes, panel = count_genes(genes, model.gene_sets), next(iter(sets))
    predicted, truth, pcc = predicted[:, :n_genes], truth[:, :n_genes], values["pcc"][:n_genes]
    found += _paper_style(panel, pcc, predicted, truth)
    if study.frozen is not None:
        found += _likeness_rows(panel, domain, study.frozen.values[number])
    found += _reliability_rows(panel, pcc, {name: share[:n_genes] for name, share in sure.items()})
    counted = {"n_spots": kept.n_spots, "n_spots_left_out": section.n_spots - kept.n_spots}
    rows = [{"section": section.name, **row, **counted} for row in found]
    return Scored(rows, columns, genes[:n_genes], predicted, truth)


def run_fold(study: Study, candidate: Candidate, fold: OuterFold) -> dict[str, Any]:
    """Fit, predict and score; plain values only, so that the result can be kept as JSON.

    Returns
    -------
    ``label``, ``fold``, ``sections``, ``seed``, ``networks`` (whose mean is predicted), ``inputs`` and ``stopping`` (see
    :mod:`~st_predict.core.protocol.terms`), ``seconds`` (of the fit), ``epochs`` and ``version``; ``scores``: rows of
    ``section``, ``gene_set``, ``metric`` and ``value``; ``genes``: columns of the gene-level table.
    """
    begin = time.perf_counter()
    model = fit_fold(study, candidate, fold)
    seconds = time.perf_counter() - begin
    domain = _domain(study, model, fold)
    if not model.has_own_encoder:
        model = dataclasses.replace(model, domain=domain)
    sets = gene_sets([study.sections[i] for i in fold.train], model.panel, candidate)
    scored = [_scored(study, candidate, model, domain, sets, number) for number in fold.held_out]
    rows = [row for one in scored for row in one.rows]
    if len(scored) > 1 and len({tuple(one.genes) for one in scored}) == 1:
        value = paper_style.pcc_pooled_slides([one.predicted for one in scored], [one.truth for one in scored])
        name = ", ".join(study.sections[i].name for i in fold.held_out)
        rows.append({"section": name, "gene_set": next(iter(sets)), "metric": "pcc_pooled_slides", "value": value})
    columns = [one.columns for one in scored]
    return {
        "label": candidate.label,
        "fold": fold.name,
        "sections": [study.sections[i].name for i in fold.held_out],
        "seed": candidate.plan.seed,
        "networks": model.recipe.fit.members if model.network.needs.gradient else 0,
        "inputs": inputs_in_words(candidate.plan.recipe, study.tiles_of(candidate)),
        "stopping": model.choice or stopping_in_words(candidate, [study.sections[i] for i in fold.train]),
        "seconds": seconds,
        "epochs": model.epochs if model.history_rows else 0,
        "version": f"st-predict {version('st-predict')}, torch {torch.__version__}",
        "scores": rows,
        "genes": {name: np.concatenate([part[name] for part in columns]).tolist() for name in columns[0]},
    }


def _domain(study: Study, model: Model, fold: OuterFold) -> Domain | None:
    """What the training sections of a fold look like, by frozen features: the same for every method, and fitted once."""
    if study.frozen is None:
        return None
    train = tuple(fold.train)
    if train not in study.domains:
        parts = [study.sections[i] for i in train], [study.frozen.values[i] for i in train]
        study.domains[train] = with_domain(dataclasses.replace(model, encoder=None), *parts).domain
    found: Domain = study.domains[train]
    return found


def _likeness_rows(gene_set: str, domain: Domain | None, features: NDArray[np.float32]) -> list[dict[str, Any]]:
    """How unlike the training sections a held-out one looks."""
    if domain is None:
        return []
    values = {
        "slide_shift": domain.shift(features),
        "unlike_training": float((domain.distance(features) > 1).mean()),
    }
    return [{"gene_set": gene_set, "metric": metric, "value": value} for metric, value in values.items()]


def _reliability_rows(
    gene_set: str, pcc: NDArray[np.float64], sure: Mapping[str, NDArray[np.float64]]
) -> list[dict[str, Any]]:
    """How well what was expected of genes ranks what was reached, and the share of spots within each interval."""
    if not sure:
        return []
    ranks = [rankdata(values) for values in (sure["expected_pcc"], pcc)]
    values = {"expected_rank_correlation": agreement(*ranks)}
    values |= {name: float(share.mean()) for name, share in sure.items() if name.startswith("covered")}
    return [{"gene_set": gene_set, "metric": metric, "value": value} for metric, value in values.items()]


def _paper_style(
    gene_set: str, pcc: NDArray[np.float64], predicted: NDArray[np.float32], truth: NDArray[np.float32]
) -> list[dict[str, Any]]:
    """Scores that flatter, under names that say so, see :mod:`~st_predict.core.paper_style`."""
    values = {
        "pcc_h_testselected": paper_style.pcc_h_testselected(pcc),
        "pcc_hvg_from_test_truth": paper_style.pcc_hvg_from_test_truth(predicted, truth),
    }
    return [{"gene_set": gene_set, "metric": metric, "value": value} for metric, value in values.items()]
