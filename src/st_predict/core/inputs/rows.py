"""Features of a section and what lies around its spots: rows too wide to be held, in pieces. Fits nothing, knows no label."""

from __future__ import annotations

from functools import cached_property, reduce
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from st_predict.core.neighbors import Nearest, nearest_spots, spatial_blocks
from st_predict.core.room import give_back

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from st_predict.core.methods.recipe import InputConfig

_EPSILON = 1e-6
_PIECE_SPOTS = 4096

FEW_SPOTS = 30
"""From this many spots on, a slide is standardized by its own mean and scale alone."""


class Moments(NamedTuple):
    """Mean and spread of rows seen a part at a time, in double. ``W`` columns."""

    n: int
    mean: Tensor
    """``(W,)``."""
    squares: Tensor
    """Sum of squared differences to the mean ``(W,)``."""

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """Of some rows ``(b, W)``."""
        about = rows.mean(dim=0)
        apart = rows - about
        rest = apart.mean(dim=0).double()  # what single precision lost of the mean
        squares = apart.square_().sum(dim=0).double() - len(rows) * rest.square()
        return cls(len(rows), about.double() + rest, squares.clamp_(min=0))

    def join(self, other: Moments) -> Moments:
        """Of these rows and others."""
        n, apart = self.n + other.n, other.mean - self.mean
        squares = self.squares + other.squares + apart.square() * (self.n * other.n / n)
        return Moments(n, self.mean + apart * (other.n / n), squares)

    @property
    def std(self) -> Tensor:
        """``(W,)``."""
        return (self.squares / self.n).sqrt()


class Piece(NamedTuple):
    """Some spots that lie together, with those around them. ``b`` spots, ``u`` with those around, ``W`` features."""

    places: Tensor
    """Where the spots stand among all that are used ``(b,)``."""
    features: Tensor
    """Scored features ``(u, W)``."""
    spots: Tensor
    """Rows of the spots among these ``(b,)``."""
    around: Mapping[int, tuple[Tensor, Tensor | None]]
    """By number of nearest spots: their rows among these ``(b, k')``, and the share of each, see :class:`Nearest`."""

    def means(self, values: Tensor, k: int) -> Tensor:
        """Means over the ``k`` nearest of each spot, ``(u, q)`` -> ``(b, q)``; the spot itself where there are none."""
        around, shares = self._around(k)
        mode = "mean" if shares is None else "sum"
        return functional.embedding_bag(around, values, mode=mode, per_sample_weights=shares)

    def spread(self, values: Tensor, k: int) -> Tensor:
        """Each spot's values in shares over its ``k`` nearest, ``(b, q)`` -> ``(u, q)``: :meth:`means` transposed."""
        around, shares = self._around(k)
        total = values.new_zeros(len(self.features), values.shape[1])
        for i, column in enumerate(around.T):
            if shares is None:
                total.index_add_(0, column, values, alpha=1 / around.shape[1])
            else:
                total.index_add_(0, column, values * shares[:, i, None])
        return total

    def _around(self, k: int) -> tuple[Tensor, Tensor | None]:
        found = self.around.get(k)
        return (self.spots[:, None], None) if found is None or not found[0].shape[1] else found


