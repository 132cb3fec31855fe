"""Tissue under tinted lamps and beside filler: the same outlines as on the plain slide."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from spatialdata import SpatialData
from spatialdata.models import Image2DModel

import st_predict as stp
from st_predict.core.errors import InputError
from st_predict.core.tissue import is_dark

pytestmark = pytest.mark.one_python  # numbers

UM = 11.0  # her2st at a sixteenth of its size
TINTS = {"yellow": (0.97, 0.92, 0.8), "blue": (0.8, 0.9, 1.0), "dim": (0.7, 0.68, 0.6), "pink": (1.0, 0.88, 0.98)}


@pytest.fixture(scope="module")
def section() -> np.ndarray:
    folder = Path(os.environ.get("ST_PREDICT_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    if not (folder / "her2st" / "C2").is_dir():
        pytest.skip(f"no real sections in {folder}: set ST_PREDICT_DATA")
    image = JpegImageFile(str(folder / "her2st" / "C2" / "image.jpg"))  # Image.open warns of its size
    image.draft("RGB", (1000, 1000))  # the decoder's own reduction
    return np.asarray(image.reduce(2))


def tinted(pixels: np.ndarray, tint: tuple[float, float, float]) -> np.ndarray:
    return np.rint(pixels * np.array(tint)).astype(np.uint8)


def padded(pixels: np.ndarray, share: float, value: int | tuple[int, ...]) -> np.ndarray:
    """The image in the middle of filler, ``share`` of the whole."""
    height, width = pixels.shape[:2]
    tall, wide = (int(side / (1 - share) ** 0.5) for side in (height, width))
    found = np.empty((tall, wide, pixels.shape[2]), np.uint8)
    found[:] = value
    top, left = (tall - height) // 2, (wide - width) // 2
    found[top : top + height, left : left + width] = pixels
    return found


def transparent(pixels: np.ndarray, share: float) -> np.ndarray:
    return padded(np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]), share, 0)


def turned(pixels: np.ndarray, value: int | tuple[int, int, int]) -> np.ndarray:
    """As registration leaves it: by an angle, the corners filled."""
    image = Image.fromarray(pixels)
    color = (value,) * 3 if isinstance(value, int) else value
    return np.asarray(image.rotate(20, Image.Resampling.NEAREST, expand=True, fillcolor=color))


def noisy(pixels: np.ndarray, low: int, high: int) -> np.ndarray:
    """Exact black as a camera that is covered sees it."""
    noise = np.random.default_rng(0).integers(low, high, pixels.shape, dtype=np.uint8)
    return np.where(pixels.any(axis=2, keepdims=True), pixels, noise)


def compressed(pixels: np.ndarray, quality: int = 80) -> np.ndarray:
    """As JPEG smears the border of filler over its blocks."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def area_of(pixels: np.ndarray, um_per_px: float | None = UM) -> float:
    channels = list("rgba")[: pixels.shape[2]]
    image = Image2DModel.parse(pixels.transpose(2, 0, 1), dims=("c", "y", "x"), c_coords=channels)
    known = {} if um_per_px is None else {"slide": um_per_px}
    sdata = SpatialData(images={"slide": image}, attrs={"st_predict": {"um_per_px": known}})
    stp.pp.find_tissue(sdata)
    return float(sdata.shapes["tissue"].area.sum())


@pytest.fixture(scope="module")
def plain_area(section: np.ndarray) -> float:
    return area_of(section)


