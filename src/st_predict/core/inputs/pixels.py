"""Spots' tiles by their place in what holds them (files, or a device's memory), read only where they are encoded."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


class SectionTiles(Protocol):
    """Tiles of one section ``(n, S, px, px, 3)`` uint8: an array, or :class:`~st_predict.core.tiles.store.StoredTiles`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, S, px, px, 3)``."""
        ...

    def __getitem__(self, spot: Any, /) -> Any: ...


class SectionsTiles:
    """Tiles of several sections, numbered through; nothing is copied.

    Parameters
    ----------
    sections
        Tiles of each section; all of one shape but for the number of spots.
    """

    def __init__(self, sections: Sequence[SectionTiles]) -> None:
        self._sections = sections
        self._starts = np.array([0, *accumulate(section.shape[0] for section in sections)])
        self.shape = tuple(sections[0].shape[1:])

    def rows_of(self, section: int) -> Tensor:
        """Numbers of a section's tiles ``(n,)``."""
        return torch.arange(int(self._starts[section]), int(self._starts[section + 1]))

    def read(self, rows: Tensor) -> Tensor:
        """Tiles by number, ``(b,)`` -> ``(b, S, px, px, 3)``."""
        tiles = np.empty((len(rows), *self.shape), np.uint8)
        sections = np.searchsorted(self._starts, rows.numpy(), side="right") - 1
        spots = rows.numpy() - self._starts[sections]
        for tile, section, spot in zip(tiles, sections.tolist(), spots.tolist(), strict=True):
            tile[:] = self._sections[section][spot]
        return torch.from_numpy(tiles)


class DeviceTiles:
    """The same in a device's memory.

    Parameters
    ----------
    tiles
        ``(n, S, px, px, 3)`` uint8.
    """

    def __init__(self, tiles: Tensor) -> None:
        self._tiles = tiles
        self.shape = tuple(tiles.shape[1:])

    def read(self, rows: Tensor) -> Tensor:
        """Tiles by number, gathered on the device."""
        return self._tiles[rows.to(self._tiles.device, non_blocking=True)]


class TileRows:
    """Tiles of some spots, not read yet: stands where pixels ``(n, S, px, px, 3)`` would, and is indexed as they are.

    Parameters
    ----------
    source
        What holds them.
    rows
        Their numbers there ``(n,)``.
    device
        Where they are wanted when they are read.
    """

    def __init__(self, source: SectionsTiles | DeviceTiles, rows: Tensor, device: torch.device | str = "cpu") -> None:
        self._source, self._rows, self.device = source, rows, torch.device(device)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, S, px, px, 3)``."""
        return len(self), *self._source.shape

    @property
    def n_bytes(self) -> int:
        """What their pixels take."""
        return math.prod(self.shape)

    def __getitem__(self, chosen: Tensor) -> TileRows:
        return TileRows(self._source, self._rows[chosen.cpu()], self.device)

    def split(self, n: int) -> list[TileRows]:
        """Parts of ``n`` spots."""
        return [TileRows(self._source, rows, self.device) for rows in self._rows.split(n)]

    def to(self, device: torch.device | str) -> TileRows:
        """The same, wanted on another device."""
        return TileRows(self._source, self._rows, device)

    def read(self) -> Tensor:
        """The pixels ``(n, S, px, px, 3)`` uint8."""
        return self._source.read(self._rows).to(self.device, non_blocking=True)

    @staticmethod
    def of_sections(sections: Sequence[SectionTiles]) -> list[TileRows]:
        """All tiles of each section, of one source."""
        source = SectionsTiles(sections)
        return [TileRows(source, source.rows_of(i)) for i in range(len(sections))]


def joined(parts: Sequence[Any]) -> Any:
    """Tensors, or tiles of one source that are not read yet, one after the other."""
    if isinstance(parts[0], TileRows):
        return TileRows(parts[0]._source, torch.cat([part._rows for part in parts]), parts[0].device)
    return torch.cat(list(parts))


def read(tiles: Tensor | TileRows) -> Tensor:
    """Tiles, or features, read if they are not yet."""
    return tiles.read() if isinstance(tiles, TileRows) else tiles
