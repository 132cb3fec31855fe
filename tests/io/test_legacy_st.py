"""Legacy ST: the three files become one SpatialData with the right spots, pixels and scale; bad ones are refused."""

from __future__ import annotations

import dataclasses
import gzip
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from scipy.sparse import issparse
from spatialdata.transformations import Identity, get_transformation

import st_predict as stp
from st_predict._spatialdata.read import read_section
from st_predict.core.arguments.declared import DECLARED
from st_predict.core.errors import InputError
from st_predict.core.tiles.glass import spots_on_glass
from st_predict.io._counts_file import read_counts
from st_predict.io._legacy_st import _read_spots

HEIGHT, WIDTH = 300, 500
GENES = ["Mbp", "Gfap", "Actb"]
# id -> center on the image (x, y); the last one is not selected
SPOTS = {
    "2x3": (100.0, 40.0),
    "4x3": (200.0, 40.0),
    "5.907x2.103": (290.0, 45.5),
    "4x5": (200.0, 250.0),
    "9x9": (480.0, 299.0),
    "1x1": (10.0, 10.0),
}
COUNTS = pd.DataFrame(
    [[0, 3, 1], [7, 0, 0], [2, 2, 2], [1, 0, 9], [5, 5, 5]],
    index=["4x5", "2x3", "77x77", "5.907x2.103", "1x1"],  # an order of its own, a spot unknown to the spot file
    columns=GENES,
)


def spots_frame() -> pd.DataFrame:
    rows = [[*spot.split("x"), x, y, int(spot != "1x1")] for spot, (x, y) in SPOTS.items()]
    return pd.DataFrame(rows, columns=["x", "y", "pixel_x", "pixel_y", "selected"])


@pytest.fixture
def folder(tmp_path: Path, files) -> Path:
    files.write_jpeg(tmp_path / "image.jpg", files.asymmetric_pixels(HEIGHT, WIDTH))
    COUNTS.to_csv(tmp_path / "counts.tsv.gz", sep="\t")
    spots_frame().to_csv(tmp_path / "spots.tsv", sep="\t", index=False)
    return tmp_path


def read(folder: Path, **arguments):
    given = {"counts": folder / "counts.tsv.gz", "image": folder / "image.jpg", "spots": folder / "spots.tsv"}
    given |= {"section": "S1"} | arguments
    return stp.io.legacy_st(given.pop("counts"), given.pop("image"), given.pop("spots"), **given)


def assert_contents(sdata: sd.SpatialData) -> None:
    table = sdata.tables["table"]
    kept = ["4x5", "2x3", "5.907x2.103"]
    assert list(table.obs_names) == kept
    assert list(table.var_names) == GENES
    assert issparse(table.X)
    assert (table.X.format, table.X.dtype) == ("csr", np.float32)
    np.testing.assert_array_equal(table.X.toarray(), COUNTS.loc[kept].to_numpy())
    centers_px = np.array([SPOTS[spot] for spot in kept])
    np.testing.assert_array_equal(table.obsm["spatial"], centers_px)
    np.testing.assert_array_equal(table.obs["array_x"], [4, 2, 5.907])
    np.testing.assert_array_equal(table.obs["array_y"], [5, 3, 2.103])
    for column, value in {"region": "S1", "section": "S1", "subject": "mouse_1"}.items():
        assert table.obs[column].dtype == "category"
        assert set(table.obs[column]) == {value}
    circles = sdata.shapes["S1"].loc[table.obs["instance_id"]]
    np.testing.assert_array_equal(np.column_stack([circles.geometry.x, circles.geometry.y]), centers_px)
    np.testing.assert_allclose(circles["radius"], 100 / 2.5 / 2)
    attrs = table.uns["spatialdata_attrs"]
    assert (attrs["region"], attrs["region_key"], attrs["instance_key"]) == ("S1", "region", "instance_id")
    assert sdata.attrs["st_predict"] == {"um_per_px": {"S1_image": 2.5}}
    image = sdata.images["S1_image"]
    assert image.dims == ("c", "y", "x")
    assert list(image.coords["c"].values) == ["r", "g", "b"]
    assert (image.shape, image.dtype) == ((3, HEIGHT, WIDTH), np.uint8)
    # Red grows to the right, green downward: at each spot the pixel says where it is.
    for x, y in centers_px:
        red, green, _ = image.isel(y=int(y), x=int(x)).values
        assert abs(red - 255 * x / WIDTH) < 5
        assert abs(green - 255 * y / HEIGHT) < 5
    assert sdata.coordinate_systems == ["global"]
    assert isinstance(get_transformation(image, "global"), Identity)


