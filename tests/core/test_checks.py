"""Input that no part can use is refused with what was found and what to do."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from st_predict.core.checks import check_counts, check_spots_on_image, check_um_per_px
from st_predict.core.errors import InputError


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, np.nan, np.inf], "2 counts are missing, NaN or infinite"),
        ([1.0, -2.0], "counts are negative (lowest -2)"),
        ([1.0, 0.6931], "counts are not whole numbers (e.g. 0.6931): they look normalized or log-transformed already"),
    ],
)
def test_values_that_are_no_counts(values: list[float], text: str) -> None:
    with pytest.raises(InputError) as error:
        check_counts(np.array(values, np.float32), where="X")
    assert error.value.what == text
    assert error.value.where == "X" and "raw UMI counts" in error.value.remedy


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.array(["1", "0"]), "counts are of type <U1, which are not real numbers (e.g. 1)"),
        (np.array([None, "many"]), "counts are of type object, which are not real numbers (e.g. None)"),
        (np.array([1 + 0j]), "counts are of type complex128, which are not real numbers (e.g. (1+0j))"),
    ],
)
def test_what_is_no_number_is_no_count(values: np.ndarray, text: str) -> None:
    with pytest.raises(InputError) as error:
        check_counts(values, where="X")
    assert error.value.what == text


@pytest.mark.parametrize("values", [np.array([True, False]), np.array([True])])
def test_detection_is_no_count(values: np.ndarray) -> None:
    with pytest.raises(InputError) as error:
        check_counts(values, where="X")
    assert error.value.what == "counts are True or False: these tell which genes were detected, not how often"


@pytest.mark.parametrize("values", [np.array([0, 3]), np.array([0.0, 3.0], np.float32), np.empty(0)])
def test_counts_pass(values: np.ndarray) -> None:
    given = values.copy()
    check_counts(values, where="X")
    assert values.dtype == given.dtype and np.array_equal(values, given), "they are looked at, not changed"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_scale_must_be_positive(value: float) -> None:
    with pytest.raises(InputError, match="expected: a positive finite number"):
        check_um_per_px(value, where="um_per_px")


@pytest.mark.parametrize("value", [0.01, 500])
def test_scale_of_no_microscope(value: float) -> None:
    with pytest.raises(InputError, match="um per pixel") as error:
        check_um_per_px(value, where="um_per_px")
    assert "not pixels per um, nm or mm" in error.value.remedy
    check_um_per_px(0.5, where="um_per_px")


def test_spots_on_the_image_pass_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    check_spots_on_image(np.array([[0.0, 0.0], [99.0, 49.0]]), width=100, height=50, where="w")
    assert caplog.records == []


def test_swapped_axes_are_named() -> None:
    centers = np.array([[10.0, 90.0], [40.0, 60.0], [20.0, 5.0]])
    with pytest.raises(InputError, match="axes look swapped: 2 of 3 spots lie off the image") as error:
        check_spots_on_image(centers, width=100, height=50, where="w")
    assert "the image is 100 x 50 px" in error.value.what and "exchange" in error.value.remedy


def test_another_images_spots() -> None:
    with pytest.raises(InputError, match="3 of 4 spots lie off the image") as error:
        check_spots_on_image(
            np.array([[10, 10], [300, 300], [400, 200], [500, 400.0]]), width=100, height=90, where="w"
        )
    assert "full-resolution image" in error.value.remedy


def test_a_few_spots_off_the_edge_are_kept_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "st_predict"):
        check_spots_on_image(np.array([[10, 10], [50, 20], [-3, 10.0]]), width=100, height=90, where="w")
    assert "1 of 3 spots lie off the image" in caplog.text and "they are kept" in caplog.text
