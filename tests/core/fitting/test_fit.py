"""From sections to a model: what is usable, what is refused, and that only training sections are looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.encoders.registry import build_encoder
from st_predict.core.errors import InputError
from st_predict.core.fitting import fit as fit_module
from st_predict.core.fitting.fit import train_model, with_domain
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run
from st_predict.core.fitting.plan import Plan, check_plan, check_scorable, usable_spots
from st_predict.core.inputs.encoded import EncodedTiles
from st_predict.core.methods.interface import Needs
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import find_recipe
from st_predict.core.model.model import Model
from st_predict.core.neighbors import array_places
from st_predict.core.section import Section
from st_predict.core.tiles.geometry import TileSpec
from st_predict.core.tiles.sources import ArraySource
from st_predict.core.tiles.store import TileStore

MakeSection = Callable[..., Section]
CPU = Run(Hardware("cpu", 1))


def recipe(method: str = "nh2st", **fit: Any) -> Any:
    found = find_recipe(method, "default", {"neighbors": 4, "width": 16, "hidden": 16} if method == "nh2st" else None)
    settings = {"batch_size": 8, "max_epochs": 3, "members": 1, "anchor": False, **fit}
    return dataclasses.replace(found, fit=FitConfig(**settings).settled(gradient=method == "nh2st"))


def plan(of: Any = None, **changes: Any) -> Plan:
    return dataclasses.replace(Plan(recipe() if of is None else of, 5, "heg", 1, 0), **changes)


def features(section: Section, seed: int = 0, size: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(section.n_spots, 1, size)).astype(np.float32)


def model_of(
    sections: list[Section], tiles: list[Any], method: str = "nh2st", min_counts: float = 1, **fit: Any
) -> Model:
    asked = plan(recipe(method, **fit), min_counts=min_counts)
    encoded = EncodedTiles(tiles, TileSpec((100.0,)), EncoderIdentity("tiny", None, "x"), None)
    return train_model(sections, encoded, check_plan(sections, asked), CPU)


def test_usable_spots(plain_section: MakeSection) -> None:
    section = plain_section("A")
    counts = section.counts.copy()
    counts[0], counts[1], counts[2] = 0, 1, 100
    section = dataclasses.replace(section, counts=counts)
    assert np.flatnonzero(usable_spots(section, 500)).tolist() == [2]
    assert (~usable_spots(section, 6)).nonzero()[0].tolist() == [0, 1]
    assert (~usable_spots(section, 0)).nonzero()[0].tolist() == [0], "an empty spot is never usable"


def test_too_few_usable_spots(plain_section: MakeSection) -> None:
    with pytest.raises(InputError, match="section 'B' has 0 of 30 spots with at least 5000 counts") as error:
        check_plan([plain_section("B")], plan(min_counts=5000))
    assert "lower min_counts" in error.value.remedy and "more than 4 usable spots" in error.value.expected


def test_more_neighbors_than_a_section_has(plain_section: MakeSection) -> None:
    def check(neighbors: int) -> None:
        found = recipe()
        found = dataclasses.replace(found, settings=dataclasses.replace(found.settings, neighbors=neighbors))
        check_plan([plain_section("B")], plan(found))

    with pytest.raises(InputError, match="section 'B' has 30 of 30 spots") as error:
        check(30)
    assert (error.value.where, error.value.remedy) == ("neighbors", "use fewer neighbors, or leave this section out")
    check(29)


def test_fewer_spots_than_a_batch(plain_section: MakeSection) -> None:
    with pytest.raises(InputError, match="60 usable spots are fewer than one batch of 64") as error:
        check_plan([plain_section("A"), plain_section("B")], plan(recipe(batch_size=64)))
    assert "batch_size=15" in error.value.remedy


def test_methods_of_whole_sections_need_no_batch(plain_section: MakeSection) -> None:
    sections = [plain_section("A"), plain_section("B")]
    assert len(check_plan(sections, plan(recipe("histogene", batch_size=64))).genes) == 5
    with pytest.raises(InputError, match="fewer than one batch"):
        check_plan(sections, plan(recipe("histogene", batch_size=64, trainable_encoder=True)))


def test_a_held_out_section_needs_three_spots_to_be_scored_on(plain_section: MakeSection) -> None:
    section, panel = plain_section("A"), ["g0", "g1"]
    check_scorable(section.keep(np.arange(3)), panel, 1)  # fewer than the neighbors asked for
    with pytest.raises(InputError, match="has 2 spots, 2 of them with enough counts"):
        check_scorable(section.keep(np.arange(2)), panel, 1)


def test_places_are_counted_from_the_same_corner_in_training_and_prediction(plain_section: MakeSection) -> None:
    section = plain_section("A")
    counts = section.counts.copy()
    corner = section.centers_px.sum(axis=1).argmin()
    edge = section.centers_px[:, 0] == section.centers_px[corner, 0]
    counts[edge] = 0
    shallow = dataclasses.replace(section, counts=counts)
    mask = usable_spots(shallow, 1)
    spots = fit_module._spot_set([shallow], [torch.zeros(section.n_spots, 2)], [mask], ["g0"], Needs())
    assert torch.equal(spots.places, torch.from_numpy(array_places(section.centers_px)[mask]).float())
    assert spots.places[:, 0].min() == 1


@pytest.mark.parametrize(
    ("of", "layout"),
    [(("square", "square"), "square"), (("hex", "one spot"), "hex"), (("hex", "square"), None), (("one spot",), None)],
)
def test_layout_is_the_one_of_all_sections(of: tuple[str, ...], layout: str | None, plain_section: MakeSection) -> None:
    square = plain_section("A")
    hexagons = square.centers_px * (1, np.sqrt(3) / 2) + np.outer(np.arange(30) // 6 % 2, (10, 0))
    known = {
        "square": square, "hex": dataclasses.replace(square, centers_px=hexagons), "one spot": square.keep(np.arange(1)),
    }  # fmt: skip
    assert fit_module._common_layout([known[name] for name in of]) == layout


def test_closed_form_methods_need_no_batch(plain_section: MakeSection) -> None:
    assert len(check_plan([plain_section("A")], plan(recipe("ridge", batch_size=64))).genes) == 5


def test_panel_is_chosen_on_usable_spots_alone(plain_section: MakeSection) -> None:
    section = plain_section("A")
    counts = section.counts.copy()
    counts[:5] = 0
    counts[:5, 4] = 100  # the highest gene by far, in spots that do not count
    shallow = dataclasses.replace(section, counts=counts)
    assert check_plan([shallow], plan(genes=2)).genes[0] == "g4"
    usable = section.keep(np.arange(5, 30))
    assert check_plan([shallow], plan(genes=2, min_counts=120)).genes == check_plan([usable], plan(genes=2)).genes


def test_encoder_cannot_be_trained_without_a_loss(plain_section: MakeSection) -> None:
    with pytest.raises(InputError, match="method 'ridge' is not trained by gradient") as error:
        check_plan([plain_section("A")], plan(recipe("ridge", trainable_encoder=True)))
    assert error.value.where == "trainable_encoder"


def test_unusable_spots_and_their_tiles_are_not_trained_on(plain_section: MakeSection) -> None:
    """Expression of spots under min_counts has no part in the model; their tiles only as neighbors' context."""
    section = plain_section("A", rows=6)
    counts = section.counts.copy()
    counts[[3, 17]] = [[1, 0, 0, 0, 0]]
    tiles = [features(section)]
    one = model_of([dataclasses.replace(section, counts=counts)], tiles, min_counts=50)
    counts = counts.copy()
    counts[[3, 17]] = [[0, 0, 30, 0, 9]]
    other = model_of([dataclasses.replace(section, counts=counts)], tiles, min_counts=50)
    assert one.id == other.id


