"""Spots of several sections over one image: refused by whatever tells that they are; notes within one are not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from spatialdata import SpatialData
from spatialdata.models import ShapesModel, TableModel
from spatialdata.transformations import Identity, Scale, Translation, remove_transformation, set_transformation

from st_predict import tl
from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.read import read_section
from st_predict.core.errors import InputError

Make = Callable[..., SpatialData]


def barcodes(n: int) -> list[str]:
    letters = np.random.default_rng(0).choice(list("ACGT"), (n, 16))
    return ["".join(row) for row in letters]


def put(sdata: SpatialData, table: ad.AnnData) -> SpatialData:
    del sdata.tables["table"]
    sdata.tables["table"] = table
    return sdata


def concatenated(make_section: Make, *, label: str = "library_id", shift_px: float = 0.0, **names: Any) -> SpatialData:
    """Two libraries in one table, as ``anndata.concat`` makes it, over the image of the first."""
    parts = {"A": make_section("A", 0), "B": make_section("B", 1)}
    tables = {}
    for name, part in parts.items():
        table = part.tables["table"].copy()
        table.obs_names = [f"{barcode}-1" for barcode in barcodes(table.n_obs)]
        table.obs = table.obs.drop(columns="section")
        tables[name] = table
    both = ad.concat(tables, label=label, index_unique="-", **names)
    both.obs["region"], both.obs["instance_id"] = pd.Categorical(["A"] * both.n_obs), np.arange(both.n_obs)
    sdata = parts["A"]
    centers = np.concatenate([tables["A"].obsm["spatial"], tables["B"].obsm["spatial"] + shift_px])
    sdata.shapes["A"] = ShapesModel.parse(centers, geometry=0, radius=8.0)
    return put(sdata, TableModel.parse(both, region="A", region_key="region", instance_key="instance_id"))


def labeled(make_section: Make, column: str, values: Any) -> SpatialData:
    sdata = make_section("A", grid=(8, 10))
    sdata.tables["table"].obs[column] = values
    return sdata


COLUMNS = [
    "library_id", "Sample", "sample_id", "slide", "capture_area", "orig.ident", "batch",
    "SampleID", "sampleName", "libraryID", "Sample_Number", "section_no", "Section", "tissue_section", "slideId", "image",
]  # fmt: skip
PARTS = ["donor", "patient_id", "mouse", "replicate", "fov", "gem_group", "Dataset", "batchName", "anything"]


@pytest.mark.parametrize("column", COLUMNS)
def test_two_libraries_over_one_image_are_refused(make_section: Make, column: str) -> None:
    sdata = concatenated(make_section, label=column)
    with pytest.raises(InputError, match=f"obs\\['{column}'\\] has several values: A, B") as error:
        read_section(sdata, need_counts=True)
    assert "these are spots of several sections on one image, 'A_image'" in error.value.what
    exec(error.value.remedy.split(": ", 1)[1].split(", with the")[0], {"sdata": sdata})
    assert read_section(sdata, need_counts=True)[0].n_spots == 42, "what the remedy says helps"


@pytest.mark.parametrize("shift_px", [0.0, 7.0])
@pytest.mark.parametrize("column", PARTS)
def test_parts_that_lie_over_one_another_are_refused(make_section: Make, column: str, shift_px: float) -> None:
    """Whatever the column is named, and whatever the order of the rows."""
    sdata = neutral(concatenated(make_section, label=column, shift_px=shift_px), shuffled=True)
    with pytest.raises(
        InputError, match=f"obs\\['{column}'\\] has several values: [AB], [AB], and their spots overlap"
    ):
        read_section(sdata, need_counts=True)
    assert read_section(keep(sdata, column), need_counts=True)[0].n_spots == 42


SIDES = [
    *(
        (column, ("A", "B"))
        for column in (
            "image_path", "image_key", "filename", "coordinate_system", "sampleid.x", "sample_id_y", "library_id-0", "sample_idx",
            "section_index", "serial_section", "sample_barcode", "sampleFile", "BioSample", "geo_accession", "slide_serial",
            "visium_area", "puck",
        )
    ),
    *((column, (1.0, 2.0)) for column in ("sample", "sample_id", "library_id", "section_id")),
    ("slide", ("V10-1", "V10-2")),
    ("library", ("GSM4284316", "GSM4284317")),
]  # fmt: skip


@pytest.mark.parametrize(("column", "names"), SIDES)
def test_sections_side_by_side_are_told_by_a_column(make_section: Make, column: str, names: Any) -> None:
    """Where they do not lie over one another nothing else tells; a float column of whole numbers has a gap."""
    values = np.repeat(names, 40)
    if isinstance(names[0], float):
        values[0] = np.nan
    with pytest.raises(
        InputError, match=re.escape(f"obs[{column!r}] has several values: {names[0]}, {names[1]}: these are spots of")
    ):
        read_section(labeled(make_section, column, values), need_counts=False)


@pytest.mark.parametrize("table", [True, False])
def test_columns_of_the_shapes_tell_too(make_section: Make, table: bool) -> None:
    sdata = make_section("A", grid=(8, 10), table=table)
    sdata.shapes["A"]["sample"] = ["A"] * 40 + ["B"] * 40
    said = "sdata.shapes\\['A'\\]\\['sample'\\] has several values: A, B: these are spots of several"
    with pytest.raises(InputError, match=said) as error:
        read_section(sdata, need_counts=table)
    exec(error.value.remedy.split(": ", 1)[1].split(", with the")[0], {"sdata": sdata})
    if not table:
        assert read_section(sdata, need_counts=False)[0].n_spots == 40, "what the remedy says helps"


@pytest.mark.parametrize("column", ["donor_id", "patient", "Mouse"])
def test_donors_side_by_side_are_said(make_section: Make, column: str, caplog: pytest.LogCaptureFixture) -> None:
    """Two may lie on one slide."""
    sdata = labeled(make_section, column, ["P1"] * 40 + ["P2"] * 40)
    assert read_section(sdata, need_counts=True)[0].n_spots == 80
    assert f"obs[{column!r}] has several values: P1, P2; all spots are taken to lie on image 'A_image'" in caplog.text


def test_subjects_however_written(make_section: Make) -> None:
    with pytest.raises(InputError, match="obs\\['Subject'\\] has several values: A, B"):
        read_section(labeled(make_section, "Subject", ["A"] * 40 + ["B"] * 40), need_counts=True)
    assert read_section(labeled(make_section, "Subject", "P1"), need_counts=True)[0].subject == "P1"


@pytest.mark.parametrize("n", [2, 3])
def test_coordinates_alone_tell_concatenated_sections(make_section: Make, n: int) -> None:
    sdata = overlaid_grids(make_section, n)
    with pytest.raises(InputError, match="spots before and after row 80.* overlap on the image") as error:
        read_section(sdata, need_counts=True)
    exec(error.value.remedy.split(": ", 1)[1].split(", with the")[0], {"sdata": sdata})
    assert read_section(sdata, need_counts=True)[0].n_spots == 80


@pytest.mark.parametrize("form", ["spot{}_{part}", "{part}_{}_7", "{part}-{}"])
def test_spot_ids_of_parts_that_lie_over_one_another(make_section: Make, form: str) -> None:
    sdata = neutral(concatenated(make_section, label="x", shift_px=5), shuffled=True)
    obs = sdata.tables["table"].obs
    sdata.tables["table"].obs_names = [form.format(i, part=part) for i, part in enumerate(obs.pop("x"))]
    with pytest.raises(InputError, match="spot ids are of 2 kinds, for example "):
        read_section(sdata, need_counts=True)


def neutral(sdata: SpatialData, *, shuffled: bool) -> SpatialData:
    """With ids that say nothing."""
    table = sdata.tables["table"]
    table.obs_names = [f"spot{i}" for i in range(table.n_obs)]
    return put(sdata, table[np.random.default_rng(0).permutation(table.n_obs)].copy()) if shuffled else sdata


def overlaid_grids(make_section: Make, n: int) -> SpatialData:
    """Spots of ``n`` arrays one after the other, each a little aside of the first, and nothing that says so."""
    grid = make_section("A", grid=(8, 10))
    centers = np.concatenate([grid.tables["table"].obsm["spatial"] + 4.0 * i for i in range(n)])
    return at(make_section, centers)


def at(make_section: Make, centers: np.ndarray) -> SpatialData:
    """One section with spots at some places in px."""
    side = int(np.ceil(np.sqrt(len(centers))))
    sdata = make_section("A", grid=(side, side))
    table = sdata.tables["table"][: len(centers)].copy()
    sdata.shapes["A"] = ShapesModel.parse(centers, geometry=0, radius=8.0)
    return put(sdata, table)


def keep(sdata: SpatialData, column: str) -> SpatialData:
    table = sdata.tables["table"]
    return put(sdata, table[table.obs[column] == "A"].copy())


@pytest.mark.parametrize("verb", ["train", "predict", "cross_validate"])
def test_every_verb_refuses_them(make_section: Make, quick: dict[str, Any], quick_model: Any, verb: str) -> None:
    sdata = concatenated(make_section)
    run = {
        "train": lambda: tl.train(sdata, **quick),
        "predict": lambda: tl.predict(sdata, quick_model),
        "cross_validate": lambda: tl.cross_validate([sdata, make_section("C", 2)], methods="mean", encoder="tiny"),
    }
    with pytest.raises(InputError, match="obs\\['library_id'\\] has several values"):
        run[verb]()


@pytest.mark.parametrize(
    "names",
    [
        [f"{b}-{sample}" for sample in (1, 2) for b in barcodes(21)],  # Space Ranger's aggr
        [f"{sample}_{b}-1" for sample in "AB" for b in barcodes(21)],
        [f"s_016um_{i:05d}_00001-1-{sample}" for sample in (0, 1) for i in range(21)],
        [f"{i}x{3}_{sample}" for sample in (0, 1) for i in range(21)],
        [f"{b}-{1 + i // 21}" for i, b in enumerate(barcodes(42))],  # no barcode twice
        [f"{b.lower()}-{sample}" for sample in (1, 2) for b in barcodes(21)],
        [*(f"{b}-{sample}" for sample in (1, 2) for b in barcodes(20)), "stray", f"{barcodes(1)[0]}-3-2"],
    ],
    ids=["aggr", "prefix", "bins", "first arrays", "all different", "lower case", "a stray one"],
)
def test_spot_ids_of_two_samples(make_section: Make, names: list[str]) -> None:
    sdata = make_section("A")
    sdata.tables["table"].obs_names = names
    with pytest.raises(InputError, match="spot ids are of [23] kinds, for example ") as error:
        read_section(sdata, need_counts=False)
    assert "give the spots ids of one kind" in error.value.remedy
    assert names[0] in error.value.what and names[-1][-2:] in error.value.what


@pytest.mark.parametrize(
    "names",
    [
        [f"{b}-1" for b in barcodes(42)],
        [f"{i}_{b}-1" for i, b in enumerate(barcodes(42))],
        [f"{b}_{i % 3}" for i, b in enumerate(barcodes(42))],  # their cluster
        [f"{barcodes(6)[i // 7]}_{barcodes(7)[i % 7]}" for i in range(42)],  # of row and column
        [f"{i // 7}_{i % 7}" for i in range(42)],
        [f"20x20_{i}" for i in range(42)],
    ],
    ids=["one", "numbered", "cluster", "two barcodes", "row and column", "size"],
)
def test_spot_ids_of_one_sample(make_section: Make, names: list[str]) -> None:
    sdata = make_section("A")
    sdata.tables["table"].obs_names = names
    assert read_section(sdata, need_counts=False)[0].n_spots == 42


@pytest.mark.parametrize("kind", [int, float, str, "category"])
@pytest.mark.parametrize("names", [("array_row", "array_col"), ("array_x", "array_y"), ("arrayRow", "arrayCol")])
def test_places_that_are_taken_twice(make_section: Make, names: tuple[str, str], kind: Any) -> None:
    sdata = make_section("A")
    obs, places = sdata.tables["table"].obs, np.arange(42) % 21
    for name, values in zip(names, (places // 7, places % 7), strict=True):
        obs[name] = pd.Series(values, obs.index).astype(kind)
    said = f"42 of 42 spots share an array position with another \\({names[0]} 0(.0)?, {names[1]} 0(.0)?\\)"
    with pytest.raises(InputError, match=said):
        read_section(sdata, need_counts=False)
    for name in names:  # columns that tell no place
        obs[name] = 0
    assert read_section(sdata, need_counts=False)[0].n_spots == 42


RNG = np.random.default_rng(1)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("library_id", "A"),
        ("sample", pd.Categorical(["A"] * 80, categories=["A", "B"])),  # what is left of two
        ("sample", np.where(np.arange(80) < 70, "A", None)),
        ("sample_id", [f"spot {i}" for i in range(80)]),  # names the spots
        ("batch", RNG.choice(["one", "two"], 80)),  # both all over one array
        ("cluster", np.arange(80) % 3),
        ("replicate_of", np.arange(80) // 40),
        ("batch", np.arange(80) // 40),
        ("dataset", RNG.choice(["train", "test"], 80)),
        ("patient", np.where(np.arange(80) % 10 < 5, "left", "right")),
        ("library", RNG.choice(["low", "high"], 80)),
        ("slide", RNG.integers(0, 5, 80)),
        ("sample", RNG.integers(0, 5, 80) / 4),
        ("sample", ["A"] * 79 + ["B"]),
        ("checkers", (np.arange(80) // 10 + np.arange(80)) % 2),
        ("lists", [[1]] * 40 + [[2]] * 40),
        ("sample", [[1]] * 40 + [[2]] * 40),
        ("library", ["low"] * 40 + ["high"] * 40),
        ("sample_type", ["core", "rim"] * 40),
    ],
    ids=[
        "one value",
        "unused category",
        "missing",
        "names of spots",
        "mixed batches",
        "clusters",
        "other notes",
        "halves",
        "marks",
        "patients side by side",
        "size",
        "whole scores",
        "scores",
        "a slip",
        "checkers",
        "lists",
        "lists of samples",
        "words of libraries",
        "a type",
    ],  # fmt: skip
)
def test_notes_within_one_section_are_taken(make_section: Make, column: str, values: Any) -> None:
    assert read_section(labeled(make_section, column, values), need_counts=True)[0].n_spots == 80


@pytest.mark.parametrize("name", ["image_x", "section_y", "sample_x", "capture_area_x"])
def test_whole_pixels_are_no_samples(make_section: Make, name: str) -> None:
    """What merging adds to a name (``sample_x``) is also what places are called."""
    sdata = make_section("A")
    sdata.tables["table"].obs[name] = (np.arange(42) % 7) * 24
    assert read_section(sdata, need_counts=False)[0].n_spots == 42
    sdata.tables["table"].obs[name] = np.where(np.arange(42) < 21, "S1", "S2")
    with pytest.raises(InputError, match="spots of several sections"):
        read_section(sdata, need_counts=False)


def test_a_blank_makes_no_other_sample(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.tables["table"].obs["sample_id"] = np.where(np.arange(42) < 21, "S1", "S1 ")
    assert read_section(sdata, need_counts=False)[0].n_spots == 42


def test_every_other_spot_of_one_array_is_no_section(make_section: Make) -> None:
    """Folds and phases part one even array so that those of a part lie between those of another."""
    sdata = make_section("A")
    row, col = np.divmod(np.arange(42), 7)
    for note in (row % 2 * 2 + col % 2, (row + 2 * col) % 3):
        sdata.tables["table"].obs["cv_fold"] = note
        assert read_section(sdata, need_counts=False)[0].n_spots == 42


def test_rows_and_columns_of_one_array(make_section: Make) -> None:
    """Every other column of a hexagonal array lies between those beside it, but is a line and no array."""
    row, col = (v.ravel() for v in np.mgrid[:24, :8])
    sdata = at(make_section, np.column_stack([20 * col + 10 * (row % 2), 20 * 0.866 * row]) + 10)
    obs = sdata.tables["table"].obs
    obs["array_row"], obs["array_col"], obs["odd"], obs["batch"] = row, 2 * col + row % 2, row % 2, row // 12
    obs["column"] = pd.Categorical(2 * col + row % 2)
    assert read_section(sdata, need_counts=True)[0].n_spots == 192


def test_spots_that_lie_nowhere(make_section: Make) -> None:
    sdata = make_section("A")
    sdata.shapes["A"].loc[3, "geometry"] = sdata.shapes["A"].geometry[3].__class__(np.nan, 5.0)
    with pytest.raises(InputError, match="1 of 42 spots have no usable position"):
        read_section(sdata, need_counts=False)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kinds", [2, 3, 30])
def test_cells_lie_anywhere(make_section: Make, seed: int, kinds: int) -> None:
    """Spots without a pitch have others nearby, of any kind, in any order of the rows."""
    rng = np.random.default_rng(seed)
    sdata = at(make_section, rng.uniform(5, 250, (120, 2)))
    sdata.tables["table"].obs["batch"] = rng.integers(0, kinds, 120)
    sdata.tables["table"].obs["kind"] = rng.integers(0, kinds, 120)
    assert read_section(sdata, need_counts=True)[0].n_spots == 120


@pytest.mark.parametrize("shift_px", [0.0, 12.0, 7.0])
def test_batches_of_two_arrays_are_no_notes(make_section: Make, shift_px: float) -> None:
    """Wherever the other's spots fall: on the same places, between them, or anywhere."""
    with pytest.raises(InputError, match="obs\\['batch'\\] has several values: A, B"):
        read_section(concatenated(make_section, label="batch", shift_px=shift_px), need_counts=True)


