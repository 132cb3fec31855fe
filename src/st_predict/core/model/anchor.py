"""What the predictions of a network are drawn toward on slides that look unlike training: ridge on the same inputs.

A network and a linear map that do equally well on sections like those trained on do not do so on others: what the network
makes of tiles it has never seen the like of is a guess, and the tuned penalty keeps ridge from guessing far.
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
