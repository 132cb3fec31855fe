"""What a slide's pixels are where nothing was stored, where they are transparent, and where colors are not stored as RGB."""

from __future__ import annotations

import logging
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

import st_predict as stp
from st_predict._spatialdata.image import image_array, image_source, reduced_sources
from st_predict.core.alpha import over_white
from st_predict.core.errors import InputError
from st_predict.io._images import open_image
from st_predict.io._regions import OmeZarrImage, OpenSlideImage
from st_predict.io._tiff import TiffImage

SIZE, TILE = 512, 128


def shown_and_read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels ``(height, width, 3)`` as ``images[...]`` shows them, and as prediction reads them."""
    sdata = stp.io.slide(path)
    (key,) = sdata.images
    source = image_source(sdata, key)
    rows = [
        np.concatenate([source.read_chunk(r, c) for c in range(len(source.col_edges) - 1)], axis=1)
        for r in range(len(source.row_edges) - 1)
    ]
    return image_array(sdata, key).data.compute().transpose(1, 2, 0), np.concatenate(rows)


def sparse(path: Path, *, planar: bool, tiled: bool, n_channels: int = 3) -> None:
    """Blocks of one gray, the last of which were never stored, as libtiff leaves out what nobody wrote."""
    side = {"tile": (TILE, TILE)} if tiled else {"rowsperstrip": TILE}
    shape = (n_channels, SIZE, SIZE) if planar else (SIZE, SIZE, n_channels)
    more: dict[str, Any] = {"planarconfig": "separate"} if planar else {}
    if n_channels == 4:
        more["extrasamples"] = [2]
    tifffile.imwrite(path, np.full(shape, 70, np.uint8), photometric="rgb", compression="zlib", **side, **more)
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages[0].tags
        counts = np.array(tags["TileByteCounts" if tiled else "StripByteCounts"].value)
        a_plane = len(counts) // n_channels if planar else len(counts)
        counts.reshape(-1, a_plane)[:, -2:] = 0
        tags["TileByteCounts" if tiled else "StripByteCounts"].overwrite(counts.tolist())


@pytest.mark.parametrize("n_channels", [3, 4])
@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize("planar", [True, False])
def test_what_was_never_stored_is_white_both_ways_and_counted(
    planar: bool, tiled: bool, n_channels: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "slide.tif"
    sparse(path, planar=planar, tiled=tiled, n_channels=n_channels)
    shown, read = shown_and_read(path)
    np.testing.assert_array_equal(shown, read)
    there = np.ones((SIZE, SIZE), bool)
    there[SIZE - TILE :, SIZE - 2 * TILE :] = False
    if not tiled:
        there[SIZE - 2 * TILE :] = False
    gray = 255 - round((255 - 70) * 70 / 255) if n_channels == 4 else 70
    assert (read[~there] == 255).all() and (read[there] == gray).all()
    planes = n_channels if planar else 1
    n, of = 2 * planes, planes * (SIZE // TILE) ** (2 if tiled else 1)
    assert f"{n} of {of} blocks of slide.tif" in caplog.text and "never stored; they are read as white" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(open_image(path).compute().transpose(1, 2, 0), read)
    assert f"{n} of {of} blocks of slide.tif" in caplog.text


def ome_zarr(
    path: Path, levels: list[np.ndarray], *, version: str = "0.5", fill: int = 0, block: int = 1, sharded: bool = False
) -> None:
    """Levels ``(channels, height, width)``; Zarr leaves out blocks that are nothing but what fills the array."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    for number, level in enumerate(levels):
        shards = (block, 2 * TILE, 2 * TILE) if sharded else None
        array = group.create_array(
            str(number), shape=level.shape, chunks=(block, TILE, TILE), shards=shards, dtype="u1", fill_value=fill
        )
        array[:] = level
    axes = [{"name": name, "unit": "micrometer"} for name in "cyx"]
    datasets = [{"path": str(number)} for number in range(len(levels))]
    described: dict[str, Any] = {"multiscales": [{"version": version, "axes": axes, "datasets": datasets}]}
    if len(levels[0]) == 4:
        described["omero"] = {"channels": [{"label": label} for label in "RGBA"]}
    group.attrs.update(described if version == "0.4" else {"ome": described})