def two_sections(make_section: Make) -> SpatialData:
    """Two sections in one SpatialData, as ``spatialdata.concatenate`` makes it: each in a system of its own name."""
    parts = [make_section("A", 0), make_section("B", 1)]
    for name, part in zip("AB", parts, strict=True):
        for element in (part.images[f"{name}_image"], part.shapes[name]):
            set_transformation(element, Identity(), name)
    return SpatialData(
        images={f"{name}_image": part.images[f"{name}_image"] for name, part in zip("AB", parts, strict=True)},
        shapes={name: part.shapes[name] for name, part in zip("AB", parts, strict=True)},
        tables={"table": parts[0].tables["table"]},
    )


@pytest.mark.parametrize("need_counts", [True, False])
def test_coordinate_systems_tie_spots_to_their_own_image(make_section: Make, need_counts: bool) -> None:
    sdata = two_sections(make_section)
    assert read_section(sdata, Elements(image_key="A_image"), need_counts=need_counts)[0].n_spots == 42
    with pytest.raises(InputError, match="spots 'A' and image 'A_image' share the coordinate system 'A'") as error:
        read_section(sdata, Elements(image_key="B_image"), need_counts=need_counts)
    assert "image 'B_image' lies in 'B': these are two sections" in error.value.what
    set_transformation(sdata.images["A_image"], Identity(), "B")  # both show one section, says the user
    assert read_section(sdata, Elements(image_key="B_image"), need_counts=need_counts)[0].n_spots == 42


