"""Tiles on disk: the right ones, cut once, whole or not there, within a limit, whoever else uses the folder."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from st_predict.core.errors import InputError
from st_predict.core.section import Section
from st_predict.core.tiles import store as store_module
from st_predict.core.tiles.cut import cut_section
from st_predict.core.tiles.geometry import TileSpec
from st_predict.core.tiles.sources import ArraySource
from st_predict.core.tiles.store import StoredTiles, TileStore

SPEC = TileSpec((16.0, 30.0))
N_BYTES = 25 * 2 * 32 * 32 * 3
FILE_GB = 1.001 * N_BYTES / 1e9
"""A file with its header."""


def make_section(seed: int, name: str = "A") -> Section:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    return Section(name, ArraySource(pixels), rng.uniform(0, (160, 120), (25, 2)), 0.5)


def truth(section: Section) -> np.ndarray:
    tiles = np.empty((25, 2, 32, 32, 3), np.uint8)
    cut_section(section, SPEC, tiles)
    return tiles


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Names of the sections that are cut from now on."""
    seen = SimpleNamespace(names=[])

    def noted(section: Section, *args: Any) -> None:
        seen.names.append(section.name)
        cut_section(section, *args)

    monkeypatch.setattr(store_module, "cut_section", noted)
    return seen


def store(folder: Path | None, limit_gb: float = 1.0) -> TileStore:
    return TileStore(folder, limit_gb=limit_gb)


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_tiles_are_those_that_are_cut(tmp_path: Path) -> None:
    sections = [make_section(0), make_section(1, "B")]
    tiles = store(tmp_path / "new" / "store").tiles(sections, SPEC, 32)
    for stored, section in zip(tiles, sections, strict=True):
        assert len(stored) == 25 and stored.shape == (25, 2, 32, 32, 3)
        assert np.array_equal(stored[:], truth(section)) and np.array_equal(stored[7], truth(section)[7])
        assert np.array_equal(np.load(stored.path), truth(section)), "a plain file that others can read"


def test_tiles_are_cut_once(tmp_path: Path, cuts: SimpleNamespace) -> None:
    sections = [make_section(0), make_section(1, "B")]
    store(tmp_path).tiles(sections[:1], SPEC, 32)
    tiles = store(tmp_path).tiles([*sections, make_section(0, "A again")], SPEC, 32)
    assert cuts.names == ["A", "B"] and len(kept(tmp_path)) == 2
    assert np.array_equal(tiles[2][:], truth(sections[0])) and np.array_equal(tiles[1][:], truth(sections[1]))


def test_other_pixels_under_the_same_name_are_cut_anew(tmp_path: Path, cuts: SimpleNamespace) -> None:
    for seed in (0, 1, 0):
        tiles = store(tmp_path).tiles([make_section(seed)], SPEC, 32)
        assert np.array_equal(tiles[0][:], truth(make_section(seed)))
    assert len(cuts.names) == 2


