"""The zero-inflated negative binomial likelihood of raw counts. Knows no method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from st_predict.core.methods.interface import Batch


def zinb_loss(counts: Tensor, mean: Tensor, dispersion: Tensor, dropout: Tensor) -> Tensor:
    r"""Mean negative log-likelihood of counts under a zero-inflated negative binomial.

    The loss of DCA (Eraslan et al., Nature Communications 2019), which Hist2ST takes over. With mean m, inverse
    dispersion t and dropout probability p, the negative binomial is

    .. math:: NB(x) = \frac{\Gamma(x + t)}{\Gamma(t)\, x!} \left(\frac{t}{t + m}\right)^t \left(\frac{m}{t + m}\right)^x

    and the likelihood of a count is ``p + (1 - p) NB(0)`` where it is 0, else ``(1 - p) NB(x)``. All is summed as
    logarithms, so that neither a sure dropout nor a large dispersion gives an infinite loss.

    Parameters
    ----------
    counts
        Raw counts, any shape.
    mean
        m, positive.
    dispersion
        t, positive: the variance is ``m + m^2 / t``.
    dropout
        Log odds of p.
    """
    log_kept = functional.logsigmoid(-dropout)
    log_total = torch.log(dispersion + mean)
    log_zero = -dispersion * torch.log1p(mean / dispersion)
    log_positive = (
        torch.lgamma(counts + dispersion)
        - torch.lgamma(dispersion)
        - torch.lgamma(counts + 1)
        + log_zero
        + counts * (torch.log(mean) - log_total)
    )
    dropped_or_zero = torch.logaddexp(functional.logsigmoid(dropout), log_kept + log_zero)
    return -torch.where(counts == 0, dropped_or_zero, log_kept + log_positive).mean()


class CountHeads(nn.Module):
    """Linear heads for mean, inverse dispersion and dropout of every gene's counts.

    Parameters
    ----------
    width
        Width N of a spot's embedding.
    n_genes
        G.
    """

    def __init__(self, width: int, n_genes: int) -> None:
        super().__init__()
        self.heads = nn.Linear(width, 3 * n_genes)

    def loss(self, spots: Tensor, batch: Batch) -> Tensor:
        """:func:`zinb_loss` of the targets' counts from their embeddings ``(B, N)``.

        The mean grows with a spot's depth: it is multiplied by the spot's total over the batch's median total.
        """
        if batch.counts is None or batch.totals is None:
            raise ValueError("a training batch carries counts and totals")
        mean, dispersion, dropout = self.heads(spots).chunk(3, dim=1)  # (B, G) each
        totals = batch.totals[batch.targets][:, None]
        return zinb_loss(
            batch.counts[batch.targets],
            mean.exp().clamp(1e-5, 1e6) * (totals / totals.median()),
            functional.softplus(dispersion).clamp(1e-4, 1e4),
            dropout,
        )
