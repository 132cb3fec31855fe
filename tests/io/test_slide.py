"""Bare slides: every format gives the same pixels and scale, nothing is decoded to open one, bad files are refused."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr
from PIL import Image
from spatialdata.transformations import get_transformation

import st_predict as stp
from st_predict._spatialdata.image import image_array, image_source
from st_predict.core.dicom import dicom_files
from st_predict.core.errors import InputError
from st_predict.io import _flat_image
from st_predict.io._images import open_image
from st_predict.io._regions import OpenSlideImage
from st_predict.io._slide import slide_files
from st_predict.io._tiff import TiffImage

HEIGHT, WIDTH = 1400, 2200
UM = 0.5
WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {}


def writer(suffix: str) -> Callable[..., Any]:
    def add(write: Callable[[Path, np.ndarray], None]) -> Any:
        def to(folder: Path, pixels: np.ndarray) -> Path:
            path = folder / f"a slide{suffix}"
            write(path, pixels)
            return path

        WRITERS[write.__name__] = to
        return to

    return add


def _halved(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3)).astype(np.uint8)


RESOLUTION = {"resolution": (1e4 / UM, 1e4 / UM), "resolutionunit": "CENTIMETER"}
JPEG = {"tile": (256, 256), "compression": "jpeg", "photometric": "rgb", "compressionargs": {"level": 95}}


@writer(".tif")
def pyramid(path: Path, pixels: np.ndarray) -> None:
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(pixels, subifds=1, **JPEG, **RESOLUTION)
        file.write(_halved(pixels), subfiletype=1, **JPEG)


@writer(".tiff")
def pages(path: Path, pixels: np.ndarray) -> None:
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, **JPEG, **RESOLUTION, metadata=None)
        file.write(_halved(pixels), **JPEG, metadata=None)


@writer(".ome.tif")
def ome_tiff(path: Path, pixels: np.ndarray) -> None:
    sizes = {
        "axes": "YXS",
        "PhysicalSizeX": UM,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": UM,
        "PhysicalSizeYUnit": "µm",
    }
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(pixels, subifds=1, metadata=sizes, **JPEG)
        file.write(_halved(pixels), subfiletype=1, **JPEG)


@writer(".tif")
def jpeg2000(path: Path, pixels: np.ndarray) -> None:
    tifffile.imwrite(path, pixels, tile=(256, 256), compression="jpeg2000", photometric="rgb", **RESOLUTION)


@writer(".tif")
def rgba(path: Path, pixels: np.ndarray) -> None:
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    tifffile.imwrite(
        path, np.concatenate([pixels, alpha], 2), tile=(256, 256), photometric="rgb", extrasamples=[2], **RESOLUTION
    )


@writer(".tif")
def strips(path: Path, pixels: np.ndarray) -> None:
    tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=64, compression="lzw", **RESOLUTION)


def _ome_zarr(path: Path, pixels: np.ndarray, version: str) -> None:
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for i, level in enumerate((pixels, _halved(pixels))):
        values = level.transpose(2, 0, 1)[None, :, None]  # t, c, z, y, x
        group.create_array(str(i), data=np.ascontiguousarray(values), chunks=(1, 3, 1, 300, 400))
        scale = [1, 1, 1, UM * 2**i / 1000, UM * 2**i / 1000]
        datasets.append({"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    axes = [{"name": name, "unit": "millimeter" if name in "yx" else None} for name in "tczyx"]
    described = {"multiscales": [{"version": version, "axes": axes, "datasets": datasets}]}
    group.attrs.update(described if version == "0.4" else {"ome": described})


@writer(".ome.zarr")
def ome_zarr_04(path: Path, pixels: np.ndarray) -> None:
    _ome_zarr(path, pixels, "0.4")


@writer(".zarr")
def ome_zarr_05(path: Path, pixels: np.ndarray) -> None:
    _ome_zarr(path, pixels, "0.5")


@writer(".jpg")
def flat_jpeg(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path, quality=95, subsampling=0)


@writer(".png")
def flat_png(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


STATE_NO_SCALE = {"flat_jpeg", "flat_png"}
OF_ONE_LEVEL = {"jpeg2000", "rgba", "strips", "flat_jpeg", "flat_png"}


@pytest.fixture(scope="module")
def pixels(files: Any) -> np.ndarray:
    return files.asymmetric_pixels(HEIGHT, WIDTH)


@pytest.fixture
def real_slides(real_data: Path) -> Path:
    return real_data / "slides"


def whole(source: Any) -> np.ndarray:
    rows = [
        np.concatenate([source.read_chunk(r, c) for c in range(len(source.col_edges) - 1)], axis=1)
        for r in range(len(source.row_edges) - 1)
    ]
    return np.concatenate(rows)


@pytest.mark.parametrize("kind", list(WRITERS))
def test_every_format_gives_the_same_pixels_and_scale(kind: str, tmp_path: Path, pixels: np.ndarray) -> None:
    sdata = stp.io.slide(WRITERS[kind](tmp_path, pixels))
    key = "a_slide_image"
    assert list(sdata.images) == [key] and not sdata.shapes and not sdata.tables
    scale = sdata.attrs["st_predict"]["um_per_px"]
    assert scale == ({} if kind in STATE_NO_SCALE else {key: pytest.approx(UM)})
    source = image_source(sdata, key)
    assert not type(source).__name__.startswith("Dask"), "read where it lies"
    found = whole(source)
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found.astype(int) - pixels).mean() < 2, "JPEG is lossy"
    np.testing.assert_array_equal(
        image_array(sdata, key).data[:, 700:720, 90:140].compute(), found[700:720, 90:140].transpose(2, 0, 1)
    )
    element = sdata.images[key]
    if kind in OF_ONE_LEVEL:
        assert element.shape == (3, HEIGHT, WIDTH)
        return
    reduced = element["scale1"]["image"]
    assert reduced.shape == (3, HEIGHT // 2, WIDTH // 2)
    affine = get_transformation(reduced, "global").to_affine_matrix(("x", "y"), ("x", "y"))
    np.testing.assert_allclose(affine, np.diag([2, 2, 1]))


@pytest.mark.parametrize("kind", ["pyramid", "ome_zarr_05", "flat_jpeg", "strips"])
def test_a_slide_travels_to_another_process(kind: str, tmp_path: Path, pixels: np.ndarray) -> None:
    source = image_source(stp.io.slide(WRITERS[kind](tmp_path, pixels)), "a_slide_image")
    blob = pickle.dumps(source)
    assert len(blob) < 5000
    code = "import pickle, sys; sys.stdout.buffer.write(pickle.load(sys.stdin.buffer).read_chunk(0, 0).tobytes())"
    there = subprocess.run([sys.executable, "-c", code], input=blob, capture_output=True, check=True).stdout
    assert there == source.read_chunk(0, 0).tobytes()


def test_nothing_is_decoded_to_open_a_slide(
    tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write(tmp_path, pixels) for kind, write in WRITERS.items() if kind not in ("pages", "rgba", "strips")]

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(tifffile.TiffPage, "decode", refused)
    monkeypatch.setattr(_flat_image, "decode_flat", refused)
    monkeypatch.setattr(zarr.Array, "__getitem__", refused)
    assert all(len(stp.io.slide(path).images) == 1 for path in paths)


def test_each_tile_of_a_chunk_is_decoded_once(
    tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = image_source(stp.io.slide(WRITERS["pyramid"](tmp_path, pixels)), "a_slide_image")
    decoded = []
    decode = TiffImage._decode
    monkeypatch.setattr(
        TiffImage, "_decode", lambda self, file, index: decoded.append(index) or decode(self, file, index)
    )
    whole(source)
    assert sorted(decoded) == list(range(6 * 9))


def test_tiles_that_a_scanner_left_out_are_white(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "sparse.tif"

    def tiles() -> Any:
        for i in range(6):
            yield None if i == 4 else np.zeros((256, 256, 3), np.uint8)

    tifffile.imwrite(path, tiles(), shape=(512, 768, 3), dtype=np.uint8, tile=(256, 256), photometric="rgb")
    found = whole(image_source(stp.io.slide(path), "sparse_image"))
    assert (found[256:, 256:512] == 255).all() and not found[:256].any()


def test_openslide_and_tifffile_read_the_same_slide(real_slides: Path) -> None:
    path = real_slides / "CMU-1-Small-Region.svs"
    ours, theirs = (whole(reader(path, where="path")) for reader in (TiffImage, OpenSlideImage))
    assert ours.shape == theirs.shape == (2967, 2220, 3)
    assert np.abs(ours.astype(int) - theirs).mean() < 1
    level = OpenSlideImage(path, where="path")
    np.testing.assert_array_equal(level[:, 100:140, 50:90], theirs[100:140, 50:90].transpose(2, 0, 1))
    np.testing.assert_array_equal(level[1, 100, [5, 3]], theirs[100, [5, 3], 1])
    assert pickle.loads(pickle.dumps(level)).shape == level.shape


def test_slides_that_are_no_tiff_go_through_openslide(
    real_slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The formats of other scanners cannot be made here; this is their path through the reader, with a slide it knows."""
    from st_predict.io import _slide

    monkeypatch.setattr(_slide, "is_tiff", lambda _: False)
    sdata = stp.io.slide(real_slides / "CMU-1-Small-Region.svs")
    assert sdata.attrs["st_predict"]["um_per_px"] == {"CMU-1-Small-Region_image": pytest.approx(0.499)}
    assert isinstance(image_source(sdata, "CMU-1-Small-Region_image"), OpenSlideImage)


