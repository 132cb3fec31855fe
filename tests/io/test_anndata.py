"""AnnData of scanpy and squidpy: the right rows, counts, pixels and scale come in, and what would be wrong is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from PIL import Image
from scipy.sparse import csr_matrix

import st_predict as stp
from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.read import read_section
from st_predict.core.errors import InputError

HEIGHT, WIDTH, FACTOR = 60, 90, 0.2  # of the hires image; the slide is five times as large
N_SPOTS, N_GENES = 12, 5
COUNTS = np.arange(N_SPOTS * N_GENES).reshape(N_SPOTS, N_GENES) % 7


def hires_pixels() -> np.ndarray:
    """Red grows to the right, green downward."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, WIDTH).astype(np.uint8)
    pixels[..., 1] = np.linspace(0, 255, HEIGHT).astype(np.uint8)[:, None]
    return pixels


def centers() -> np.ndarray:
    """x, y in px of the slide of 450 x 300 px, no two at one place."""
    index = np.arange(N_SPOTS)
    return np.column_stack([40.0 + 100 * (index % 4), 30.0 + 90 * (index // 4)])


def library(pixels: Any = None, **factors: float) -> dict[str, Any]:
    known = {"tissue_hires_scalef": FACTOR, "tissue_lowres_scalef": FACTOR / 2, "spot_diameter_fullres": 50.0}
    small = np.asarray(Image.fromarray(hires_pixels()).resize((WIDTH // 2, HEIGHT // 2)))
    return {
        "images": {"hires": hires_pixels() if pixels is None else pixels, "lowres": small},
        "scalefactors": known | factors,
    }


def legacy(**libraries: Any) -> AnnData:
    obs = pd.DataFrame(index=[f"spot{i}" for i in range(N_SPOTS)])
    adata = AnnData(csr_matrix(COUNTS.astype(np.float32)), obs=obs, var=pd.DataFrame(index=list("ABCDE")))
    adata.obsm["spatial"] = centers()
    adata.uns["spatial"] = libraries or {"L1": library()}
    return adata


def only_image(sdata: Any) -> np.ndarray:
    ((_, element),) = sdata.images.items()
    return np.moveaxis(element.to_numpy(), 0, -1)


def test_spots_lie_on_the_pixels_they_belong_to() -> None:
    adata = legacy()
    sdata = stp.io.anndata(adata, subject="P1")
    section, placed = read_section(sdata, Elements(), need_counts=True)
    assert (placed.image, placed.shapes, section.name, section.subject) == ("L1_image", "L1", "L1", "P1")
    np.testing.assert_array_equal(only_image(sdata), hires_pixels())
    np.testing.assert_allclose(section.centers_px, centers() * FACTOR)
    np.testing.assert_allclose(sdata.tables["table"].obsm["spatial"], centers())
    np.testing.assert_array_equal(section.counts.toarray(), COUNTS)
    assert (sdata.shapes["L1"].radius == 25).all()
    assert "spatial" in adata.uns and "region" not in adata.obs, "the AnnData given is changed"


@pytest.mark.parametrize(
    "made",
    [
        lambda pixels: pixels.astype(np.float32) / 255,
        lambda pixels: pixels.astype(np.float64),
        lambda pixels: pixels.astype(np.uint16),
        lambda pixels: np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]),
        lambda pixels: np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]) / 255.0,
    ],
    ids=["0..1", "0..255", "uint16", "RGBA", "RGBA 0..1"],
)
def test_images_however_stored_are_the_same(made: Callable[[np.ndarray], np.ndarray]) -> None:
    sdata = stp.io.anndata(legacy(L1=library(made(hires_pixels()))))
    np.testing.assert_array_equal(only_image(sdata), hires_pixels())


def test_transparent_is_white() -> None:
    clear = np.dstack([hires_pixels(), np.zeros((HEIGHT, WIDTH), np.uint8)])
    assert (only_image(stp.io.anndata(legacy(L1=library(clear)))) == 255).all()


def test_the_lowres_image_serves_where_there_is_no_other() -> None:
    entry = library()
    del entry["images"]["hires"]
    sdata = stp.io.anndata(legacy(L1=entry))
    section, _ = read_section(sdata, Elements(), need_counts=False)
    np.testing.assert_allclose(section.centers_px, centers() * FACTOR / 2)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (hires_pixels()[..., 0], "the image is of shape (60, 90) and type uint8"),
        (hires_pixels().astype(np.float32) - 300, "pixels are between -300 and -45"),
        (hires_pixels().astype(np.uint16) * 257, "pixels are between 0 and 65535"),
        (np.full((HEIGHT, WIDTH, 3), np.nan), "pixels are between nan and nan"),
    ],
)
def test_what_is_no_rgb_image_is_refused(pixels: np.ndarray, says: str) -> None:
    with pytest.raises(InputError) as caught:
        stp.io.anndata(legacy(L1=library(pixels)))
    assert says in str(caught.value) and "['images']['hires']" in caught.value.where