def test_a_store_of_another_version_is_not_read(
    tmp_path: Path, cuts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = store(tmp_path).tiles([make_section(0)], SPEC, 32)[0].path
    np.save(old, np.zeros_like(np.load(old)))  # what another version may have meant by this name
    monkeypatch.setattr(store_module, "_FORMAT", store_module._FORMAT + 1)
    tiles = store(tmp_path).tiles([make_section(0)], SPEC, 32)[0]
    assert len(cuts.names) == 2 and np.array_equal(tiles[:], truth(make_section(0)))


@pytest.mark.parametrize("damage", ["cut", "empty", "shape"])
def test_a_damaged_file_is_cut_anew(tmp_path: Path, cuts: SimpleNamespace, damage: str) -> None:
    path = store(tmp_path).tiles([make_section(0)], SPEC, 32)[0].path
    if damage == "shape":
        np.save(path, np.load(path)[:-1])
    else:
        path.write_bytes(path.read_bytes()[: N_BYTES // 2 if damage == "cut" else 0])
    assert np.array_equal(store(tmp_path).tiles([make_section(0)], SPEC, 32)[0][:], truth(make_section(0)))
    assert len(cuts.names) == 2 and len(kept(tmp_path)) == 1


def test_least_recently_used_files_go_first(tmp_path: Path) -> None:
    sections = [make_section(i) for i in range(4)]
    names = []
    for age, section in zip((300, 200, 100), sections, strict=False):
        path = store(tmp_path).tiles([section], SPEC, 32)[0].path
        os.utime(path, (time.time() - age,) * 2)
        names.append(path.name)
    (tmp_path / "thesis.txt").write_text("mine")
    store(tmp_path).tiles(sections[:1], SPEC, 32)  # the oldest is used again
    last = store(tmp_path, 3.1 * FILE_GB).tiles(sections[3:], SPEC, 32)[0].path.name
    assert kept(tmp_path) == {names[0], names[2], last, "thesis.txt"}
    store(tmp_path, 1.1 * FILE_GB).tiles(sections[2:3], SPEC, 32)
    assert kept(tmp_path) == {names[2], "thesis.txt"}


def test_files_of_the_users_own_are_never_removed(tmp_path: Path) -> None:
    mine = [tmp_path / name for name in ("tiles-1.npy", "tiles-of-my-own.npy", ".tiles-1.npy", "tiles-1-abc.npy")]
    for path in mine:
        path.write_bytes(bytes(3 * N_BYTES))
        os.utime(path, (0, 0))
    for seed in range(2):
        store(tmp_path, FILE_GB).tiles([make_section(seed)], SPEC, 32)
    assert all(path.exists() for path in mine) and len(list(tmp_path.iterdir())) == len(mine) + 1


def test_what_was_left_in_the_making_goes_after_a_day(tmp_path: Path) -> None:
    dead, alive = (f".tiles-1-{letter * 32}.{'0' * 32}.npy" for letter in "da")
    for name, hours in ((dead, 25), (alive, 23)):
        path = tmp_path / name
        path.write_bytes(bytes(N_BYTES))
        os.utime(path, (time.time() - 3600 * hours,) * 2)
    path = store(tmp_path, 1.1 * FILE_GB).tiles([make_section(0)], SPEC, 32)[0].path
    assert kept(tmp_path) == {alive, path.name}


def test_damaged_tiles_are_named_and_cut_again(
    tmp_path: Path, cuts: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    path = store(tmp_path).tiles([make_section(0)], SPEC, 32)[0].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    tiles = store(tmp_path).tiles([make_section(0)], SPEC, 32)[0]
    assert np.array_equal(tiles[:], truth(make_section(0))) and len(cuts.names) == 2
    assert caplog.messages == [f"{path} is damaged, or of other tiles; its tiles are cut again"]


def test_what_a_killed_run_left_goes_at_once(tmp_path: Path) -> None:
    name = tiles_of_the_gone(tmp_path)
    store(tmp_path)
    assert name not in kept(tmp_path)


def tiles_of_the_gone(folder: Path) -> str:
    """Tiles in the making of a process that is gone."""
    from st_predict.core.maker import making

    name = making("tiles-2-" + "a" * 32, ".npy").replace(f"-{os.getpid()}-", "-999999999-")
    (folder / name).touch()
    return name


def test_a_run_that_needs_more_than_the_limit_is_refused(tmp_path: Path, cuts: SimpleNamespace) -> None:
    store(tmp_path).tiles([make_section(0)], SPEC, 32)
    with pytest.raises(InputError, match=r"take 0\.0 GB, and the store is limited to 0\.000") as error:
        store(tmp_path, 1.5 * FILE_GB).tiles([make_section(0), make_section(1)], SPEC, 32)
    assert error.value.where == "tile_store_gb" and "or more" in error.value.remedy
    assert len(cuts.names) == 1 and len(kept(tmp_path)) == 1, "and nothing was removed for it"


@pytest.mark.parametrize("temporary", [False, True])
def test_a_full_disk_is_found_before_anything_is_cut(
    tmp_path: Path, cuts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, temporary: bool
) -> None:
    left = [1]

    def nearly_full(*_: Any) -> None:
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        left.pop()

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", nearly_full)
    with pytest.raises(InputError, match=r"no room for 0\.0 GB of tiles \(No space left") as error:
        store(None if temporary else tmp_path).tiles([make_section(0), make_section(1)], SPEC, 32)
    assert str(tmp_path) in str(error.value.where) and "tile_store= on a larger disk" in error.value.remedy
    del error
    gc.collect()
    assert cuts.names == [] and kept(tmp_path) == set()


def test_what_cannot_be_a_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot be written to"):
        store(tmp_path / "file")
    for limit in (0, -1.0, float("nan")):
        with pytest.raises(InputError, match="tile_store_gb is"):
            store(tmp_path, limit)


def test_a_run_that_fails_leaves_what_it_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(section: Section, *args: Any) -> None:
        if section.name == "B":
            raise OSError("the image is gone")
        cut_section(section, *args)

    monkeypatch.setattr(store_module, "cut_section", failing)
    with pytest.raises(OSError, match="the image is gone"):
        store(tmp_path).tiles([make_section(0), make_section(1, "B"), make_section(2, "C")], SPEC, 32)
    (path,) = tmp_path.iterdir()
    assert np.array_equal(np.load(path), truth(make_section(0)))


def test_what_is_removed_while_in_use_stays_readable(tmp_path: Path) -> None:
    tiles = store(tmp_path).tiles([make_section(0)], SPEC, 32)[0]
    packed = pickle.dumps(tiles)
    assert len(packed) < 1000 and np.array_equal(pickle.loads(packed)[:], tiles[:])
    tiles.path.unlink()
    assert np.array_equal(tiles[:], truth(make_section(0)))
    with pytest.raises(InputError, match="cannot be read") as error:
        pickle.loads(packed)
    assert error.value.where == "tile_store" and str(tiles.path) in str(error.value)


def test_a_temporary_store_lives_as_long_as_its_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tiles = store(None).tiles([make_section(0), make_section(1)], SPEC, 32)
    gc.collect()
    assert np.array_equal(StoredTiles.open(tiles[1].path)[:], truth(make_section(1))), "another process may open it"
    del tiles
    gc.collect()
    assert kept(tmp_path) == set()


SCRIPT = """
import importlib.util, sys, time
from pathlib import Path
import numpy as np
spec = importlib.util.spec_from_file_location("shared", sys.argv[1])
shared = importlib.util.module_from_spec(spec); spec.loader.exec_module(shared)
folder, me, other = Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
from st_predict.core.tiles import store as store_module

def together(section, *args):
    me.touch()  # nothing is in the store yet, and both are about to cut
    while not other.exists():
        time.sleep(0.01)
    shared.cut_section(section, *args)

store_module.cut_section = together
section = shared.make_section(0)
(tiles,) = shared.store(folder).tiles([section], shared.SPEC, 32)
print(np.array_equal(tiles[:], shared.truth(section)))
"""


def test_two_processes_may_cut_the_same_at_once(tmp_path: Path) -> None:
    folder, signs = tmp_path / "store", [tmp_path / "one", tmp_path / "two"]
    command = [sys.executable, "-c", SCRIPT, __file__, str(folder)]
    runs = [
        subprocess.Popen([*command, *map(str, pair)], stdout=subprocess.PIPE, text=True)
        for pair in (signs, signs[::-1])
    ]
    assert [run.communicate(timeout=120)[0].strip() for run in runs] == ["True", "True"]
    (path,) = folder.iterdir()
    assert np.array_equal(np.load(path), truth(make_section(0)))
