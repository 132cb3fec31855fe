"""``slide``: an H&E image of any size and format, with no expression and no spots."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.arguments.checked import checked
from st_predict.core.checks import check_um_per_px
from st_predict.core.chunks import whole_levels
from st_predict.core.dicom import dicom_files, is_dicom_file
from st_predict.core.files import plain_name
from st_predict.io import _regions, _slide_scale
from st_predict.io._checks import check_readable, link_places, logger
from st_predict.io._flat_image import UndecodedImage
from st_predict.io._images import image_element, lazy_array
from st_predict.io._kinds import FIRST_BYTES, say_kind
from st_predict.io._ome_zarr import ome_zarr_slides, open_ome_zarr
from st_predict.io._opened import Opened, check_sizes, no_slide, of_several
from st_predict.io._orientation import say_turned
from st_predict.io._regions import OpenSlideImage, dicom_series, openslide_place, openslide_reads, openslide_vendor
from st_predict.io._scenes import Scene, choose_scene, several
from st_predict.io._tiff import TiffImage, is_tiff, n_levels, open_finest, tiff_files, tiff_notes, tiff_scenes
from st_predict.io._tiff_color import find_color, may_be_color

if TYPE_CHECKING:
    from spatialdata import SpatialData

_WHERE = "path"
# Formats by OpenSlide's names whose tiles lie side by side, as tifffile reads them; the others overlap or are stitched.
_TIFFFILES = (None, "aperio", "generic-tiff", "hamamatsu", "leica", "philips")
_INDICES, _NAMED = (".vms", ".vmu"), re.compile(r"^[^=\[]+=(.+)$", re.M)  # Hamamatsu's: text that names files
_FLAT = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


@checked
def slide(path: str | Path, *, um_per_px: float | None = None, series: int | None = None) -> SpatialData:
    """Open an H&E slide; no pixel is decoded until it is needed.

    TIFFs of scanners (SVS, NDPI, Philips, OME-TIFF, generic pyramids; JPEG, JPEG 2000 and other compressions) stay on
    disk and are read by tifffile. MRXS, DICOM and other formats of scanners are read by OpenSlide, OME-Zarr by zarr. A
    flat JPEG, PNG or strip TIFF is decoded once, into a temporary file, when the first pixel is asked for. Pixels that
    are transparent, or that the file never stored, are white.

    Parameters
    ----------
    path
        The slide's file, or the folder of an OME-Zarr image.
    um_per_px
        Width of a pixel of the finest level in um; ``None``: as the slide's metadata say. If they do not say it, tiles
        and grids in um cannot be made before :func:`st_predict.pp.set_scale`.
    series
        Which slide to open if a file holds several, such as an OME-TIFF of three scenes: its number among the file's
        pictures, from 0. ``None``: the largest; a warning names the others, if there are any.

    Returns
    -------
    A SpatialData with one lazy image ``<name>_image`` in px of the finest level (``"global"``), multiscale if the file
    is a pyramid. ``<name>`` is that of the file. ``attrs["st_predict"]["um_per_px"]`` holds the scale.

    Raises
    ------
    InputError
        The file is missing, empty, cut short or not a slide, or you may not read it; it is not 8-bit RGB, or its colors
        cannot be converted for certain; its scale cannot be right; reading it would run code; or it has no such series.

    Examples
    --------
    >>> slide = stp.io.slide("slides/one.tif")
    >>> slide.attrs["st_predict"]["um_per_px"]
    {'one_image': 0.75}
    >>> stp.tl.predict(slide, model)
    >>> slide.tables["predicted"].shape
    (41, 20)
    """
    path = Path(path)
    if um_per_px is not None:
        check_um_per_px(um_per_px, where="um_per_px")
    check_readable(path, where="path")
    found = _open(path, stated=um_per_px is None, series=series)
    check_sizes(found.levels, path)
    for note in found.notes:
        logger.warning("%s", note)
    key = f"{plain_name(path)}_image"
    scale = um_per_px if um_per_px is not None else found.um_per_px
    from spatialdata import SpatialData

    known: dict[str, Any] = {"um_per_px": {} if scale is None else {key: float(scale)}}
    if found.series is not None:
        known["series"] = {key: found.series}
    return SpatialData(images={key: _element(found.levels)}, attrs={"st_predict": known})


@checked
def slide_series(path: str | Path) -> list[int]:
    """List the slides in a file by number, for ``series`` of :func:`~st_predict.io.slide`.

    Labels and photographs of the whole glass are left out.

    Parameters
    ----------
    path
        The slide's file, or its folder.

    Returns
    -------
    The numbers; ``[0]`` for a file that cannot hold several slides.

    Raises
    ------
    InputError
        If the file is missing or empty, or you may not read it.

    Examples
    --------
    >>> stp.io.slide_series("slides/one.tif")
    [0]
    >>> slides = [stp.io.slide("slides/one.tif", series=number) for number in stp.io.slide_series("slides/one.tif")]
    """
    path = Path(path)
    check_readable(path, where=_WHERE)
    if path.is_dir():
        return list(range(len(_dicom_series(path)[0]))) if _is_dicom(path) else ome_zarr_slides(path)
    if is_tiff(path) and not _is_openslides(path, None):
        return [scene.number for scene in tiff_scenes(path, where=_WHERE)[1]]
    return [0]


def slide_files(path: Path) -> list[Path]:
    """All files that a slide consists of: of its folder, those an OME-TIFF or an index names, an MRXS's, a DICOM's.

    Raises
    ------
    InputError
        If it is a TIFF that cannot be opened, or a folder that is no slide.
    OSError
        If it is not there.
    """
    if path.is_dir():
        if not _is_dicom(path):
            ome_zarr_slides(path)  # or it is any folder, which may be that of all the disks
        return _files_below(path)
    if is_tiff(path):
        return tiff_files(path, where=_WHERE)
    found = {path}
    for place in link_places(path):
        kind = place.suffix.lower()
        if kind == ".mrxs":
            found |= set(_files_below(place.with_suffix("")))
        elif is_dicom_file(place):
            found |= {file for file in place.parent.iterdir() if file.is_file() and is_dicom_file(file)}
        elif kind in _INDICES:
            names = _NAMED.findall(place.read_text(encoding="utf-8", errors="replace"))
            found |= {file for name in names if (file := place.parent / name.strip()).is_file()}
    return list(found)


def _files_below(folder: Path) -> list[Path]:
    """All files of a folder; what this user may not read is passed over."""
    return [file for place, _, names in os.walk(folder) for name in names if os.path.isfile(file := Path(place, name))]


def _open(path: Path, *, stated: bool, series: int | None) -> Opened:
    """Levels of the slide and, if ``stated`` is asked for, the scale its metadata state."""
    if path.is_dir() and not _is_dicom(path):
        return open_ome_zarr(path, stated=stated, series=series)
    if path.is_file() and is_tiff(path) and not _is_openslides(path, series):
        return _open_tiff(path, stated=stated, series=series)
    if path.is_dir():
        return _open_dicom(path, stated=stated, series=series)
    if _regions.openslide_knows(path):
        return _open_openslide(path, path, stated=stated, series=series)
    with path.open("rb") as opened:
        start = opened.read(FIRST_BYTES)
    if start.startswith(_FLAT):
        image = UndecodedImage(path, where=_WHERE)
        _the_only(image, path, series)
        note = say_turned(image.orientation, path)
        return Opened([image], None, (note,) if note else ())
    raise no_slide(path, *say_kind(path, start))


def _open_tiff(path: Path, *, stated: bool, series: int | None) -> Opened:
    number, scenes = tiff_scenes(path, where=_WHERE, series=series)
    n = n_levels(path, where=_WHERE, series=number)
    levels: list[Any] = [TiffImage(path, where=_WHERE, level=i, series=number) for i in range(n)]
    scale = _slide_scale.tiff_scale(path, where=_WHERE, series=number) if stated else None
    levels, apart = whole_levels(levels, path.name)
    notes = [*tiff_notes(levels[0], scenes if series is None else []), *apart]
    if not levels[0].is_tiled:
        levels = [UndecodedImage(path, where=_WHERE, series=number)]
    return Opened(levels, scale, tuple(notes), of_several(scenes, number))


def _open_openslide(file: Path, path: Path, *, stated: bool, series: int | None) -> Opened:
    file = openslide_place(file)
    finest = OpenSlideImage(file, where=_WHERE)
    _the_only(finest, path, series)
    rest = [OpenSlideImage(file, where=_WHERE, level=i) for i in range(1, finest.n_levels)]
    scale = _slide_scale.openslide_scale(finest.properties, path, where=_WHERE) if stated else None
    return Opened([finest, *rest], scale)


def _open_dicom(path: Path, *, stated: bool, series: int | None) -> Opened:
    """Open a folder of DICOM files, which may belong to several slides."""
    first, left = _dicom_series(path)
    scenes = [Scene(i, *OpenSlideImage(file, where=_WHERE).shape[1:]) for i, file in enumerate(first)]
    number = choose_scene(scenes, scenes, path, where=_WHERE, series=series)
    found = _open_openslide(first[number], path, stated=stated, series=None)
    said = [several(scenes, number, path)] if series is None else []
    if left:
        said.append(
            f"{len(left)} DICOM files of {path.name} are truncated or not slides, and are not read: {', '.join(left[:4])}"
        )
    return found._replace(notes=tuple(note for note in said if note), series=of_several(scenes, number))


def _is_dicom(path: Path) -> bool:
    return (path / "DICOMDIR").exists() or bool(dicom_files(path))


def _dicom_series(path: Path) -> tuple[list[Path], list[str]]:
    first, left, reason = dicom_series(path, where=_WHERE)
    if not first:
        raise reason or no_slide(path, "it has no complete DICOM file of a slide")
    return first, left


def _the_only(image: Any, path: Path, series: int | None) -> None:
    """Refuse any number but that of the only picture of a file."""
    only = [Scene(0, *image.shape[1:])]
    choose_scene(only, only, path, where=_WHERE, series=series)


def _is_openslides(path: Path, series: int | None) -> bool:
    """Whether OpenSlide has to read a TIFF: tifffile does not stitch its tiles, or does not convert its colors to RGB."""
    vendor = openslide_vendor(path)
    if vendor not in _TIFFFILES:
        return True
    if vendor is None:
        return False
    with open_finest(path, where=_WHERE, series=series) as (_, found):
        odd = find_color(found) is None and may_be_color(found)
    return odd and openslide_reads(path)


def _element(levels: list[Any]) -> Any:
    """Levels as one SpatialData image: a DataTree where there are several."""
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Identity, Scale
    from xarray import Dataset, DataTree

    _, height, width = levels[0].shape
    parts = []
    for number, level in enumerate(levels):
        factors = np.array([height / level.shape[1], width / level.shape[2]])
        placed = Scale(factors, axes=("y", "x")) if number else Identity()
        parts.append(image_element(lazy_array(level), {"global": placed}))
    if len(parts) == 1:
        return parts[0]
    tree = DataTree.from_dict({f"scale{i}": Dataset({"image": part}) for i, part in enumerate(parts)})
    Image2DModel().validate(tree)
    return tree
