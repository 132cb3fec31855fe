"""Images as chunks: the same pixels however they are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
import spatialdata
from spatialdata import SpatialData
from spatialdata.models import Image2DModel

from st_predict._spatialdata.image import DaskSource, image_array, image_source, reduced_sources, say_what_is_lost
from st_predict._spatialdata.read import read_section
from st_predict.core.errors import InputError
from st_predict.core.tiles.cut import cut_section
from st_predict.core.tiles.geometry import TileSpec

Make = Callable[..., SpatialData]


def pixels_of(sdata: SpatialData, key: str) -> np.ndarray:
    source = image_source(sdata, key)
    rows = [
        np.concatenate([source.read_chunk(r, c) for c in range(len(source.col_edges) - 1)], axis=1)
        for r in range(len(source.row_edges) - 1)
    ]
    return np.concatenate(rows, axis=0)


@pytest.mark.parametrize("chunks", [None, 64, 50, (1, 40, 70), (3, 164, 31)])
def test_chunks_put_together_are_the_image(make_section: Make, chunks: object) -> None:
    sdata = make_section("A", chunks=chunks)
    found = pixels_of(sdata, "A_image")
    assert found.dtype == np.uint8 and found.shape == (164, 198, 3)
    assert np.array_equal(found, np.moveaxis(sdata.images["A_image"].to_numpy(), 0, -1))


@pytest.mark.parametrize("chunks", [None, 50, (1, 40, 70)])
def test_tiles_do_not_depend_on_how_the_image_is_stored(make_section: Make, chunks: object) -> None:
    def tiles(sdata: SpatialData) -> np.ndarray:
        section = read_section(sdata, need_counts=False)[0]
        cut = np.empty((section.n_spots, 2, 32, 32, 3), np.uint8)
        cut_section(section, TileSpec((100.0, 300.0)), cut)
        return cut

    plain = make_section("A")
    sdata = make_section("A", chunks=chunks)
    if chunks is None:
        image = sdata.images["A_image"]
        image.data = image.to_numpy()  # as in-place work on pixels leaves it
        assert isinstance(sdata.images["A_image"].data, np.ndarray)
    assert np.array_equal(tiles(sdata), tiles(plain))


def test_multiscale_image_is_its_full_resolution(make_section: Make) -> None:
    single, multi = make_section("A"), make_section("A", multiscale=True)
    assert "scale1" in multi.images["A_image"].children
    assert np.array_equal(pixels_of(multi, "A_image"), pixels_of(single, "A_image"))
    centers = [read_section(s, need_counts=False)[0].centers_px for s in (single, multi)]
    assert np.allclose(*centers)


def test_each_chunk_is_computed_once() -> None:
    """The graph of other chunks is not run, and a chunk's own is run once."""
    runs: list[tuple[int, int]] = []

    def block(block_info: dict | None = None) -> np.ndarray:
        place = block_info[None]["chunk-location"]
        runs.append(place[1:])
        return np.full((3, 10, 20), 10 * place[1] + place[2], np.uint8)

    lazy = da.map_blocks(
        block, chunks=((3,), (10, 10), (20, 20, 20)), dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    source = DaskSource(lazy)
    assert source.row_edges.tolist() == [0, 10, 20] and source.col_edges.tolist() == [0, 20, 40, 60]
    assert (source.read_chunk(1, 2) == 12).all() and source.read_chunk(1, 2).shape == (10, 20, 3)
    assert runs == [(1, 2), (1, 2)]


@pytest.mark.parametrize("chunks", [8, None])
@pytest.mark.parametrize("names", [["r", "g", "b", "a"], ["Red", "Green", "Blue", "Alpha"], ["0", "1", "2", "alpha"]])
def test_alpha_lies_over_white(chunks: int | None, names: list[str]) -> None:
    rgba = np.random.default_rng(0).integers(0, 255, (4, 20, 30), dtype=np.uint8)
    rgba[3, :10] = 0
    rgba[3, 15:] = 255
    given = {"chunks": chunks} if chunks else {}
    sdata = SpatialData(images={"A": Image2DModel.parse(rgba, dims=("c", "y", "x"), c_coords=names, **given)})
    if chunks is None:
        sdata.images["A"].data = sdata.images["A"].to_numpy()
    found = pixels_of(sdata, "A")
    assert (found[:10] == 255).all() and np.array_equal(found[15:], np.moveaxis(rgba[:3, 15:], 0, -1))
    share = rgba[3:, 10:15] / 255
    assert np.abs(found[10:15] - np.moveaxis(rgba[:3, 10:15] * share + 255 * (1 - share), 0, -1)).max() <= 0.51


def test_a_fourth_channel_of_another_name_is_no_alpha() -> None:
    four = np.random.default_rng(0).integers(0, 255, (4, 20, 30), dtype=np.uint8)
    image = Image2DModel.parse(four, dims=("c", "y", "x"), c_coords=["r", "g", "b", "nuclei"], chunks=8)
    assert np.array_equal(pixels_of(SpatialData(images={"A": image}), "A"), np.moveaxis(four[:3], 0, -1))


@pytest.mark.parametrize("chunks", [8, None])
@pytest.mark.parametrize("names", ["bgr", "grb", "argb", "bgra", "BGR", "aBgR"])
def test_channels_are_ordered_by_their_names(names: str, chunks: int | None) -> None:
    stored = np.random.default_rng(0).integers(0, 255, (len(names), 20, 30), dtype=np.uint8)
    by_name = dict(zip(names.lower(), stored, strict=True))
    if "a" in by_name:
        by_name["a"][:] = 255
        by_name["a"][:10] = 0
    given = {"chunks": chunks} if chunks else {}
    for scales in (None, [2]):
        image = Image2DModel.parse(stored, dims=("c", "y", "x"), c_coords=list(names), scale_factors=scales, **given)
        sdata = SpatialData(images={"A": image})
        found = pixels_of(sdata, "A")
        assert np.array_equal(found[10:], np.stack([by_name[c] for c in "rgb"], axis=-1)[10:])
        assert (found[:10] == 255).all() == ("a" in by_name)
        for source in reduced_sources(sdata, "A"):
            assert (source.read_chunk(0, 0)[:4] == 255).all() == ("a" in by_name)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["DAPI", "GFP", "RFP"], True),
        (["Hematoxylin", "Eosin", "Residual"], True),
        (["Red", "Green", "DAPI"], True),
        (["Channel 405", "Channel 488", "Channel 561"], True),
        (["b", "g", "r"], False),
        ([0, 1, 2], False),
        (["Channel 0", "channel_1", "ch:2"], False),
        (["C1", "C2", "C3"], False),
        (None, False),
    ],
)
def test_channels_named_as_no_colors_are_told(
    names: list[Any] | None, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    image = Image2DModel.parse(np.full((3, 20, 30), 90, np.uint8), dims=("c", "y", "x"), c_coords=names)
    say_what_is_lost(SpatialData(images={"A": image}), "A")
    said = f"the channels of image 'A' are named {', '.join(map(str, names or ()))}, which is not red, green and blue"
    assert (said in caplog.text) == told and bool(caplog.text) == told


@pytest.mark.parametrize("names", [None, ["CD3", "CD20", "PanCK", "DAPI"], ["CD3", "CD20", "DAPI", "a"]])
def test_four_channels_that_do_not_say_alpha_are_refused(names: list[str] | None) -> None:
    image = Image2DModel.parse(np.full((4, 20, 30), 90, np.uint8), dims=("c", "y", "x"), c_coords=names)
    listed = ", ".join(names or "0123")
    with pytest.raises(
        InputError, match=f"has 4 channels, {listed}, and nothing says that the fourth is alpha"
    ) as error:
        image_source(SpatialData(images={"A": image}), "A")
    assert "name the channels r, g, b, a if the fourth is alpha" in error.value.remedy


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((1, 20, 30), np.uint8), "has 1 channels of uint8"),
        (np.zeros((3, 20, 30), np.uint16), "has 3 channels of uint16"),
        (np.zeros((3, 20, 30), np.float32), "has 3 channels of float32"),
        (np.zeros((7, 20, 30), np.uint8), "has 7 channels of uint8"),
    ],
)
def test_images_that_are_no_he(array: np.ndarray, text: str) -> None:
    sdata = SpatialData(images={"A": Image2DModel.parse(array, dims=("c", "y", "x"))})
    with pytest.raises(InputError, match=text) as error:
        image_source(sdata, "A")
    assert "3 channels (RGB) of uint8" in error.value.expected


