"""Bare slides on the real thing: two whole slides, and a section predicted as if it had no expression."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from spatialdata import SpatialData

import st_predict as stp
from st_predict._spatialdata.image import image_array
from st_predict.core.model.model import Model

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of real data, or a skip."""
    found = Path(os.environ.get("ST_PREDICT_DATA", ROOT.parent / "shared" / "data"))
    if not (found / "slides").is_dir():
        pytest.skip(f"no real slides in {found}: set ST_PREDICT_DATA")
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return stp.tl.train(stp.datasets.her2st(folder, sections=["C2", "C3", "C4"]), method="ridge")


def predicted(sdata: SpatialData, model: Model) -> np.ndarray:
    stp.tl.predict(sdata, model)
    return sdata.tables["predicted"].to_df().to_numpy()


def test_a_section_without_its_expression_is_predicted_the_same(folder: Path, model: Model, tmp_path: Path) -> None:
    section = stp.datasets.her2st(folder, sections="C5")["C5"]
    stp.tl.predict(section, model)
    expected = section["table"].obsm["predicted"].to_numpy()
    flat = stp.io.slide(
        folder / "her2st" / "C5" / "image.jpg", um_per_px=section.attrs["st_predict"]["um_per_px"]["C5_image"]
    )
    flat.shapes["spots"] = section.shapes["C5"]
    np.testing.assert_array_equal(predicted(flat, model), expected)
    pixels = image_array(section, "C5_image").data.compute().transpose(1, 2, 0)
    with tifffile.TiffWriter(tmp_path / "C5.ome.tif", bigtiff=True, ome=True) as file:
        tiled = {"tile": (256, 256), "compression": "zlib", "photometric": "rgb"}
        file.write(pixels, subifds=1, **tiled)
        half = pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2]
        half = half.reshape(len(half) // 2, 2, half.shape[1] // 2, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
        file.write(half, subfiletype=1, **tiled)
    pyramid = stp.io.slide(tmp_path / "C5.ome.tif", um_per_px=section.attrs["st_predict"]["um_per_px"]["C5_image"])
    pyramid.shapes["spots"] = section.shapes["C5"]
    apart = np.abs(predicted(pyramid, model) - expected) / expected.std()
    assert apart.mean() < 0.02 and apart.max() < 0.2, "wide tiles are cut from the half-size copy"


@pytest.mark.parametrize("name", ["CMU-1-Small-Region", "tcga-cr-7395-01a-01-ts1"])
def test_whole_slides_on_a_grid_and_as_flat_copies(folder: Path, model: Model, tmp_path: Path, name: str) -> None:
    """The second states no scale; 0.5 um a pixel is given."""
    path = folder / "slides" / f"{name}.svs"
    slide = stp.io.slide(path) if name.startswith("CMU") else stp.io.slide(path, um_per_px=0.5)
    found = predicted(slide, model)
    spots = slide.shapes["spots"]
    assert len(spots) > 15 and spots.geometry.within(slide.shapes["tissue"].union_all()).all()
    Image.fromarray(tifffile.imread(path, level=0)).save(tmp_path / "flat.png")
    flat = stp.io.slide(tmp_path / "flat.png", um_per_px=slide.attrs["st_predict"]["um_per_px"][f"{name}_image"])
    flat.shapes["spots"] = spots
    assert np.abs(predicted(flat, model) - found).max() < 0.1 * found.std()
    spread = found.std(axis=0)
    assert np.isfinite(found).all() and (spread > 0).mean() > 0.9
