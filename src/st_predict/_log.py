"""The package's logger: what a user should hear, on stderr, unless the application has its own handlers."""

from __future__ import annotations

import logging

logger = logging.getLogger("st_predict")


def be_heard() -> None:
    """Show messages of level INFO where nobody has set logging up; called by the verbs that have something to say."""
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("st-predict: %(message)s"))
    logger.addHandler(handler)