def test_real_slides(real_slides: Path) -> None:
    small = stp.io.slide(real_slides / "CMU-1-Small-Region.svs")
    assert small.attrs["st_predict"]["um_per_px"] == {"CMU-1-Small-Region_image": pytest.approx(0.499)}
    tcga = stp.io.slide(real_slides / "tcga-cr-7395-01a-01-ts1.svs")
    assert tcga.attrs["st_predict"]["um_per_px"] == {}, "this one states none"
    tree = tcga.images["tcga-cr-7395-01a-01-ts1_image"]
    fine, coarse = (tree[f"scale{i}"]["image"].data for i in (0, 1))
    assert fine.shape == (3, 3567, 4443) and coarse.shape == (3, 1783, 2221)
    box = fine[:, 1000:1800, 1000:1800].compute().reshape(3, 400, 2, 400, 2).mean(axis=(2, 4))
    reduced = coarse[:, 500:900, 500:900].compute()
    assert np.abs(reduced - box).mean() < 8 < 20 < np.abs(np.roll(reduced, 5, axis=1) - box).mean()
    given = stp.io.slide(real_slides / "tcga-cr-7395-01a-01-ts1.svs", um_per_px=0.25)
    assert given.attrs["st_predict"]["um_per_px"] == {"tcga-cr-7395-01a-01-ts1_image": 0.25}


