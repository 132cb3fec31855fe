"""The room's door: what it shows, and what opening it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from st_predict import datasets


def test_names() -> None:
    assert dir(datasets) == ["als", "her2st", "hest", "mob", "synthetic_tissue", "write_hest"]
    assert all(callable(getattr(datasets, name)) for name in datasets.__all__)
    with pytest.raises(AttributeError, match="No st_predict.datasets attribute visium"):
        _ = datasets.visium


def test_functions_load_without_heavy_packages() -> None:
    heavy = ("anndata", "pandas", "pooch", "scipy", "spatialdata", "torch")
    code = f"""
import sys
from st_predict.datasets import her2st, synthetic_tissue
print([name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
