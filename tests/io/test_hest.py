"""Folders of HEST: slides and patches come in with the right spots, pixels and scale; half a folder is refused."""

from __future__ import annotations

import codecs
import json
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from anndata import AnnData, read_h5ad
from spatialdata import SpatialData

import st_predict as stp
from st_predict._spatialdata.image import image_source
from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.read import read_section
from st_predict.core.errors import InputError
from st_predict.core.tiles.stream import stream_tiles

UM_PER_PX = 4.0


@pytest.fixture(scope="module")
def written(make_section: Callable[..., SpatialData], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two samples; not to be changed."""
    folder = tmp_path_factory.mktemp("hest")
    sections = {name: make_section(name, seed, subject=f"P{seed}") for seed, name in enumerate("AB")}
    stp.datasets.write_hest(sections, folder)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    for path in written.rglob("*.*"):
        copy = tmp_path / path.relative_to(written)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture
def benchmark(folder: Path) -> Path:
    """The same, as a task of HEST-Benchmark."""
    (folder / "st").rename(folder / "adata")
    for gone in ("wsis/A.tif", "wsis/B.tif", "metadata/A.json", "metadata/B.json"):
        (folder / gone).unlink()
    (folder / "splits").mkdir()
    for number, (train, test) in enumerate(["AB", "BA"]):
        for part, name in (("train", train), ("test", test)):
            lines = f"sample_id,patches_path,expr_path\n{name},patches/{name}.h5,adata/{name}.h5ad\n"
            (folder / "splits" / f"{part}_{number}.csv").write_text(lines)
    (folder / "var_50genes.json").write_text(json.dumps({"genes": ["g0", "g3"]}))
    return folder


def change(path: Path, **facts: Any) -> None:
    """Change metadata; ``...`` takes an entry out."""
    found = json.loads(path.read_text()) | facts
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))


def test_a_sample_is_the_section_that_was_written(written: Path, make_section: Callable[..., SpatialData]) -> None:
    sdata, drawn = stp.io.hest(written, "B"), make_section("B", 1, subject="P1")
    (before, _), (after, placed) = (read_section(one, Elements(), need_counts=True) for one in (drawn, sdata))
    assert (placed.image, placed.shapes, placed.table) == ("B_image", "B", "table")
    assert (after.name, after.subject, after.um_per_px) == ("B", "P1", UM_PER_PX)
    np.testing.assert_allclose(after.centers_px, before.centers_px)
    np.testing.assert_array_equal(after.counts.toarray(), before.counts.toarray())
    assert list(after.gene_names) == list(before.gene_names)
    image = sdata.images["B_image"]
    np.testing.assert_array_equal(
        (image["scale0"]["image"] if hasattr(image, "children") else image).to_numpy(),
        drawn.images["B_image"].to_numpy(),
    )
    np.testing.assert_allclose(sdata.shapes["B"].radius, 8.0)


def test_samples_are_listed_with_what_is_there(folder: Path) -> None:
    (folder / "patches" / "A.h5").unlink()
    (folder / "wsis" / "C.tif").write_bytes(b"II*\0")
    change(folder / "metadata" / "A.json", organ="Breast", patient=float("nan"), spots_under_tissue=...)
    table = stp.io.hest(folder)
    assert list(table.index) == ["A", "B", "C"]
    assert table.loc["A", ["organ", "spots", "um_per_px"]].tolist() == ["Breast", 42, UM_PER_PX]
    assert pd.isna(table.loc["A", "patient"])
    assert table[["expression", "slide", "patches"]].to_numpy().tolist() == [
        [True, True, False],
        [True, True, True],
        [False, True, False],
    ]
    assert "fold" not in table


def test_a_patient_without_a_name_is_no_subject(folder: Path) -> None:
    change(folder / "metadata" / "A.json", patient=float("nan"))
    assert "subject" not in stp.io.hest(folder, "A").tables["table"].obs


def test_spots_on_glass_are_left_out(folder: Path) -> None:
    adata = read_h5ad(folder / "st" / "A.h5ad")
    adata.obs["in_tissue"] = np.arange(adata.n_obs) >= 5
    adata.write_h5ad(folder / "st" / "A.h5ad")
    sdata = stp.io.hest(folder, "A")
    assert list(sdata.tables["table"].obs_names[:2]) == ["A_5", "A_6"] and len(sdata.shapes["A"]) == 37


def assert_patches_are_the_tiles(sdata: SpatialData, patches: Path) -> None:
    """A tile as wide as a patch is the patch of that spot, but for what neighbors that overlap show of the same tissue."""
    section, placed = read_section(sdata, Elements(), need_counts=True)
    (batch,) = stream_tiles(section.image, section.centers_px, [224], out_px=224, batch_size=section.n_spots)
    with h5py.File(patches) as file:
        names = [name.decode() for name in file["barcode"][:, 0]]
        stored = dict(zip(names, file["img"][:], strict=True))
    middle = slice(70, 154)
    for spot, tile in zip(batch.spots, batch.pixels, strict=True):
        name = sdata.tables["table"].obs_names[spot]
        np.testing.assert_array_equal(tile[middle, middle], stored[name][middle, middle])
    assert image_source(sdata, placed.image).read_chunk(0, 0).shape[2] == 3


def test_patches_stand_in_for_a_slide(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "wsis" / "A.tif").unlink()
    with caplog.at_level(logging.WARNING):
        sdata = stp.io.hest(folder, "A")
    assert "there is no slide: the image is made of the 42 patches of A.h5, each 112 um wide. They cover" in caplog.text
    assert sdata.attrs["st_predict"]["um_per_px"] == {"A_image": pytest.approx(0.5)}
    assert_patches_are_the_tiles(sdata, folder / "patches" / "A.h5")
    section, _ = read_section(sdata, Elements(), need_counts=True)
    whole, _ = read_section(stp.io.hest(folder, "B"), Elements(), need_counts=True)
    np.testing.assert_allclose(section.centers_px / 8, whole.centers_px)
    far = section.image.read_chunk(0, 0)[:10, :10]
    assert (far == 255).all(), "what no patch shows is white"


def test_an_image_of_patches_goes_to_other_processes(folder: Path) -> None:
    (folder / "wsis" / "A.tif").unlink()
    source = image_source(stp.io.hest(folder, "A"), "A_image")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).read_chunk(0, 0), source.read_chunk(0, 0))


def test_spots_without_a_patch_are_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "wsis" / "A.tif").unlink()
    path = folder / "patches" / "A.h5"
    with h5py.File(path) as file:
        order = np.random.default_rng(0).permutation(len(file["img"]))[:30]
        kept = {name: file[name][:][order] for name in file}
    kept["barcode"][0] = b"nobody"
    path.unlink()
    with h5py.File(path, "w") as file:
        for name, values in kept.items():
            file[name] = values  # without the attribute that tells the side
    with caplog.at_level(logging.INFO):
        sdata = stp.io.hest(folder, "A")
    assert "29 spots have a patch; left out: 13 spots without one, 1 patches without a spot" in caplog.text
    assert_patches_are_the_tiles(sdata, path)
    assert sdata.attrs["st_predict"]["um_per_px"]["A_image"] == pytest.approx(0.5)


def test_a_task_of_the_benchmark(benchmark: Path) -> None:
    table = stp.io.hest(benchmark)
    assert table["fold"].tolist() == [1, 0] and table["slide"].tolist() == [False, False]
    assert table["spots"].tolist() == [42, 42] and table.attrs["genes"] == ["g0", "g3"]
    path = benchmark / "patches" / "A.h5"
    with h5py.File(path, "a") as file:  # centers as y, x, and the side on the slide under another name
        side = int(file["img"].attrs.pop("patch_size_src"))
        file["coords"][:] = (file["coords"][:] + side // 2)[:, ::-1]
        file["img"].attrs["patch_size"] = side
    sdata = stp.io.hest(benchmark, "A")
    assert sdata.attrs["st_predict"]["um_per_px"] == {"A_image": pytest.approx(0.5)}
    assert_patches_are_the_tiles(sdata, path)


def test_the_folder_of_all_tasks_names_them(benchmark: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("bench")
    (root / "IDC").symlink_to(benchmark)
    with pytest.raises(InputError, match="holds several folders of samples: IDC"):
        stp.io.hest(root)
    with pytest.raises(InputError, match="there are no samples in"):
        stp.io.hest(benchmark / "splits")
    with pytest.raises(InputError, match="no such folder"):
        stp.io.hest(root / "nothing")


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        (["st/A.h5ad"], r"sample 'A' lacks st/A.h5ad \(counts\)"),
        (["wsis/A.tif", "patches/A.h5"], r"sample 'A' lacks wsis/A.tif \(slide\) or patches/A.h5"),
        (["metadata/A.json"], "sample 'A' has no pixel_size_um_estimated, and no metadata at all"),
    ],
)
def test_half_a_sample_is_refused(folder: Path, gone: list[str], says: str) -> None:
    for name in gone:
        (folder / name).unlink()
    with pytest.raises(InputError, match=says):
        stp.io.hest(folder, "A")


@pytest.mark.parametrize("name", ["st/A.h5ad", "wsis/A.tif", "metadata/A.json"])
@pytest.mark.parametrize("kind", ["cut", "empty", "pointer"])
def test_files_half_downloaded_are_refused(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "pointer": pointer}[kind])
    with pytest.raises(InputError) as caught:
        stp.io.hest(folder, "A")
    says = {"cut": "cannot be read|truncated or corrupt", "empty": "is empty", "pointer": "pointer of Git LFS"}[kind]
    assert caught.match(says)


def test_unknown_samples_are_refused_with_near_names(written: Path) -> None:
    with pytest.raises(InputError, match="there is no sample 'AA' among the 2") as caught:
        stp.io.hest(written, "AA")
    assert caught.value.expected == "a name such as A"


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (..., "sample 'A' has no pixel_size_um_estimated$"),
        (float("nan"), "sample 'A' has no pixel_size_um_estimated$"),
        (0.0, "pixel_size_um_estimated is 0.0"),
        ("?", "pixel_size_um_estimated is '?'"),
        (400.0, "is 400 um per pixel"),
    ],
)
def test_a_scale_that_is_none_is_refused(folder: Path, stated: object, says: str) -> None:
    change(folder / "metadata" / "A.json", pixel_size_um_estimated=stated)
    with pytest.raises(InputError) as caught:
        stp.io.hest(folder, "A")
    assert says.strip("$") in caught.value.what
    sdata = stp.io.hest(folder, "A", um_per_px=2.0)
    assert sdata.attrs["st_predict"]["um_per_px"] == {"A_image": 2.0}


def test_a_scale_that_the_spots_contradict_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(folder / "metadata" / "A.json", inter_spot_dist=200.0, fullres_px_width=77)
    with caplog.at_level(logging.WARNING):
        stp.io.hest(folder, "A")
    assert "spots of A lie 200 um apart; at 4 um a pixel they lie 96 um apart" in caplog.text
    assert "A.tif has 198 x 164 px, but its metadata say 77 x 164" in caplog.text


def test_counts_and_places_are_checked(folder: Path) -> None:
    path = folder / "st" / "A.h5ad"
    whole = read_h5ad(path)

    def rewritten(**changes: Any) -> None:
        adata = AnnData(whole.X, obs=whole.obs, var=whole.var, obsm={"spatial": whole.obsm["spatial"]})
        for name, value in changes.items():
            setattr(adata, name, value)
        adata.write_h5ad(path)

    rewritten(X=whole.X / 3)
    with pytest.raises(InputError, match="counts are not whole numbers"):
        stp.io.hest(folder, "A")
    rewritten(obsm={"spatial": whole.obsm["spatial"] * 9})
    with pytest.raises(InputError, match="spots lie off the image"):
        stp.io.hest(folder, "A")
    rewritten(obsm={})
    with pytest.raises(InputError, match=r"obsm\['spatial'\] is missing"):
        stp.io.hest(folder, "A")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda file: file.__delitem__("barcode"), "images or barcodes are missing"),
        (lambda file: file["barcode"].__setitem__(slice(None), b"x"), "barcodes more than once"),
        (lambda file: file["barcode"].__setitem__(slice(None), np.arange(42).astype("S")[:, None]), "no spot has a"),
    ],
)
def test_patches_that_are_of_no_spot_are_refused(folder: Path, spoil: Callable[[Any], None], says: str) -> None:
    (folder / "wsis" / "A.tif").unlink()
    with h5py.File(folder / "patches" / "A.h5", "a") as file:
        spoil(file)
    with pytest.raises(InputError, match=says):
        stp.io.hest(folder, "A")


@pytest.mark.filterwarnings("ignore:Observation names are not unique:UserWarning")  # of AnnData
def test_spots_of_one_name_are_refused(folder: Path) -> None:
    path = folder / "st" / "A.h5ad"
    adata = read_h5ad(path)
    adata.obs_names = ["a"] * adata.n_obs
    adata.write_h5ad(path)
    with pytest.raises(InputError, match="1 spot ids occur twice, for example 'a'"):
        stp.io.hest(folder, "A")


def reversed_rows(values: np.ndarray) -> np.ndarray:
    return values[::-1]


@pytest.mark.parametrize("stated", [True, False], ids=["side stated", "side not stated"])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("barcode", reversed_rows),
        ("coords", reversed_rows),
        ("coords", lambda places: places[:, ::-1]),  # corners as y, x, which no version gives
        ("coords", lambda places: places * 1000),
        ("coords", lambda places: places * np.nan),
        ("coords", lambda places: -places),
        ("coords", lambda places: places + 10**9),
        ("coords", lambda places: np.repeat(places[:1], len(places), axis=0)),
        ("coords", lambda places: np.where(np.arange(len(places))[:, None] == 7, places + 20, places)),
    ],
    ids=["barcodes", "coords", "y x", "scaled", "nan", "negative", "off", "same", "one"],
)
def test_patches_that_were_not_cut_at_their_spots_are_refused(
    folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray], stated: bool
) -> None:
    (folder / "wsis" / "A.tif").unlink()
    with h5py.File(folder / "patches" / "A.h5", "a") as file:
        values = file[name][:]
        del file[name]
        file[name] = change(values)
        if not stated:
            del file["img"].attrs["patch_size_src"]
    with pytest.raises(InputError, match="patches of A.h5 were not cut at their spots: that of "):
        stp.io.hest(folder, "A")


@pytest.mark.parametrize(
    "coords", [np.zeros((41, 2)), np.zeros((42, 3)), np.full((42, 2), b"x")], ids=["short", "wide", "text"]
)
def test_coords_that_are_no_places_are_refused(folder: Path, coords: np.ndarray) -> None:
    (folder / "wsis" / "A.tif").unlink()
    with h5py.File(folder / "patches" / "A.h5", "a") as file:
        del file["coords"]
        file["coords"] = coords
    with pytest.raises(InputError, match=r"A.h5 has 42 images, and coords of shape \(4"):
        stp.io.hest(folder, "A")


def test_a_side_that_no_patch_has_is_refused(folder: Path) -> None:
    (folder / "wsis" / "A.tif").unlink()
    with h5py.File(folder / "patches" / "A.h5", "a") as file:
        del file["img"].attrs["patch_size_src"]
        file["coords"][:] = file["coords"][:] - 10**6  # all up and left of their spots by one distance
    with pytest.raises(InputError, match="the scale of the patches, by .* um per pixel"):
        stp.io.hest(folder, "A")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A section of a Visium array at 0.75 um a pixel; not to be changed."""
    folder = tmp_path_factory.mktemp("drawn")
    stp.datasets.write_hest(stp.datasets.synthetic_tissue(n_sections=1, n_genes=20, size_um=800), folder)
    return folder


@pytest.fixture
def visium(drawn: Path, tmp_path: Path) -> Path:
    """The same without the distance that the metadata state, to be changed."""
    shutil.copytree(drawn, tmp_path / "hest")
    change(tmp_path / "hest" / "metadata" / "S1.json", inter_spot_dist=...)
    return tmp_path / "hest"


def test_the_distance_of_spots_is_written(drawn: Path) -> None:
    assert json.loads((drawn / "metadata" / "S1.json").read_text())["inter_spot_dist"] == pytest.approx(100, abs=0.5)


def test_a_scale_that_the_array_contradicts_is_said(visium: Path, caplog: pytest.LogCaptureFixture) -> None:
    stp.io.hest(visium, "S1")
    assert not caplog.text
    change(visium / "metadata" / "S1.json", pixel_size_um_estimated=5.0)
    stp.io.hest(visium, "S1")
    assert "spots of S1 lie 100 um apart; at 5 um a pixel they lie 666.7 um apart" in caplog.text


@pytest.mark.parametrize("stated", [True, False], ids=["distance stated", "distance not stated"])
@pytest.mark.parametrize(
    ("moved", "says"),
    [
        (lambda places: places / 2, "at 0.75 um a pixel they lie 50 um apart"),
        (lambda places: places[:, ::-1], "x and y of the spots look exchanged"),
        (lambda places: places[::-1], "spots of S1 do not lie on the image as on the array"),
    ],
    ids=["halved", "exchanged", "reversed"],
)
def test_places_that_the_array_contradicts_are_said(
    visium: Path, caplog: pytest.LogCaptureFixture, moved: Callable[[np.ndarray], np.ndarray], says: str, stated: bool
) -> None:
    if stated:
        change(visium / "metadata" / "S1.json", inter_spot_dist=100.0)
    path = visium / "st" / "S1.h5ad"
    adata = read_h5ad(path)
    adata.obsm["spatial"] = moved(np.asarray(adata.obsm["spatial"]))
    adata.write_h5ad(path)
    stp.io.hest(visium, "S1")
    assert says in caplog.text and len(caplog.records) == 1


@pytest.mark.parametrize("stated", ["0.75", True, [0.75]])
def test_a_scale_is_a_number(folder: Path, stated: object) -> None:
    change(folder / "metadata" / "A.json", pixel_size_um_estimated=stated)
    with pytest.raises(InputError, match="pixel_size_um_estimated is "):
        stp.io.hest(folder, "A")


@pytest.mark.parametrize("patient", [["a"], {"a": 1}, True])
def test_a_patient_is_a_name_or_a_number(folder: Path, patient: object) -> None:
    change(folder / "metadata" / "A.json", patient=patient)
    with pytest.raises(InputError, match="patient is "):
        stp.io.hest(folder, "A")
    change(folder / "metadata" / "A.json", patient=5)
    assert set(stp.io.hest(folder, "A").tables["table"].obs["subject"]) == {"5"}


def test_pyramids_stay_on_disk(folder: Path) -> None:
    path = folder / "wsis" / "A.tif"
    pixels = np.zeros((1100, 1300, 3), np.uint8)
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, photometric="rgb", tile=(256, 256), subifds=1)
        file.write(pixels[::2, ::2], photometric="rgb", tile=(256, 256), subfiletype=1)
    image = stp.io.hest(folder, "A").images["A_image"]
    assert [image[level]["image"].shape for level in image.children] == [(3, 1100, 1300), (3, 550, 650)]


