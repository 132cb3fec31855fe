"""The numbers behind a map of expression: a prediction and, where there is one, the measurement.

Reads through the boundary; draws nothing.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from st_predict._spatialdata.prediction import check_predicted, is_own_table, read_prediction
from st_predict._spatialdata.read import read_section
from st_predict.core.errors import InputError
from st_predict.core.expression import known_targets, section_expression
from st_predict.core.fitting.plan import usable_spots
from st_predict.core.gene_names import named_like, say_lost
from st_predict.core.metrics import gene_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Elements, Placed
    from st_predict._spatialdata.prediction import Prediction
    from st_predict.core.section import Section


class Compared(NamedTuple):
    """Some genes of one section."""

    section: Section
    placed: Placed
    genes: list[str]
    """Genes and gene sets of the columns below, ``(G,)``."""
    prediction: Prediction
    """All that was predicted."""
    predicted: NDArray[np.float32]
    """``(n, G)``, log1p of counts per 10,000."""
    measured: NDArray[np.float32] | None
    """The same of the counts, NaN for a gene the section lacks; ``None`` on an H&E-only section."""
    scored: NDArray[np.bool_]
    """Spots with enough counts ``(n,)``; all of them where nothing was measured."""
    min_counts: float
    """What is enough."""
    pcc: list[float | None]
    """PCC of each gene over the scored spots, as ``evaluate`` gives it; ``None`` where there is nothing to correlate."""

    @property
    def unpredictable(self) -> list[bool]:
        """For each gene, whether the model expected no more of it than chance gives."""
        poor = self.prediction.unpredictable
        return [gene in poor for gene in self.genes]


def compare(
    sdata: SpatialData,
    genes: Sequence[str] | None,
    *,
    key: str,
    min_counts: float | None,
    elements: Elements,
) -> Compared:
    """Read a prediction, and the measured expression where there is one.

    Parameters
    ----------
    sdata
        A section that was predicted.
    genes
        Genes and gene sets that are wanted; ``None``: the whole panel.
    key
        ``key_added`` of the prediction.
    min_counts
        Least counts of a spot to be scored; ``None``: as in training.
    elements
        The user's choice of elements.

    Raises
    ------
    InputError
        If the section cannot be read, there is no such prediction, or a gene is not in it.
    """
    alone = is_own_table(sdata, key, elements.table_key)
    if alone:
        elements = elements._replace(table_key=key)
    section, placed = read_section(sdata, elements, need_counts=not alone)
    prediction = read_prediction(sdata.tables[str(placed.table)], key)
    section = named_like(replace(section, gene_sets=prediction.gene_sets), prediction.genes)
    genes = prediction.panel if genes is None else [str(gene) for gene in genes]
    _check_genes(genes, prediction.panel, [str(gene) for gene in section.gene_names])
    columns = [prediction.panel.index(gene) for gene in genes]
    predicted = prediction.expression[:, columns]
    check_predicted(predicted, key, section.name)
    least = prediction.min_counts if min_counts is None else min_counts
    if alone:
        everywhere = np.ones(section.n_spots, dtype=bool)
        return Compared(section, placed, genes, prediction, predicted, None, everywhere, least, [None] * len(genes))
    return _with_measured(section, placed, prediction, predicted, genes, least)


def _with_measured(
    section: Section,
    placed: Placed,
    prediction: Prediction,
    predicted: NDArray[np.float32],
    genes: list[str],
    min_counts: float,
) -> Compared:
    measured = section_expression(section, genes)
    lost = [gene for gene, has in zip(genes, known_targets(section, genes), strict=True) if not has]
    say_lost(lost, genes, section.gene_names, of=section.name, so="there is no measurement of those")
    scored = usable_spots(section, min_counts)
    if not scored.any():
        raise InputError(
            f"none of {section.n_spots} spots has {min_counts:g} counts",
            where="min_counts",
            expected="spots with enough counts to be shown",
            remedy="lower min_counts",
        )
    pcc: list[float | None] = [None] * len(genes)
    known = np.flatnonzero(np.isfinite(measured).all(axis=0))
    if scored.sum() >= 3 and len(known):  # as few as evaluate takes
        found = gene_scores(predicted[scored][:, known], measured[scored][:, known])["pcc"]
        for gene, value in zip(known, found, strict=True):
            pcc[gene] = float(value)
    return Compared(section, placed, genes, prediction, predicted, measured, scored, min_counts, pcc)


def _check_genes(wanted: Sequence[str], predicted: Sequence[str], measured: Sequence[str]) -> None:
    if not wanted:
        raise InputError("no gene was asked for", where="genes", expected="one or more gene names", remedy="name some")
    lost = [gene for gene in wanted if gene not in set(predicted)]
    if not lost:
        return
    lower = {gene.lower(): gene for gene in predicted}
    near = {gene: difflib.get_close_matches(gene.lower(), lower, n=3) for gene in lost}
    hints = [f"{gene}: {', '.join(lower[name] for name in names)}" for gene, names in near.items() if names]
    only_measured = [gene for gene in lost if gene in set(measured)]
    raise InputError(
        f"not predicted: {', '.join(lost[:10])}"
        + (f" (measured, but not in the model's panel: {', '.join(only_measured[:10])})" if only_measured else ""),
        where="genes",
        expected=f"genes of the {len(predicted)} in the panel: {', '.join(predicted[:5])}, ...",
        remedy=f"names near those: {'; '.join(hints[:10])}"
        if hints
        else "train with genes=[...] to have them predicted",
    )