class SectionRows:
    """The expanded rows of a section, a piece at a time: each spot's features, and means over those around it.

    A row holds ``S * d`` features for every number of nearest spots in :attr:`blocks`; 0 is the spot itself.

    Parameters
    ----------
    config
        How features are scored, and which means.
    features
        Encoded tiles of all spots ``(n, S, d)``; not copied, and may lie in a file.
    centers_px
        Spot centers ``(n, 2)``.
    used
        Spots that rows are made of ``(n,)``; the others are only seen around them. ``None``: all.
    arrays
        Which of several interleaved arrays each spot belongs to ``(n,)``, see :func:`nearest_spots`.
    typical
        Mean and scale of the features of a typical slide ``(S * d,)``, by which a slide of fewer than
        :data:`FEW_SPOTS` spots is standardized in part, and a slide of one spot wholly.
    """

    def __init__(
        self,
        config: InputConfig,
        features: NDArray[np.float32],
        centers_px: NDArray[np.float64],
        *,
        used: NDArray[np.bool_] | None = None,
        arrays: NDArray[np.int64] | None = None,
        typical: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.blocks = (0, *config.context)
        self._features = features
        self._flat = torch.from_numpy(np.ascontiguousarray(features)).flatten(1)
        self._scores = self._of_slide(typical) if config.standardize == "slide" else None
        others = len(features) - 1
        self._nearest = {k: _shares(nearest_spots(centers_px, min(k, others), arrays)) for k in config.context}
        self._used = np.arange(len(features)) if used is None else np.flatnonzero(used)
        own = np.zeros(len(features), np.int64) if arrays is None else arrays
        self._pieces = spatial_blocks(centers_px[self._used], own[self._used], _PIECE_SPOTS)

    def __len__(self) -> int:
        return len(self._used)

    @property
    def width(self) -> int:
        """Of an expanded row."""
        return self._flat.shape[1] * len(self.blocks)

    @cached_property
    def moments(self) -> list[Moments]:
        """Of the rows of all spots in use, by block."""
        found = [[Moments.of(piece.means(piece.features, k)) for k in self.blocks] for piece in self]
        return [reduce(Moments.join, parts) for parts in zip(*found, strict=True)]

    def __iter__(self) -> Iterator[Piece]:
        for places in self._pieces:
            spots = torch.from_numpy(self._used[places])
            rows = [spots[:, None], *(rows[spots] for rows, _ in self._nearest.values())]
            wanted, found = torch.unique(torch.cat(rows, dim=1), return_inverse=True)
            own, *found = found.split([part.shape[1] for part in rows], dim=1)
            shares = [None if share is None else share[spots] for _, share in self._nearest.values()]
            around = dict(zip(self._nearest, zip(found, shares, strict=True), strict=True))
            features = self._flat[wanted]
            if self._scores is not None:
                features.sub_(self._scores[0]).div_(self._scores[1])
            yield Piece(torch.from_numpy(places), features, own[:, 0], around)
            give_back(self._features)

    def _of_slide(self, typical: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """What features are scored by within the slide: mean and scale ``(S * d,)``."""

        def parts() -> Iterator[Moments]:
            for part in self._flat.split(_PIECE_SPOTS):
                yield Moments.of(part)
                give_back(self._features)

        found = reduce(Moments.join, parts())
        mean, scale = found.mean.float(), found.std.float()
        own = own_share(found.n)
        if typical is not None and own < 1:
            mean, scale = own * mean + (1 - own) * typical[0], own * scale + (1 - own) * typical[1]
        return mean, scale + _EPSILON


def _shares(nearest: Nearest) -> tuple[Tensor, Tensor | None]:
    """Rows of the nearest spots, and what each adds to their mean ``(n, k')``; ``None``: all as much."""
    if nearest.weights is None:
        return torch.from_numpy(nearest.rows), None
    weights = torch.from_numpy(nearest.weights)
    return torch.from_numpy(nearest.rows), weights / weights.sum(dim=1, keepdim=True)


def own_share(n_spots: int) -> float:
    """How far a slide of so many spots is standardized by its own features: from 0, for one spot, to 1."""
    return min((n_spots - 1) / (FEW_SPOTS - 1), 1.0)


def mean_and_std(sections: Sequence[SectionRows]) -> tuple[Tensor, Tensor]:
    """Of every column of the expanded rows of some sections ``(D',)``."""
    blocks = [reduce(Moments.join, parts) for parts in zip(*(section.moments for section in sections), strict=True)]
    return torch.cat([block.mean for block in blocks]).float(), torch.cat([block.std for block in blocks]).float()


def times_transposed(sections: Sequence[SectionRows], weights: Tensor) -> Tensor:
    """The expanded rows of some sections, transposed, times a few columns: ``(N, q)`` -> ``(D', q)``."""
    n_blocks = len(sections[0].blocks)
    total = weights.new_zeros(n_blocks, sections[0].width // n_blocks, weights.shape[1])
    for section, mine in zip(sections, weights.split([len(section) for section in sections]), strict=True):
        for piece in section:
            for block, k in zip(total, section.blocks, strict=True):
                block.addmm_(piece.features.T, piece.spread(mine[piece.places], k))
    return total.flatten(0, 1)
