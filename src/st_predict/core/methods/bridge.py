"""The exemplar bridge: passes expression on from training spots that look like a target."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ExemplarBridge(nn.Module):
    """Brings exemplars' expression into a target's representation, as far as the two look alike (EGN).

    The target is known by two vectors: its image, which is predicted from, and a query, which is compared with the
    exemplars and collects their gated expression. The query then gates what the image passes on.

    Parameters
    ----------
    width
        Width N of all vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(width // 4, 1)
        self.compare = nn.Sequential(nn.Linear(2 * width, hidden), nn.SiLU(), nn.Linear(hidden, 2 * width))
        self.exemplar_norm, self.image_norm, self.query_norm = (nn.LayerNorm(width) for _ in range(3))
        self.value, self.gate, self.content, self.to_image, self.to_query = (nn.Linear(width, width) for _ in range(5))

    def forward(
        self, image: Tensor, query: Tensor, exemplars: Tensor, expression: Tensor, found: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Image and query ``(B, N)`` and exemplars ``(B, K, N)`` -> the same, closer to each other.

        B targets, K exemplars, N width. ``expression`` ``(B, K, N)`` is the exemplars', embedded; ``found``
        ``(B, K, 1)`` is 0 where there is no exemplar.
        """
        alike = self.compare(torch.cat([query[:, None] - exemplars, exemplars], dim=-1)).sigmoid()
        to_query, to_exemplar = alike.chunk(2, dim=-1)
        values = self.value(expression)
        query = query + (found * to_query * values).sum(dim=1) / found.sum(dim=1).clamp(min=1)
        exemplars = self.exemplar_norm(exemplars + to_exemplar * values)
        gated = self.content(self.image_norm(image)) * self.gate(self.query_norm(query)).sigmoid()
        return image + self.to_image(gated), query + self.to_query(gated), exemplars
