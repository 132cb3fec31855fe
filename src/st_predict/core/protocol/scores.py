"""Scores of one prediction of one section: gene by gene, and over sets of genes. Knows no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.ceiling import target_ceilings
from st_predict.core.expression import count_genes, set_counts, target_counts, total_counts
from st_predict.core.metrics import agreement, gene_scores, morans_i, structure_agreement
from st_predict.core.model.reliability import LEVELS
from st_predict.core.neighbors import nearest_spots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from st_predict.core.model.reliability import Reliability
    from st_predict.core.section import Section

_NEIGHBORS = 6  # a spot's surroundings on a hexagonal array
_MEANS = ("pcc", "spearman", "mse", "mae", "r2", "relative_variance", "ceiling", "ceiling_sd")


GENE_SCORES = (
    "pcc", "spearman", "mse", "mae", "r2", "relative_variance", "constant", "mean_count", "ceiling", "ceiling_sd", "morans_i",
    "morans_i_measured",
)  # fmt: skip
"""What :func:`score_genes` tells of every gene."""
EXPECTED = ("expected_pcc", *(f"covered{100 * level:.0f}" for level in LEVELS))
"""What :func:`score_reliability` tells of every gene."""


def score_genes(
    section: Section, predicted: NDArray[np.float32], truth: NDArray[np.float32], genes: Sequence[str], *, seed: int
) -> dict[str, NDArray[Any]]:
    """Every score of every gene over the spots of one section.

    Parameters
    ----------
    section
        The section with its counts, only the spots that are scored.
    predicted, truth
        ``(n_spots, G)``, log1p of counts per 10,000.
    genes
        Names of the G genes, after them of the section's gene sets that are scored as well; it has all of these.
    seed
        Seed of the draws behind the noise ceiling.

    Returns
    -------
    Arrays ``(G,)``: those of :func:`~st_predict.core.metrics.gene_scores`, ``mean_count``, ``ceiling`` and
    ``ceiling_sd`` (see :func:`~st_predict.core.ceiling.noise_ceiling`), and Moran's I over each spot's six nearest,
    ``morans_i`` of the prediction and ``morans_i_measured``.
    """
    counts = target_counts(section, genes)
    of_genes = counts[:, : count_genes(genes, section.gene_sets)]
    of_sets = (members for _, members in set_counts(section, genes))
    ceiling = target_ceilings(of_genes, of_sets, total_counts(section.counts), seed=seed)
    nearest = nearest_spots(section.centers_px, min(_NEIGHBORS, section.n_spots - 1))
    return {
        **gene_scores(predicted, truth),
        "mean_count": counts.mean(axis=0, dtype=np.float64),
        "ceiling": ceiling.value,
        "ceiling_sd": ceiling.sd,
        "morans_i": morans_i(predicted, nearest.rows, nearest.weights),
        "morans_i_measured": morans_i(truth, nearest.rows, nearest.weights),
    }


def score_reliability(
    reliability: Reliability, predicted: NDArray[np.float32], truth: NDArray[np.float32]
) -> dict[str, NDArray[np.float64]]:
    """What was expected of every gene, and how many of its spots lie within each interval.

    Parameters
    ----------
    reliability
        Of these genes, as the model knew it before.
    predicted, truth
        ``(n_spots, G)``.

    Returns
    -------
    Arrays ``(G,)``: ``expected_pcc``, and ``covered50``, ``covered80``, ``covered90`` and ``covered95``.
    """
    found = {"expected_pcc": reliability.expected_pcc.double().numpy()}
    for level in LEVELS:
        lower, upper = reliability.interval(predicted, level)
        found[f"covered{100 * level:.0f}"] = ((truth >= lower) & (truth <= upper)).mean(axis=0)
    return found


def score_sets(
    predicted: NDArray[np.float32],
    truth: NDArray[np.float32],
    genes: Sequence[str],
    scores: Mapping[str, NDArray[Any]],
    gene_sets: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Scores of one section over sets of genes, a row a set and metric.

    Parameters
    ----------
    predicted, truth
        ``(n_spots, G)``.
    genes
        Their names.
    scores
        See :func:`score_genes`.
    gene_sets
        Gene names by set; names the section lacks are left out.

    Returns
    -------
    Rows of ``gene_set``, ``metric`` and ``value``: means over the set's genes, ``n_genes``, how many were
    ``constant``, ``pcc_of_ceiling``, and how well ``gene_correlation`` and ``morans_i`` agree with the truth's.
    """
    place = {gene: i for i, gene in enumerate(genes)}
    rows = []
    for name, members in gene_sets.items():
        chosen = np.array([place[gene] for gene in members if gene in place], dtype=np.intp)
        if not len(chosen):
            continue
        values = {metric: _mean(scores[metric][chosen]) for metric in _MEANS}
        values["pcc_of_ceiling"] = values["pcc"] / values["ceiling"] if values["ceiling"] > 0 else float("nan")
        values["gene_correlation"] = structure_agreement(predicted[:, chosen], truth[:, chosen])
        values["morans_i"] = agreement(scores["morans_i"][chosen], scores["morans_i_measured"][chosen])
        values["constant"] = float(scores["constant"][chosen].sum())
        values["n_genes"] = float(len(chosen))
        rows += [{"gene_set": name, "metric": metric, "value": value} for metric, value in values.items()]
    return rows


def _mean(values: NDArray[np.float64]) -> float:
    """Mean over genes for which the score exists."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
