"""Images that are no 8-bit RGB: each is told by its cause, from the first word, and what is to be done is tried."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr

import st_predict as stp
from st_predict._spatialdata.image import image_array
from st_predict.core.errors import InputError
from st_predict.io._images import open_image

HEIGHT, WIDTH, TILE = 70, 90, 32
MARKERS = ["DAPI", "CD3", "CD8", "CD20", "PanCK"]


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([50 + 2 * x, 40 + 2 * y, 30 + x + y], axis=-1).astype(np.uint8)


def seen(path: Path, **given: Any) -> np.ndarray:
    sdata = stp.io.slide(path, **given)
    (key,) = sdata.images
    found: np.ndarray = image_array(sdata, key).data.compute().transpose(1, 2, 0)
    return found


def ome_zarr(path: Path, pixels: np.ndarray, axes: str, names: list[str] | None = None) -> Path:
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    chunks = tuple(TILE if axis in "yx" else 1 for axis in axes)
    group.create_array("fine", data=pixels, chunks=chunks)
    scale = {"type": "scale", "scale": [0.5 if axis in "yx" else 1.0 for axis in axes]}
    datasets = [{"path": "fine", "coordinateTransformations": [scale]}]
    units = {"unit": "micrometer"}
    described = [{"name": axis, **(units if axis in "zyx" else {})} for axis in axes]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": described, "datasets": datasets}]
    if names:
        group.attrs["omero"] = {"channels": [{"label": name} for name in names]}
    return path


def tiff(path: Path, pixels: np.ndarray, **how: Any) -> Path:
    tifffile.imwrite(path, pixels, tile=(TILE, TILE), **how)
    return path


def jpeg_cmyk(folder: Path, rgb: np.ndarray) -> Path:
    PIL.Image.fromarray(rgb).convert("CMYK").save(folder / "a.jpg")
    return folder / "a.jpg"


def tiff_cmyk(folder: Path, rgb: np.ndarray) -> Path:
    return tiff(folder / "a.tif", np.asarray(PIL.Image.fromarray(rgb).convert("CMYK")), photometric="separated")


def tiff_palette(folder: Path, rgb: np.ndarray) -> Path:
    PIL.Image.fromarray(rgb).quantize(200).save(folder / "a.tif")
    return folder / "a.tif"


def tiff_16(folder: Path, rgb: np.ndarray) -> Path:
    return tiff(folder / "a.ome.tif", rgb.astype(np.uint16) * 257, photometric="rgb")


def tiff_float(folder: Path, rgb: np.ndarray) -> Path:
    return tiff(folder / "a.tif", (rgb / 255).astype(np.float32), photometric="rgb")


def tiff_float_255(folder: Path, rgb: np.ndarray) -> Path:
    return tiff(folder / "a.tif", rgb.astype(np.float32), photometric="rgb")


def tiff_int64(folder: Path, rgb: np.ndarray) -> Path:
    return tiff(folder / "a.tif", rgb.astype(np.int64), photometric="rgb")


def tiff_int8(folder: Path, rgb: np.ndarray) -> Path:
    return tiff(folder / "a.tif", (rgb // 2).astype(np.int8), photometric="rgb")


def png_16(folder: Path, rgb: np.ndarray) -> Path:
    (folder / "a.png").write_bytes(imagecodecs.png_encode(rgb.astype(np.uint16) * 257))
    return folder / "a.png"


def zarr_16(folder: Path, rgb: np.ndarray) -> Path:
    return ome_zarr(folder / "a.zarr", rgb.transpose(2, 0, 1)[None, :, None].astype(np.uint16) * 257, "tczyx")


def zarr_float(folder: Path, rgb: np.ndarray) -> Path:
    return ome_zarr(folder / "a.zarr", (rgb.transpose(2, 0, 1) / 255).astype(np.float32), "cyx")


def tiff_times(folder: Path, rgb: np.ndarray) -> Path:
    return tiff(folder / "a.ome.tif", np.stack([rgb] * 3), photometric="rgb", metadata={"axes": "TYXS"})


def zarr_times(folder: Path, rgb: np.ndarray) -> Path:
    return ome_zarr(folder / "a.zarr", np.stack([rgb.transpose(2, 0, 1)] * 3), "tcyx")


Make = Callable[[Path, np.ndarray], Path]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (jpeg_cmyk, "a.jpg is not an 8-bit RGB image: its colors are CMYK, as for printing"),
        (tiff_cmyk, "a.tif is not an 8-bit RGB image: its colors are CMYK, as for printing"),
        (tiff_palette, "a.tif is not an 8-bit RGB image: its colors are numbers in a palette"),
        (tiff_16, "a.ome.tif is not an 8-bit RGB image: its colors are uint16"),
        (tiff_float, "a.tif is not an 8-bit RGB image: its colors are float32"),
        (tiff_float_255, "a.tif is not an 8-bit RGB image: its colors are float32"),
        (tiff_int64, "a.tif is not an 8-bit RGB image: its colors are int64"),
        (tiff_int8, "a.tif is not an 8-bit RGB image: its colors are int8"),
        (png_16, "a.png is not an 8-bit RGB image: its colors are uint16"),
        (zarr_16, "a.zarr is not an 8-bit RGB image: its colors are uint16"),
        (zarr_float, "a.zarr is not an 8-bit RGB image: its colors are float32"),
        (tiff_times, "a.ome.tif is not an 8-bit RGB image: it is a stack of 3 times"),
        (zarr_times, "a.zarr is not an 8-bit RGB image: it is a stack of 3 times"),
    ],
)
def test_what_is_to_be_done_gives_the_image(make: Make, said: str, tmp_path: Path, rgb: np.ndarray) -> None:
    path = make(tmp_path, rgb)
    with pytest.raises(InputError, match=rf"^{re.escape(said)}\n  where: ") as error:
        stp.io.slide(path)
    if path.is_file():
        with pytest.raises(InputError, match=rf"^{re.escape(said)}\n"):
            open_image(path)
    done = error.value.remedy.split(": ", 1)[1]
    exec(done, {"PIL": PIL, "imagecodecs": imagecodecs, "numpy": np, "tifffile": tifffile, "zarr": zarr})
    (made,) = (file for file in tmp_path.iterdir() if file != path)
    found = seen(made)
    assert found.shape == rgb.shape and np.abs(found.astype(int) - rgb).mean() < 3  # a palette of 200 colors is coarse


# Three of 8 bits are taken as red, green and blue, with a word.
@pytest.mark.parametrize(("n", "dtype"), [(2, np.uint8), (5, np.uint8), (2, np.uint16), (3, np.uint16), (5, np.uint16)])
@pytest.mark.parametrize("kind", ["tiff", "zarr"])
def test_fluorescence_is_called_fluorescence(kind: str, n: int, dtype: type, tmp_path: Path, rgb: np.ndarray) -> None:
    planes = np.stack([rgb[..., 0]] * n).astype(dtype)
    if kind == "tiff":
        metadata = {"axes": "CYX", "Channel": {"Name": MARKERS[:n]}}
        path = tiff(tmp_path / "a.ome.tif", planes, photometric="minisblack", metadata=metadata)
    else:
        path = ome_zarr(tmp_path / "a.zarr", planes, "cyx", MARKERS[:n])
    said = f"{path.name} is not an 8-bit RGB image: it has {n} channels ({', '.join(MARKERS[:n])}) of {np.dtype(dtype)}, as fluorescence"
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        stp.io.slide(path)


def test_channels_that_are_pages_are_fluorescence(tmp_path: Path, rgb: np.ndarray) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for _ in range(7):
            file.write(rgb[..., 0], metadata=None)
    said = r"^a\.tif is not an 8-bit RGB image: it has 7 channels of uint8, as fluorescence has\n"
    with pytest.raises(InputError, match=said):
        stp.io.slide(tmp_path / "a.tif")


def test_grayscale_is_called_grayscale(tmp_path: Path, rgb: np.ndarray) -> None:
    PIL.Image.fromarray(rgb[..., 0]).save(tmp_path / "a.jpg")
    PIL.Image.fromarray(rgb[..., 0].astype(np.uint16)).save(tmp_path / "a.png")
    for path, kind in (
        (tmp_path / "a.jpg", "L"),
        (tiff(tmp_path / "a.tif", rgb[..., 0].astype(np.uint16), photometric="minisblack"), "uint16"),
        (ome_zarr(tmp_path / "a.zarr", rgb[..., 0], "yx"), "uint8"),
        (tmp_path / "a.png", "uint16"),
    ):
        said = rf"^{re.escape(path.name)} is not an 8-bit RGB image: it is grayscale \({kind}\)\n"
        with pytest.raises(InputError, match=said):
            stp.io.slide(path)


def test_a_mask_is_called_so(tmp_path: Path, rgb: np.ndarray) -> None:
    ome_zarr(tmp_path / "a.zarr", rgb.transpose(2, 0, 1) > 99, "cyx")
    with pytest.raises(InputError, match=r"^a\.zarr is not an 8-bit RGB image: it holds bool, as masks and results do"):
        stp.io.slide(tmp_path / "a.zarr")


def test_a_picture_of_a_store_of_several_is_named(tmp_path: Path, rgb: np.ndarray) -> None:
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    ome_zarr(tmp_path / "a.zarr" / "0", rgb[..., 0], "yx")
    with pytest.raises(InputError, match=r"^a\.zarr/0 is not an 8-bit RGB image: it is grayscale"):
        stp.io.slide(tmp_path / "a.zarr")


def test_old_style_jpeg_is_said_when_it_is_opened(tmp_path: Path, rgb: np.ndarray) -> None:
    PIL.Image.fromarray(rgb).save(tmp_path / "a.jpg")
    stored = (tmp_path / "a.jpg").read_bytes()
    tags = [(256, 4, WIDTH), (257, 4, HEIGHT), (258, 3, 8), (259, 3, 6), (262, 3, 6), (273, 4, None), (277, 3, 3),
            (278, 4, HEIGHT), (279, 4, len(stored)), (512, 3, 1), (513, 4, None), (514, 4, len(stored))]  # fmt: skip
    at = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, at if value is None else value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    (tmp_path / "a.tif").write_bytes(head + stored)
    said = r"^a\.tif is not an 8-bit RGB image: it is old-style JPEG \(compression 6\)"
    for read in (stp.io.slide, open_image):
        with pytest.raises(InputError, match=said):
            read(tmp_path / "a.tif")


STACKS: dict[str, tuple[str, str]] = {
    "ome": ("ZYXS", "rgb"),
    "planes": ("ZCYX", "minisblack"),
    "planes by channel": ("CZYX", "minisblack"),
}


@pytest.mark.parametrize("how", [{"tile": (TILE, TILE)}, {"rowsperstrip": 16}])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", STACKS)
def test_the_middle_focal_plane_is_read(
    kind: str,
    compression: str | None,
    how: dict[str, Any],
    tmp_path: Path,
    rgb: np.ndarray,
    caplog: pytest.LogCaptureFixture,
) -> None:
    axes, marked = STACKS[kind]
    planes = np.stack([rgb // 2, rgb // 3, rgb, rgb // 4])
    order = {"ZYXS": (0, 1, 2, 3), "ZCYX": (0, 3, 1, 2), "CZYX": (3, 0, 1, 2)}[axes]
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": axes, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(
        path, planes.transpose(order), photometric=marked, metadata=metadata, compression=compression, **how
    )
    np.testing.assert_array_equal(seen(path), rgb)
    assert (
        "a.ome.tif holds 4 focal planes; number 2 (from 0), in the middle, is read and the others are not"
        in caplog.text
    )
    np.testing.assert_array_equal(np.asarray(open_image(path)).transpose(1, 2, 0), rgb)
    assert list(stp.io.slide(path).attrs["st_predict"]["um_per_px"].values()) == [0.5]


def test_the_middle_focal_plane_of_an_imagej_stack(tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    planes = np.stack([rgb // 2, rgb, rgb // 4])
    tifffile.imwrite(path, planes, imagej=True, photometric="rgb", metadata={"axes": "ZYXS"})
    np.testing.assert_array_equal(seen(path), rgb)


def test_the_middle_focal_plane_of_a_pyramid(tmp_path: Path, rgb: np.ndarray) -> None:
    planes = np.stack([rgb // 2, rgb, rgb // 4])
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        how: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb"}
        file.write(planes, subifds=1, metadata={"axes": "ZYXS"}, **how)
        file.write(planes[:, ::2, ::2], subfiletype=1, **how)
    sdata = stp.io.slide(tmp_path / "a.ome.tif")
    levels = [level["image"].data.compute().transpose(1, 2, 0) for level in sdata.images["a_image"].children.values()]
    np.testing.assert_array_equal(levels[0], rgb)
    np.testing.assert_array_equal(levels[1], rgb[::2, ::2])


def test_the_middle_focal_plane_of_an_ome_zarr(
    tmp_path: Path, rgb: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """Blocks that only another plane lacks are not missed."""
    planes = np.stack([rgb // 2, rgb, rgb // 4]).transpose(3, 0, 1, 2)
    path = ome_zarr(tmp_path / "a.zarr", planes, "czyx")
    for file in (path / "fine").glob("*.0.*.*"):
        file.unlink()
    np.testing.assert_array_equal(seen(path), rgb)
    assert "a.zarr holds 3 focal planes; number 1 (from 0), in the middle, is read" in caplog.text
    assert "never stored" not in caplog.text


@pytest.mark.parametrize("metadata", [None, {}])
def test_pages_of_one_size_are_pictures(
    metadata: Any, tmp_path: Path, rgb: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """Serial sections as often as depths: nobody knows, so each can be had."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for i in range(3):
            file.write(rgb // (i + 1), photometric="rgb", metadata=metadata, tile=(TILE, TILE), compression="zlib")
    assert stp.io.slide_series(tmp_path / "a.tif") == [0, 1, 2]
    for i in range(3):
        np.testing.assert_array_equal(seen(tmp_path / "a.tif", series=i), rgb // (i + 1))
    assert caplog.text == ""
    np.testing.assert_array_equal(seen(tmp_path / "a.tif"), rgb)
    assert "a.tif holds 3 scenes, of which series 0 is read and 1 (90 x 70 px), 2 (90 x 70 px) are not" in caplog.text


@pytest.mark.parametrize("planes", [False, True])
def test_an_ome_tiff_without_tiffdata(planes: bool, tmp_path: Path, rgb: np.ndarray) -> None:
    """Its pages are those of the images in their order: here a label, then the slide."""
    path = tmp_path / "a.ome.tif"
    how: dict[str, Any] = {"photometric": "minisblack" if planes else "rgb", "tile": (TILE, TILE)}
    metadata = {"axes": "CYX" if planes else "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, pixels in (("label", rgb[:40, :50] // 2), ("scan", rgb)):
            file.write(pixels.transpose(2, 0, 1) if planes else pixels, metadata={**metadata, "Name": name}, **how)
    described = tifffile.tiffcomment(path)
    tifffile.tiffcomment(path, re.sub(r"<TiffData.*?(/>|</TiffData>)", "", described, flags=re.DOTALL).encode())
    np.testing.assert_array_equal(seen(path), rgb)
    assert stp.io.slide_series(path) == [1]
    assert stp.io.slide(path).attrs["st_predict"]["um_per_px"] == {"a_image": 0.5}
