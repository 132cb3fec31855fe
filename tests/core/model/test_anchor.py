"""Slides unlike training: predictions are drawn toward ridge, and less is expected of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.fitting.fit import train_model, with_domain
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run
from st_predict.core.fitting.plan import Plan, check_plan
from st_predict.core.inputs.encoded import EncodedTiles
from st_predict.core.methods.settle import settle_method
from st_predict.core.model.anchor import anchor_share
from st_predict.core.model.load import load_model
from st_predict.core.model.model import Model
from st_predict.core.model.reliability import kept_share
from st_predict.core.section import Section
from st_predict.core.tiles.geometry import TileSpec
from st_predict.core.tiles.sources import ArraySource

N, D, G = 64, 12, 6


def drawn(seed: int, *, away: float = 0.0, subject: str | None = None) -> tuple[Section, np.ndarray]:
    """A section of 8 x 8 spots and its features ``(N, 1, D)``, all of them moved by so much."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(N, 1, D)).astype(np.float32)
    weight = np.random.default_rng(99).normal(size=(D, G))
    counts = rng.poisson(np.exp(3 + 0.4 * features[:, 0] @ weight)).astype(np.float32)
    y, x = (v.ravel() for v in np.mgrid[:8, :8])
    centers = np.column_stack([x, y]) * 20.0 + 10
    genes = np.array([f"g{i}" for i in range(G)])
    section = Section(f"S{seed}", ArraySource(np.zeros((1, 1, 3), np.uint8)), centers, 1.0, subject, counts, genes)
    return section, features + np.float32(away)


def trained(method: str = "nh2st", subjects: tuple[str | None, ...] = (None, None, None), **settings: Any) -> Model:
    sections, features = zip(*(drawn(i, subject=one) for i, one in enumerate(subjects)), strict=True)
    given = {"max_epochs": 3, "batch_size": 16, "members": 2, **settings} if method != "ridge" else settings
    plan = Plan(settle_method(method, **given), G, "heg", 1, 0)
    encoded = EncodedTiles(list(features), TileSpec((100.0,)), EncoderIdentity("tiny", None, "x"), None)
    model = train_model(list(sections), encoded, check_plan(sections, plan), Run(Hardware("cpu", 1)))
    return with_domain(model, list(sections), list(features))


@pytest.fixture(scope="module")
def model() -> Model:
    return trained()


@pytest.fixture(scope="module")
def ridge() -> Model:
    return trained("ridge")


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (anchor_share, {0.0: 0.0, 1.3: 0.0, 1.65: 0.5, 2.0: 1.0, 50.0: 1.0, math.nan: 0.0, math.inf: 1.0}),
        (kept_share, {0.0: 1.0, 1.3: 1.0, 1.45: 0.68, 1.6: 0.36, 50.0: 0.36, math.nan: 1.0, math.inf: 0.36}),
        (partial(kept_share, of_another=True), {0.0: 0.5, 1.3: 0.5, 1.45: 0.43, 1.6: 0.36, math.nan: 0.5}),
    ],
)
def test_shares_by_how_far_a_slide_lies_off(share: Callable[[float], float], expected: dict[float, float]) -> None:
    for shift, value in expected.items():
        assert share(shift) == pytest.approx(value, abs=1e-9), shift


def test_a_slide_like_training_is_the_networks_and_one_unlike_it_is_ridges(model: Model, ridge: Model) -> None:
    alone = dataclasses.replace(model, anchor=None)
    for away, share in ((0.0, 0.0), (20.0, 1.0)):
        section, features = drawn(7, away=away)
        assert model.anchored(features) == share and alone.anchored(features) == 0
        found = model.predict_features(features, section.centers_px)
        other = ridge if share else alone
        np.testing.assert_allclose(found, other.predict_features(features, section.centers_px), atol=1e-4)
        assert np.abs(found - (alone if share else ridge).predict_features(features, section.centers_px)).max() > 0.01


@pytest.mark.one_python
def test_a_saved_model_draws_and_expects_the_same(model: Model, tmp_path: Path) -> None:
    loaded = load_model(model.save(tmp_path / "model"))
    assert loaded.id == model.id and loaded.ground == model.ground == "new section"
    section, features = drawn(7, away=20.0)
    assert np.array_equal(*(one.predict_features(features, section.centers_px) for one in (model, loaded)))


def test_what_is_expected_of_a_slide_unlike_training(model: Model) -> None:
    plain, far = model.genes, model.genes_on(3.0)
    np.testing.assert_allclose(far["expected_pcc"], 0.36 * plain["expected_pcc"], rtol=1e-5)
    assert (far["ceiling"] == plain["ceiling"]).all() and (far["chance"] == plain["chance"]).all()
    assert (far["predictable"] == (far["expected_pcc"] > far["chance"])).all()
    assert (model.genes_on(0.5)["expected_pcc"] == plain["expected_pcc"]).all()
    worse = dataclasses.replace(model.reliability, expected_pcc=torch.tensor([-0.3, 0.5]))
    assert worse.on_slide(3.0).expected_pcc.tolist() == pytest.approx([-0.3, 0.18]), (
        "nothing more is expected than before"
    )


def test_a_slide_known_to_be_of_another_subject(tmp_path: Path) -> None:
    model = load_model(trained("ridge", ("A", "A", "A")).save(tmp_path / "model"))
    assert [model.is_of_another(subject) for subject in ("A", "B", None, "a", " A ", "?")] == [
        False, True, False, False, False, False,
    ]  # fmt: skip
    half = model.genes_on(0.0, of_another=True)["expected_pcc"]
    np.testing.assert_allclose(half, 0.5 * model.genes["expected_pcc"], rtol=1e-5)
    assert not any(trained("ridge", given).is_of_another("C") for given in (("A", "B", "B"), ("A", None, "A")))


@pytest.mark.parametrize(
    ("subjects", "ground"),
    [
        (("A", "A", "A"), "same subject"),
        (("A", "A", "B"), "new subject"),
        ((None, None, None), "new section"),
        (("A", "B", None), "new section"),
    ],
)
def test_expectations_name_their_ground(subjects: tuple[str | None, ...], ground: str) -> None:
    found = trained("ridge", subjects)
    assert found.ground == ground and set(found.genes["expected_for"]) == {ground}


def test_nothing_is_said_of_a_ground_where_nothing_was_held_out() -> None:
    assert trained("stnet", ("A", "B", "B"), inner_folds=0).ground is None


def test_nothing_is_drawn_where_it_was_not_asked_for() -> None:
    assert trained("stnet", anchor=False).anchor is None
    assert trained("ridge").anchor is None, "ridge is what others are drawn toward"
