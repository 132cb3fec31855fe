"""The numbers behind a map of expression: a prediction and, where there is one, the measurement.

Reads through the boundary; draws nothing.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Keys
    from st_predict.core.section import Section


class Compared(NamedTuple):
    """Some genes of one section."""

    section: Section
    keys: Keys
    genes: list[str]
    """Genes and gene sets of the columns below, ``(G,)``."""
    record: dict[str, Any]
    """Provenance of the prediction."""
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
        named = map(str, self.record["panel"])
        both = zip(named, self.record.get("expected_pcc", ()), self.record.get("chance", ()), strict=False)
        poor = {gene for gene, expected, chance in both if expected <= chance}
        return [gene in poor for gene in self.genes]


def compare(
    sdata: SpatialData,
    genes: Sequence[str] | None,
    *,
    key: str,
    min_counts: float | None,
    image_key: str | None,
    shapes_key: str | None,
    table_key: str | None,
    layer: str | None,
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
    image_key, shapes_key, table_key
        Elements, where there are several.
    layer
        Layer with raw counts; ``None``: ``X``.

    Raises
    ------
    InputError
        If the section cannot be read, there is no such prediction, or a gene is not in it.
    """
    from st_predict._spatialdata.kept import own_spots
    from st_predict._spatialdata.read import read_section
    from st_predict._spatialdata.write import prediction_record, recorded_sets

    alone = _is_own_table(sdata, key, table_key)
    section, keys = read_section(
        sdata,
        image_key=image_key,
        shapes_key=shapes_key,
        table_key=key if alone else table_key,
        layer=layer,
        need_counts=not alone,
    )
    table = sdata.tables[str(keys.table)]
    record = prediction_record(table.uns, key)
    section = replace(section, gene_sets=recorded_sets(record))
    panel = [str(gene) for gene in record["panel"]]
    genes = panel if genes is None else [str(gene) for gene in genes]
    _check_genes(genes, panel, [str(gene) for gene in section.gene_names])
    values = np.asarray(table.layers[key] if alone else table.obsm[key], dtype=np.float32)[own_spots(table)]
    predicted = values[:, [panel.index(gene) for gene in genes]]
    least = float(record["min_counts"]) if min_counts is None else min_counts
    if alone:
        everywhere = np.ones(section.n_spots, dtype=bool)
        return Compared(section, keys, genes, record, predicted, None, everywhere, least, [None] * len(genes))
    return _with_measured(section, keys, record, predicted, genes, least)


def _is_own_table(sdata: SpatialData, key: str, table_key: str | None) -> bool:
    """Whether the prediction is a table of its own, as on H&E-only sections.

    Raises
    ------
    InputError
        If there is neither such a table nor a measured one that could hold the prediction.
    """
    from st_predict._spatialdata.keys import check_spatialdata, is_our_table
    from st_predict._spatialdata.write import prediction_record

    check_spatialdata(sdata)
    if table_key in (None, key) and key in sdata.tables and is_our_table(sdata.tables[key]):
        prediction_record(sdata.tables[key].uns, key)
        return True
    if table_key is None and all(is_our_table(table) for table in sdata.tables.values()):
        prediction_record({}, key)
    return False


def _with_measured(
    section: Section,
    keys: Keys,
    record: dict[str, Any],
    predicted: NDArray[np.float32],
    genes: list[str],
    min_counts: float,
) -> Compared:
    from st_predict.core.expression import section_expression
    from st_predict.core.metrics import gene_scores
    from st_predict.core.training.task import usable_spots

    measured = section_expression(section, genes)
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
    return Compared(section, keys, genes, record, predicted, measured, scored, min_counts, pcc)


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
