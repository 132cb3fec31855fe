"""The datasets room: synthetic tissue with known truth, and public data by checksum or from a local folder.

Functions load when first touched.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from st_predict.datasets._public import als, her2st, mob
    from st_predict.datasets._synthetic import synthetic_tissue

__all__ = ["als", "her2st", "mob", "synthetic_tissue"]

_HOME = {"als": "_public", "her2st": "_public", "mob": "_public", "synthetic_tissue": "_synthetic"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
