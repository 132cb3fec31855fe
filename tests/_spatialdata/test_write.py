"""Predictions where users look for them, and never over something of theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import spatialdata
from spatialdata import SpatialData

from st_predict._spatialdata.keys import place
from st_predict._spatialdata.prediction import Prediction, find_prediction, read_prediction
from st_predict._spatialdata.write import check_free, write_prediction
from st_predict.core.errors import InputError

Make = Callable[..., SpatialData]
PANEL = ["g3", "g0", "absent"]
PROVENANCE = {"panel": PANEL, "model": "0123456789ab", "tile_px": [], "min_counts": 500.0}


def of(predicted: np.ndarray, provenance: dict[str, Any]) -> tuple[Prediction, pd.DataFrame]:
    """What is written of a model that does not know how sure it is."""
    columns = ["expected_pcc", "pcc_sd", "ceiling", "chance", "predictable", "expected_for"]
    unknown = pd.DataFrame(np.nan, provenance["panel"], columns)
    return Prediction(predicted, predicted[:, 0] / 100, None, provenance), unknown


def write(sdata: SpatialData, value: float = 0.0, key: str = "predicted") -> np.ndarray:
    placed = place(sdata, need_table=False)
    check_free(sdata, placed, key)
    n = len(sdata.shapes[placed.shapes])
    predicted = np.arange(3 * n, dtype=np.float32).reshape(n, 3) + value
    write_prediction(sdata, placed, key, *of(predicted, dict(PROVENANCE)), np.zeros((n, 2)))
    return predicted


def test_layer_and_obsm_of_a_measured_table(make_section: Make) -> None:
    sdata = make_section("A")
    counts = sdata.tables["table"].X.copy()
    predicted = write(sdata)
    table = sdata.tables["table"]
    layer = table.layers["predicted"]
    assert layer.shape == table.shape and layer.dtype == np.float32
    assert np.array_equal(layer[:, 3], predicted[:, 0]) and np.array_equal(layer[:, 0], predicted[:, 1])
    assert np.isnan(np.delete(layer, [0, 3], axis=1)).all()
    frame = table.obsm["predicted"]
    assert isinstance(frame, pd.DataFrame) and frame.columns.tolist() == PANEL
    assert frame.index.equals(table.obs_names) and np.array_equal(frame.to_numpy(), predicted)
    np.testing.assert_array_equal(table.obs["predicted_distance"], predicted[:, 0] / 100)
    assert read_prediction(table, "predicted").provenance["model"] == "0123456789ab"
    assert (table.X != counts).nnz == 0


@pytest.mark.parametrize("table", [True, False])
def test_gene_sets_are_recorded_by_names_that_zarr_takes(make_section: Make, tmp_path: Path, *, table: bool) -> None:
    """And are found again by their own; a gene of the table that is named like a set is not it."""
    sdata = make_section("A", table=table)
    sets = {"g3": ["g1", "g2"], "CD4/CD8": ["g4"]}
    predicted = np.arange(3 * 42, dtype=np.float32).reshape(42, 3)
    provenance = {**PROVENANCE, "panel": ["g0", *sets], "gene_sets": sets}
    placed = place(sdata, need_table=False)
    write_prediction(sdata, placed, "predicted", *of(predicted, provenance), np.zeros((42, 2)))
    sdata.write(tmp_path / "A.zarr")
    written = spatialdata.read_zarr(tmp_path / "A.zarr")["table" if table else "predicted"]
    found = read_prediction(written, "predicted")
    assert sorted(found.provenance["gene_sets"]) == ["CD4_CD8", "g3"]
    assert found.gene_sets == {name: tuple(genes) for name, genes in sets.items()}
    assert np.isnan(written.layers["predicted"]).all(axis=0).sum() == (23 if table else 0)
    assert found._replace(provenance={"panel": ["g0"]}).gene_sets == {}


def test_new_table_on_a_slide(make_section: Make) -> None:
    sdata = make_section("H", table=False)
    predicted = write(sdata)
    table = sdata.tables["predicted"]
    assert table.var_names.tolist() == PANEL
    assert np.array_equal(table.X, predicted) and np.array_equal(table.layers["predicted"], predicted)
    assert table.obsm["spatial"].shape == (42, 2)
    np.testing.assert_array_equal(table.obs["predicted_distance"], predicted[:, 0] / 100)
    assert table.uns["spatialdata_attrs"] == {"region": "H", "region_key": "region", "instance_key": "instance_id"}
    element, matched = spatialdata.join_spatialelement_table(
        sdata, spatial_element_names="H", table_name="predicted", how="inner"
    )
    assert len(matched) == len(element["H"]) == 42


@pytest.mark.parametrize("table", [True, False])
def test_an_earlier_prediction_is_replaced(make_section: Make, table: bool) -> None:
    sdata = make_section("A", table=table)
    write(sdata)
    again = write(sdata, value=100)
    held = sdata.tables["table" if table else "predicted"]
    assert np.array_equal(held.obsm["predicted"].to_numpy() if table else held.X, again)
    assert len(sdata.tables) == 1


@pytest.mark.parametrize("slot", ["layers", "obsm", "uns"])
def test_the_users_data_are_not_overwritten(make_section: Make, slot: str) -> None:
    sdata = make_section("A")
    values: dict[str, Any] = {"layers": np.ones((42, 24)), "obsm": np.ones((42, 2)), "uns": {"mine": 1}}
    getattr(sdata.tables["table"], slot)["predicted"] = values[slot]
    with pytest.raises(InputError, match=f"{slot}\\['predicted'\\] is there already and is not a prediction") as error:
        write(sdata)
    assert "key_added='predicted_2'" in error.value.remedy
    write(sdata, key="predicted_2")


def test_a_column_of_the_users_is_not_overwritten(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["table"].obs["predicted_distance"] = 1.0
    with pytest.raises(InputError, match="obs\\['predicted_distance'\\] is there already"):
        write(sdata)


@pytest.mark.parametrize("key", ["H_image", "H"])
def test_the_users_elements_are_not_overwritten(make_section: Make, key: str) -> None:
    sdata = make_section("H", table=False)
    with pytest.raises(InputError, match=f"sdata\\['{key}'\\] is there already"):
        write(sdata, key=key)


def test_no_prediction_under_the_key(make_section: Make) -> None:
    table = make_section("A").tables["table"]
    with pytest.raises(InputError, match="there is no prediction under 'predicted'") as error:
        read_prediction(table, "predicted")
    assert "st_predict.tl.predict(sdata)" in error.value.remedy


def test_gene_names_with_a_slash_can_be_saved(make_section: Make, tmp_path: Path) -> None:
    names = ["g0", "g1", "g2", "g3", "HLA-A", "a/b", *(f"h{i}" for i in range(18))]
    sdata = make_section("A", gene_names=names)
    placed = place(sdata, need_table=True)
    predicted = np.random.default_rng(0).normal(size=(42, 2)).astype(np.float32)
    provenance = {**PROVENANCE, "panel": ["HLA-A", "a/b"]}
    write_prediction(sdata, placed, "predicted", *of(predicted, provenance), np.zeros((42, 2)))
    sdata.write(tmp_path / "a.zarr")
    table = spatialdata.read_zarr(tmp_path / "a.zarr").tables["table"]
    assert table.obsm["predicted"].columns.tolist() == ["HLA-A", "a_b"]
    assert list(table.uns["predicted"]["panel"]) == ["HLA-A", "a/b"]
    assert np.array_equal(table.layers["predicted"][:, 4:6], predicted)


@pytest.mark.parametrize(
    "names",
    [["A/B", "A_B"], ["A/B", "A_B", "A_B_2"], ["A/B/C", "A/B_C", "A_B_C"], ["A\\B", "A"]],
)
def test_genes_with_slashes_of_either_kind_can_be_saved(make_section: Make, tmp_path: Path, names: list[str]) -> None:
    sdata = make_section("A", gene_names=[*names, *(f"h{i}" for i in range(24 - len(names)))])
    predicted = np.random.default_rng(0).normal(size=(42, len(names))).astype(np.float32)
    provenance = {**PROVENANCE, "panel": names}
    write_prediction(sdata, place(sdata, need_table=True), "predicted", *of(predicted, provenance), np.zeros((42, 2)))
    sdata.write(tmp_path / "a.zarr")
    table = spatialdata.read_zarr(tmp_path / "a.zarr").tables["table"]
    columns = table.obsm["predicted"].columns.tolist()
    assert len(set(columns)) == len(names) and columns[-1] == names[-1], "names that need no change keep theirs"
    assert read_prediction(table, "predicted").panel == names
    assert np.array_equal(table.obsm["predicted"].to_numpy(), predicted)
    assert np.array_equal(table.layers["predicted"][:, : len(names)], predicted)


@pytest.mark.parametrize("name", ["$\\frac{", "a\\b", "\\"])
def test_gene_sets_are_read_back_by_their_own_names(make_section: Make, tmp_path: Path, name: str) -> None:
    """On disk a backslash parts groups, as a slash does."""
    sdata, sets = make_section("A"), {name: ["g0", "g1"], "a_b": ["g2"]}
    provenance = {**PROVENANCE, "panel": list(sets), "gene_sets": sets}
    write_prediction(
        sdata,
        place(sdata, need_table=True),
        "predicted",
        *of(np.ones((42, 2), np.float32), provenance),
        np.zeros((42, 2)),
    )
    before = read_prediction(sdata["table"], "predicted").gene_sets
    sdata.write(tmp_path / "a.zarr")
    after = read_prediction(spatialdata.read_zarr(tmp_path / "a.zarr")["table"], "predicted").gene_sets
    assert after == before == {name: ("g0", "g1"), "a_b": ("g2",)}


@pytest.mark.parametrize("end", ["lower", "upper"])
def test_ends_of_the_users_are_none_of_ours(make_section: Make, end: str) -> None:
    sdata = make_section("A")
    sdata.tables["table"].obsm[f"predicted_{end}"] = np.ones((42, 3))
    write(sdata)
    assert read_prediction(sdata.tables["table"], "predicted").interval is None
    write(sdata, value=1)
    assert (sdata.tables["table"].obsm[f"predicted_{end}"] == 1).all(), "nor are they removed"


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("interval", [True, False])
def test_what_was_written_is_read_back(make_section: Make, tmp_path: Path, *, table: bool, interval: bool) -> None:
    """Every value of it, from disk, of the spots in tissue and no others."""
    sdata = make_section("A", table=table)
    n = 42
    if table:
        sdata["table"].obs["in_tissue"] = np.arange(42) % 4 > 0
        n = int(sdata["table"].obs["in_tissue"].sum())
    rng = np.random.default_rng(0)
    values, lower, upper = (rng.normal(size=(n, 3)).astype(np.float32) for _ in range(3))
    provenance = {**PROVENANCE, "slide_shift": 0.5, "unlike_training": 0.25, "expected_pcc": [0.1, 0.2, 0.3], "chance": [0.2, 0.1, 0.3],
                  **({"interval": 0.9} if interval else {})}  # fmt: skip
    made, genes = of(values, provenance)
    made = made._replace(interval=(lower, upper) if interval else None)
    write_prediction(sdata, place(sdata, need_table=False), "predicted", made, genes, np.zeros((n, 2)))
    sdata.write(tmp_path / "a.zarr")
    back = find_prediction(spatialdata.read_zarr(tmp_path / "a.zarr"), "predicted")
    assert np.array_equal(back.expression, values) and np.array_equal(back.distance, made.distance)
    assert (back.interval is None) != interval
    if interval:
        assert np.array_equal(back.interval[0], lower) and np.array_equal(back.interval[1], upper)
    assert back.panel == PANEL and back.min_counts == 500 and back.expected_pcc.tolist() == [0.1, 0.2, 0.3]
    assert (back.slide_shift, back.unlike_training, back.unpredictable) == (0.5, 0.25, {"g3", "absent"})


@pytest.mark.parametrize("table", [True, False])
def test_round_trip_through_disk(make_section: Make, tmp_path: Path, table: bool) -> None:
    sdata = make_section("A", table=table)
    predicted = write(sdata)
    sdata.write(tmp_path / "a.zarr")
    back = spatialdata.read_zarr(tmp_path / "a.zarr")
    held = back.tables["table" if table else "predicted"]
    assert read_prediction(held, "predicted").panel == PANEL
    if table:
        assert np.array_equal(held.layers["predicted"], sdata.tables["table"].layers["predicted"], equal_nan=True)
        assert held.obsm["predicted"].equals(sdata.tables["table"].obsm["predicted"])
    else:
        assert np.array_equal(held.X, predicted)
        assert place(back, need_table=False).table is None, "our own table is no measured one"
