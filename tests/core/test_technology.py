"""From how many counts on a spot is used, by the technology."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from st_predict.core.section import Section
from st_predict.core.technology import least_counts


@pytest.mark.parametrize(("um_per_px", "least"), [(5.0, 500), (1.25, 500), (1.2, 20), (0.4, 20), (None, 500)])
def test_cells_and_fine_bins_need_fewer_counts(
    um_per_px: float | None, least: float, plain_section: Callable[..., Section], caplog: pytest.LogCaptureFixture
) -> None:
    """Spots lie 20 px apart, so 25 um at 1.25 um/px."""
    section = dataclasses.replace(plain_section("A"), um_per_px=um_per_px)
    with caplog.at_level("INFO"):
        assert least_counts([section], None) == least
    assert ("are cells or fine bins" in caplog.text) == (least == 20)
    assert least_counts([section], 0) == 0
