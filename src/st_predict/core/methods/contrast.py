"""Contrastive losses between the two modalities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def info_nce(images: Tensor, genes: Tensor, *, temperature: float, symmetric: bool) -> Tensor:
    """InfoNCE with in-batch negatives (NH2ST, Eq. 2), cosine similarity.

    Parameters
    ----------
    images, genes
        Paired embeddings ``(B, N)``.
    temperature
        The paper's tau.
    symmetric
        Also ask which image belongs to each expression, and average; the paper asks one way.
    """
    logits = functional.normalize(images, dim=-1) @ functional.normalize(genes, dim=-1).T / temperature
    pairs = torch.arange(len(logits), device=logits.device)
    loss = functional.cross_entropy(logits, pairs)
    return (loss + functional.cross_entropy(logits.T, pairs)) / 2 if symmetric else loss
