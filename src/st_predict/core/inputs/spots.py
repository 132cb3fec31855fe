"""Training spots of all sections as flat arrays, and batches of them in which every tile stands once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from st_predict.core.inputs.pixels import TileRows, read
from st_predict.core.methods.interface import SECTION_SPOTS, Batch, Reference
from st_predict.core.neighbors import spatial_blocks
from st_predict.core.processes import share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from st_predict.core.neighbors import Nearest


class SpotSet(NamedTuple):
    """Spots of one or several sections. ``N`` spots, ``K`` neighbors, ``G`` genes."""

    tiles: Any
    """Input rows ``(N, D)``; where the encoder is trained pixels ``(N, S, px, px, 3)`` uint8, or the
    :class:`~st_predict.core.inputs.pixels.TileRows` that stand for them until they are encoded."""
    expression: Tensor
    """Targets ``(N, G)``."""
    sections: Tensor
    """Section of each spot ``(N,)``."""
    neighbors: Tensor
    """Rows of the K nearest spots of the same section ``(N, K)``; more columns where some are equally far."""
    places: Tensor
    """Places on the array ``(N, 2)``, float32: some accelerators know no float64."""
    counts: Tensor | None = None
    """Raw counts ``(N, G)``; ``None`` where nothing was measured."""
    totals: Tensor | None = None
    """Total counts over all genes ``(N,)``."""
    neighbor_weights: Tensor | None = None
    """How much each neighbor counts ``(N, K)``, see :class:`~st_predict.core.neighbors.Nearest`; ``None``: each 1."""
    groups: Tensor | None = None
    """What each spot is held out with, by number ``(N,)``: its subject's, where there are several; ``None``: its section."""

    def of_sections(self, wanted: list[int]) -> SpotSet:
        """Only the spots of some sections."""
        kept = torch.isin(self.sections, torch.tensor(wanted))
        new_row = torch.cumsum(kept, dim=0) - 1
        return self._replace(neighbors=new_row[self.neighbors]).each(lambda values: values[kept])

    def each(self, change: Callable[[Tensor], Tensor]) -> SpotSet:
        """The same change made to every tensor."""
        changed: Any = {name: None if values is None else change(values) for name, values in self._asdict().items()}
        return SpotSet(**changed)

    def with_expression(self, expression: Tensor) -> SpotSet:
        """The same spots with other targets."""
        return self._replace(expression=expression)

    def blocks(self, size: int) -> list[NDArray[np.int64]]:
        """Rows of each section, in pieces of at most ``size`` spots that lie together."""
        return spatial_blocks(self.places.cpu().numpy(), self.sections.cpu().numpy(), size)

    def folds(self) -> Tensor:
        """Group of each spot for inner tuning ``(N,)``: its group; if there is only one, its section, or a part of the only one."""
        if self.groups is not None and len(self.groups.unique()) > 1:
            return self.groups
        folds = self.sections
        if len(folds.unique()) == 1:
            folds = torch.zeros_like(self.sections)
            for number, rows in enumerate(self.blocks(-(-len(folds) // 4))):
                folds[torch.from_numpy(rows).to(folds.device)] = number
        return folds

    def reference(self) -> Reference:
        """What a method may keep of the training set."""
        blocks = [torch.from_numpy(rows).to(self.tiles.device) for rows in self.blocks(SECTION_SPOTS)]
        return Reference(self.tiles, self.expression, self.folds(), blocks, self.places)

    def with_neighbors(self, nearest: Nearest) -> SpotSet:
        """The same spots with other neighbors."""
        weights = None if nearest.weights is None else torch.from_numpy(nearest.weights)
        return self._replace(neighbors=torch.from_numpy(nearest.rows), neighbor_weights=weights)

    def with_tiles(self, tiles: Tensor | TileRows) -> SpotSet:
        """The same spots with other tiles."""
        return self._replace(tiles=tiles)

    def batch(self, targets: Tensor, *, shared: bool = False) -> Batch:
        """Targets by row, with each tile they need once; ``tiles`` are as stored, not yet read or encoded.

        Where they are ``shared`` by several processes, ``tiles`` are those of this one.
        """
        wanted = torch.cat([targets, self.neighbors[targets].flatten()])
        rows, place = torch.unique(wanted, return_inverse=True)
        n = len(targets)
        return Batch(
            tiles=self.tiles[rows[share(len(rows))] if shared else rows],
            targets=place[:n],
            neighbors=place[n:].view(n, self.neighbors.shape[1]),
            places=self.places[rows],
            expression=self.expression[rows],
            counts=None if self.counts is None else self.counts[rows],
            totals=None if self.totals is None else self.totals[rows],
            neighbor_weights=None if self.neighbor_weights is None else self.neighbor_weights[targets],
        )

    def images(self, targets: Tensor) -> Batch:
        """The same batch without anything that was measured: what a prediction may see."""
        return self.batch(targets)._replace(expression=None, counts=None, totals=None)


class SpotBatches(Dataset["Batch | None"]):
    """Training batches by the rows of their targets; several processes share what an encoder is to see."""

    def __init__(self, spots: SpotSet) -> None:
        self._spots = spots
        self._folds = spots.folds()

    def __getitem__(self, targets: NDArray[np.int64] | None) -> Batch | None:
        if targets is None:  # trained on before the fit was broken off; Lightning passes over it
            return None
        rows = torch.from_numpy(targets)
        batch = self._spots.batch(rows, shared=isinstance(self._spots.tiles, TileRows))
        folds = torch.empty(len(batch.places), dtype=torch.long)
        folds[batch.targets] = self._folds[rows]
        folds[batch.neighbors] = self._folds[self._spots.neighbors[rows]]
        return batch._replace(tiles=read(batch.tiles), folds=folds)


class HeldOutSections(Dataset[SpotSet]):
    """Whole sections, one an item."""

    def __init__(self, sections: Mapping[int, SpotSet]) -> None:
        self._sections = list(sections.values())

    def __len__(self) -> int:
        return len(self._sections)

    def __getitem__(self, index: int) -> SpotSet:
        return self._sections[index]


class BlockSampler(Sampler["NDArray[np.int64] | None"]):
    """Rows of each batch of an epoch: whole spatial blocks in random order, in batches of nearly equal size.

    Spots of a block share neighbors, so that an encoder in training sees fewer tiles a target; blocks of all sections
    are mixed. A block of one spot gives plain random batches. Every spot is a target once an epoch.

    Parameters
    ----------
    blocks
        Rows of each block, see :meth:`SpotSet.blocks`.
    batch_size
        Targets a batch, at least; a remainder is spread over the batches. ``None``: a batch a block.
    seed
        Seed of the order; epoch e of one seed is always the same.
    """

    def __init__(self, blocks: list[NDArray[np.int64]], *, batch_size: int | None, seed: int) -> None:
        self._blocks = blocks
        total = sum(len(block) for block in blocks)
        self._n_batches = len(blocks) if batch_size is None else max(1, total // batch_size)
        self._whole_blocks = batch_size is None
        self._seed, self._epoch, self._done = seed, 0, 0

    def start(self, epoch: int, batch: int) -> None:
        """Go on from a batch of an epoch: those before it are ``None``."""
        self._epoch, self._done = epoch, batch

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[NDArray[np.int64] | None]:
        rng = np.random.default_rng((self._seed, self._epoch))
        shuffled = [self._blocks[i] for i in rng.permutation(len(self._blocks))]
        batches = shuffled if self._whole_blocks else _grouped(shuffled, self._n_batches)
        passed_over, self._done = self._done, 0
        self._epoch += 1
        return iter([*([None] * passed_over), *batches[passed_over:]])


def _grouped(blocks: list[NDArray[np.int64]], n: int) -> list[NDArray[np.int64]]:
    """Blocks one after the other in ``n`` groups, parted at the end of a block that is nearest to an equal share."""
    ends = np.cumsum([len(block) for block in blocks])
    sizes = [len(part) for part in np.array_split(np.arange(ends[-1]), n)]
    wanted = np.cumsum(sizes)[:-1]
    after = np.searchsorted(ends, wanted)
    before = np.maximum(after - 1, 0)
    nearest = np.where(wanted - ends[before] <= ends[after] - wanted, before, after)
    nearest = np.where(after == 0, after, nearest)
    return np.split(np.concatenate(blocks), ends[nearest])