LAYOUTS = [("0.4", 1, False), ("0.4", 3, False), ("0.5", 1, False), ("0.5", 3, False), ("0.5", 1, True)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fill", [0, 255])
def test_chunks_that_a_zarr_lacks_are_white(
    layout: tuple[str, int, bool], fill: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That is what they are where white fills the array, of which nothing needs to be said."""
    version, block, sharded = layout
    pixels = np.full((3, SIZE, SIZE), fill, np.uint8)
    pixels[:, :TILE] = 70
    ome_zarr(tmp_path / "slide.zarr", [pixels], version=version, fill=fill, block=block, sharded=sharded)
    shown, read = shown_and_read(tmp_path / "slide.zarr")
    np.testing.assert_array_equal(shown, read)
    assert (read[:TILE] == 70).all() and (read[TILE:] == 255).all()
    n = 3 // block
    said = f"{12 * n} of {16 * n} blocks of slide.zarr (75 %) were never stored; they are read as white"
    assert caplog.text == "" if fill == 255 else said in caplog.text


def test_a_zarr_that_is_removed_while_it_is_read_is_no_white_slide(tmp_path: Path) -> None:
    path = tmp_path / "slide.zarr"
    ome_zarr(path, [np.full((3, SIZE, SIZE), 70, np.uint8)])
    image = OmeZarrImage(path, where="image", name="0", axes=("c", "y", "x"))
    image.read_box(0, TILE, 0, TILE)
    shutil.rmtree(path)
    with pytest.raises(InputError, match=r"^.*slide.zarr/0 was removed or replaced while it was read\n"):
        image.read_box(0, TILE, 0, TILE)


def in_shards(path: Path, pixels: np.ndarray, **how: Any) -> None:
    """An OME-Zarr whose shards are of another kind than Zarr makes by default."""
    codec = ShardingCodec(chunk_shape=(3, TILE, TILE), **how)
    ome_zarr(path, [pixels])
    described = {"compressors": None, "fill_value": 0, "dtype": "u1", "shape": pixels.shape}
    group = zarr.open_group(str(path), mode="a")
    array = group.create_array("0", chunks=(3, 2 * TILE, 2 * TILE), serializer=codec, overwrite=True, **described)
    array[:] = pixels


@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize(
    "index", [[BytesCodec()], [BytesCodec(endian="big")], [BytesCodec(), Crc32cCodec()]], ids=["plain", "big", "crc"]
)
def test_chunks_that_a_shard_lacks_are_white_wherever_its_index_is(
    place: str, index: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.full((3, SIZE, SIZE), 70, np.uint8)
    pixels[:, :TILE] = 0
    in_shards(tmp_path / "slide.zarr", pixels, index_location=place, index_codecs=index)
    shown, read = shown_and_read(tmp_path / "slide.zarr")
    np.testing.assert_array_equal(shown, read)
    assert (read[:TILE] == 255).all() and (read[TILE:] == 70).all()
    assert "4 of 16 blocks of slide.zarr (25 %) were never stored" in caplog.text


def test_shards_that_do_not_tell_what_they_hold_are_refused(tmp_path: Path) -> None:
    inner = ShardingCodec(chunk_shape=(3, TILE // 2, TILE // 2), codecs=[BytesCodec()])
    in_shards(tmp_path / "within.zarr", np.full((3, SIZE, SIZE), 70, np.uint8), codecs=[inner])
    with pytest.raises(InputError, match="in shards of a kind that does not tell which of its blocks are there"):
        stp.io.slide(tmp_path / "within.zarr")


@pytest.mark.parametrize("named", ["../other.zarr/0", "/other.zarr/0", "0/../../other.zarr/0"])
def test_levels_that_lead_out_of_the_store_are_refused(named: str, tmp_path: Path) -> None:
    for name in ("slide.zarr", "other.zarr"):
        ome_zarr(tmp_path / name, [np.full((3, SIZE, SIZE), 70, np.uint8)])
    group = zarr.open_group(str(tmp_path / "slide.zarr"), mode="a")
    described = dict(group.attrs)["ome"]
    described["multiscales"][0]["datasets"][0]["path"] = named
    group.attrs["ome"] = described
    with pytest.raises(InputError, match=f"names a level '{named}', which lies outside of the store"):
        stp.io.slide(tmp_path / "slide.zarr")


def test_a_shard_that_was_cut_is_refused(tmp_path: Path) -> None:
    in_shards(tmp_path / "cut.zarr", np.full((3, SIZE, SIZE), 70, np.uint8), index_location="start")
    shard = tmp_path / "cut.zarr" / "0" / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match="is truncated or corrupt: its index lists more than the file holds"):
        stp.io.slide(tmp_path / "cut.zarr")


@pytest.mark.parametrize("sharded", [False, True])
def test_a_pixel_that_lacks_a_channel_is_white(sharded: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.full((3, SIZE, SIZE), 70, np.uint8)
    pixels[0, :TILE, :TILE] = 0
    ome_zarr(tmp_path / "slide.zarr", [pixels], sharded=sharded)
    shown, read = shown_and_read(tmp_path / "slide.zarr")
    np.testing.assert_array_equal(shown, read)
    assert (read[:TILE, :TILE] == 255).all() and (read[TILE:] == 70).all() and (read[:, TILE:] == 70).all()
    np.testing.assert_array_equal(image_array(stp.io.slide(tmp_path / "slide.zarr"), "slide_image")[:, 9, 9], [255] * 3)
    assert "1 of 48 blocks of slide.zarr" in caplog.text


@pytest.mark.parametrize(("block", "sharded"), [(1, False), (4, False), (1, True)])
def test_an_alpha_that_a_zarr_leaves_out_is_transparent(
    block: int, sharded: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.full((4, SIZE, SIZE), 70, np.uint8)
    pixels[3] = 255
    pixels[3, :TILE] = 0
    pixels[:, :TILE, :TILE] = 0
    ome_zarr(tmp_path / "slide.zarr", [pixels], block=block, sharded=sharded)
    shown, read = shown_and_read(tmp_path / "slide.zarr")
    np.testing.assert_array_equal(shown, read)
    assert (read[:TILE] == 255).all() and (read[TILE:] == 70).all()
    assert caplog.text == "", "nothing is lost"


def pyramid(path: Path) -> None:
    levels = [np.full((SIZE // k, SIZE // k, 3), 70, np.uint8) for k in (1, 2, 4)]
    if path.suffix == ".zarr":
        ome_zarr(path, [level.transpose(2, 0, 1) for level in levels], block=3)
        return
    how: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "zlib"}
    with tifffile.TiffWriter(path) as file:
        file.write(levels[0], subifds=2, **how)
        for level in levels[1:]:
            file.write(level, subfiletype=1, **how)


def lose(path: Path, level: int, blocks: list[int]) -> None:
    """Take blocks away, counted row by row."""
    if path.suffix == ".zarr":
        a_row = SIZE // 2**level // TILE
        for block in blocks:
            (path / str(level) / "c/0" / str(block // a_row) / str(block % a_row)).unlink()
        return
    with tifffile.TiffFile(path, mode="r+") as file:
        tag = file.series[0].levels[level].keyframe.tags["TileByteCounts"]
        counts = list(tag.value) if np.iterable(tag.value) else [tag.value]
        tag.overwrite([0 if i in blocks else count for i, count in enumerate(counts)])


@pytest.mark.parametrize("name", ["slide.tif", "slide.zarr"])
def test_a_level_that_lacks_what_the_finest_has_is_not_used(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Tissue is looked for on reduced levels."""
    path = tmp_path / name
    pyramid(path)
    assert [source.row_edges[-1] for source in reduced_sources(stp.io.slide(path), "slide_image")] == [256, 128]
    lose(path, 1, [0, 3])
    assert [source.row_edges[-1] for source in reduced_sources(stp.io.slide(path), "slide_image")] == [128]
    said = (
        f"level 1 (256 x 256 px) of {name} is not used: 2 of its 4 blocks were never stored, and the finest level has"
    )
    assert said in caplog.text
    lose(path, 0, [0, 1, 4, 5, 10, 11, 14])
    caplog.clear()
    stp.io.slide(path)
    assert "7 of 16 blocks" in caplog.text and "1 of its 4 blocks were never stored" in caplog.text
    lose(path, 0, [15])
    caplog.clear()
    assert [source.row_edges[-1] for source in reduced_sources(stp.io.slide(path), "slide_image")] == [256, 128]
    assert "8 of 16 blocks" in caplog.text and "not used" not in caplog.text, "it lacks what the finest lacks"


def test_a_whole_slide_is_called_whole(real_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("CMU-1-Small-Region.svs", "tcga-cr-7395-01a-01-ts1.svs"):
        stp.io.slide(real_data / "slides" / name)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture(scope="module")
def rgba() -> np.ndarray:
    """Colors whose alpha goes from none to all, the transparent ones black as programs leave them."""
    y, x = np.mgrid[:SIZE, :SIZE]
    found = np.stack([x / 4 + 90, y / 4 + 60, (x + y) / 8 + 70, x / 2], axis=-1).astype(np.uint8)
    found[:, :100] = 0
    found[:, 400:, 3] = 255
    return found


@pytest.fixture(scope="module")
def laid(rgba: np.ndarray) -> np.ndarray:
    """The same over white, as Pillow lays one image over another."""
    image = Image.fromarray(rgba)
    below = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(below, image).convert("RGB"))


def _png(path: Path, rgba: np.ndarray) -> None:
    Image.fromarray(rgba).save(path, format="png")


def _tiff(**how: Any) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, rgba: np.ndarray) -> None:
        tifffile.imwrite(path, rgba, photometric="rgb", compression="zlib", **{"extrasamples": [2], **how})

    return write


def _associated(path: Path, rgba: np.ndarray) -> None:
    color = np.rint(rgba[..., :3] * (rgba[..., 3:] / 255)).astype(np.uint8)
    _tiff(tile=(TILE, TILE), extrasamples=[1])(path, np.concatenate([color, rgba[..., 3:]], axis=2))


def _planar(path: Path, rgba: np.ndarray) -> None:
    _tiff(tile=(TILE, TILE), planarconfig="separate")(path, rgba.transpose(2, 0, 1))


def _ome_zarr(path: Path, pixels: np.ndarray, labels: Sequence[str] | None = "RGBA", version: str = "0.5") -> None:
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("0", data=np.ascontiguousarray(pixels.transpose(2, 0, 1)), chunks=(1, TILE, TILE))
    axes = [{"name": name} for name in "cyx"]
    described: dict[str, Any] = {"version": version, "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    if labels is not None:
        described["omero"] = {"channels": [{"label": label} for label in labels]}
    group.attrs.update(described if version == "0.4" else {"ome": described})


ALPHA: dict[str, Callable[[Path, np.ndarray], None]] = {
    "png": _png,
    "tiled": _tiff(tile=(TILE, TILE)),
    "strips": _tiff(rowsperstrip=64),
    "ome": _tiff(tile=(TILE, TILE), ome=True, metadata={"axes": "YXS"}),
    "associated": _associated,
    "planar": _planar,
    "zarr": _ome_zarr,
}


@pytest.mark.parametrize("kind", list(ALPHA))
def test_alpha_lies_over_white(kind: str, tmp_path: Path, rgba: np.ndarray, laid: np.ndarray) -> None:
    path = tmp_path / "slide"
    ALPHA[kind](path, rgba)
    shown, read = shown_and_read(path)
    np.testing.assert_array_equal(shown, read)
    assert (read[:, :100] == 255).all() and np.abs(read.astype(int) - laid).max() <= 2
    if kind != "zarr":
        np.testing.assert_array_equal(open_image(path).compute().transpose(1, 2, 0), read)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("order", ["BGRA", "ARGB", "bgra"])
def test_channels_of_a_zarr_are_ordered_by_their_labels(
    order: str, version: str, tmp_path: Path, rgba: np.ndarray, laid: np.ndarray
) -> None:
    stored = rgba[..., ["RGBA".index(name) for name in order.upper()]]
    _ome_zarr(tmp_path / "slide", stored, order, version)
    shown, read = shown_and_read(tmp_path / "slide")
    np.testing.assert_array_equal(shown, read)
    assert np.abs(read.astype(int) - laid).max() <= 2
    again = pickle.loads(pickle.dumps(image_source(stp.io.slide(tmp_path / "slide"), "slide_image")))
    np.testing.assert_array_equal(again.read_box(0, 40, 0, 500), read[:40, :500])


def _ome_planes(path: Path, planes: np.ndarray, names: Sequence[str]) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": list(names)}}
    with tifffile.TiffWriter(path, ome=True) as file:
        given: dict[str, Any] = {"photometric": "minisblack", "tile": (TILE, TILE)}
        file.write(planes, subifds=1, metadata=metadata, **given)
        file.write(planes[:, ::2, ::2], subfiletype=1, metadata=None, **given)


def _imagej_planes(path: Path, planes: np.ndarray, names: Sequence[str]) -> None:
    tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "CYX", "Labels": list(names)})


