"""What every method is and what it is given. Knows no pixels and no encoder: tiles arrive encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Batch(NamedTuple):
    """Some targets with the tiles they need, each tile encoded once.

    ``U`` distinct tiles, ``B`` targets, ``K`` neighbors, ``D`` input features, ``G`` genes.
    """

    tiles: Tensor
    """Encoded tiles ``(U, D)``."""
    targets: Tensor
    """Row of each target's own tile ``(B,)``."""
    neighbors: Tensor
    """Rows of each target's nearest spots ``(B, K)``, nearest first."""
    expression: Tensor | None = None
    """Targets' and neighbors' expression ``(U, G)``; ``None`` at prediction."""


class Reference(NamedTuple):
    """The whole training set of one fit, encoded. ``N`` spots."""

    tiles: Tensor
    """``(N, D)``."""
    expression: Tensor
    """``(N, G)``."""
    folds: Tensor
    """Group each spot is left out with where settings are tuned ``(N,)``: its section, or its part of an only one."""


@dataclass(frozen=True)
class Needs:
    """What a method must be given beyond the target's own tile."""

    neighbors: int = 0
    """K, nearest spots of the same section."""
    gradient: bool = True
    """Whether it is trained by its loss; closed-form methods are fitted in ``after_fit`` alone."""


class Method(Protocol):
    """A prediction method; a :class:`torch.nn.Module` with these members.

    Expression reaches a method through ``before_fit``, ``loss`` and ``after_fit`` only. ``predict`` sees images.
    """

    needs: Needs

    def before_fit(self, reference: Reference) -> None:
        """Set what follows from the training set alone, before the first step."""
        ...

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms, already weighted; their sum is minimized."""
        ...

    def after_fit(self, reference: Reference) -> None:
        """Fit what is fitted in closed form, or keep what retrieval needs."""
        ...

    def predict(self, batch: Batch) -> Tensor:
        """Expression of the targets ``(B, G)``."""
        ...
