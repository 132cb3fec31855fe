"""Which TIFFs their decoder gives as RGB for certain, and how others are converted.

Knows tifffile's pages and series; reads no pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict.io._no_rgb import by_pixels, cmyk, fluorescence, no_rgb, palette, stack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import tifffile
    from numpy.typing import NDArray

    from st_predict.core.errors import InputError

_LOSSLESS = {"NONE", "LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "ZSTD", "ZSTD_DEPRECATED", "LZMA", "LERC"}
_AS_MARKED = {"JPEG", "JPEG_2000_LOSSY", "JPEG2000", "APERIO_JP2000_RGB", "WEBP", "WEBP_DEPRECATED", "JPEGXL", "PNG",
              "JPEGXR", "JPEGXR_NDPI"}  # fmt: skip
_GRAY = {"MINISBLACK", "MINISWHITE", "MASK"}
_NEVER = _GRAY | {"SEPARATED", "CFA", "LINEAR_RAW", "DEPTH_MAP", "SEMANTIC_MASK", "LOGL"}
_ASSOCIATED, _UNASSOCIATED = 1, 2  # alpha; another sample (infrared, a mask) is none
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what a TIFF means that states none


class Color(NamedTuple):
    """What a decoded block needs to become RGB."""

    ycbcr: bool
    alpha: int | None
    """Which sample it is."""
    premultiplied: bool


def find_color(series: tifffile.TiffPageSeries) -> Color | None:
    """How the image becomes RGB; ``None`` where it is not certain what its decoder gives.

    RGB does under every known compression, YCbCr as JPEG (whose decoder converts) or, not subsampled, under a lossless
    one (converted here). Samples after the third that are not marked as alpha are left out.
    Three separate planes of a file that marks none of its colors (OME-TIFF) are red, green and blue, by their names or in
    their order.
    """
    page = series.keyframe
    marked, stored, n = _name(page.photometric), _name(page.compression), n_channels(series)
    extra = {3 + i: int(sample) for i, sample in enumerate(page.extrasamples[: max(n - 3, 0)])}
    alpha = next((i for i, sample in extra.items() if sample in (_ASSOCIATED, _UNASSOCIATED)), None)
    color = Color(False, alpha, alpha is not None and extra[alpha] == _ASSOCIATED)
    if n < 3:
        return None
    if marked == "RGB" and stored in _LOSSLESS:
        return color
    if marked == "RGB" and stored in _AS_MARKED:  # a JPEG of four channels or more is of no known color space
        return color if stored != "JPEG" or n == 3 else None
    if marked == "YCBCR" and n == 3 and series.axes == "YXS":
        if stored == "JPEG":
            return color
        return Color(True, None, False) if stored in _LOSSLESS and _is_plain_ycbcr(page) else None
    return (
        color
        if marked == "MINISBLACK" and series.axes == "CYX" and n == 3 and stored in _LOSSLESS | _AS_MARKED
        else None
    )


def n_channels(series: tifffile.TiffPageSeries) -> int:
    """Channels of the image; 1 where its axes are not those of one picture in color."""
    axes, shape = series.axes, series.shape
    return int(shape[2] if axes == "YXS" else shape[0] if axes in ("SYX", "CYX") else 1)


def n_planes(series: tifffile.TiffPageSeries) -> int:
    """Number of pictures in a stack of depths, times or pages of one size; 1 where there is no stack."""
    sides = zip(series.axes, series.shape, strict=True)
    return int(np.prod([size for axis, size in sides if axis not in "YXSC"], dtype=int))


def may_be_color(series: tifffile.TiffPageSeries) -> bool:
    """Whether another library could make RGB of it: 8 bits, marked as some kind of color, and one picture.

    With samples after the third it would not: OpenSlide takes any of them for alpha, and gives other colors.
    """
    known = _name(series.keyframe.photometric) not in _NEVER and n_channels(series) <= 3
    return series.dtype == np.uint8 and known and n_planes(series) == 1


def refusal(series: tifffile.TiffPageSeries, names: Sequence[str], path: Path, *, where: str) -> InputError:
    """Make the error for an image whose colors :func:`find_color` does not know, or that is not of 8 bits.

    Parameters
    ----------
    series
        The image.
    names
        Names of its channels, if they have any.
    path, where
        The file, and the argument it was given as.
    """
    page, n, n_pictures = series.keyframe, n_channels(series), n_planes(series)
    marked, stored = _name(page.photometric), _name(page.compression)
    if n == 1 and n_pictures > 1 and "T" not in series.axes and page.samplesperpixel == 1:  # each channel a page
        return fluorescence(path, n_pictures, names, series.dtype, where=where)
    if n_pictures > 1:
        return stack(path, n_pictures, "times" if "T" in series.axes else f"pictures ({series.axes})", where=where)
    if marked == "SEPARATED" and n == 4:
        return cmyk(path, where=where)
    if marked == "PALETTE":
        return palette(path, where=where)
    if stored == "OJPEG":
        return no_rgb(path, "it is old-style JPEG (compression 6), which no program decodes reliably", where=where)
    found = by_pixels(path, n, names, series.dtype, where=where)
    return found or no_rgb(
        path, f"axes {series.axes}, shape {series.shape}, {marked.lower()}, {stored.lower()}", where=where
    )


def ycbcr_to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """YCbCr ``(height, width, 3)`` of the full range as RGB (TIFF 6.0, section 21)."""
    y, blue, red = (pixels[..., i].astype(np.float32) for i in range(3))
    of_red, of_green, of_blue = _LUMA
    r = y + (2 - 2 * of_red) * (red - 128)
    b = y + (2 - 2 * of_blue) * (blue - 128)
    g = (y - of_blue * b - of_red * r) / of_green
    return np.clip(np.rint(np.stack([r, g, b], axis=-1)), 0, 255).astype(np.uint8)


def _is_plain_ycbcr(page: Any) -> bool:
    """Not subsampled, and of the usual coefficients and range."""
    subsampling = page.tags.valueof("YCbCrSubSampling", (2, 2))  # what a TIFF means that states none
    luma = _floats(page.tags.valueof("YCbCrCoefficients", None))
    levels = _floats(page.tags.valueof("ReferenceBlackWhite", None))
    return (
        tuple(subsampling) == (1, 1)
        and (luma is None or np.allclose(luma, _LUMA, atol=2e-3))
        and (levels is None or np.allclose(levels, (0, 255, 128, 255, 128, 255)))
    )


def _floats(rationals: Any) -> NDArray[np.float64] | None:
    if rationals is None:
        return None
    pairs = np.asarray(rationals, float).reshape(-1, 2)
    return pairs[:, 0] / pairs[:, 1]


def _name(code: Any) -> str:
    """Of a color or a compression; the number itself where it is of none that is known."""
    return str(getattr(code, "name", code))