def test_one_of_several_libraries_by_its_rows() -> None:
    adata = legacy(L1=library(), L2=library(255 - hires_pixels()))
    adata.obs["slide"] = ["L1", "L2"] * (N_SPOTS // 2)
    with pytest.raises(InputError, match=r"there are 2 libraries: L1, L2") as caught:
        stp.io.anndata(adata)
    assert "library='L1'" in caught.value.remedy
    sdata = stp.io.anndata(adata, library="L2", section="second")
    np.testing.assert_array_equal(only_image(sdata), 255 - hires_pixels())
    assert list(sdata.tables["table"].obs_names) == [f"spot{i}" for i in range(1, N_SPOTS, 2)]
    np.testing.assert_array_equal(sdata.tables["table"].X.toarray(), COUNTS[1::2])
    assert list(sdata.shapes) == ["second"]


def test_rows_of_one_library_say_which_is_meant() -> None:
    adata = legacy(L1=library(), L2=library(255 - hires_pixels()))
    adata.obs["library_id"] = ["L1", "L2"] * (N_SPOTS // 2)
    with pytest.raises(InputError, match="there are 2 libraries: L1, L2"):
        stp.io.anndata(adata)
    sdata = stp.io.anndata(adata[adata.obs["library_id"] == "L2"])
    np.testing.assert_array_equal(only_image(sdata), 255 - hires_pixels())
    assert sdata.tables["table"].n_obs == N_SPOTS // 2


def test_libraries_without_rows_and_unknown_ones_are_refused() -> None:
    adata = legacy(L1=library(), L2=library())
    with pytest.raises(InputError, match="no column says which spots are of library 'L2'"):
        stp.io.anndata(adata, library="L2")
    with pytest.raises(InputError, match="there is no library 'L3'") as caught:
        stp.io.anndata(adata, library="L3")
    assert caught.value.expected == "one of L1, L2"


@pytest.mark.parametrize("place", ["counts", "raw"])
def test_counts_elsewhere_are_named_and_not_taken_silently(place: str) -> None:
    adata = legacy()
    if place == "raw":
        adata.raw = adata.copy()
    else:
        adata.layers["counts"] = adata.X.copy()
        adata.layers["scaled"] = adata.X / 3
    adata.X = np.log1p(adata.X.toarray())
    with pytest.raises(InputError, match="counts are not whole numbers") as caught:
        stp.io.anndata(adata)
    assert caught.value.remedy == f"there are raw counts elsewhere: give layer={place!r}"
    table = stp.io.anndata(adata, layer=place).tables["table"]
    np.testing.assert_array_equal(table.X.toarray(), COUNTS)
    assert table.X.dtype == np.float32


def test_genes_of_raw_come_with_it() -> None:
    adata = legacy()
    adata.raw = adata.copy()
    table = stp.io.anndata(adata[:, ["B", "D"]].copy(), layer="raw").tables["table"]
    assert list(table.var_names) == list("ABCDE")


def test_without_any_counts() -> None:
    adata = legacy()
    adata.X = adata.X / 2
    with pytest.raises(InputError, match="counts are not whole numbers"):
        stp.io.anndata(adata)
    with pytest.raises(InputError, match="there is no layer 'counts'"):
        stp.io.anndata(adata, layer="counts")
    with pytest.raises(InputError, match="^there are no counts: X is empty\n"):
        stp.io.anndata(adata[:, :0].copy())
    del adata.X
    with pytest.raises(InputError, match="^there are no counts: X is empty\n"):
        stp.io.anndata(adata)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.filterwarnings(r"ignore:\s*AnnData expects:UserWarning")
def test_genes_without_a_name(several: bool) -> None:
    adata = legacy()
    names = pd.MultiIndex.from_arrays([list("ABCDE"), list("aaaaa")])
    adata.var_names = names if several else pd.Index([*"ABCD", np.nan], dtype=object)
    with pytest.raises(
        InputError, match="^[15] of 5 genes have no name, for example number [15]\n  where:    adata.var_names\n"
    ):
        stp.io.anndata(adata)


@pytest.mark.parametrize("column", ["section", "note"])
def test_columns_of_lists(column: str) -> None:
    adata = legacy()
    adata.obs[column] = pd.Series([["a"]] * N_SPOTS, index=adata.obs_names, dtype=object)
    with pytest.raises(InputError) as error:
        stp.io.anndata(adata)
    assert str(error.value).startswith(f"a value of obs['{column}'] is ['a'] (list)\n  where:    obs['{column}']\n")
    exec(error.value.remedy.split(": ", 1)[1].split(";")[0], {"obs": adata.obs})
    assert stp.io.anndata(adata).tables["table"].obs[column].iloc[0] == "['a']"


def test_spots_on_glass_are_left_out() -> None:
    adata = legacy()
    adata.obs["in_tissue"] = [1] * 10 + [0] * 2
    adata.obsm["spatial"][11] = (9000, 9000)  # nobody asks where those lie
    sdata = stp.io.anndata(adata)
    assert sdata.tables["table"].n_obs == len(sdata.shapes["L1"]) == 10


@pytest.mark.parametrize("dtype", [float, int])
def test_places_behind_a_mask_are_none(dtype: type) -> None:
    adata = legacy(L=library(hires_pixels()))
    places = np.ma.array(adata.obsm["spatial"].astype(dtype))
    places[3, 0] = np.ma.masked
    adata.obsm["spatial"] = places
    with pytest.raises(InputError, match="^1 of 12 spots have their position behind a mask") as error:
        stp.io.anndata(adata)
    kept = eval(error.value.remedy.split(": ", 1)[1], {"adata": adata, "np": np}).copy()
    assert stp.io.anndata(kept).tables["table"].n_obs == 11, "what the remedy says helps"


@pytest.mark.parametrize("names", [("y", "x"), ("pxl_row_in_fullres", "pxl_col_in_fullres"), ("x", "y"), (1, 0)])
def test_places_in_a_frame_go_by_their_names(names: tuple[Any, Any]) -> None:
    adata = legacy(L=library(hires_pixels()))
    expected = np.asarray(adata.obsm["spatial"])
    order = [0, 1] if names in (("x", "y"), (1, 0)) else [1, 0]
    adata.obsm["spatial"] = pd.DataFrame(expected[:, order], index=adata.obs_names, columns=list(names))
    assert np.array_equal(stp.io.anndata(adata).tables["table"].obsm["spatial"], expected)


@pytest.mark.parametrize(
    ("made", "held"),
    [
        (csr_matrix, "a csr_matrix of shape (12, 2) and type float64"),
        (lambda xy: xy.astype(str), "a ndarray of shape (12, 2) and type <U32"),
        (lambda xy: np.c_[xy, xy], "a ndarray of shape (12, 4) and type float64"),
        (lambda xy: xy.astype(object), "a ndarray of shape (12, 2) and type object"),
    ],
)
def test_places_that_are_no_numbers_are_refused(made: Callable[[Any], Any], held: str) -> None:
    adata = legacy(L=library(hires_pixels()))
    adata.obsm["spatial"] = made(adata.obsm["spatial"])
    with pytest.raises(InputError) as error:
        stp.io.anndata(adata)
    assert error.value.what == f"obsm['spatial'] is {held}"


def test_spots_off_the_image_and_without_places_are_refused() -> None:
    adata = legacy()
    adata.obsm["spatial"] = centers() * 20
    with pytest.raises(InputError, match="spots lie off the image.*450 x 300 px"):
        stp.io.anndata(adata)
    adata.obsm["spatial"] = np.where(np.arange(N_SPOTS)[:, None] == 3, np.nan, centers())
    with pytest.raises(InputError, match="1 of 12 spots have no position"):
        stp.io.anndata(adata)
    adata.obsm["spatial"] = np.zeros((N_SPOTS, 2))
    with pytest.raises(InputError, match=r"^most spots lie on top of one another \(12 of 12\)\n"):
        stp.io.anndata(adata)
    del adata.obsm["spatial"]
    with pytest.raises(InputError, match=r"obsm\['spatial'\] is missing"):
        stp.io.anndata(adata)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda uns: uns.clear(), "the AnnData has no image"),
        (lambda uns: uns["spatial"]["L1"]["images"].clear(), "library 'L1' has no image"),
        (lambda uns: uns["spatial"]["L1"]["scalefactors"].clear(), "images without a scale factor: hires, lowres"),
    ],
)
def test_without_an_image_or_its_place(change: Callable[[Any], None], says: str) -> None:
    adata = legacy()
    change(adata.uns)
    with pytest.raises(InputError, match=says) as caught:
        stp.io.anndata(adata)
    assert "image='slide.tif'" in caught.value.remedy


