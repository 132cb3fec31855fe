"""``slide``: an H&E image of any size and format, with no expression and no spots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict.core.checks import check_um_per_px
from st_predict.core.errors import InputError
from st_predict.core.files import plain_name
from st_predict.io._checks import check_readable, unreadable
from st_predict.io._images import lazy_array
from st_predict.io._tiff import TiffImage, is_tiff, n_levels

if TYPE_CHECKING:
    from spatialdata import SpatialData

_APERIO_JP2_YCBC = 33003
_FLAT = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


def slide(path: str | Path, *, um_per_px: float | None = None) -> SpatialData:
    """Open an H&E slide; no pixel is decoded until it is needed.

    TIFFs of scanners (SVS, NDPI, Philips, OME-TIFF, generic pyramids; JPEG, JPEG 2000 and other compressions) are read
    where they lie by tifffile, MRXS, DICOM and other formats of scanners by OpenSlide, OME-Zarr by zarr. A flat JPEG,
    PNG or strip TIFF is decoded once, into a temporary file, when the first pixel is asked for.

    Parameters
    ----------
    path
        The slide's file, or the folder of an OME-Zarr image.
    um_per_px
        Width of a pixel of the finest level in um; ``None``: as the slide's metadata say. Where they do not, physical
        tiles and grids ask for it, see :func:`st_predict.pp.set_scale`.

    Returns
    -------
    A SpatialData with one lazy image ``<name>_image`` in px of the finest level (``"global"``), multiscale where the
    file is a pyramid, and its scale in ``attrs["st_predict"]["um_per_px"]``. ``<name>`` is that of the file.

    Raises
    ------
    InputError
        The file is missing, empty, not to be read, cut, no slide or not 8-bit RGB, its scale cannot be right, or reading it
        would run code.
    """
    path = Path(path)
    if um_per_px is not None:
        check_um_per_px(um_per_px, where="um_per_px")
    check_readable(path, where="path")
    found = _open(path, stated=um_per_px is None)
    _check_size(found, path)
    key = f"{plain_name(path)}_image"
    scale = um_per_px if um_per_px is not None else found.um_per_px
    from spatialdata import SpatialData

    return SpatialData(
        images={key: _element(found.levels)},
        attrs={"st_predict": {"um_per_px": {} if scale is None else {key: float(scale)}}},
    )


class _Slide(NamedTuple):
    levels: list[Any]
    """Image sources, the finest first."""
    um_per_px: float | None


def _open(path: Path, *, stated: bool) -> _Slide:
    """Levels of the slide and, if ``stated`` is asked for, the scale its metadata state."""
    from st_predict.io import _regions, _slide_scale
    from st_predict.io._flat_image import UndecodedImage

    where = "path"
    if path.is_dir() and not (path / "DICOMDIR").exists() and not list(path.glob("*.dcm")):
        return _open_ome_zarr(path, stated=stated)
    if path.is_file() and is_tiff(path) and not _is_openslides(path):
        levels: list[Any] = [TiffImage(path, where=where, level=i) for i in range(n_levels(path, where=where))]
        scale = _slide_scale.tiff_scale(path, where=where) if stated else None
        return _Slide(levels if levels[0].is_tiled else [UndecodedImage(path, where=where)], scale)
    file = path if path.is_file() else min(path.glob("*.dcm"), default=None)
    if file is None:
        raise _no_slide(path, "its DICOMDIR has no .dcm file beside it")
    if _regions.openslide_knows(file):
        finest = _regions.OpenSlideImage(file, where=where)
        rest = [_regions.OpenSlideImage(file, where=where, level=i) for i in range(1, finest.n_levels)]
        scale = _slide_scale.openslide_scale(finest.properties, path, where=where) if stated else None
        return _Slide([finest, *rest], scale)
    with file.open("rb") as opened:
        start = opened.read(8)
    if start.startswith(_FLAT):
        return _Slide([UndecodedImage(file, where=where)], None)
    raise _no_slide(path, f"it starts with {start!r}")


def _is_openslides(path: Path) -> bool:
    """TIFFs that tifffile reads wrongly: unstitched Ventana slides, and Aperio's JPEG 2000 whose colors are not marked."""
    from st_predict.io._regions import openslide_knows
    from st_predict.io._tiff import open_finest

    with open_finest(path, where="path") as (file, series):
        odd = file.is_bif or int(series.keyframe.compression) == _APERIO_JP2_YCBC
    return bool(odd) and openslide_knows(path)


def _open_ome_zarr(path: Path, *, stated: bool) -> _Slide:
    import zarr

    from st_predict.core.codecs import check_codecs
    from st_predict.io import _slide_scale
    from st_predict.io._regions import OmeZarrImage

    try:
        attributes: Any = dict(zarr.open_group(str(path), mode="r").attrs)
    except (OSError, ValueError, KeyError) as error:
        raise _no_slide(path, "it is a folder, but no OME-Zarr image") from error
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        hint = ", but a SpatialData: read it with spatialdata.read_zarr" if "spatialdata_attrs" in attributes else ""
        raise _no_slide(path, f"it is a Zarr store without an OME image{hint}")
    check_codecs(path, where="path")
    described = multiscales[0]
    try:
        axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in described["axes"]]
        names = tuple(axis["name"] for axis in axes)
        levels = [OmeZarrImage(path, where="path", name=part["path"], axes=names) for part in described["datasets"]]
        finest = [
            *described["datasets"][0].get("coordinateTransformations", []),
            *described.get("coordinateTransformations", []),
        ]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise unreadable(path, f"its OME metadata lack {error}", where="path") from error
    scale = _slide_scale.ome_zarr_scale(axes, finest, path, where="path") if stated else None
    return _Slide(list(levels), scale)


def _no_slide(path: Path, why: str) -> InputError:
    return InputError(
        f"{path.name} is not a slide this reader knows ({why})",
        where="path",
        expected="SVS, NDPI, TIFF, OME-TIFF, MRXS, DICOM, OME-Zarr, JPEG or PNG",
        remedy="check the path, or export the slide as a pyramidal TIFF",
    )


def _check_size(found: _Slide, path: Path) -> None:
    """Levels that are not smaller copies of one another would put tiles where they do not belong."""
    sizes = np.array([level.shape[1:] for level in found.levels], float)
    # A level is rounded to whole px, time and again.
    apart = np.abs(sizes[:, 0] * sizes[0, 1] / sizes[0, 0] - sizes[:, 1])
    slack = 2 + 2 * max(sizes[0, 1] / sizes[0, 0], 1)
    if (apart > np.maximum(slack, 0.01 * sizes[:, 1])).any() or (np.diff(sizes[:, 0]) >= 0).any():
        raise unreadable(path, f"its levels are {sizes.astype(int).tolist()} (height, width)", where="path")


def _element(levels: list[Any]) -> Any:
    """Levels as one SpatialData image: a DataTree where there are several."""
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Identity, Scale
    from xarray import Dataset, DataTree

    from st_predict.io._images import image_element

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
