"""Cross-attention between two sets of tokens, in the paper's literal form and with a residual path."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class CrossAttention(nn.Module):
    """One token set attends to another (NH2ST, Eq. 1 and 4): ``softmax(W_q x (W_k y)^T / sqrt(N)) W_v y``.

    With one token on each side the softmax is identically 1 and the result is ``W_v y``, whatever ``x`` is.

    Parameters
    ----------
    width
        Width ``N`` of the attending tokens and of the result.
    other_width
        Width of the tokens attended to.
    residual
        Add the attending token itself, so that it is refined instead of replaced.
    """

    def __init__(self, width: int, other_width: int, *, residual: bool) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(other_width, width, bias=False)
        self.value = nn.Linear(other_width, width, bias=False)
        self.residual = residual

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """``(B, T, N)`` and ``(B, S, M)`` -> ``(B, T, N)``. B targets, T and S tokens, N and M widths."""
        attended = functional.scaled_dot_product_attention(self.query(tokens), self.key(others), self.value(others))
        return tokens + attended if self.residual else attended


def gather_tokens(rows: Tensor, targets: Tensor, neighbors: Tensor) -> Tensor:
    """Embeddings of each target followed by its neighbors': ``(U, N)`` -> ``(B, K + 1, N)``."""
    return rows[torch.cat([targets[:, None], neighbors], dim=1)]
