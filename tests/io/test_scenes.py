"""Files of several slides say so and give each; slides of several files are opened where they were named."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import st_predict as stp
from st_predict._spatialdata.image import image_array, reduced_sources
from st_predict.cli.predict import is_slide
from st_predict.core.errors import InputError
from st_predict.io._images import open_image

SIDES, TILE = (256, 512, 384), 128


def scene(number: int) -> np.ndarray:
    return np.full((SIDES[number], SIDES[number], 3), 60 + 40 * number, np.uint8)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three scenes of their own scales, each a pyramid, and the photograph of the label."""
    path = tmp_path / "case.ome.tif"
    tiled: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "zlib"}
    with tifffile.TiffWriter(path, ome=True) as file:
        for number in range(3):
            um = 0.25 * (number + 1)
            known = {"axes": "YXS", "Name": f"scene {number}", "PhysicalSizeX": um, "PhysicalSizeY": um}
            file.write(scene(number), subifds=1, metadata=known, **tiled)
            file.write(scene(number)[::2, ::2], subfiletype=1, **tiled)
        file.write(np.full((900, 900, 3), 9, np.uint8), metadata={"axes": "YXS", "Name": "label image"}, **tiled)
    return path


def seen(path: Path, **given: Any) -> tuple[np.ndarray, dict[str, Any], int]:
    """Pixels, what is kept of the file, and how many reduced copies there are."""
    sdata = stp.io.slide(path, **given)
    (key,) = sdata.images
    return (
        image_array(sdata, key).data.compute().transpose(1, 2, 0),
        sdata.attrs["st_predict"],
        len(reduced_sources(sdata, key)),
    )