VERSIONS: dict[str, Any] = {
    "yellow": lambda p: tinted(p, TINTS["yellow"]),
    "blue": lambda p: tinted(p, TINTS["blue"]),
    "dim": lambda p: tinted(p, TINTS["dim"]),
    "white around a quarter": lambda p: padded(p, 0.25, 255),
    "black around most": lambda p: padded(p, 0.75, 0),
    "transparent around a half": lambda p: transparent(p, 0.5),
    "yellow, white around": lambda p: padded(tinted(p, TINTS["yellow"]), 0.25, 255),
    "pink, white around most": lambda p: padded(tinted(p, TINTS["pink"]), 0.6, 255),
    "dim, transparent around": lambda p: transparent(tinted(p, TINTS["dim"]), 0.25),
    "yellow, turned on white": lambda p: turned(tinted(p, TINTS["yellow"]), 255),
    "turned on black": lambda p: turned(p, 0),
    "yellow, white around, JPEG": lambda p: compressed(padded(tinted(p, TINTS["yellow"]), 0.25, 255)),
    "yellow, nearly white around": lambda p: padded(tinted(p, TINTS["yellow"]), 0.25, 254),
    "yellow, bluish white around": lambda p: padded(tinted(p, TINTS["yellow"]), 0.25, (250, 252, 255)),
    "blue, light gray around most": lambda p: padded(tinted(p, TINTS["blue"]), 0.6, 240),
    "pink, turned on yellowish white": lambda p: turned(tinted(p, TINTS["pink"]), (255, 255, 240)),
    "dim, nearly white around, JPEG": lambda p: compressed(padded(tinted(p, TINTS["dim"]), 0.25, 250)),
    "dim, nearly white around, coarse JPEG": lambda p: compressed(padded(tinted(p, TINTS["dim"]), 0.25, 250), 40),
    "gray of glass around": lambda p: padded(p, 0.25, 240),
    "nearly black around most": lambda p: padded(p, 0.6, 1),
    "yellow, dark gray around most": lambda p: padded(tinted(p, TINTS["yellow"]), 0.6, 20),
    "noisy black around most": lambda p: noisy(padded(p, 0.6, 0), 3, 16),
    "yellow, white around most, JPEG": lambda p: compressed(padded(tinted(p, TINTS["yellow"]), 0.6, 255)),
}


@pytest.mark.parametrize("version", list(VERSIONS))
def test_outlines_do_not_depend_on_lamp_and_filler(version: str, section: np.ndarray, plain_area: float) -> None:
    assert 0.15 < plain_area / section[..., 0].size < 0.2
    assert area_of(VERSIONS[version](section)) == pytest.approx(plain_area, rel=0.05)


def test_sizes_without_a_scale_are_shares_of_what_is_no_filler(section: np.ndarray) -> None:
    assert area_of(padded(section, 0.75, 255), None) == pytest.approx(area_of(section, None), rel=0.05)


def test_missing_tiles_in_tissue_are_no_tissue_and_change_nothing_else(section: np.ndarray, plain_area: float) -> None:
    for value in (0, 255):
        holed = section.copy()
        holed[350:400, 275:375] = value
        lost = plain_area - area_of(holed)
        assert 0.9 * 50 * 100 < lost < 1.1 * 50 * 100


STAINS = {"pink": (226, 150, 190), "purple": (120, 80, 150)}


