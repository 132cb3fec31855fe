"""Prediction by retrieval: the expression of the training spots most similar to an image embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

Weighting = Literal["mean", "inverse_square_distance"]


class RetrievalBank(nn.Module):
    """Embedded training spots with their expression; part of the model, and saved with it.

    Empty until :meth:`fill`. N spots, W embedding width, G genes.
    """

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("keys", torch.empty(0, 0))
        self.register_buffer("values", torch.empty(0, 0))

    def fill(self, keys: Tensor, values: Tensor) -> None:
        """Keep ``(N, W)`` embeddings and ``(N, G)`` expression."""
        self.keys = functional.normalize(keys.detach(), dim=1)
        self.values = values.detach().clone()

    def nearest(self, queries: Tensor, k: int, *, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Cosine similarity and row of the ``k`` most similar kept spots, each ``(B, k)``.

        Parameters
        ----------
        queries
            ``(B, W)``.
        k
            How many; fewer where the bank holds fewer.
        allowed
            Mask ``(B, N)`` of the spots that may be found; all where it is left out.
        """
        similarity = functional.normalize(queries, dim=1) @ self.keys.T
        if allowed is not None:
            similarity = similarity.masked_fill(~allowed, -torch.inf)
        found = similarity.topk(min(k, len(self.keys)), dim=1)
        return found.values, found.indices

    def retrieve(self, queries: Tensor, k: int, *, weighting: Weighting = "mean") -> Tensor:
        """Expression of the ``k`` most similar spots, averaged: ``(B, W)`` -> ``(B, G)``.

        ``"inverse_square_distance"`` weighs them by ``1 / d^2``, d the distance between unit vectors.
        """
        parts = []
        for part in queries.split(1024):  # a part at a time: (B, N) similarities of a whole slide would not fit
            similarity, rows = self.nearest(part, k)
            found = self.values[rows]
            if weighting == "mean":
                parts.append(found.mean(dim=1))
            else:
                weight = 1 / (2 - 2 * similarity).clamp(min=1e-6)
                parts.append((weight[..., None] * found).sum(dim=1) / weight.sum(dim=1, keepdim=True))
        return torch.cat(parts)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """A saved bank brings its own size."""
        for name in ("keys", "values"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
