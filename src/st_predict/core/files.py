"""Folders and files that appear whole or not at all: written beside, then renamed. Knows nothing of what is in them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def plain_name(path: Path) -> str:
    """A file's name without its ending, in letters that elements of a SpatialData and folders may be named with."""
    stem = re.sub(r"(\.ome)?\.[A-Za-z0-9]+$", "", path.name)
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_") or "slide"


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a free path to make a folder at, which then takes the place of ``path``.

    If filling it fails, ``path`` stays as it was and nothing is left beside it.

    Parameters
    ----------
    path
        The folder to make or to replace; whether it may be replaced is the caller's to check.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        fresh = scratch / "new"
        yield fresh
        earlier = scratch / "old"
        if path.exists():
            path.rename(earlier)
        try:
            fresh.rename(path)
        except OSError:
            if earlier.exists():
                earlier.rename(path)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Give a free path of the same ending to write a file at, which then takes the place of ``path``.

    If writing it fails, ``path`` stays as it was and nothing is left beside it.

    Parameters
    ----------
    path
        The file to make or to replace, in a folder that exists.
    """
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def follow_umask(path: Path) -> None:
    """Give a file that a library made for its owner alone the permissions of any other new file of this process.

    Found by making one: the mask itself cannot be read without changing it for all threads.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    beside.touch(exist_ok=False)
    try:
        path.chmod(beside.stat().st_mode)
    finally:
        beside.unlink()
