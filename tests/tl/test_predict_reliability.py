"""How sure a prediction is: what stands in ``var``, intervals beside it, and genes that are left out."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import spatialdata
import torch
from spatialdata import SpatialData

import st_predict as stp
from st_predict.core.errors import InputError
from st_predict.core.model.model import Model
from st_predict.tl import _remarks

pytestmark = pytest.mark.one_python

Make = Callable[..., SpatialData]
Quick = dict[str, Any]

NAMES = ("predicted_lower", "predicted", "predicted_upper")


@pytest.fixture
def sure(make_section: Make, quick: Quick) -> Model:
    """Trained on three sections, each held out in turn."""
    return stp.tl.train([make_section(name, seed) for seed, name in enumerate("ABC")], **quick)


def test_what_is_expected_of_every_gene(make_section: Make, sure: Model) -> None:
    genes = sure.genes
    assert genes.index.tolist() == sure.panel
    held_out = sure.held_out["pcc", "nh2st"]
    assert genes["expected_pcc"].mean() == pytest.approx(held_out.mean(), abs=1e-4)
    assert genes["ceiling"].between(0, 1).all() and (genes["pcc_sd"] >= 0).all()
    sdata = make_section("D", 3)
    stp.tl.predict(sdata, sure)
    var = sdata.tables["table"].var
    np.testing.assert_allclose(var.loc[sure.panel, "predicted_expected_pcc"], genes["expected_pcc"])
    assert var.loc[~var.index.isin(sure.panel), "predicted_expected_pcc"].isna().all()
    assert (genes["chance"] > 0).all() and genes["predictable"].equals(genes["expected_pcc"] > genes["chance"])
    np.testing.assert_allclose(var.loc[sure.panel, "predicted_chance"], genes["chance"])
    assert var.loc[sure.panel, "predicted_predictable"].tolist() == genes["predictable"].tolist()
    assert list(sdata.tables["table"].uns["predicted"]["chance"]) == pytest.approx(genes["chance"].tolist())
    np.testing.assert_allclose(stp.tl.evaluate(sdata)["expected_pcc"], genes["expected_pcc"])


@pytest.mark.parametrize("table", [True, False])
def test_intervals_stand_beside_the_prediction(make_section: Make, sure: Model, table: bool, tmp_path: Path) -> None:
    sdata = make_section("D", 3, table=table)
    stp.tl.predict(sdata, sure, interval=0.8)
    sdata.write(tmp_path / "D.zarr")
    found = spatialdata.read_zarr(tmp_path / "D.zarr").tables["table" if table else "predicted"]
    lower, middle, upper = (
        found.obsm[name].to_numpy() if table else found[:, sure.panel].layers[name] for name in NAMES
    )
    layers = set(found.layers) - {None}  # newer anndata counts X among them, as None
    assert sure.reliability is not None and layers == ({"predicted"} if table else {*NAMES})
    for values, expected in zip((lower, upper), sure.reliability.interval(middle, 0.8), strict=True):
        np.testing.assert_array_equal(values, expected)
    assert (lower <= upper).all() and found.uns["predicted"]["interval"] == 0.8


def test_a_prediction_without_intervals_takes_those_of_the_last_away(make_section: Make, sure: Model) -> None:
    sdata = make_section("D", 3)
    stp.tl.predict(sdata, sure, interval=0.9)
    assert "covered" in stp.tl.evaluate(sdata)
    stp.tl.predict(sdata, sure)
    table = sdata.tables["table"]
    assert not {"predicted_lower", "predicted_upper"} & {*table.layers, *table.obsm}
    assert "covered" not in stp.tl.evaluate(sdata)


def test_evaluate_counts_the_spots_within(make_section: Make, sure: Model) -> None:
    sdata = make_section("D", 3)
    stp.tl.predict(sdata, sure, interval=0.5)
    table = sdata.tables["table"]
    scores = stp.tl.evaluate(sdata, min_counts=1)
    counts = np.asarray(table.X.toarray() if hasattr(table.X, "toarray") else table.X, np.float64)
    truth = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)[:, table.var_names.get_indexer(sure.panel)]
    lower, upper = (table.obsm[f"predicted_{end}"].to_numpy() for end in ("lower", "upper"))
    used = counts.sum(axis=1) >= 1
    expected = ((truth >= lower - 1e-6) & (truth <= upper + 1e-6))[used].mean(axis=0)
    np.testing.assert_allclose(scores["covered"], expected, atol=1.5 / used.sum())


@pytest.mark.parametrize("table", [True, False])
def test_genes_that_are_not_reliable_are_left_out(
    make_section: Make, sure: Model, table: bool, caplog: pytest.LogCaptureFixture
) -> None:
    expected = sure.genes["expected_pcc"]
    least = float(expected.median())
    kept = expected.index[expected >= least].tolist()
    whole, part = make_section("D", 3, table=table), make_section("D", 3, table=table)
    stp.tl.predict(whole, sure)
    with caplog.at_level(logging.WARNING, "st_predict"):
        stp.tl.predict(part, sure, min_reliability=least, interval=0.9)
    assert f"{len(expected) - len(kept)} of {len(expected)} genes are left out" in caplog.text
    name = "table" if table else "predicted"
    found, all_genes = part.tables[name], whole.tables[name]
    assert list(found.uns["predicted"]["panel"]) == kept
    np.testing.assert_array_equal(found[:, kept].layers["predicted"], all_genes[:, kept].layers["predicted"])
    if table:
        left = found[:, [gene for gene in sure.panel if gene not in kept]]
        assert np.isnan(left.layers["predicted"]).all() and left.var["predicted_expected_pcc"].isna().all()
        assert stp.tl.evaluate(part).index.tolist() == kept
    else:
        assert found.var_names.tolist() == kept


def test_reliable_is_what_is_expected_of_this_slide(
    make_section: Make, sure: Model, caplog: pytest.LogCaptureFixture
) -> None:
    """Of another subject half is left of what is expected: genes whose half is too little are left out, or all are."""
    of_a = dataclasses.replace(sure, subject="A")
    expected = sure.genes["expected_pcc"]
    least = float(expected.sort_values().iloc[-2]) / 2
    same, other = make_section("D", 3, subject="a"), make_section("D", 3, subject="B")
    for sdata in (same, other):
        stp.tl.predict(sdata, of_a, min_reliability=least)
    kept = {
        name: list(s.tables["table"].uns["predicted"]["panel"]) for name, s in {"same": same, "other": other}.items()
    }
    assert kept["same"] == expected.index[expected >= least].tolist()
    assert kept["other"] == expected.index[expected / 2 >= least].tolist() and len(kept["other"]) < len(kept["same"])
    assert "genes are left out of D as well: it is unlike training or of another subject" in caplog.text
    told = other.tables["table"].var["predicted_expected_pcc"].dropna()
    assert sorted(told.index) == sorted(kept["other"]) and (told >= np.float32(least)).all()
    fresh = make_section("D", 3, subject="B")
    with pytest.raises(
        InputError, match=r"min_reliability is .*; of D, which is unlike training or of another subject"
    ):
        stp.tl.predict(fresh, of_a, min_reliability=0.9 * float(expected.max()))
    assert "predicted" not in fresh.tables["table"].layers


def test_a_model_that_held_nothing_out_is_not_asked(make_section: Make, quick: Quick) -> None:
    model = stp.tl.train(make_section("A"), **quick)
    assert model.reliability is None and model.genes["expected_pcc"].isna().all()
    for asked in ({"interval": 0.9}, {"min_reliability": 0.2}):
        sdata = make_section("D", 3)
        with pytest.raises(InputError, match="does not know how sure it is") as error:
            stp.tl.predict(sdata, model, **asked)
        assert error.value.where == next(iter(asked)) and "predicted" not in sdata.tables["table"].layers
    stp.tl.predict(sdata, model)
    assert sdata.tables["table"].var["predicted_expected_pcc"].isna().all()


def test_of_a_model_of_an_earlier_version_chance_is_not_known(
    make_section: Make, sure: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its folder has no such tensor; it is read, predicts, and says nothing of what is predictable."""
    assert sure.reliability is not None
    earlier = dataclasses.replace(sure, reliability=dataclasses.replace(sure.reliability, chance=None))
    loaded = stp.load_model(earlier.save(tmp_path / "model"))
    assert loaded.id == earlier.id != sure.id and loaded.reliability is not None
    assert loaded.reliability.predictable is None and loaded.reliability.only(torch.tensor([0])).chance is None
    assert loaded.genes["expected_pcc"].equals(sure.genes["expected_pcc"])
    assert loaded.genes[["chance", "predictable"]].isna().all(axis=None)
    sdata = make_section("D", 3)
    stp.tl.predict(sdata, loaded)
    table = sdata.tables["table"]
    assert table.var["predicted_chance"].isna().all() and not table.var["predicted_predictable"].any()
    assert "chance" not in table.uns["predicted"]


