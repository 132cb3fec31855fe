"""Several networks of one method, trained side by side on the same batches; the prediction is their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from st_predict.core.methods.interface import Method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from st_predict.core.methods.interface import Batch, Needs, Reference


class Ensemble(Method):
    """Networks that differ by their initial weights and by what dropout hides from each.

    Each has its own loss, so on frozen features each is trained as if alone, on batches in the same order. An encoder
    in training is shared, and follows the mean of their gradients. With few training sections chance makes networks
    differ; this averages out in the mean (Lakshminarayanan et al. 2017, deep ensembles).

    Parameters
    ----------
    members
        The networks.
    """

    def __init__(self, members: Sequence[Method]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def needs(self) -> Needs:
        """As of one of them."""
        return self._each()[0].needs

    @property
    def is_fitted_after(self) -> bool:
        """Whether ``after_fit`` does anything, as in each of the networks."""
        return self._each()[0].is_fitted_after

    def before_fit(self, reference: Reference) -> None:
        """Prepare every network."""
        for member in self._each():
            member.before_fit(reference)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Means over members; their optimizers' steps do not depend on the common factor."""
        terms = [member.loss(batch) for member in self._each()]
        return {name: torch.stack([one[name] for one in terms]).mean(dim=0) for name in terms[0]}

    def after_fit(self, reference: Reference) -> None:
        """Finish every network."""
        for member in self._each():
            member.after_fit(reference)

    def predict(self, batch: Batch) -> Tensor:
        """Mean over members ``(B, G)``."""
        return torch.stack([member.predict(batch) for member in self._each()]).mean(dim=0)

    def _each(self) -> list[Method]:
        return [member for member in self.members if isinstance(member, Method)]