@pytest.mark.parametrize("method", ["nh2st", "ridge", "mean"])
def test_record_of_the_fit(plain_section: MakeSection, method: str) -> None:
    sections = [plain_section(name, seed) for seed, name in enumerate("ABC")]
    model = model_of(sections, [features(s, i) for i, s in enumerate(sections)], method)
    assert model.sections == ["A", "B", "C"] and model.method == method and model.seed == 0
    assert model.held_out.index.tolist() == ["A", "B", "C"]
    methods = list(dict.fromkeys(["mean", "ridge", method]))
    assert model.held_out.columns.tolist() == [(score, m) for score in ("pcc", "mse") for m in methods]
    if method != "nh2st":
        assert model.history.empty
        return
    history = model.history
    assert history["fit"].drop_duplicates().tolist() == ["fold 1", "fold 2", "fold 3", "final"]
    assert (history["fit"] == "final").sum() == model.epochs
    assert np.allclose(history["loss"], history[["mse", "query", "neighbor"]].sum(axis=1))
    assert history.loc[history["fit"] == "fold 2", "held_out"].unique().tolist() == ["B"]
    assert history.loc[history["fit"] == "final", "held_out"].isna().all()


def test_nothing_held_out(plain_section: MakeSection) -> None:
    section = plain_section("A")
    model = model_of([section], [features(section)], max_epochs=4)
    assert model.held_out.empty and model.epochs == 4 and len(model.history) == 4


