"""``set_scale``: the user states the scale of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from st_predict._spatialdata.keys import Elements, find_image
from st_predict._spatialdata.read import read_section, spot_diameter_px
from st_predict._spatialdata.scale import store_scale
from st_predict.core.arguments.checked import checked
from st_predict.core.checks import check_um_per_px
from st_predict.core.errors import InputError
from st_predict.core.neighbors import pitch_px

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from spatialdata import SpatialData


@checked
def set_scale(
    sdata: SpatialData,
    *,
    um_per_px: float | None = None,
    spot_diameter_um: float | None = None,
    pitch_um: float | None = None,
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
) -> float:
    """State the scale of an image: directly, or through a known length of the array.

    Parameters
    ----------
    sdata
        One section.
    um_per_px
        Width of an image pixel in um.
    spot_diameter_um
        Diameter of the spots. In px it follows from the radius of their circles.
    pitch_um
        Distance between neighboring spots. In px it is the median distance to the nearest spot.
    image_key, shapes_key, table_key
        Names of the elements, if there are several.

    Returns
    -------
    The scale in um a px. It is also written to ``sdata.attrs["st_predict"]["um_per_px"][image_key]``.

    Raises
    ------
    InputError
        If not exactly one length is given, no image of a section has such a scale, or the spots do not show it.

    Examples
    --------
    >>> stp.pp.set_scale(sections["S1"], um_per_px=0.75)
    0.75
    >>> round(stp.pp.set_scale(sections["S1"], pitch_um=100), 3)
    0.75
    """
    lengths = {"um_per_px": um_per_px, "spot_diameter_um": spot_diameter_um, "pitch_um": pitch_um}
    given = {name: value for name, value in lengths.items() if value is not None}
    if len(given) != 1:
        raise InputError(
            f"{len(given)} of {', '.join(lengths)} are given",
            where="set_scale",
            expected="exactly one",
            remedy="give the one you know",
        )
    (name, value), = given.items()  # fmt: skip
    if name == "um_per_px":
        store_scale(sdata, find_image(sdata, image_key), value)
        return value
    section, placed = read_section(sdata, Elements(image_key, shapes_key, table_key), need_counts=False)
    if name == "spot_diameter_um":
        value = value / spot_diameter_px(sdata, placed)
    else:
        value = value / _pitch_px(section.centers_px)
    check_um_per_px(value, where=name)
    store_scale(sdata, placed.image, value)
    return value


def _pitch_px(centers_px: NDArray[np.float64]) -> float:
    """Median distance to the nearest other spot."""
    pitch = pitch_px(centers_px)
    if pitch == 0:
        raise InputError(
            f"{len(centers_px)} spots at one place have no pitch",
            where="pitch_um",
            expected="spots at a distance from each other",
            remedy="give um_per_px instead",
        )
    return pitch
