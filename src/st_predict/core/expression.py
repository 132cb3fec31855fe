"""Counts to training targets: totals, log1p of counts per 10,000, and the choice of the gene panel.

Counts come dense or as scipy sparse matrices ``(n_spots, n_genes)``; nothing here knows tables or files.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from st_predict.core.section import Section

TARGET_SUM = 1e4
GeneRanking = Literal["heg", "hvg"]


def total_counts(counts: Any) -> NDArray[np.float64]:
    """Total count of every spot over all genes, ``(n_spots,)``."""
    return np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()


def dense(counts: Any) -> NDArray[np.float32]:
    """Counts as a dense float32 array."""
    return np.asarray(counts.toarray() if hasattr(counts, "toarray") else counts, dtype=np.float32)


def log_normalize(counts: Any, columns: NDArray[np.intp]) -> NDArray[np.float32]:
    """log1p of counts per 10,000 for some genes; the total is taken over **all** genes.

    Parameters
    ----------
    counts
        Raw counts ``(n_spots, n_genes)``.
    columns
        Genes wanted, ``(G,)``; -1 gives a column of NaN (a gene this section does not have).

    Returns
    -------
    ``(n_spots, G)`` float32. A spot without any count is 0 throughout.
    """
    totals = total_counts(counts)
    scale = np.divide(TARGET_SUM, totals, out=np.zeros_like(totals), where=totals > 0)
    out = np.full((counts.shape[0], len(columns)), np.nan, dtype=np.float32)
    known = columns >= 0
    out[:, known] = np.log1p(dense(counts[:, columns[known]]) * scale[:, None].astype(np.float32))
    return out


def gene_columns(gene_names: NDArray[np.str_], wanted: Sequence[str]) -> NDArray[np.intp]:
    """Column of every wanted gene, -1 where the section does not have it."""
    position = {gene: i for i, gene in enumerate(gene_names)}
    return np.array([position.get(gene, -1) for gene in wanted], dtype=np.intp)


def section_expression(section: Section, panel: Sequence[str]) -> NDArray[np.float32]:
    """Targets of one section, ``(n_spots, G)``: log1p of counts per 10,000, NaN for genes it lacks."""
    if section.counts is None:
        msg = f"section {section.name!r} carries no expression"
        raise ValueError(msg)
    return log_normalize(section.counts, gene_columns(section.gene_names, panel))


def common_genes(sections: Sequence[Section]) -> list[str]:
    """Genes every section has, in the order of the first.

    Raises
    ------
    InputError
        If there is none.
    """
    first, *others = (s.gene_names for s in sections)
    kept = set(first).intersection(*others)
    if not kept:
        examples = "; ".join(f"{s.name}: {', '.join(map(str, s.gene_names[:3]))}, ..." for s in sections[:4])
        raise InputError(
            f"no gene is common to all {len(sections)} sections ({examples})",
            where="var_names of the tables",
            expected="the same kind of gene names in every section",
            remedy="map Ensembl ids to symbols (or the reverse) so that all sections use one kind",
        )
    return [str(gene) for gene in first if gene in kept]


def choose_panel(sections: Sequence[Section], genes: Any, ranking: GeneRanking) -> list[str]:
    """The genes to predict, chosen on the given (training) sections only.

    Parameters
    ----------
    sections
        Training sections with counts, already filtered to usable spots.
    genes
        How many genes, or the user's own list, which is taken as it is.
    ranking
        ``"heg"``: highest mean raw count; ``"hvg"``: highest variance after log1p of counts per 10,000.

    Returns
    -------
    Gene names, best first (or in the user's order).

    Raises
    ------
    InputError
        If a listed gene is missing from a section, listed twice, or no gene is common to the sections.
    """
    if ranking not in ("heg", "hvg"):
        raise InputError(
            f"gene_ranking is {ranking!r}", where="gene_ranking", expected="'heg' or 'hvg'", remedy="choose one"
        )
    if isinstance(genes, str):
        return _listed_panel(sections, [genes])
    if isinstance(genes, Iterable):
        return _listed_panel(sections, [str(gene) for gene in genes])
    if isinstance(genes, bool) or not isinstance(genes, Integral) or genes < 1:
        raise InputError(
            f"genes is {genes!r}",
            where="genes",
            expected="how many genes, at least 1, or their names",
            remedy="correct genes",
        )
    shared = common_genes(sections)
    n_spots = sum(s.n_spots for s in sections)
    first = np.zeros(len(shared))
    second = np.zeros(len(shared))
    for section in sections:
        columns = gene_columns(section.gene_names, shared)
        if ranking == "heg":
            first += np.asarray(section.counts.sum(axis=0), dtype=np.float64).ravel()[columns]
            continue
        for start in range(0, len(columns), 2048):  # dense only a block of genes at a time
            block = slice(start, start + 2048)
            values = log_normalize(section.counts, columns[block]).astype(np.float64)
            first[block] += values.sum(axis=0)
            second[block] += (values**2).sum(axis=0)
    score = first if ranking == "heg" else second / n_spots - (first / n_spots) ** 2
    order = np.argsort(-score, kind="stable")[: int(genes)]
    return [shared[i] for i in order]


def _listed_panel(sections: Sequence[Section], genes: list[str]) -> list[str]:
    columns = {s.name: gene_columns(s.gene_names, genes) for s in sections}
    missing = {name: [genes[i] for i in np.flatnonzero(c < 0)] for name, c in columns.items() if (c < 0).any()}
    if not genes or len(set(genes)) < len(genes) or missing:
        detail = "; ".join(f"{name} lacks {', '.join(lost[:10])}" for name, lost in missing.items())
        twice = sorted({g for g in genes if genes.count(g) > 1})
        raise InputError(
            f"the gene list cannot be used: {detail or ('listed twice: ' + ', '.join(twice) if twice else 'it is empty')}",
            where="genes",
            expected="distinct names that every training section has",
            remedy="drop those genes from the list, or pass a number to have the panel chosen",
        )
    return genes
