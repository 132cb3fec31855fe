"""A DICOM slide as a scanner writes it: a file a level, JPEG tiles, millimeters a px."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage, generate_uid

import st_predict as stp
from st_predict._spatialdata.image import image_array, image_source, reduced_sources
from st_predict._studies import is_slide
from st_predict.core.errors import InputError
from st_predict.io._regions import OpenSlideImage

UM, TILE = 0.5, 128


def jpeg_tiles(pixels: np.ndarray) -> list[bytes]:
    """Tiles row by row, those at the border filled up with black."""
    height, width = pixels.shape[:2]
    filled = np.zeros((-(-height // TILE) * TILE, -(-width // TILE) * TILE, 3), np.uint8)
    filled[:height, :width] = pixels
    found = []
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            buffer = io.BytesIO()
            Image.fromarray(filled[top : top + TILE, left : left + TILE]).save(buffer, "JPEG", quality=97)
            found.append(buffer.getvalue())
    return found


def write_level(path: Path, pixels: np.ndarray, um_per_px: float, series: str) -> None:
    """One level, with what the standard asks of a whole-slide image (PS3.3 A.32.8)."""
    tiles = jpeg_tiles(pixels)
    level = Dataset()
    level.file_meta = FileMetaDataset()
    level.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    level.file_meta.MediaStorageSOPClassUID = level.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    level.file_meta.MediaStorageSOPInstanceUID = level.SOPInstanceUID = generate_uid()
    level.Modality, level.SeriesInstanceUID = "SM", series
    level.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    level.TotalPixelMatrixRows, level.TotalPixelMatrixColumns = pixels.shape[:2]
    level.Rows = level.Columns = TILE
    level.NumberOfFrames, level.DimensionOrganizationType = len(tiles), "TILED_FULL"
    level.TotalPixelMatrixFocalPlanes = level.NumberOfOpticalPaths = 1
    level.SamplesPerPixel, level.PhotometricInterpretation, level.PlanarConfiguration = 3, "YBR_FULL_422", 0
    level.BitsAllocated, level.BitsStored, level.HighBit, level.PixelRepresentation = 8, 8, 7, 0
    measures, shared, optical = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [um_per_px / 1000] * 2
    shared.PixelMeasuresSequence, optical.OpticalPathIdentifier = [measures], "1"
    level.SharedFunctionalGroupsSequence, level.OpticalPathSequence = [shared], [optical]
    level.PixelData = encapsulate(tiles)
    level.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    y, x = np.mgrid[:300, :400]
    return np.stack([x / 2, y / 2, (x + y) / 4], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("case")
    series = generate_uid()
    write_level(found / "fine.dcm", pixels, UM, series)
    write_level(found / "coarse.dcm", pixels[::2, ::2], 2 * UM, series)
    return found


@pytest.mark.parametrize("name", [None, "fine.dcm", "coarse.dcm"])
def test_a_series_is_one_slide(folder: Path, pixels: np.ndarray, name: str | None) -> None:
    path = folder if name is None else folder / name
    assert is_slide(path)
    sdata = stp.io.slide(path)
    (key,) = sdata.images
    assert sdata.attrs["st_predict"]["um_per_px"] == {key: pytest.approx(UM)}
    assert isinstance(image_source(sdata, key), OpenSlideImage)
    found = image_array(sdata, key).data.compute().transpose(1, 2, 0)
    assert found.shape == pixels.shape and np.abs(found.astype(int) - pixels).mean() < 1
    assert [source.row_edges[-1] for source in reduced_sources(sdata, key)] == [150]


def test_a_cut_series_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes((folder / "fine.dcm").read_bytes()[:400])
    with pytest.raises(InputError, match=r"a\.dcm|cannot be read|not a slide"):
        stp.io.slide(tmp_path)


def test_a_slide_is_opened_anew_in_a_forked_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = OpenSlideImage(folder / "fine.dcm", where="path")
    before, expected = image._slide, image.read_chunk(0, 0)
    np.testing.assert_array_equal(image.read_chunk(0, 0), expected)
    assert image._slide is before
    monkeypatch.setattr("os.getpid", lambda: -1)
    np.testing.assert_array_equal(image.read_chunk(0, 0), expected)
    assert image._slide is not before
