"""The counts of a table: from X or a layer, checked; where they are none, the place that has some is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from st_predict._spatialdata.kept import check_genes, in_memory, own_counts, own_genes, own_spots
from st_predict._spatialdata.prediction import check_measured
from st_predict.core.checks import check_counts, unmasked
from st_predict.core.errors import InputError
from st_predict.core.sparse import check_sparse

if TYPE_CHECKING:
    from anndata import AnnData

    from st_predict._spatialdata.keys import Placed

_ROWS = 256  # that are looked at to tell counts from other numbers


def read_counts(table: AnnData, placed: Placed) -> Any:
    """Raw counts of the section's spots and genes ``(n_spots, n_genes)``.

    Raises
    ------
    InputError
        If there is no such layer, or there are no counts in it; the remedy names the place that has counts.
    """
    layer = placed.layer
    if layer is not None and layer not in table.layers:
        raise InputError(
            f"table {placed.table!r} has no layer {layer!r}",
            where="layer",
            expected=f"one of {', '.join(str(name) for name in table.layers if name) or '(there are none)'}, or None for X",
            remedy="correct layer",
        )
    check_genes(table)
    counts = table.X if layer is None else table.layers[layer]
    where = f"sdata.tables[{placed.table!r}]." + ("X" if layer is None else f"layers[{layer!r}]")
    if counts is None:
        raise InputError(
            f"table {placed.table!r} has no X",
            where=where,
            expected="raw counts in X, or the name of the layer that holds them",
            remedy=_elsewhere(table, placed) or "put the raw counts into X",
        )
    check_measured(table, layer, where=where, remedy=_elsewhere(table, placed))
    counts = in_memory(counts)
    check_sparse(counts, where=where)
    counts = own_counts(counts, own_spots(table), own_genes(table))
    try:
        check_counts(_values(counts), where=where)
    except InputError as error:
        remedy = _elsewhere(table, placed) or error.remedy
        raise InputError(error.what, where=error.where, expected=error.expected, remedy=remedy) from error
    return counts


def _values(counts: Any) -> Any:
    return counts.data if hasattr(counts, "toarray") else counts


def _elsewhere(table: AnnData, placed: Placed) -> str | None:
    """What to do where a layer, X or ``.raw`` has the counts that are missed; ``None`` where none of them has."""
    for layer in table.layers:
        if layer and layer != placed.layer and _has_counts(table.layers[layer]):
            return f"layer={layer!r}, which holds counts"
    if placed.layer is not None and _has_counts(table.X):
        return "leave layer out: X holds counts"
    if table.raw is None or not _has_counts(table.raw.X):
        return None
    own = f"sdata.tables[{placed.table!r}]"
    if table.var_names.isin(table.raw.var_names).all():
        return f"take those of .raw: {own}.layers['counts'] = {own}.raw[:, {own}.var_names].X; and layer='counts'"
    return f"take the table of .raw, which holds counts: {own} = {own}.raw.to_adata()"


def _has_counts(matrix: Any) -> bool:
    """Whether the first rows of a matrix are counts, some of them more than 1."""
    if matrix is None:
        return False
    rows = matrix[:_ROWS]
    values = unmasked(_values(rows.compute() if hasattr(rows, "compute") else rows))
    try:
        check_counts(values, where="")
    except InputError:
        return False
    return bool(values.size and values.max() > 1)
