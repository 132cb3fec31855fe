"""Spots on glass are counted, those on tissue are not, and the usual cause is named."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from spatialdata import SpatialData
from spatialdata.models import Image2DModel

import st_predict as stp
from st_predict.core.section import Section
from st_predict.core.tiles.glass import say_glass, spots_on_glass
from st_predict.core.tiles.sources import ArraySource

Make = Callable[..., SpatialData]
UM = 2.0
GLASS_COLORS = {"white": (255, 255, 255), "tinted": (232, 226, 214), "gray": (214, 214, 216)}


def slide(glass: tuple[int, int, int]) -> np.ndarray:
    """Pink tissue on the left half of some glass ``(400, 600, 3)``, with a lamp's noise."""
    rng = np.random.default_rng(0)
    pixels = np.full((400, 600, 3), glass, float)
    pixels[40:360, 30:300] = (205, 130, 175)
    return (pixels + rng.normal(0, 2, pixels.shape)).clip(0, 255).astype(np.uint8)


def centers(*, on_tissue: int, on_glass: int) -> np.ndarray:
    y = np.linspace(60, 340, 20)
    return np.array(
        [(60 + 50 * (i // 20), y[i % 20]) for i in range(on_tissue)] + [(450.0, y[i]) for i in range(on_glass)]
    )


def section(pixels: np.ndarray, centers_px: np.ndarray, um_per_px: float | None = UM) -> Section:
    return Section("A", ArraySource(pixels), centers_px, um_per_px)


@pytest.mark.parametrize("um_per_px", [UM, None])
@pytest.mark.parametrize("glass", GLASS_COLORS)
def test_spots_on_glass_are_found(glass: str, um_per_px: float | None) -> None:
    spots = centers(on_tissue=80, on_glass=7)
    found = spots_on_glass(section(slide(GLASS_COLORS[glass]), spots, um_per_px))
    assert np.flatnonzero(found).tolist() == list(range(80, 87))


@pytest.mark.parametrize("filler", [0, 255])
def test_filler_is_no_tissue(filler: int) -> None:
    pixels = slide(GLASS_COLORS["tinted"])
    pixels[:, 400:] = filler
    assert spots_on_glass(section(pixels, centers(on_tissue=40, on_glass=3))).sum() == 3


def test_borders_and_images_without_glass_are_let_be() -> None:
    beside = np.array([[305.0, 200.0], [60.0, 30.0], [700.0, 100.0]])  # within 50 um of tissue; off the image
    assert not spots_on_glass(section(slide(GLASS_COLORS["white"]), beside)).any()
    everywhere = centers(on_tissue=80, on_glass=7)
    tissue_alone = np.tile(slide(GLASS_COLORS["white"])[60:340, 60:260], (2, 4, 1))
    assert not spots_on_glass(section(tissue_alone, everywhere)).any()
    dark = np.random.default_rng(0).integers(0, 40, (400, 600, 3)).astype(np.uint8)
    assert not spots_on_glass(section(dark, everywhere)).any()


@pytest.mark.parametrize(
    ("on_glass", "said"),
    [
        (7, "7 of the 87 spots of A lie on bare glass: leave them out"),
        (20, "20 of the 100 spots of A lie on bare glass: usually the image is not the one the spots were placed on, such as "
             "the low-resolution image given as the full one"),
    ],
)  # fmt: skip
def test_how_many_and_why(on_glass: int, said: str, caplog: pytest.LogCaptureFixture) -> None:
    say_glass(section(slide(GLASS_COLORS["white"]), centers(on_tissue=80, on_glass=on_glass)))
    (record,) = caplog.records
    assert said in record.getMessage() and record.levelno == logging.WARNING


def test_none_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    say_glass(section(slide(GLASS_COLORS["white"]), centers(on_tissue=80, on_glass=0)))
    assert not caplog.records


def on_slide(sdata: SpatialData) -> SpatialData:
    """The section's 42 spots, of which two thirds lie right of the tissue."""
    pixels = np.full((164, 198, 3), 240, np.uint8)
    pixels[:, :60] = (205, 130, 175)
    sdata.images["A_image"] = Image2DModel.parse(np.moveaxis(pixels, -1, 0), dims=("c", "y", "x"))
    return sdata


@pytest.mark.parametrize("table", [True, False])
def test_prediction_says_it(
    make_section: Make, quick_model: Any, table: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stp.tl.predict(on_slide(make_section("A", table=table)), quick_model)
    assert caplog.text.count("24 of the 42 spots of A lie on bare glass: usually the image is not the one") == 1


def test_embedding_says_it(make_section: Make, caplog: pytest.LogCaptureFixture) -> None:
    stp.pp.embed(on_slide(make_section("A")), encoder="tiny")
    assert "24 of the 42 spots of A lie on bare glass" in caplog.text