def test_files_become_the_layout_and_survive_a_round_trip(folder):
    sdata = read(folder, subject="mouse_1", um_per_px=2.5)
    assert_contents(sdata)
    sdata.write(folder / "section.zarr")
    assert_contents(sd.read_zarr(folder / "section.zarr"))


def test_data_frames_give_the_same_as_files(folder):
    spots = spots_frame()
    spots[["x", "y"]] = spots[["x", "y"]].astype(float)  # 4.0 joins the id "4x5"
    assert_contents(read(folder, counts=COUNTS, spots=spots, subject="mouse_1", um_per_px=2.5))


def test_comma_separated_and_headers_without_a_corner_are_read(folder):
    COUNTS.to_csv(folder / "counts.csv")
    lines = (folder / "counts.csv").read_text().splitlines()
    lines[0] = lines[0].removeprefix(",")  # as R's write.table does
    (folder / "counts.csv").write_text("\n".join(lines) + "\n")
    spots_frame().to_csv(folder / "spots.csv", index=False)
    sdata = read(folder, counts=folder / "counts.csv", spots=folder / "spots.csv", subject="mouse_1", um_per_px=2.5)
    assert_contents(sdata)


def test_many_rows_are_read_in_blocks(folder):
    rng = np.random.default_rng(0)
    truth = pd.DataFrame(rng.poisson(0.3, (700, 40)), index=[f"{i}x1" for i in range(700)]).add_prefix("g")
    truth.to_csv(folder / "many.tsv.gz", sep="\t")
    positions = pd.DataFrame(
        {"x": range(700), "y": 1, "pixel_x": np.arange(700) % 490, "pixel_y": np.arange(700) // 490}
    )
    sdata = read(folder, counts=folder / "many.tsv.gz", spots=positions)
    np.testing.assert_array_equal(sdata.tables["table"].X.toarray(), truth.to_numpy())


def test_what_is_left_out_is_counted(folder, caplog):
    with caplog.at_level(logging.INFO, logger="st_predict"):
        read(folder)
    assert "1 of 6 spots are not selected and left out" in caplog.text
    assert "3 spots are in counts and spots; left out: 2 in counts only, 2 in spots only" in caplog.text


def test_without_the_column_every_spot_is_selected(folder):
    sdata = read(folder, spots=spots_frame().drop(columns="selected"))
    assert list(sdata.tables["table"].obs_names) == ["4x5", "2x3", "5.907x2.103", "1x1"]


def test_an_unknown_scale_is_not_written_and_circles_are_for_drawing_only(folder):
    sdata = read(folder)
    assert sdata.attrs["st_predict"] == {"um_per_px": {}}
    assert "subject" not in sdata.tables["table"].obs
    kept = np.array([SPOTS[spot] for spot in sdata.tables["table"].obs_names])
    between = np.linalg.norm(kept[:, None] - kept[None], axis=2) + np.diag([np.inf] * 3)
    np.testing.assert_allclose(sdata.shapes["S1"]["radius"], np.median(between.min(axis=1)) / 4)


def test_the_spot_diameter_sets_the_radius(folder):
    sdata = read(folder, um_per_px=0.5, spot_diameter_um=55.0)
    np.testing.assert_allclose(sdata.shapes["S1"]["radius"], 55)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (COUNTS * -1, r"counts are negative \(lowest -9\)"),
        (COUNTS.astype(float).replace(3, np.nan), "1 counts are missing, NaN or infinite|has no count in column 3"),
        (np.log1p(COUNTS), "not whole numbers .* normalized or log-transformed"),
        (
            COUNTS.assign(Gfap=[str(n) if n != 3 else "three" for n in COUNTS["Gfap"]]),
            "column 'Gfap' holds text, e.g. 'three'",
        ),
        (pd.concat([COUNTS, COUNTS.iloc[:1]]), "1 spot ids come more than once, e.g. '4x5'"),
        (COUNTS.set_axis(["Mbp", "Gfap", "Mbp"], axis=1), "1 genes come more than once, e.g. 'Mbp'"),
        (COUNTS.set_axis([f"{i}x88" for i in range(5)]), "counts and spots share no spot"),
        (COUNTS.T, "transpose the counts"),
    ],
    ids=["negative", "nan", "log", "text", "double spot", "double gene", "no overlap", "transposed"],
)
@pytest.mark.parametrize("as_file", [True, False])
def test_counts_that_are_no_counts_are_refused(folder, frame, said, as_file):
    counts = frame
    if as_file:
        counts = folder / "bad.tsv"
        frame.to_csv(counts, sep="\t")
    with pytest.raises(InputError, match=said):
        read(folder, counts=counts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.drop(columns=["pixel_x", "y"]), r"columns \['y', 'pixel_x'\] are missing; found \['x'"),
        (lambda s: pd.concat([s, s.iloc[:1]]), "1 spot ids come more than once, e.g. '2x3'"),
        (lambda s: s.assign(selected=0), "no spot is selected"),
        (lambda s: s.assign(pixel_x=7, pixel_y=7), "most spots lie on top of one another"),
        (lambda s: s.iloc[:0], "there are no spots"),
        (lambda s: s.assign(pixel_y=np.nan), "positions are missing, NaN or infinite"),
        (lambda s: s.assign(pixel_y="left"), "a position is not a number: .*left"),
        (
            lambda s: s.assign(pixel_x=s["pixel_x"] + 5000),
            r"3 of 3 spots lie off the image: spots span x 5100 to 5290 and y 40 to 250, the image is 500 x 300 px",
        ),
    ],
    ids=["columns", "double", "none selected", "same place", "empty", "nan", "text", "off"],
)
def test_spots_that_cannot_be_used_are_refused(folder, change, said):
    change(spots_frame()).to_csv(folder / "bad.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match=said):
        read(folder, spots=folder / "bad.tsv")


def test_swapped_axes_are_named(folder):
    spots = spots_frame().assign(pixel_x=[40, 40, 45, 20, 299, 10], pixel_y=[100, 200, 290, 400, 480, 10])
    with pytest.raises(InputError, match="axes look swapped: 1 of 3 spots lie off the image"):
        read(folder, spots=spots)


def test_a_few_spots_off_the_edge_are_kept_and_said(folder, caplog):
    spots = spots_frame()
    spots.loc[3, ["pixel_x", "pixel_y"]] = [200, 302]
    sdata = read(folder, spots=spots)
    assert sdata.tables["table"].n_obs == 3
    assert "1 of 3 spots lie off the image" in caplog.text
    assert "they are kept; with x and y exchanged all would lie on it" in caplog.text


@pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf])
def test_a_scale_that_is_no_scale_is_refused(folder, scale):
    with pytest.raises(
        InputError, match="um_per_px is .*\n.*\n  expected: micrometers a pixel of the full-resolution image"
    ):
        read(folder, um_per_px=scale)


