"""The processes that share one fit: which this one is, its part of the tiles, and how parts come together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional


def rank_and_size() -> tuple[int, int]:
    """Number of this process and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def share(n: int) -> slice:
    """Which of ``n`` tiles this process encodes: parts of one size, of which the last may be shorter."""
    rank, size = rank_and_size()
    part = -(-n // size)
    return slice(min(rank * part, n), min((rank + 1) * part, n))


def gathered(rows: Tensor, n: int, all_gather: Any) -> Tensor:
    """Rows of all processes ``(n, D)``, of which these are this one's :func:`share`; gradients flow back to each.

    Every process then computes the loss on the whole batch. The gradients that it sends back to the rows of another process
    are summed there, and DDP takes the mean over processes. So the gradient is that of one process with the whole batch.

    Parameters
    ----------
    rows
        ``(m, D)``.
    n
        Rows of all.
    all_gather
        Lightning's, of tensors of one shape.
    """
    _, size = rank_and_size()
    if size == 1:
        return rows
    padded = functional.pad(rows, (0, 0, 0, -(-n // size) - len(rows)))
    found: Tensor = all_gather(padded, sync_grads=torch.is_grad_enabled())
    return found.flatten(0, 1)[:n]
