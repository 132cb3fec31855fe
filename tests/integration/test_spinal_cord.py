"""Every method on mice that it has not seen: two tissues on one image, other gene lists in each section."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from spatialdata import SpatialData

from st_predict import datasets
from st_predict.core.methods.registry import METHODS
from st_predict.pp import embed
from st_predict.tl import cross_validate

pytestmark = pytest.mark.integration
logger = logging.getLogger("st_predict.tests")
CONTROLS = ("mean", "shuffled", "ridge")  # which have no settings


@pytest.fixture(scope="module")
def spinal_cord(real_data: Path) -> dict[str, SpatialData]:
    """Two tissues of two mice on one image, other gene lists in each section; features are made once."""
    sections = datasets.als(real_data)
    for section in sections.values():
        embed(section)
    return sections


@pytest.fixture(scope="module")
def apart(spinal_cord: dict[str, SpatialData]) -> dict[str, list[str]]:
    """Sections by mouse, but mice that share an image together: then no image is in training and held out."""
    groups: dict[str, list[str]] = {"mouse_652": [], "mouse_765 and mouse_794": []}
    for name, sdata in spinal_cord.items():
        subject = str(sdata.tables["table"].obs["subject"].iloc[0])
        groups[next(group for group in groups if subject in group)].append(name)
    assert sorted(len(names) for names in groups.values()) == [2, 4]
    return groups


@pytest.fixture(scope="module")
def of_every_method(spinal_cord: dict[str, SpatialData], apart: dict[str, list[str]]) -> pd.Series:
    """Mean PCC of every method, one network each, on the mice that it has not seen; the benchmark does so on all sets."""
    methods = {name: {} if name in CONTROLS else {"members": 1, "inner_folds": 1} for name in METHODS}
    groups = [next(group for group, names in apart.items() if name in names) for name in spinal_cord]
    table = cross_validate(spinal_cord, methods=methods, groups=groups, n_jobs=1)  # other tests keep other cores busy
    assert len(table.failures) == 0
    pcc = table[(table["metric"] == "pcc") & (table["gene_set"] == "heg250")]
    by_method = pcc.groupby(["method", "fold"])["value"].mean().groupby("method").mean()
    logger.warning("als by mouse: %s", by_method.round(3).to_dict())
    assert set(by_method.index) == set(METHODS)
    return by_method


def test_by_mouse(
    spinal_cord: dict[str, SpatialData],
    apart: dict[str, list[str]],
    of_every_method: pd.Series,
    mean_pcc: Callable[..., float],
) -> None:
    assert mean_pcc(spinal_cord, list(apart.values()), "ridge") == pytest.approx(of_every_method["ridge"], abs=0.02)
    assert of_every_method["nh2st"] >= of_every_method["ridge"] - 0.02
    assert of_every_method["nh2st"] > 0.15


def test_every_method_beats_the_controls_that_hold_nothing(of_every_method: pd.Series) -> None:
    chance = max(of_every_method["mean"], of_every_method["shuffled"])
    for method in of_every_method.index.drop(["mean", "shuffled"]):
        assert of_every_method[method] > chance + 0.1, method
