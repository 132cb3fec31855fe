"""What is said where something cannot be written: what it was, where, and how much room is missing."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("st_predict")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LIMITED = (errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_TOO_MANY = (errno.EMFILE, errno.ENFILE)
_LIMITED_SAID = ("File too large", "os error 27", "Disk quota exceeded", "os error 122")
_SAID = ("No space left", "os error 28", *_LIMITED_SAID)
_NO_BYTES = 2**16  # libraries that do not say why they cannot write: with as little free, it is that


class NotWritten(InputError):
    """Something could not be written. It is still in memory, and what was there before is untouched."""


@contextmanager
def said_if_not_written(path: Path, made: Path) -> Iterator[None]:
    """Raise :class:`NotWritten` for errors of a full disk, or of a folder without write permission.

    Parameters
    ----------
    path
        What is being written, as the user knows it.
    made
        Where it is written before it takes its place.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        told = _told(path, made, error)
        if told is None:
            raise
        raise told from error


def check_room(path: Path, n_bytes: int) -> None:
    """Refuse to write what is known to be larger than what is free.

    Raises
    ------
    NotWritten
        Saying how much is missing.
    """
    free = _free(path)
    if free < n_bytes:
        raise NotWritten(
            f"{path} was not written: it takes {_bytes(n_bytes)}, and {_bytes(n_bytes - free)} of them are missing",
            where=str(path.parent),
            expected=f"{_bytes(n_bytes)} of free space",
            remedy="free space, or choose a path on another disk",
        )


_unkept: set[Path] = set()


@contextmanager
def going_on_unkept(what: str, folder: Path) -> Iterator[None]:
    """Keep something that is needed only to resume: if it cannot be written, warn once and let the work go on.

    Parameters
    ----------
    what
        The work that goes on.
    folder
        Where it is kept.
    """
    try:
        yield
    except NotWritten as error:
        if folder not in _unkept:
            _unkept.add(folder)
            logger.warning("%s; %s goes on, but this part would be lost if the run is broken off", error.what, what)
    else:
        _unkept.discard(folder)


def _told(path: Path, made: Path, error: Exception) -> NotWritten | None:
    numbers = [one.errno for one in _chain(error) if isinstance(one, OSError)]
    if any(number in _TOO_MANY for number in numbers):
        return NotWritten(
            f"{path} was not written: this process has too many files open",
            where=str(path),
            expected="a limit of some hundred open files",
            remedy="raise the limit (ulimit -n 4096) and do it again",
        )
    if any(number in _CLOSED for number in numbers) and _is_of(error, path.parent):
        return NotWritten(
            f"{path} was not written: {path.parent} cannot be written to ({error})",
            where=str(path),
            expected="a path in a folder that can be written to",
            remedy="choose another path",
        )
    if errno.EBUSY in numbers:
        return NotWritten(
            f"{path} was not written: something holds it in its place ({error})",
            where=str(path),
            expected="a path where nothing is mounted, and which no other run replaces at the same time",
            remedy="choose another path",
        )
    written, free = _size(made), _free(made)
    if any(number in _LIMITED for number in numbers) or _says(error, _LIMITED_SAID):
        return NotWritten(
            f"{path} was not written: a quota, or a limit to the size of a file, was reached ({_bytes(written)} were "
            f"written, the disk has {_bytes(free)} free)",
            where=str(path.parent),
            expected=f"leave to write more than {_bytes(written)}",
            remedy="raise the limit (ulimit -f unlimited) or the quota, or choose a path on another disk",
        )
    if _is_full(error, numbers, made):
        return NotWritten(
            f"{path} was not written: there is no room left ({_bytes(written)} were written, {_bytes(free)} are free)",
            where=str(path.parent),
            expected=f"room for more than {_bytes(written + free)}",
            remedy="free space, or choose a path on another disk",
        )
    return None


def _bytes(n_bytes: int) -> str:
    """A size as people read it."""
    if n_bytes < 1e3:
        return f"{n_bytes} bytes"
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:.1f} kB"


def _says(error: Exception, texts: tuple[str, ...]) -> bool:
    """Whether an error, or what it came from, holds one of some texts, as libraries not in Python say it."""
    return any(text in str(one) for one in _chain(error) for text in texts)


def _is_of(error: Exception, folder: Path) -> bool:
    """Whether an error is of something in a folder; what is copied there may be read from elsewhere."""
    named = [one.filename for one in _chain(error) if isinstance(one, OSError) and one.filename is not None]
    return any(os.fsdecode(name).startswith(str(folder)) for name in named if not isinstance(name, int))


def _is_full(error: Exception, numbers: list[int | None], made: Path) -> bool:
    if any(number in _FULL for number in numbers):
        return True
    if _says(error, _SAID):
        return True
    return isinstance(error, (OSError, RuntimeError)) and _free(made) < _NO_BYTES


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while (before := found[-1].__cause__ or found[-1].__context__) is not None and before not in found:
        found.append(before)
    return found


def _size(made: Path) -> int:
    try:
        return sum(one.lstat().st_size for one in (made, *made.rglob("*")) if one.is_file())
    except OSError:
        return 0


def _free(made: Path) -> int:
    """Bytes that are free where something is made."""
    for folder in made.parents:
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return 0
