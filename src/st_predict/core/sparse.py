"""Whether a sparse matrix is whole: its indices and the starts of its rows fit its shape, before SciPy follows them.

SciPy checks neither when it slices or adds up: it reads, and writes, beside the memory of the matrix. Knows arrays alone,
neither files nor tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COMPRESSED = ("csr", "csc")


def indices_fault(indices: NDArray[np.integer], n: int, what: str) -> str:
    """What is wrong with the indices of ``n`` genes or spots (``what``), in words that follow their name; ``""`` if nothing."""
    low, high = (int(indices.min()), int(indices.max())) if len(indices) else (0, -1)
    return f"are {low} to {high}, and there are {n} {what}" if low < 0 or high >= n else ""


def indptr_fault(indptr: NDArray[np.integer], n: int, n_values: int) -> str:
    """What is wrong with where ``n`` rows (or columns) start in a list of values, as :func:`indices_fault` says it."""
    if len(indptr) != n + 1:
        return f"has length {len(indptr)} in place of {n + 1}"
    starts = indptr.astype(np.int64)
    if starts[0] != 0 or starts[-1] != n_values or (np.diff(starts) < 0).any():
        return f"does not rise from 0 to the number of values, {n_values}"
    return ""


def sparse_fault(matrix: Any, columns: str = "genes", rows: str = "spots") -> str:
    """What is wrong with a matrix of SciPy, with the array that it is wrong in; ``""`` for a whole one, or a dense one."""
    from scipy.sparse import issparse

    if not issparse(matrix) or matrix.format not in _COMPRESSED:
        return ""
    (n_lines, n), what = (matrix.shape, columns) if matrix.format == "csr" else (matrix.shape[::-1], rows)
    room = min(len(matrix.data), len(matrix.indices))
    end = int(matrix.indptr[-1]) if len(matrix.indptr) else 0
    n_values = end if 0 <= end <= room else room  # SciPy allows room behind the last value
    if why := indptr_fault(matrix.indptr, n_lines, n_values):
        return f"indptr {why}"
    why = indices_fault(matrix.indices[:n_values], n, what)
    return why and f"indices {why}"


def check_sparse(matrix: Any, *, where: str, columns: str = "genes", rows: str = "spots") -> None:
    """Refuse a sparse matrix that is not whole.

    Parameters
    ----------
    matrix
        Any matrix of spots in rows; only CSR and CSC of SciPy are looked at.
    where
        What the user calls it.
    columns, rows
        What its columns and rows are.

    Raises
    ------
    InputError
        With the array, its range, and that of the matrix.
    """
    if why := sparse_fault(matrix, columns, rows):
        raise damaged(why, where=where)


def damaged(why: str, *, where: str) -> InputError:
    """Make the error for a sparse matrix; ``why`` is a sentence on one of its arrays."""
    return InputError(
        f"the sparse matrix is damaged: {why}",
        where=where,
        expected="indices within the matrix, and an indptr that rises from 0 to the number of values",
        remedy="read or copy the table again from where it came, and write it again",
    )
