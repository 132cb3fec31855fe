"""The package's logger: what a user should hear, on stderr, unless the application has its own handlers."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from st_predict.core.progress import first_process

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("st_predict")


def be_heard(level: int = logging.INFO) -> None:
    """Show messages of a level where nobody has set logging up; called by the verbs that have something to say.

    Of several processes that train together, the first one speaks.
    """
    if logger.level == logging.NOTSET:
        logger.setLevel(level if first_process() else logging.ERROR)
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("st-predict: %(message)s"))
    logger.addHandler(handler)


@contextmanager
def quiet() -> Iterator[None]:
    """Hide messages that each of many fits would repeat."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
