"""Whether spots are of several arrays laid over one another: then those that lie closest are of different ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SOME = 0.1  # of all spots, that must lie far closer to another than an array lets them
_BY_CHANCE = 0.1  # of the neighbors of the same part that chance would give
_ENOUGH = 8  # neighbors of the same part that chance must give, to tell that there are none
_AROUND, _EVENLY = 4, 1.6  # neighbors of a spot of an array, and how much farther the last is; twice as far in a line
_EVEN = 1.15  # times: how much the distances of an even array differ
_SECTIONS = 12  # that rows in the order of a concatenation are tried for


@dataclass(frozen=True)
class Nearest:
    """Centers of spots ``(n, 2)``, and of each the distance in px and the row of the nearest other ``(n,)``."""

    centers_px: NDArray[np.float64]
    distance_px: NDArray[np.float64]
    row: NDArray[np.intp]

    @classmethod
    def of(cls, centers_px: NDArray[np.float64]) -> Nearest:
        """Find them; a single spot has itself, infinitely far."""
        from scipy.spatial import KDTree

        if len(centers_px) < 2:
            return cls(centers_px, np.full(len(centers_px), np.inf), np.arange(len(centers_px)))
        distance, row = KDTree(centers_px).query(centers_px, k=2)
        itself = row[:, 1] == np.arange(len(row))  # of spots on one place either may come first
        return cls(centers_px, distance[:, 1], np.where(itself, row[:, 0], row[:, 1]))

    @cached_property
    def is_one_array(self) -> bool:
        """Whether all spots are one even array: most have several others nearest, and all are as far from theirs.

        Of two arrays over one another a spot has one of the other array nearest, or they are as far as chance has it.
        """
        from scipy.spatial import KDTree

        if len(self.distance_px) <= _AROUND:
            return False
        low, high = np.quantile(self.distance_px, (0.1, 0.9))
        near = KDTree(self.centers_px).query(self.centers_px, k=_AROUND)[0][:, 2]  # the second nearest other
        return bool(high <= _EVEN * low and (near <= _EVEN * self.distance_px).mean() > 0.5)

    def overlaid(self, parts: NDArray[np.intp], *, closer: float) -> bool:
        """Whether parts of the spots ``(n,)`` are arrays that lie over one another.

        Spots lie closer to one of another part than ``closer`` times the pitch of their own, and those hardly ever
        have one of their own part there, as marks within one array do by chance.
        """
        if len(parts) <= _ENOUGH:
            return False
        close = self.distance_px <= np.quantile(self.distance_px, _SOME)
        if not self._apart(parts, close):  # saves the search for most columns
            return False
        pitch_px = _pitch(self.centers_px, parts)
        close = self.distance_px < closer * pitch_px
        return bool(close.mean() >= _SOME and self._apart(parts, close))

    def _apart(self, parts: NDArray[np.intp], close: NDArray[np.bool_]) -> bool:
        """Whether spots that lie close to another are of different parts, far more often than by chance."""
        _, sizes = np.unique(parts[close], return_counts=True)
        by_chance = close.sum() * ((sizes / sizes.sum()) ** 2).sum()
        same = (parts[self.row] == parts)[close].sum()
        return bool(len(sizes) > 1 and by_chance >= _ENOUGH and same <= _BY_CHANCE * by_chance)

    def concatenated(self) -> NDArray[np.intp]:
        """Parts ``(n,)`` of rows that follow one another, none of which holds two of the spots that lie closest."""
        if len(self.row) <= _ENOUGH:
            return np.zeros(len(self.row), np.intp)
        close = np.flatnonzero(self.distance_px <= np.quantile(self.distance_px, _SOME))
        first, last = np.sort([np.arange(len(self.row)), self.row], axis=0)
        over = np.cumsum(
            np.bincount(first + 1, minlength=len(first) + 1) - np.bincount(last + 1, minlength=len(first) + 1)
        )
        first, last = first[close], last[close]
        starts = [0]
        for i in np.argsort(last, kind="stable"):
            if first[i] >= starts[-1]:
                after = first[(first >= starts[-1]) & (first < last[i])].max() + 1
                starts.append(int(after + over[after : last[i] + 1].argmax()))  # between rows that most pairs are about
                if len(starts) > _SECTIONS:
                    return np.zeros(len(self.row), np.intp)
        return np.searchsorted(starts, np.arange(len(self.row)), side="right") - 1


def _pitch(centers_px: NDArray[np.float64], parts: NDArray[np.intp]) -> float:
    """Median distance of spots to the nearest of their own part; 0 where parts are no arrays, with others all around."""
    from scipy.spatial import KDTree

    order = np.argsort(parts, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(parts[order])) + 1)
    found = [KDTree(centers_px[own]).query(centers_px[own], k=_AROUND + 1)[0] for own in groups if len(own) > _AROUND]
    if not found:
        return 0.0
    near_px, *_, around_px = np.median(np.concatenate(found)[:, 1:], axis=0)
    return float(near_px) if around_px <= _EVENLY * near_px else 0.0
