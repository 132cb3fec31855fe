"""``evaluate`` against direct computation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from spatialdata import SpatialData

from st_predict import io, to_anndata
from st_predict.core.errors import InputError
from st_predict.core.model.model import Model
from st_predict.pl import spatial_expression
from st_predict.tl import evaluate, predict, train

Make = Callable[..., SpatialData]


@pytest.fixture
def predicted(make_section: Make, quick_model: Model) -> SpatialData:
    sdata = make_section("C", 2)
    predict(sdata, quick_model)
    return sdata


def replace_table(sdata: SpatialData, table: Any) -> None:
    del sdata.tables["table"]
    sdata.tables["table"] = table


def plain_truth(sdata: SpatialData) -> np.ndarray:
    counts = sdata.tables["table"].X.toarray().astype(np.float64)
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))


def test_columns_and_rows(predicted: SpatialData, quick_model: Model) -> None:
    scores = evaluate(predicted)
    assert scores.index.tolist() == quick_model.panel and scores.index.name == "gene"
    assert scores.columns.tolist() == [
        "pcc", "spearman", "mse", "mae", "r2", "relative_variance", "constant", "mean_count", "ceiling",
        "ceiling_sd", "morans_i", "morans_i_measured", "expected_pcc",
    ]  # fmt: skip
    assert scores.attrs == {"section": "C", "n_spots": 42, "n_spots_left_out": 0, "genes_missing": []}


def test_values_are_those_of_a_direct_computation(predicted: SpatialData) -> None:
    scores, table = evaluate(predicted), predicted.tables["table"]
    truth, layer = plain_truth(predicted), table.layers["predicted"]
    for gene in scores.index:
        i = table.var_names.get_loc(gene)
        row = scores.loc[gene]
        assert row["pcc"] == pytest.approx(pearsonr(layer[:, i], truth[:, i])[0], abs=1e-5)
        assert row["spearman"] == pytest.approx(spearmanr(layer[:, i], truth[:, i])[0], abs=1e-5)
        assert row["mse"] == pytest.approx(((layer[:, i] - truth[:, i]) ** 2).mean(), rel=1e-4)
        assert row["relative_variance"] == pytest.approx(layer[:, i].var() / truth[:, i].var(), rel=1e-3)
        assert row["mean_count"] == pytest.approx(table.X[:, i].mean(), rel=1e-5)
    assert not scores["constant"].any() and scores["ceiling"].between(0, 1).all()
    assert scores["ceiling_sd"].between(0, 0.5).all() and scores["ceiling_sd"].any()


def test_a_perfect_prediction(predicted: SpatialData) -> None:
    frame = predicted.tables["table"].obsm["predicted"]
    columns = predicted.tables["table"].var_names.get_indexer(frame.columns)
    frame.iloc[:, :] = plain_truth(predicted)[:, columns].astype(np.float32)
    del predicted.tables["table"].layers["predicted"]
    scores = evaluate(predicted)
    assert np.allclose(scores["pcc"], 1) and np.allclose(scores["relative_variance"], 1, atol=1e-4)
    assert (scores["mse"] < 1e-9).all()


def test_spots_of_few_counts_are_left_out_and_counted(predicted: SpatialData) -> None:
    table = predicted.tables["table"]
    counts = table.X.toarray()
    counts[[3, 8]] = 0
    counts[[3, 8], 0] = 100
    table.X = type(table.X)(counts)
    scores = evaluate(predicted)
    assert (scores.attrs["n_spots"], scores.attrs["n_spots_left_out"]) == (40, 2), "as in training: 500"
    kept = np.setdiff1d(np.arange(42), [3, 8])
    i = table.var_names.get_loc(scores.index[0])
    assert scores["pcc"].iloc[0] == pytest.approx(
        pearsonr(table.layers["predicted"][kept, i], plain_truth(predicted)[kept, i])[0], abs=1e-5
    )
    assert evaluate(predicted, min_counts=0).attrs["n_spots_left_out"] == 0
    assert evaluate(predicted, min_counts=0)["pcc"].iloc[0] != scores["pcc"].iloc[0]


def test_genes_the_section_lacks_are_named(predicted: SpatialData, quick_model: Model) -> None:
    lost = quick_model.panel[1]
    table = predicted.tables["table"]
    replace_table(predicted, table[:, table.var_names != lost].copy())
    scores, frame = evaluate(predicted), predicted.tables["table"].obsm["predicted"]
    assert scores.attrs["genes_missing"] == [lost]
    assert scores.index.tolist() == [gene for gene in quick_model.panel if gene != lost]
    columns = predicted.tables["table"].var_names.get_indexer(scores.index)
    truth = plain_truth(predicted)[:, columns]
    for i, gene in enumerate(scores.index):
        assert scores["pcc"].iloc[i] == pytest.approx(pearsonr(frame[gene], truth[:, i])[0], abs=1e-5)


def test_no_panel_gene(predicted: SpatialData) -> None:
    predicted.tables["table"].var_names = [f"ENSG{i}" for i in range(24)]
    with pytest.raises(InputError, match="section 'C' has none of the 10 predicted genes"):
        evaluate(predicted)


def test_a_prediction_given_as_counts(predicted: SpatialData, make_section: Make, quick_model: Model) -> None:
    with pytest.raises(
        InputError, match="^layer 'predicted' is the prediction 'predicted', and holds no counts\n"
    ) as error:
        evaluate(predicted, layer="predicted")
    assert error.value.remedy == "leave layer out: X holds counts"
    with pytest.raises(InputError, match="^layer 'predicted' is the prediction"):
        io.anndata(to_anndata(predicted), layer="predicted")
    slide = make_section("D")
    del slide.tables["table"]
    predict(slide, quick_model)
    with pytest.raises(InputError, match="^X is the prediction 'predicted', and holds no counts\n"):
        train(slide, method="ridge", encoder="tiny", genes=5, table_key="predicted")


def test_too_few_spots(predicted: SpatialData) -> None:
    with pytest.raises(InputError, match="0 of 42 spots have enough counts to be scored on") as error:
        evaluate(predicted, min_counts=1e7)
    assert error.value.remedy == "lower min_counts"


def test_no_prediction(make_section: Make) -> None:
    with pytest.raises(InputError, match="there is no prediction under 'predicted'"):
        evaluate(make_section("C"))


def test_slide_without_counts(make_section: Make, quick_model: Model) -> None:
    sdata = make_section("H", table=False)
    predict(sdata, quick_model)
    with pytest.raises(InputError, match="the SpatialData has no table"):
        evaluate(sdata)


def test_counts_of_a_layer(predicted: SpatialData) -> None:
    expected = evaluate(predicted)
    table = predicted.tables["table"]
    table.layers["counts"] = table.X.copy()
    table.X = table.X.log1p()
    assert evaluate(predicted, layer="counts").equals(expected)
    with pytest.raises(InputError, match="log-transformed already"):
        evaluate(predicted)


def test_ceiling_follows_its_seed(predicted: SpatialData) -> None:
    one, other = evaluate(predicted, seed=1), evaluate(predicted, seed=2)
    assert one["pcc"].equals(other["pcc"]) and not one["ceiling"].equals(other["ceiling"])
    assert one["ceiling"].equals(evaluate(predicted, seed=1)["ceiling"])


def test_section_is_not_changed(predicted: SpatialData) -> None:
    table = predicted.tables["table"]
    before = table.copy()
    evaluate(predicted)
    assert (table.X != before.X).nnz == 0 and set(table.layers) == set(before.layers)
    assert table.obsm["predicted"].equals(before.obsm["predicted"])


def test_columns_are_told_by_their_names(predicted: SpatialData) -> None:
    before = evaluate(predicted)
    table = predicted.tables["table"]
    table.obsm["predicted"] = table.obsm["predicted"].iloc[:, ::-1]
    assert evaluate(predicted).equals(before)


def _renamed(table: Any) -> None:
    table.obsm["predicted"] = table.obsm["predicted"].rename(columns={table.obsm["predicted"].columns[0]: "other"})


def _cut(table: Any) -> None:
    table.obsm["predicted"] = table.obsm["predicted"].iloc[:, :3]


def _array(table: Any) -> None:
    table.obsm["predicted"] = table.obsm["predicted"].to_numpy()[:, :3]


def _text(table: Any) -> None:
    table.obs["predicted_distance"] = "x"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_renamed, r"its columns are not the \d+ of its panel"),
        (_cut, r"its columns are not the \d+ of its panel"),
        (_array, r"it is an array \(\d+, 3\), and its panel has \d+ genes"),
        (_text, r"obs\['predicted_distance'\] holds no numbers"),
        (lambda table: table.uns["predicted"].pop("panel"), "its panel is not a list of genes"),
        (lambda table: table.uns["predicted"].update(panel=5), "its panel is not a list of genes"),
        (lambda table: table.uns["predicted"].pop("min_counts"), "its min_counts is None"),
        (lambda table: table.uns["predicted"].update(min_counts="x"), "its min_counts is 'x'"),
        (lambda table: table.uns["predicted"].update(gene_sets=5), "its gene sets are not a dict"),
        (
            lambda table: table.uns["predicted"].update(expected_pcc=[1.0]),
            "its expected_pcc is not one number for each",
        ),
    ],
)
def test_a_prediction_that_was_changed_is_refused(
    predicted: SpatialData, change: Callable[[Any], Any], said: str
) -> None:
    change(predicted.tables["table"])
    with pytest.raises(InputError, match=f"^the prediction 'predicted' is not as it was written: {said}"):
        evaluate(predicted)


def change_layer(table: Any) -> None:
    table.layers["predicted"][3, table.var_names.get_loc(CHANGED)] += 0.1


def smooth_all(table: Any) -> None:
    table.obsm["predicted"] = table.obsm["predicted"].rolling(3, min_periods=1).mean()


def roll_names(table: Any) -> None:
    table.var_names = [*table.var_names[1:], table.var_names[0]]


def swap_names(table: Any) -> None:
    names = list(table.var_names)
    i, j = names.index(CHANGED), names.index("g1" if CHANGED != "g1" else "g2")
    names[i], names[j] = names[j], names[i]
    table.var_names = names


CHANGED = "g5"


@pytest.mark.parametrize("change", [change_layer, smooth_all, roll_names, swap_names])
def test_two_places_of_one_prediction_that_differ(make_section: Make, quick: dict[str, Any], change: Any) -> None:
    sdata = make_section("C", 2)
    predict(sdata, train(make_section("A"), **{**quick, "genes": ["g5", "g1", "g2"]}, method="ridge"))
    evaluate(sdata)
    change(sdata["table"])
    for door in (evaluate, lambda s: spatial_expression(s, CHANGED, show=False)):
        with pytest.raises(
            InputError, match=r"^the prediction 'predicted' is not as it was written: layers\['predicted'\] "
        ):
            door(sdata)
    predict(sdata, train(make_section("A"), **{**quick, "genes": ["g5", "g1", "g2"]}, method="ridge"))
    evaluate(sdata)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_values_that_no_prediction_has(predicted: SpatialData, value: float) -> None:
    table = predicted["table"]
    gene = table.obsm["predicted"].columns[4]
    table.obsm["predicted"].iloc[:21, 4] = value
    table.layers["predicted"][:21, table.var_names.get_loc(gene)] = value
    for door in (evaluate, lambda s: spatial_expression(s, gene, show=False)):
        with pytest.raises(InputError, match=f"21 of its values are missing or infinite, for example of '{gene}'"):
            door(predicted)


def test_spots_without_a_prediction_are_neither_scored_nor_shown(predicted: SpatialData) -> None:
    table = predicted["table"]
    table.obsm["predicted"].iloc[:5] = np.nan
    table.layers["predicted"][:5] = np.nan
    for door in (evaluate, lambda s: spatial_expression(s, table.obsm["predicted"].columns[0], show=False)):
        with pytest.raises(InputError, match="^5 of 42 spots of 'C' have no prediction"):
            door(predicted)


def test_a_prediction_is_read_from_a_part_of_the_genes_and_without_its_layer(predicted: SpatialData) -> None:
    whole = evaluate(predicted)
    part = predicted["table"][:, [gene for gene in predicted["table"].var_names if gene != whole.index[0]]].copy()
    replace_table(predicted, part)
    assert (evaluate(predicted).index == whole.index[1:]).all()
    del part.layers["predicted"]
    assert (evaluate(predicted)["morans_i"] == whole["morans_i"].iloc[1:]).all()