PLANES = {"ome": _ome_planes, "imagej": _imagej_planes}


@pytest.mark.parametrize("kind", list(PLANES))
@pytest.mark.parametrize("names", [("Blue", "Green", "Red"), ("g", "r", "b"), ("Red", "Green", "Blue")])
def test_planes_of_a_tiff_are_ordered_by_their_names(
    names: Sequence[str], kind: str, tmp_path: Path, rgba: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    rgb, path = rgba[..., :3], tmp_path / "slide"
    PLANES[kind](path, np.stack([rgb[..., "rgb".index(name[0].lower())] for name in names]), names)
    shown, read = shown_and_read(path)
    np.testing.assert_array_equal(shown, rgb)
    np.testing.assert_array_equal(read, rgb)
    np.testing.assert_array_equal(open_image(path).compute().transpose(1, 2, 0), rgb)
    for source in reduced_sources(stp.io.slide(path), "slide_image"):
        np.testing.assert_array_equal(source.read_chunk(0, 0), rgb[::2, ::2])
    again = pickle.loads(pickle.dumps(TiffImage(path, where="path")))
    np.testing.assert_array_equal(again.read_box(0, 40, 0, 500), rgb[:40, :500])
    assert caplog.text == ""


@pytest.mark.parametrize("kind", [*PLANES, "zarr"])
@pytest.mark.parametrize("names", [("DAPI", "GFP", "Cy3"), ("Hematoxylin", "Eosin", "Residual"), ("405", "488", "561")])
def test_planes_named_as_no_colors_are_told(
    names: Sequence[str], kind: str, tmp_path: Path, rgba: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    rgb, path = rgba[..., :3], tmp_path / "slide"
    if kind == "zarr":
        _ome_zarr(path, rgb, names)
    else:
        PLANES[kind](path, rgb.transpose(2, 0, 1), names)
    _, read = shown_and_read(path)
    np.testing.assert_array_equal(read, rgb)
    said = (
        f"the channels of slide are named {', '.join(names)}, which is not red, green and blue; they are taken as these"
    )
    assert caplog.text.count(said) == 1


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("rrr", "the channels of slide are named r, r, r, which is not red, green and blue"),
        ("bg", "slide has 3 channels, and 2 labels of channels (b, g): the labels are not used"),
    ],
)
def test_labels_that_cannot_be_those_of_the_channels_are_told(
    labels: str, said: str, tmp_path: Path, rgba: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    _ome_zarr(tmp_path / "slide", rgba[..., :3], labels)
    np.testing.assert_array_equal(shown_and_read(tmp_path / "slide")[1], rgba[..., :3])
    assert caplog.text.count(said) == 1


@pytest.mark.parametrize("labels", [None, ["CD3", "CD20", "PanCK", "DAPI"], ["Channel 0", "", "", "Channel 3"]])
def test_four_channels_of_a_zarr_that_do_not_say_alpha_are_refused(
    labels: list[str] | None, tmp_path: Path, rgba: np.ndarray
) -> None:
    _ome_zarr(tmp_path / "slide", rgba, labels)
    with pytest.raises(InputError, match="slide has 4 channels.*; nothing says that the fourth is alpha") as error:
        stp.io.slide(tmp_path / "slide")
    assert "in OME-Zarr the labels of omero" in error.value.remedy


@pytest.mark.parametrize(
    "how", [{"tile": (TILE, TILE)}, {"rowsperstrip": 64}, {"tile": (TILE, TILE), "planarconfig": "separate"}]
)
@pytest.mark.parametrize("untold", [False, True])
def test_a_fourth_sample_that_is_not_marked_as_alpha_is_left_out_and_said(
    untold: bool, how: dict[str, Any], tmp_path: Path, rgba: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "slide.tif"
    _tiff(extrasamples=[0], **how)(path, rgba.transpose(2, 0, 1) if "planarconfig" in how else rgba)
    if untold:  # the tag itself is not there: another takes its number
        data = path.read_bytes()
        entry = (338).to_bytes(2, "little") + (3).to_bytes(2, "little")
        assert data.count(entry) == 1
        path.write_bytes(data.replace(entry, (337).to_bytes(2, "little") + entry[2:]))
    shown, read = shown_and_read(path)
    np.testing.assert_array_equal(shown, read)
    np.testing.assert_array_equal(read, rgba[..., :3])
    assert caplog.text.count("the fourth sample of slide.tif is not marked as alpha") == 1
    np.testing.assert_array_equal(open_image(path).compute().transpose(1, 2, 0), read)


@pytest.mark.parametrize("extra", [[0, 0], [0, 2], [2, 0]])
def test_of_two_extra_samples_only_alpha_counts(
    extra: list[int], tmp_path: Path, rgba: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path, samples = tmp_path / "slide.tif", {0: rgba[..., 1], 2: rgba[..., 3]}
    _tiff(extrasamples=extra, tile=(TILE, TILE))(path, np.dstack([rgba[..., :3], *(samples[kind] for kind in extra)]))
    shown, read = shown_and_read(path)
    np.testing.assert_array_equal(shown, read)
    if 2 in extra:
        np.testing.assert_array_equal(read, over_white(rgba))
    else:
        np.testing.assert_array_equal(read, rgba[..., :3])
    assert ("the fourth sample of slide.tif is not marked" in caplog.text) == (extra[0] == 0)
    assert ("the fifth sample of slide.tif is not marked" in caplog.text) == (extra[1] == 0)


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_a_transparent_color_of_a_png_is_white(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 200), (120, 80, 150))
    image.paste((0, 0, 0), (0, 0, 100, 200))
    if mode == "P":
        image = image.quantize(4)
        image.save(tmp_path / "slide.png", transparency=image.getpixel((0, 0)))
    else:
        image.save(tmp_path / "slide.png", transparency=(0, 0, 0))
    _, read = shown_and_read(tmp_path / "slide.png")
    assert (read[:, :100] == 255).all() and (read[:, 100:] == (120, 80, 150)).all()


def test_openslide_lays_alpha_over_white(tmp_path: Path, real_data: Path) -> None:
    """No format of a scanner with half-transparent pixels can be written here; this is what the library hands out."""
    image = OpenSlideImage(real_data / "slides" / "CMU-1-Small-Region.svs", where="path")

    class Handed:
        level_dimensions = ((3, 1),)

        def read_region(self, *_: Any) -> Image.Image:
            return Image.fromarray(np.array([[[0, 0, 0, 0], [100, 60, 20, 127], [100, 60, 20, 255]]], np.uint8))

    image._slide = Handed()
    assert image.read_box(0, 1, 0, 3).tolist() == [[[255, 255, 255], [178, 158, 138], [100, 60, 20]]]


def test_one_rule_for_alpha() -> None:
    pixels = np.array([[[0, 0, 0, 0], [200, 100, 0, 51], [9, 8, 7, 255]]], np.uint8)
    assert over_white(pixels).tolist() == [[[255] * 3, [244, 224, 204], [9, 8, 7]]]
    multiplied = np.array([[[0, 0, 0, 0], [40, 20, 0, 51], [9, 8, 7, 255]]], np.uint8)
    assert over_white(multiplied, premultiplied=True).tolist() == over_white(pixels).tolist()
    assert over_white(pixels[..., :3]).tolist() == pixels[..., :3].tolist()


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    y, x = np.mgrid[:300, :400]
    return np.stack([x / 2 + 40, y / 2 + 60, (x + y) / 4 + 50], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "how", [{"tile": (TILE, TILE)}, {"rowsperstrip": 64}, {"tile": (TILE, TILE), "predictor": True}]
)
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_ycbcr_is_converted(compression: str | None, how: dict[str, Any], tmp_path: Path, rgb: np.ndarray) -> None:
    stored = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    if compression is None:
        how = {name: value for name, value in how.items() if name != "predictor"}
    tifffile.imwrite(tmp_path / "slide.tif", stored, photometric="ycbcr", compression=compression, **how)
    shown, read = shown_and_read(tmp_path / "slide.tif")
    np.testing.assert_array_equal(shown, read)
    assert np.abs(read.astype(int) - rgb).max() <= 3 < 30 < np.abs(stored.astype(int) - rgb).mean()


def test_a_missing_tile_of_ycbcr_is_white(tmp_path: Path, rgb: np.ndarray) -> None:
    stored = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, stored, photometric="ycbcr", compression="lzw", tile=(TILE, TILE))
    lose(path, 0, [1])
    shown, read = shown_and_read(path)
    np.testing.assert_array_equal(shown, read)
    assert (read[:TILE, TILE : 2 * TILE] == 255).all() and np.abs(read[:, :TILE].astype(int) - rgb[:, :TILE]).max() <= 3


@pytest.mark.parametrize("kind", ["planar", "pages", "zarr", "whole"])
def test_a_plane_that_is_missing_whole_is_refused(kind: str, tmp_path: Path, rgb: np.ndarray) -> None:
    """Colors cannot be told without it."""
    path = tmp_path / ("slide.zarr" if kind == "zarr" else "slide.tif")
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    how: dict[str, Any] = {"tile": (TILE, TILE), "compression": "zlib"}
    if kind == "zarr":
        planes[0] = 0
        ome_zarr(path, [planes])
    elif kind == "planar":
        tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", **how)
        lose(path, 0, list(range(12)))
    elif kind == "pages":
        tifffile.imwrite(path, planes, photometric="minisblack", ome=True, metadata={"axes": "CYX"}, **how)
        lose(path, 0, list(range(12)))
    else:
        tifffile.imwrite(path, rgb, photometric="rgb", **how)
        lose(path, 0, list(range(12)))
    said = "none of its blocks was ever stored" if kind == "whole" else "no block of its red channel was ever stored"
    with pytest.raises(InputError, match=said):
        stp.io.slide(path)


def _remark(path: Path, name: str, value: Any) -> None:
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[name].overwrite(value)


def test_colors_that_only_openslide_converts_go_there(tmp_path: Path, rgb: np.ndarray) -> None:
    """CIE L*a*b*, which libtiff converts."""
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, rgb, photometric="rgb", tile=(TILE, TILE))
    _remark(path, "PhotometricInterpretation", 8)
    sdata = stp.io.slide(path)
    assert isinstance(image_source(sdata, "slide_image"), OpenSlideImage)
    with pytest.raises(InputError, match=r"not an 8-bit RGB image: axes YXS, shape \(300, 400, 3\), cielab, none\n"):
        open_image(path)


