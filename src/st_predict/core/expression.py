"""Counts to training targets: totals, log1p of counts per 10,000, gene sets, and the choice of the gene panel.

A target is a gene, or a set of genes that the section knows by name: the mean of its genes. Counts come dense or as
scipy sparse matrices ``(n_spots, n_genes)``; nothing here knows tables or files.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from st_predict.core.errors import InputError
from st_predict.core.gene_names import of_note

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from st_predict.core.section import Section

TARGET_SUM = 1e4
GeneRanking = Literal["heg", "hvg"]


def total_counts(counts: Any) -> NDArray[np.float64]:
    """Total count of every spot over all genes, ``(n_spots,)``."""
    return sums(counts, axis=1)


def sums(counts: Any, *, axis: int) -> NDArray[np.float64]:
    """Sums over spots (0) or genes (1), added up in float64 whatever type the counts have."""
    if hasattr(counts, "toarray"):  # a sparse matrix adds in its own type, and converts the sum
        product: NDArray[np.float64] = (counts if axis == 1 else counts.T) @ np.ones(counts.shape[axis])
        return product
    total = counts.sum(axis=axis, dtype=np.float64) if isinstance(counts, np.ndarray) else counts.sum(axis=axis)
    return np.asarray(total, dtype=np.float64).ravel()


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
    out = np.full((counts.shape[0], len(columns)), np.nan, dtype=np.float32)
    known = columns >= 0
    out[:, known] = np.log1p(dense(counts[:, columns[known]]) * _per_count(counts))
    return out


def _per_count(counts: Any) -> NDArray[np.float32]:
    """Value of one count per 10,000 in each spot, ``(n_spots, 1)``; 0 in a spot without counts."""
    totals = total_counts(counts)
    scale = np.divide(TARGET_SUM, totals, out=np.zeros_like(totals), where=totals > 0)
    return scale[:, None].astype(np.float32)


def gene_columns(gene_names: NDArray[np.str_], wanted: Sequence[str]) -> NDArray[np.intp]:
    """Column of every wanted gene, -1 where the section does not have it."""
    position = {gene: i for i, gene in enumerate(gene_names.tolist())}
    return np.array([position.get(gene, -1) for gene in wanted], dtype=np.intp)


def section_expression(section: Section, panel: Sequence[str]) -> NDArray[np.float32]:
    """Targets of one section, ``(n_spots, G)``: log1p of counts per 10,000, and for a gene set the mean over its genes.

    They are NaN for genes that the section lacks, and for sets of which it lacks a gene.
    """
    if section.counts is None:
        msg = f"section {section.name!r} carries no expression"
        raise ValueError(msg)
    out = log_normalize(section.counts, _columns(section, panel))
    for place, counts in set_counts(section, panel):
        out[:, place] = np.log1p(counts * _per_count(section.counts)).mean(axis=1, dtype=np.float64)
    return out


def target_counts(section: Section, targets: Sequence[str]) -> NDArray[np.float32]:
    """Raw counts ``(n_spots, G)`` of targets that the section has, of a gene set their sum over its genes."""
    columns = _columns(section, targets)
    genes = dense(section.counts[:, columns[columns >= 0]])
    of_sets = {place: sums(counts, axis=1) for place, counts in set_counts(section, targets)}
    if not of_sets:
        return genes
    out = np.empty((len(genes), len(targets)), np.float32)
    out[:, columns >= 0] = genes
    for place, values in of_sets.items():
        out[:, place] = values
    return out


def known_targets(section: Section, targets: Sequence[str]) -> NDArray[np.bool_]:
    """Which targets a section has ``(G,)``: the gene, or every gene of the set."""
    known: NDArray[np.bool_] = _columns(section, targets) >= 0
    for place, columns in _set_columns(section, targets).items():
        known[place] = (columns >= 0).all()
    return known


def count_genes(targets: Sequence[str], gene_sets: Collection[str]) -> int:
    """How many of some targets are genes; in a panel they come first."""
    return sum(target not in gene_sets for target in targets)


def describe_panel(panel: Sequence[str], gene_sets: Collection[str]) -> str:
    """How large a panel is, in words."""
    genes = f"{count_genes(panel, gene_sets)} genes"
    sets = f"{len(gene_sets)} gene set{'s' * (len(gene_sets) > 1)}"
    return f"{genes} and {sets}" if gene_sets else genes


def set_counts(section: Section, targets: Sequence[str]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Every gene set among some targets all of whose genes the section has.

    Yields
    ------
    Its place among the targets, and the raw counts of its genes ``(n_spots, n_members)``.
    """
    sets = {place: c for place, c in _set_columns(section, targets).items() if (c >= 0).all()}
    if not sets:
        return
    used = np.unique(np.concatenate(list(sets.values())))
    counts = section.counts[:, used]  # once for all sets: it may be read from a file
    for place, columns in sets.items():
        yield place, dense(counts[:, np.searchsorted(used, columns)])


def _columns(section: Section, targets: Sequence[str]) -> NDArray[np.intp]:
    """:func:`gene_columns` of the targets that are genes, -1 for sets, also where a gene has the name of one."""
    columns = gene_columns(section.gene_names, targets)
    columns[np.array([target in section.gene_sets for target in targets], dtype=bool)] = -1
    return columns


def _set_columns(section: Section, targets: Sequence[str]) -> dict[int, NDArray[np.intp]]:
    """:func:`gene_columns` of the genes of every set among the targets, by the set's place."""
    places = [i for i, target in enumerate(targets) if target in section.gene_sets]
    if not places:
        return {}
    members = [section.gene_sets[targets[i]] for i in places]
    columns = gene_columns(section.gene_names, [gene for genes in members for gene in genes])
    ends = np.cumsum([len(genes) for genes in members])
    return dict(zip(places, np.split(columns, ends[:-1]), strict=True))


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
            remedy="map Ensembl ids to symbols (or the reverse) so that all sections use one kind"
            + of_note(first, set().union(*others)),
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
            first += sums(section.counts, axis=0)[columns]
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
        lost, there = set().union(*missing.values()), set().union(*(s.gene_names.tolist() for s in sections))
        near = of_note(lost, there - lost)
        remedy = "drop those genes from the list, or pass a number to have the panel chosen"
        if near and not lost & there:  # none of the sections has them as they are written
            remedy = "write each name once, as the tables have it, or drop it"
        raise InputError(
            f"the gene list cannot be used: {detail or ('listed twice: ' + ', '.join(twice) if twice else 'it is empty')}",
            where="genes",
            expected="distinct names that every training section has",
            remedy=remedy + near,
        )
    return genes