def drawn(glass: tuple[int, int, int], *, noise: float = 2.0) -> np.ndarray:
    """A round piece of tissue on glass; exact white stays exact."""
    y, x = np.mgrid[:500, :700]
    pixels = np.empty((500, 700, 3))
    pixels[:] = glass
    inside = (x - 300) ** 2 + (y - 260) ** 2 < 150**2
    pixels[inside] = STAINS["pink"]
    pixels[(x - 330) ** 2 + (y - 240) ** 2 < 40**2] = STAINS["purple"]
    if min(glass) < 255:
        pixels += np.random.default_rng(0).normal(0, noise, pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("glass", [(255, 255, 255), (243, 240, 244), (238, 225, 190), (205, 215, 235), (150, 146, 139)])
@pytest.mark.parametrize("around", [None, 0, 255])
def test_drawn_tissue_is_found_on_any_glass(glass: tuple[int, int, int], around: int | None) -> None:
    pixels = drawn(glass)
    if around is not None:
        pixels = padded(pixels, 0.6, around)
    assert area_of(pixels, 4.0) == pytest.approx(np.pi * 150**2, rel=0.05)


def test_a_slide_that_is_all_tissue_is_said(section: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    middle = section[325:425, 250:400]
    assert area_of(middle) > 0.9 * middle[..., 0].size
    assert "of image 'slide' is taken for tissue" in caplog.text
    rng = np.random.default_rng(0)
    packed = np.clip(np.array(STAINS["purple"]) + rng.normal(0, 25, (400, 500, 3)), 1, 254).astype(np.uint8)
    caplog.clear()
    assert area_of(packed) > 0.98 * packed[..., 0].size
    assert (
        "100 % of image 'slide' is taken for tissue, and no glass was found, so it is taken to be white" in caplog.text
    )


def test_nothing_is_said_of_an_ordinary_slide(section: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    area_of(padded(section, 0.25, 255))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("glass", [(238, 225, 190), (255, 255, 255)])
@pytest.mark.parametrize("around", [None, 30, 250])
@pytest.mark.parametrize("noise", [0.0, 6.0])
def test_glass_of_one_color_is_glass_where_no_other_is_seen(
    glass: tuple[int, int, int], around: int | None, noise: float
) -> None:
    """As somebody draws it, or cuts tissue out: the flat color beside tissue, and not the one around it all."""
    pixels = drawn((255, 255, 255))
    bare = (pixels == 255).all(axis=2)
    rough = np.random.default_rng(0).normal(0, noise, pixels.shape)
    pixels = np.where(bare[..., None], glass, np.clip(pixels + rough, 1, 254)).astype(np.uint8)
    if around is not None:
        pixels = padded(pixels, 0.4, around)
    assert area_of(pixels, 4.0) == pytest.approx(np.pi * 150**2, rel=0.05)


def test_most_of_a_slide_is_said(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    pixels = np.clip(np.array(STAINS["pink"]) + rng.normal(0, 25, (400, 500, 3)), 1, 254)
    pixels[:, :35] = np.array((240, 238, 241)) + rng.normal(0, 1, (400, 35, 3))
    area_of(pixels.astype(np.uint8))
    assert "93 % of image 'slide' is taken for tissue: check the outlines" in caplog.text


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_but_filler_has_no_tissue(value: int) -> None:
    with pytest.raises(InputError, match="no tissue was found|has a dark background"):
        area_of(np.full((300, 400, 3), value, np.uint8))


@pytest.mark.parametrize("around", [0, 254, 240])
def test_fluorescence_is_refused_whatever_lies_around_it(section: np.ndarray, around: int) -> None:
    glow = 255.0 - section.mean(axis=2)
    pixels = np.stack([glow * 0.1, glow * 0.2, np.clip((glow - 25) * 1.2, 0, 255)], axis=-1).astype(np.uint8)
    assert is_dark(padded(pixels, 0.6, around)) and is_dark(padded(pixels, 0.9, around))


def test_gray_light_that_fades_into_a_noisy_black_is_dark() -> None:
    y, x = np.mgrid[:400, :500]
    glow = 230 * np.exp(-((x - 250) ** 2 + (y - 200) ** 2) / 70**2)[..., None]
    noise = np.random.default_rng(0).integers(3, 16, (400, 500, 3))
    assert is_dark(np.maximum(glow, noise).astype(np.uint8))


@pytest.mark.parametrize("color", [(40, 200, 60), (30, 40, 220), (220, 30, 40)])
@pytest.mark.parametrize("background", [0, 8])
def test_fluorescence_is_refused_whatever_black_it_lies_on(color: tuple[int, int, int], background: int) -> None:
    y, x = np.mgrid[:400, :500]
    glow = np.exp(-((x - 250) ** 2 + (y - 200) ** 2) / 90**2)[..., None]
    with pytest.raises(InputError, match="has a dark background"):
        area_of(np.maximum(np.rint(glow * np.array(color)), background).astype(np.uint8))
    flat = np.where(glow > 0.5, color, background).astype(np.uint8)
    assert is_dark(flat)


def test_black_filler_makes_no_slide_dark(section: np.ndarray) -> None:
    assert not is_dark(section) and not is_dark(padded(section, 0.9, 0))
