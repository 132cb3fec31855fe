"""Which channels of an image are red, green, blue and alpha, by their names. Knows no pixel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLORS = (("r", "red"), ("g", "green"), ("b", "blue"))
_ALPHA = ("a", "alpha", "opacity")
_UNNAMED = ("0", "1", "2")
# What is left of a name that tells nothing, without its digits and signs; a number of three digits is a wavelength.
_TELLS_NOTHING = {"", "c", "ch", "channel", "band", "sample", "image", "layer", "none", "nan", "rgb", "he", "h&e", "bf",
                  "brightfield", "tlbrightfield"}  # fmt: skip
_WAVELENGTH = re.compile(r"\d{3}")

FOUR_REMEDY = (
    "name the channels r, g, b, a if the fourth is alpha (in SpatialData c_coords=, in OME-Zarr the labels of omero), "
    "leave it out if it is not, or choose the H&E image; fluorescence cannot be used"
)


def color_channels(names: Sequence[object], n: int) -> list[int] | None:
    """Find the channels of red, green, blue and, where the names say so, alpha; ``None`` where the names do not tell.

    Parameters
    ----------
    names
        Names of the channels. They are ignored if there are not exactly ``n``.
    n
        Number of channels. Three channels with other names are taken in their order; a fourth is alpha only by its
        name.
    """
    known = [str(name).strip().lower() for name in names] if len(names) == n else [""] * n
    found = [[i for i, name in enumerate(known) if name in spelled] for spelled in (*_COLORS, _ALPHA)]
    *colors, alpha = found
    if n in (3, 4) and all(len(places) == 1 for places in colors):
        return [places[0] for places in (*colors, alpha) if places]
    if n == 3:
        return [0, 1, 2]
    return [0, 1, 2, 3] if n == 4 and alpha == [3] and tuple(known[:3]) == _UNNAMED else None


def say_names(names: Sequence[object], n: int, image: str) -> str | None:
    """The warning about three channels whose names are not colors; ``None`` where they are colors, or tell nothing.

    Parameters
    ----------
    names, n
        As in :func:`color_channels`.
    image
        Name of the image.
    """
    known = [str(name).strip().lower() for name in names]
    colors = [color for name in known for color in _COLORS if name in color]
    each_once = len(set(colors)) == len(colors)
    if n != 3 or len(known) != n or (each_once and len(colors) + sum(map(_tells_nothing, known)) >= n):
        return None
    return (
        f"the channels of {image} are named {', '.join(str(name) for name in names)}, which is not red, green and blue; "
        "they are taken as these, in their order: if it is no H&E image, choose the one that is"
    )


def _tells_nothing(name: str) -> bool:
    letters = "".join(sign for sign in name if sign.isalpha() or sign == "&")
    return letters in _TELLS_NOTHING and not _WAVELENGTH.search(name)
