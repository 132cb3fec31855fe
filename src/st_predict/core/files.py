"""Folders and files that appear whole or not at all. Knows nothing of what is in them.

They are written under another name and then put in place. Where the file system can, a new folder changes places with
the earlier one in a single step. Elsewhere the earlier folder is moved aside first, and kept until the new one is in
its place. The only copy of anything is never removed: not by an error, nor by Ctrl-C, nor by a kill. Unfinished files
of a process that no longer runs are removed by the next one that writes into the same folder.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
import tempfile
import time
import unicodedata
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from st_predict.core.full import said_if_not_written
from st_predict.core.maker import begin, is_left, making, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_ASIDE = "earlier-"
_LONGEST_PLAIN = 180  # bytes of a plain name: file systems take 255, and endings are added
_TIMES = 100  # so often may others replace a folder while it is being replaced, or read
_MISSING = 5  # looks after which a folder is not there, and not just changing places
_BETWEEN_S = 1.0  # longer than any writer takes from moving the earlier folder aside to moving the new one in
_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2  # of linux/fs.h and of macOS's stdio.h
_OTHERS_FASTER = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY)
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM)


def plain_name(path: Path) -> str:
    """A file's name without its ending, in letters of any script that elements of a SpatialData and folders may be named with."""
    name = unicodedata.normalize("NFC", path.name)  # macOS parts letters and their accents
    stem = re.sub(r"(\.ome)?\.[A-Za-z0-9]+$", "", name)
    plain = re.sub(r"[^\w-]+", "_", stem).strip("_").encode()[:_LONGEST_PLAIN]
    return plain.decode(errors="ignore") or "slide"