def test_spots_in_the_systems_of_two_images(make_section: Make) -> None:
    sdata = two_sections(make_section)
    set_transformation(sdata.shapes["A"], Identity(), "B")
    with pytest.raises(InputError, match="spots 'A' and image 'B_image' share the coordinate system 'B'"):
        read_section(sdata, Elements(image_key="A_image"), need_counts=True)


def test_reduced_copies_are_no_other_section(make_section: Make) -> None:
    """As spatialdata-io places them: each copy in a system of its own."""
    sdata = make_section("A")
    for name in ("hires", "lowres"):
        copy = make_section("A").images["A_image"]
        set_transformation(copy, {f"A_downscaled_{name}": Identity()}, set_all=True)
        sdata.images[f"A_{name}_image"] = copy
        set_transformation(sdata.shapes["A"], Identity(), f"A_downscaled_{name}")
    set_transformation(sdata.shapes["A"], Identity(), "A")
    set_transformation(sdata.images["A_image"], Identity(), "A")
    assert read_section(sdata, Elements(image_key="A_image"), need_counts=True)[0].n_spots == 42


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("wrong", [Scale([2.0, 2.0], axes=("x", "y")), Translation([9.0, 0.0], axes=("x", "y"))])
def test_systems_that_contradict_each_other(make_section: Make, wrong: Any, table: bool) -> None:
    sdata = make_section("A", table=table)
    set_transformation(sdata.images["A_image"], Identity(), "aligned")
    set_transformation(sdata.shapes["A"], Translation([0.5, 0.5], axes=("x", "y")), "aligned")
    assert read_section(sdata, need_counts=table)[0].n_spots == 42, "half a px is none of a spot's"
    set_transformation(sdata.shapes["A"], wrong, "aligned")
    with pytest.raises(
        InputError, match="systems 'global' and 'aligned' contradict each other: they place the same spot .* px apart"
    ) as error:
        read_section(sdata, need_counts=table)
    assert "remove_transformation(sdata.shapes['A'], to_coordinate_system='global')" in error.value.remedy
    remove_transformation(sdata.shapes["A"], to_coordinate_system="aligned")
    assert read_section(sdata, need_counts=table)[0].n_spots == 42
