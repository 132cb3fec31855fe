"""Input that no part of the package can use: values that are not counts, spots off their image, absurd scales."""

from __future__ import annotations

import logging
import math
import operator
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger("st_predict")

# A light microscope resolves no less than this a pixel, and no H&E image of a section is coarser.
UM_PER_PX_LIMITS = (0.02, 50.0)
# Spots of a correct section overshoot the image by less than one pitch, 2 to 3 % of its longer side.
EDGE_SLACK = 0.03
_MOST_COUNTS = 1e9
_FARTHEST_PX = 1e9


def check_positive(value: float, *, where: str) -> None:
    """Refuse a length that is not a positive finite number."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(
            f"{where} is {value}", where=where, expected="a positive finite number", remedy=f"correct {where}"
        )


def check_number(value: Any, *, where: str) -> None:
    """Refuse what is not a finite number."""
    if isinstance(value, bool) or not (isinstance(value, Real) and math.isfinite(value)):
        raise InputError(f"{where} is {value!r}", where=where, expected="a finite number", remedy=f"correct {where}")


def whole_number(value: Any) -> int | None:
    """Convert a whole number of any library to an ``int``; ``None`` for anything else, also for True and False."""
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def unmasked(values: Any) -> NDArray[Any]:
    """Values as a plain array: numbers behind a mask are missing."""
    if not np.ma.is_masked(values):
        return np.asarray(values)
    known = values.astype(np.float64) if values.dtype.kind in "iuf" else values.astype(object)
    return np.asarray(known.filled(np.nan))


def check_um_per_px(um_per_px: float, *, where: str) -> None:
    """Refuse a scale that is not positive and finite, or that no H&E image of a section has."""
    check_positive(um_per_px, where=where)
    low, high = UM_PER_PX_LIMITS
    if not low < um_per_px < high:
        raise InputError(
            f"{where} is {um_per_px:g} um per pixel",
            where=where,
            expected=f"micrometers a pixel of the full-resolution image, between {low:g} and {high:g}",
            remedy="give um per pixel (not pixels per um, nm or mm); a 20x scan has about 0.5",
        )


def check_counts(values: NDArray[Any], *, where: str) -> None:
    """Refuse values that are not raw counts: no numbers, truth values, missing, negative or fractional.

    Parameters
    ----------
    values
        Counts of any shape (for a sparse matrix: its stored values).
    where
        The argument or file they come from.
    """
    remedy = "give the raw UMI counts; normalization and log1p happen later"
    expected = "raw counts: whole numbers, 0 or more, none missing"
    if values.dtype.kind not in "biuf":
        example = f" (e.g. {values.flat[0]!s})" if np.size(values) else ""
        raise InputError(
            f"counts are of type {values.dtype}, which are not real numbers{example}",
            where=where,
            expected=expected,
            remedy=remedy,
        )
    if values.dtype.kind == "b":
        raise InputError(
            "counts are True or False: these tell which genes were detected, not how often",
            where=where,
            expected=expected,
            remedy=remedy,
        )
    finite = np.isfinite(values)
    if not finite.all():
        raise InputError(
            f"{np.size(values) - finite.sum()} counts are missing, NaN or infinite",
            where=where,
            expected=expected,
            remedy=remedy,
        )
    if values.size and values.max() > _MOST_COUNTS:
        raise InputError(
            f"counts go up to {values.max():g}, and no gene of a spot has more than {_MOST_COUNTS:g}",
            where=where,
            expected=expected,
            remedy=remedy,
        )
    if (values < 0).any():
        raise InputError(
            f"counts are negative (lowest {values.min():g})", where=where, expected=expected, remedy=remedy
        )
    fractional = values != np.floor(values)
    if fractional.any():
        example = values[fractional].flat[0]
        raise InputError(
            f"counts are not whole numbers (e.g. {example:g}): they look normalized or log-transformed already",
            where=where,
            expected=expected,
            remedy=remedy,
        )


def check_places(centers_px: NDArray[np.floating], *, where: str) -> None:
    """Refuse spots ``(n, 2)`` whose place is missing, infinite, or farther off than any image is wide."""
    lost = ~(np.abs(centers_px) < _FARTHEST_PX).all(axis=1)
    if lost.any():
        raise InputError(
            f"{lost.sum()} of {len(lost)} spots have no usable position, for example {centers_px[lost][0].tolist()}",
            where=where,
            expected="finite coordinates, in px of the image",
            remedy="leave these spots out, or correct their places",
        )


def check_apart(centers_px: NDArray[np.floating], *, where: str) -> None:
    """Refuse spots ``(n, 2)`` most of which share their place with another; a few may, as places are rounded."""
    ordered = centers_px[np.lexsort(centers_px.T)]
    same = (ordered[1:] == ordered[:-1]).all(axis=1)
    shared = np.append(same, False) | np.insert(same, 0, False)
    if shared.sum() > len(shared) / 2:
        raise InputError(
            f"most spots lie on top of one another ({shared.sum()} of {len(shared)})",
            where=where,
            expected="one place for each spot",
            remedy="check the positions against those of the section",
        )


def _n_inside(x: NDArray[np.floating], y: NDArray[np.floating], width: int, height: int) -> int:
    return int(((x >= 0) & (x < width) & (y >= 0) & (y < height)).sum())


def check_spots_on_image(centers_px: NDArray[np.floating], *, width: int, height: int, where: str) -> None:
    """Refuse spots that do not lie on the image, and say so if swapping x and y would put them there.

    A few spots off the edge are kept with a warning. If more than half lie off, or one lies farther off than the image is
    long, they cannot belong to this image.

    Parameters
    ----------
    centers_px
        Spot centers ``(n_spots, 2)`` as x, y in full-resolution px.
    width, height
        Size of the image in px.
    where
        The argument that holds the image.
    """
    check_places(centers_px, where=where)
    check_apart(centers_px, where=where)
    n = len(centers_px)
    x, y = centers_px[:, 0], centers_px[:, 1]
    n_on, n_swapped = _n_inside(x, y, width, height), _n_inside(y, x, width, height)
    if n_on == n:
        return
    found = (
        f"{n - n_on} of {n} spots lie off the image: spots span x {x.min():.0f} to {x.max():.0f} and "
        f"y {y.min():.0f} to {y.max():.0f}, the image is {width} x {height} px (width x height)"
    )
    expected = "spot centers in pixels of this image, x to the right and y down"
    overshoot_px = max(-x.min(), -y.min(), x.max() - width, y.max() - height)
    if n_swapped == n and overshoot_px > EDGE_SLACK * max(width, height):
        raise InputError(
            f"axes look swapped: {found}; with x and y exchanged all lie on it",
            where=where,
            expected=expected,
            remedy="exchange the two pixel columns, or turn the image back",
        )
    if n_on < n / 2:
        raise InputError(
            found,
            where=where,
            expected=expected,
            remedy="give the full-resolution image that the spots were placed on, not a smaller copy or another section",
        )
    if overshoot_px > max(width, height):
        raise InputError(
            found,
            where=where,
            expected=expected,
            remedy="leave out the spots that lie so far off, or correct their places",
        )
    hint = "; with x and y exchanged all would lie on it" if n_swapped == n else ""
    logger.warning("%s; they are kept%s", found, hint)
