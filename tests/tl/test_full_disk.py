"""There is no room: what was being written is said, what was there before stays, and what is in memory is not lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from spatialdata import SpatialData

import st_predict as stp
from st_predict.cli import main
from st_predict.core import full
from st_predict.core.errors import InputError
from st_predict.core.files import replacing_folder
from st_predict.core.full import NotWritten
from st_predict.core.model.model import Model

pytestmark = pytest.mark.one_python

resource = pytest.importorskip("resource", reason="limits of POSIX")


@contextmanager
def room_for(n_bytes: int) -> Iterator[None]:
    """No file of this process can become larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def train(make_section: Callable[..., SpatialData], quick: dict[str, Any]) -> Callable[..., Model]:
    return lambda **settings: stp.tl.train([make_section("A", 0), make_section("B", 1)], **quick, **settings)


def test_a_model_stays_in_memory_and_the_earlier_one_on_disk(quick_model: Model, tmp_path: Path) -> None:
    quick_model.save(tmp_path / "m")
    size = (tmp_path / "m" / "weights.safetensors").stat().st_size
    limit = r"m was not written: a quota, or a limit to the size of a file, was reached \("
    with room_for(size // 2), pytest.raises(NotWritten, match=limit) as error:
        quick_model.save(tmp_path / "m")
    assert "ulimit -f unlimited" in error.value.remedy
    assert [one.name for one in tmp_path.iterdir()] == ["m"] and stp.load_model(tmp_path / "m").id == quick_model.id
    assert stp.load_model(quick_model.save(tmp_path / "other")).id == quick_model.id


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_not_a_quota(number: int, tmp_path: Path) -> None:
    said = {
        errno.ENOSPC: "there is no room left",
        errno.EDQUOT: "a quota, or a limit to the size of a file, was reached",
    }
    match = rf"deep/er/m was not written: {said[number]} \(0 bytes were written"
    with pytest.raises(NotWritten, match=match), replacing_folder(tmp_path / "deep" / "er" / "m"):
        raise OSError(number, os.strerror(number))
    assert not list(tmp_path.iterdir()), "folders that were made for it are gone"


def test_what_cannot_be_replaced_is_not_written_and_is_said(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(NotWritten, match="m was not written: something holds it in its place"):
        with replacing_folder(tmp_path / "m"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))  # as renaming onto a mount point does
    assert [one.name for one in tmp_path.iterdir()] == ["m"]


def test_how_much_is_missing_is_said(quick_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full, "_free", lambda _: 1000)
    with pytest.raises(
        NotWritten, match=r"m was not written: it takes [0-9.]+ [kM]B, and [0-9.]+ [kM]B of them are missing"
    ):
        quick_model.save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_training_goes_on_without_what_cannot_be_kept(
    train: Callable[..., Model], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with room_for(15_000):
        model = train(checkpoint_dir=tmp_path / "kept")
    said = [message for message in caplog.messages if "was not written" in message]
    assert len(said) == 1 and "a limit to the size of a file" in said[0], "and once, not for each epoch"
    assert "; the training goes on, but this part would be lost if the run is broken off" in said[0]
    assert not [one for one in (tmp_path / "kept").rglob("*") if one.name.startswith(".")]
    assert model.id == train().id == train(checkpoint_dir=tmp_path / "kept", resume=True).id


def test_a_comparison_returns_its_table(
    three_sections: dict[str, SpatialData], quick: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"encoder": quick["encoder"], "genes": quick["genes"], "methods": "mean", "n_jobs": 1}
    with room_for(1000):
        table = stp.tl.cross_validate(three_sections, out=tmp_path / "cv", **settings)
    assert "scores.csv was not written: a quota, or a limit to the size of a file, was reached" in caplog.text
    assert caplog.messages[-1].endswith("the table is returned all the same: write it elsewhere with to_csv")
    again = stp.tl.cross_validate(three_sections, out=tmp_path / "cv", **settings)
    assert again.drop(columns="seconds").equals(table.drop(columns="seconds")) and (tmp_path / "cv/scores.csv").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_closed_meanwhile(quick_model: Model, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        quick_model.save(tmp_path / "closed" / "m")


def test_on_the_command_line_the_model_is_written_elsewhere(
    make_section: Callable[..., SpatialData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_section().write(tmp_path / "A.zarr")
    save, out, here = Model.save, tmp_path / "full" / "m", tmp_path / "here"
    here.mkdir()

    def refused(self: Model, path: Path) -> Path:
        with full.said_if_not_written(path, path):
            if path == out:
                raise OSError(28, "No space left on device")
        return save(self, path)

    monkeypatch.setattr(Model, "save", refused)
    monkeypatch.chdir(here)
    options = ["--encoder", "tiny", "--genes", "10", "--method", "ridge"]
    done = CliRunner().invoke(main, ["train", str(tmp_path / "A.zarr"), "--out", str(out), *options])
    assert done.exit_code == 1 and "m was not written: there is no room left" in done.output, done.output
    (place,) = here.iterdir()
    assert f"The model was written to {place} instead" in done.output
    assert place.name == f"m-{stp.load_model(place).id}"


FEW_FILES = """
import resource
import sys

import spatialdata

import st_predict as stp

first, second, out = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
model = stp.tl.train([first, second], encoder="tiny", genes=5, method="ridge", min_counts=1)
model.save(out)
stp.tl.predict(spatialdata.read_zarr(first), model)
"""


def test_forty_open_files_are_enough(three_sections: dict[str, SpatialData], tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.zarr" for name in "AB"]
    for path, sdata in zip(paths, three_sections.values(), strict=False):
        sdata.write(path)
    command = [sys.executable, "-W", "ignore", "-c", FEW_FILES, *map(str, paths), str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
