"""Boxes: where a tile lies to the pixel, and which widths are refused."""

from __future__ import annotations

import numpy as np
import pytest

from st_predict.core.errors import InputError
from st_predict.core.section import Section
from st_predict.core.tiles.geometry import DEFAULT_TILE_UM, TileSpec, tile_corners
from st_predict.core.tiles.sources import ArraySource


def section(um_per_px: float | None) -> Section:
    return Section("A", ArraySource(np.zeros((10, 10, 3), np.uint8)), np.zeros((1, 2)), um_per_px)


@pytest.mark.parametrize(
    ("center", "side", "corner"),
    [
        ((10.0, 20.0), 4, (8, 18)),  # an even tile around a pixel border is exact
        ((10.5, 20.5), 5, (8, 18)),  # an odd tile around a pixel center is exact
        ((10.4, 20.6), 4, (8, 19)),
        ((1.0, 0.0), 6, (-2, -3)),
        ((-7.0, 3.0), 4, (-9, 1)),
    ],
)
def test_corners(center: tuple[float, float], side: int, corner: tuple[int, int]) -> None:
    assert tuple(tile_corners(np.array([center]), side)[0]) == corner


def test_corners_are_integers_within_half_a_pixel_of_the_truth() -> None:
    centers = np.random.default_rng(0).uniform(-50, 500, (200, 2))
    for side in (4, 7, 224):
        corners = tile_corners(centers, side)
        assert corners.dtype == np.int64
        assert np.abs(corners + side / 2 - centers).max() <= 0.5


def test_widths_in_um_become_whole_pixels() -> None:
    assert TileSpec.of((112, 154.0), None).sides_px(section(0.5)) == (224, 308)
    assert TileSpec.of(100, None).sides_px(section(0.69)) == (145,)
    assert TileSpec.of(None, [32, 64.4]).sides_px(section(None)) == (32, 64)


@pytest.mark.parametrize("given", [100, 100.0, np.int64(100), np.float32(100), [100], (100,), np.array([100])])
def test_widths_in_any_number_type(given: object) -> None:
    assert TileSpec.of(given, None).widths_um == (100.0,)


def test_default_widths() -> None:
    assert TileSpec.of(None, None).widths_um == DEFAULT_TILE_UM == (112.0, 154.0, 308.0, 616.0)
    assert TileSpec.of(None, None).n_scales == 4 and TileSpec.of(None, 5).n_scales == 1


@pytest.mark.parametrize("spec", [TileSpec((112.0, 154.0)), TileSpec((), (32.0,))])
def test_spec_survives_json(spec: TileSpec) -> None:
    import json

    assert TileSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_unknown_scale_names_the_remedy() -> None:
    with pytest.raises(InputError, match="scale of section 'A' is unknown") as error:
        TileSpec.of(112, None).sides_px(section(None))
    assert "st_predict.pp.set_scale(sdata, um_per_px=...)" in error.value.remedy and "tile_px=" in error.value.remedy


def test_both_widths_are_refused() -> None:
    with pytest.raises(InputError, match="both tile_um and tile_px are given"):
        TileSpec.of(112, 224)


def test_no_width_is_refused() -> None:
    with pytest.raises(InputError, match="no tile width is given"):
        TileSpec.of((), None)


@pytest.mark.parametrize("width", [0, -3, float("nan"), float("inf")])
def test_absurd_widths_are_refused(width: float) -> None:
    with pytest.raises(InputError, match="tile widths are") as error:
        TileSpec.of(None, (64, width))
    assert error.value.where == "tile_px"


def test_tiles_of_a_few_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="would be 3 px wide") as error:
        TileSpec.of((30, 300), None).sides_px(section(10.0))
    assert "at least 4 px" in error.value.expected
    assert TileSpec.of(40, None).sides_px(section(10.0)) == (4,)


def test_tiles_wider_than_an_image_are_refused_where_its_size_is_given() -> None:
    spec = TileSpec.of((112, 616), None)
    assert spec.sides_at(0.5, "image 'a'", size_px=(300, 224)) == (224, 1232)
    with pytest.raises(
        InputError, match=r"tiles of image 'a' would be 4148 px wide, the image is 3000 x 2000 px"
    ) as error:
        spec.sides_at(0.027, "image 'a'", size_px=(3000, 2000))
    assert "check the scale" in error.value.remedy


@pytest.mark.parametrize(("widths", "found"), [(11, 11), ((20, 11), 11), ((4, 81), 81)])
def test_tiles_that_an_image_is_too_small_for_are_refused(widths: float | tuple[float, ...], found: int) -> None:
    TileSpec.of(None, (10, 80)).check_section(section(None))
    with pytest.raises(InputError, match=f"tiles of section 'A' would be {found} px wide, the image is 10 x 10 px"):
        TileSpec.of(None, widths).check_section(section(None))