def test_axes_in_another_order(make_section: Make) -> None:
    sdata = make_section("A")
    expected = pixels_of(sdata, "A_image")
    other = Image2DModel.parse(expected, dims=("y", "x", "c"), c_coords=["r", "g", "b"])
    assert np.array_equal(pixels_of(SpatialData(images={"A": other}), "A"), expected)


@pytest.mark.parametrize(("dtype", "most"), [(np.uint16, 65535), (np.float32, 1)])
@pytest.mark.parametrize("multiscale", [False, True])
def test_an_image_is_scaled_to_8_bits_as_the_remedy_says(
    make_section: Any, dtype: Any, most: int, multiscale: bool
) -> None:
    sdata = make_section("A")
    expected = sdata.images["A_image"].data.compute()
    deep = (expected / 255 * most).astype(dtype)
    scales: dict[str, Any] = {"scale_factors": [2]} if multiscale else {}
    sdata.images["A_image"] = spatialdata.models.Image2DModel.parse(deep, dims=("c", "y", "x"), **scales)
    with pytest.raises(InputError, match=f"^image 'A_image' has 3 channels of {np.dtype(dtype)}") as error:
        image_source(sdata, "A_image")
    exec(error.value.remedy.split(": ", 1)[1], {"sdata": sdata, "spatialdata": spatialdata})
    found = image_array(sdata, "A_image")
    image_source(sdata, "A_image")
    assert np.abs(found.data.compute().astype(int) - expected).max() <= 1


def test_the_image_that_is_the_right_one_is_named(make_section: Any) -> None:
    sdata = make_section("A")
    sdata.images["dapi"] = spatialdata.models.Image2DModel.parse(np.zeros((5, 20, 30), np.uint16), dims=("c", "y", "x"))
    with pytest.raises(InputError, match="^image 'dapi' has 5 channels of uint16") as error:
        image_source(sdata, "dapi")
    assert error.value.remedy == "choose the H&E image: image_key='A_image'"
    del sdata.images["A_image"]
    with pytest.raises(InputError, match="^image 'dapi' has 5 channels") as error:
        image_source(sdata, "dapi")
    assert error.value.remedy.startswith("add the H&E image of this section")
