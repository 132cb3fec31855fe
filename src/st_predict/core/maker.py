"""Which process makes something, told apart from all that had its number before, and the names of unfinished files.

An unfinished file carries its maker in its name. So files that a dead process left differ from those that another process
is still writing, and from those that are not ours.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_BYTES, _KEPT_LETTERS = 160, 40  # of a name: those of files are limited to 255 bytes
_SAME_START_S = 2.0  # the clock by which the start of a process is told may be put right meanwhile
_ABANDONED_S = 7 * 24 * 3600.0  # of another machine it cannot be told whether a process lives there
_NAMED = re.compile(
    r"\.(?P<name>.+)\.st-predict-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<started>\d+)-[0-9a-f]{8}(\.\w+)?"
)


class Maker(NamedTuple):
    """A process: its machine, its number, and when it started, since numbers are reused.

    A container that is started again has the name and often the number of the one before.
    """

    host: str
    pid: int
    started: float | None
    """Seconds since 1970; ``None`` where an earlier version noted none."""

    @classmethod
    def this(cls) -> Maker:
        """The process that asks."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    def is_gone(self) -> bool:
        """Whether it has certainly ended; for a process on another machine this is never certain."""
        if self.host != socket.gethostname():
            return False
        if self.started is None:  # of an earlier version, which is not this process
            return self.pid == os.getpid() or not psutil.pid_exists(self.pid)
        try:
            process = psutil.Process(self.pid)
            again = abs(process.create_time() - self.started) > _SAME_START_S
            return again or process.status() == psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, ValueError, OverflowError):
            return True
        except psutil.AccessDenied:
            return False


def begin(name: str) -> str:
    """How the names of unfinished files begin that will become ``name``."""
    if len(os.fsencode(name)) > _LONGEST_BYTES:
        name = f"{name[:_KEPT_LETTERS]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    return f".{name}.st-predict-"


def making(name: str, suffix: str = "") -> str:
    """A free name for an unfinished file that will become ``name``: hidden, with this process in it."""
    this = Maker.this()
    token = hashlib.sha256(os.urandom(16)).hexdigest()[:8]
    return f"{begin(name)}{_short(this.host)}-{this.pid}-{this.started:.0f}-{token}{suffix}"


def is_in_the_making(name: str) -> bool:
    """Whether a file or folder of this name is not finished, whoever is or was at work on it."""
    return _NAMED.fullmatch(name) is not None


def name_of(path: Path) -> str:
    """The final name of an unfinished file or folder; of a very long name, its beginning."""
    named = _NAMED.fullmatch(path.name)
    return named["name"] if named else path.name


def is_left(path: Path) -> bool:
    """Whether an unfinished file or folder was left by a process that no longer runs."""
    named = _NAMED.fullmatch(path.name)
    if named is None:
        return False
    if named["host"] == _short(socket.gethostname()):
        return Maker(socket.gethostname(), int(named["pid"]), float(named["started"])).is_gone()
    try:
        return time.time() - path.lstat().st_mtime > _ABANDONED_S
    except OSError:
        return False


def _short(host: str) -> str:
    return hashlib.sha256(host.encode()).hexdigest()[:8]
