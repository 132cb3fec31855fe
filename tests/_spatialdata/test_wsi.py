"""LazySlide's WSIData as it is: its pixels, scale, tissue and tiles, on a pyramid that its library opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import wsidata
from anndata import AnnData
from shapely import Polygon
from spatialdata import read_zarr
from spatialdata.models import ShapesModel

import st_predict as stp
from st_predict._spatialdata.image import image_array, image_source, reduced_sources
from st_predict._spatialdata.keys import Elements, Placed, find_image, place
from st_predict._spatialdata.scale import stored_scale
from st_predict.core.errors import InputError
from st_predict.core.model.model import Model

UM, HEIGHT, WIDTH = 2.0, 900, 1200
TILE_PX = 50


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A round piece of tissue on glass."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    stain = 0.5 + 0.25 * np.sin(x / 90) + 0.25 * np.cos(y / 70)
    tissue = np.stack([225 - 90 * stain, 150 - 80 * stain, 190 - 40 * stain], axis=-1)
    inside = ((x - 620) ** 2 / 1.4 + (y - 450) ** 2 < 340**2)[..., None]
    return np.clip(np.where(inside, tissue, 244), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def path(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pyramid of two levels with its scale."""
    found = tmp_path_factory.mktemp("wsi") / "slide.tif"
    half = pixels.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    tiled = {"tile": (128, 128), "compression": "zlib", "photometric": "rgb"}
    with tifffile.TiffWriter(found) as file:
        for number, level in enumerate((pixels, half)):
            scale = (1e4 / (UM * 2**number),) * 2
            file.write(level, subfiletype=number, resolution=scale, resolutionunit="CENTIMETER", **tiled)
    return found


@pytest.fixture
def wsi(path: Path, tmp_path: Path) -> wsidata.WSIData:
    return wsidata.open_wsi(path, store=str(tmp_path / "slide.zarr"))


def add_tiles(wsi: wsidata.WSIData, key: str = "tiles") -> np.ndarray:
    """Squares in two rows; their middles."""
    corners = np.array([(x, y) for y in (300, 500) for x in range(400, 800, TILE_PX)])
    spec = wsidata.TileSpec.from_wsidata(wsi, tile_px=TILE_PX)
    wsidata.io.add_tiles(wsi, key, corners, spec, np.zeros(len(corners), int))
    return corners + TILE_PX / 2


def test_the_slide_becomes_an_image_that_is_not_written(wsi: wsidata.WSIData, pixels: np.ndarray) -> None:
    assert not wsi.images
    assert find_image(wsi, None) == "wsi"
    np.testing.assert_array_equal(image_array(wsi, "wsi").data.compute().transpose(1, 2, 0), pixels)
    np.testing.assert_array_equal(image_source(wsi, "wsi").read_chunk(0, 0), pixels[:, :1024])
    assert [source.row_edges[-1] for source in reduced_sources(wsi, "wsi")] == [HEIGHT // 2]
    wsi.write()
    assert "wsi" not in read_zarr(wsi.wsi_store).images


def test_an_attached_slide_is_taken_and_not_its_thumbnail(path: Path) -> None:
    opened = wsidata.open_wsi(
        path, store=None, attach_images=True, image_key="mine", attach_thumbnail=True, thumbnail_size=200
    )
    assert set(opened.images) == {"mine", "wsi_thumbnail"}
    assert find_image(opened, None) == "mine"
    assert find_image(opened, "wsi_thumbnail") == "wsi_thumbnail", "what is asked for is taken"


def test_a_wsidata_of_a_spatialdata_reads_its_image(path: Path) -> None:
    sdata = stp.io.slide(path)
    assert find_image(wsidata.open_wsi(sdata, image_key="slide_image"), None) == "slide_image"


def test_scale_is_the_slides_or_what_was_set_last(wsi: wsidata.WSIData) -> None:
    image = find_image(wsi, None)
    assert stored_scale(wsi, image) == pytest.approx(UM)
    wsi.set_mpp(1.0)
    assert stored_scale(wsi, image) == 1.0
    stp.pp.set_scale(wsi, um_per_px=3.0)
    assert stored_scale(wsi, image) == 3.0


@pytest.mark.parametrize("mpp", [0.001, 500.0])
def test_a_scale_that_cannot_be_right(wsi: wsidata.WSIData, mpp: float, quick_model: Model) -> None:
    wsi.set_mpp(mpp)
    with pytest.raises(InputError, match="um"):
        stp.tl.predict(wsi, quick_model)


def test_an_unknown_scale_is_asked_for(wsi: wsidata.WSIData, quick_model: Model) -> None:
    wsi.set_mpp(None)
    with pytest.raises(InputError, match="scale"):
        stp.tl.predict(wsi, quick_model)


def test_tiles_are_spots_and_features_are_no_expression(wsi: wsidata.WSIData) -> None:
    middles = add_tiles(wsi)
    wsidata.io.add_tissues(wsi, "tissues", [Polygon([(300, 200), (900, 200), (900, 700), (300, 700)])])
    wsidata.io.add_features(wsi, "resnet_tiles", "tiles", np.zeros((len(middles), 4), np.float32))
    assert place(wsi, need_table=False) == Placed("wsi", "tiles", None)
    add_tiles(wsi, "fine")
    with pytest.raises(InputError, match="2 candidates") as error:
        place(wsi, need_table=False)
    assert "shapes_key" in str(error.value)


def test_tiles_laid_after_spots_are_asked_for(wsi: wsidata.WSIData) -> None:
    stp.pp.spot_grid(wsi)
    add_tiles(wsi)
    with pytest.raises(InputError, match="2 candidates for the shapes: spots, tiles"):
        place(wsi, need_table=False)
    assert place(wsi, Elements(shapes_key="tiles"), need_table=False).shapes == "tiles"


@pytest.mark.one_python
def test_prediction_on_tiles_is_that_on_spots_at_their_middles(
    wsi: wsidata.WSIData, path: Path, quick_model: Model, tmp_path: Path
) -> None:
    middles = add_tiles(wsi)
    stp.tl.predict(wsi, quick_model)
    bare = stp.io.slide(path)
    bare.shapes["spots"] = ShapesModel.parse(middles, geometry=0, radius=10.0)
    stp.tl.predict(bare, quick_model)
    table: AnnData = wsi.tables["predicted"]
    assert table.uns["spatialdata_attrs"]["region"] == "tiles" and table.uns["predicted"]["um_per_px"] == UM
    np.testing.assert_array_equal(table.X, bare.tables["predicted"].X)
    wsi.write()
    again = wsidata.open_wsi(path, store=str(wsi.wsi_store))
    np.testing.assert_array_equal(again.tables["predicted"].X, table.X)
    stp.tl.predict(again, quick_model)
    np.testing.assert_array_equal(again.tables["predicted"].X, table.X)


def test_spots_lie_on_its_tissue(wsi: wsidata.WSIData, quick_model: Model) -> None:
    outline = Polygon([(400, 300), (800, 300), (800, 600), (400, 600)])
    wsidata.io.add_tissues(wsi, "tissues", [outline])
    stp.tl.predict(wsi, quick_model)
    assert "tissue" not in wsi.shapes, "its own outlines are used"
    assert len(wsi.shapes["spots"]) > 20 and wsi.shapes["spots"].within(outline).all()


def test_tissue_is_found_where_there_is_none(wsi: wsidata.WSIData, quick_model: Model) -> None:
    stp.tl.predict(wsi, quick_model)
    (tissue,) = wsi.shapes["tissue"].geometry
    assert tissue.area == pytest.approx(np.pi * 340**2 * np.sqrt(1.4), rel=0.05)