def test_a_slide_by_its_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    full = np.asarray(Image.fromarray(hires_pixels()).resize((450, 300)))
    Image.fromarray(full).save(tmp_path / "slide.png")
    with caplog.at_level(logging.WARNING):
        sdata = stp.io.anndata(legacy(), image=tmp_path / "slide.png", um_per_px=0.5)
    np.testing.assert_array_equal(only_image(sdata), full)
    assert sdata.attrs["st_predict"]["um_per_px"] == {"L1_image": 0.5}
    assert "to show nuclei" not in caplog.text
    Image.fromarray(full).resize((90, 60)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match=r"image 'hires' of the AnnData was made from one of about 450 x 300 px"):
        stp.io.anndata(legacy(), image=tmp_path / "small.png")
    with pytest.raises(InputError, match="no such file"):
        stp.io.anndata(legacy(), image=tmp_path / "nothing.tif")


def test_a_slide_beside_an_anndata_without_libraries(tmp_path: Path) -> None:
    Image.fromarray(hires_pixels()).resize((450, 300)).save(tmp_path / "slide.png")
    adata = legacy()
    del adata.uns["spatial"]
    adata.obs["library_id"] = ["a"] * 6 + ["b"] * 6
    with pytest.raises(InputError, match="there are 2 libraries: a, b"):
        stp.io.anndata(adata, image=tmp_path / "slide.png")
    sdata = stp.io.anndata(adata, image=tmp_path / "slide.png", library="b")
    assert list(sdata.tables["table"].obs_names) == [f"spot{i}" for i in range(6, 12)]