@pytest.mark.parametrize("scale", [0.02, 0.0005, 50, 690])
def test_an_absurd_scale_is_refused(folder, scale):
    with pytest.raises(InputError, match=f"um_per_px is {scale}\n(.|\n)*over 0.02 and under 50"):
        read(folder, um_per_px=scale)


def test_a_diameter_that_is_none_is_refused(folder):
    with pytest.raises(InputError, match="spot_diameter_um is 0"):
        read(folder, spot_diameter_um=0)


@pytest.mark.parametrize("name", ["", "a b", "C2/1", "__x", 7])
def test_a_name_that_cannot_name_elements_is_refused(folder, name):
    with pytest.raises(InputError, match="(?s)section is .*letters and digits of any script"):
        read(folder, section=name)


def test_files_that_are_not_whole_are_refused(folder):
    for name, argument in (("counts.tsv.gz", "counts"), ("image.jpg", "image"), ("spots.tsv", "spots")):
        empty = folder / f"empty_{name}"
        empty.write_bytes(b"")
        with pytest.raises(InputError, match=f"(?s)empty_{name} is empty.*where:    {argument}"):
            read(folder, **{argument: empty})
        with pytest.raises(InputError, match=f"(?s)no such file: .*gone_{name}.*where:    {argument}"):
            read(folder, **{argument: folder / f"gone_{name}"})
    for name, argument, said in (
        ("counts.tsv.gz", "counts", "cannot be read as a table"),
        ("image.jpg", "image", "is truncated or corrupt"),
    ):
        data = (folder / name).read_bytes()
        (folder / f"half_{name}").write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=f"half_{name} {said}"):
            read(folder, **{argument: folder / f"half_{name}"})


