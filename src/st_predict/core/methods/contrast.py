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


def soft_contrast(images: Tensor, genes: Tensor, *, temperature: float) -> Tensor:
    """Contrastive loss whose targets are soft (BLEEP, CMRCNet): similar spots are no plain negatives.

    The target of a pair is the softmax of the mean of image-image and expression-expression similarity, times the
    temperature; the loss is the cross-entropy of both directions, averaged. Targets take part in the gradient, as in
    both publications' code.

    Parameters
    ----------
    images, genes
        Paired embeddings ``(B, N)``, layer-normed, not L2-normalized.
    temperature
        Divides the logits and multiplies the similarities of the targets.

    Returns
    -------
    The loss of every pair ``(B,)``.
    """
    logits = genes @ images.T / temperature
    targets = ((images @ images.T + genes @ genes.T) / 2 * temperature).softmax(dim=-1)
    of_genes = -(targets * logits.log_softmax(dim=-1)).sum(dim=1)
    of_images = -(targets.T * logits.T.log_softmax(dim=-1)).sum(dim=1)
    return (of_genes + of_images) / 2
