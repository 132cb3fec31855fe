"""The model this session trained or loaded last, for ``predict`` without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError
from st_predict.core.model.load import load_model as read

if TYPE_CHECKING:
    from pathlib import Path

    from st_predict.core.model.model import Model

_last: list[Model] = []


def remember(model: Model) -> None:
    """Make this the session's model."""
    _last[:] = [model]


def last_model() -> Model:
    """The session's model.

    Raises
    ------
    InputError
        If there is none.
    """
    if not _last:
        raise InputError(
            "no model was given, and none was trained or loaded in this session",
            where="model",
            expected="a model",
            remedy="model = st_predict.tl.train(sections), or st_predict.load_model(path)",
        )
    return _last[0]


@checked
def load_model(path: str | Path) -> Model:
    """Read a model that :meth:`Model.save` wrote; :func:`st_predict.tl.predict` uses it when no other is given.

    Parameters
    ----------
    path
        The model's folder.

    Returns
    -------
    The model. It predicts the same as the model that was saved.

    Raises
    ------
    InputError
        If the folder or one of its files is missing, cut short, changed, or not part of a model.

    Examples
    --------
    >>> folder = model.save("my_model")
    >>> stp.load_model(folder).id == model.id
    True
    """
    model = read(path)
    remember(model)
    return model