def test_a_table_of_other_shape_is_refused(folder):
    (folder / "bad.tsv").write_text("a\tb\tc\td\te\n1x1\t3\n")
    with pytest.raises(InputError, match="its header has 5 names, its first row 2 values"):
        read(folder, counts=folder / "bad.tsv")
    with gzip.open(folder / "one.tsv.gz", "wt") as file:
        file.write("\tMbp\n")
    with pytest.raises(InputError, match="one.tsv.gz cannot be read as a table: it has 1 lines"):
        read(folder, counts=folder / "one.tsv.gz")


def test_a_real_section(real_data):
    part = real_data / "als" / "CN51_C2_1"
    sdata = stp.io.legacy_st(
        part / "counts.tsv.gz", part / "image.jpg", part / "spots.tsv", section="CN51_C2_1", um_per_px=0.6852
    )
    row = pd.read_csv(real_data / "sections.csv", dtype=str).set_index("section").loc["CN51_C2_1"]
    table = sdata.tables["table"]
    assert sdata.images["CN51_C2_1_image"].shape == (3, int(row["height_px"]), int(row["width_px"]))
    assert table.shape == (int(row["n_spots"]), int(row["n_genes"]))
    assert np.median(np.asarray(table.X.sum(axis=1))) == pytest.approx(float(row["median_counts"]), abs=1)
    assert sdata.shapes["CN51_C2_1"]["radius"].iloc[0] == pytest.approx(100 / 0.6852 / 2)
    truth = pd.read_csv(part / "counts.tsv.gz", sep="\t", index_col=0).loc[table.obs_names]
    np.testing.assert_array_equal(table.X.toarray(), truth.to_numpy())
    # The pitch of this array is 200 um.
    x = np.unique(table.obsm["spatial"][:, 0].round())
    columns_px = np.median(np.diff(x)[np.diff(x) > 20])
    assert columns_px * 0.6852 == pytest.approx(200, rel=0.05)
    # All of its spots lie on its tissue, and hardly one (there is dust) where they would on an image of which a corner was cut off.
    section = read_section(sdata, need_counts=False)[0]
    assert not spots_on_glass(section).any()
    assert spots_on_glass(dataclasses.replace(section, centers_px=section.centers_px + (4000, 2000))).mean() > 0.9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.astype(complex) + 3j, "counts are of type complex128"),
        (lambda c: c.apply(pd.to_datetime), r"counts are of type datetime64\[ns\]"),
        (lambda c: c.apply(pd.to_timedelta), r"counts are of type timedelta64\[ns\]"),
        (lambda c: c * 0.0 + 1e45, r"counts go up to 1e\+45"),
    ],
)
def test_what_would_be_made_counts_without_a_word_is_refused(change: Any, said: str) -> None:
    counts = pd.DataFrame(np.arange(24).reshape(6, 4), index=[f"{i}x1" for i in range(6)], columns=list("ABCD"))
    with pytest.raises(InputError, match=f"^{said}"):
        read_counts(change(counts))


