"""``alignment``: spots over the H&E image, to see whether they lie where they should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.read import read_section
from st_predict.core.arguments.checked import checked
from st_predict.core.tiles.thumbnail import Box, read_thumbnail
from st_predict.pl._figure import check_picture, draw_image, draw_scale_bar, finish, new_axes
from st_predict.pl._spots import read_spots

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict.pl._spots import Spots

_SIDE_PX = 1200
_PANEL_IN = 4.6
_ZOOM_PITCHES = 7
_LEAST_ZOOM = 0.1  # of the map: seven bins of a few um would show a single nucleus
_OUTLINE = "#00e0ff"  # cyan: absent from hematoxylin and eosin, and light against both


@checked
def alignment(
    sdata: SpatialData,
    *,
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    axes: Axes | Sequence[Axes] | NDArray[Any] | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> NDArray[Any]:
    """Draw the spots' outlines over the H&E image, whole and enlarged.

    Parameters
    ----------
    sdata
        A section; expression is neither read nor needed.
    image_key, shapes_key, table_key
        Names of the elements, if there are several.
    axes
        Two axes to draw on; ``None``: a new figure.
    show
        Whether to call ``matplotlib.pyplot.show``.
    save
        File to write the figure to.

    Returns
    -------
    Axes ``(2,)``: one with all spots, one with the part that the rectangle marks.

    Raises
    ------
    InputError
        If an element is missing or ambiguous, spots lie off the image, or the axes or the file do not fit.

    Examples
    --------
    >>> axes = stp.pl.alignment(sections["S1"], save="alignment.png")
    >>> axes[0].get_title()
    'S1: 41 spots, 0.75 µm/px'
    """
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    check_picture(axes, (1, 2), save)
    section, placed = read_section(sdata, Elements(image_key, shapes_key, table_key), need_counts=False)
    spots = read_spots(sdata, placed, section)
    levels = [section.image, *section.reduced]
    whole = spots.view(section.image)
    zoom = _zoom(spots, whole)
    height = min(max(_PANEL_IN * whole.height / whole.width, 0.5 * _PANEL_IN), 1.6 * _PANEL_IN)
    panels = new_axes(axes, (1, 2), (2 * _PANEL_IN, height + 0.4))[0]
    for ax, box in zip(panels, (whole, zoom), strict=True):
        draw_image(ax, read_thumbnail(levels, box, side_px=_SIDE_PX), box)
        spots.draw(ax).set(facecolor="none", edgecolor=_OUTLINE, linewidth=_linewidth(spots, box))
        draw_scale_bar(ax, box, section.um_per_px)
    frame = Rectangle(
        (zoom.left, zoom.top), zoom.width, zoom.height, facecolor="none", edgecolor="black", linewidth=1.2
    )
    frame.set_path_effects([withStroke(linewidth=3, foreground="white")])  # seen on any background
    panels[0].add_patch(frame)
    scale = "scale unknown" if section.um_per_px is None else f"{section.um_per_px:.3g} µm/px"
    panels[0].set_title(f"{section.name}: {section.n_spots:,} spots, {scale}")
    panels[1].set_title("enlarged")
    return finish(panels, show=show, save=save)


def _zoom(spots: Spots, whole: Box) -> Box:
    """A part of the map, of its proportions and a few pitches wide, around the spot in the middle."""
    middle = np.median(spots.centers_px, axis=0)
    x, y = spots.centers_px[np.linalg.norm(spots.centers_px - middle, axis=1).argmin()]
    share = min(max(_ZOOM_PITCHES * spots.pitch_px() / max(whole.width, whole.height), _LEAST_ZOOM), 1.0)
    width, height = share * whole.width, share * whole.height
    left = float(np.clip(x - width / 2, whole.left, whole.right - width))
    top = float(np.clip(y - height / 2, whole.top, whole.bottom - height))
    return Box(left, top, left + width, top + height)


def _linewidth(spots: Spots, box: Box) -> float:
    """Width in points; thin where spots are small on paper, so that the tissue stays visible."""
    diameter_pt = 72 * _PANEL_IN * 2 * float(np.median(spots.radii_px)) / box.width
    return min(1.5, 0.07 * diameter_pt)
