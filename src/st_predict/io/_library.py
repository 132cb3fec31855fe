"""One library of an AnnData as scanpy and squidpy keep it: its rows, its finest image, its scale factors.

Knows their convention, ``uns["spatial"][library]``; builds no SpatialData.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict._spatialdata.scale import say_places
from st_predict.core.alpha import over_white
from st_predict.core.arguments.kinds import shown
from st_predict.core.checks import check_um_per_px
from st_predict.core.errors import InputError
from st_predict.core.scale import VISIUM_PITCH_UM
from st_predict.io._assemble import neighbor_px
from st_predict.io._checks import logger

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

LIBRARY_COLUMN = "library_id"
_SCALE = "microns_per_pixel"
_SPOT_UM = (55.0, 65.0)  # what `spot_diameter_fullres` of Visium stands for, in one version of Space Ranger or another
_AGREE = 0.05
_VISIUM = re.compile(r"visium(?!.*hd)|spatial 3'", re.IGNORECASE)  # as Space Ranger names the chemistry


class Library(NamedTuple):
    """What is kept of one library beside its spots."""

    name: str | None
    """``None`` where the AnnData has no entry for it."""
    images: Mapping[str, Any]
    factors: Mapping[str, Any]
    chemistry: str
    """As Space Ranger names it; empty where it is not known."""


def find_library(adata: AnnData, wanted: str | None, *, where: str) -> tuple[Library, NDArray[np.bool_]]:
    """Find the one library that is meant, and which rows ``(n_obs,)`` are its spots.

    Raises
    ------
    InputError
        If there are several and none is chosen, there is no such library, or nothing tells its rows.
    """
    entries = _entries(adata)
    column = adata.obs[LIBRARY_COLUMN].astype(str) if LIBRARY_COLUMN in adata.obs else None
    names = list(entries) or ([] if column is None else list(column.unique()))
    if wanted is None and column is not None and column.nunique() == 1 and column.iloc[0] in names:
        wanted = str(column.iloc[0])  # rows of one library were taken out, the images of all are still there
    if wanted is None and len(names) > 1:
        raise InputError(
            f"there are {len(names)} libraries: {', '.join(names)}",
            where=f"{where}.uns['spatial']" if entries else f"{where}.obs[{LIBRARY_COLUMN!r}]",
            expected="one library, since a section is one",
            remedy=f"pass library={names[0]!r} (or another); read each as a section of its own",
        )
    if wanted is not None and wanted not in names:
        raise InputError(
            f"there is no library {wanted!r}",
            where="library",
            expected=f"one of {', '.join(names) or '(there are none)'}",
            remedy="correct library",
        )
    name = names[0] if wanted is None and names else wanted
    entry = entries.get(str(name), {})
    library = Library(
        name, _mapping(entry.get("images")), _mapping(entry.get("scalefactors")),
        str(_mapping(entry.get("metadata")).get("chemistry_description", "")),
    )  # fmt: skip
    return library, _rows(adata.obs, name, names, where)


def _entries(adata: AnnData) -> dict[str, Mapping[str, Any]]:
    found = _mapping(adata.uns.get("spatial"))
    return {str(name): entry for name, entry in found.items() if isinstance(entry, Mapping)}


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _rows(obs: pd.DataFrame, name: str | None, names: list[str], where: str) -> NDArray[np.bool_]:
    """Rows of a library: by ``library_id``, or by a column of which every value names a library."""
    everything = np.ones(len(obs), bool)
    if name is None:
        return everything
    for column in sorted(obs.columns, key=lambda column: column != LIBRARY_COLUMN):
        values = obs[column].astype(str)
        known = set(values.unique())
        if name in known and (column == LIBRARY_COLUMN or known <= set(names)):
            rows = (values == name).to_numpy()
            if not rows.all():
                logger.info("%d of %d spots are of library %r (obs[%r])", rows.sum(), len(rows), name, column)
            return rows
    if len(names) == 1:
        return everything
    raise InputError(
        f"no column says which spots are of library {name!r}",
        where=f"{where}.obs",
        expected=f"a column such as {LIBRARY_COLUMN!r} that holds the names of the libraries: {', '.join(names)}",
        remedy=f"add it: adata.obs[{LIBRARY_COLUMN!r}] = ...",
    )


def finest_image(library: Library, *, where: str) -> tuple[str, NDArray[np.uint8], float]:
    """Name, pixels ``(3, height, width)`` and scale factor of the finest image that has one.

    Raises
    ------
    InputError
        If there is none, or it is no RGB image.
    """
    place = f"{where}.uns['spatial'][{library.name!r}]"
    factors = {name: _factor(library, name) for name in library.images if np.size(library.images[name])}
    placed = {name: factor for name, factor in factors.items() if factor is not None}
    if not placed:
        lacks = f"images without a scale factor: {', '.join(factors)}" if factors else "no image"
        raise InputError(
            f"library {library.name!r} has {lacks}" if library.name else "the AnnData has no image",
            where=place if library.name else f"{where}.uns['spatial']",
            expected="images 'hires' or 'lowres', and tissue_hires_scalef or tissue_lowres_scalef in scalefactors",
            remedy="give the full-resolution slide: image='slide.tif'",
        )
    name = max(placed, key=lambda name: placed[name])
    return name, rgb_pixels(library.images[name], where=f"{place}['images'][{name!r}]"), placed[name]


def _factor(library: Library, name: str) -> float | None:
    return positive(library.factors.get(f"tissue_{name}_scalef"))


def positive(value: Any) -> float | None:
    """A positive finite number however it is stored; ``None`` for anything else, also for text and for True."""
    if isinstance(value, np.ndarray) and value.size == 1:  # as files keep numbers
        value = value.ravel()[0]
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON holds numbers of any length
        return None
    return number if np.isfinite(number) and number > 0 else None


def rgb_pixels(image: Any, *, where: str) -> NDArray[np.uint8]:
    """Pixels ``(3, height, width)`` of an image ``(height, width, 3 or 4)`` of uint8, or of floats in 0..1 or 0..255.

    Alpha lies over white.

    Raises
    ------
    InputError
        If it is not such an image.
    """
    pixels = np.asarray(image)
    expected = "an RGB or RGBA image (height, width, 3 or 4) of uint8, or of floats in 0..1 or 0..255"
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.dtype.kind not in "uif":
        raise InputError(
            f"the image is of shape {pixels.shape} and type {pixels.dtype}",
            where=where,
            expected=expected,
            remedy="give the H&E image, channels last; grayscale and fluorescence cannot be used",
        )
    if pixels.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 255):  # also where one is NaN
            raise InputError(
                f"pixels are between {low:g} and {high:g}",
                where=where,
                expected=expected,
                remedy="rescale the image to 0..1 or 0..255",
            )
        # Of whole numbers 1 is nearly black, of floats it is white.
        whole = pixels.dtype.kind in "ui" or high > 1
        pixels = np.rint(pixels if whole else pixels * 255.0).astype(np.uint8)
    return np.ascontiguousarray(over_white(pixels).transpose(2, 0, 1))


def _stated(library: Library, where: str) -> float | None:
    """What the scale factors state; ``None`` where they state nothing, or NaN.

    Raises
    ------
    InputError
        If it is no scale.
    """
    value = library.factors.get(_SCALE)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    stated, place = positive(value), f"{where}.uns['spatial'][{library.name!r}]['scalefactors'][{_SCALE!r}]"
    if stated is None:
        raise InputError(
            f"{_SCALE} is {shown(value)}",
            where=place,
            expected="the width of a pixel of the full-resolution image in um, as a number",
            remedy="correct it, or give the scale: anndata(adata, um_per_px=...)",
        )
    check_um_per_px(stated, where=place)
    return stated


def told_um_per_px(
    library: Library, obs: pd.DataFrame, centers_px: NDArray[np.float64], given: float | None, *, where: str
) -> float | None:
    """Scale of the full-resolution image: as given or stated, or by the spots of an array of known geometry; else ``None``.

    A message says so if the array contradicts what is given or stated.

    Visium is known by the places of its spots on the array, or by the chemistry; its spots lie 100 um apart.
    ``spot_diameter_fullres`` has to agree with that, as 55 or 65 um, and is never the scale alone: it stands for one or
    the other by the version of Space Ranger.
    """
    stated = given if given is not None else _stated(library, where)
    told = say_places(obs, centers_px, stated, name=library.name or "the AnnData", say=stated is None)
    if stated is not None or told is not None:
        return told if stated is None else stated
    diameter = positive(library.factors.get("spot_diameter_fullres"))
    if diameter is None or not _VISIUM.search(library.chemistry) or len(centers_px) < 3:
        return None
    by_pitch = VISIUM_PITCH_UM / neighbor_px(centers_px, where=f"{where}.obsm['spatial']")
    if any(abs(um / diameter / by_pitch - 1) < _AGREE for um in _SPOT_UM):
        return by_pitch
    logger.warning(
        "the 100 um between spots of %s give %.4f um per pixel, but spot_diameter_fullres gives %.4f or %.4f: the scale "
        "stays unknown",
        library.chemistry, by_pitch, *(um / diameter for um in _SPOT_UM),
    )  # fmt: skip
    return None