@pytest.mark.parametrize("code", [0, 1, 5, 9, 10, 32803, 34892])
def test_colors_that_nobody_converts_are_refused_by_name(code: int, tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, rgb, photometric="rgb", rowsperstrip=64, compression="lzw")
    _remark(path, "PhotometricInterpretation", code)
    name = tifffile.PHOTOMETRIC(code).name.lower()
    for read in (stp.io.slide, open_image):
        with pytest.raises(InputError, match=rf"not an 8-bit RGB image: axes .*{name}, lzw\n") as error:
            read(path)
        assert "export it as an 8-bit RGB TIFF" in error.value.remedy


def test_subsampled_ycbcr_without_jpeg_is_refused(tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, rgb, photometric="ycbcr", rowsperstrip=64, compression="lzw")
    _remark(path, "YCbCrSubSampling", (2, 2))
    with pytest.raises(InputError, match=r"ycbcr, lzw"):
        stp.io.slide(path)


def test_four_planes_of_no_known_color_are_refused(tmp_path: Path, rgb: np.ndarray) -> None:
    planes = np.concatenate([rgb, rgb[..., :1]], axis=2).transpose(2, 0, 1)
    path = tmp_path / "slide.ome.tif"
    tifffile.imwrite(path, planes, tile=(TILE, TILE), ome=True, metadata={"axes": "CYX"}, photometric="minisblack")
    with pytest.raises(InputError, match=r"axes CYX, shape \(4, 300, 400\), minisblack"):
        stp.io.slide(path)


