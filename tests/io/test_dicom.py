"""A DICOM slide as a scanner writes it: a file a level, JPEG tiles, millimeters a px."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import HTJ2KLossless, JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage, generate_uid

import st_predict as stp
from st_predict._spatialdata.image import image_array, image_source, reduced_sources
from st_predict.cli.predict import is_slide
from st_predict.core.errors import InputError
from st_predict.io._regions import OpenSlideImage
from st_predict.io._slide import slide_files

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


def gray(number: int) -> np.ndarray:
    side = (256, 512)[number]
    return np.full((side, side, 3), 60 + 40 * number, np.uint8)


def seen(path: Path, **given: int) -> tuple[np.ndarray, dict[str, Any], int]:
    """Pixels, what is kept of the file, and how many reduced copies there are."""
    sdata = stp.io.slide(path, **given)
    (key,) = sdata.images
    pixels = image_array(sdata, key).data.compute().transpose(1, 2, 0)
    return pixels, sdata.attrs["st_predict"], len(reduced_sources(sdata, key))


def dicom(folder: Path, number: int) -> None:
    """A slide of two levels, a file each."""
    folder.mkdir(exist_ok=True)
    series = generate_uid()
    write_level(folder / f"{number} fine.dcm", gray(number), 0.5, series)
    write_level(folder / f"{number} coarse.dcm", gray(number)[::2, ::2], 1.0, series)


def test_slides_of_a_dicom_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dicom(tmp_path / "case", 0)
    dicom(tmp_path / "case", 1)
    assert stp.io.slide_series(tmp_path / "case") == [0, 1]
    for number in range(2):
        assert np.abs(seen(tmp_path / "case", series=number)[0].astype(int) - gray(number)).max() <= 2
    assert caplog.text == ""
    assert seen(tmp_path / "case")[0].shape == (512, 512, 3)
    assert "case holds 2 scenes, of which series 1 is read" in caplog.text


def test_a_level_that_is_cut_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dicom(tmp_path / "case", 1)
    fine = tmp_path / "case" / "1 fine.dcm"
    fine.write_bytes(fine.read_bytes()[:300])
    assert seen(tmp_path / "case")[0].shape == (256, 256, 3)
    assert "1 DICOM files of case are truncated or not slides, and are not read: 1 fine.dcm" in caplog.text


def test_a_slide_of_links_is_opened_where_it_lies(tmp_path: Path) -> None:
    """As data managers keep files: each in a place of its own, a folder of links to them."""
    dicom(tmp_path / "case", 1)
    links = tmp_path / "links"
    links.mkdir()
    for i, file in enumerate(sorted((tmp_path / "case").iterdir())):
        there = tmp_path / "store" / str(i)
        there.mkdir(parents=True)
        shutil.move(file, there / "object")
        (links / file.name).symlink_to(there / "object")
    for path in (links, links / "1 coarse.dcm", links / "1 fine.dcm"):
        pixels, known, n_reduced = seen(path)
        assert pixels.shape == (512, 512, 3) and n_reduced == 1 and list(known["um_per_px"].values()) == [0.5]


def test_a_link_to_one_file_of_a_slide_finds_the_others(tmp_path: Path) -> None:
    dicom(tmp_path / "case", 1)
    (tmp_path / "link.dcm").symlink_to(tmp_path / "case" / "1 coarse.dcm")
    pixels, _, n_reduced = seen(tmp_path / "link.dcm")
    assert pixels.shape == (512, 512, 3) and n_reduced == 1


@pytest.mark.parametrize("place", ["a.DCM", "IMG0001", "series/a.dcm", "DICOM/ST000000/SE000000/IMG0"])
def test_a_folder_is_known_by_what_its_files_hold(place: str, tmp_path: Path, folder: Path) -> None:
    """Endings differ, and media have none; a study keeps a folder a series."""
    found = tmp_path / "case" / place
    found.parent.mkdir(parents=True)
    shutil.copy(folder / "fine.dcm", found)
    (tmp_path / "case" / "notes.txt").write_text("no slide")
    assert is_slide(tmp_path / "case") and stp.io.slide_series(tmp_path / "case") == [0]
    assert seen(tmp_path / "case")[0].shape == (300, 400, 3)


@pytest.mark.parametrize("name", ["IMG0001", "a.DCM", "1.2.840.10008"])
def test_a_file_is_known_by_what_it_holds(name: str, tmp_path: Path, folder: Path) -> None:
    shutil.copy(folder / "fine.dcm", tmp_path / name)
    shutil.copy(folder / "coarse.dcm", tmp_path / "IMG0002")
    (tmp_path / "notes.txt").write_text("no slide")
    assert is_slide(tmp_path / name) and stp.io.slide_series(tmp_path / name) == [0]
    pixels, _, n_reduced = seen(tmp_path / name)
    assert pixels.shape == (300, 400, 3) and n_reduced == 1
    assert {file.name for file in slide_files(tmp_path / name)} == {name, "IMG0002"}


@pytest.mark.parametrize("number", [0, 5, 11])
@pytest.mark.parametrize("place", [2**31, 20_000, 3])
def test_a_table_of_frames_that_leads_astray_is_refused(number: int, place: int, tmp_path: Path, folder: Path) -> None:
    """OpenSlide ends the process where it follows one."""
    for name in ("fine.dcm", "coarse.dcm"):
        shutil.copy(folder / name, tmp_path / name)
    held = bytearray((tmp_path / "fine.dcm").read_bytes())
    table = held.index(bytes.fromhex("e07f10004f420000ffffffff")) + 20
    held[table + 4 * number : table + 4 * number + 4] = place.to_bytes(4, "little")
    (tmp_path / "fine.dcm").write_bytes(held)
    for path in (tmp_path, tmp_path / "coarse.dcm"):
        with pytest.raises(
            InputError, match=r"^fine\.dcm is truncated or corrupt: its table of frames names a place for"
        ):
            stp.io.slide(path)


def change_fine(written: Path, folder: Path, change: Callable[[Dataset], object]) -> None:
    """The slide again, its finest level changed."""
    shutil.copy(written / "coarse.dcm", folder / "coarse.dcm")
    level = dcmread(written / "fine.dcm")
    change(level)
    level.save_as(folder / "fine.dcm", enforce_file_format=True)


def refusal(path: Path, read: Callable[[Path], object]) -> str:
    with pytest.raises(InputError) as error:
        read(path)
    return error.value.what


def wide_table(level: Dataset, number: int, place: int) -> None:
    """Frames whose places take 8 bytes each, one of them changed."""
    frames, table, level.ExtendedOffsetTableLengths = encapsulate_extended(
        jpeg_tiles(np.zeros((300, 400, 3), np.uint8))
    )
    places = np.frombuffer(table, "<u8").copy()
    places[number] = place
    level.PixelData, level.ExtendedOffsetTable = frames, places.tobytes()


ANYWHERE = "its frames lie anywhere (DimensionOrganizationType {}), and no PerFrameFunctionalGroupsSequence says where"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda level: level.update({"DimensionOrganizationType": "TILED_SPARSE"}), ANYWHERE.format("TILED_SPARSE")),
        (lambda level: level.update({"DimensionOrganizationType": "3D"}), ANYWHERE.format("3D")),
        (
            lambda level: level.update({"TotalPixelMatrixRows": 2**23, "TotalPixelMatrixColumns": 2**23}),
            "its header states 65,536 x 65,536 tiles",
        ),
        (lambda level: wide_table(level, 5, 2**40), "its table of frames names a place for frame 5 where none can lie"),
        (lambda level: wide_table(level, 0, 2**63), "its table of frames names a place for frame 0 where none can lie"),
    ],
)
def test_a_header_that_leads_astray_is_refused(
    change: Callable[[Dataset], None], said: str, tmp_path: Path, folder: Path
) -> None:
    """OpenSlide ends the process where it follows one."""
    change_fine(folder, tmp_path, change)
    for path, read in [
        (tmp_path, stp.io.slide),
        (tmp_path, stp.io.slide_series),
        (tmp_path / "coarse.dcm", stp.io.slide),
    ]:
        assert refusal(path, read) == f"fine.dcm is truncated or corrupt: {said}"


def test_frames_that_lie_anywhere_or_in_a_wide_table_are_read(tmp_path: Path, folder: Path) -> None:
    def anywhere(level: Dataset) -> None:
        level.DimensionOrganizationType, level.PerFrameFunctionalGroupsSequence = "TILED_SPARSE", []
        for number in range(level.NumberOfFrames):
            place, frame = Dataset(), Dataset()
            place.ColumnPositionInTotalImagePixelMatrix = number % 4 * TILE + 1
            place.RowPositionInTotalImagePixelMatrix = number // 4 * TILE + 1
            frame.PlanePositionSlideSequence = [place]
            level.PerFrameFunctionalGroupsSequence.append(frame)

    expected = seen(folder)[0]
    change_fine(folder, tmp_path, anywhere)
    np.testing.assert_array_equal(seen(tmp_path)[0], expected)
    change_fine(folder, tmp_path, lambda level: wide_table(level, 0, 0))
    assert not seen(tmp_path)[0].any()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"},
            "an 8-bit RGB image: it is grayscale (1 sam",
        ),
        (
            {"SamplesPerPixel": 1, "PhotometricInterpretation": "PALETTE COLOR"},
            "an 8-bit RGB image: its colors are numbers",
        ),
        ({"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}, "an 8-bit RGB image: its colors are of 16 bits"),
        ({"TotalPixelMatrixFocalPlanes": 3}, "an 8-bit RGB image: it is a stack of 3 focal planes"),
        (
            {"PhotometricInterpretation": "YBR_ICT"},
            "a slide this reader knows (its colors are YBR_ICT in the transfer syntax 1",
        ),
    ],
)
def test_a_kind_that_is_not_read_is_named(facts: dict[str, Any], said: str, tmp_path: Path, folder: Path) -> None:
    change_fine(folder, tmp_path, lambda level: level.update(facts))
    for name in ("", "fine.dcm", "coarse.dcm"):
        assert refusal(tmp_path / name, stp.io.slide).startswith(f"fine.dcm is not {said}")


def test_a_compression_that_is_not_read_is_named(tmp_path: Path, folder: Path) -> None:
    change_fine(folder, tmp_path, lambda level: setattr(level.file_meta, "TransferSyntaxUID", HTJ2KLossless))
    syntax = "it is compressed in the transfer syntax 1.2.840.10008.1.2.4.201, which OpenSlide does not read"
    assert refusal(tmp_path, stp.io.slide) == f"fine.dcm is not a slide this reader knows ({syntax})"


def other_frames(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Dataset], None]:
    return lambda level: setattr(level, "PixelData", encapsulate(change(jpeg_tiles(np.zeros((300, 400, 3), np.uint8)))))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_frames(lambda frames: [frames[0][:99], *frames[1:]]), ""),
        (other_frames(lambda frames: frames[:5]), "libdicom Parse error: reading BasicOffsetTable failed"),
        (lambda level: level.update({"Rows": 64, "Columns": 64}), "libdicom Missing frame"),
    ],
)
@pytest.mark.parametrize("name", ["", "coarse.dcm"])
def test_the_file_of_the_level_that_is_damaged_is_named(
    change: Callable[[Dataset], None], said: str, name: str, tmp_path: Path, folder: Path
) -> None:
    change_fine(folder, tmp_path, change)
    write_level(tmp_path / "another.dcm", np.zeros((300, 400, 3), np.uint8), UM, generate_uid())
    path = tmp_path / name
    number = {"series": 1} if not name else {}
    assert refusal(path, lambda path: seen(path, **number)).startswith(f"fine.dcm is truncated or corrupt: {said}")
