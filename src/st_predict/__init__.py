"""Train models that predict spatial gene expression from H&E images, and apply them to new slides.

The rooms (``io``, ``pp``, ``tl``, ``pl``, ``datasets``) load when first touched, so that importing the package stays cheap.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from st_predict import datasets, io, pl, pp, tl
    from st_predict.core.errors import InputError
    from st_predict.core.model.model import Model
    from st_predict.io._to_anndata import to_anndata
    from st_predict.tl import load_model

__all__ = ["InputError", "Model", "datasets", "io", "load_model", "pl", "pp", "tl", "to_anndata"]
__version__ = version("st-predict")

_ROOMS = ("datasets", "io", "pl", "pp", "tl")
_NAMES = {
    "InputError": "st_predict.core.errors",
    "Model": "st_predict.core.model.model",
    "load_model": "st_predict.tl",
    "to_anndata": "st_predict.io._to_anndata",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"st_predict.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    msg = f"module 'st_predict' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
