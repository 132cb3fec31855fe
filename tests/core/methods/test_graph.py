"""The graph of nearest spots against plain loops."""

from __future__ import annotations

import pytest
import torch

from st_predict.core.methods.graph import NeighborLayer, RememberingGraph, neighbors_of_all
from st_predict.core.methods.interface import Batch


def batch_of(n_tiles: int, targets: list[int], neighbors: list[list[int]]) -> Batch:
    index = torch.tensor(neighbors, dtype=torch.long).view(len(targets), -1)
    return Batch(torch.randn(n_tiles, 3), torch.tensor(targets), index, torch.zeros(n_tiles, 2))


def test_tiles_that_are_no_targets_are_their_own_neighbors() -> None:
    batch = batch_of(5, [3, 0], [[1, 4], [3, 2]])
    found, weights = neighbors_of_all(batch)
    assert found.tolist() == [[3, 2], [1, 1], [2, 2], [1, 4], [4, 4]] and weights is None
    weighted = batch._replace(neighbor_weights=torch.tensor([[1.0, 0.5], [0.25, 0.0]]))
    weights = neighbors_of_all(weighted)[1]
    assert weights is not None and weights.tolist() == [[0.25, 0], [1, 1], [1, 1], [1, 0.5], [1, 1]]


def test_a_lone_spot_is_its_own_neighbor() -> None:
    found, weights = neighbors_of_all(batch_of(1, [0], [[]]))
    assert found.tolist() == [[0]] and weights is None


def loop_layer(layer: NeighborLayer, rows: torch.Tensor, neighbors: torch.Tensor) -> torch.Tensor:
    found = []
    for wanted in neighbors.tolist():
        mean = sum(rows[i] for i in wanted) / len(wanted)
        passed = (layer.linear.weight @ mean).clamp(min=0)
        found.append(passed / passed.norm().clamp(min=1e-12))
    return torch.stack(found)


def test_layer_equals_a_loop_over_spots() -> None:
    torch.manual_seed(0)
    layer, rows, neighbors = NeighborLayer(6), torch.randn(9, 6), torch.randint(9, (9, 4))
    found = layer(rows, neighbors)
    assert torch.allclose(found, loop_layer(layer, rows, neighbors), atol=1e-6)
    assert torch.allclose(found.norm(dim=1), torch.ones(9), atol=1e-5)


def test_layer_passes_on_nothing_of_the_spot_itself() -> None:
    torch.manual_seed(0)
    layer, rows = NeighborLayer(6), torch.randn(4, 6)
    neighbors = torch.tensor([[1, 2], [2, 3], [3, 0], [0, 1]])
    changed = rows.clone()
    changed[0] += 10
    differs = (layer(rows, neighbors) - layer(changed, neighbors)).abs().sum(dim=1) > 1e-4
    assert differs.tolist() == [False, False, True, True]


def test_rows_that_the_layer_turns_off_stay_zero() -> None:
    layer = NeighborLayer(3)
    torch.nn.init.constant_(layer.linear.weight, -1.0)
    rows = torch.ones(2, 3, requires_grad=True)
    found = layer(rows, torch.tensor([[1], [0]]))
    found.sum().backward()
    assert torch.equal(found, torch.zeros(2, 3)) and torch.isfinite(rows.grad).all()


@pytest.mark.parametrize("own_first", [True, False])
def test_memory_reads_the_layers_one_after_another(own_first: bool) -> None:
    torch.manual_seed(0)
    graph, rows, neighbors = RememberingGraph(4, 2, own_first=own_first), torch.randn(6, 4), torch.randint(6, (6, 3))
    first = loop_layer(graph.layers[0], rows, neighbors)
    read = [rows] * own_first + [first, loop_layer(graph.layers[1], first, neighbors)]
    for spot in range(6):
        said = graph.memory(torch.stack([step[spot] for step in read]))[0]
        assert torch.allclose(graph(rows, neighbors)[spot], said.mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("own_first", [True, False])
def test_only_where_it_is_read_first_does_a_spot_hear_of_itself(own_first: bool) -> None:
    torch.manual_seed(0)
    graph, rows = RememberingGraph(4, 2, own_first=own_first), torch.randn(3, 4)
    neighbors = torch.tensor([[1], [2], [2]])  # nothing leads to spot 0
    changed = rows.clone()
    changed[0] += 1
    same = torch.equal(graph(rows, neighbors)[0], graph(changed, neighbors)[0])
    assert same is not own_first
