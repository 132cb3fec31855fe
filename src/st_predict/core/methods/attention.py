"""Cross-attention between two sets of tokens, in the paper's literal form and with a residual path.

The result is made of the tokens that are attended **to**; the attending tokens only give the weights. A residual path
therefore adds the attended side. (Adding the attending side instead puts expression on both sides of the contrast.) With
several tokens the weights alone carry something of the attending side: expression chooses among tiles, and that choice
alone can lower a contrastive loss. With one token each there is nothing to choose.
"""

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
        Width M of the attending tokens.
    other_width
        Width of the tokens attended to.
    out_width
        Width N of the result.
    """

    def __init__(self, width: int, other_width: int, out_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, out_width, bias=False)
        self.key = nn.Linear(other_width, out_width, bias=False)
        self.value = nn.Linear(other_width, out_width, bias=False)

    def forward(self, tokens: Tensor, others: Tensor, weights: Tensor | None = None) -> Tensor:
        """``(B, T, M)`` and ``(B, S, O)`` -> ``(B, T, N)``. B targets, T and S tokens, M, O and N widths.

        ``weights`` ``(B, S)`` is how often each of the others counts; ``None``: once.
        """
        bias = None if weights is None else weights.log()[:, None].to(tokens.dtype)
        return functional.scaled_dot_product_attention(self.query(tokens), self.key(others), self.value(others), bias)


class MutualAttention(nn.Module):
    """Attention in both directions of a branch: the tokens of each modality attend to those of the other.

    Parameters
    ----------
    image_width, gene_width
        Widths of the tokens of either side.
    out_width
        Width N of both results.
    shared
        One function for both directions, as in the paper (one ``W_q``, ``W_k`` and ``W_v`` a branch; the widths are then
        the same); else one each.
    """

    def __init__(self, image_width: int, gene_width: int, out_width: int, *, shared: bool) -> None:
        super().__init__()
        self.to_genes = CrossAttention(image_width, gene_width, out_width)
        self.to_images = None if shared else CrossAttention(gene_width, image_width, out_width)

    def forward(
        self,
        images: Tensor,
        genes: Tensor,
        *,
        image_weights: Tensor | None = None,
        gene_weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``(B, T, M)`` and ``(B, S, O)`` -> what is made of the images ``(B, S, N)``, and of the genes ``(B, T, N)``.

        Weights ``(B, T)`` and ``(B, S)`` as of :class:`CrossAttention`.
        """
        to_images = self.to_genes if self.to_images is None else self.to_images
        return to_images(genes, images, image_weights), self.to_genes(images, genes, gene_weights)


def gather_tokens(rows: Tensor, targets: Tensor, neighbors: Tensor) -> Tensor:
    """Embedding of each target, followed by those of its neighbors: ``(U, N)`` -> ``(B, K + 1, N)``."""
    wanted = torch.cat([targets[:, None], neighbors], dim=1)
    # index_select's gradient is summed in a fixed order; plain indexing's is not, and training must be repeatable.
    return rows.index_select(0, wanted.flatten()).unflatten(0, wanted.shape)


def token_weights(neighbor_weights: Tensor | None) -> Tensor | None:
    """How much each token of :func:`gather_tokens` counts: 1 for the target, ``(B, K)`` -> ``(B, K + 1)``."""
    return None if neighbor_weights is None else functional.pad(neighbor_weights, (1, 0), value=1.0)
