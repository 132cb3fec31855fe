"""Whole sections of spots whose expression follows their features and their neighbors'."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from st_predict.core.inputs.spots import SpotSet
from st_predict.core.neighbors import nearest_spots

N_FEATURES, N_GENES = 6, 5


@pytest.fixture(scope="session")
def section_spots() -> Callable[..., SpotSet]:
    """Sections of ``(rows, columns)`` spots with ``k`` neighbors each, of which some tie, raw counts among them."""

    def build(sizes: tuple[tuple[int, int], ...] = ((5, 6), (4, 5)), *, k: int = 4) -> SpotSet:
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(N_FEATURES, N_GENES, generator=generator)
        parts = []
        for number, (rows, columns) in enumerate(sizes):
            n = rows * columns
            places = np.column_stack([v.ravel() for v in np.mgrid[:rows, :columns]][::-1]).astype(np.float64)
            tiles = torch.randn(n, N_FEATURES, generator=generator)
            nearest = torch.from_numpy(nearest_spots(places, k).rows[:, :k])
            expression = tiles @ weight + tiles[nearest].sum(dim=1) @ weight / (k + 1)
            counts = torch.poisson(4 * (expression / 3).exp(), generator=generator)
            parts.append((
                tiles, expression - expression.mean(dim=0), torch.full((n,), number), nearest[:, :0],
                torch.from_numpy(places).float(), counts, counts.sum(dim=1) + 50,
            ))  # fmt: skip
        spots = SpotSet(*(torch.cat(values) for values in zip(*parts, strict=True)))
        return spots.with_neighbors(nearest_spots(spots.places.double().numpy(), k, spots.sections.numpy()))

    return build
