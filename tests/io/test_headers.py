"""What a header tells before a pixel is decoded: images too large to be decoded whole, and those shown turned."""

from __future__ import annotations

import errno
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tifffile

import st_predict as stp
from st_predict._spatialdata.image import image_array
from st_predict.core.errors import InputError
from st_predict.io import _flat_image
from st_predict.io._images import open_image


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    y, x = np.mgrid[:48, :80]
    return np.stack([3 * x, 5 * y, 20 + x + y], axis=-1).astype(np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(path: Path, width: int, height: int) -> Path:
    """A PNG of which no more than the header is told."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b""))
    return path


def restate(path: Path, width: int, height: int) -> Path:
    """A TIFF whose header claims another size."""
    with tifffile.TiffFile(path, mode="r+") as file:
        for name, size in (("ImageWidth", width), ("ImageLength", height)):
            file.pages[0].tags[name].overwrite(size, dtype=4)
    return path


def seen(path: Path) -> np.ndarray:
    sdata = stp.io.slide(path)
    (key,) = sdata.images
    found: np.ndarray = image_array(sdata, key).data.compute().transpose(1, 2, 0)
    return found


@pytest.mark.parametrize("kind", ["png", "huge png", "strips"])
def test_an_image_too_large_to_be_decoded_is_refused_by_its_header(
    kind: str, tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "strips":
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, rgb, photometric="rgb", metadata=None)
        restate(path, 45_000, 45_000)
        size, gb = "45000 x 45000", "6.1"
    elif kind == "png":
        path, size, gb = png_of(tmp_path / "a.png", 30_000, 30_000), "30000 x 30000", "2.7"
    else:
        side = 2**31 - 1
        path, size, gb = png_of(tmp_path / "a.png", side, side), f"{side} x {side}", f"{side * side * 3 / 1e9:.1f}"
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: pytest.fail("it was to be decoded"))
    said = rf"^{re.escape(path.name)} is {size} px by its header: {gb} GB, which must be decoded whole"
    for read in (stp.io.slide, open_image):
        with pytest.raises(InputError, match=said) as error:
            read(path)
    assert "at most 800 million px in a PNG, a JPEG or a TIFF in strips; a tiled TIFF of any size" in str(error.value)
    assert f"vips tiffsave {path.name} a_tiled.tif --tile --pyramid" in error.value.remedy


def test_an_image_at_the_limit_is_read(tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.fromarray(rgb).save(tmp_path / "a.png")
    monkeypatch.setattr(_flat_image, "MOST_PX", rgb.shape[0] * rgb.shape[1])
    np.testing.assert_array_equal(seen(tmp_path / "a.png"), rgb)
    monkeypatch.setattr(_flat_image, "MOST_PX", rgb.shape[0] * rgb.shape[1] - 1)
    with pytest.raises(InputError, match=r"^a\.png is 80 x 48 px by its header"):
        stp.io.slide(tmp_path / "a.png")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("width", "height", "n"), [(2_000_000, 1_000, 7_875_000), (7, 48, 3), (80, 16, 5)], ids=["more", "narrow", "low"]
)
def test_a_tiled_tiff_that_claims_another_number_of_tiles_than_it_lists(
    width: int, height: int, n: int, compression: str | None, tmp_path: Path, rgb: np.ndarray
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rgb, photometric="rgb", tile=(16, 16), compression=compression, metadata=None)
    restate(path, width, height)
    said = rf"^a\.tif is truncated or corrupt: its header states {width} x {height} px in {n} blocks, and lists 15\n"
    for read in (stp.io.slide, open_image):
        with pytest.raises(InputError, match=said):
            read(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_slide_is_turned_as_viewers_show_it(
    kind: str, orientation: int, tmp_path: Path, rgb: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path, exif = tmp_path / f"a.{kind}", PIL.Image.Exif()
    exif[274] = orientation
    how: dict[str, Any] = {"quality": 98, "subsampling": 0} if kind == "jpg" else {}
    PIL.Image.fromarray(rgb).save(path, exif=exif, **how)
    shown = np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(path)))
    np.testing.assert_array_equal(seen(path), shown)
    assert (f"as its EXIF orientation {orientation} says" in caplog.text) == (orientation != 1)


@pytest.mark.parametrize(("choice", "turned"), [(0, True), (1, False)])
def test_spots_are_not_laid_on_a_picture_that_is_turned(
    choice: int, turned: bool, tmp_path: Path, rgb: np.ndarray
) -> None:
    """Nobody knows whether they were placed before or after; either remedy gives an image that is read."""
    path, exif = tmp_path / "a.jpg", PIL.Image.Exif()
    exif[274] = 6
    PIL.Image.fromarray(rgb).save(path, exif=exif, quality=98, subsampling=0)
    said = (
        r"^a\.jpg is to be shown turned by 90 degrees to the right \(EXIF orientation 6\): spots may have been placed"
    )
    with pytest.raises(InputError, match=said) as error:
        open_image(path)
    exec(error.value.remedy.split("; ")[choice].split(": ", 1)[1], {"PIL": PIL})
    found = np.asarray(open_image(tmp_path / "a_upright.png")).transpose(1, 2, 0)
    expected = np.rot90(rgb, -1) if turned else rgb
    assert found.shape == expected.shape and np.abs(found.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("how", [{"tile": (16, 16)}, {}])
def test_a_tiff_that_is_to_be_turned_is_refused(how: dict[str, Any], tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rgb, photometric="rgb", extratags=[(274, 3, 1, 3, True)], **how)
    said = r"^a\.tif is to be shown turned by 180 degrees \(TIFF orientation 3\), and few programs do so\n"
    for read in (stp.io.slide, open_image):
        with pytest.raises(InputError, match=said) as error:
            read(path)
    exec(error.value.remedy.split("; ")[0].split(": ", 1)[1], {"tifffile": tifffile})
    np.testing.assert_array_equal(seen(path), rgb)


@pytest.mark.parametrize("kind", ["tif", "png"])
def test_an_image_is_not_blamed_for_too_many_open_files(
    kind: str, tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{kind}"
    PIL.Image.fromarray(rgb).save(path)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("tifffile.TiffFile" if kind == "tif" else "PIL.PngImagePlugin.PngImageFile", refuse)
    said = rf"^a\.{kind} cannot be opened: too many files are open \(Too many open files\)\n"
    with pytest.raises(InputError, match=said) as error:
        stp.io.slide(path)
    assert "ulimit -n 8192" in error.value.remedy


def tiled_of(path: Path, rgb: np.ndarray) -> bytes:
    """A pyramid as scanners write it, of two levels."""
    with tifffile.TiffWriter(path) as file:
        for step in (1, 2):
            file.write(
                rgb[::step, ::step], photometric="rgb", tile=(16, 16), compression="zlib", metadata=None,
                description="Aperio Image Library v11.2.1\n80x48 [0,0 80x48] (16x16)|AppMag = 20|MPP = 0.5",
            )  # fmt: skip
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["svs", "png", "jpg"])
def test_a_damaged_header_is_our_error_and_no_more_than_one_line(
    kind: str, tmp_path: Path, rgb: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "svs":
        tiled_of(path, rgb)
        with tifffile.TiffFile(path) as file:
            starts = [0, *(page.offset for page in file.pages)]
    else:
        PIL.Image.fromarray(rgb).save(path)
        starts = [0]
    good, random = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for trial in range(90):
        bad, start = bytearray(good), starts[trial % len(starts)]
        at = int(random.integers(start, min(start + 200, len(good))))
        if trial // len(starts) % 2:
            bad[at : at + 8] = bytes(len(bad[at : at + 8]))
        else:
            bad[at] ^= 1 << int(random.integers(8))
        path.write_bytes(bad)
        caplog.clear()
        try:
            stp.io.slide(path)
        except InputError as error:
            refused += 1
            assert error.what.startswith("a.")
        assert not [one for one in caplog.records if one.name != "st_predict"]
        assert len(caplog.records) <= 2  # pictures that are not read; a header of which parts cannot be used
    assert refused > 10


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        ("PhotometricInterpretation", 45000, "a.svs is not an 8-bit RGB image: axes YXS, shape (48, 80, 3), 45000, adobe_deflate"),
        ("TileWidth", 2**20, "a.svs is truncated or corrupt: its header states tiles of 1048576 x 1048576 px, over 268 million"),
        ("ImageLength", 0, "a.svs is truncated or corrupt: its header states 80 x 0 px"),
    ],
)  # fmt: skip
def test_the_cause_is_told_of_a_header(tag: str, value: int, said: str, tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "a.svs"
    tiled_of(path, rgb)
    with tifffile.TiffFile(path, mode="r+") as file:
        for page in file.pages:
            for name in (tag, *(["TileLength"] if tag == "TileWidth" else [])):
                page.tags[name].overwrite(value, dtype=4)
    with pytest.raises(InputError) as error:
        stp.io.slide(path)
    assert error.value.what == said


@pytest.mark.parametrize("kind", ["svs", "tif", "png", "jpg"])
def test_an_image_that_is_gone_is_not_called_corrupt(kind: str, tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "svs":
        tiled_of(path, rgb)
    else:
        PIL.Image.fromarray(rgb).save(path)
    sdata = stp.io.slide(path)
    path.unlink()
    with pytest.raises(InputError) as error:
        image_array(sdata, "a_image").data.compute()
    assert error.value.what == f"{path} is gone: it, or a part of it, was moved or deleted since it was opened"