def test_the_text_that_is_no_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text("\tA\tB\n1x1\t1\t0\n2x1\t2\t0x3\n")
    with pytest.raises(InputError, match="^column 'B' holds text, e.g. '0x3'"):
        read_counts(tmp_path / "c.tsv")


def test_a_column_of_positions_that_is_there_twice_is_refused() -> None:
    spots = pd.DataFrame({"x": [1, 2], "y": [1, 1], "pixel_x": [1.0, 2.0], "pixel_y": [1.0, 1.0]})
    with pytest.raises(InputError, match="^column 'pixel_x' is there more than once"):
        _read_spots(pd.concat([spots, spots[["pixel_x"]]], axis=1))


@pytest.mark.parametrize("ending", [".xz", ".zip", ".tar", ".zst", ".bz2"])
def test_an_ending_of_another_compression_is_no_traceback(ending: str, tmp_path: Path) -> None:
    for read in (_read_spots, read_counts):
        path = tmp_path / f"table{ending}"
        path.write_bytes(b"\x89junk\xff\xfe, no table")
        with pytest.raises(InputError):
            read(path)


def test_any_kind_of_path_is_taken() -> None:
    class Own:
        def __fspath__(self) -> str:
            return "some/where"

    assert DECLARED["counts"].check(Own(), "counts") == Path("some/where")


