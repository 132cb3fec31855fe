"""Sections as plain arrays, with features that carry their expression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from st_predict.core.inputs.spots import SpotSet
from st_predict.core.neighbors import nearest_spots
from st_predict.core.section import Section
from st_predict.core.tiles.sources import ArraySource

N_FEATURES, N_GENES = 6, 5


def grid(rows: int, cols: int) -> np.ndarray:
    y, x = (v.ravel() for v in np.mgrid[:rows, :cols])
    return np.column_stack([x * 20.0 + 10, y * 20.0 + 10])


EVERY_PYTHON = ("test_codecs.py", "test_every_method.py", "test_folder.py")
"""Zarr's codecs, and every method trained, saved and loaded; the rest of the core is numpy's, torch's and files of our own."""


def pytest_itemcollected(item: pytest.Function) -> None:
    if item.path.name not in EVERY_PYTHON or "tmp_path" not in item.fixturenames:
        item.add_marker(pytest.mark.one_python)


@pytest.fixture(scope="session")
def plain_section() -> Callable[..., Section]:
    """A section without an image worth looking at."""

    def build(name: str, seed: int = 0, *, subject: str | None = None, rows: int = 5, cols: int = 6) -> Section:
        rng = np.random.default_rng(seed)
        counts = rng.poisson(40, (rows * cols, N_GENES)).astype(np.float32)
        genes = np.array([f"g{i}" for i in range(N_GENES)])
        pixels = np.zeros((rows * 20 + 10, cols * 20 + 10, 3), np.uint8)
        return Section(name, ArraySource(pixels), grid(rows, cols), 1.0, subject, counts, genes)

    return build


@pytest.fixture(scope="session")
def spot_set() -> Callable[..., SpotSet]:
    """Spots of several sections whose expression is linear in their features, plus an offset of the section."""

    def build(
        sizes: tuple[tuple[int, int], ...] = ((5, 6), (4, 5), (6, 4)), *, k: int = 4, noise: float = 0.1
    ) -> SpotSet:
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(N_FEATURES, N_GENES, generator=generator)
        parts = []
        for number, (rows, cols) in enumerate(sizes):
            n = rows * cols
            tiles = torch.randn(n, N_FEATURES, generator=generator)
            expression = tiles @ weight + noise * torch.randn(n, N_GENES, generator=generator) + 3 * number
            none = torch.empty(n, 0, dtype=torch.long)
            parts.append((tiles, expression, torch.full((n,), number), none, torch.from_numpy(grid(rows, cols))))
        spots = SpotSet(*(torch.cat(values) for values in zip(*parts, strict=True)))
        return spots.with_neighbors(nearest_spots(spots.places.numpy(), k, spots.sections.numpy()))

    return build