def test_resolution_that_a_program_filled_in_is_no_scale(tmp_path: Path, pixels: np.ndarray) -> None:
    for name, unit in (("dots", "INCH"), ("none", "NONE")):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", resolution=(72, 72), resolutionunit=unit)
        assert stp.io.slide(path).attrs["st_predict"]["um_per_px"] == {}


@pytest.mark.parametrize(("y", "sides"), [(1e4, "0.5 x 1"), (4e4, "0.5 x 0.25")])
def test_resolution_of_pixels_that_are_not_square_is_refused(
    y: float, sides: str, tmp_path: Path, pixels: np.ndarray
) -> None:
    path = tmp_path / "slide.tif"
    given: dict[str, Any] = {"resolution": (2e4, y), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", **given)
    with pytest.raises(InputError, match=f"slide.tif states pixels of {sides} um, which are not square"):
        stp.io.slide(path)
    assert stp.io.slide(path, um_per_px=0.5).attrs["st_predict"]["um_per_px"] == {"slide_image": 0.5}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _cut_before_the_list(path: Path) -> None:
    """As scanners write: the pixels first, then the list of images, here beyond the end."""
    whole = path.read_bytes()
    path.write_bytes(b"II*\0" + len(whole).to_bytes(4, "little") + whole[8:])


def _text(path: Path) -> None:
    path.write_text("no slide at all")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cmyk(path: Path) -> None:
    Image.new("CMYK", (600, 500)).save(path, format="jpeg")


def _gray(path: Path) -> None:
    Image.new("L", (600, 500)).save(path, format="png")


def _sixteen(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((512, 512, 3), np.uint16), tile=(256, 256), photometric="rgb")


def _fluorescence(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((5, 512, 512), np.uint8), tile=(256, 256), metadata={"axes": "CYX"}, ome=True)


def _sizes(path: Path, x: float, y: float) -> None:
    sizes = {"axes": "YXS", "PhysicalSizeX": x, "PhysicalSizeY": y}
    tifffile.imwrite(
        path, np.zeros((512, 512, 3), np.uint8), ome=True, metadata=sizes, tile=(256, 256), photometric="rgb"
    )


def _tiny_scale(path: Path) -> None:
    _sizes(path, 0.01, 0.01)


def _huge_scale(path: Path) -> None:
    _sizes(path, 50.0, 50.0)


def _oblong(path: Path) -> None:
    _sizes(path, 0.25, 0.5)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_text, "is not a slide this reader knows"),
        (_empty, "is empty"),
        (_cut, "is truncated or corrupt"),
        (_cut_before_the_list, "is truncated or corrupt: the list of its images lies beyond its end"),
        (_cmyk, "is not an 8-bit RGB image: its colors are CMYK, as for printing"),
        (_gray, "is not an 8-bit RGB image: it is grayscale (L)"),
        (_sixteen, "is not an 8-bit RGB image: its colors are uint16"),
        (_fluorescence, "is not an 8-bit RGB image: it has 5 channels of uint8"),
        (_tiny_scale, "state 0.01 um a pixel, which cannot be right"),
        (_huge_scale, "state 50 um a pixel, which cannot be right"),
        (_oblong, "states pixels of 0.25 x 0.5 um, which are not square"),
    ],
)
def test_bad_files_are_refused(spoil: Callable[[Path], None], said: str, tmp_path: Path, pixels: np.ndarray) -> None:
    path = WRITERS["pyramid"](tmp_path, pixels)
    spoil(path)
    with pytest.raises(InputError, match=re.escape(said)) as error:
        stp.io.slide(path)
    assert error.value.where == "path" and error.value.remedy


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Pillow keeps a GIF open
@pytest.mark.parametrize(
    ("kind", "name"), [("JPEG2000", "JPEG 2000"), ("BMP", "BMP"), ("WEBP", "WebP"), ("GIF", "GIF"), ("PPM", "PPM")]
)
def test_images_of_other_kinds_are_named_and_the_remedy_gives_a_slide(
    kind: str, name: str, tmp_path: Path, pixels: np.ndarray
) -> None:
    path = tmp_path / "a.img"
    Image.fromarray(pixels[:100, :120]).save(path, format=kind)
    for read in (stp.io.slide, open_image):
        with pytest.raises(InputError, match=rf"^a\.img is not .* this reader knows \(it is {name}\)") as error:
            read(path)
    exec(error.value.remedy.split(": ", 1)[1], {"PIL": PIL})
    assert open_image(tmp_path / "a_rgb.png").shape == (3, 100, 120)


