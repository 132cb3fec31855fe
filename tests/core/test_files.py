"""Folders and files appear whole or not at all, and nothing is ever lost: not by errors, kills, nor others at work."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from st_predict.core import files
from st_predict.core.files import opened_together, put_back, remove_unfinished, replacing_file, replacing_folder
from st_predict.core.full import NotWritten

WAYS = ["at once", "by way of"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to change places: in one step, and as where the file system does not know how to."""
    if request.param == "by way of":
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    return request.param


def make(path: Path, text: str) -> None:
    with replacing_folder(path) as folder:
        folder.mkdir()
        (folder / "file").write_text(text)


def test_new_then_replaced(way: str, tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    make(place, "one")
    (place / "more").write_text("of one")
    make(place, "two")
    assert [(p.name, p.read_text()) for p in place.iterdir()] == [("file", "two")]
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="no such call on this system")
def test_here_places_are_changed_in_one_step(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    assert files._exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one" / "file").read_text() == "other" and (tmp_path / "other" / "file").read_text() == "one"
    with pytest.raises(FileNotFoundError):
        files._exchange(tmp_path / "one", tmp_path / "nothing")


def test_failure_while_filling(tmp_path: Path) -> None:
    make(tmp_path / "a", "one")
    with pytest.raises(KeyError), replacing_folder(tmp_path / "a") as folder:
        folder.mkdir()
        raise KeyError
    assert (tmp_path / "a" / "file").read_text() == "one" and list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("error", [PermissionError("refused"), KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("seam", ["before", "after"])
def test_broken_off_at_the_seam_between_the_renames(
    error: BaseException, seam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the earlier folder moved aside and the new one not yet, or just, in its place."""
    make(tmp_path / "a", "one")
    rename = Path.rename

    def broken(self: Path, target: Path) -> Path:
        if self.name != "new":
            return rename(self, target)
        if seam == "after":
            rename(self, target)
        raise error

    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(type(error)):
        make(tmp_path / "a", "two")
    assert (tmp_path / "a" / "file").read_text() == {"before": "one", "after": "two"}[seam]
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_second_interrupt_while_the_first_is_mended_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "a", "one")
    rename = Path.rename

    def broken(self: Path, target: Path) -> Path:
        if self.name == "a":
            return rename(self, target)
        raise KeyboardInterrupt  # of the new one into its place, and of the earlier one back

    with monkeypatch.context() as patched:
        patched.setattr(files, "_exchange", lambda *_: False)
        patched.setattr(Path, "rename", broken)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "a", "two")
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(files, "_BETWEEN_S", 0.05)
    with opened_together(tmp_path / "a", ["file"]) as found:
        assert found["file"].read() == b"one"
    assert (tmp_path / "a" / "file").read_text() == "one"


KILLED = """
import os, signal, sys
from pathlib import Path
from st_predict.core import files

path, seam = Path(sys.argv[1]), sys.argv[2]
rename, exchange = Path.rename, files._exchange
die = lambda: os.kill(os.getpid(), signal.SIGKILL)

def renamed(self, target):
    if seam == "between" and self.name == "new":
        die()
    return rename(self, target)

def exchanged(*paths):
    if seam == "between":
        return False
    if seam == "before":
        die()
    assert exchange(*paths)
    die()

Path.rename, files._exchange = renamed, exchanged
with files.replacing_folder(path) as folder:
    folder.mkdir()
    (folder / "file").write_text("two")
"""


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
@pytest.mark.parametrize("seam", ["before", "between", "after"])
def test_killed_at_the_seam(seam: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be mended by who was killed: what is left is found by whoever reads or writes next."""
    place = tmp_path / "a"
    make(place, "one")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(place), seam], check=False)
    assert killed.returncode == -signal.SIGKILL
    monkeypatch.setattr(files, "_BETWEEN_S", 0.05)
    with opened_together(place, ["file"]) as found:
        assert found["file"].read() == (b"two" if seam == "after" else b"one")
    make(place, "three")
    assert (place / "file").read_text() == "three"
    remove_unfinished(place)
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
def test_clearing_up_puts_back_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a", "one")
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a"), "between"], check=False)
    mine = tmp_path / ".a.backup"
    mine.mkdir()
    monkeypatch.setattr(files, "_BETWEEN_S", 0.05)
    remove_unfinished(tmp_path / "a")
    assert sorted(tmp_path.iterdir()) == [mine, tmp_path / "a"]
    assert (tmp_path / "a" / "file").read_text() == "one"
    put_back(tmp_path / "never there")


WRITER = """
import sys, time
from pathlib import Path
from st_predict.core import files

path, mark, way = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if way == "by way of":
    files._exchange = lambda *_: False
while not (path.parent / "stop").exists():
    with files.replacing_folder(path) as folder:
        folder.mkdir()
        for name in "xy":
            (folder / name).write_text(mark * 10)
"""


@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be replaced on Windows")
def test_two_writers_and_a_reader(way: str, tmp_path: Path) -> None:
    """Of 300 reads every one gets two files that belong together."""
    place = tmp_path / "a"
    with replacing_folder(place) as folder:
        folder.mkdir()
        for name in "xy":
            (folder / name).write_text("0" * 10)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(place), mark, way]) for mark in "12"]
    seen = set()
    until = time.monotonic() + 20
    n = 0
    while (n < 300 or not {b"1" * 10, b"2" * 10} <= seen) and time.monotonic() < until:
        with opened_together(place, ["x", "y"]) as found:
            x, y = (found[name].read() for name in "xy")
        assert x == y and len(x) == 10
        seen.add(x)
        n += 1
    (tmp_path / "stop").touch()
    assert [writer.wait(timeout=20) for writer in writers] == [0, 0]
    assert n >= 300 and {b"1" * 10, b"2" * 10} <= seen
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "stop"]


