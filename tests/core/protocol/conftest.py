"""A small study whose expression follows its features, without images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.plan import Plan
from st_predict.core.inputs.encoded import EncodedTiles
from st_predict.core.methods.registry import find_recipe
from st_predict.core.protocol.study import Candidate, Study
from st_predict.core.section import Section
from st_predict.core.tiles.geometry import TileSpec
from st_predict.core.tiles.sources import ArraySource

N_FEATURES, N_GENES = 6, 16
SUBJECTS = {"A1": "A", "A2": "A", "B1": "B", "C1": "C"}


def _section(name: str, subject: str | None, seed: int) -> tuple[Section, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = (v.ravel() for v in np.mgrid[:5, :6])
    centers = np.column_stack([x * 20.0 + 10, y * 20.0 + 10])
    features = rng.normal(size=(30, 1, N_FEATURES)).astype(np.float32)
    weight = np.random.default_rng(99).normal(size=(N_FEATURES, N_GENES))
    counts = rng.poisson(np.exp(3 + 0.4 * features[:, 0] @ weight)).astype(np.float32)
    genes = np.array([f"g{i}" for i in range(N_GENES)])
    return Section(name, ArraySource(np.zeros((1, 1, 3), np.uint8)), centers, 1.0, subject, counts, genes), features


@pytest.fixture
def study() -> Study:
    """Sections A1 and A2 of subject A, B1 of B and C1 of C."""
    sections, features = zip(
        *(_section(name, subject, seed) for seed, (name, subject) in enumerate(SUBJECTS.items())), strict=True
    )
    tiles = EncodedTiles(list(features), TileSpec((100.0,)), EncoderIdentity("tiny", None, "0"), None)
    return Study(list(sections), tiles, None, Hardware("cpu", 1))


@pytest.fixture(scope="session")
def candidate() -> Callable[..., Candidate]:
    """A method with settings of a fit that takes a moment."""

    def make(method: str, *, label: str | None = None, genes: Any = 10, seed: int = 0, **fit: Any) -> Candidate:
        import dataclasses

        recipe = find_recipe(method, "default", None)
        inputs = dataclasses.replace(recipe.inputs, context=(2,), components=8)
        fit = {"max_epochs": 2, "batch_size": 16, "inner_folds": 2, "members": 1, **fit}
        settled = dataclasses.replace(recipe.fit, **fit).settled(gradient=recipe.needs.gradient)
        recipe = dataclasses.replace(recipe, inputs=inputs, fit=settled)
        return Candidate(label or method, Plan(recipe, genes, "heg", 1, seed))

    return make