def test_every_scene_is_had_by_its_number(three: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert stp.io.slide_series(three) == [0, 1, 2], "a label is no slide"
    for number in [0, 1, 2, *np.arange(3, dtype=np.uint8)]:
        pixels, known, n_reduced = seen(three, series=number)
        np.testing.assert_array_equal(pixels, scene(number))
        key = "case_image"
        assert known == {"um_per_px": {key: 0.25 * (number + 1)}, "series": {key: number}} and n_reduced == 1
    assert caplog.text == "", "what is asked for by number needs no warning"
    assert seen(three, series=3)[0].shape == (900, 900, 3), "the label, for who asks for it"


def test_scenes_that_are_not_read_are_said(three: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels, known, _ = seen(three)
    np.testing.assert_array_equal(pixels, scene(1))
    said = "case.ome.tif holds 3 scenes, of which series 1 is read and 0 (256 x 256 px), 2 (384 x 384 px) are not"
    assert said in caplog.text and known["series"] == {"case_image": 1}
    caplog.clear()
    assert open_image(three).shape == (3, 512, 512)
    assert said in caplog.text


@pytest.mark.parametrize("number", [-1, True, "1", 1.0, np.float64(1), np.bool_(True)])
def test_what_numbers_no_scene(three: Path, number: Any) -> None:
    with pytest.raises(
        InputError, match=rf"^series is {re.escape(repr(number.item() if isinstance(number, np.number) else number))}"
    ):
        stp.io.slide(three, series=number)


def test_no_such_scene(three: Path) -> None:
    with pytest.raises(InputError, match=r"^case\.ome\.tif has no series 4") as error:
        stp.io.slide(three, series=4)
    assert error.value.where == "series" and "2 (384 x 384 px)" in error.value.expected


def test_a_file_of_one_slide_has_series_0(real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = real_data / "slides" / "CMU-1-Small-Region.svs"  # which holds a thumbnail, a label and a macro as well
    for given in ({}, {"series": 0}):
        assert "series" not in stp.io.slide(path, **given).attrs["st_predict"]
    assert stp.io.slide_series(path) == [0] and caplog.text == ""
    flat = tmp_path / "flat.tif"
    tifffile.imwrite(flat, scene(0), photometric="rgb", rowsperstrip=64)
    assert "series" not in stp.io.slide(flat, series=0).attrs["st_predict"]
    with pytest.raises(InputError, match="has no series 1"):
        stp.io.slide(flat, series=1)


def test_pictures_of_a_plain_tiff(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Pages of one picture in halves are its levels; another picture is another scene, in strips as well as in tiles."""
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as file:
        for pixels in (scene(1), scene(1)[::2, ::2], scene(2), scene(2)[::2, ::2]):
            file.write(pixels, photometric="rgb", tile=(TILE, TILE), metadata=None)
    assert stp.io.slide_series(path) == [0, 1], "as tifffile counts"
    assert np.array_equal(seen(path, series=1)[0], scene(2)) and seen(path, series=1)[2] == 1
    strips = tmp_path / "strips.tif"
    with tifffile.TiffWriter(strips) as file:
        for number in range(3):
            file.write(scene(number), photometric="rgb", rowsperstrip=64, metadata=None)
    assert [int(seen(strips, series=number)[0][0, 0, 0]) for number in range(3)] == [60, 100, 140]
    seen(strips)
    assert "strips.tif holds 3 scenes, of which series 1 is read" in caplog.text


@pytest.fixture(scope="module")
def section() -> np.ndarray:
    """Something to be known by: spots of many sizes, of no size that a reduction would lose."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:601, :552]
    found = np.full((601, 552, 3), 235.0)
    for _ in range(60):
        row, col, radius = rng.uniform(0, 601), rng.uniform(0, 552), rng.uniform(8, 40)
        found[(y - row) ** 2 + (x - col) ** 2 < radius**2] = rng.uniform(60, 200, 3)
    return (found + rng.normal(0, 6, found.shape)).clip(0, 255).astype(np.uint8)


def reduced(pixels: np.ndarray, factor: int, how: str) -> np.ndarray:
    """A level: every so many px, or their means, the last px cut or kept as it comes."""
    if how == "nearest":
        return np.ascontiguousarray(pixels[::factor, ::factor])
    height, width = (side // factor for side in pixels.shape[:2])
    cut = pixels[: height * factor, : width * factor]
    return cut.reshape(height, factor, width, factor, 3).mean(axis=(1, 3)).astype(np.uint8)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("side", [{"tile": (TILE, TILE)}, {"rowsperstrip": 64}])
@pytest.mark.parametrize("how", ["nearest", "mean"])
@pytest.mark.parametrize("factors", [(2, 4), (3, 9), (4,)])
def test_plain_pages_of_one_picture_are_its_levels(
    factors: tuple[int, ...], how: str, side: dict[str, Any], plain: bool, tmp_path: Path, section: np.ndarray,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Whatever the factor, in tiles or in strips, with no flag that says so."""
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as file:
        for pixels in (section, *(reduced(section, factor, how) for factor in factors)):
            file.write(pixels, photometric="rgb", compression="zlib", **({"metadata": None} if plain else {}), **side)
    assert stp.io.slide_series(path) == [0]
    pixels, known, n_reduced = seen(path)
    np.testing.assert_array_equal(pixels, section)
    assert caplog.text == "" and "series" not in known
    assert n_reduced == (len(factors) if "tile" in side else 0), "strips are decoded at once"


@pytest.mark.parametrize("flags", [{}, {"subfiletype": 1}])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("other", ["turned", "part", "brighter", "blank"])
def test_another_section_of_half_the_size_is_no_level(
    other: str, plain: bool, flags: dict[str, Any], tmp_path: Path, section: np.ndarray,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    half = reduced(section, 2, "mean")
    second = {
        "turned": half[::-1, ::-1], "part": section[: half.shape[0], : half.shape[1]],
        "brighter": (255 - (255 - half.astype(int)) // 3).astype(np.uint8), "blank": np.full_like(half, 228),
    }[other]  # fmt: skip
    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as file:
        for pixels, more in ((section, {}), (second, flags)):
            more = {**more, **({"metadata": None} if plain else {})}
            file.write(np.ascontiguousarray(pixels), photometric="rgb", tile=(TILE, TILE), compression="zlib", **more)
    pixels, _, n_reduced = seen(path)
    np.testing.assert_array_equal(pixels, section)
    assert n_reduced == 0
    np.testing.assert_array_equal(seen(path, series=1)[0], second)
    if not flags:
        assert stp.io.slide_series(path) == [0, 1] and "two.tif holds 2 scenes" in caplog.text


def raw(path: Path, pictures: dict[int, np.ndarray], names: dict[int, str] | None = None) -> None:
    """As bioformats2raw writes them: a group a picture."""
    zarr.open_group(str(path), mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    for number, pixels in pictures.items():
        group = zarr.open_group(str(path / str(number)), mode="w", zarr_format=2)
        group.create_array("0", data=np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        axes = [{"name": name} for name in "cyx"]
        described = {"version": "0.4", "axes": axes, "datasets": [{"path": "0"}], "name": (names or {}).get(number, "")}
        group.attrs["multiscales"] = [described]


def test_pictures_of_an_ome_zarr(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "case.zarr"
    raw(path, {number: scene(number) for number in range(3)})
    assert is_slide(path) and stp.io.slide_series(path) == [0, 1, 2]
    for number in range(3):
        np.testing.assert_array_equal(seen(path, series=number)[0], scene(number))
    assert caplog.text == ""
    assert seen(path)[0].shape == (512, 512, 3)
    assert "case.zarr holds 3 scenes, of which series 1 is read" in caplog.text


@pytest.mark.parametrize("lost", ["mark", "root"])
def test_pictures_of_an_ome_zarr_without_its_mark(lost: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Copied group by group, or written by a program that leaves the mark out."""
    path = tmp_path / "case.zarr"
    raw(path, {number: scene(number) for number in range(2)})
    (path / ".zattrs").write_text("{}")
    if lost == "root":
        (path / ".zattrs").unlink()
        (path / ".zgroup").unlink()
    assert is_slide(path) and stp.io.slide_series(path) == [0, 1]
    np.testing.assert_array_equal(seen(path, series=0)[0], scene(0))
    assert caplog.text == ""
    np.testing.assert_array_equal(seen(path)[0], scene(1))
    assert "case.zarr holds 2 scenes, of which series 1 is read" in caplog.text


def test_pictures_that_are_listed_by_name(tmp_path: Path) -> None:
    path = tmp_path / "case.zarr"
    raw(path, {number: scene(number) for number in range(2)})
    for old, new in (("0", "scan"), ("1", "another")):
        (path / old).rename(path / new)
    zarr.open_group(str(path / "OME"), mode="w", zarr_format=2).attrs["series"] = ["scan", "another"]
    assert stp.io.slide_series(path) == [0, 1]
    for number in range(2):
        np.testing.assert_array_equal(seen(path, series=number)[0], scene(number))


def test_an_ome_zarr_gives_what_can_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A group that is broken, and a larger picture that is not in color, cost themselves alone."""
    path = tmp_path / "case.zarr"
    raw(path, {0: scene(0), 1: scene(2), 2: scene(2), 3: np.zeros((600, 600, 5), np.uint16)})
    (path / "1" / ".zattrs").write_text("{}")
    assert stp.io.slide_series(path) == [0, 2, 3]
    np.testing.assert_array_equal(seen(path)[0], scene(2))
    assert "of which series 2 is read and 0 (256 x 256 px), 3 (600 x 600 px) are not" in caplog.text
    assert "groups of case.zarr that hold no OME image are not read: 1" in caplog.text
    with pytest.raises(InputError, match=r"^case\.zarr/3 is not an 8-bit RGB image: it has 5 channels of uint16"):
        stp.io.slide(path, series=3)


@pytest.mark.parametrize("file", ["0/.zattrs", ".zattrs", "1/.zgroup"])
def test_a_picture_whose_metadata_are_cut_is_not_replaced_by_another(file: str, tmp_path: Path) -> None:
    path = tmp_path / "case.zarr"
    raw(path, {number: scene(number) for number in range(2)})
    (path / file).write_text("{")
    for read in (stp.io.slide, stp.io.slide_series):
        with pytest.raises(InputError, match=rf"case\.zarr cannot be read: {re.escape(file)} is cut or not JSON"):
            read(path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"axes": None}, "the multiscales of case.zarr/0 hold no axes"),
        ({"axes": [{"type": "channel"}, "y", "x"]}, "the multiscales of case.zarr/0 hold axes"),
        ({"axes": [0, 1, 2]}, "the multiscales of case.zarr/0 hold axes [0, 1, 2]"),
        ({"axes": ["c", "y", "y"]}, "the multiscales of case.zarr/0 hold axes ['c', 'y', 'y']"),
        ({"axes": ["y", "x"]}, "its metadata name 2 axes (y, x), and its level '0' has 3"),
        ({"datasets": []}, "the multiscales of case.zarr/0 hold datasets []"),
        ({"datasets": ["0"]}, "the multiscales of case.zarr/0 hold datasets ['0']"),
        ({"datasets": [{"path": 0}]}, "the multiscales of case.zarr/0 hold datasets [{'path': 0}]"),
        ({"datasets": [{"path": "9"}]}, "its metadata name a level '9', and it has no array of that name"),
    ],
)
def test_what_metadata_of_an_ome_zarr_must_hold(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "case.zarr"
    raw(path, {number: scene(number) for number in range(2)})
    group = zarr.open_group(str(path / "0"), mode="r+")
    group.attrs["multiscales"] = [{**group.attrs["multiscales"][0], **wrong}]
    with pytest.raises(InputError, match=re.escape(said)):
        stp.io.slide(path)


@pytest.mark.parametrize(
    "names",
    [
        ("scan", "label image", "macro image"),
        ("s.svs [0]", "s.svs [label]", "s.svs [macro]"),
        ("x.svs #1", "x.svs - label", "x.svs - macro"),
        ("1", "Label Image", "Barcode"),
        ("slide_01", "slide_01_label", "slide_01_macro"),
        ("a", "thumb", "Slide overview"),
        ("Macrophages of an unlabeled mouse", "SlideLabel", "Thumbnails"),
    ],
)
@pytest.mark.parametrize("kind", ["ome.tif", "zarr", "xml"])
def test_labels_and_photographs_are_no_slides(
    kind: str, names: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By a word in their names, wherever it stands and whichever format holds them, even where they are larger."""
    path = tmp_path / f"case.{'zarr' if kind == 'xml' else kind}"
    pictures = [scene(0), scene(2), scene(1)]
    if kind == "ome.tif":
        with tifffile.TiffWriter(path, ome=True) as file:
            for pixels, name in zip(pictures, names, strict=True):
                file.write(pixels, tile=(TILE, TILE), photometric="rgb", metadata={"axes": "YXS", "Name": name})
    else:
        raw(path, dict(enumerate(pictures)), None if kind == "xml" else dict(enumerate(names)))
    if kind == "xml":
        images = "".join(f'<Image ID="Image:{i}" Name="{name}"/>' for i, name in enumerate(names))
        (path / "OME").mkdir()
        (path / "OME" / "METADATA.ome.xml").write_text(
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{images}</OME>'
        )
    assert stp.io.slide_series(path) == [0]
    np.testing.assert_array_equal(seen(path)[0], scene(0))
    assert caplog.text == ""
    np.testing.assert_array_equal(seen(path, series=2)[0], scene(1))


@pytest.mark.parametrize(
    "described", ["text", {"multiscales": {"a": 1}}, {"multiscales": ["x"]}, {"multiscales": None}]
)
def test_a_malformed_store_is_no_slide(described: Any, tmp_path: Path) -> None:
    path = tmp_path / "case.zarr"
    zarr.open_group(str(path), mode="w").attrs["ome"] = described
    for read in (stp.io.slide, stp.io.slide_series):
        with pytest.raises(InputError, match="is not a slide this reader knows"):
            read(path)


@pytest.mark.parametrize("linked", [False, True])
def test_an_ome_tiff_in_two_files(linked: bool, tmp_path: Path) -> None:
    """The pixels lie in another file than the one that is named; both may be links."""
    folder = tmp_path / "files"
    folder.mkdir()
    image = '<Image ID="Image:{0}"><Pixels ID="Pixels:{0}" DimensionOrder="XYCZT" Type="uint8" SizeX="{1}" SizeY="{1}" ' \
        'SizeC="3" SizeZ="1" SizeT="1"><Channel ID="Channel:{0}:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1">' \
        '<UUID FileName="{0}.ome.tif">urn:uuid:{0}</UUID></TiffData></Pixels></Image>'  # fmt: skip
    for number in range(2):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{number}">'
            + "".join(image.format(i, SIDES[i]) for i in range(2)) + "</OME>"
        )  # fmt: skip
        tifffile.imwrite(
            folder / f"{number}.ome.tif", scene(number), tile=(TILE, TILE), photometric="rgb", metadata=None,
            description=xml,
        )  # fmt: skip
    path = folder / "0.ome.tif"
    if linked:
        (tmp_path / "links").mkdir()
        for number in range(2):
            stored = tmp_path / f"object{number}"
            shutil.move(folder / f"{number}.ome.tif", stored)
            (tmp_path / "links" / f"{number}.ome.tif").symlink_to(stored)
        path = tmp_path / "links" / "0.ome.tif"
    for number in range(2):
        np.testing.assert_array_equal(seen(path, series=number)[0], scene(number))


def three_files(folder: Path, pixels: np.ndarray, names: Sequence[str] = ()) -> None:
    """An OME-TIFF of a file a channel."""
    folder.mkdir()
    channels = "".join(f'<Channel ID="Channel:0:{i}" Name="{name}"/>' for i, name in enumerate(names))
    planes = "".join(
        f'<TiffData IFD="0" FirstC="{i}" FirstZ="0" FirstT="0" PlaneCount="1">'
        f'<UUID FileName="c{i}.ome.tif">urn:uuid:{i}</UUID></TiffData>' for i in range(3)
    )  # fmt: skip
    side = len(pixels)
    for number in range(3):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{number}"><Image ID="Image:0">'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYZTC" Type="uint8" SizeX="{side}" SizeY="{side}" SizeZ="1" SizeC="3" '
            f'SizeT="1">{channels}{planes}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            folder / f"c{number}.ome.tif", pixels[..., number], tile=(TILE, TILE), photometric="minisblack",
            compression="zlib", description=xml, metadata=None,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["case.ome.tif", "c0.ome.tif"])
@pytest.mark.parametrize("links", [0, 1, 2])
def test_other_files_lie_beside_what_a_link_leads_to(
    links: int, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside the first, the second or the third of the places that a link of a link has."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)
    three_files(tmp_path / "files", pixels)
    path = tmp_path / "files" / "c0.ome.tif"
    for number in range(links):
        folder = tmp_path / f"links{number}"
        folder.mkdir()
        (folder / name).symlink_to(path)
        path = folder / name
    np.testing.assert_array_equal(seen(path)[0], pixels)
    assert caplog.text == ""
    real = tmp_path / "real"
    real.mkdir()
    moved = shutil.move(tmp_path / "files" / "c0.ome.tif", real / "object")
    (tmp_path / "files" / "c0.ome.tif").symlink_to(moved)
    np.testing.assert_array_equal(seen(path)[0], pixels)


@pytest.mark.parametrize("names", [(), ("Green", "Blue", "Red")])
@pytest.mark.parametrize("gone", [0, 1])
def test_a_file_of_a_channel_that_is_missing_is_told(gone: int, names: Sequence[str], tmp_path: Path) -> None:
    three_files(tmp_path / "files", scene(0), names)
    (tmp_path / "files" / f"c{gone}.ome.tif").unlink()
    said = f"no block of its {(names or ('red', 'green'))[gone].lower()} channel was ever stored; another of its files may be missing"
    with pytest.raises(InputError, match=said):
        stp.io.slide(tmp_path / "files" / "c2.ome.tif")
