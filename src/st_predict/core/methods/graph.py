"""The graph of each spot's nearest spots: layers that pass on the neighbors' mean, and an LSTM over them. Knows no method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from st_predict.core.methods.blocks import column_means

if TYPE_CHECKING:
    from st_predict.core.methods.interface import Batch


def neighbors_of_all(batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Rows of the neighbors of **every** tile of a batch, and how much each counts, ``(U, K)``. U tiles, K neighbors.

    Only targets come with their neighbors. Any other tile is its own neighbor K times; so is a spot without neighbors.
    """
    own = torch.arange(len(batch.tiles), device=batch.tiles.device)[:, None]
    if batch.neighbors.shape[1] == 0:
        return own, None
    rows = own.repeat(1, batch.neighbors.shape[1]).index_copy(0, batch.targets, batch.neighbors)
    if batch.neighbor_weights is None:
        return rows, None
    weights = batch.neighbor_weights.new_ones(rows.shape)
    return rows, weights.index_copy(0, batch.targets, batch.neighbor_weights)


class NeighborLayer(nn.Module):
    """GraphSAGE with the mean, as Hist2ST has it: ``x' = y / |y|, y = relu(W mean(x of the neighbors))``.

    There is no bias, and the node itself has no part. (Hamilton et al., NeurIPS 2017, arXiv 1706.02216, join the node's
    own row to the mean.)

    Parameters
    ----------
    width
        Width N of the rows.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)

    def forward(self, rows: Tensor, neighbors: Tensor, weights: Tensor | None = None) -> Tensor:
        """``(U, N)``, and twice ``(U, K)``, -> ``(U, N)``. U tiles, K neighbors, N width."""
        return functional.normalize(torch.relu(self.linear(column_means(rows, neighbors, weights))), dim=1)


class RememberingGraph(nn.Module):
    """Layers over the graph and an LSTM (two layers) that reads each spot's rows one after another (Hist2ST).

    Parameters
    ----------
    width
        Width N of the rows.
    layers
        Layers over the graph.
    own_first
        The LSTM reads the input of the graph first, then the output of each layer.
    """

    def __init__(self, width: int, layers: int, *, own_first: bool) -> None:
        super().__init__()
        self.own_first = own_first
        self.layers = nn.ModuleList(NeighborLayer(width) for _ in range(layers))
        self.memory = nn.LSTM(width, width, num_layers=2, batch_first=True)

    def forward(self, rows: Tensor, neighbors: Tensor, weights: Tensor | None = None) -> Tensor:
        """``(U, N)``, and twice ``(U, K)``, -> ``(U, N)``: mean of what the LSTM says after each. U tiles, N width."""
        read = [rows] if self.own_first else []
        for layer in self.layers:
            rows = layer(rows, neighbors, weights)
            read.append(rows)
        remembered: Tensor = self.memory(torch.stack(read, dim=1))[0].mean(dim=1)
        return remembered