@contextmanager
def replacing_folder(path: Path, check: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Give a free path to make a folder at, which then takes the place of ``path``.

    If filling it fails, ``path`` stays as it was and nothing is left beside it. Whoever opens ``path`` meanwhile gets the
    earlier folder or the new one. A link stays a link: what it points at is replaced.

    Parameters
    ----------
    path
        The folder to make or to replace.
    check
        Raises where what is at ``path`` must not be replaced; called before the folder is filled and, since that may
        take hours, again before it is put in place. ``None``: the caller knows that it may be.

    Raises
    ------
    NotWritten
        If there is no room for it, or nothing may be written beside ``path``.
    """
    given, path = path, _behind_links(path)
    put_back(path)
    if check is not None:
        check(given)
    scratch = path.with_name(making(path.name))
    missing = [folder for folder in (path.parent, *path.parent.parents) if not os.path.lexists(folder)]
    try:
        with said_if_not_written(given, scratch):
            path.parent.mkdir(parents=True, exist_ok=True)
            _tidy(path.parent)
            scratch.mkdir(mode=0o700)  # until it is whole, it is nobody else's to read
            yield scratch / "new"
            if check is not None:
                check(given)
            _put_in_place(scratch / "new", path, scratch)
    except BaseException:
        _remove_scratch(scratch, path)
        with suppress(OSError):  # of another run by now
            for folder in missing:
                folder.rmdir()
        raise
    _remove_scratch(scratch, path)


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Give a free path of the same ending to write a file at, which then takes the place of ``path``.

    If writing it fails, ``path`` stays as it was and nothing is left beside it. A link stays a link: what it points at is
    replaced.

    Parameters
    ----------
    path
        The file to make or to replace, in a folder that exists; whether it may be replaced is the caller's to check.

    Raises
    ------
    NotWritten
        If there is no room for it, or its folder may not be written to.
    """
    given, path = path, _behind_links(path)
    beside = path.with_name(making(path.stem, path.suffix))
    try:
        with said_if_not_written(given, beside):
            _tidy(path.parent)
            yield beside
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def opened_together(folder: Path, names: Sequence[str]) -> Iterator[dict[str, BinaryIO]]:
    """Open files of one folder, all as they were at one moment, even if the folder is being replaced; missing ones are left out.

    Parameters
    ----------
    folder
        The folder.
    names
        Names of files in it.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    """
    with ExitStack() as held:
        missing = 0
        for _ in range(_TIMES):
            put_back(folder)
            with ExitStack() as opened:
                try:
                    # Held open, a folder keeps its number to itself: whether it is still in its place is then sure.
                    found = _Opened(folder, opened)
                except FileNotFoundError:
                    missing += 1
                    if missing == _MISSING:
                        raise
                    time.sleep(0.001)
                    continue
                files = {name: file for name in names if (file := found.file(name)) is not None}
                if len(files) == len(names) or found.in_place():
                    held.enter_context(opened.pop_all())
                    break
        else:
            raise OSError(errno.EBUSY, "replaced by others again and again", str(folder))
        yield files


def put_back(path: Path) -> None:
    """If a path is gone, wait for the run that is replacing it, or put back what a run that was killed moved aside."""
    path = _behind_links(path)
    until = time.monotonic() + _BETWEEN_S
    while not os.path.lexists(path) and (aside := _left_aside(path)):
        if time.monotonic() > until:
            with suppress(OSError):  # its writer was slow, not gone; or another process put it back
                aside[0].rename(path)
            return
        time.sleep(0.01)


def remove_left(folder: Path) -> None:
    """Remove unfinished files of processes that no longer run from a folder; those of running processes stay."""
    for one in _listed(folder):
        if not is_left(one):
            continue
        if one.is_dir() and not one.is_symlink():
            _remove_scratch(one, folder / name_of(one))
        else:
            with suppress(OSError):  # another process does the same, or it is another user's
                one.unlink()


def clear_temporary() -> None:
    """Remove what runs that are gone left among temporary files."""
    remove_left(Path(tempfile.gettempdir()))


def temporary_folder(what: str) -> Path:
    """Make an empty folder for temporary files, and remove those that earlier runs left there.

    The caller removes the folder.
    """
    clear_temporary()
    folder = Path(tempfile.gettempdir(), making(what))
    folder.mkdir(mode=0o700)
    return folder


def remove_unfinished(path: Path) -> None:
    """Remove what killed runs left beside a folder. Call it only if no other run can be at work there."""
    put_back(path)
    for scratch in _scratches(_behind_links(path)):
        _remove_scratch(scratch, path)


_tidied: set[tuple[int, Path]] = set()


def _tidy(folder: Path) -> None:
    """Remove what earlier runs left in a folder, once in each process: some folders get thousands of files."""
    this = os.getpid(), folder.absolute()
    if this not in _tidied:
        _tidied.add(this)
        remove_left(folder)


def _remove_scratch(scratch: Path, path: Path) -> None:
    if os.path.lexists(path) or not _moved_aside(scratch):
        shutil.rmtree(scratch, ignore_errors=True)


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _scratches(path: Path) -> list[Path]:
    return [one for one in _listed(path.parent) if one.name.startswith(begin(path.name))]


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _moved_aside(scratch: Path) -> list[Path]:
    return sorted(scratch.glob(f"{_ASIDE}*"), reverse=True)


def _left_aside(path: Path) -> list[Path]:
    return [aside for scratch in _scratches(path) for aside in _moved_aside(scratch)]


def _put_in_place(fresh: Path, path: Path, scratch: Path) -> None:
    """Move a folder to a path; what was there is afterwards in ``scratch``."""
    for time_ in range(_TIMES):
        try:
            if not os.path.lexists(path):
                fresh.rename(path)
            elif not _exchange(fresh, path):
                _by_way_of(scratch / f"{_ASIDE}{time_:03d}", fresh, path)
        except OSError as error:
            if error.errno not in _OTHERS_FASTER or not fresh.exists():
                raise
        else:
            return
    raise OSError(errno.EBUSY, "replaced by others again and again", str(path))


def _by_way_of(aside: Path, fresh: Path, path: Path) -> None:
    """Two renames; the first is undone if the second does not happen, whatever the reason."""
    try:
        path.rename(aside)
        fresh.rename(path)
    except BaseException:
        if os.path.lexists(aside) and not os.path.lexists(path):
            aside.rename(path)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Have two paths change places in one step; ``False`` where that cannot be done here."""
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform.startswith("linux") and hasattr(libc, "renameat2"):
        failed = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    elif sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(*names, _RENAME_SWAP)
    else:
        return False
    number = ctypes.get_errno()
    if failed and number not in _NO_EXCHANGE:
        raise OSError(number, os.strerror(number), str(one), None, str(other))
    return not failed


class _Opened:
    """A folder that is read through one handle where the system has such, else by its path."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self._folder, self._opened, self._handle = folder, opened, None
        if os.open in os.supports_dir_fd:
            self._handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            opened.callback(os.close, self._handle)
        self._state = os.stat(folder if self._handle is None else self._handle)

    def file(self, name: str) -> BinaryIO | None:
        try:
            if self._handle is None:
                file = (self._folder / name).open("rb")
            else:
                file = os.fdopen(os.open(name, os.O_RDONLY, dir_fd=self._handle), "rb")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return self._opened.enter_context(file)

    def in_place(self) -> bool:
        """Whether it is still what the path names."""
        try:
            return os.path.samestat(os.stat(self._folder), self._state)
        except FileNotFoundError:
            return False


def follow_umask(path: Path) -> None:
    """Give a file that a library made for its owner alone the permissions of any other new file of this process.

    Found by making one: the mask itself cannot be read without changing it for all threads.
    """
    beside = path.with_name(making(path.name))
    beside.touch(exist_ok=False)
    try:
        path.chmod(beside.stat().st_mode)
    finally:
        beside.unlink()
