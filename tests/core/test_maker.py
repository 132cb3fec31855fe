"""Who made something: this process, one that lives, or one that is gone, also where a later one has its number."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from st_predict.core.errors import InputError
from st_predict.core.files import remove_left, replacing_file, replacing_folder, temporary_folder
from st_predict.core.lock import LOCK, alone_in
from st_predict.core.maker import Maker, is_in_the_making, is_left, making
from st_predict.core.outputs import is_free

AT_WORK = """
import sys, time
from pathlib import Path
from st_predict.core.files import replacing_file, replacing_folder, temporary_folder
from st_predict.core.lock import alone_in

place = Path(sys.argv[1])
with alone_in(place), replacing_folder(place / "store.zarr") as folder, replacing_file(place / "table.csv") as file:
    folder.mkdir()
    file.write_text("half")
    print(temporary_folder("tiles"), flush=True)
    time.sleep(300)
"""


def at_work(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that is writing into a folder, and its temporary folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", AT_WORK, str(place)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(place.parent)},
    )  # fmt: skip
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
def test_what_a_killed_process_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "out"
    place.mkdir()
    mine = [place / name for name in ("thesis.txt", ".hidden", ".table.0123456789ab.csv", "st-predict-notes")]
    for path in mine:
        path.write_text("precious")
    process, temporary = at_work(place)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    try:
        remove_left(place)
        remove_left(tmp_path)
        assert len(list(place.iterdir())) == len(mine) + 3 and temporary.is_dir(), "it is still at work"
        with (
            pytest.raises(InputError, match=rf"another run is at work in .* \(process {process.pid} on "),
            alone_in(place),
        ):
            pass
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.communicate()
    with alone_in(place):
        assert sorted(place.iterdir()) == sorted([*mine, place / LOCK])
    other = temporary_folder("tiles")
    assert not temporary.exists() and other.is_dir()
    assert sorted(place.iterdir()) == sorted(mine) and all(path.read_text() == "precious" for path in mine)


@pytest.mark.parametrize("write", ["file", "folder"])
def test_whoever_writes_next_removes_it(write: str, tmp_path: Path) -> None:
    gone = making("x").replace(f"-{os.getpid()}-", "-999999999-")
    (tmp_path / gone).mkdir()
    (tmp_path / gone / "half").touch()
    if write == "file":
        with replacing_file(tmp_path / "table.csv") as file:
            file.touch()
    else:
        with replacing_folder(tmp_path / "store") as folder:
            folder.mkdir()
    assert len(list(tmp_path.iterdir())) == 1


def test_the_only_copy_stays(tmp_path: Path) -> None:
    gone = making("store.zarr").replace(f"-{os.getpid()}-", "-999999999-")
    (tmp_path / gone / "earlier-000").mkdir(parents=True)
    remove_left(tmp_path)
    assert (tmp_path / gone / "earlier-000").is_dir()
    (tmp_path / "store.zarr").mkdir()
    remove_left(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["store.zarr"]


def test_of_another_machine_nothing_is_certain_for_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        path = tmp_path / making("table", ".csv")
    path.touch()
    assert is_in_the_making(path.name) and not is_left(path)
    os.utime(path, (time.time() - 8 * 24 * 3600,) * 2)
    assert is_left(path)


@pytest.mark.parametrize(
    ("holder", "taken"),
    [
        ({"pid": os.getpid(), "started": 1000.0}, True),  # of a former life, as in a container that is started again
        ({"pid": os.getpid(), "started": None}, True),
        ({"pid": os.getpid()}, True),
        ({"pid": os.getpid(), "started": Maker.this().started}, False),
        ({"pid": os.getppid(), "started": 1000.0}, True),
        ({"pid": os.getppid()}, False),
        ({"pid": -1, "started": 1.0}, True),
        ({"pid": 2**70, "started": 1.0}, True),
        ({"pid": "me"}, True),
        ({"pid": 1, "host": "elsewhere", "started": 1.0}, False),
        ([1, 2], True),
    ],
)
def test_a_lock_is_one_only_while_its_process_lives(holder: object, taken: bool, tmp_path: Path) -> None:
    told = {"host": socket.gethostname(), **holder} if isinstance(holder, dict) else holder
    (tmp_path / LOCK).write_text(json.dumps(told))
    if taken:
        with alone_in(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text()) == Maker.this()._asdict()
        assert list(tmp_path.iterdir()) == []
    else:
        with pytest.raises(InputError, match="another run is at work"), alone_in(tmp_path):
            pass
        assert [one.name for one in tmp_path.iterdir()] == [LOCK]


def test_a_lock_alone_is_no_output_of_anybody(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("{}")
    assert is_free(tmp_path)


def test_two_threads_of_a_process_are_two_runs(tmp_path: Path) -> None:
    with alone_in(tmp_path):
        with pytest.raises(InputError, match="another run is at work"), alone_in(tmp_path):
            pass
        assert (tmp_path / LOCK).exists(), "and the second does not take the lock of the first away"


def test_names_are_not_longer_than_file_systems_allow(tmp_path: Path) -> None:
    for name in ("a" * 250, "肺" * 80):
        with replacing_file(tmp_path / f"{name}.csv") as file:
            file.touch()
        assert is_in_the_making(file.name)
    assert len(list(tmp_path.iterdir())) == 2
