"""Which channels of an image are red, green, blue and alpha, by their names. Knows no pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLORS = (("r", "red"), ("g", "green"), ("b", "blue"))
_ALPHA = ("a", "alpha", "opacity")
_UNNAMED = ("0", "1", "2")

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
