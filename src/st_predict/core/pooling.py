"""Counts of points, cells or bins added up on the places of an array: each counted once, in blocks of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from st_predict.core.grid import HEX_APART

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix


class Lattice(NamedTuple):
    """An array of spots laid over an image, as :func:`st_predict.core.grid.grid_points` lays them."""

    pitch_px: float
    diameter_px: float
    """Side of a square spot, diameter of a round one; at most the pitch, so that spots do not overlap."""
    layout: str
    numbers: NDArray[np.int64]
    """Number of the spot at every row and column of the array ``(n_rows, n_cols)``; -1 where there is none."""
    n_spots: int

    @classmethod
    def of(
        cls, rows: NDArray[np.int64], columns: NDArray[np.int64], *, pitch_px: float, diameter_px: float, layout: str
    ) -> Lattice:
        """From the rows and columns of the spots as :func:`~st_predict.core.grid.grid_points` numbers them ``(n,)``."""
        columns = columns // 2 if layout == "hex" else columns
        numbers = np.full((rows.max() + 1, columns.max() + 1), -1, np.int64)
        numbers[rows, columns] = np.arange(len(rows))
        return cls(pitch_px, diameter_px, layout, numbers, len(rows))

    def spots_of(self, points_px: NDArray[np.float64]) -> NDArray[np.int64]:
        """The spot that each point lies in ``(n,)``; -1 where it lies in none.

        A square holds its left and upper side, not the others; a disk holds its rim.
        """
        n_rows, n_cols = self.numbers.shape
        found = np.full(len(points_px), -1, np.int64)
        with np.errstate(over="ignore"):
            places = points_px / self.pitch_px
        near = np.flatnonzero(((places >= -1) & (places <= (n_cols + 1, n_rows + 1))).all(axis=1))  # and are numbers
        x, y = places[near].T
        reach = self.diameter_px / self.pitch_px / 2
        if self.layout == "square":
            row, column = np.floor(y), np.floor(x)
            off_x, off_y = x - column - 0.5, y - row - 0.5
            within = (off_x >= -reach) & (off_x < reach) & (off_y >= -reach) & (off_y < reach)
        else:
            row, column, off = _nearest_of_hex(x, y)
            within = off <= reach
        within &= (row >= 0) & (row < n_rows) & (column >= 0) & (column < n_cols)
        found[near[within]] = self.numbers[row[within].astype(np.int64), column[within].astype(np.int64)]
        return found


def _nearest_of_hex(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Row and column of the nearest place, and the distance to it, in pitches.

    It is in one of the two rows between which a point lies: a place of a third row is at least .87 away, and one of these
    two at most .67.
    """
    above = np.floor((y - 0.5) / HEX_APART)
    best = np.zeros_like(x), np.zeros_like(x), np.full_like(x, np.inf)
    for row in (above, above + 1):
        aside = 0.5 * (row % 2)
        column = np.floor(x - aside)
        off = np.hypot(x - column - aside - 0.5, y - 0.5 - row * HEX_APART)
        nearer = off < best[2]
        best = tuple(np.where(nearer, new, old) for new, old in zip((row, column, off), best, strict=True))  # type: ignore[assignment]
    return best


def count_points(spots: NDArray[np.int64], features: NDArray[np.int64], *, n_spots: int, n_features: int) -> csr_matrix:
    """How many points of each feature each spot holds ``(n_spots, n_features)``, int64.

    Parameters
    ----------
    spots, features
        Numbers of each point's spot and feature ``(n,)``; points with a number below 0 are not counted.
    """
    from scipy.sparse import coo_matrix

    counted = (spots >= 0) & (features >= 0)
    ones = np.ones(int(counted.sum()), np.int64)
    return coo_matrix((ones, (spots[counted], features[counted])), shape=(n_spots, n_features)).tocsr()


def sum_rows(counts: csr_matrix, spots: NDArray[np.int64], *, n_spots: int) -> csr_matrix:
    """Rows of counts ``(n, n_features)`` added up by their spot ``(n_spots, n_features)``; those below 0 are left out."""
    from scipy.sparse import coo_matrix, csr_matrix

    rows = np.flatnonzero(spots >= 0)
    members = coo_matrix((np.ones(len(rows), np.int64), (spots[rows], rows)), shape=(n_spots, len(spots))).tocsr()
    return csr_matrix(members @ counts)
