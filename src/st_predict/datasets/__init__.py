"""The datasets room: synthetic tissue with known truth, and public data by checksum or from a local folder.

Functions load when first touched.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from st_predict.datasets._hest import hest
    from st_predict.datasets._public import als, her2st, mob
    from st_predict.datasets._synthetic import synthetic_tissue
    from st_predict.datasets._write_hest import write_hest

__all__ = ["als", "her2st", "hest", "mob", "synthetic_tissue", "write_hest"]

_HOME = {
    "als": "_public",
    "her2st": "_public",
    "hest": "_hest",
    "mob": "_public",
    "synthetic_tissue": "_synthetic",
    "write_hest": "_write_hest",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
