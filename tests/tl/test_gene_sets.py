"""Gene sets as targets the whole way: train, save, predict, write, read, evaluate, compare, draw, by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import spatialdata
from spatialdata import SpatialData

import st_predict as stp
from st_predict.core.errors import InputError
from st_predict.core.model.model import Model

pytestmark = pytest.mark.one_python

Make = Callable[..., SpatialData]
SETS = {"T cells (CD4/CD8)": ["g2", "g9", "g20"], "B": ["g5"]}
T = "T cells (CD4/CD8)"


def plain_score(sdata: SpatialData, genes: list[str]) -> np.ndarray:
    """The mean over genes of log1p of counts per 10,000, ``(n,)``, the direct way."""
    table = sdata.tables["table"]
    counts = table.X.toarray().astype(np.float64)
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))[:, table.var_names.get_indexer(genes)].mean(
        axis=1
    )


@pytest.fixture(scope="module")
def model(make_section: Make) -> Model:
    return stp.tl.train(
        [make_section("A", 0), make_section("B", 1)], encoder="tiny", genes=10, method="ridge", gene_sets=SETS
    )


def test_the_panel_is_the_genes_then_the_sets(model: Model, make_section: Make, quick: dict[str, Any]) -> None:
    alone = stp.tl.train([make_section("A", 0), make_section("B", 1)], **{**quick, "method": "ridge"})
    assert model.panel == [*alone.panel, *SETS] and len(alone.panel) == 10, "genes= counts the genes alone"
    assert model.gene_sets == {name: tuple(genes) for name, genes in SETS.items()}
    assert repr(model) == f"Model {model.id}: ridge on tiny, 10 genes and 2 gene sets, trained on A, B"
    assert alone.gene_sets == {} and "gene_sets" not in alone.provenance()


def test_a_model_of_sets_is_saved_and_loaded(model: Model, make_section: Make, tmp_path: Path) -> None:
    loaded = stp.load_model(model.save(tmp_path / "model"))
    assert loaded.gene_sets == model.gene_sets and loaded.id == model.id
    found = []
    for one in (model, loaded):
        sdata = make_section("C", 2)
        stp.tl.predict(sdata, one)
        found.append((sdata["table"].obsm["predicted"].to_numpy(), sdata["table"].uns["predicted"]))
    assert np.array_equal(found[0][0], found[1][0]) and found[0][1] == found[1][1]
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["gene_sets"]["B"] = ["g6"]
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config.json was changed"):
        stp.load_model(tmp_path / "model")


def test_scores_of_a_section_that_was_written_and_read(model: Model, make_section: Make, tmp_path: Path) -> None:
    sdata = make_section("C", 2)
    stp.tl.predict(sdata, model)
    sdata.write(tmp_path / "C.zarr")
    back = spatialdata.read_zarr(tmp_path / "C.zarr")
    scores, table = stp.tl.evaluate(back), back["table"]
    assert scores.index.tolist() == model.panel and scores.attrs["genes_missing"] == []
    for name, genes in SETS.items():
        guess, truth = table.obsm["predicted"][name.replace("/", "_")], plain_score(sdata, genes)
        assert scores.loc[name, "pcc"] == pytest.approx(np.corrcoef(guess, truth)[0, 1], abs=1e-5)
        assert scores.loc[name, "mse"] == pytest.approx(((guess - truth) ** 2).mean(), rel=1e-4)
        assert scores.loc[name, "pcc"] > 0.5, "counts follow the color at the spot"
        members = table[:, genes].X.toarray()
        assert scores.loc[name, "mean_count"] == pytest.approx(members.sum(axis=1).mean(), rel=1e-5)
    assert scores.loc[model.panel[:10]].equals(stp.tl.evaluate(sdata).iloc[:10])
    layer = table.layers["predicted"]
    assert np.isfinite(layer).all(axis=0).sum() == 10, "sets are no columns of the measured table"


def test_a_set_is_missing_where_the_section_lacks_one_of_its_genes(model: Model, make_section: Make) -> None:
    sdata = make_section("C", 2, gene_names=[f"g{i}" if i != 20 else T for i in range(24)])
    stp.tl.predict(sdata, model)
    scores = stp.tl.evaluate(sdata)
    missing = [T, *(["g20"] if "g20" in model.panel else [])]
    assert sorted(scores.attrs["genes_missing"]) == sorted(missing), "nor is a gene of its name taken for it"
    assert T not in scores.index and "B" in scores.index
    assert np.isnan(sdata["table"].layers["predicted"][:, 20]).all()


def test_on_a_slide_without_measurements(model: Model, make_section: Make, tmp_path: Path) -> None:
    measured, slide = make_section("C", 2), make_section("C", 2, table=False)
    for sdata in (measured, slide):
        stp.tl.predict(sdata, model)
    slide.write(tmp_path / "C.zarr")
    table = spatialdata.read_zarr(tmp_path / "C.zarr")["predicted"]
    assert table.var_names.tolist() == model.panel
    np.testing.assert_allclose(table.X, measured["table"].obsm["predicted"].to_numpy(), rtol=1e-5)
    stored = {name: list(genes) for name, genes in table.uns["predicted"]["gene_sets"].items()}
    assert stored == {"T cells (CD4_CD8)": SETS[T], "B": SETS["B"]}


def test_maps_by_name(model: Model, make_section: Make) -> None:
    from matplotlib import pyplot as plt

    sdata = make_section("C", 2)
    stp.tl.predict(sdata, model)
    axes = stp.pl.spatial_expression(sdata, [T, model.panel[0]], show=False)
    drawn = [next(c for c in ax.collections if c.get_array() is not None).get_array() for ax in axes[0, 1:]]
    np.testing.assert_allclose(drawn[0], plain_score(sdata, SETS[T]), rtol=1e-5)
    np.testing.assert_array_equal(drawn[1], sdata["table"].obsm["predicted"].iloc[:, 10])
    pcc = stp.tl.evaluate(sdata).loc[T, "pcc"]
    assert axes[0, 2].get_title() == f"predicted, PCC {pcc:.2f}"
    assert [ax.yaxis.label.get_fontstyle() for ax in axes[:, 0]] == ["normal", "italic"]
    slide = make_section("C", 2, table=False)
    stp.tl.predict(slide, model)
    assert stp.pl.spatial_expression(slide, T, show=False).shape == (1, 2)
    plt.close("all")


def test_what_is_to_be_expected_of_a_set(model: Model, make_section: Make) -> None:
    """The ceiling that a model tells is that of the mean, as in the scores of its own sections."""
    ceilings = []
    for seed, name in enumerate("AB"):
        sdata = make_section(name, seed)
        stp.tl.predict(sdata, model)
        ceilings.append(stp.tl.evaluate(sdata)["ceiling"])
    assert model.genes.index.tolist() == model.panel
    np.testing.assert_allclose(model.genes["ceiling"], np.mean(ceilings, axis=0), rtol=1e-5)
    assert (model.genes.loc[list(SETS), "expected_pcc"] > 0.3).all()


def test_methods_that_model_counts_train_on_sets(make_section: Make, quick: dict[str, Any]) -> None:
    """The likelihood of hist2st is of the sums over a set's genes; rank and contrast see it as a gene."""
    model = stp.tl.train([make_section("A", 0), make_section("B", 1)], **quick, method="hist2st", gene_sets=SETS)
    sdata = make_section("C", 2)
    stp.tl.predict(sdata, model)
    assert np.isfinite(sdata["table"].obsm["predicted"].to_numpy()).all()
    assert len(model.panel) == 12


