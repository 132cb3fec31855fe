"""One run at a time in a folder, whatever process or machine it is on."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from st_predict.core.errors import InputError
from st_predict.core.files import remove_left
from st_predict.core.maker import Maker, making

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".running"
"""The file in a folder that says which process is at work there."""


@contextmanager
def alone_in(out_dir: Path, *, where: str = "out_dir") -> Iterator[None]:
    """One run a folder; what a run that was killed left behind is taken over, or removed.

    Raises
    ------
    InputError
        If another run is at work there, or the folder cannot be written to.
    """
    lock, written = out_dir / LOCK, out_dir / making(LOCK)
    try:
        remove_left(out_dir)
        written.write_text(json.dumps(Maker.this()._asdict()), encoding="utf-8")
        mine = written.stat()
    except OSError as error:
        raise InputError(
            f"{out_dir} cannot be written to ({error.strerror})",
            where=where,
            expected="a folder that can be written to",
            remedy="choose another folder",
        ) from error
    try:
        _take(lock, written, where)
        written.unlink()
        yield
    finally:
        written.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            if os.path.samestat(lock.stat(), mine):  # another thread of this process has one, too
                lock.unlink()


def _take(lock: Path, written: Path, where: str) -> None:
    """Link a lock that is already written, so that nobody ever reads half of one."""
    for _ in range(2):
        try:
            os.link(written, lock)
        except FileExistsError:
            holder = _read_lock(lock)
            if holder is not None and not holder.is_gone():
                raise InputError(
                    f"another run is at work in {lock.parent} (process {holder.pid} on {holder.host})",
                    where=where,
                    expected="one run at a time in a folder",
                    remedy=f"wait for it; if it is gone, remove {lock}",
                ) from None
            lock.unlink(missing_ok=True)
        else:
            return
    raise InputError(
        f"another run took {lock.parent} at the same moment",
        where=where,
        expected="one run at a time in a folder",
        remedy="wait for it",
    )


def _read_lock(lock: Path) -> Maker | None:
    """The process that holds a lock; ``None`` if the lock is gone by now or is damaged (none is ever half written)."""
    try:
        found = json.loads(lock.read_text(encoding="utf-8"))
        started = found.get("started")
        holder = Maker(str(found["host"]), int(found["pid"]), None if started is None else float(started))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return holder if holder.pid > 0 else None