def test_what_no_gene_reaches_is_refused(make_section: Make, sure: Model) -> None:
    with pytest.raises(
        InputError, match=r"min_reliability is 0.999; the best of \d+ genes has an expected PCC of 0\.\d"
    ):
        stp.tl.predict(make_section("D", 3), sure, min_reliability=0.999)
    for least in ("high", float("nan"), True, [0.2]):
        with pytest.raises(InputError, match="min_reliability is") as error:
            stp.tl.predict(make_section("D", 3), sure, min_reliability=least)
        assert error.value.expected.startswith("a PCC, -1 to 1")
    with pytest.raises(InputError, match="interval is 90"):
        stp.tl.predict(make_section("D", 3), sure, interval=90)


def test_columns_of_the_user_are_kept(make_section: Make, sure: Model) -> None:
    sdata = make_section("D", 3)
    sdata.tables["table"].var["predicted_ceiling"] = 1.0
    with pytest.raises(InputError, match=r"var\['predicted_ceiling'\] is there already"):
        stp.tl.predict(sdata, sure)
    stp.tl.predict(sdata, sure, key_added="mine")
    mine = sdata.tables["table"].obsm["mine_lower"] = np.ones((42, 2))
    stp.tl.predict(sdata, sure, key_added="mine")
    assert sdata.tables["table"].obsm["mine_lower"] is mine, "no interval was written, so it is not ours to take away"
    with pytest.raises(InputError, match=r"obsm\['mine_lower'\] is there already"):
        stp.tl.predict(sdata, sure, key_added="mine", interval=0.9)