@pytest.mark.parametrize(
    ("content", "said", "remedy"),
    [
        (gzip.compress(b"II*\0", mtime=0), "it is compressed with gzip", "gunzip -k 'a b.svs'"),
        (b"PK\3\4rest", "it is a ZIP archive", "unzip 'a b.svs'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is the pointer of Git LFS", "git lfs pull"),
        (b"\r\n<!DOCTYPE HTML><html>", "it is a web page", "fetch the file again"),
        (b"something else", "it starts with b'somethin'", "check the path"),
    ],
)
def test_files_that_are_no_images_are_told_by_what_they_are(
    content: bytes, said: str, remedy: str, tmp_path: Path
) -> None:
    (tmp_path / "a b.svs").write_bytes(content)
    for read in (stp.io.slide, open_image):
        with pytest.raises(InputError, match=re.escape(said)) as error:
            read(tmp_path / "a b.svs")
        assert remedy in error.value.remedy


def test_a_folder_that_is_no_slide_is_not_searched_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    for number in range(30):
        (tmp_path / "a" / f"{number}.txt").touch()
        (tmp_path / f"{number}").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("_MOST_FOLDERS", "_MOST_OTHERS"):
        with monkeypatch.context() as limited:
            limited.setattr(f"st_predict.core.dicom.{name}", 10)
            limited.setattr("st_predict.core.dicom.is_dicom_file", lambda file: int(file.stem) > 1_000)
            assert dicom_files(tmp_path) == []
    with pytest.raises(InputError, match="it is a folder, but not an OME-Zarr image"):
        slide_files(tmp_path)


