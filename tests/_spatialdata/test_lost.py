"""Chunks that a store of a section has lost: white as on a slide, counted, and said."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import spatialdata
from spatialdata import SpatialData
from spatialdata.models import Image2DModel

import st_predict as stp
from st_predict._spatialdata.image import image_source, reduced_sources, say_what_is_lost
from st_predict.core.errors import InputError
from st_predict.core.section import ImageSource

SIZE, CHUNK = 512, 128


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three levels of pale glass with a disk of tissue, no two px alike."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(225, 240, (3, SIZE, SIZE)).astype(np.uint8)
    rows, cols = np.mgrid[:SIZE, :SIZE]
    disk = (rows - SIZE / 2) ** 2 + (cols - SIZE / 2) ** 2 < (SIZE / 4) ** 2
    pixels[:, disk] = (np.array([190, 110, 170])[:, None] + rng.integers(-15, 15, (3, disk.sum()))).astype(np.uint8)
    image = Image2DModel.parse(
        pixels, dims=("c", "y", "x"), c_coords=["r", "g", "b"], scale_factors=[2, 2], chunks=(3, CHUNK, CHUNK)
    )
    SpatialData(images={"he": image}).write(tmp_path / "section.zarr")
    return tmp_path / "section.zarr"


def lose(store: Path, level: int, *blocks: tuple[int, int]) -> None:
    for row, col in blocks:
        (store / "images" / "he" / f"s{level}" / "c" / "0" / str(row) / str(col)).unlink()


def pixels_of(source: ImageSource) -> np.ndarray:
    """``(height, width, 3)``."""
    rows, cols = range(len(source.row_edges) - 1), range(len(source.col_edges) - 1)
    return np.concatenate([np.concatenate([source.read_chunk(r, c) for c in cols], axis=1) for r in rows])


def test_lost_chunks_are_white_and_said_as_on_a_slide(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = pixels_of(image_source(spatialdata.read_zarr(store), "he"))
    lose(store, 0, (0, 1), (3, 3))
    for level in (1, 2):
        lose(store, level, *[(r, c) for r in range(2 // level) for c in range(2 // level)])
    with caplog.at_level(logging.WARNING, logger="st_predict"):
        sdata = spatialdata.read_zarr(store)
        stp.pp.set_scale(sdata, um_per_px=4.0)
        stp.pp.find_tissue(sdata)
    assert "2 of 16 blocks of image 'he' (12 %) were never stored; they are read as white" in caplog.text
    assert "level scale1 (256 x 256 px) of image 'he' is not used: 4 of its 4 blocks" in caplog.text
    assert abs(sdata.shapes["tissue"].area.sum() / (np.pi * (SIZE / 4) ** 2) - 1) < 0.1
    read = pixels_of(image_source(sdata, "he"))
    lost = np.zeros((SIZE, SIZE), bool)
    lost[:CHUNK, CHUNK : 2 * CHUNK] = lost[3 * CHUNK :, 3 * CHUNK :] = True
    assert (read[lost] == 255).all()
    np.testing.assert_array_equal(read[~lost], whole[~lost])
    assert reduced_sources(sdata, "he") == []
    slide = stp.io.slide(store / "images" / "he")
    np.testing.assert_array_equal(pixels_of(image_source(slide, next(iter(slide.images)))), read)


def test_what_was_made_of_a_stored_image_is_white_there_too(store: Path) -> None:
    lose(store, 0, (0, 1))
    element = spatialdata.read_zarr(store).images["he"]["scale0"]["image"]
    part = element.data[:, 20:, 100:][[2, 1, 0], :, ::-1].rechunk((3, 90, 90))
    cut = SpatialData(images={"he": Image2DModel.parse(part, dims=("c", "y", "x"), c_coords=["r", "g", "b"])})
    expected = element.data.compute()
    expected[:, :CHUNK, CHUNK : 2 * CHUNK] = 255
    expected = expected[:, 20:, 100:][[2, 1, 0], :, ::-1].transpose(1, 2, 0)
    np.testing.assert_array_equal(pixels_of(image_source(cut, "he")), expected)


def test_whole_stores_are_read_as_they_are(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    sdata = spatialdata.read_zarr(store)
    say_what_is_lost(sdata, "he")
    assert caplog.text == "" and len(reduced_sources(sdata, "he")) == 2


def test_an_image_of_which_all_is_lost_is_refused(store: Path) -> None:
    lose(store, 0, *[(r, c) for r in range(4) for c in range(4)])
    with pytest.raises(
        InputError, match="a channel of image 'he' has no blocks: none was ever stored, or all were lost"
    ):
        say_what_is_lost(spatialdata.read_zarr(store), "he")


@pytest.mark.parametrize("removed", ["", "images/he"])
def test_a_store_that_is_removed_while_it_is_read_is_no_white_image(store: Path, removed: str) -> None:
    source = image_source(spatialdata.read_zarr(store), "he")
    source.read_chunk(0, 0)
    shutil.rmtree(store / removed)
    with pytest.raises(InputError, match=r"^.*images/he/.* was removed or replaced while it was read\n") as error:
        source.read_chunk(0, 1)
    assert error.value.remedy == "put it back, and run this again"
