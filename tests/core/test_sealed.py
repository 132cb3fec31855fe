"""Every damage to a file of ours is found: a cut, a byte that flipped, nothing in it, or the file of another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from st_predict.core.sealed import Damaged, check_sealed, read_json, seal_file, write_json


def cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": cut, "flipped": flipped, "emptied": lambda _: b"", "another's": lambda _: json.dumps({"kept": [1]}).encode(),
    "a list": lambda _: b"[1, 2]", "longer": lambda content: content + b"\n1",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_json(damage: str, tmp_path: Path) -> None:
    path, content = tmp_path / "kept.json", {"b": [1.5, float("inf"), None], "a": {10: "x", 9: "ü"}}
    write_json(path, content)
    assert read_json(path) == json.loads(json.dumps(content))
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(Damaged, match="kept.json"):
        read_json(path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_arrays(damage: str, tmp_path: Path) -> None:
    path, values = tmp_path / "kept.npy", np.arange(5000.0)
    np.save(path, values)
    seal_file(path)
    check_sealed(path)
    assert np.array_equal(np.load(path), values) and np.array_equal(np.load(path, mmap_mode="r"), values)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(Damaged, match="kept.npy"):
        check_sealed(path)


def test_any_byte_of_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    write_json(path, {"a": 1, "b": "two"})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            assert read_json(path) == {"a": 1, "b": "two"}, place
        except Damaged:
            pass


def test_what_is_not_there_is_not_damaged(tmp_path: Path) -> None:
    for read in (read_json, check_sealed):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "nothing")


def test_a_file_of_something_else_is_as_good_as_damaged(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1}, of="fold 1")
    (tmp_path / "a.bin").write_bytes(b"12345")
    seal_file(tmp_path / "a.bin", of="fold 1")
    assert read_json(tmp_path / "a.json", of="fold 1") == {"a": 1}
    check_sealed(tmp_path / "a.bin", of="fold 1")
    for other in ("fold 2", ""):
        with pytest.raises(Damaged):
            read_json(tmp_path / "a.json", of=other)
        with pytest.raises(Damaged):
            check_sealed(tmp_path / "a.bin", of=other)
