"""Prediction by retrieval: the expression of the training spots most similar to an image embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

Weighting = Literal["mean", "inverse_square_distance"]
# Neither the similarities of all spots to a whole bank would fit in memory, nor all that they retrieve.
_MOST_VALUES, _MOST_QUERIES = 2**24, 1024


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
        queries, size = functional.normalize(queries, dim=1), max(1, _MOST_VALUES // max(1, len(queries)))
        found, rows = [], []
        for begin in range(0, len(self.keys), size):
            part = slice(begin, begin + size)
            similarity = queries @ self.keys[part].T
            if allowed is not None:
                similarity.masked_fill_(~allowed[:, part], -torch.inf)
            best = similarity.topk(min(k, similarity.shape[1]), dim=1)
            found.append(best.values)
            rows.append(best.indices + begin)
        best = torch.cat(found, dim=1).topk(min(k, len(self.keys)), dim=1)
        return best.values, torch.cat(rows, dim=1).gather(1, best.indices)

    def retrieve(self, queries: Tensor, k: int, *, weighting: Weighting = "mean") -> Tensor:
        """Expression of the ``k`` most similar spots, averaged: ``(B, W)`` -> ``(B, G)``.

        ``"inverse_square_distance"`` weighs them by ``1 / d^2``, d the distance between unit vectors.
        """
        parts = []
        for part in queries.split(max(1, min(_MOST_QUERIES, _MOST_VALUES // (k * self.values.shape[1])))):
            similarity, rows = self.nearest(part, k)
            found = self.values[rows]
            if weighting == "mean":
                parts.append(found.mean(dim=1))
            else:
                weight = 1 / (2 - 2 * similarity).clamp(min=1e-6)
                parts.append((weight[..., None] * found).sum(dim=1) / weight.sum(dim=1, keepdim=True))
        return torch.cat(parts)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Take the size of the bank that was saved."""
        for name in ("keys", "values"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
