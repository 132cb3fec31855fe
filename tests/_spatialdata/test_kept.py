"""Which rows and columns count: glass spots and features that are no genes take part in nothing, whoever wrote them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from spatialdata import SpatialData

from st_predict import tl
from st_predict._spatialdata.kept import gene_names, own_genes
from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.outlines import spot_outlines
from st_predict._spatialdata.read import read_section
from st_predict._spatialdata.stored import read_stored_section
from st_predict.core.errors import InputError
from st_predict.core.expression import choose_panel, section_expression, total_counts
from st_predict.pp import embed, set_scale

if TYPE_CHECKING:
    from st_predict.core.model.model import Model

Make = Callable[..., SpatialData]
GLASS = np.array([0, 5, 20, 41])
FEATURES = [f"CD{i}" for i in range(6)]


def only(sdata: SpatialData, rows: np.ndarray) -> SpatialData:
    """The section without the other rows of its table."""
    table = sdata.tables["table"][rows].copy()
    del sdata.tables["table"]
    sdata.tables["table"] = table
    return sdata


def on_glass(sdata: SpatialData, values: Any = None, column: str = "in_tissue") -> SpatialData:
    """The section with four spots on glass that hold 800 counts of one gene each."""
    table = sdata.tables["table"]
    counts = table.X.toarray()
    counts[GLASS] = 0
    counts[GLASS, 3] = 800
    table.X = csr_matrix(counts)
    in_tissue = ~np.isin(np.arange(table.n_obs), GLASS)
    table.obs[column] = in_tissue.astype(int) if values is None else values(in_tissue)
    return sdata


def with_antibodies(
    sdata: SpatialData, column: str = "feature_types", kind: Any = "Antibody Capture", gene: Any = "Gene Expression"
) -> SpatialData:
    """The section with six more features, of thousands of counts each, before and between its genes."""
    table = sdata.tables["table"]
    n = table.n_obs
    protein = ad.AnnData(csr_matrix(np.full((n, 6), 3000, np.float32)), obs=table.obs, var=pd.DataFrame(index=FEATURES))
    both = ad.concat([protein[:, :3], table, protein[:, 3:]], axis=1, merge="same", uns_merge="first")
    both.uns, both.obsm = table.uns, table.obsm
    both.var[column] = [kind] * 3 + [gene] * table.n_vars + [kind] * 3
    del sdata.tables["table"]
    sdata.tables["table"] = both
    return sdata


def in_own_rows(sdata: SpatialData) -> np.ndarray:
    return np.setdiff1d(np.arange(sdata.tables["table"].n_obs), GLASS)


KINDS = {
    "int": lambda seen: seen.astype(int),
    "bool": lambda seen: seen,
    "float": lambda seen: seen.astype(float),
    "str": lambda seen: np.where(seen, "1", "0"),
    "words": lambda seen: np.where(seen, "True", "False"),
    "letters": lambda seen: np.where(seen, "T", "F"),
    "Y and N": lambda seen: np.where(seen, "Y", "N"),
    "bytes": lambda seen: np.array([b"0", b"1"], object)[seen.astype(int)],
    "decimals": lambda seen: np.where(seen, "1.00", "0.00"),
    "category": lambda seen: pd.Categorical(np.where(seen, "1", "0")),
    "category of numbers": lambda seen: pd.Categorical(seen.astype(int)),
    "nullable": lambda seen: pd.array(seen, dtype="boolean"),
    "missing": lambda seen: np.where(seen, 1.0, np.nan),
    "missing as text": lambda seen: np.where(seen, "1", "NA"),
    "in and not in tissue": lambda seen: np.where(seen, "in_tissue", "not_in_tissue"),
    "on and off": lambda seen: np.where(seen, "ON", "OFF"),
    "tissue and glass": lambda seen: np.where(seen, "Tissue", "Glass"),
}


@pytest.mark.parametrize(("kind", "dense"), [*((kind, False) for kind in KINDS), ("int", True)])
def test_spots_on_glass_are_left_out_however_it_is_written(make_section: Make, kind: str, dense: bool) -> None:
    plain, given = make_section("A"), on_glass(make_section("A"), KINDS[kind])
    if dense:
        given.tables["table"].X = given.tables["table"].X.toarray()
    before = given.tables["table"].copy()
    section = read_section(given, need_counts=True)[0]
    rows = in_own_rows(plain)
    expected = read_section(plain, need_counts=True)[0].keep(rows)
    assert np.array_equal(section.centers_px, expected.centers_px)
    counts = section.counts if dense else section.counts.toarray()
    assert np.array_equal(counts, expected.counts.toarray())
    assert given.tables["table"].shape == before.shape, "the user's table stays as it is"


@pytest.mark.parametrize(
    "column",
    [
        "InTissue", "in.tissue", "IN_TISSUE", "in-tissue", "on_tissue", "is_tissue", "tissue", "Selected", "inside_tissue",
        "has_tissue", "is_in_tissue", "spot_in_tissue", "tissue.in", "in_tissue_mask", "in_tissue-0", "in_tissue_x",
    ],
)  # fmt: skip
def test_the_column_of_spots_on_tissue_by_another_name(
    make_section: Make, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    section = read_section(on_glass(make_section("A"), column=column), need_counts=True)[0]
    assert section.n_spots == 38 and section.counts.max() < 800
    assert f"4 of the 42 spots of A are left out: 4 not in tissue (obs[{column!r}])" in caplog.text


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("tissue", lambda seen: np.where(seen, "breast", "skin")),
        ("tissue", lambda seen: np.where(seen, "breast", None)),
        ("selected", lambda seen: seen & False),  # none is chosen
        ("tissue_type", None),
        ("on_tissue_share", None),
        ("inside_tissue", lambda seen: np.linspace(0, 1, len(seen))),  # how much of the spot
        ("off_tissue", lambda seen: seen & False),
    ],
)
def test_columns_that_name_a_tissue_leave_nothing_out(make_section: Make, column: str, values: Any) -> None:
    assert read_section(on_glass(make_section("A"), values, column), need_counts=True)[0].n_spots == 42


@pytest.mark.parametrize("column", ["off_tissue", "on_glass", "is_background", "not_in_tissue", "outsideTissue"])
def test_columns_that_tell_glass(make_section: Make, column: str) -> None:
    section = read_section(on_glass(make_section("A"), lambda seen: (~seen).astype(int), column), need_counts=True)[0]
    assert section.n_spots == 38 and section.counts.max() < 800


def test_columns_that_contradict_each_other_are_said(make_section: Make, caplog: pytest.LogCaptureFixture) -> None:
    sdata = on_glass(make_section("A"), column="InTissue")
    sdata.tables["table"].obs["in_tissue"] = 1
    assert read_section(sdata, need_counts=True)[0].n_spots == 42
    assert "obs['in_tissue'] and obs['InTissue'] of A contradict each other on 4 of 42 spots" in caplog.text


@pytest.mark.parametrize("table", [True, False])
def test_shapes_that_tell_glass_are_refused(make_section: Make, table: bool) -> None:
    sdata = make_section("A", table=table)
    sdata.shapes["A"]["in_tissue"] = (~np.isin(np.arange(42), GLASS)).astype(int)
    with pytest.raises(
        InputError, match="4 of 42 spots are not in tissue by sdata.shapes\\['A'\\]\\['in_tissue'\\]"
    ) as error:
        read_section(sdata, need_counts=table)
    exec(error.value.remedy.split(": ", 1)[1], {"sdata": sdata})
    assert read_section(sdata, need_counts=table)[0].n_spots == 38, "what the remedy says helps"


def test_shapes_that_were_selected_are_no_tissue(make_section: Make) -> None:
    sdata = make_section("A", table=False)
    sdata.shapes["A"]["selected"] = np.arange(42) % 2
    assert read_section(sdata, need_counts=False)[0].n_spots == 42


def test_the_usual_column_goes_before_others(make_section: Make) -> None:
    sdata = on_glass(make_section("A"))
    sdata.tables["table"].obs["selected"] = np.arange(42) % 2
    assert read_section(sdata, need_counts=True)[0].n_spots == 38


def test_spots_left_out_are_counted_and_said(make_section: Make, caplog: pytest.LogCaptureFixture) -> None:
    read_section(on_glass(make_section("A")), need_counts=True)
    assert "4 of the 42 spots of A are left out: 4 not in tissue (obs['in_tissue'])" in caplog.text
    caplog.clear()
    half = on_glass(make_section("A"), lambda seen: np.where(seen, 1.0, [np.nan, 0.0] * 21))
    read_section(half, need_counts=False)
    assert "4 of the 42 spots of A are left out: 2 not in tissue, 2 without a value" in caplog.text
    caplog.clear()
    read_section(make_section("A"), need_counts=True)
    whole = on_glass(make_section("A"), lambda seen: np.full(len(seen), np.nan))  # a column that says nothing
    assert read_section(whole, need_counts=True)[0].n_spots == 42
    assert "left out" not in caplog.text


@pytest.mark.parametrize("value", [np.nan, None, ""])
def test_a_column_of_tissue_without_a_value_is_said(make_section: Make, caplog: Any, value: Any) -> None:
    sdata = make_section()
    sdata["table"].obs["in_tissue"] = pd.Series([value] * 42, index=sdata["table"].obs_names)
    assert read_section(sdata, need_counts=True)[0].n_spots == 42
    assert "obs['in_tissue'] of A has no value: all 42 spots are taken to be in tissue" in caplog.text
    caplog.clear()
    sdata["table"].obs["on_tissue"] = [0, 1] * 21  # that another column tells
    assert read_section(sdata, need_counts=True)[0].n_spots == 21
    assert "has no value" not in caplog.text


def test_an_in_tissue_column_of_another_meaning(make_section: Make) -> None:
    sdata = on_glass(make_section("A"), lambda seen: np.where(seen, "tumor", "stroma"))
    with pytest.raises(InputError, match="obs\\['in_tissue'\\] holds 'stroma'") as error:
        read_section(sdata, need_counts=False)
    assert "1 or True for spots in tissue" in error.value.expected
    with pytest.raises(InputError, match="none of the 42 spots is in tissue"):
        read_section(on_glass(make_section("A"), lambda seen: seen & False), need_counts=False)


@pytest.mark.parametrize("kind", [int, float, str, "category"])
def test_numbers_that_are_no_marks(make_section: Make, kind: Any) -> None:
    """A sign is part of a number, as a dash is none of a word."""
    sdata = on_glass(make_section("A"), lambda seen: pd.Series(np.where(seen, 1, -1)).astype(kind).to_numpy())
    with pytest.raises(InputError, match=r"obs\['in_tissue'\] holds '-1(.0)?'\n"):
        read_section(sdata, need_counts=False)
    sdata["table"].obs["in_tissue"] = [-1, 2, 1] * 14
    with pytest.raises(InputError, match=r"obs\['in_tissue'\] holds '-1', '2'\n"):
        read_section(sdata, need_counts=False)


def test_training_and_prediction_are_those_without_glass(
    make_section: Make, quick: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    given = {name: on_glass(make_section(name, seed)) for seed, name in enumerate("AB")}
    clean = {name: only(make_section(name, seed), in_own_rows(given[name])) for seed, name in enumerate("AB")}
    models = {}
    for label, sections in (("glass", given), ("clean", clean)):
        models[label] = tl.train(sections, **quick)
        tl.predict(sections["A"], models[label], interval=0.9)
    assert models["glass"].panel == models["clean"].panel and "g3" not in models["glass"].panel[:1]
    assert caplog.text.count("4 of the 42 spots of A are left out") == 2, "once in training, once in prediction"
    table, expected = given["A"].tables["table"], clean["A"].tables["table"]
    rows = in_own_rows(given["A"])
    for name in ("predicted", "predicted_lower", "X_tiny"):
        values, wanted = np.asarray(table.obsm[name]), np.asarray(expected.obsm[name])
        assert np.array_equal(values[rows], wanted) and np.isnan(values[GLASS]).all(), name
    assert np.array_equal(table.layers["predicted"][rows], expected.layers["predicted"], equal_nan=True)
    assert np.isnan(table.layers["predicted"][GLASS]).all()
    assert table.obs["predicted_distance"].isna().to_numpy().nonzero()[0].tolist() == GLASS.tolist()
    scores = tl.evaluate(given["A"], min_counts=1)
    pd.testing.assert_frame_equal(scores, tl.evaluate(clean["A"], min_counts=1))
    assert scores.attrs["n_spots"] == 38
    del table.obs["in_tissue"]
    with pytest.raises(InputError, match="4 of 42 spots of 'A' have no prediction") as error:
        tl.evaluate(given["A"], min_counts=1)
    assert "predict again" in error.value.remedy


def test_kept_features_are_found_again(make_section: Make, tile_count: Any) -> None:
    sdata = on_glass(make_section("A"))
    for _ in range(2):
        assert embed(sdata, encoder="tiny", tile_um=112) == "X_tiny"
        assert tile_count.tiles == 38
    assert np.isnan(sdata.tables["table"].obsm["X_tiny"][GLASS]).all()


def test_size_and_pitch_are_those_of_own_spots(make_section: Make) -> None:
    sdata = on_glass(make_section("A", um_per_px=None))
    assert set_scale(sdata, pitch_um=96) == pytest.approx(4)
    section, keys = read_section(sdata, need_counts=False)
    assert len(spot_outlines(sdata, keys, section.centers_px)[0]) == section.n_spots == 38


@pytest.mark.parametrize(
    ("column", "kind", "gene"),
    [
        ("feature_types", "Antibody Capture", "Gene Expression"),
        ("feature_type", "CRISPR Guide Capture", "Gene Expression"),
        ("Type", "Multiplexing Capture", "Gene Expression"),
        ("type", "Custom", "Gene Expression"),
        ("feature_types", "Antibody Capture", None),  # an outer concatenation fills with nothing
        ("feature_types", "Antibody Capture", "RNA"),
        ("feature_types", "Antibody-Capture", "Gene"),
        ("feature_types", "protein", "gene"),
        ("feature_types", b"Antibody Capture", b"Gene Expression"),
        ("feature_types", "Negative Control Probe", ""),
        ("feature_types", "Antibody Capture", "whatever"),
        ("modality", "prot", "rna"),
        ("modality", "ADT", "GEX"),
        ("featureType", "Antibody Capture", "Gene Expression"),
        ("Feature.Type", "Antibody_Capture", "Gene-Expression"),
        ("category", "Protein", "Gene Expression"),
        ("feature_types", "Antibody Capture (ADT)", "Transcriptome"),
        ("feature_types", "ERCC spike-in", "Gene"),
        ("library_type", "Antibody Capture", "Gene Expression"),
        ("feature_class", "Multiplexing Capture", "Gene Expression"),
        ("what_it_is", "Antibody Capture", "Gene Expression"),
        ("feature_types-0", "protein", "gene"),
        ("mod", "prot", "rna"),
        ("CodeClass", "Negative", "Endogenous"),
        ("type", "Negative", "Endogenous"),
        ("is_control", True, False),
        ("is_antibody", "True", "False"),
    ],
)
def test_features_that_are_no_genes_are_left_out(make_section: Make, column: str, kind: Any, gene: Any) -> None:
    plain = read_section(make_section("A"), need_counts=True)[0]
    section = read_section(with_antibodies(make_section("A"), column, kind, gene), need_counts=True)[0]
    assert section.gene_names.tolist() == plain.gene_names.tolist()
    assert np.array_equal(section.counts.toarray(), plain.counts.toarray())
    assert np.array_equal(total_counts(section.counts), total_counts(plain.counts)), "totals are those of genes"
    assert choose_panel([section], 5, "heg") == choose_panel([plain], 5, "heg")


def test_a_remark_on_a_gene_is_no_type(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["table"].var["note"] = ["Antibody Capture available", *["none"] * 23]
    assert len(read_section(sdata, need_counts=True)[0].gene_names) == 24


def test_biotypes_are_no_feature_types(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["table"].var["feature_type"] = ["protein_coding", "lncRNA"] * 12
    sdata.tables["table"].var["type"] = ["custom", "mine"] * 12
    sdata.tables["table"].var["category"] = ["protein", "kinase"] * 12
    sdata.tables["table"].var["modality"] = "rna"
    sdata.tables["table"].var["biotype"] = None
    sdata.tables["table"].var["panel_category"] = sdata.tables["table"].var["gene_class"] = ["custom"] * 6 + [""] * 18
    sdata.tables["table"].var["Type"] = ["negative", "positive"] * 12  # a direction
    sdata.tables["table"].var["is_control"] = False
    sdata.tables["table"].var["names"] = [[f"g{i}"] for i in range(24)]
    sdata.tables["table"].var["description"] = [f"negative control probe {i}" for i in range(24)]
    assert len(read_section(sdata, need_counts=True)[0].gene_names) == 24


@pytest.mark.parametrize(
    "name",
    [
        "NegControlProbe_00042",
        "BLANK_0006",
        "Blank-12",
        "NegPrb7",
        "UnassignedCodeword_03",
        "blank_2",
        "Negative01",
        "Neg Control 1",
        "ERCC-00002",
        "Hashtag1",
        "CD3_TotalSeqB",
        "__ambiguous",
        "N_unmapped",
    ],
)
def test_control_probes_are_told_by_name(make_section: Make, name: str, caplog: pytest.LogCaptureFixture) -> None:
    sdata = make_section("A", gene_names=[name, *(f"g{i}" for i in range(23))])
    assert read_section(sdata, need_counts=True)[0].gene_names[0] == "g0"
    assert f"1 of the 24 features of A are not genes (control probes) and are left out everywhere: {name}" in (
        caplog.text
    )


def test_a_table_without_genes(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["table"].var["feature_types"] = pd.Categorical(["Antibody Capture"] * 24)
    with pytest.raises(InputError, match="none of the 24 features is a gene \\(feature types: antibody capture\\)"):
        read_section(sdata, need_counts=True)
    assert read_section(sdata, need_counts=False)[0].n_spots == 42, "where no counts are used any table will do"


@pytest.mark.filterwarnings("ignore:.*names are not unique:UserWarning")
def test_an_antibody_named_like_a_gene(make_section: Make, quick_model: Model) -> None:
    sdata = with_antibodies(make_section("C", 2))
    gene = quick_model.panel[0]
    sdata.tables["table"].var_names = [gene if name == "CD0" else name for name in sdata.tables["table"].var_names]
    tl.predict(sdata, quick_model)
    table = sdata.tables["table"]
    is_gene = own_genes(table)
    of_antibody, of_gene = (np.flatnonzero((table.var_names == gene) & kept)[0] for kept in (~is_gene, is_gene))
    layer = table.layers["predicted"]
    assert np.isnan(layer[:, of_antibody]).all() and np.array_equal(layer[:, of_gene], table.obsm["predicted"][gene])
    assert np.isnan(table.var["predicted_expected_pcc"].iloc[of_antibody])
    assert not np.isnan(table.var["predicted_expected_pcc"].iloc[of_gene])
    assert len(tl.evaluate(sdata, min_counts=1)) == len(quick_model.panel)


def test_what_is_left_out_is_said(make_section: Make, caplog: pytest.LogCaptureFixture) -> None:
    read_section(with_antibodies(make_section("A")), need_counts=True)
    said = "6 of the 30 features of A are not genes (antibody capture) and are left out everywhere: CD0, CD1, CD2"
    assert said in caplog.text


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_a_store_keeps_the_same_spots_and_genes(make_section: Make, tmp_path: Path, dtype: type) -> None:
    sdata = with_antibodies(make_section("A", depth=5))
    sdata.tables["table"].X = csr_matrix(np.minimum(sdata.tables["table"].X.toarray(), 200).astype(dtype))
    seen = ~np.isin(np.arange(42), GLASS)
    sdata.tables["table"].obs["in_tissue"] = seen.astype(int)
    sdata.write(tmp_path / "A.zarr")
    plain = read_section(sdata, need_counts=True)[0]
    stored = read_stored_section(tmp_path / "A.zarr")[0]
    assert stored.counts.shape == plain.counts.shape == (38, 24)
    assert np.array_equal(total_counts(stored.counts), total_counts(plain.counts))
    assert np.array_equal(stored.counts[:, np.arange(24)].toarray(), plain.counts.toarray())
    assert choose_panel([stored], 7, "heg") == choose_panel([plain], 7, "heg")
    some = stored.keep(np.arange(38) % 3 == 0)
    assert np.array_equal(some.counts[:, np.array([2, 0])].toarray(), plain.counts.toarray()[::3, [2, 0]])


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "float16": lambda counts: counts.astype(np.float16),
    "int16": lambda counts: counts.astype(np.int16),
    "sparse int16": lambda counts: csr_matrix(counts.astype(np.int16)),
    "sparse uint8": lambda counts: csr_matrix(np.minimum(counts, 250).astype(np.uint8)),
    "sparse float16": lambda counts: _half(csr_matrix(counts)),
    "sparse float32": lambda counts: csr_matrix(counts.astype(np.float32)),
    "objects": lambda counts: counts.astype(object),
    "dask": lambda counts: da.from_array(counts, chunks=(20, 30)),
    "dask of sparse blocks": lambda counts: da.from_array(counts, chunks=(20, 30)).map_blocks(csr_matrix),
}


def _half(counts: csr_matrix) -> csr_matrix:
    """What a file with half floats is read as."""
    return csr_matrix((counts.data.astype(np.float16), counts.indices, counts.indptr), shape=counts.shape)


@pytest.mark.parametrize("form", FORMS)
def test_totals_are_added_up_in_float64(make_section: Make, form: str) -> None:
    """Half floats end at 65,504, two bytes at 32,767, and float32 loses whole counts from 16,777,216 on."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 2000, (42, 400)).astype(np.float64)
    if form == "sparse float32":
        counts = 2.0**19 + 1 + np.zeros((42, 400))
    sdata = make_section("A", n_genes=400)
    sdata.tables["table"].X = FORMS[form](counts)
    truth = np.minimum(counts, 250) if "uint8" in form else counts
    section = read_section(sdata, need_counts=True)[0]
    assert np.array_equal(total_counts(section.counts), truth.sum(axis=1))
    best = [f"g{i}" for i in np.argsort(-truth.sum(axis=0), kind="stable")[:5]]
    assert choose_panel([section], 5, "heg") == best
    expected = np.log1p(1e4 * truth / truth.sum(axis=1, keepdims=True))[:, :5]
    assert np.allclose(section_expression(section, [f"g{i}" for i in range(5)]), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [str, complex])
def test_counts_that_are_no_numbers(make_section: Make, kind: type) -> None:
    sdata = make_section("A")
    sdata.tables["table"].layers["raw"] = sdata.tables["table"].X.toarray().astype(kind)
    with pytest.raises(InputError, match="counts are of type .*, which are not real numbers") as error:
        read_section(sdata, Elements(layer="raw"), need_counts=True)
    assert error.value.where == "sdata.tables['table'].layers['raw']"


def test_names_without_what_text_files_leave_around_them(make_section: Make) -> None:
    sdata = make_section("A", gene_names=["\ufeffg0", " g1", "g2\r", *(f"g{i}" for i in range(3, 24))])
    assert gene_names(sdata.tables["table"]).tolist() == [f"g{i}" for i in range(24)]
    section = read_section(sdata, need_counts=True)[0]
    assert section.gene_names[:3].tolist() == ["g0", "g1", "g2"]