def test_paths_of_stores_give_the_model_of_sections(model: Model, make_section: Make, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.zarr" for name in "AB"]
    for seed, path in enumerate(paths):
        make_section(path.stem, seed).write(path)
    stored = stp.tl.train(paths, encoder="tiny", genes=10, method="ridge", gene_sets=SETS)
    assert stored.id == model.id


def test_what_is_left_out_is_said(make_section: Make, quick: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    other = make_section("B", 1, gene_names=[f"g{i}" if i != 9 else "other" for i in range(24)])
    with caplog.at_level(logging.INFO, "st_predict"):
        model = stp.tl.train([make_section("A", 0), other], **{**quick, "method": "mean"}, gene_sets=SETS)
    assert f"gene set {T!r} is the mean of 2 of its 3 genes; left out: g9 (not in B)" in caplog.text
    assert "84 of 84 spots with at least 500 counts, 10 genes and 2 gene sets" in caplog.text
    assert "Mean PCC over 10 genes and 2 gene sets of each section" in caplog.text
    assert model.gene_sets[T] == ("g2", "g20")


@pytest.mark.parametrize(
    ("sets", "what"),
    [
        ({"T": ["CD3D"]}, "gene set 'T' has no gene that all 2 sections have"),
        ({"g7": ["g1"]}, "gene set 'g7' is named like gene 'g7'"),
        ([("T", ["g1"])], "gene_sets is [("),
    ],
)
def test_what_cannot_be_used_is_refused_before_tiles_are_encoded(
    make_section: Make, quick: dict[str, Any], sets: Any, what: str, tile_count: SimpleNamespace
) -> None:
    sections = [make_section("A", 0), make_section("B", 1)]
    for run in (
        lambda: stp.tl.train(sections, **quick, gene_sets=sets),
        lambda: stp.tl.cross_validate(sections, encoder="tiny", gene_sets=sets),
    ):
        with pytest.raises(InputError) as error:
            run()
        assert error.value.what.startswith(what) and error.value.where == "gene_sets"
    assert tile_count.tiles == 0


def test_a_training_is_resumed_with_its_own_sets_only(
    make_section: Make, quick: dict[str, Any], tmp_path: Path
) -> None:
    def train(sets: Any) -> str:
        pair = [make_section("A", 0), make_section("B", 1)]
        return stp.tl.train(pair, **quick, gene_sets=sets, checkpoint_dir=tmp_path / "run", resume=True).id

    first = train(SETS)
    assert train(SETS) == first
    with pytest.raises(InputError, match=r"other values of gene_sets\.B \(\['g5'\], now \['g6'\]\)\n"):
        train({**SETS, "B": ["g6"]})
    with pytest.raises(
        InputError, match=r"other values of panel, gene_sets\.T cells .*, gene_sets\.B \(.*, now None\)\n"
    ):
        train(None)


def test_compared_beside_the_genes(three_sections: dict[str, SpatialData], tmp_path: Path) -> None:
    settings = {"encoder": "tiny", "genes": 10, "min_counts": 1, "n_jobs": 1, "methods": "ridge"}
    table = stp.tl.cross_validate(three_sections, **settings, gene_sets=SETS, out=tmp_path / "cv")
    assert table["gene_set"].iloc[0] == "heg10" and set(table["gene_set"]) == {"heg10", "gene_sets"}
    sizes = table[table["metric"] == "n_genes"].groupby("gene_set")["value"].unique()
    assert sizes["heg10"].tolist() == [10] and sizes["gene_sets"].tolist() == [2]
    of_sets = table.genes[(table.genes["method"] == "ridge") & table.genes["gene"].isin(SETS)]
    mean = table.query("method == 'ridge' and gene_set == 'gene_sets' and metric == 'pcc'")["value"].mean()
    assert len(of_sets) == 3 * 2 and mean == pytest.approx(of_sets["pcc"].mean()) and mean > 0.4
    again = stp.tl.cross_validate(three_sections, **settings, out=tmp_path / "cv")
    assert set(again["gene_set"]) == {"heg10"}, "folds with sets are not those without"
    control = "method == 'mean' and gene_set == 'heg10'"
    assert again.query(control)["value"].tolist() == pytest.approx(table.query(control)["value"].tolist(), nan_ok=True)