def test_a_coarse_image_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sdata = stp.io.anndata(legacy(), um_per_px=0.5)
    assert "image 'hires' has 90 x 60 px, 2.5 um a pixel: it is too coarse to show nuclei" in caplog.text
    assert sdata.attrs["st_predict"]["um_per_px"] == {"L1_image": 2.5}


def hexagons(pitch_px: float) -> tuple[pd.DataFrame, np.ndarray]:
    row, col = np.divmod(np.arange(N_SPOTS), 4)
    array = pd.DataFrame({"array_row": row, "array_col": 2 * col + row % 2}, index=[f"spot{i}" for i in range(N_SPOTS)])
    places = array[["array_col", "array_row"]].to_numpy() * [pitch_px / 2, pitch_px * np.sqrt(3) / 2]
    return array, places + 20


def test_the_scale_follows_from_the_array() -> None:
    adata = legacy()
    array, adata.obsm["spatial"] = hexagons(pitch_px=80)
    adata.obs[list(array)] = array
    scale = stp.io.anndata(adata).attrs["st_predict"]["um_per_px"]["L1_image"]
    assert scale == pytest.approx(100 / 80 / FACTOR)


@pytest.mark.parametrize(
    ("chemistry", "diameter", "known"),
    [
        ("Visium V1", 55 / 1.25, True),
        ("Spatial 3' v1", 65 / 1.25, True),
        ("Visium V1", 30.0, False),
        ("Visium HD v1", 55 / 1.25, False),
        ("", 55 / 1.25, False),
    ],
)
def test_the_spot_diameter_tells_a_scale_of_known_technology_alone(
    chemistry: str, diameter: float, known: bool
) -> None:
    adata = legacy(L1=library(spot_diameter_fullres=diameter) | {"metadata": {"chemistry_description": chemistry}})
    _, adata.obsm["spatial"] = hexagons(pitch_px=80)
    found = stp.io.anndata(adata).attrs["st_predict"]["um_per_px"]
    assert found == ({"L1_image": pytest.approx(1.25 / FACTOR)} if known else {})


