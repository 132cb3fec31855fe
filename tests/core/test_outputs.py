"""What is ours is told by what is in it, and only that may be replaced."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

from st_predict.core.errors import InputError
from st_predict.core.outputs import (
    SEAL,
    check_apart,
    check_holder,
    check_output,
    check_places,
    has_columns,
    has_mark,
    is_free,
    is_marked,
    is_sealed,
    made_by,
    mark,
    seal,
    sign,
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A sealed folder of two files, one of them deeper."""
    folder = tmp_path / "store"
    (folder / "deeper").mkdir(parents=True)
    for place in ("a", "deeper/b"):
        (folder / place).write_text("ours")
    seal(folder, "prediction", {"found": {"n_spots": 3}})
    return folder


def test_a_sealed_folder_is_ours_wherever_it_is_moved(store: Path) -> None:
    moved = store.rename(store.with_name("moved"))
    (moved / ".DS_Store").write_bytes(b"\0")
    os.utime(moved / "a", (0, 0))  # as copying does, and file systems that keep whole seconds
    assert is_sealed(moved, "prediction") and not is_sealed(moved, "demo")


def test_a_seal_of_an_earlier_version_is_known_by_times(store: Path) -> None:
    told = json.loads((store / SEAL).read_text())
    for name, entry in told["files"].items():
        entry[1] = round((store / name).stat().st_mtime, 3)
    del told["sha256"]
    (store / SEAL).write_text(json.dumps(told))
    assert is_sealed(store, "prediction")
    os.utime(store / "a", (0, 0))
    assert not is_sealed(store, "prediction")


@pytest.mark.parametrize(
    "change", ["added", "deeper", "edited", "edited at once", "removed", "seal cut", "seal of nothing"]
)
def test_what_a_user_did_in_a_folder_makes_it_theirs(store: Path, change: str) -> None:
    if change == "added":
        (store / "notes.txt").write_text("years of work")
    elif change == "deeper":
        (store / "deeper" / "c").symlink_to(store)
    elif change == "edited":
        (store / "deeper" / "b").write_text("ours, annotated")
    elif change == "edited at once":
        time = (store / "a").stat().st_mtime_ns
        (store / "a").write_text("mine")  # as long as it was
        os.utime(store / "a", ns=(time, time))
    elif change == "removed":
        (store / "a").unlink()
    elif change == "seal cut":
        (store / "st_predict.json").write_text('{"kind": "pred')
    else:
        (store / "st_predict.json").write_text('{"kind": "prediction", "files": {}}')
    assert not is_sealed(store, "prediction")
    with pytest.raises(InputError, match="exists and is not an earlier prediction") as error:
        check_output(store, lambda path: is_sealed(path, "prediction"), what="an earlier prediction", where="--out")
    assert error.value.remedy == "choose another path, or move away what is there"


