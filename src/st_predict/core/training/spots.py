"""Training spots of all sections as flat arrays, and batches of them in which every tile stands once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from st_predict.core.methods.interface import Batch, Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray


class SpotSet(NamedTuple):
    """Spots of one or several sections. ``N`` spots, ``K`` neighbors, ``G`` genes."""

    tiles: Tensor
    """Input rows ``(N, D)``, or pixels ``(N, S, px, px, 3)`` uint8 where the encoder is trained."""
    expression: Tensor
    """Targets ``(N, G)``."""
    sections: Tensor
    """Section of each spot ``(N,)``."""
    neighbors: Tensor
    """Rows of the K nearest spots of the same section ``(N, K)``."""
    centers_px: Tensor
    """``(N, 2)``, float32: some accelerators know no float64."""

    def of_sections(self, wanted: list[int]) -> SpotSet:
        """Only the spots of some sections."""
        kept = torch.isin(self.sections, torch.tensor(wanted))
        new_row = torch.cumsum(kept, dim=0) - 1
        return SpotSet(
            self.tiles[kept],
            self.expression[kept],
            self.sections[kept],
            new_row[self.neighbors[kept]],
            self.centers_px[kept],
        )

    def with_expression(self, expression: Tensor) -> SpotSet:
        """The same spots with other targets."""
        return self._replace(expression=expression)

    def reference(self) -> Reference:
        """What a method may keep of the training set."""
        folds = self.sections
        if len(folds.unique()) == 1:
            folds = torch.zeros_like(self.sections)
            size = -(-len(folds) // 4)
            for number, rows in enumerate(spatial_blocks(self.centers_px.numpy(), self.sections.numpy(), size)):
                folds[torch.from_numpy(rows)] = number
        return Reference(self.tiles, self.expression, folds)

    def with_tiles(self, tiles: Tensor) -> SpotSet:
        """The same spots with other tiles."""
        return self._replace(tiles=tiles)

    def batch(self, targets: Tensor) -> Batch:
        """Targets by row, with each tile they need once; ``tiles`` are as stored, not yet encoded."""
        wanted = torch.cat([targets, self.neighbors[targets].flatten()])
        rows, place = torch.unique(wanted, return_inverse=True)
        n = len(targets)
        return Batch(
            tiles=self.tiles[rows],
            targets=place[:n],
            neighbors=place[n:].view(n, self.neighbors.shape[1]),
            expression=self.expression[rows],
        )


class SpotBatches(Dataset[Batch]):
    """Batches by the rows of their targets."""

    def __init__(self, spots: SpotSet) -> None:
        self._spots = spots

    def __getitem__(self, targets: NDArray[np.int64]) -> Batch:
        return self._spots.batch(torch.from_numpy(targets))


class HeldOutSections(Dataset[SpotSet]):
    """Whole sections, one an item."""

    def __init__(self, sections: Mapping[int, SpotSet]) -> None:
        self._sections = list(sections.values())

    def __len__(self) -> int:
        return len(self._sections)

    def __getitem__(self, index: int) -> SpotSet:
        return self._sections[index]


class BlockSampler(Sampler["NDArray[np.int64]"]):
    """Rows of each batch of an epoch: spatial blocks in random order, cut into batches of nearly equal size.

    Blocks share neighbors, so that an encoder in training sees fewer tiles a target; a block of one spot gives plain
    random batches. Every spot is a target once an epoch.

    Parameters
    ----------
    spots
        Training spots.
    batch_size
        Targets a batch, at least; a remainder is spread over the batches.
    block_size
        Spots a block, at most.
    seed
        Seed of the order; epoch e of one seed is always the same.
    """

    def __init__(self, spots: SpotSet, *, batch_size: int, block_size: int, seed: int) -> None:
        self._blocks = spatial_blocks(spots.centers_px.numpy(), spots.sections.numpy(), block_size)
        self._n_batches = max(1, len(spots.tiles) // batch_size)
        self._seed, self._epoch = seed, 0

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        rng = np.random.default_rng((self._seed, self._epoch))
        self._epoch += 1
        order = np.concatenate([self._blocks[i] for i in rng.permutation(len(self._blocks))])
        return iter(np.array_split(order, self._n_batches))


def spatial_blocks(
    centers_px: NDArray[np.float64], sections: NDArray[np.int64], block_size: int
) -> list[NDArray[np.int64]]:
    """Cut each section at the median of its longer side, again and again, into blocks of at most ``block_size``."""
    if block_size == 1:
        return list(np.arange(len(centers_px))[:, None])
    waiting = [np.flatnonzero(sections == section) for section in np.unique(sections)]
    blocks = []
    while waiting:
        rows = waiting.pop()
        if len(rows) <= block_size:
            blocks.append(rows)
            continue
        axis = np.ptp(centers_px[rows], axis=0).argmax()
        ordered = rows[np.argsort(centers_px[rows, axis], kind="stable")]
        waiting += [ordered[: len(rows) // 2], ordered[len(rows) // 2 :]]
    return blocks
