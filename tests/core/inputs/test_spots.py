"""Batches: each tile once, indices that point at the right tile, every spot once an epoch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from st_predict.core.grid import grid_points
from st_predict.core.inputs.spots import BlockSampler, HeldOutSections, SpotBatches, SpotSet
from st_predict.core.methods.recipe import FitConfig
from st_predict.core.neighbors import array_places, nearest_spots, spatial_blocks

MakeSpots = Callable[..., SpotSet]


def test_batch_holds_each_tile_once_and_points_at_the_right_ones(spot_set: MakeSpots) -> None:
    spots = spot_set()
    targets = torch.tensor([0, 1, 40, 7, 55])
    batch = spots.batch(targets)
    needed = sorted({*targets.tolist(), *spots.neighbors[targets].flatten().tolist()})
    assert len(batch.tiles) == len(needed) < 5 + 5 * 4
    assert torch.equal(batch.tiles, spots.tiles[needed])
    assert torch.equal(batch.tiles[batch.targets], spots.tiles[targets])
    assert torch.equal(batch.tiles[batch.neighbors], spots.tiles[spots.neighbors[targets]])
    assert torch.equal(batch.expression[batch.targets], spots.expression[targets])
    assert torch.equal(batch.expression[batch.neighbors], spots.expression[spots.neighbors[targets]])
    assert torch.equal(batch.neighbor_weights, spots.neighbor_weights[targets])
    assert torch.equal(batch.neighbor_weights.sum(dim=1), torch.full((5,), 4.0))


def test_batch_without_neighbors(spot_set: MakeSpots) -> None:
    batch = spot_set(k=0).batch(torch.tensor([3, 2]))
    assert batch.targets.tolist() == [1, 0] and batch.neighbors.shape == (2, 0) and len(batch.tiles) == 2


def test_dataset_gives_the_batch_of_its_rows(spot_set: MakeSpots) -> None:
    spots = spot_set()
    found, expected = SpotBatches(spots)[np.array([3, 9])], spots.batch(torch.tensor([3, 9]))
    assert all(
        torch.equal(getattr(found, name), getattr(expected, name)) for name in ("tiles", "targets", "expression")
    )
    assert found.folds is not None and torch.equal(found.folds[found.targets], spots.sections[[3, 9]])
    assert torch.equal(found.folds[found.neighbors], spots.sections[[3, 9], None].expand_as(found.neighbors))


def test_a_block_may_be_a_batch(spot_set: MakeSpots) -> None:
    spots = spot_set()
    batches = list(BlockSampler(spots.blocks(1000), batch_size=None, seed=0))
    assert sorted(map(len, batches)) == [20, 24, 30]
    assert all(len(spots.sections[torch.from_numpy(rows)].unique()) == 1 for rows in batches)


def test_images_hold_nothing_that_was_measured(spot_set: MakeSpots) -> None:
    spots = spot_set()
    spots = spots._replace(counts=spots.expression, totals=spots.expression[:, 0])
    batch = spots.images(torch.tensor([3, 9]))
    assert (batch.expression, batch.counts, batch.totals, batch.folds) == (None,) * 4
    assert torch.equal(batch.tiles, spots.batch(torch.tensor([3, 9])).tiles)


@pytest.mark.parametrize("wanted", [[0], [1], [0, 2], [1, 2]])
def test_some_sections_point_at_their_own_rows(spot_set: MakeSpots, wanted: list[int]) -> None:
    spots = spot_set()
    kept = spots.of_sections(wanted)
    mask = torch.isin(spots.sections, torch.tensor(wanted))
    assert torch.equal(kept.tiles, spots.tiles[mask]) and set(kept.sections.tolist()) == set(wanted)
    assert torch.equal(kept.tiles[kept.neighbors], spots.tiles[spots.neighbors[mask]])
    assert int(kept.neighbors.max()) < len(kept.tiles)


def test_neighbors_stay_in_their_section(spot_set: MakeSpots) -> None:
    spots = spot_set()
    assert torch.equal(spots.sections[spots.neighbors], spots.sections[:, None].expand_as(spots.neighbors))


def test_held_out_sections_are_items(spot_set: MakeSpots) -> None:
    spots = spot_set()
    held = HeldOutSections({1: spots.of_sections([1]), 2: spots.of_sections([2])})
    assert len(held) == 2 and set(held[1].sections.tolist()) == {2}


@pytest.mark.parametrize("block_size", [1, 8])
@pytest.mark.parametrize("batch_size", [7, 16, 74, 500])
def test_every_spot_is_a_target_once_an_epoch(spot_set: MakeSpots, block_size: int, batch_size: int) -> None:
    spots = spot_set()
    n = len(spots.tiles)
    sampler = BlockSampler(spots.blocks(block_size), batch_size=batch_size, seed=0)
    for _ in range(3):
        batches = list(sampler)
        assert len(batches) == len(sampler) == max(1, n // batch_size)
        assert sorted(np.concatenate(batches).tolist()) == list(range(n))
        sizes = [len(batch) for batch in batches]
        assert max(sizes) - min(sizes) <= block_size and min(sizes) > min(batch_size, n) - block_size


def test_batches_are_whole_blocks_of_several_sections(spot_set: MakeSpots) -> None:
    spots = spot_set(((12, 12), (10, 12), (12, 11)))
    blocks = spots.blocks(20)
    block_of = np.empty(len(spots.tiles), int)
    for number, rows in enumerate(blocks):
        block_of[rows] = number
    mixed = 0
    for rows in BlockSampler(blocks, batch_size=40, seed=0):
        held, counted = np.unique(block_of[rows], return_counts=True)
        assert counted.tolist() == [len(blocks[i]) for i in held]
        mixed += len(set(spots.sections[rows].tolist())) > 1
    assert mixed >= 4


@pytest.mark.parametrize(("scatter", "most"), [(1.0, 1.6), (0.0, 1.75)], ids=["real", "laid"])
def test_an_encoder_sees_few_tiles_a_target(scatter: float, most: float) -> None:
    """K = 8 on a Visium array, in the blocks and batches that an encoder is trained in.

    On a laid one all six spots of the second distance are seen of which two are wanted; those of a real one lie where the
    camera found them.
    """
    laid = grid_points((6500.0, 6500.0), 100.0, "hex", lambda points: np.ones(len(points), bool))[0]
    centers = laid + np.random.default_rng(0).normal(0, scatter, laid.shape)
    n, block = len(centers), FitConfig.block_size
    spots = SpotSet(
        torch.zeros(n, 1), torch.zeros(n, 1), torch.zeros(n, dtype=torch.long),
        torch.empty(n, 0), torch.from_numpy(array_places(centers)),
    ).with_neighbors(nearest_spots(centers, 8))  # fmt: skip
    sampler = BlockSampler(spots.blocks(block), batch_size=2 * block, seed=0)
    assert sum(len(spots.batch(torch.from_numpy(rows)).tiles) for rows in sampler) <= most * n


def test_order_follows_seed_and_epoch(spot_set: MakeSpots) -> None:
    def epochs(seed: int) -> list[list[int]]:
        sampler = BlockSampler(spot_set().blocks(1), batch_size=8, seed=seed)
        return [np.concatenate(list(sampler)).tolist() for _ in range(3)]

    assert epochs(0) == epochs(0)
    first, second, third = epochs(0)
    assert first != second != third and epochs(1)[0] != first


def test_order_does_not_follow_the_global_seed(spot_set: MakeSpots) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    one = [b.tolist() for b in BlockSampler(spot_set().blocks(4), batch_size=8, seed=0)]
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert one == [b.tolist() for b in BlockSampler(spot_set().blocks(4), batch_size=8, seed=0)]


@pytest.mark.parametrize("block_size", [2, 5, 8, 1000])
def test_blocks_are_bounded_compact_and_of_one_section(spot_set: MakeSpots, block_size: int) -> None:
    spots = spot_set()
    centers, sections = spots.places.numpy(), spots.sections.numpy()
    blocks = spatial_blocks(centers, sections, block_size)
    assert sorted(np.concatenate(blocks).tolist()) == list(range(len(centers)))
    for block in blocks:
        assert len(block) <= block_size and len(set(sections[block])) == 1
        if block_size == 8:
            assert len(block) > 8 // 2 - 1, "no block is smaller than half"
            assert np.ptp(centers[block], axis=0).max() <= 3 * 20, "blocks are compact, not stripes"


def test_blocks_share_neighbors(spot_set: MakeSpots) -> None:
    """What blocks are for: fewer tiles a batch than with spots drawn at random."""
    spots = spot_set(((20, 20),), k=8)

    def tiles(block_size: int) -> int:
        return sum(
            len(spots.batch(torch.from_numpy(rows)).tiles)
            for rows in BlockSampler(spots.blocks(block_size), batch_size=16, seed=0)
        )

    assert tiles(16) < 0.5 * tiles(1)


def test_spots_at_one_place_end_in_blocks() -> None:
    blocks = spatial_blocks(np.zeros((9, 2)), np.zeros(9, int), 2)
    assert sorted(np.concatenate(blocks).tolist()) == list(range(9)) and max(map(len, blocks)) <= 2


def test_an_only_section_is_left_out_in_parts_that_lie_together() -> None:
    y, x = (v.ravel().astype(np.float32) for v in np.mgrid[:8, :12])
    order = np.random.default_rng(0).permutation(96)  # barcodes come in no spatial order
    centers = torch.from_numpy(np.column_stack([x, y])[order])
    spots = SpotSet(
        torch.zeros(96, 1), torch.zeros(96, 1), torch.zeros(96, dtype=torch.long), torch.zeros(96, 0), centers
    )
    folds = spots.reference().folds
    assert len(folds.unique()) == 4
    for fold in folds.unique():
        part = centers[folds == fold]
        assert len(part) == 24
        assert (part.max(dim=0).values - part.min(dim=0).values + 1).prod() == 24  # a full rectangle