def first_array(um_per_px: float = 2.5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Counts and spots of 40 places, 200 um apart, on the asymmetric image."""
    y, x = (v.ravel() for v in np.mgrid[2:7, 3:11])
    step = 200 / um_per_px / 2.5  # the image is small
    spots = pd.DataFrame({"x": x, "y": y, "pixel_x": x * step, "pixel_y": y * step})
    counts = pd.DataFrame(
        np.arange(80).reshape(40, 2), index=[f"{a}x{b}" for a, b in zip(x, y, strict=True)], columns=["A", "B"]
    )
    return counts, spots


ARRAY, PIXELS = {"x": "y", "y": "x"}, {"pixel_x": "pixel_y", "pixel_y": "pixel_x"}


def test_x_and_y_of_the_ids_exchanged_in_one_file_are_refused_and_the_remedy_brings_the_spots_back(folder):
    counts, spots = first_array()
    wrong = spots.rename(columns=ARRAY)
    said = "^x and y of the ids look exchanged in one file: counts and spots share 16 spots, and 40 if"
    with pytest.raises(InputError, match=said) as error:
        read(folder, counts=counts, spots=wrong)
    assert "spots.rename(columns={'x': 'y', 'y': 'x'}); the pixel columns stay as they are" in error.value.remedy
    assert read(folder, counts=counts, spots=wrong.rename(columns=ARRAY))["table"].n_obs == 40
    turned = counts.set_axis(["x".join(name.split("x")[::-1]) for name in counts.index])
    with pytest.raises(InputError, match=said) as error:
        read(folder, counts=turned, spots=spots)
    assert "write the ids of counts as XxY" in error.value.remedy


@pytest.mark.parametrize(
    ("of_counts", "of_spots"), [("{}.0x{}.0", "{}"), ("{}X{}", "{} "), ("{}_{}", "{}.0"), (" {}x{} ", "0{}")]
)
def test_ids_are_compared_by_their_numbers(folder, of_counts, of_spots):
    counts, spots = first_array()
    written = counts.set_axis([of_counts.format(*name.split("x")) for name in counts.index])
    spelled = spots.assign(**{axis: [of_spots.format(v) for v in spots[axis]] for axis in "xy"})
    spelled.to_csv(folder / "spelled.tsv", sep="\t", index=False)
    table = read(folder, counts=written, spots=folder / "spelled.tsv")["table"]
    np.testing.assert_array_equal(table.X.toarray(), counts)
    np.testing.assert_array_equal(table.obsm["spatial"], spots[["pixel_x", "pixel_y"]])
    with pytest.raises(InputError, match="'3x2' and '3.0x2' are one spot"):
        read(folder, counts=counts.rename(index={"4x2": "3.0x2"}), spots=spots)


@pytest.mark.parametrize("words", [("TRUE", "FALSE"), ("yes", "no"), (True, False), ("1.0", "0")])
def test_words_for_selected(folder, words):
    spots = spots_frame()
    told = spots.assign(selected=[words[0] if one else words[1] for one in spots["selected"]])
    assert list(read(folder, spots=told)["table"].obs_names) == ["4x5", "2x3", "5.907x2.103"]


@pytest.mark.parametrize("value", [2, -1, np.nan, "maybe"])
def test_a_value_that_says_neither_selected_nor_not_is_named(folder, value):
    with pytest.raises(InputError, match=f"^column selected holds {value} for 6 of 6 spots"):
        read(folder, spots=spots_frame().assign(selected=value))


def test_pixels_exchanged_are_said(folder, caplog):
    counts, spots = first_array()
    read(folder, counts=counts, spots=spots, um_per_px=6.25)
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    read(folder, counts=counts, spots=spots.rename(columns=PIXELS)[list(spots.columns)].query("pixel_y < 300"))
    assert "x and y of the spots look exchanged: rows of the array run along y of the image" in caplog.text


@pytest.mark.parametrize("times", [0.5, 2])
def test_a_scale_or_pixels_of_another_image_are_said(folder, caplog, times):
    counts, spots = first_array()
    read(folder, counts=counts, spots=spots, um_per_px=6.25 * times)
    lie = f"spots of S1 lie 200 um apart; at {6.25 * times:g} um a pixel they lie {200 * times:.0f} um apart"
    assert lie in caplog.text and "give um_per_px=6.25" in caplog.text
    caplog.clear()
    halved = spots.assign(pixel_x=spots["pixel_x"] * 0.5, pixel_y=spots["pixel_y"] * 0.5)
    read(folder, counts=counts, spots=halved, um_per_px=6.25 / 2 * times)
    assert "the spots were placed on another image" in caplog.text
    caplog.clear()
    read(folder, counts=counts, spots=spots, um_per_px=6.25 * times, spot_diameter_um=55.0)
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING], (
        "of another array, whose pitch nobody told"
    )
    read(folder, counts=counts, spots=spots, um_per_px=6.25, spot_diameter_um=500.0)
    assert "spots of 500 um lie 200 um apart: they overlap" in caplog.text


@pytest.mark.parametrize("diameter", [1e5, 0.001])
def test_no_spot_has_such_a_diameter(folder, diameter):
    with pytest.raises(InputError, match="^spot_diameter_um is "):
        read(folder, um_per_px=2.5, spot_diameter_um=diameter)


def test_spots_that_either_file_lacks_are_said_loudly(folder, caplog):
    """One file may hold more than the tissue; both do where files do not fit."""
    counts, spots = first_array()
    read(folder, counts=counts, spots=spots.iloc[:25])
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    read(folder, counts=counts.iloc[5:], spots=spots.iloc[:35])
    assert "left out: 5 in counts only, 5 in spots only" in caplog.text


@pytest.mark.parametrize("as_file", [False, True])
def test_counts_and_spots_exchanged_are_told_in_a_line(folder, as_file):
    wide = pd.DataFrame(np.ones((5, 9000), int), index=COUNTS.index, columns=[f"gene{i}" for i in range(9000)])
    if as_file:
        wide.to_csv(folder / "wide.tsv", sep="\t")
    with pytest.raises(
        InputError, match="^spots holds a table of counts, .*: counts and spots look exchanged\n"
    ) as error:
        stp.io.legacy_st(
            folder / "spots.tsv", folder / "image.jpg", folder / "wide.tsv" if as_file else wide, section="S1"
        )
    assert len(str(error.value)) < 500
    with pytest.raises(InputError, match=r"found \['gene0', .*, 'gene7'\] and 8992 more\n"):
        read(folder, spots=wide.set_axis(range(5), axis=0))
