"""``train``: what it takes, what it says, what it refuses before any work, and that it repeats itself."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from anndata import AnnData
from spatialdata import SpatialData

from st_predict.core.errors import InputError
from st_predict.core.model.model import Model
from st_predict.core.section import Section
from st_predict.core.tiles import store as store_module
from st_predict.core.tiles.cut import cut_section
from st_predict.tl import _session, evaluate, load_model, predict, train

pytestmark = pytest.mark.one_python  # numbers; every verb runs on the newer Python in tests/test_examples.py

Make = Callable[..., SpatialData]
Quick = dict[str, Any]


def predicted(model: Model, sdata: SpatialData) -> np.ndarray:
    predict(sdata, model)
    return sdata.tables["table"].obsm["predicted"].to_numpy()


def test_dict_names_the_sections(three_sections: dict[str, SpatialData], quick: Quick) -> None:
    model = train({"first": three_sections["B"], "second": three_sections["A"]}, **quick)
    assert model.sections == ["first", "second"] and model.held_out.index.tolist() == ["first", "second"]


def test_list_tuple_and_dict_give_one_model(make_section: Make, quick: Quick) -> None:
    ids = {
        train(kind([make_section("A", 0), make_section("B", 1)]), **quick).id
        for kind in (list, tuple, lambda pair: dict(zip("AB", pair, strict=True)))
    }
    assert len(ids) == 1


def test_it_learns(make_section: Make, quick: Quick) -> None:
    """Counts follow the color at the spot: a model of two sections predicts a third well."""
    sections = [make_section(name, seed) for seed, name in enumerate("AB")]
    test = make_section("C", 2)
    for method in ("nh2st", "ridge"):
        model = train(sections, **{**quick, "max_epochs": 10}, method=method)
        predict(test, model)
        assert evaluate(test)["pcc"].mean() > 0.6, method
    predict(test, train(sections, **quick, method="mean"))
    assert evaluate(test)["pcc"].abs().max() == 0


def test_what_it_says(make_section: Make, quick: Quick, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "st_predict"):
        train([make_section("A", 0), make_section("B", 1)], **quick)
    assert "nh2st on tiny, 10 genes, trained on A, B" in caplog.text
    assert all(word in caplog.text for word in ("mean", "ridge", "while its section was held out"))
    caplog.clear()
    with caplog.at_level(logging.INFO, "st_predict"):
        train(make_section("A", 0), **quick)
    assert "Nothing was held out: score it on a section it has not seen." in caplog.text


def test_it_says_what_it_is_given(make_section: Make, quick: Quick, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "st_predict"):
        train(make_section("A"), **{**quick, "genes": 100})
    assert "1 sections, 42 of 42 spots with at least 500 counts, 24 genes" in caplog.text
    assert "only 24 genes are common to all sections; 100 were asked for" in caplog.text


def test_folds_by_subject(make_section: Make, quick: Quick) -> None:
    sections = [make_section(name, seed, subject=s) for seed, (name, s) in enumerate(zip("ABC", "PPQ", strict=True))]
    history = train(sections, **quick).history
    assert history["held_out"].dropna().unique().tolist() == ["A, B", "C"]


def test_gene_lists_are_reconciled_by_name(make_section: Make, quick: Quick) -> None:
    """Sections whose genes come in another order give the model that sections in one order give."""
    sections, shuffled = ([make_section("A", 0), make_section("B", 1)] for _ in range(2))
    table = shuffled[1].tables["table"]
    order = np.random.default_rng(0).permutation(24)
    del shuffled[1].tables["table"]
    shuffled[1].tables["table"] = table[:, order].copy()
    model, other = (train(pair, **quick) for pair in (sections, shuffled))
    assert model.panel == other.panel
    assert np.allclose(predicted(model, make_section("C", 2)), predicted(other, make_section("C", 2)), atol=1e-4)


def test_users_genes(make_section: Make, quick: Quick) -> None:
    assert train(make_section("A"), **{**quick, "genes": ["g5", "g1"]}).panel == ["g5", "g1"]
    with pytest.raises(InputError, match="A lacks GAPDH"):
        train(make_section("A"), **{**quick, "genes": ["g5", "GAPDH"]})


def test_a_section_that_is_not_trained_on_changes_nothing(make_section: Make, quick: Quick) -> None:
    """No leak: only the sections given are looked at, whatever else was embedded or predicted before."""
    from st_predict.pp import embed

    model = train([make_section("A", 0), make_section("B", 1)], **quick)
    unseen = make_section("C", 2, depth=500)
    embed(unseen, encoder="tiny")
    predict(unseen, model)
    again = train([make_section("A", 0), make_section("B", 1)], **quick)
    assert again.id == model.id


def test_one_process_repeats_itself(make_section: Make, quick: Quick) -> None:
    def run(seed: int) -> np.ndarray:
        model = train([make_section("A", 0), make_section("B", 1)], **quick, seed=seed)
        return predicted(model, make_section("C", 2))

    first, again, other = run(0), run(0), run(1)
    assert np.array_equal(first, again) and not np.allclose(first, other)


SCRIPT = """
import importlib.util, sys
import st_predict as stp
spec = importlib.util.spec_from_file_location("sections", sys.argv[1])
sections = importlib.util.module_from_spec(spec); spec.loader.exec_module(sections)
for more in ({}, {"trainable_encoder": True}):
    stp.tl.train([sections.build_section("A", 0), sections.build_section("B", 1)], **sections.QUICK, **more)
    new = sections.build_section("C", 2)
    stp.tl.predict(new)
    table = new.tables["table"]
    print(table.uns["predicted"]["model"], table.obsm["predicted"].to_numpy().tobytes().hex())
