"""Inner folds, centered targets and the epoch they find."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from st_predict.core.encoders.registry import build_encoder
from st_predict.core.fitting import selection
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.module import EpochRecord, Score
from st_predict.core.fitting.network import Run
from st_predict.core.fitting.selection import Fitting, Selection, center_targets, history_rows, select_epochs
from st_predict.core.inputs.kinds import FeatureInputs, PixelInputs
from st_predict.core.inputs.pixels import TileRows
from st_predict.core.inputs.rows import SectionRows
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import find_recipe
from st_predict.core.section import Section
from st_predict.core.splits import inner_folds

MakeSection = Callable[..., Section]
CPU = Hardware("cpu", 1)
INPUTS = InputConfig(context=(), standardize="none")


def folds(sections: list[Section], n: int) -> list[tuple[list[int], list[int]]]:
    return [(fold.train, fold.held_out) for fold in inner_folds(sections, n)]


def test_folds_by_subject(plain_section: MakeSection) -> None:
    sections = [plain_section(f"S{i}", subject=subject) for i, subject in enumerate("PQPRQ")]
    assert folds(sections, 5) == [([1, 3, 4], [0, 2]), ([0, 2, 3], [1, 4]), ([0, 1, 2, 4], [3])]


@pytest.mark.parametrize("subjects", [["P", "P", "P"], [None, None, None], ["P", None, "Q"]])
def test_folds_by_section_where_subjects_do_not_tell(plain_section: MakeSection, subjects: list) -> None:
    sections = [plain_section(f"S{i}", subject=subject) for i, subject in enumerate(subjects)]
    assert folds(sections, 5) == [([1, 2], [0]), ([0, 2], [1]), ([0, 1], [2])]


def test_more_groups_than_folds_are_held_out_together(plain_section: MakeSection) -> None:
    sections = [plain_section(f"S{i}") for i in range(12)]
    found = folds(sections, 5)
    assert len(found) == 5
    assert sorted(i for _, held in found for i in held) == list(range(12))
    assert all(sorted(train + held) == list(range(12)) for train, held in found)


def test_one_fold_holds_out_the_last_group(plain_section: MakeSection) -> None:
    assert folds([plain_section(f"S{i}", subject=s) for i, s in enumerate("PQQ")], 1) == [([0], [1, 2])]


def test_no_fold(plain_section: MakeSection) -> None:
    assert folds([plain_section("A")], 5) == []
    assert folds([plain_section("A"), plain_section("B")], 0) == []


def test_targets_are_centered_by_section(spot_set: Callable[..., SpotSet]) -> None:
    spots = spot_set()
    centered, mean = center_targets(spots, InputConfig())
    section_means = [spots.expression[spots.sections == i].mean(dim=0) for i in range(3)]
    for i in range(3):
        rows = spots.sections == i
        assert torch.allclose(centered.expression[rows], spots.expression[rows] - section_means[i], atol=1e-5)
    assert torch.allclose(mean, sum(section_means) / 3, atol=1e-5), "sections count alike, whatever their size"


def test_targets_stay_where_centering_is_off(spot_set: Callable[..., SpotSet]) -> None:
    spots = spot_set()
    same, mean = center_targets(spots, InputConfig(center_targets=False))
    assert same is spots and not mean.any()


def fitting(method: str = "nh2st", **fit: Any) -> Fitting:
    recipe = find_recipe(method, "default", {"neighbors": 4, "width": 16, "hidden": 16} if method == "nh2st" else None)
    settings = {"batch_size": 8, "max_epochs": 6, "members": 1, **fit}
    return Fitting(dataclasses.replace(recipe, inputs=INPUTS, fit=FitConfig(**settings)), 0, Run(CPU))


def selected(fitting: Fitting, spots: SpotSet, folds: list[Any]) -> Selection:
    """The features are the tiles of the spots."""
    parts = [spots.of_sections([i]) for i in spots.sections.unique().tolist()]
    rows = [SectionRows(INPUTS, part.tiles.numpy()[:, None], part.places.double().numpy()) for part in parts]
    return select_epochs(
        fitting, spots.with_tiles(torch.empty(len(spots.tiles), 0)), FeatureInputs(INPUTS, rows), folds
    )


def score(pcc: float, mse: float) -> Score:
    return Score(torch.tensor([pcc], dtype=torch.double), mse, torch.zeros(1, dtype=torch.long), torch.zeros(1, 1))


@pytest.fixture
def three_folds(plain_section: MakeSection) -> list[Any]:
    return inner_folds([plain_section(f"S{i}") for i in range(3)], 5)


def test_epochs_are_the_median_of_the_folds_best(
    monkeypatch: pytest.MonkeyPatch, spot_set: Callable[..., SpotSet], three_folds: list[Any]
) -> None:
    best = iter([2, 5, 4])

    def fake(self: Fitting, spots: SpotSet, encoder: Any, epochs: int, held: Any, label: str) -> Any:
        peak, (section,) = next(best), held
        return (
            None,
            None,
            [EpochRecord(e, {"mse": 1.0}, {section: score(1 - abs(e - peak) / 10, e / 10)}) for e in range(1, 7)],
        )

    monkeypatch.setattr(Fitting, "fit", fake)
    found = selected(fitting(), spot_set(), three_folds)
    assert found.epochs == 4
    own = {one.section: (one.score.mean_pcc, one.score.mse) for one in found.held if one.method == "nh2st"}
    assert own == {0: (0.8, 0.4), 1: (0.9, 0.4), 2: (1.0, 0.4)}, "all folds are scored at the chosen epoch"


def test_score_of_a_fold_that_stopped_before_the_chosen_epoch(
    monkeypatch: pytest.MonkeyPatch, spot_set: Callable[..., SpotSet], three_folds: list[Any]
) -> None:
    lengths = iter([1, 5, 5])

    def fake(self: Fitting, spots: SpotSet, encoder: Any, epochs: int, held: Any, label: str) -> Any:
        n, (section,) = next(lengths), held
        return None, None, [EpochRecord(e, {"mse": 1.0}, {section: score(e / 10, e / 10)}) for e in range(1, n + 1)]

    monkeypatch.setattr(Fitting, "fit", fake)
    found = selected(fitting(), spot_set(), three_folds)
    own = {one.section: one.score.mean_pcc for one in found.held if one.method == "nh2st"}
    assert found.epochs == 5 and own == {0: 0.1, 1: 0.5, 2: 0.5}


def test_scores_stand_beside_mean_and_ridge(spot_set: Callable[..., SpotSet], three_folds: list[Any]) -> None:
    found = selected(fitting(max_epochs=12, learning_rate=1e-2), spot_set(), three_folds)
    assert [(one.section, one.method) for one in found.held] == [
        (section, method) for section in range(3) for method in ("mean", "ridge", "nh2st")
    ]
    pcc = {
        method: np.mean([one.score.mean_pcc for one in found.held if one.method == method])
        for method in ("mean", "ridge", "nh2st")
    }
    assert pcc["mean"] == 0 and pcc["ridge"] > 0.95 and pcc["nh2st"] > 0.6
    assert len(found.folds) == 3 and 1 <= found.epochs <= 12


def test_what_was_predicted_stands_beside_what_was_measured(
    spot_set: Callable[..., SpotSet], three_folds: list[Any]
) -> None:
    """In the space of the targets, for every method alike, and spot by spot."""
    spots = spot_set()
    found = selected(fitting(max_epochs=12, learning_rate=1e-2), spots, three_folds)
    for method in ("mean", "nh2st"):
        held_out = found.held_out(method, spots)
        assert [one.group for one in held_out] == [0, 1, 2]
        for number, one in enumerate(held_out):
            mine = spots.expression[spots.sections == number]
            assert torch.equal(one.measured, mine) and one.predicted.shape == mine.shape
            mse = float((one.predicted - one.measured).square().mean())
            (row,) = [h for h in found.held if (h.section, h.method) == (number, method)]
            assert mse == pytest.approx(row.score.mse, rel=1e-4) and torch.equal(one.pcc, row.score.pcc)


def test_what_is_held_out_has_no_part_in_its_fold(spot_set: Callable[..., SpotSet], three_folds: list[Any]) -> None:
    """Other expression in the held-out section changes its scores and nothing that was fitted."""
    spots = spot_set()
    other = spots.expression.clone()
    other[spots.sections == 0] = torch.randn_like(other[spots.sections == 0])
    fold = three_folds[:1]
    found = [selected(fitting(patience=6), s, fold) for s in (spots, spots.with_expression(other))]
    losses = [[record.losses for record in one.folds[0]] for one in found]
    assert losses[0] == losses[1]
    pcc = [one.folds[0][0].held_out[0].pcc for one in found]
    assert not torch.equal(*pcc)


def test_closed_form_methods_are_scored_without_training(
    monkeypatch: pytest.MonkeyPatch, spot_set: Callable[..., SpotSet], three_folds: list[Any]
) -> None:
    monkeypatch.setattr(selection, "fit_network", None)
    found = selected(fitting("ridge"), spot_set(), three_folds)
    assert [one.method for one in found.held] == ["mean", "ridge"] * 3
    assert found.folds == [] and found.epochs == 6


def test_history_is_one_flat_row_an_epoch() -> None:
    records = [
        EpochRecord(1, {"mse": 1.0, "query": 0.5}, {0: score(0.2, 2.0), 1: score(0.4, 4.0)}),
        EpochRecord(2, {"mse": 0.5, "query": 0.25}, {}),
    ]
    assert history_rows("fold 1", records, ["A", "B"]) == [
        {
            "fit": "fold 1", "epoch": 1, "loss": 1.5, "mse": 1.0, "query": 0.5,
            "held_out": "A, B", "held_out_pcc": pytest.approx(0.3), "held_out_mse": 3.0,
        },
        {"fit": "fold 1", "epoch": 2, "loss": 0.75, "mse": 0.5, "query": 0.25},
    ]  # fmt: skip


def test_scaling_is_fitted_on_what_a_fold_trains_on(spot_set: Callable[..., SpotSet], three_folds: list[Any]) -> None:
    """Other tiles in the held-out section change its scores and nothing that was fitted."""
    spots = spot_set()
    tiles = spots.tiles.clone()
    tiles[spots.sections == 0] = 50 * torch.randn_like(tiles[spots.sections == 0]) + 9
    found = [selected(fitting(patience=6), s, three_folds[:1]) for s in (spots, spots.with_tiles(tiles))]
    losses = [[record.losses for record in one.folds[0]] for one in found]
    assert losses[0] == losses[1]
    pcc = [one.held[-1].score.pcc for one in found]
    assert not torch.equal(*pcc)


@pytest.mark.parametrize("standardize", ["training", "none"])
def test_an_encoder_in_training_starts_from_scaled_features(standardize: Any) -> None:
    """By the tiles it is trained on, before the first step; not where features are to be taken as they are."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 1, 32, 32, 3), dtype=torch.uint8, generator=generator)
    neighbors = torch.arange(60)[:, None].repeat(1, 4)
    spots = SpotSet(
        TileRows.of_sections([pixels.numpy()])[0], torch.rand(60, 5, generator=generator),
        torch.zeros(60, dtype=torch.long), neighbors, torch.rand(60, 2),
    )  # fmt: skip
    used = fitting(max_epochs=1, encoder_learning_rate=1e-9, learning_rate=1e-9)
    inputs = dataclasses.replace(INPUTS, standardize=standardize)
    used = dataclasses.replace(used, recipe=dataclasses.replace(used.recipe, inputs=inputs))
    given = build_encoder("tiny")
    _, encoder, _ = used.fit(spots, PixelInputs(inputs, given, []), 1, {}, "fit")
    assert encoder is not None and encoder is not given and not given.feature_mean.any()
    with torch.no_grad():
        found = encoder(pixels[:, 0])
    scaled = torch.allclose(found.mean(dim=0), torch.zeros(()), atol=1e-3)
    assert scaled == (standardize == "training")
    if scaled:
        torch.testing.assert_close(found.std(dim=0), torch.ones(encoder.dim), atol=1e-3, rtol=0)