def test_predictions_get_the_mean_over_sections_back(plain_section: MakeSection) -> None:
    sections = [plain_section("A", 0), plain_section("B", 1, rows=9)]
    model = model_of(sections, [features(s, i) for i, s in enumerate(sections)], "mean")
    expected = np.mean([
        np.log1p(1e4 * s.counts / s.counts.sum(axis=1, keepdims=True)).mean(axis=0) for s in sections
    ], axis=0)  # fmt: skip
    order = [model.panel.index(f"g{i}") for i in range(5)]
    found = model.predict_features(features(sections[0], 5), sections[0].centers_px)[:, order]
    assert np.allclose(found, expected, atol=1e-4)


def test_trained_encoder_learns_and_predicts(plain_section: MakeSection) -> None:
    """End to end: the loss falls, the model's encoder changes, the given one does not."""
    rng = np.random.default_rng(0)
    sections, tiles = [], []
    for seed, name in enumerate("AB"):
        section = plain_section(name, seed, rows=8)
        shade = rng.uniform(0, 1, (section.n_spots, 1))
        rate = np.concatenate([shade, 1 - shade, shade**2, np.ones_like(shade), 1.5 - shade], axis=1) * 200 + 5
        sections.append(dataclasses.replace(section, counts=rng.poisson(rate).astype(np.float32)))
        tiles.append(np.broadcast_to((255 * shade).astype(np.uint8)[:, None, None, None], (48, 1, 32, 32, 3)).copy())
    encoder = build_encoder("tiny")
    before = encoder.fingerprint()
    used = find_recipe("nh2st", "paper", {"neighbors": 4, "width": 16, "hidden": 16})
    fit = dataclasses.replace(used.fit, max_epochs=40, learning_rate=1e-2)
    used = dataclasses.replace(used, fit=fit)
    encoded = EncodedTiles(tiles, TileSpec((100.0,)), EncoderIdentity("tiny", None, before), encoder)
    model = train_model(sections, encoded, check_plan(sections, plan(used)), CPU)
    assert encoder.fingerprint() == before and model.encoder is not None
    assert model.encoder.fingerprint() != before and not model.encoder.training
    mse = model.history["mse"]
    assert len(mse) == 40 and mse.iloc[-1] < 0.1 * mse.iloc[0]
    assert model.n_inputs == 24
    with torch.inference_mode():
        rows = model.encoder(torch.from_numpy(tiles[0][:, 0])).numpy()[:, None]
    predicted = model.predict_features(rows, sections[0].centers_px)
    truth = np.log1p(1e4 * sections[0].counts / sections[0].counts.sum(axis=1, keepdims=True))
    column = model.panel.index("g0")
    assert np.corrcoef(predicted[:, column], truth[:, 0])[0, 1] > 0.5


def test_training_from_files_is_training_from_memory(plain_section: MakeSection, tmp_path: Path) -> None:
    """Bit for bit: weights of method and encoder, history, and what is held out; some spots are not usable."""
    rng = np.random.default_rng(0)
    sections = []
    for seed, name in enumerate("ABC"):
        section = plain_section(name, seed)
        pixels = rng.integers(0, 256, (110, 130, 3), dtype=np.uint8)
        section.counts[seed] = 0
        sections.append(dataclasses.replace(section, image=ArraySource(pixels)))
    spec = TileSpec((24.0, 40.0))
    stored = TileStore(tmp_path, limit_gb=1).tiles(sections, spec, 32)
    used = recipe(trainable_encoder=True, inner_folds=1, max_epochs=2, stain_jitter=0.1)
    used = dataclasses.replace(used, inputs=InputConfig((), "none", None))
    found = []
    for tiles in (stored, [one[:] for one in stored]):
        encoded = EncodedTiles(tiles, spec, EncoderIdentity("tiny", None, "x"), build_encoder("tiny"))
        model = train_model(sections, encoded, check_plan(sections, plan(used)), CPU)
        found.append(with_domain(model, sections, tiles))
    assert found[0].id == found[1].id
    assert found[0].history_rows == found[1].history_rows and found[0].held_out_rows == found[1].held_out_rows
    assert len(found[0].history_rows) > 2 and {row["section"] for row in found[0].held_out_rows} == {"C"}
    for name, values in found[0].tensors().items():
        torch.testing.assert_close(values, found[1].tensors()[name], rtol=0, atol=0, equal_nan=True, msg=name)
