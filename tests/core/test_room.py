"""Features that do not fit in memory lie in a file, and everything gives the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from spatialdata import SpatialData

import st_predict as stp
from st_predict.core import room
from st_predict.core.errors import InputError
from st_predict.core.inputs import rows
from st_predict.core.model import domain
from st_predict.core.room import give_back, room_for

SHAPE = (50, 3, 8)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Everything goes to files, in a temporary folder of its own."""
    monkeypatch.setattr(room, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_few_features_are_held_in_memory() -> None:
    assert type(room_for("features", SHAPE)) is np.ndarray


def test_many_features_lie_in_a_file_without_a_name(small_memory: Path) -> None:
    features = room_for("features", SHAPE)
    assert isinstance(features, np.memmap) and features.shape == SHAPE and features.dtype == np.float32
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    features[:] = values
    give_back(features)
    np.testing.assert_array_equal(features, values)
    assert list(small_memory.iterdir()) == [], "nothing is left behind, however the process ends"


def test_a_full_disk_is_found_before_anything_is_encoded(small_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"no room for 0\.0 GB of features \(No space left") as error:
        room_for("features", SHAPE)
    assert "TMPDIR" in error.value.remedy


def test_a_prediction_from_a_file_is_that_from_memory(
    make_section: Callable[..., SpatialData],
    quick_model: Any,
    small_memory: Path,
    monkeypatch: pytest.MonkeyPatch,
    tile_count: SimpleNamespace,
) -> None:
    found = []
    for memory, part in ((2**30, 4096), (0, 4096), (0, 10)):
        monkeypatch.setattr(room, "_IN_MEMORY_BYTES", memory)
        monkeypatch.setattr(rows, "_PIECE_SPOTS", part)
        monkeypatch.setattr(domain, "_PART_SPOTS", part)
        sdata = make_section("C", 2, table=False)
        stp.tl.predict(sdata, quick_model)
        table = sdata.tables["predicted"]
        assert isinstance(table.X, np.memmap) == (memory == 0)
        assert not np.shares_memory(table.X, table.layers["predicted"])
        found.append((table.X, table.obs["predicted_distance"].to_numpy(), table.uns["predicted"]["slide_shift"]))
    assert tile_count.tiles == 3 * 4 * 42
    for mapped, exact in ((found[1], True), (found[2], False)):
        for one, other in zip(mapped, found[0], strict=True):
            np.testing.assert_allclose(one, other, rtol=0 if exact else 1e-3, atol=0 if exact else 1e-4)
