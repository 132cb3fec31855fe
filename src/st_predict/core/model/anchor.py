"""What the predictions of a network are drawn toward on slides that look unlike training: ridge on the same inputs.

A network may do as well as ridge on sections like those of training, and yet worse on others. On tiles unlike all training
tiles its prediction is a guess, while the tuned penalty keeps ridge from extrapolating far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from st_predict.core.methods.registry import METHODS
from st_predict.core.methods.ridge import Ridge

if TYPE_CHECKING:
    from st_predict.core.inputs.spots import SpotSet

_FROM, _FULL = (
    1.3,
    2.0,
)  # times the limit that training sections set; those held out of the public sets lie up to 1.3 off


def fit_anchor(spots: SpotSet) -> Ridge:
    """Tuned ridge on the input rows and targets of the training spots, as the network gets them."""
    n_inputs, n_genes = spots.tiles.shape[1], spots.expression.shape[1]
    ridge = Ridge(n_inputs, n_genes, METHODS["ridge"].presets["default"].settings)
    ridge.after_fit(spots.reference())
    return ridge


def anchor_share(shift: float) -> float:
    """How much of a prediction is ridge's: nothing on a slide like those trained on, all at twice their limit.

    Parameters
    ----------
    shift
        See :meth:`~st_predict.core.model.domain.Domain.shift`; NaN where it is not known: nothing.
    """
    return min(max((shift - _FROM) / (_FULL - _FROM), 0.0), 1.0) if shift == shift else 0.0