def test_saved_and_loaded_it_is_as_sure(make_section: Make, sure: Model, tmp_path: Path) -> None:
    loaded = stp.load_model(sure.save(tmp_path / "model"))
    assert loaded.genes.equals(sure.genes) and loaded.id == sure.id
    sections = make_section("D", 3), make_section("D", 3)
    for sdata, model in zip(sections, (sure, loaded), strict=True):
        stp.tl.predict(sdata, model, interval=0.95)
    ends = [sdata.tables["table"].obsm["predicted_upper"].to_numpy() for sdata in sections]
    np.testing.assert_array_equal(*ends)


def test_a_gene_asked_for_that_cannot_be_predicted_is_named(
    make_section: Make, quick: Quick, caplog: pytest.LogCaptureFixture
) -> None:
    """With its number; one of noise alone, among others."""
    sections = [make_section(name, seed) for seed, name in enumerate("ABC")]
    rng = np.random.default_rng(0)
    for sdata in sections:
        table = sdata.tables["table"]
        counts = np.asarray(table.X.toarray() if hasattr(table.X, "toarray") else table.X).copy()
        counts[:, 0] = np.round(
            counts[:, 1:].sum(axis=1) * rng.uniform(0.01, 0.2, len(counts))
        )  # not of the depth either
        table.X = counts
    names = sections[0].tables["table"].var_names[:4].tolist()
    with caplog.at_level(logging.INFO, "st_predict"):
        model = stp.tl.train(sections, **{**quick, "genes": names, "params": {**quick.get("params", {}), "rank": None}})
    assert not model.genes.loc[names[0], "predictable"]
    (warning,) = [r.getMessage() for r in caplog.records if "cannot be predicted" in r.getMessage()]
    assert f"{names[0]} ({model.genes.loc[names[0], 'expected_pcc']:.2f})" in warning
    chance = model.genes["chance"][~model.genes["predictable"]].mean()
    assert f"their PCC is no more than shuffled images reach by chance ({chance:.2f})" in warning
    assert "a predictor of the true rates would reach about 0." in warning


def test_intervals_set_on_one_section_are_said_to_be(
    make_section: Make, quick: Quick, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two sections held out together each stands for itself; of one alone nothing is known of how others differ."""
    sections = [make_section(name, seed) for seed, name in enumerate("ABC")]
    model = stp.tl.train(sections, **quick, inner_folds=1)
    assert model.reliability is not None and model.reliability.n_groups == 1
    stp.tl.predict(make_section("D", 3), model)
    assert "set on only one held-out section" not in caplog.text
    stp.tl.predict(make_section("D", 3), model, interval=0.9)
    assert "intervals were set on only one held-out section" in caplog.text
    subjects = [
        make_section(name, seed, subject=who) for seed, (name, who) in enumerate(zip("ABC", "PQQ", strict=True))
    ]
    model = stp.tl.train(subjects, **quick, inner_folds=1)
    assert model.held_out.index.tolist() == ["B", "C"] and model.reliability is not None
    assert model.reliability.n_groups == 2


@pytest.mark.parametrize(("after", "said"), [(0.2901, False), (0.2, True)])
def test_a_lower_expectation_is_said_where_it_shows(after: float, said: bool, caplog: pytest.LogCaptureFixture) -> None:
    lowered = SimpleNamespace(expected_pcc=torch.tensor([after]))
    reliability = SimpleNamespace(expected_pcc=torch.tensor([0.2949]), on_slide=lambda *_args, **_given: lowered)
    model: Any = SimpleNamespace(reliability=reliability, ground=None)
    predicted: Any = SimpleNamespace(slide_shift=9.0, provenance={"ridge_share": 0})
    _remarks._say_expected("S1", model, predicted, of_another=False)
    assert ("is lowered from 0.29 (sections held out) to 0.20" in caplog.text) == said and bool(caplog.text) == said
