"""The interface of every method, and the values it is given. Knows no pixels and no encoder: tiles arrive encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class Batch(NamedTuple):
    """Some targets with the tiles they need, each tile encoded once.

    ``U`` distinct tiles, ``B`` targets, ``K`` neighbors, ``D`` input features, ``G`` genes. Measured values are
    ``None`` at prediction.
    """

    tiles: Tensor
    """Encoded tiles ``(U, D)``."""
    targets: Tensor
    """Row of each target's own tile ``(B,)``."""
    neighbors: Tensor
    """Rows of each target's nearest spots ``(B, K)``, in no order that means anything; more columns where some are
    equally far."""
    places: Tensor
    """Column and row of every tile's spot on the array, ``(U, 2)``, in units of its pitch; not rounded."""
    expression: Tensor | None = None
    """Targets' and neighbors' expression ``(U, G)``."""
    counts: Tensor | None = None
    """Their raw counts ``(U, G)``."""
    totals: Tensor | None = None
    """Their total counts over all genes ``(U,)``."""
    folds: Tensor | None = None
    """Their groups ``(U,)``, as in :class:`Reference`."""
    neighbor_weights: Tensor | None = None
    """How much each neighbor counts ``(B, K)``, 0 for what only fills up; ``None``: each 1."""

    def measured(self) -> Tensor:
        """The expression ``(U, G)`` of a batch that is trained on."""
        if self.expression is None:
            raise ValueError("a training batch carries expression")
        return self.expression


class Reference(NamedTuple):
    """The whole training set of one fit, encoded. ``N`` spots."""

    tiles: Tensor
    """``(N, D)``; only for methods that need the bank where the encoder is trained."""
    expression: Tensor
    """``(N, G)``."""
    folds: Tensor
    """Group each spot is left out with where settings are tuned ``(N,)``: its subject; if there is only one, its section; if
    there is only one section, a part of it."""
    blocks: list[Tensor]
    """Rows of each section, in pieces of at most :data:`SECTION_SPOTS` spots."""
    places: Tensor
    """``(N, 2)``, as in :class:`Batch`."""


SECTION_SPOTS = 2048
"""Spots that a method of whole sections sees together at most; a larger section is cut into pieces."""


@dataclass(frozen=True)
class Needs:
    """What a method must be given beyond the target's own tile."""

    neighbors: int = 0
    """K, nearest spots of the same section; where several are equally far a batch holds more, that weigh K."""
    predicts_alone: bool = False
    """Whether they are for training only, and a prediction sees nothing around its spot."""
    section: bool = False
    """Whether a batch must hold a whole section (or a piece of :data:`SECTION_SPOTS` spots)."""
    bank: bool = False
    """Whether it looks at the encoded training tiles before and after the fit."""
    gradient: bool = True
    """Whether it is trained by its loss; closed-form methods are fitted in ``after_fit`` alone."""


@dataclass(frozen=True)
class MethodConfig:
    """Settings of one method. What it must be given follows from them, without building a network."""

    @property
    def needs(self) -> Needs:
        """What the method must be given beyond the target's own tile."""
        return Needs()


class Method(nn.Module):
    """A prediction method, built as ``Method(n_inputs, n_genes, config)``.

    Expression reaches a method through ``before_fit``, ``loss`` and ``after_fit`` only. ``predict`` sees images.
    """

    config: Any  # a MethodConfig

    @property
    def needs(self) -> Needs:
        """As its settings say."""
        needs: Needs = self.config.needs
        return needs

    @property
    def is_fitted_after(self) -> bool:
        """Whether ``after_fit`` does anything."""
        return type(self).after_fit is not Method.after_fit

    def before_fit(self, reference: Reference) -> None:
        """Set what depends on the training set alone, before the first step. By default nothing."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms, already weighted; their sum is minimized. None for closed-form methods."""
        return {}

    def after_fit(self, reference: Reference) -> None:
        """Fit what is fitted in closed form, or keep what retrieval needs; called also before each held-out scoring."""

    def predict(self, batch: Batch) -> Tensor:
        """Expression of the targets ``(B, G)``."""
        raise NotImplementedError
