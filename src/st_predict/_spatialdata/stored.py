"""Sections in Zarr stores: opened one at a time, their counts left on disk and read a band of rows at a time."""

from __future__ import annotations

from dataclasses import replace
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.encodings import known_encodings
from st_predict._spatialdata.kept import own_genes, own_spots, widened
from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.lost_table import check_tables
from st_predict._spatialdata.read import read_section
from st_predict.core.codecs import check_codecs
from st_predict.core.errors import InputError
from st_predict.core.expression import sums, total_counts
from st_predict.core.sparse import sparse_fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed
    from st_predict.core.section import Section

_BAND_ROWS = 8192
_LONGEST = 200  # letters of another package's words
_STORE_FILES = ("zarr.json", ".zattrs", ".zgroup")


def is_store(path: Path) -> bool:
    """Whether a folder is a Zarr store."""
    return any((path / name).exists() for name in _STORE_FILES)


def open_store(path: Path) -> SpatialData:
    """Read one store; images stay where they are.

    Raises
    ------
    InputError
        If there is none, it is cut, its tables have lost chunks, or one of its codecs would run code.
    """
    import spatialdata

    if not is_store(path):
        raise InputError(
            f"{path} is not a SpatialData Zarr store" if path.exists() else f"{path} does not exist",
            where="sections",
            expected="a folder that SpatialData.write made",
            remedy="read the section with st_predict.io and write it: sdata.write('A1.zarr')",
        )
    check_codecs(path, where="sections")
    check_tables(path, where="sections")
    try:
        with known_encodings(path, where="sections"):
            return spatialdata.read_zarr(path)
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read ({shorten(str(error), _LONGEST, placeholder=' ...')})",
            where="sections",
            expected="a whole SpatialData Zarr store",
            remedy="write it again: sdata.write('A1.zarr')",
        ) from error


def read_stored_section(path: Path, elements: Elements = Elements()) -> tuple[Section, Placed]:
    """Read a section with counts from a store, see :func:`read_section`; the counts are checked, and then left there."""
    sdata = open_store(path)
    section, placed = read_section(sdata, elements, need_counts=True)
    if not hasattr(section.counts, "indptr"):  # dense, and thus small
        return section, placed
    place = f"tables/{placed.table}/" + ("X" if placed.layer is None else f"layers/{placed.layer}")
    rows, columns = (np.flatnonzero(own(sdata.tables[str(placed.table)])) for own in (own_spots, own_genes))
    stored = StoredCounts(path, place, columns, total_counts(section.counts), rows)
    return replace(section, counts=stored), placed


class StoredCounts:
    """Raw counts in a store, as much of a sparse matrix as counts are used by: sums, rows, and columns of all rows.

    Parameters
    ----------
    path, place
        The store, and the group of the matrix in it.
    columns
        Its columns that are genes.
    totals
        Sums over all genes of the rows that are used.
    rows
        These rows, in order.
    """

    def __init__(
        self,
        path: Path,
        place: str,
        columns: NDArray[np.int64],
        totals: NDArray[np.float64],
        rows: NDArray[np.int64],
    ) -> None:
        self._path, self._place, self._columns, self._totals, self._rows = path, place, columns, totals, rows
        self.shape = len(totals), len(columns)

    def sum(self, axis: int) -> NDArray[np.float64]:
        """Of each row (1), which is known, or of each column (0)."""
        if axis == 1:
            return self._totals
        total = np.zeros(self.shape[1])
        for band in self._bands():
            total += sums(band, axis=0)
        return total

    def __getitem__(self, key: Any) -> Any:
        """Some rows, still on disk; or ``[:, columns]``, read."""
        if not isinstance(key, tuple):
            return StoredCounts(self._path, self._place, self._columns, self._totals[key], self._rows[key])
        from scipy.sparse import csr_matrix, vstack

        columns = key[1]
        parts = [band[:, columns] for band in self._bands()]
        return vstack(parts, format="csr") if parts else csr_matrix((0, len(columns)), dtype=np.float32)

    def parts(self) -> Iterator[NDArray[Any]]:
        """What counts are made of, to tell them apart by."""
        for band in self._bands():
            yield from (band.indptr, band.indices, band.data)

    def _bands(self) -> Iterator[Any]:
        """Bands of rows as sparse matrices; Zarr takes chunks that are gone for zeros, which the totals tell."""
        import zarr
        from anndata.io import sparse_dataset

        try:
            check_codecs(self._path / self._place, where="sections")
            matrix = sparse_dataset(zarr.open_group(self._path / self._place, mode="r"))
            for start in range(0, len(self._rows), _BAND_ROWS):
                rows = self._rows[start : start + _BAND_ROWS]
                first = int(rows.min())
                band = matrix[first : int(rows.max()) + 1]
                if why := sparse_fault(band):
                    raise ValueError(why)
                band = widened(band.tocsr())[rows - first]
                if self.shape[1] < band.shape[1]:
                    band = band[:, self._columns]
                if not np.allclose(total_counts(band), self._totals[start : start + _BAND_ROWS]):
                    raise ValueError("they were changed after they were first read")
                yield band
        except InputError:
            raise
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise InputError(
                f"the counts of {self._path} can no longer be read ({shorten(str(error), _LONGEST, placeholder=' ...')})",
                where=f"{self._path}/{self._place}",
                expected="the store as it was when it was first read",
                remedy="put it back, or leave this section out",
            ) from error