def test_tiles_that_overlap_go_to_openslide(tmp_path: Path) -> None:
    """A TIFF as a Trestle scanner writes it: each tile shows 16 px of the one before again."""
    overlap, n = 16, 3
    side = n * TILE - (n - 1) * overlap
    y, x = np.mgrid[:side, :side]
    truth = np.stack([x / 2, y / 2, (x + y) / 4], axis=-1).astype(np.uint8)
    stored = np.empty((n * TILE, n * TILE, 3), np.uint8)
    step = TILE - overlap
    for row in range(n):
        for col in range(n):
            part = truth[row * step : row * step + TILE, col * step : col * step + TILE]
            stored[row * TILE : (row + 1) * TILE, col * TILE : (col + 1) * TILE] = part
    path = tmp_path / "slide.tif"
    tifffile.imwrite(
        path, stored, tile=(TILE, TILE), photometric="rgb", metadata=None, software="MedScan 1.0",
        description=f"Objective Magnification=20;OverlapsXY= {overlap} {overlap};Background Color=FFFFFF",
    )  # fmt: skip
    sdata = stp.io.slide(path)
    assert isinstance(image_source(sdata, "slide_image"), OpenSlideImage)
    shown, read = shown_and_read(path)
    np.testing.assert_array_equal(shown, read)
    np.testing.assert_array_equal(read, truth)


