"""A slide that lies otherwise under the camera: predictions and Moran's I stay with their spots."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.errors import InputError
from st_predict.core.fitting.fit import train_model
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run
from st_predict.core.fitting.plan import Plan, check_plan
from st_predict.core.grid import grid_points, sublattices
from st_predict.core.inputs.encoded import EncodedTiles
from st_predict.core.methods.blocks import PlaceEmbedding
from st_predict.core.methods.recipe import FitConfig, Recipe
from st_predict.core.methods.registry import METHODS, find_recipe
from st_predict.core.model.model import Model
from st_predict.core.protocol.scores import score_genes
from st_predict.core.section import Section
from st_predict.core.tiles.geometry import TileSpec
from st_predict.core.tiles.sources import ArraySource

N_GENES, PITCH = 5, 37.3
GENES = np.array([f"g{i}" for i in range(N_GENES)])
LAYOUTS = ("hex", "square")
TURNS = {
    "by 90 degrees": [[0.0, -1.0], [1.0, 0.0]],
    "by 180 degrees": [[-1.0, 0.0], [0.0, -1.0]],
    "by 29 degrees": [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]],
    "mirrored": [[-1.0, 0.0], [0.0, 1.0]],
}
SETTINGS = {
    **{name: (name, {}) for name in METHODS},
    "nh2st, mean": ("nh2st", {"surroundings": "mean"}),
    "nh2st, attention": ("nh2st", {"surroundings": "attention"}),
    "nh2st, graph": ("nh2st", {"surroundings": "mean", "hypergraphs": "graph"}),
}
SMALL = {"width": 16, "hidden": 16, "heads": 2, "retrieved": 9}
every_turn = pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def on_tissue(points: np.ndarray) -> np.ndarray:
    """A piece of tissue that no turn brings onto itself, with a hole."""
    x, y = points.T / PITCH
    return (((x - 7) / 6) ** 2 + ((y - 6) / 4) ** 2 < 1) & ((x - 9) ** 2 + (y - 5) ** 2 > 1.5) | (x + y < 7)


def section_of(layout: str, seed: int, pitch: float = PITCH) -> tuple[Section, np.ndarray, np.ndarray]:
    """Spots on tissue with features ``(n, 2, 3)`` that counts follow; array rows and columns ``(n, 2)``."""
    rng = np.random.default_rng(seed)
    centers, rows, columns = grid_points((14 * PITCH, 12 * PITCH), pitch, layout, on_tissue)
    features = rng.normal(size=(len(centers), 2, 3)).astype(np.float32)
    rate = np.exp(0.5 * features.reshape(-1, 6) @ np.random.default_rng(9).normal(size=(6, N_GENES)))
    counts = rng.poisson(40 * rate).astype(np.float32)
    section = Section(f"s{seed}", ArraySource(np.zeros((4, 4, 3), np.uint8)), centers, 1.0, None, counts, GENES)
    return section, features, np.column_stack([rows, columns])


def trained(name: str, settings: dict[str, Any], layout: str) -> Model:
    """A short training on two sections; what is known of absolute places is forgotten."""
    fields = {field.name for field in dataclasses.fields(METHODS[name].presets["default"].settings)}
    chosen = {key: value for key, value in SMALL.items() if key in fields}
    recipe: Recipe = find_recipe(name, "default", {**chosen, **settings})
    fit = FitConfig(batch_size=16, max_epochs=2, inner_folds=0, learning_rate=1e-2, members=1, anchor=False)
    recipe = dataclasses.replace(recipe, fit=fit)
    (one, one_features, _), (two, two_features, _) = (section_of(layout, seed) for seed in (0, 1))
    plan = Plan(recipe, N_GENES, "heg", 1, 0)
    identity = EncoderIdentity("tiny", None, "x")
    encoded = EncodedTiles([one_features, two_features], TileSpec((100.0,)), identity, None)
    model = train_model([one, two], encoded, check_plan([one, two], plan), Run(Hardware("cpu", 1)))
    for module in model.network.modules():
        if isinstance(module, PlaceEmbedding):
            torch.nn.init.zeros_(module.columns.weight)
            torch.nn.init.zeros_(module.rows.weight)
    return model


def turned(centers: np.ndarray, turn: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Spots after a turn, in rows from top to bottom as they would be laid; and which spot each of them is."""
    found = centers @ np.array(turn).T
    found += 10 - found.min(axis=0)
    order = np.lexsort(found.round(3).T)
    return found[order], order


@every_layout
@pytest.mark.parametrize("case", SETTINGS)
def test_predictions_stay_with_their_spots(case: str, layout: str) -> None:
    """Columns and rows of the array are part of some methods; their tables of places are at zero here."""
    model = trained(*SETTINGS[case], layout)
    section, features, _ = section_of(layout, 2)
    expected = model.predict_features(features, section.centers_px)
    assert case in ("mean", "shuffled") or (expected.std(axis=0) > 1e-2).all()
    for name, turn in TURNS.items():
        centers, order = turned(section.centers_px, turn)
        found = model.predict_features(features[order], centers)
        np.testing.assert_allclose(found, expected[order], rtol=0, atol=1e-4 * max(expected.std(), 1e-2), err_msg=name)


@every_layout
def test_so_do_those_of_a_grid_of_interleaved_arrays(layout: str) -> None:
    model = trained("nh2st", {"surroundings": "mean"}, layout)
    section, features, places = section_of(layout, 2, PITCH / 2)
    arrays = sublattices(*places.T, layout, 2)
    expected = model.predict_features(features, section.centers_px, arrays)
    for name, turn in TURNS.items():
        centers, order = turned(section.centers_px, turn)
        found = model.predict_features(features[order], centers, arrays[order])
        np.testing.assert_allclose(found, expected[order], rtol=0, atol=1e-4 * expected.std(), err_msg=name)


def test_arrays_have_any_numbers_and_spots_enough() -> None:
    model = trained("nh2st", {"surroundings": "mean"}, "hex")
    section, features, places = section_of("hex", 2, PITCH / 2)
    arrays = sublattices(*places.T, "hex", 2)
    expected = model.predict_features(features, section.centers_px, arrays)
    for numbers in (arrays - 1, arrays * 2**60, (arrays + 2**62).astype(np.uint64) * 2):
        np.testing.assert_array_equal(model.predict_features(features, section.centers_px, numbers), expected)
    one_by_one = np.arange(len(arrays))
    with pytest.raises(
        InputError, match="^an array of 1 spots is too small: a prediction depends on the [0-9]+ nearest"
    ):
        model.predict_features(features, section.centers_px, one_by_one)
    with pytest.raises(InputError, match="^most spots lie on top of one another .*\n  where:    centers_px\n"):
        model.predict_features(features, np.zeros_like(section.centers_px))
    with pytest.raises(
        InputError, match="^[0-9]+ of [0-9]+ spots have no usable position, .*\n  where:    centers_px\n"
    ):
        model.predict_features(features, section.centers_px * 1e300)


@every_layout
@every_turn
def test_morans_i_stays(turn: list[list[float]], layout: str) -> None:
    section, features, _ = section_of(layout, 2)
    predicted, truth = features.reshape(-1, 6)[:, :N_GENES], np.log1p(section.counts)
    expected = score_genes(section, predicted, truth, GENES, seed=0)
    centers, order = turned(section.centers_px, turn)
    other = dataclasses.replace(section, centers_px=centers, counts=section.counts[order])
    found = score_genes(other, predicted[order], truth[order], GENES, seed=0)
    for score in ("morans_i", "morans_i_measured"):
        np.testing.assert_allclose(found[score], expected[score], rtol=0, atol=1e-6)