"""


def test_another_process_gives_the_same_bits_and_is_heard(make_section: Make, quick: Quick) -> None:
    """Two trainings, with frozen features and with a trained encoder, in a plain script that set up no logging."""
    conftest = Path(__file__).parents[1] / "conftest.py"
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(conftest)], capture_output=True, text=True, check=True)
    here = []
    for more in ({}, {"trainable_encoder": True}):
        model = train([make_section("A", 0), make_section("B", 1)], **quick, **more)
        here.append([model.id, predicted(model, make_section("C", 2)).tobytes().hex()])
        assert f"st-predict: no model was given; using this session's last: {model!r}" in done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == here


def test_trained_encoder_end_to_end(make_section: Make, quick: Quick, tile_count: SimpleNamespace) -> None:
    sections = [make_section("A", 0), make_section("B", 1)]
    model = train(sections, **{**quick, "max_epochs": 8}, trainable_encoder=True, learning_rate=5e-3, inner_folds=0)
    assert model.history["mse"].iloc[-1] < 0.7 * model.history["mse"].iloc[0]
    assert model.encoder.fingerprint() != model.encoder_identity.fingerprint
    assert model.tiles.widths_um == (112.0,)
    assert all("X_tiny" not in s.tables["table"].obsm for s in sections), (
        "features of an encoder in training are not kept"
    )
    test = make_section("C", 2)
    tile_count.tiles = 0
    predict(test, model)
    assert tile_count.tiles == 42 and "X_tiny" not in test.tables["table"].obsm
    assert evaluate(test)["pcc"].mean() > 0.5


def test_trained_encoder_holds_out_one_group_by_default(make_section: Make, quick: Quick) -> None:
    sections = [make_section(name, seed) for seed, name in enumerate("ABC")]
    model = train(sections, **quick, trainable_encoder=True)
    assert model.held_out.index.tolist() == ["C"]
    assert model.held_out["pcc"].columns.tolist() == ["mean", "ridge", "nh2st"]


def test_tiles_are_cut_once_for_all_runs_of_a_store(
    make_section: Make, quick: Quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = []

    def noted(section: Section, *args: Any) -> None:
        cuts.append(section.name)
        cut_section(section, *args)

    monkeypatch.setattr(store_module, "cut_section", noted)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    ids = []
    for more in ({}, {"tile_store": tmp_path / "tiles"}, {"tile_store": str(tmp_path / "tiles")}):
        sections = [make_section("A", 0), make_section("B", 1)]
        ids.append(train(sections, **quick, trainable_encoder=True, **more).id)
    assert cuts == ["A", "B"] * 2 and len(set(ids)) == 1
    assert len(list((tmp_path / "tiles").iterdir())) == 2 and list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("change", [{"context": (4,)}, {"standardize": "slide"}])
def test_trained_encoder_takes_no_input_settings(make_section: Make, quick: Quick, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(change))} cannot be set where the encoder is trained"):
        train(make_section("A"), **quick, trainable_encoder=True, **change)


def test_settings_reach_the_recipe(make_section: Make, quick: Quick) -> None:
    model = train(
        make_section("A"),
        **quick,
        context=[3],
        standardize="training",
        learning_rate=0.01,
        stain_jitter=0.1,
        params={"width": 32},
        seed=4,
    )
    recipe = model.recipe
    assert (recipe.inputs.context, recipe.inputs.standardize) == ((3,), "training")
    assert (recipe.fit.learning_rate, recipe.fit.max_epochs, recipe.fit.batch_size) == (0.01, 2, 16)
    assert recipe.fit.stain_jitter == 0.1
    assert recipe.settings.width == 32 and model.seed == 4


def test_it_becomes_the_sessions_model(make_section: Make, quick: Quick, forget_models: None) -> None:
    model = train(make_section("A"), **quick)
    assert _session.last_model() is model


# ---- refused, and before any tile is encoded


@pytest.fixture
def no_work(tile_count: SimpleNamespace) -> Any:
    yield
    assert tile_count.tiles == 0, "refused after tiles were encoded"


def test_fewer_spots_than_a_batch(make_section: Make, quick: Quick, no_work: None) -> None:
    with pytest.raises(InputError, match="42 usable spots are fewer than one batch of 64") as error:
        train(make_section("A"), **{**quick, "batch_size": 64})
    assert "batch_size=10" in error.value.remedy


def test_no_usable_spots(make_section: Make, quick: Quick, no_work: None) -> None:
    with pytest.raises(InputError, match="section 'B' has 0 of 42 spots with at least 500 counts") as error:
        train([make_section("A"), make_section("B", 1, depth=2.0)], **quick)
    assert "lower min_counts" in error.value.remedy


def test_inner_folds_of_one_section(make_section: Make, quick: Quick, no_work: None) -> None:
    with pytest.raises(InputError, match="inner_folds=3 was asked of one section") as error:
        train(make_section("A"), **quick, inner_folds=3)
    assert "train for max_epochs" in error.value.remedy


def test_no_gene_in_common(make_section: Make, quick: Quick, no_work: None) -> None:
    other = make_section("B", 1, gene_names=[f"ENSG{i}" for i in range(24)])
    with pytest.raises(InputError, match="no gene is common to all 2 sections") as error:
        train([make_section("A"), other], **quick)
    assert "Ensembl" in error.value.remedy


def test_unknown_scale(make_section: Make, quick: Quick, no_work: None) -> None:
    with pytest.raises(InputError, match="the scale of section 'B' is unknown") as error:
        train([make_section("A"), make_section("B", 1, um_per_px=None)], **quick)
    assert "st_predict.pp.set_scale" in error.value.remedy


@pytest.mark.parametrize("scale", [None, 3.0])
def test_pixels_of_several_scales(make_section: Make, quick: Quick, no_work: None, scale: float | None) -> None:
    sections = [make_section("A", um_per_px=4.0), make_section("B", 1, um_per_px=scale)]
    with pytest.raises(InputError, match="the sections do not share one scale") as error:
        train(sections, **quick, tile_px=32)
    assert f"A: 4.0, B: {scale or 'unknown'}" in error.value.what and "tile_um=" in error.value.remedy


def test_pixels_of_one_scale_or_of_none(make_section: Make, quick: Quick) -> None:
    for scale in (4.0, None):
        sections = [make_section("A", um_per_px=scale), make_section("B", 1, um_per_px=scale)]
        model = train(sections, **quick, tile_px=(32, 64))
        assert model.um_per_px == scale and model.tiles.widths_px == (32.0, 64.0)


@pytest.mark.parametrize("given", [AnnData(np.ones((3, 2), np.float32)), 5, [b"a"], {"A": None}])
def test_not_a_spatialdata(given: Any, no_work: None) -> None:
    with pytest.raises(InputError, match=r"^sdata") as error:
        train(given, encoder="tiny")
    assert error.value.where == "sdata" and "st_predict.io" in error.value.remedy


@pytest.mark.parametrize("given", [[], {}, ()])
def test_no_sections(given: Any) -> None:
    with pytest.raises(InputError, match="sdata is .*empty"):
        train(given)


def test_sections_of_one_name(make_section: Make, quick: Quick, no_work: None) -> None:
    with pytest.raises(InputError, match="2 sections are named 'A'") as error:
        train([make_section("A"), make_section("A", 1)], **quick)
    assert "dict that names them" in error.value.remedy


def test_a_dict_tells_sections_of_one_name_apart(make_section: Make, quick: Quick) -> None:
    assert train({"one": make_section("A"), "two": make_section("A", 1)}, **quick).sections == ["one", "two"]


def test_slide_without_counts(make_section: Make, quick: Quick, no_work: None) -> None:
    with pytest.raises(InputError, match="the SpatialData has no table"):
        train(make_section("A", table=False), **quick)


def test_normalized_counts(make_section: Make, quick: Quick, no_work: None) -> None:
    sdata = make_section("A")
    sdata.tables["table"].X = sdata.tables["table"].X.log1p()
    with pytest.raises(InputError, match="look normalized or log-transformed already"):
        train(sdata, **quick)


def test_users_obsm_in_the_second_section(make_section: Make, quick: Quick, no_work: None) -> None:
    sections = [make_section("A"), make_section("B", 1)]
    sections[1].tables["table"].obsm["X_tiny"] = np.ones((42, 2))
    with pytest.raises(InputError, match="obsm\\['X_tiny'\\] is there already"):
        train(sections, **quick)


def test_ridge_with_an_encoder_in_training(make_section: Make, quick: Quick, no_work: None) -> None:
    with pytest.raises(InputError, match="method 'ridge' is not trained by gradient"):
        train(make_section("A"), **quick, method="ridge", trainable_encoder=True)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"method": "nh2"}, "there is no 'nh2'"),
        ({"encoder": "tinny"}, "there is no encoder 'tinny'"),
        ({"preset": "best"}, "there is no 'best'"),
        ({"params": {"widht": 3}}, "there is no 'widht'"),
        ({"tile_um": 100, "tile_px": 50}, "both tile_um and tile_px are given"),
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"inner_folds": -1}, "inner_folds is -1"),
        ({"standardize": "image"}, "standardize is 'image'"),
        ({"gene_ranking": "top"}, "gene_ranking is 'top'"),
        ({"genes": 0}, "genes is 0"),
        ({"layer": "raw"}, "has no layer 'raw'"),
        ({"image_key": "HE"}, "there is no image 'HE'"),
        ({"encoder_learning_rate": 0.0}, "encoder_learning_rate is 0.0"),
        ({"devices": 0}, "devices is 0"),
        ({"stain_jitter": 1.0}, "stain_jitter is 1.0"),
        ({"tile_store_gb": 0}, "tile_store_gb is 0"),
        ({"tile_store": __file__}, "is a file"),
        ({"accelerator": "abacus"}, "accelerator is 'abacus'"),
    ],
)
def test_arguments_that_make_no_sense(
    make_section: Make, quick: Quick, no_work: None, change: dict[str, Any], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        train(make_section("A"), **{**quick, **change})


def test_members_are_saved_and_predict_alike(make_section: Make, quick: Quick, tmp_path: Path) -> None:
    model = train(make_section("A"), **quick, members=2)
    assert model.recipe.fit.members == 2 and any(key.startswith("network.members.1.") for key in model.tensors())
    loaded = load_model(model.save(tmp_path / "model"))
    sections = make_section("C", 2), make_section("C", 2)
    for sdata, one in zip(sections, (model, loaded), strict=True):
        predict(sdata, one)
    assert np.array_equal(*(sdata.tables["table"].obsm["predicted"].to_numpy() for sdata in sections))
    assert train(make_section("A"), **quick, trainable_encoder=True).recipe.fit.members == 1


def test_members_of_a_method_without_chance_are_refused(make_section: Make, quick: Quick) -> None:
    with pytest.raises(InputError, match="3 of it are all the same"):
        train(make_section("A"), **{**quick, "method": "ridge"}, members=3)
    with pytest.raises(InputError, match="members is 0"):
        train(make_section("A"), **quick, members=0)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"members": 2.5}, "a whole number"),
        ({"max_epochs": True}, "a whole number"),
        ({"learning_rate": "low"}, "a finite number, over 0 and under 100"),
    ],
)
def test_settings_of_the_wrong_type_are_refused(
    make_section: Make, quick: Quick, setting: dict[str, Any], expected: str
) -> None:
    (name,) = setting
    with pytest.raises(InputError, match=f"{name} is") as error:
        train(make_section("A"), **{**quick, **setting})
    assert error.value.where == name and error.value.expected.startswith(expected)


def test_where_ridge_did_better_it_is_said(make_section: Make, quick: Quick, caplog: pytest.LogCaptureFixture) -> None:
    """Of what was trained by gradient; a control is below ridge by intent."""
    sections = [make_section("A", 0), make_section("B", 1)]
    with caplog.at_level(logging.INFO, "st_predict"):
        train(sections, **{**quick, "method": "mean"})
        assert "Tuned ridge did better" not in caplog.text and "cannot be predicted" not in caplog.text
        model = train(sections, **quick, learning_rate=1e-9)
    pcc = model.held_out["pcc"]
    assert (
        f"Tuned ridge did better than nh2st on what was held out, by {(pcc['ridge'] - pcc['nh2st']).mean():.3f}"
        in caplog.text
    )


def test_auto_is_what_did_best_where_it_was_held_out(
    make_section: Make, quick: Quick, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Two epochs are too few for networks; the model, what it expects and what it predicts are those of ridge."""
    sections = [make_section(name, seed) for seed, name in enumerate("ABC")]
    with caplog.at_level(logging.INFO, "st_predict"):
        model = train(sections, **{**quick, "method": "auto"})
    assert model.method == "ridge"
    found = re.search(r"chose ridge: mean PCC ([\d.]+) over 3 held-out sections, above nh2st by ([\d.]+)", caplog.text)
    assert found and float(found[2]) > 0
    ridge = train(sections, **{**quick, "method": "ridge"})
    loaded = load_model(model.save(tmp_path / "model"))
    predicted = []
    for one in (ridge, model, loaded):
        sdata = make_section("D", 3)
        predict(sdata, one, interval=0.9)
        predicted.append(sdata.tables["table"].obsm["predicted_upper"].to_numpy())
    np.testing.assert_array_equal(predicted[0], predicted[1])
    np.testing.assert_array_equal(predicted[1], predicted[2])


