"""One section given twice, whole or in part, is refused; sections that only look alike are not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from spatialdata import SpatialData

import st_predict as stp
from st_predict._spatialdata.sections import read_sections
from st_predict.cli.commands import main
from st_predict.core.errors import InputError

Make = Callable[..., SpatialData]


def rows(sdata: SpatialData, kept: Any) -> SpatialData:
    """The same section with some of its spots."""
    table = sdata["table"][kept].copy()
    del sdata.tables["table"]
    sdata.tables["table"] = table
    return sdata


def genes(sdata: SpatialData, kept: Any) -> SpatialData:
    """The same section with its genes in another order."""
    table = sdata["table"][:, kept].copy()
    del sdata.tables["table"]
    sdata.tables["table"] = table
    return sdata


AGAIN: dict[str, Callable[[SpatialData, Make, Path], Any]] = {
    "the same object": lambda a, make, folder: a,
    "a copy": lambda a, make, folder: make("A"),
    "rows in another order": lambda a, make, folder: rows(make("A"), slice(None, None, -1)),
    "genes in another order": lambda a, make, folder: genes(make("A"), slice(None, None, -1)),
    "a part of it": lambda a, make, folder: rows(make("A"), slice(20)),
    "renamed": lambda a, make, folder: make("Other"),
}


@pytest.mark.parametrize("kind", AGAIN)
def test_one_section_twice(make_section: Make, tmp_path: Path, kind: str) -> None:
    a, b = make_section("A"), make_section("B", 1)
    again = AGAIN[kind](a, make_section, tmp_path)
    with pytest.raises(InputError, match=r"^sections 1 and 3 \('one' and 'two'\) are one: (42|20) spots, of 42 and"):
        read_sections({"one": a, "b": b, "two": again})


def test_stores(make_section: Make, tmp_path: Path, quick: dict[str, Any]) -> None:
    store = tmp_path / "A.zarr"
    make_section("A").write(store)
    shutil.copytree(store, tmp_path / "copy.zarr")
    (tmp_path / "link.zarr").symlink_to(store)
    make_section("B", 1).write(tmp_path / "B.zarr")
    for other in ("copy.zarr", "link.zarr", "A.zarr"):
        both = {"one": store, "b": tmp_path / "B.zarr", "two": tmp_path / other}
        with pytest.raises(InputError, match="sections 1 and 3"):
            stp.tl.train(both, **quick)
        with pytest.raises(InputError, match="sections 1 and 3"):
            stp.tl.cross_validate(both, methods=["ridge"], encoder="tiny", genes=10, n_jobs=1)
    # Without names either: the remedy for two of one name would lead here.
    with pytest.raises(InputError, match="sections 1 and 2"):
        stp.tl.train([store, store], **quick)
    outcome = CliRunner().invoke(main, ["train", str(store), str(tmp_path / "link.zarr"), "--out", str(tmp_path / "m")])
    assert outcome.exit_code and "A.zarr and " in outcome.output and "are one store" in outcome.output


def test_sections_that_only_look_alike_are_taken(make_section: Make) -> None:
    """The same places, and the same totals; or parts that share a seam."""
    a, b = make_section("A"), make_section("B", 1)
    for sdata in (a, b):
        sdata["table"].X = sdata["table"].X.toarray()
        sdata["table"].X[:, 0] = 5000 - sdata["table"].X[:, 1:].sum(axis=1)
    assert len(read_sections([a, b]).sections) == 2
    halves = {"left": rows(make_section("A"), slice(23)), "right": rows(make_section("A"), slice(21, None))}
    assert len(read_sections(halves).sections) == 2
    empty = [make_section("A"), make_section("B", 1)]
    for sdata in empty:
        sdata["table"].X = np.zeros(sdata["table"].shape, np.float32)
    assert len(read_sections(empty).sections) == 2