def test_what_is_free(tmp_path: Path) -> None:
    assert is_free(tmp_path / "nothing") and is_free(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert not is_free(tmp_path / "file") and not is_free(tmp_path / "link") and not is_free(tmp_path)


def test_a_mark_is_of_one_kind(tmp_path: Path) -> None:
    mark(tmp_path, "comparison")
    assert (
        is_marked(tmp_path, "comparison")
        and not is_marked(tmp_path, "benchmark")
        and not is_sealed(tmp_path, "comparison")
    )


@pytest.mark.parametrize(
    ("content", "ours"),
    [(b"section,gene,pcc,mse\nA,g,1,2\n", True), (b"gene,section,pcc\n", False), (b"PK\x03\x04\xff\xfe", False), (b"", False),
     (b"section,gene,pcc,mse,my_comment\nA,g,1,2,odd\n", False)],
)  # fmt: skip
def test_tables_are_known_by_their_columns(tmp_path: Path, content: bytes, ours: bool) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert has_columns(tmp_path / "t.csv", ("section", "gene", "pcc"), ("mse", "mae")) == ours


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not has_columns(tmp_path / "pipe", ("section",)) and not has_mark(tmp_path / "pipe.svg")


def test_pages_and_pictures_are_known_by_their_mark(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"\0" * 200_000 + made_by().encode())
    (tmp_path / "mine").write_bytes(b"<p>a page on st-predict</p>")
    assert has_mark(tmp_path / "long") and not has_mark(tmp_path / "mine") and not has_mark(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["picture.svg", "page.html"])
def test_text_that_was_edited_is_no_longer_ours(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(f"<text>made by st-predict {made_by()}</text>\n")
    assert not has_mark(path)
    sign(path)
    assert has_mark(path)
    path.write_text(path.read_text().replace("<text>", "<text>MY ANNOTATION "))
    assert not has_mark(path)


@pytest.mark.parametrize("place", ["S1.zarr", "S1.zarr/out", "link/out", "case/out"])
def test_nothing_is_written_into_what_is_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "S1.zarr").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "S1.zarr")
    (tmp_path / "case").mkdir()
    (tmp_path / "case.mrxs").write_text("")
    inputs = [tmp_path / "S1.zarr", tmp_path / "case.mrxs"]
    said = "is read, and would be overwritten" if place == "S1.zarr" else "lies within"
    with pytest.raises(InputError, match=f"{re.escape(str(tmp_path / place))} {said}") as error:
        check_apart(tmp_path / place, inputs, where="--out")
    assert error.value.expected == "a path outside of all that is read"
    check_apart(tmp_path / "S1.zarr.out", inputs, where="--out")
    check_apart(tmp_path, inputs, where="--out")


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["zarr.json"], "a Zarr store"),
        ([".zgroup"], "a Zarr store"),
        (["config.json", "weights.safetensors"], "a model"),
        (["Slidedat.ini"], "the folder of a slide"),
    ],
)
def test_nothing_is_added_to_what_is_one_whole(tmp_path: Path, files: list[str], kind: str) -> None:
    whole, deep = tmp_path / "whole", tmp_path / "whole" / "deeper" / "still"
    whole.mkdir()
    for name in files:
        (whole / name).write_text("{}")
    (tmp_path / "link").symlink_to(whole, target_is_directory=True)
    for folder in (whole, deep, tmp_path / "link" / "out"):
        with pytest.raises(InputError, match=re.escape(f"{whole} is {kind}, and what is written there")):
            check_holder(folder, where="out")
        with pytest.raises(InputError, match=re.escape(f"{whole} is {kind}")):
            check_output(folder / "scores.csv", lambda path: False, what="a table", where="out")
    check_holder(tmp_path / "beside", where="out")
    check_output(whole, lambda path: True, what="a store of ours", where="out")  # itself is replaced, as a whole


def test_settings_of_something_else_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert check_holder(tmp_path / "out", where="out") is None, "nothing is refused"


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"out": "run", "tile_store": "run/tiles"}, r"tile_store \(.*run/tiles\) lies in out \(.*run\)"),
        ({"out": "run/kept/out", "checkpoint_dir": "run/kept"}, "out .* lies in checkpoint_dir"),
        ({"out": "run", "tile_store": "run"}, "lies in"),
        ({"out": "file"}, "file is a file"),
        ({"out": "file/out"}, "file is not a folder"),
        ({"out": "link"}, "link is a link to nowhere, which does not exist"),
        ({"out": "run", "tile_store": "there/../run/tiles"}, "tile_store .* lies in out"),
    ],
)
def test_folders_to_write_lie_side_by_side(tmp_path: Path, places: dict[str, str], said: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match=said):
        check_places(**{where: tmp_path / place for where, place in places.items()})
    check_places(out=tmp_path / "run", tile_store=tmp_path / "runs", checkpoint_dir=None)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "link", "there"]


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="no mount point that is there on every Linux")
def test_a_mount_point_is_not_replaced_and_may_hold_what_is_written() -> None:
    with pytest.raises(InputError, match="^/dev/shm is a mount point, which nothing can take the place of") as error:
        check_output(Path("/dev/shm"), lambda path: True, what="a model", where="out")
    assert error.value.remedy == "name one within it, such as '/dev/shm/out'"
    check_output(Path("/dev/shm/st_predict_out"), lambda path: False, what="a model", where="out")
    check_places(out=Path("/dev/shm"))


def test_mounts_of_the_same_file_system_and_with_blanks_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a b\\c"
    place.mkdir()
    told = f"36 35 98:0 /mnt1 {tmp_path}/a\\040b\\134c rw,noatime master:1 - ext3 /dev/sda1 rw\n"
    monkeypatch.setattr(Path, "read_bytes", lambda _: told.encode())
    with pytest.raises(InputError, match="is a mount point"):
        check_output(place, lambda path: True, what="a model", where="out")
    check_output(tmp_path / "a", lambda path: True, what="a model", where="out")


def test_a_folder_that_takes_no_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(dir: Path) -> Any:
        if dir == tmp_path / "out":
            raise OSError(30, "Read-only file system")
        return tempfile.NamedTemporaryFile(dir=dir)

    (tmp_path / "out").mkdir()
    monkeypatch.setattr("st_predict.core.outputs.tempfile.TemporaryFile", closed)
    with pytest.raises(InputError, match="out cannot be written: .*out cannot be written to"):
        check_places(out=tmp_path / "out")