def test_a_wrong_scale_can_be_set_right(tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    _huge_scale(path)
    sdata = stp.io.slide(path, um_per_px=0.5)
    assert sdata.attrs["st_predict"]["um_per_px"] == {"slide_image": 0.5}
    with pytest.raises(InputError, match="um_per_px is 50"):
        stp.io.slide(path, um_per_px=50)


def test_a_flat_image_that_is_cut_is_refused_when_it_is_read(tmp_path: Path, pixels: np.ndarray) -> None:
    path = WRITERS["flat_jpeg"](tmp_path, pixels)
    _cut(path)
    source = image_source(stp.io.slide(path), "a_slide_image")
    with pytest.raises(InputError, match="a slide.jpg is truncated or corrupt"):
        source.read_chunk(0, 0)


def test_folders_that_are_no_slide(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="it is a folder, but not an OME-Zarr image"):
        stp.io.slide(tmp_path / "empty")
    zarr.open_group(str(tmp_path / "other.zarr"), mode="w")
    with pytest.raises(InputError, match="a Zarr store without an OME image"):
        stp.io.slide(tmp_path / "other.zarr")
    from spatialdata import SpatialData

    SpatialData().write(tmp_path / "sdata.zarr")
    with pytest.raises(InputError, match=r"read it with spatialdata\.read_zarr"):
        stp.io.slide(tmp_path / "sdata.zarr")
    with pytest.raises(InputError, match="no such file"):
        stp.io.slide(tmp_path / "gone.svs")


@pytest.mark.one_python
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can become another user")
def test_a_file_that_may_not_be_read(pixels: np.ndarray) -> None:
    tmp_path = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folder is closed to others
    tmp_path.chmod(0o755)
    path = WRITERS["flat_png"](tmp_path, pixels)
    path.chmod(0o000)
    code = (
        "import json, os, sys, warnings; warnings.simplefilter('ignore')\n"
        "import spatialdata; from st_predict.core.errors import InputError; from st_predict.io import slide\n"
        "os.setuid(65534)\n"
        f"try: slide({str(path)!r})\n"
        "except InputError as error: print(json.dumps([error.what, error.remedy]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shutil.rmtree(tmp_path)
    what, remedy = json.loads(done.stdout)
    assert "may not be read (permission denied)" in what and "chmod" in remedy


def test_another_picture_in_the_file_is_no_level(tmp_path: Path) -> None:
    """Two sections on one slide: the larger is read, and its own scale."""
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for size, value, um in ((256, 0, 4.0), (512, 200, 0.5)):
            picture = np.full((size, size, 3), value, np.uint8)
            sizes = {"axes": "YXS", "PhysicalSizeX": um, "PhysicalSizeY": um}
            file.write(picture, tile=(128, 128), photometric="rgb", metadata=sizes)
    sdata = stp.io.slide(path)
    assert sdata.images["two_image"].shape == (3, 512, 512), "one level"
    assert sdata.attrs["st_predict"]["um_per_px"] == {"two_image": 0.5}


def test_a_picture_of_odd_size_is_no_level(tmp_path: Path) -> None:
    path = tmp_path / "odd.tif"
    with tifffile.TiffWriter(path) as file:
        for size in (900, 500):
            picture = np.full((size, size, 3), size % 256, np.uint8)
            file.write(picture, tile=(128, 128), photometric="rgb", metadata=None)
    assert stp.io.slide(path).images["odd_image"].shape == (3, 900, 900)


def test_a_smaller_first_page_does_not_tell_the_scale(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as file:
        for level, um in ((_halved(pixels), 4.0), (pixels, UM)):
            file.write(level, **JPEG, metadata=None, resolution=(1e4 / um, 1e4 / um), resolutionunit="CENTIMETER")
    assert stp.io.slide(path).attrs["st_predict"]["um_per_px"] == {"slide_image": pytest.approx(UM)}


def test_narrow_pyramids_of_many_levels(tmp_path: Path) -> None:
    path, pixels = tmp_path / "narrow.tif", np.full((6001, 601, 3), 120, np.uint8)
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, subifds=5, tile=(64, 64), photometric="rgb", compression="zlib")
        for _ in range(5):
            pixels = pixels[: len(pixels) // 2 * 2 : 2, : pixels.shape[1] // 2 * 2 : 2]
            file.write(pixels, subfiletype=1, tile=(64, 64), photometric="rgb", compression="zlib")
    assert len(stp.io.slide(path).images["narrow_image"].children) == 6


def test_an_outer_scale_of_an_ome_zarr_counts(tmp_path: Path, pixels: np.ndarray) -> None:
    path = WRITERS["ome_zarr_05"](tmp_path, pixels)
    group = zarr.open_group(str(path), mode="r+")
    described = dict(group.attrs["ome"])
    described["multiscales"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [1, 1, 1, 0.5, 0.5]}]
    group.attrs["ome"] = described
    assert stp.io.slide(path).attrs["st_predict"]["um_per_px"] == {"a_slide_image": pytest.approx(UM / 2)}


def test_folders_that_only_look_like_slides(tmp_path: Path, pixels: np.ndarray) -> None:
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "DICOMDIR").write_bytes(b"\0")
    with pytest.raises(InputError, match=r"has no complete DICOM file"):
        stp.io.slide(tmp_path / "dicom")
    path = WRITERS["ome_zarr_05"](tmp_path, pixels)
    group = zarr.open_group(str(path), mode="r+")
    described = dict(group.attrs["ome"])
    described["multiscales"][0]["axes"] = described["multiscales"][0]["axes"][2:]
    group.attrs["ome"] = described
    with pytest.raises(InputError, match="its metadata name 3 axes .z, y, x., and its level '0' has 5"):
        stp.io.slide(path)


@pytest.mark.parametrize(
    ("side", "n_levels", "said"),
    [
        (2_000_000, 2, r"its levels are \[\[2000000, 2000000\], "),
        (20_000_000, 1, "px in [0-9]+ blocks, which no slide has"),
        (0, 1, "it states 0 x 0 px"),
    ],
)
def test_a_size_that_a_store_only_claims_costs_no_time(
    side: int, n_levels: int, said: str, tmp_path: Path, pixels: np.ndarray
) -> None:
    path = WRITERS["ome_zarr_05"](tmp_path, pixels)
    metadata = path / "0" / "zarr.json"
    known = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**known, "shape": [*known["shape"][:-2], side, side]}))
    group = zarr.open_group(str(path), mode="r+")
    described = dict(group.attrs["ome"])
    described["multiscales"][0]["datasets"] = described["multiscales"][0]["datasets"][:n_levels]
    group.attrs["ome"] = described
    with pytest.raises(InputError, match=said):
        stp.io.slide(path)