def test_a_folder_without_a_file(tmp_path: Path) -> None:
    make(tmp_path / "a", "one")
    with opened_together(tmp_path / "a", ["file", "other"]) as found:
        assert list(found) == ["file"]
    with pytest.raises(FileNotFoundError), opened_together(tmp_path / "b", ["file"]):
        pass


def test_what_comes_to_lie_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def free(path: Path) -> None:
        if path.exists():
            raise PermissionError("taken")

    with pytest.raises(PermissionError, match="taken"), replacing_folder(tmp_path / "a", free) as folder:
        folder.mkdir()
        (tmp_path / "a").write_text("precious")
    assert (tmp_path / "a").read_text() == "precious" and list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_links_stay_links(way: str, tmp_path: Path) -> None:
    make(tmp_path / "disk" / "a", "one")
    (tmp_path / "disk" / "table.csv").write_text("one")
    for name in ("a", "table.csv"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    make(tmp_path / "a", "two")
    with replacing_file(tmp_path / "table.csv") as beside:
        beside.write_text("two")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "table.csv").is_symlink()
    assert (tmp_path / "disk" / "a" / "file").read_text() == (tmp_path / "disk" / "table.csv").read_text() == "two"
    assert len(list((tmp_path / "disk").iterdir())) == len(list(tmp_path.iterdir())) - 1 == 2


def test_a_folder_that_others_replace_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def always(*_: Path) -> bool:
        raise OSError(errno.ENOENT, "gone")

    make(tmp_path / "a", "one")
    monkeypatch.setattr(files, "_exchange", always)
    with pytest.raises(NotWritten, match="a was not written: something holds it in its place .*again and again"):
        make(tmp_path / "a", "two")
    assert (tmp_path / "a" / "file").read_text() == "one" and list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_file_replaced_or_left(tmp_path: Path) -> None:
    place = tmp_path / "page.html"
    for text in ("one", "two"):
        with replacing_file(place) as beside:
            assert beside.suffix == ".html" and beside != place
            beside.write_text(text)
    with pytest.raises(KeyError), replacing_file(place) as beside:
        beside.write_text("half")
        raise KeyError
    assert place.read_text() == "two" and list(tmp_path.iterdir()) == [place]


def test_two_threads_of_a_process_write_a_file_beside_each_other(tmp_path: Path) -> None:
    with replacing_file(tmp_path / "page.html") as one, replacing_file(tmp_path / "page.html") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "page.html").read_text() == "one" and len(list(tmp_path.iterdir())) == 1
