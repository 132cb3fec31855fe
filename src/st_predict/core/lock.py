"""One run at a time in a folder, whatever process or machine it is on."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError
from st_predict.core.files import follow_umask

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = ".running"
"""The file in a folder that says which process is at work there."""


@contextmanager
def alone_in(out_dir: Path) -> Iterator[None]:
    """One run a folder; what a run that was killed left behind is taken over.

    Raises
    ------
    InputError
        If another run is at work there, or the folder cannot be written to.
    """
    lock = out_dir / LOCK
    mine = {"host": socket.gethostname(), "pid": os.getpid()}
    try:
        with tempfile.NamedTemporaryFile("w", dir=out_dir, prefix=".lock.", encoding="utf-8") as file:
            json.dump(mine, file)
            file.flush()
            follow_umask(Path(file.name))  # whoever shares the folder has to see who is at work
            _take(lock, Path(file.name), mine)
    except OSError as error:
        raise InputError(
            f"{out_dir} cannot be written to ({error.strerror})",
            where="out_dir",
            expected="a folder that can be written to",
            remedy="choose another folder",
        ) from error
    try:
        yield
    finally:
        if _read_lock(lock) == mine:
            lock.unlink(missing_ok=True)


def _take(lock: Path, written: Path, mine: dict[str, Any]) -> None:
    """Link a lock that is already written, so that nobody ever reads half of one."""
    for _ in range(2):
        try:
            os.link(written, lock)
        except FileExistsError:
            holder = _read_lock(lock)
            if holder is not None and (holder["host"] != mine["host"] or _lives(holder["pid"])):
                raise InputError(
                    f"another run is at work in {lock.parent} (process {holder['pid']} on {holder['host']})",
                    where="out_dir",
                    expected="one run at a time in a folder",
                    remedy=f"wait for it; if it is gone, remove {lock}",
                ) from None
            lock.unlink(missing_ok=True)
        else:
            return
    raise InputError(
        f"another run took {lock.parent} at the same moment",
        where="out_dir",
        expected="one run at a time in a folder",
        remedy="wait for it",
    )


def _read_lock(lock: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # gone meanwhile, or cut when its run was killed
        return None
    return found if {"host", "pid"} <= found.keys() else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
