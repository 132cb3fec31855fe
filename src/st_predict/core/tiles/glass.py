"""Spots around which there is no tissue to see, on a reduced image. Arrays and image sources only."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.filler import real_pixels
from st_predict.core.neighbors import pitch_px
from st_predict.core.tiles.thumbnail import Box, read_thumbnail
from st_predict.core.tissue import ink_mask, is_dark, look_for_tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from st_predict.core.section import Section

logger = logging.getLogger("st_predict")

_LOOK_UM, _LOOK_PX = 8.0, (1000, 2500)  # um a px at which tissue is looked for, and px on the longer side
_AROUND_UM = 50.0  # that are bare on all sides of a spot: a border, a hole or fat beside tissue is no glass
_BRIGHT = 0.75  # of the brightest there is: glass, and no shadow or fold
_MANY = 0.1


def spots_on_glass(section: Section) -> NDArray[np.bool_]:
    """Find spots with nothing but bare glass, or filler, within 50 um (half a pitch where no scale is known).

    Returns
    -------
    Mask ``(n_spots,)``. It is empty where the image is dark, as fluorescence is, or tissue cannot be told from glass.
    """
    levels = [section.image, *section.reduced]
    height, width = int(levels[0].row_edges[-1]), int(levels[0].col_edges[-1])
    longer, found = max(height, width), np.zeros(section.n_spots, bool)
    side = _LOOK_PX[0] if section.um_per_px is None else int(np.clip(longer * section.um_per_px / _LOOK_UM, *_LOOK_PX))
    look = read_thumbnail(levels, Box(0, 0, width, height), side_px=min(side, longer))
    if is_dark(look.pixels):
        return found
    bare = _bare(look.pixels)
    if bare.all():
        return found
    step_px = np.array([look.extent[1] / bare.shape[1], look.extent[2] / bare.shape[0]])
    around_px = pitch_px(section.centers_px) / 2 if section.um_per_px is None else _AROUND_UM / section.um_per_px
    x, y = section.centers_px.T
    on_image = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    col, row = np.minimum((section.centers_px[on_image] // step_px).astype(int), np.array(bare.shape)[::-1] - 1).T
    found[on_image] = _distance_px(bare, step_px)[row, col] > around_px
    return found


def say_glass(section: Section) -> None:
    """Say how many spots of a section lie on glass, and what the usual cause is."""
    n = int(spots_on_glass(section).sum())
    if not n:
        return
    many = n > _MANY * section.n_spots
    logger.warning(
        "%d of the %d spots of %s lie on bare glass%s. st_predict.pl.alignment shows where",
        n, section.n_spots, section.name,
        ": usually the image is not the one the spots were placed on, such as the low-resolution image given as the full "
        "one, or it was turned or cropped" if many else
        ": leave them out, for example by obs['in_tissue'] = 0. If there are many, or all on one side, image and spots do "
        "not fit together, for example because the low-resolution image was given as the full one",
    )  # fmt: skip


def _bare(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Glass without tissue or ink, and filler ``(height, width)``."""
    lowest = pixels.min(axis=2)
    bright = lowest >= _BRIGHT * np.percentile(lowest, 99)
    tissue = look_for_tissue(pixels).tissue
    bare: NDArray[np.bool_] = (bright & ~tissue & ~ink_mask(pixels)) | ~real_pixels(pixels)
    return bare


def _distance_px(bare: NDArray[np.bool_], step_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from every bare px to the nearest px that is not bare ``(height, width)``, in px of the image."""
    from scipy.ndimage import distance_transform_edt

    distance: NDArray[np.float64] = distance_transform_edt(bare, sampling=step_px[::-1])
    return distance
