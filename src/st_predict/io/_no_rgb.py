"""What an image is that is not 8-bit RGB, and how to make one of it. Knows pixels by their type and number; reads none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.channels import say_names
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NAMED = 6
_EXPECTED = "an H&E image with 3 color channels (or RGBA) of 8 bits"


def no_rgb(path: Path, found: str, *, where: str, remedy: str = "") -> InputError:
    """Make the error for an image that is not 8-bit RGB.

    Parameters
    ----------
    path, where
        The image, and the argument it was given as.
    found
        What it is, as the end of a sentence.
    remedy
        What to do about it.
    """
    return InputError(
        f"{_shown(path)} is not an 8-bit RGB image: {found}",
        where=where,
        expected=_EXPECTED,
        remedy=remedy or "export it as an 8-bit RGB TIFF, in QuPath by File > Export images > Original pixels",
    )


def cmyk(path: Path, *, where: str) -> InputError:
    return no_rgb(path, "its colors are CMYK, as for printing", where=where, remedy=by_pillow(path))


def palette(path: Path, *, where: str) -> InputError:
    return no_rgb(path, "its colors are numbers in a palette", where=where, remedy=by_pillow(path))


def gray(path: Path, dtype: object, *, where: str) -> InputError:
    return no_rgb(
        path,
        f"it is grayscale ({dtype})",
        where=where,
        remedy="give the scan in color; a gray image has lost its colors",
    )


def deep(path: Path, dtype: np.dtype[Any], *, where: str, level: str = "") -> InputError:
    """Make the error for color that is not of 8 bits, in a TIFF, a PNG, or a level of an OME-Zarr."""
    if dtype.kind not in "iuf":
        remedy = "give the scan in color; these are no colors"
        return no_rgb(path, f"it holds {dtype}, as masks and results do", where=where, remedy=remedy)
    whites = _whites(dtype)
    if len(whites) == 1:
        said = f"0..{whites[0]}{' (4095 if 12 bits are used)' if whites[0] > 4095 else ''}"
        changed = f"({{}} * (255 / {whites[0]}))"
    else:
        said = f"{' or '.join(f'0..{white}' for white in whites)}, whichever the values fill,"
        # One in a hundred may lie above, as resampling leaves some.
        white = f"next(white for white in {whites} if numpy.percentile(p, 99) <= white)"
        changed = f"((p := {{}}) * (255 / {white}))"
    return no_rgb(
        path,
        f"its colors are {dtype}",
        where=where,
        remedy=f"scale {said} to 0..255: "
        + _rewrite(path, f"{changed}.round().clip(0, 255).astype('uint8')", "8bit", level),
    )


def _whites(dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Values that white may have; numbers of a wide type come from 8 or 16 bits."""
    if dtype.kind == "f":
        return 1, 255, 65535
    most = int(np.iinfo(dtype).max)
    return (most,) if most in (127, 65535) else (255, min(most, 65535))


def fluorescence(path: Path, n: int, names: Sequence[object], dtype: object, *, where: str) -> InputError:
    told = [str(name) for name in names if str(name)] if len(names) == n else []
    named = f" ({', '.join(told[:_NAMED])}{', ...' if n > _NAMED else ''})" if told else ""
    return no_rgb(
        path,
        f"it has {n} channels{named} of {dtype}, as fluorescence has",
        where=where,
        remedy="give the H&E image of this section; fluorescence cannot be used",
    )


def stack(path: Path, n: int, what: str, *, where: str, level: str = "") -> InputError:
    """Make the error for pictures of one place among which nobody knows which one is meant."""
    return no_rgb(
        path,
        f"it is a stack of {n} {what}",
        where=where,
        remedy="keep one of them, for example the first: " + _rewrite(path, "{}[0]", "0", level),
    )


def by_pixels(
    path: Path, n: int, names: Sequence[object], dtype: np.dtype[Any], *, where: str, level: str = ""
) -> InputError | None:
    """Make the error that number, names and type of the channels call for; ``None`` where they are those of 8-bit RGB."""
    if n == 1:
        return gray(path, dtype, where=where)
    if n not in (3, 4) or (dtype != np.uint8 and say_names(names, n, path.name)):
        return fluorescence(path, n, names, dtype, where=where)
    return None if dtype == np.uint8 else deep(path, dtype, where=where, level=level)


def by_pillow(path: Path) -> str:
    """Python that converts an image to RGB."""
    return f"convert it: PIL.Image.open({str(path)!r}).convert('RGB').save({_made(path, 'rgb.png')!r})"


def _rewrite(path: Path, changed: str, end: str, level: str) -> str:
    """Python that reads an image and writes what is made of its pixels as a TIFF."""
    if path.is_dir():
        read, planes = (
            f"numpy.squeeze(zarr.open_array({str(path / level)!r}, mode='r')[:])",
            ", planarconfig='separate'",
        )
    else:
        library = "imagecodecs" if path.suffix.lower() == ".png" else "tifffile"
        read, planes = f"{library}.imread({str(path)!r})", ""
    made = _made(path, f"{end}.tif")
    return f"tifffile.imwrite({made!r}, {changed.format(read)}, photometric='rgb', tile=(256, 256){planes})"


def _made(path: Path, end: str) -> str:
    """Name of a file beside the image."""
    return str(path.with_name(f"{path.name.split('.')[0]}_{end}"))


def _shown(path: Path) -> str:
    """Name of an image; a picture of a store of several is a folder with a number."""
    return f"{path.parent.name}/{path.name}" if path.is_dir() and path.name.isdigit() else path.name