@pytest.mark.parametrize("lost", ["zarr.json", ".zattrs"])
def test_a_store_that_lost_its_root_says_what_it_lost(lost: str, tmp_path: Path, pixels: np.ndarray) -> None:
    path = WRITERS["ome_zarr_04" if lost == ".zattrs" else "ome_zarr_05"](tmp_path, pixels)
    (path / lost).unlink()
    with pytest.raises(InputError, match=f"a Zarr store without an OME image: it has no {lost}"):
        stp.io.slide(path)


@pytest.mark.parametrize(("writer", "file"), [("ome_zarr_04", ".zarray"), ("ome_zarr_05", "zarr.json")])
@pytest.mark.parametrize("level", ["0", "1"])
def test_a_value_of_zarr_that_no_pixel_can_have(
    writer: str, file: str, level: str, tmp_path: Path, pixels: np.ndarray
) -> None:
    path = WRITERS[writer](tmp_path, pixels)
    metadata = path / level / file
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "fill_value": -1}))
    with pytest.raises(InputError, match="is truncated or corrupt: its header contradicts itself"):
        stp.io.slide(path)


@pytest.mark.parametrize(
    ("um", "known"), [(0.027, None), (0.079, None), (0.08, 0.08), (9.9, 9.9), (11.0, None), (352.8, None)]
)
def test_a_generic_tag_counts_within_what_microscopes_do(um: float, known: float | None, tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(
        path, np.full((256, 256, 3), 90, np.uint8), tile=(128, 128), photometric="rgb",
        resolution=(1e4 / um, 1e4 / um), resolutionunit="CENTIMETER",
    )  # fmt: skip
    found = stp.io.slide(path).attrs["st_predict"]["um_per_px"]
    assert found == ({} if known is None else {"slide_image": pytest.approx(known, rel=1e-4)})


def test_a_chunk_that_is_no_chunk_is_told_where_pixels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "case.zarr"
    _ome_zarr(path, np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8), "0.4")
    sdata = stp.io.slide(path, um_per_px=0.5)
    chunk = max((one for one in path.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)
    chunk.write_bytes(b"junk")
    (image,) = sdata.images.values()
    finest = image["scale0"]["image"] if hasattr(image, "keys") and "scale0" in image else image
    with pytest.raises(InputError, match=r"^case\.zarr is truncated or corrupt"):
        np.asarray(finest)


@pytest.mark.parametrize(
    ("version", "changed", "why"),
    [
        ("0.4", {"compressor": {"id": "foo"}}, "foo"),
        ("0.4", {"filters": [{"id": "foo"}]}, "foo"),
        ("0.5", {"codecs": [{"name": "bytes"}, {"name": "foo"}]}, "foo"),
        (
            "0.5",
            {"foo": {"must_understand": True}},
            "must_understand",
        ),
        ("0.5", {"data_type": "foo"}, "No Zarr data type found that matches 'foo'"),
    ],
)
@pytest.mark.parametrize("level", ["0", "1"])
def test_a_store_of_what_zarr_does_not_know_is_not_called_corrupt(
    version: str, changed: dict[str, Any], why: str, level: str, tmp_path: Path, pixels: np.ndarray
) -> None:
    path = tmp_path / "a.zarr"
    _ome_zarr(path, pixels, version)
    metadata = path / level / (".zarray" if version == "0.4" else "zarr.json")
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | changed))
    with pytest.raises(InputError) as error:
        stp.io.slide(path)
    said, _, by_zarr = error.value.what.partition(": ")  # which each version of it words otherwise
    assert said == f"zarr does not know how to read the level {level!r} of a.zarr" and why in by_zarr


def test_a_scale_of_hundreds_of_digits_is_no_length(
    tmp_path: Path, pixels: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.zarr"
    _ome_zarr(path, pixels, "0.4")
    metadata = path / ".zattrs"
    described = json.loads(metadata.read_text())
    described["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"][-1] = 10**400
    metadata.write_text(json.dumps(described))
    assert stp.io.slide(path).attrs["st_predict"]["um_per_px"] == {}
    assert "the metadata of a.zarr state 10000000" in caplog.text