def _ome_xml(images: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f"{images}</OME>"
    )


def _ome_image(number: int, side: int, um: float, data: str) -> str:
    return (
        f'<Image ID="Image:{number}"><Pixels ID="Pixels:{number}" DimensionOrder="XYCZT" Type="uint8" SizeX="{side}" '
        f'SizeY="{side}" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="{um}" PhysicalSizeY="{um}">'
        f'<Channel ID="Channel:{number}:0" SamplesPerPixel="3"/>{data}</Pixels></Image>'
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_ome_scale_is_that_of_the_image_and_not_of_its_place(order: tuple[int, int], tmp_path: Path) -> None:
    """One image is described whose data are elsewhere, so that the second described is the first that is there."""
    described = [
        _ome_image(0, 256, 4.0, ""),
        _ome_image(1, 256, 0.5, '<TiffData IFD="0" PlaneCount="1"/>'),
    ]
    path = tmp_path / "slide.ome.tif"
    tifffile.imwrite(
        path, np.full((256, 256, 3), 90, np.uint8), tile=(TILE, TILE), photometric="rgb", metadata=None,
        description=_ome_xml("".join(described[i] for i in order)),
    )  # fmt: skip
    assert stp.io.slide(path).attrs["st_predict"]["um_per_px"] == {"slide_image": 0.5}


def test_a_pickle_is_of_the_same_picture(tmp_path: Path, rgb: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "slide.tif", rgb, photometric="rgb", tile=(TILE, TILE))
    image = TiffImage(tmp_path / "slide.tif", where="path", series=0)
    again = pickle.loads(pickle.dumps(image))
    assert again.series == 0 and np.array_equal(again.read_box(10, 90, 20, 300), rgb[10:90, 20:300])


@pytest.mark.parametrize("stated", ["0.499 um", "0,499 µm/px", "0.499 micron", "4.99e-4 mm", "499nm", "0.499 parsec"])
def test_a_unit_behind_the_scale_of_an_svs(
    stated: str, tmp_path: Path, rgb: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    described = f"Aperio Image Library v11\n400x300 |AppMag = 20|MPP = {stated}|Left = 1".encode()
    tifffile.imwrite(
        tmp_path / "slide.svs", rgb, tile=(TILE, TILE), photometric="rgb", metadata=None, description=described
    )
    known = stp.io.slide(tmp_path / "slide.svs").attrs["st_predict"]["um_per_px"]
    assert known == ({} if "parsec" in stated else {"slide_image": pytest.approx(0.499)})
    assert ("which is not a length" in caplog.text) == ("parsec" in stated)


@pytest.mark.parametrize("kind", ["ome", "svs", "zarr"])
@pytest.mark.parametrize("stated", ["0,4990", "0.4990 ", "e", "", "0", "nan", "-1"])
def test_a_scale_that_is_no_number_is_unknown(
    stated: str, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, rgb: np.ndarray
) -> None:
    """Some programs write a decimal comma; of what cannot be read it is said."""
    path = tmp_path / {"ome": "slide.ome.tif", "svs": "slide.svs", "zarr": "slide.zarr"}[kind]
    if kind == "zarr":
        ome_zarr(path, [rgb.transpose(2, 0, 1)])
        restate(path, [{"type": "scale", "scale": [1, stated, stated]}])
    else:
        aperio = f"Aperio Image Library v11\n400x300 |AppMag = 20|MPP = {stated}|Left = 1"
        image = _ome_image(0, 300, 1.0, '<TiffData IFD="0" PlaneCount="1"/>').replace('SizeX="300"', 'SizeX="400"')
        described = _ome_xml(image.replace('="1.0"', f'="{stated}"')) if kind == "ome" else aperio
        tifffile.imwrite(path, rgb, tile=(TILE, TILE), photometric="rgb", metadata=None, description=described)
    known = stp.io.slide(path).attrs["st_predict"]["um_per_px"]
    if "499" in stated:
        assert known == {"slide_image": pytest.approx(0.499)} and caplog.text == ""
    else:
        assert known == {} and f"state {stated!r} for the size of a pixel, which is not a length" in caplog.text


def restate(path: Path, transformations: Any) -> None:
    group = zarr.open_group(str(path), mode="a")
    described: Any = group.attrs["ome"]
    described["multiscales"][0]["datasets"][0]["coordinateTransformations"] = transformations
    group.attrs["ome"] = described


@pytest.mark.parametrize(
    "transformations",
    [
        [{"type": "scale", "scale": [2.0, 2.0]}],
        [{"type": "scale", "path": "x"}],
        [{"type": "scale", "scale": "2"}],
        ["x"],
        None,
    ],
)
def test_a_scaling_that_cannot_be_read_tells_nothing(transformations: Any, tmp_path: Path, rgb: np.ndarray) -> None:
    path = tmp_path / "slide.zarr"
    ome_zarr(path, [rgb.transpose(2, 0, 1)])
    restate(path, transformations)
    assert stp.io.slide(path).attrs["st_predict"]["um_per_px"] == {}
    assert stp.io.slide(path, um_per_px=0.5).attrs["st_predict"]["um_per_px"] == {"slide_image": 0.5}
