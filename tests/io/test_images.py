"""Images: every file kind gives the same pixels, regions cost regions, and files that are not whole are refused."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
from pathlib import Path

import dask
import numpy as np
import pytest
import tifffile
from PIL import Image

import st_predict as stp
from st_predict.core.errors import InputError
from st_predict.io import _flat_image
from st_predict.io._images import open_image

HEIGHT, WIDTH = 700, 1100


@pytest.fixture(scope="module")
def pixels(files) -> np.ndarray:
    return files.asymmetric_pixels(HEIGHT, WIDTH)


@pytest.fixture
def write(tmp_path: Path, pixels: np.ndarray):
    """Write the pixels as a named kind of file."""

    def writer(kind: str) -> Path:
        path = tmp_path / f"{kind}.image"
        tiled = {"tile": (256, 128), "compression": "zlib"}
        if kind == "png":
            Image.fromarray(pixels).save(path, format="png")
        elif kind == "png_rgba":
            Image.fromarray(pixels).convert("RGBA").save(path, format="png")
        elif kind == "tiled":
            tifffile.imwrite(path, pixels, photometric="rgb", **tiled)
        elif kind == "tiled_rgba":
            alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
            tifffile.imwrite(path, np.concatenate([pixels, alpha], 2), photometric="rgb", extrasamples=[2], **tiled)
        elif kind == "planar":
            tifffile.imwrite(path, pixels.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", **tiled)
        elif kind == "bigtiff":
            tifffile.imwrite(path, pixels, photometric="rgb", bigtiff=True, **tiled)
        elif kind == "ome":
            tifffile.imwrite(path, pixels, photometric="rgb", ome=True, metadata={"axes": "YXS"}, **tiled)
        elif kind == "ome_cyx":
            tifffile.imwrite(path, pixels.transpose(2, 0, 1), ome=True, metadata={"axes": "CYX"}, **tiled)
        elif kind == "strips":
            tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=48, compression="lzw")
        elif kind == "one_strip":
            tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=HEIGHT, compression="zlib")
        elif kind in ("pyramid", "pages"):
            subifds = 1 if kind == "pyramid" else None
            with tifffile.TiffWriter(path) as file:
                file.write(pixels, photometric="rgb", subifds=subifds, **tiled)
                file.write(pixels[::2, ::2], photometric="rgb", subfiletype=1, **tiled)
        return path

    return writer


KINDS = (
    "png png_rgba tiled tiled_rgba planar bigtiff ome ome_cyx strips one_strip pyramid pages"  # told apart by content
).split()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_pixels_as_channels_rows_columns(write, pixels, kind):
    image = open_image(write(kind))
    assert image.shape == (3, HEIGHT, WIDTH)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image.compute(), pixels.transpose(2, 0, 1))


def test_a_tiff_by_the_ending_of_another_maker(write, pixels, caplog, tmp_path):
    path = write("tiled").rename(tmp_path / "slide.ndpi")
    sdata = stp.io.slide(path, um_per_px=0.5)
    np.testing.assert_array_equal(sdata["slide_image"].data.compute(), pixels.transpose(2, 0, 1))
    assert "cannot be used" not in caplog.text


@pytest.mark.parametrize("kind", ["png", "tiled", "planar"])
def test_indexing_agrees_with_numpy(write, pixels, kind):
    image, truth = open_image(write(kind)), pixels.transpose(2, 0, 1)
    for key in (
        np.s_[:, 690:, 1000:],
        np.s_[1, 3:5, 7:90],
        np.s_[:, 4, :],
        np.s_[:, :, -1],
        np.s_[::-1, 5:1:-1, ::3],
        np.s_[:, [3, 600, 5], 100:110],
    ):
        np.testing.assert_array_equal(image[key].compute(), truth[key])


def test_jpeg_is_decoded_once_and_its_regions_are_right(files, tmp_path, pixels, monkeypatch):
    path = files.write_jpeg(tmp_path / "image.jpg", pixels)
    decodes = []
    decode = _flat_image._pillow_bands
    monkeypatch.setattr(_flat_image, "_pillow_bands", lambda *a, **k: decodes.append(1) or decode(*a, **k))
    image = open_image(path)
    path.unlink()  # nothing is left to decode again
    for _ in range(2):
        region = image[:, 100:140, 900:960].compute()
    assert len(decodes) == 1
    expected = pixels[100:140, 900:960].transpose(2, 0, 1).astype(int)
    assert np.abs(region.astype(int) - expected).max() <= 4  # JPEG is lossy
    region[:] = 0  # a copy of its own, writable
    assert image[:, 100:140, 900:960].compute().any()


def test_a_region_of_a_tiled_tiff_reads_only_the_tiles_under_it(write, pixels):
    path = write("tiled")  # 3 rows of 9 tiles, 256 x 128 px
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        spans = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    needed = {1 * 9 + 2, 1 * 9 + 3}  # rows 256 to 512, columns 256 to 512
    damaged = bytearray(path.read_bytes())
    for tile, (offset, count) in enumerate(spans):
        if tile not in needed:
            damaged[offset : offset + count] = b"\xff" * count
    path.write_bytes(damaged)
    image = open_image(path)
    region = image[:, 300:500, 260:500].compute()
    np.testing.assert_array_equal(region, pixels[300:500, 260:500].transpose(2, 0, 1))
    with pytest.raises(InputError, match="tiled.image is truncated or corrupt"):
        image[:, 100:110, 260:500].compute()


def test_chunks_of_a_tiled_tiff_are_whole_tiles_and_nothing_is_read_at_open(write):
    image = open_image(write("tiled"))
    assert image.chunks == ((3,), (512, 188), (512, 512, 76))


def test_the_temporary_file_goes_with_the_last_reference(write):
    image = open_image(write("png"))
    (source,) = [v for v in image.dask.values() if isinstance(v, _flat_image.FlatImage)]
    temp = Path(source.temp)
    assert temp.stat().st_size == HEIGHT * WIDTH * 3
    del source
    copied = copy.deepcopy(image)
    part = image[:, :10, :10]
    del image, copied
    gc.collect()
    assert temp.exists()
    part.compute()
    del part
    gc.collect()
    assert not temp.exists()


@pytest.mark.parametrize("kind", ["png", "tiled"])
def test_pickles_are_small_and_read_the_same_pixels_here_and_in_another_process(write, pixels, kind):
    image = open_image(write(kind))
    blob = pickle.dumps(image)
    assert len(blob) < 5000
    truth = pixels[50:60, 70:75].transpose(2, 0, 1)
    np.testing.assert_array_equal(pickle.loads(blob)[:, 50:60, 70:75].compute(), truth)
    code = (
        "import pickle, sys\n"
        "image = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(image[:, 50:60, 70:75].compute(scheduler='synchronous').tobytes())"
    )
    there = subprocess.run([sys.executable, "-c", code], input=blob, capture_output=True, check=True).stdout
    assert there == truth.tobytes()


def test_a_pickle_whose_temporary_file_is_gone_decodes_its_source_again(write, pixels):
    image = open_image(write("png"))
    blob = pickle.dumps(image)
    del image
    gc.collect()
    np.testing.assert_array_equal(pickle.loads(blob).compute(), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["png", "tiled"])
def test_threads_read_the_same_pixels(write, pixels, kind):
    image = open_image(write(kind)).rechunk((3, 100, 100))
    with dask.config.set(scheduler="threads", num_workers=4):
        np.testing.assert_array_equal(image.compute(), pixels.transpose(2, 0, 1))


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiled", "strips", "bigtiff"])
def test_truncated_files_are_refused_at_open(files, write, tmp_path, pixels, kind, share):
    noisy = pixels + np.random.default_rng(0).integers(0, 20, pixels.shape, dtype=np.uint8)
    path = files.write_jpeg(tmp_path / "noisy.jpg", noisy) if kind == "jpeg" else write(kind)
    if share == 0.001 and kind != "jpeg":
        share = 9 / path.stat().st_size  # just past the first bytes
    with pytest.raises(InputError, match="is truncated or corrupt"):
        open_image(cut(path, share))


def test_a_failed_decode_leaves_no_temporary_file(write, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = write("strips")
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[0].dataoffsets[9], file.pages[0].databytecounts[9]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = b"\xff" * count
    path.write_bytes(data)
    with pytest.raises(InputError, match="strips.image is truncated or corrupt"):
        open_image(path)
    assert list(scratch.iterdir()) == []


def test_a_full_disk_is_said(write, monkeypatch):
    class FullDisk:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(28, "No space left on device")

    path = write("png")
    monkeypatch.setattr(_flat_image.os, "fdopen", lambda handle, mode: _flat_image.os.close(handle) or FullDisk())
    with pytest.raises(InputError, match=r"no room for the 0\.00 GB of pixels of png\.image.*No space left"):
        open_image(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("zero.jpg", b"", "is empty \\(0 bytes\\)"),
        ("notes.jpg", b"not an image at all", "is not an image this reader knows"),
        ("slide.gif", b"GIF89a" + b"\0" * 40, "is not an image this reader knows"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        open_image(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file: .*gone.tif"):
        open_image(tmp_path / "gone.tif")


@pytest.mark.parametrize("kind", ["gray_jpeg", "gray_png", "png16", "png16_rgb", "tiff16", "gray_tiff", "five", "cmyk"])
def test_pixels_that_are_not_8_bit_color_are_refused(tmp_path, pixels, kind):
    import imagecodecs

    path = tmp_path / f"{kind}.image"
    small = pixels[:64, :64]
    if kind == "gray_jpeg":
        Image.fromarray(small[..., 0]).save(path, format="jpeg")
    elif kind == "gray_png":
        Image.fromarray(small[..., 0]).save(path, format="png")
    elif kind == "png16":
        path.write_bytes(imagecodecs.png_encode(small[..., 0].astype(np.uint16)))
    elif kind == "png16_rgb":
        path.write_bytes(imagecodecs.png_encode(small.astype(np.uint16)))
    elif kind == "tiff16":
        tifffile.imwrite(path, small.astype(np.uint16), photometric="rgb", tile=(16, 16))
    elif kind == "gray_tiff":
        tifffile.imwrite(path, small[..., 0], tile=(16, 16))
    elif kind == "five":
        tifffile.imwrite(path, np.zeros((5, 64, 64), np.uint8), metadata={"axes": "CYX"}, ome=True, tile=(16, 16))
    else:
        tifffile.imwrite(path, np.zeros((64, 64, 4), np.uint8), photometric="separated", tile=(16, 16))
    with pytest.raises(InputError, match="is not an 8-bit RGB image"):
        open_image(path)


def test_an_image_beyond_pillows_limit_is_read_and_the_limit_left_alone(files, tmp_path, pixels, monkeypatch):
    path = files.write_jpeg(tmp_path / "large.jpg", pixels)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # as a 200-megapixel image meets the real one
    assert open_image(path)[:, :5, :5].compute().shape == (3, 5, 5)
    assert Image.MAX_IMAGE_PIXELS == 1000
