"""Layers that several methods share: projection head, place embedding, transformers. Knows no method."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """Linear map, then a residual block and layer norm: the last layers of both modalities in BLEEP, mclSTExp and CMRCNet.

    Parameters
    ----------
    n_inputs
        Width of the input.
    width
        Width N of the embedding.
    dropout
        Dropout of the residual branch.
    """

    def __init__(self, n_inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.projection = nn.Linear(n_inputs, width)
        self.residual = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.Dropout(dropout))
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor) -> Tensor:
        """``(..., D)`` -> ``(..., N)``."""
        projected = self.projection(rows)
        embedded: Tensor = self.norm(projected + self.residual(projected))
        return embedded


class PlaceEmbedding(nn.Module):
    """Learned embeddings of a spot's column and row on the array, summed.

    A spot between two whole columns or rows gets the mean of their embeddings, weighed by distance: every other row of
    a hexagonal array lies half a pitch aside, and a section may be turned a little. Columns and rows beyond
    ``n_places`` share the last embedding.

    Parameters
    ----------
    n_places
        Number of columns and of rows that have an embedding of their own.
    width
        Width N.
    """

    def __init__(self, n_places: int, width: int) -> None:
        super().__init__()
        self.columns = nn.Embedding(n_places, width)
        self.rows = nn.Embedding(n_places, width)
        # A place that no training section reaches then adds nothing.
        nn.init.zeros_(self.columns.weight)
        nn.init.zeros_(self.rows.weight)

    def forward(self, places: Tensor) -> Tensor:
        """``(U, 2)`` in units of the pitch -> ``(U, N)``."""
        column, row = places.unbind(1)
        return _between(self.columns.weight, column) + _between(self.rows.weight, row)


def _between(table: Tensor, place: Tensor) -> Tensor:
    """Linear interpolation in a table ``(P, N)`` at places ``(U,)`` -> ``(U, N)``."""
    last = len(table) - 1
    place = place.clamp(0, last)
    below = place.long()
    share = (place - below)[:, None].to(table.dtype)
    return torch.lerp(table.index_select(0, below), table.index_select(0, (below + 1).clamp(max=last)), share)


def transformer(width: int, *, layers: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    """Pre-norm transformer over tokens ``(B, T, N)``, GELU, hidden width 2 N."""
    layer = nn.TransformerEncoderLayer(
        width, heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def encode_weighted(encoder: nn.TransformerEncoder, tokens: Tensor, weights: Tensor | None) -> Tensor:
    """The layers of :func:`transformer` over tokens that count by ``weights`` ``(B, T)``: ``(B, T, N)`` -> ``(B, T, N)``."""
    if weights is None:
        encoded: Tensor = encoder(tokens)
        return encoded
    bias = weights.log().to(tokens.dtype)
    # Layer by layer: the layer's own forward takes a mask of numbers for one of yes and no where it is evaluated.
    for layer in encoder.layers:
        others = layer.norm1(tokens)
        tokens = tokens + layer.dropout1(layer.self_attn(others, others, others, bias, need_weights=False)[0])
        hidden = layer.dropout(layer.activation(layer.linear1(layer.norm2(tokens))))
        tokens = tokens + layer.dropout2(layer.linear2(hidden))
    return tokens


class CrossAttentionLayer(nn.Module):
    """Pre-norm layer in which tokens attend to others; GELU, hidden width 2 N.

    Parameters
    ----------
    width
        Width N of both.
    heads
        Attention heads; divides ``width``.
    dropout
        Dropout of the attention and of the MLP.
    """

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.others_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor, others: Tensor, weights: Tensor | None = None) -> Tensor:
        """``(B, T, N)`` and ``(B, S, N)`` -> ``(B, T, N)``. B targets, T and S tokens, N width.

        ``weights`` ``(B, S)`` is how often each of the others counts; ``None``: once.
        """
        others, bias = self.others_norm(others), None if weights is None else weights.log().to(tokens.dtype)
        tokens = tokens + self.attention(self.norm(tokens), others, others, bias, need_weights=False)[0]
        attended: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return attended


def encode_section(encoder: nn.TransformerEncoder, tokens: Tensor) -> Tensor:
    """Let all spots of a section attend to each other: ``(U, N)`` -> ``(U, N)``."""
    encoded: Tensor = encoder(tokens[None])[0]
    return encoded


def prediction_head(width: int, n_genes: int, dropout: float = 0.0) -> nn.Sequential:
    """Layer norm and a linear map ``(B, N)`` -> ``(B, G)``, at zero before the first step.

    With centered targets, zero is the training mean. A map that starts at random adds noise to every gene, and where
    few spots tell little about a gene, that noise stays.
    """
    linear = nn.Linear(width, n_genes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), linear)


def weighted_mean(tokens: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of each target's tokens, weighed by ``(B, T)``: ``(B, T, N)`` -> ``(B, N)``; ``None``: equal weights."""
    if weights is None:
        return tokens.mean(dim=1)
    shares = (weights / weights.sum(dim=1, keepdim=True)).to(tokens.dtype)
    return (shares[:, None] @ tokens)[:, 0]


def column_means(rows: Tensor, index: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of the rows each line of ``index`` names: ``(U, N)``, ``(B, K)`` -> ``(B, N)``; zeros where K is 0.

    ``weights`` ``(B, K)`` is how much each counts; ``None``: all the same.
    """
    if index.shape[1] == 0:
        return rows.new_zeros(len(index), rows.shape[1])
    # index_select's gradient is summed in a fixed order; plain indexing's is not, and training must be repeatable.
    return weighted_mean(rows.index_select(0, index.flatten()).unflatten(0, index.shape), weights)


def dropped(rows: Tensor, probability: float) -> Tensor:
    """Every element zeroed with a probability, the others left as they are (dropout would scale them up)."""
    return rows * (torch.rand_like(rows) >= probability)
