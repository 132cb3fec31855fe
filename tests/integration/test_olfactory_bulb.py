"""Sections whose scale nobody states: tiles are counted in px."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from st_predict import datasets
from st_predict.core.errors import InputError
from st_predict.pp import embed
from st_predict.tl import train

pytestmark = pytest.mark.integration


def test_olfactory_bulb_of_unknown_scale(real_data: Path, mean_pcc: Callable[..., float]) -> None:
    sections = datasets.mob(real_data)
    with pytest.raises(InputError, match="the scale of section 'MOB1' is unknown") as error:
        train(sections)
    assert "st_predict.pp.set_scale" in error.value.remedy and "tile_px=" in error.value.remedy
    widths = (64, 256)
    for section in sections.values():
        embed(section, tile_px=widths)  # once, for all that is trained here
    folds = [["MOB1"]]  # one of the three; the benchmark holds out each
    settings = {"tile_px": widths, "min_counts": 0}
    nh2st, ridge = (mean_pcc(sections, folds, method, **settings) for method in ("nh2st", "ridge"))
    assert nh2st >= ridge - 0.01
    assert nh2st > 0.3
