"""Sparse matrices of a table, in memory, in a store or in a file: refused by name where they are damaged, before any is used.

SciPy drops values behind the last row when it makes a matrix, so the end of ``indptr`` can only be compared on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from st_predict.core.sparse import check_sparse, damaged, indptr_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

_KINDS = ("layers", "obsm", "varm", "obsp", "varp")
_COMPRESSED = {"csr_matrix": 0, "csc_matrix": 1}
_PARTS = ("data", "indices", "indptr")


def check_matrices(table: AnnData, own: str) -> None:
    """Refuse a table of which a sparse matrix is damaged; ``own`` is what the user calls it.

    All are looked at, also those that nobody asked for: rows of a table are taken from all of them.

    Raises
    ------
    InputError
        With the matrix and its array.
    """
    for kind in _KINDS:
        columns = "genes" if kind == "layers" else "spots" if kind == "obsp" else "columns"
        for name, matrix in getattr(table, kind).items():
            if name is None:  # X, from AnnData 0.13 on
                continue
            check_sparse(
                matrix,
                where=f"{own}.{kind}[{name!r}]",
                columns=columns,
                rows="genes" if kind.startswith("var") else "spots",
            )
    check_sparse(table.X, where=f"{own}.X")
    if table.raw is not None:
        check_sparse(table.raw.X, where=f"{own}.raw.X")


def check_written(table: Any, own: str) -> None:
    """Refuse a table on disk, a group of Zarr or HDF5, where the starts of rows do not fit the values of a matrix.

    Raises
    ------
    InputError
        With the matrix.
    """
    for name, matrix in written_matrices(table):
        shape, axis = matrix.attrs.get("shape"), _COMPRESSED.get(matrix.attrs.get("encoding-type"))
        if shape is None or axis is None:  # of a kind that anndata does not know, and says so
            continue
        n = int(shape[axis])
        if why := indptr_fault(matrix["indptr"][:], n, matrix["data"].shape[0]):
            raise damaged(f"indptr {why}", where=f"{own}/{name}")


def written_matrices(table: Any) -> Iterator[tuple[str, Any]]:
    """Sparse matrices of a table on disk, by their paths in it."""
    for place in ("X", "raw/X", *_KINDS):
        if place not in table or not hasattr(table[place], "keys"):
            continue
        below = [(place, table[place])]
        if place in _KINDS:
            below = [(f"{place}/{name}", table[place][name]) for name in table[place].keys()]
        yield from ((name, one) for name, one in below if hasattr(one, "keys") and set(_PARTS) <= set(one.keys()))