def test_auto_is_nh2st_where_nothing_can_be_held_out(
    make_section: Make, quick: Quick, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "st_predict"):
        auto, nh2st = (train(make_section("A"), **{**quick, "method": method}) for method in ("auto", "nh2st"))
    assert auto.method == "nh2st" and "nothing could be held out to choose by" in caplog.text
    for key, value in nh2st.tensors().items():
        assert torch.equal(value, auto.tensors()[key]), key


@pytest.mark.parametrize(
    ("given", "where"), [({"trainable_encoder": True}, "trainable_encoder"), ({"params": {"width": 8}}, "params")]
)
def test_auto_takes_nothing_of_one_method(
    make_section: Make, quick: Quick, no_work: None, given: dict[str, Any], where: str
) -> None:
    with pytest.raises(InputError, match="chooses among nh2st, hist2st, ridge") as error:
        train(make_section("A"), **{**quick, "method": "auto", "params": None, **given})
    assert error.value.where == where


def test_one_patient_in_two_spellings_is_no_new_subject(make_section: Make, quick: Any) -> None:
    sections = [
        make_section(name, seed, subject=subject) for seed, (name, subject) in enumerate([("A", "P1"), ("B", "p1 ")])
    ]
    model = train(sections, **{**quick, "inner_folds": 2})
    assert (model.ground, model.subject) == ("same subject", "P1")