@pytest.mark.parametrize("spots", [float("inf"), 1e30, pytest.param(10**400, id="long"), -5, 0, "12"])
def test_a_number_of_spots_that_cannot_be_is_counted(folder: Path, spots: object) -> None:
    change(folder / "metadata" / "A.json", spots_under_tissue=spots)
    assert stp.io.hest(folder)["spots"].tolist() == [42, 42]


@pytest.mark.parametrize("stated", [pytest.param(10**400, id="long"), float("inf"), -1.0])
def test_a_scale_that_cannot_be_is_not_listed_and_not_read(folder: Path, stated: float) -> None:
    change(folder / "metadata" / "A.json", pixel_size_um_estimated=stated)
    table = stp.io.hest(folder)
    assert pd.isna(table.loc["A", "um_per_px"]) and table.loc["B", "um_per_px"] == UM_PER_PX
    with pytest.raises(InputError, match=f"^pixel_size_um_estimated is {stated}"):
        stp.io.hest(folder, "A")


def test_metadata_with_a_byte_order_mark_are_read_and_those_nested_without_end_refused(folder: Path) -> None:
    path = folder / "metadata" / "A.json"
    expected = stp.io.hest(folder)
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    pd.testing.assert_frame_equal(stp.io.hest(folder), expected)
    path.write_text("[" * 100_000)
    for sample in (None, "A"):
        with pytest.raises(
            InputError, match=r"^A\.json cannot be read \(lists or objects lie too deep within one another\)"
        ):
            stp.io.hest(folder, sample)