def test_a_stated_scale_is_taken_and_an_absurd_one_refused() -> None:
    sdata = stp.io.anndata(legacy(L1=library(microns_per_pixel=0.4)))
    assert sdata.attrs["st_predict"]["um_per_px"]["L1_image"] == pytest.approx(2.0)
    for arguments in ({"um_per_px": 400.0}, {}):
        with pytest.raises(InputError, match=r"is 400( um per pixel|\.0\n)"):
            stp.io.anndata(legacy(L1=library(microns_per_pixel=400.0)), **arguments)


@pytest.mark.parametrize("stated", ["0.4", True, 0.0, [0.4]])
def test_a_stated_scale_is_a_positive_number(stated: object) -> None:
    with pytest.raises(InputError, match="microns_per_pixel is "):
        stp.io.anndata(legacy(L1=library(microns_per_pixel=stated)))
    unknown = stp.io.anndata(legacy(L1=library(microns_per_pixel=float("nan"))))
    assert not unknown.attrs["st_predict"]["um_per_px"]
    sdata = stp.io.anndata(legacy(L1=library(microns_per_pixel=np.array([0.4]))))
    assert sdata.attrs["st_predict"]["um_per_px"]["L1_image"] == pytest.approx(2.0)


@pytest.mark.parametrize("given", [True, False])
def test_a_scale_that_the_array_contradicts_is_said(given: bool, caplog: pytest.LogCaptureFixture) -> None:
    adata = legacy(L1=library(**({} if given else {"microns_per_pixel": 2.5})))
    array, adata.obsm["spatial"] = hexagons(pitch_px=80)
    adata.obs[list(array)] = array
    stp.io.anndata(adata, um_per_px=2.5 if given else None)
    assert "spots of L1 lie 100 um apart; at 2.5 um a pixel they lie 200 um apart" in caplog.text
    caplog.clear()
    stp.io.anndata(adata, um_per_px=1.25)
    assert "apart" not in caplog.text
    adata.obsm["spatial"] = adata.obsm["spatial"][:, ::-1]
    stp.io.anndata(adata, um_per_px=1.25)
    assert caplog.text.count("x and y of the spots look exchanged") == 1


def test_columns_of_the_user_stay() -> None:
    adata = legacy()
    adata.obs["region"] = ["tumor"] * N_SPOTS
    adata.obs["subject"] = ["P7"] * N_SPOTS
    adata.obsm["X_pca"] = np.ones((N_SPOTS, 2))
    sdata = stp.io.anndata(adata)
    table = sdata.tables["table"]
    assert (table.obs["region"] == "tumor").all() and "X_pca" in table.obsm
    assert read_section(sdata, Elements(), need_counts=True)[0].subject == "P7"


