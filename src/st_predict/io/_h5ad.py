"""AnnData files, and the raw counts in an AnnData: those asked for, and never others in their place. Knows no image."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.encodings import known_encodings
from st_predict._spatialdata.kept import in_memory, own_spots, widened
from st_predict._spatialdata.matrices import check_written
from st_predict._spatialdata.prediction import check_measured
from st_predict.core.checks import check_counts
from st_predict.core.errors import InputError
from st_predict.core.sparse import check_sparse
from st_predict.io._checks import check_file

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

logger = logging.getLogger("st_predict")

RAW = "raw"
_LOOK = 100_000  # values by which a matrix that nobody asked for is judged
_X_Y = (("x", "y"), ("pxl_col_in_fullres", "pxl_row_in_fullres"))  # columns of a DataFrame of positions
_POINTER = b"version https://git-lfs"


def check_fetched(path: Path, *, where: str) -> None:
    """Refuse a file that is missing, empty, or stands for one that was never downloaded."""
    check_file(path, where=where)
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise InputError(
                f"{path} is a pointer of Git LFS, and the file behind it was not downloaded",
                where=where,
                expected="the file itself",
                remedy="git lfs pull, or download it again with st_predict.datasets.hest or huggingface_hub",
            )


def read_h5ad(path: Path, *, where: str) -> AnnData:
    """Read a file as AnnData writes it.

    Raises
    ------
    InputError
        If it is missing, cut short, no such file, or of a newer AnnData.
    """
    import anndata
    import h5py

    check_fetched(path, where=where)
    try:
        with h5py.File(path) as file:
            check_written(file, path.name)
        with known_encodings(path, where=where):
            return anndata.read_h5ad(path)
    except InputError:
        raise
    except (OSError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{path.name} cannot be read: {' '.join(str(error).split())[:200]}",
            where=where,
            expected="a whole .h5ad file, as anndata writes it",
            remedy="download or copy the file again",
        ) from error


def with_counts(adata: AnnData, layer: str | None, *, where: str) -> AnnData:
    """Make an AnnData of the spots in tissue whose ``X`` are the raw counts asked for, CSR float32.

    Parameters
    ----------
    adata
        Spots in rows, in memory; it stays as it is.
    layer
        ``None``: ``X``; ``"raw"``: ``adata.raw``, where no layer has that name; else the name of a layer.
    where
        The argument or file it was given as, for errors.

    Raises
    ------
    InputError
        If there are no counts there; the error names the places where there are some.
    """
    from scipy.sparse import csr_matrix

    counts, place = _matrix(adata, layer, where)
    try:
        if counts is None or not counts.shape[1]:
            raise _no_counts(where, place)
        if place != RAW:
            check_measured(adata, None if place == "X" else place, where=f"{where}.{place}", remedy=None)
        counts = in_memory(counts)
        check_sparse(counts, where=f"{where}.{place}")
        counts = widened(counts)
        check_counts(_values(counts), where=f"{where}.{place}")
    except InputError as error:
        others = [name for name, matrix in _matrices(adata) if name != place and _are_counts(matrix)]
        if not others:
            raise
        named = ", ".join(f"layer={name!r}" if name != "X" else "layer=None" for name in others)
        raise InputError(error.what, where=error.where, expected=error.expected,
                         remedy=f"there are raw counts elsewhere: give {named}") from error  # fmt: skip
    rows = own_spots(adata)
    if not rows.all():
        logger.info("%d of %d spots are not in tissue and left out", (~rows).sum(), len(rows))
    bare = adata.raw.to_adata() if place == RAW else adata
    kept = bare[rows].copy()
    kept.X = csr_matrix(counts[rows], dtype=np.float32)
    return kept


def _matrix(adata: AnnData, layer: str | None, where: str) -> tuple[Any, str]:
    """The matrix asked for, and what it is called."""
    if layer is None:
        return adata.X, "X"
    if layer in adata.layers:
        return adata.layers[layer], layer
    if layer == RAW and adata.raw is not None:
        return adata.raw.X, RAW
    found = [repr(name) for name, _ in _matrices(adata) if name != "X"]
    raise InputError(
        f"there is no layer {layer!r}",
        where=f"{where}, layer",
        expected=f"one of {', '.join(found) or '(there are none)'}, or None for X",
        remedy="correct layer",
    )


def _matrices(adata: AnnData) -> list[tuple[str, Any]]:
    """Every matrix of spots by genes, by what a user calls it."""
    layers = [(str(name), matrix) for name, matrix in adata.layers.items() if name]
    raw = [] if adata.raw is None else [(RAW, adata.raw.X)]
    return [("X", adata.X), *layers, *raw]


def _values(counts: Any) -> NDArray[Any]:
    return counts.data if hasattr(counts, "toarray") else np.asarray(counts)


def _are_counts(matrix: Any) -> bool:
    """Whether the first values of a matrix are raw counts."""
    if matrix is None:
        return False
    some = matrix[: max(1, _LOOK // max(matrix.shape[1], 1))]
    values = _values(widened(some.compute() if hasattr(some, "compute") else some))
    try:
        check_counts(values, where="layer")
    except InputError:
        return False
    return bool(np.any(values))


def _no_counts(where: str, place: str) -> InputError:
    return InputError(
        f"there are no counts: {place} is empty",
        where=f"{where}.{place}",
        expected="raw counts: whole numbers, 0 or more, none missing",
        remedy="give the AnnData that still has the counts",
    )


def spot_places(adata: AnnData, *, where: str) -> NDArray[np.float64]:
    """Centers of spots ``(n, 2)``, x then y, in px of the full-resolution image.

    Raises
    ------
    InputError
        If they are missing, are not of two columns, or some of them are not finite.
    """
    found = adata.obsm["spatial"] if "spatial" in adata.obsm else None
    centers = None if found is None else np.asarray(_by_name(found))
    if centers is None or centers.ndim != 2 or centers.shape[1] != 2 or centers.dtype.kind not in "iuf":
        held = "missing"
        if centers is not None:
            held = f"a {type(found).__name__} of shape {getattr(found, 'shape', ())} and type {getattr(found, 'dtype', centers.dtype)}"
        raise InputError(
            f"obsm['spatial'] is {held}",
            where=f"{where}.obsm['spatial']",
            expected="x and y of each spot in pixels of the full-resolution image, two columns",
            remedy="put the positions there, as scanpy and squidpy do",
        )
    if not len(centers):
        raise InputError("there are no spots", where=where, expected="at least one spot", remedy="give the whole table")
    lost = ~np.isfinite(centers).all(axis=1)
    if lost.any():
        raise InputError(
            f"{lost.sum()} of {len(lost)} spots have no position",
            where=f"{where}.obsm['spatial']",
            expected="finite positions",
            remedy="leave these spots out: adata[np.isfinite(np.asarray(adata.obsm['spatial'])).all(axis=1)]",
        )
    return centers.astype(np.float64)


def _by_name(found: Any) -> Any:
    """Positions as they are, or x and y of a DataFrame whose two columns have these names in another order."""
    names = list(getattr(found, "columns", ()))
    return next((found[list(own)] for own in _X_Y if set(own) == set(names)), found)
