"""Folders and files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from st_predict.core.files import replacing_file, replacing_folder


def make(path: Path, text: str) -> None:
    with replacing_folder(path) as folder:
        folder.mkdir()
        (folder / "file").write_text(text)


def test_new_then_replaced(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    make(place, "one")
    (place / "more").write_text("of one")
    make(place, "two")
    assert [(p.name, p.read_text()) for p in place.iterdir()] == [("file", "two")]
    assert list(place.parent.iterdir()) == [place]


def test_failure_while_filling(tmp_path: Path) -> None:
    make(tmp_path / "a", "one")
    with pytest.raises(KeyError), replacing_folder(tmp_path / "a") as folder:
        folder.mkdir()
        raise KeyError
    assert (tmp_path / "a" / "file").read_text() == "one" and list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_failure_while_taking_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a", "one")
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise PermissionError("refused")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(PermissionError, match="refused"):
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