def test_files_come_in_as_objects_do(tmp_path: Path) -> None:
    legacy(**{"my slide (2)": library()}).write_h5ad(tmp_path / "a.h5ad")
    sdata = stp.io.anndata(tmp_path / "a.h5ad")
    assert list(sdata.images) == ["my_slide_2_image"]
    np.testing.assert_array_equal(only_image(sdata), hires_pixels())
    backed = stp.io.anndata(read_h5ad(tmp_path / "a.h5ad", backed="r"))
    np.testing.assert_array_equal(backed.tables["table"].X.toarray(), COUNTS)
    whole = (tmp_path / "a.h5ad").read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut.h5ad cannot be read"):
        stp.io.anndata(tmp_path / "cut.h5ad")
    with pytest.raises(InputError, match="no such file"):
        stp.io.anndata(tmp_path / "none.h5ad")
    with pytest.raises(InputError, match=r"^adata is \{\} \(dict\)"):
        stp.io.anndata({})


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore:Variable names are not unique:UserWarning", "ignore:The inplace keyword"
)  # of scanpy
def test_what_scanpy_reads_is_what_we_read(real_data: Path) -> None:
    import scanpy as sc

    adata = sc.read_visium(real_data / "visium", library_id="V")
    theirs, ours = stp.io.anndata(adata), stp.io.visium(real_data / "visium")
    table, expected = theirs.tables["table"][ours.tables["table"].obs_names], ours.tables["table"]
    assert (table.X != expected.X).nnz == 0 and theirs.tables["table"].n_obs == expected.n_obs
    np.testing.assert_allclose(table.obsm["spatial"], expected.obsm["spatial"])
    np.testing.assert_array_equal(theirs.images["V_image"].to_numpy(), ours.images["visium_hires_image"].to_numpy())
    known = ours.attrs["st_predict"]["um_per_px"]["visium_hires_image"]
    assert theirs.attrs["st_predict"]["um_per_px"]["V_image"] == pytest.approx(known, rel=1e-4)


def test_exchanged_axes_of_a_square_image_are_said(caplog: pytest.LogCaptureFixture) -> None:
    row, col = np.array([(r, c) for r in range(4) for c in range(r % 2, 6, 2)]).T
    adata = legacy()
    adata.obs["array_row"], adata.obs["array_col"] = row, col
    places = np.column_stack([col * 35.0, row * 35.0 * np.sqrt(3)]) + 30
    for exchanged in (False, True):
        adata.obsm["spatial"] = places[:, ::-1] if exchanged else places
        sdata = stp.io.anndata(adata)
        assert ("x and y of the spots look exchanged" in caplog.text) == exchanged
    sdata.attrs["st_predict"]["um_per_px"]["L1_image"] = 10.0  # told by the user, who may not know more
    caplog.clear()
    read_section(sdata, Elements(), need_counts=True)
    assert "x and y of the spots look exchanged" in caplog.text


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_rows_of_one_name() -> None:
    adata = legacy()
    adata.obs_names = ["x"] * N_SPOTS
    with pytest.raises(InputError, match=r"^1 spot ids occur twice, for example 'x'\n  where:    adata\.obs_names"):
        stp.io.anndata(adata)
    adata.obs_names_make_unique()  # as the remedy says
    assert stp.io.anndata(adata)["table"].n_obs == N_SPOTS


@pytest.mark.parametrize(
    ("place", "changed"), [("X", {"encoding-type": "foo"}), ("obs", {"encoding-version": "9.0.0"}), ("/", {"encoding-version": "9.0.0"})]
)  # fmt: skip
def test_a_file_of_a_newer_anndata_is_told_from_a_damaged_one(
    place: str, changed: dict[str, str], tmp_path: Path
) -> None:
    legacy(own=library()).write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        file[place].attrs.update(changed)
    with pytest.raises(InputError) as error:
        stp.io.anndata(tmp_path / "a.h5ad")
    assert error.value.what.startswith(
        f"a.h5ad holds what anndata {version('anndata')} cannot read: No read method registered"
    )
    assert error.value.remedy.startswith("install a newer anndata")
