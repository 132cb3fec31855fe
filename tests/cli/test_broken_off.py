"""Every command that is broken off says so in its own words, with the line that goes on, and the status that shells expect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from spatialdata import SpatialData

from st_predict.cli import main
from st_predict.cli.group import Told

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"), pytest.mark.one_python]

ARGUMENTS = {
    "demo": ["--out", "{out}"],
    "train": ["{store}", "--out", "{out}"],
    "predict": ["{store}", "--model", "m", "--out", "{out}"],
    "evaluate": ["{store}"],
    "benchmark": ["{store}", "--out", "{out}"],
    "presets": [],
}


def test_all_commands_are_tried() -> None:
    assert sorted(ARGUMENTS) == sorted(main.commands)
    assert all(isinstance(command, Told) for command in main.commands.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_command_that_is_broken_off(
    name: str, number: int, make_section: Callable[..., SpatialData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "A.zarr").mkdir()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def sent(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.setattr(main.commands[name], "callback", sent)
    arguments = [one.format(store=tmp_path / "A.zarr", out=tmp_path / "out") for one in ARGUMENTS[name]]
    try:
        done = CliRunner().invoke(main, [name, *arguments])
    finally:
        signal.signal(signal.SIGINT, before)
    ended, status = {signal.SIGINT: ("Aborted", 130), signal.SIGTERM: ("Error: ended by SIGTERM", 143)}[number]
    line = " ".join(["st-predict", name, *arguments])
    how = "To go on from what is kept" if name in ("predict", "benchmark") else "Nothing is kept; to start again"
    assert done.output == f"{ended}. {how}:\n  {line}\n"
    assert done.exit_code == status


def test_a_training_that_is_kept_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "A.zarr").mkdir()
    for given, added in (([], " --resume"), (["--resume"], "")):
        typed = ["train", str(tmp_path / "A.zarr"), "--out", "m", "--checkpoints", "c d", *given]
        ctx = main.make_context("st-predict", list(typed))
        sub = main.commands["train"].make_context("train", typed[1:], parent=ctx)
        expected = (
            f"st-predict train {tmp_path / 'A.zarr'} --out m --checkpoints 'c d'{' --resume' if given else ''}{added}"
        )
        assert sub.meta["st_predict.again"] == expected
        assert isinstance(sub, click.Context)


LOADING = """
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)
module, number = sys.argv[1], int(sys.argv[2])
sys.argv[:] = ["st-predict", *sys.argv[3:]]

class Sends:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), number)

from st_predict.cli.__main__ import run

sys.meta_path.insert(0, Sends())
run()
"""


@pytest.mark.parametrize(
    ("module", "number"),
    [("click", signal.SIGINT), ("click", signal.SIGTERM), ("torch", signal.SIGTERM), ("anndata", signal.SIGINT)],
)
def test_while_it_is_loading(module: str, number: int, tmp_path: Path) -> None:
    """Before the commands are there it ends at once; later it says so."""
    store = tmp_path / "A.zarr"
    store.mkdir()
    (store / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    command = [sys.executable, "-c", LOADING, module, str(number), "train", str(store), "--out", str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    if module == "click":
        assert done.returncode == -number and done.stderr == ""
    else:
        assert done.returncode == 128 + number and f"st-predict train {store}" in done.stderr, done.stderr
