"""Files that the package keeps for itself, each with a checksum: a damaged one is never taken for whole.

A file of JSON holds its digest beside its content. Any other file ends with it; what reads arrays or tensors from the
start of a file ignores it. A digest may cover what the file is of as well: a file of something else counts as damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_BEFORE, _AFTER = b"\nst-predict sha256 ", b"\n"
_SEAL_BYTES = len(_BEFORE) + 64 + len(_AFTER)
_AT_ONCE = 2**22


class Damaged(Exception):
    """A file is not what was written: it was cut, changed, or is another's."""


def write_json(path: Path, content: Any, *, of: str = "") -> None:
    """Write a file of JSON with the digest of what it holds, and of what it is of."""
    path.write_text(json.dumps({"sha256": digest_of(content, of=of), "kept": content}), encoding="utf-8")


def read_json(path: Path, *, of: str = "") -> Any:
    """What :func:`write_json` wrote.

    Raises
    ------
    Damaged
        If it is not what was written.
    FileNotFoundError
        If there is no such file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        digest, kept = found["sha256"], found["kept"]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(str(path)) from error
    if digest != digest_of(kept, of=of):
        raise Damaged(str(path))
    return kept


def seal_file(path: Path, *, of: str = "") -> None:
    """End a finished file with its digest, which covers what it is of too."""
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256")
        digest.update(of.encode())
        file.seek(0, os.SEEK_END)
        file.write(_BEFORE + digest.hexdigest().encode() + _AFTER)


def check_sealed(path: Path, *, of: str = "") -> None:
    """Compare a file with the digest at its end.

    Raises
    ------
    Damaged
        If it is not what was written.
    FileNotFoundError
        If there is no such file.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size - _SEAL_BYTES
            while left > 0 and (block := file.read(min(left, _AT_ONCE))):
                digest.update(block)
                left -= len(block)
            seal = file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(str(path)) from error
    digest.update(of.encode())
    if left != 0 or seal != _BEFORE + digest.hexdigest().encode() + _AFTER:
        raise Damaged(str(path))


def digest_of(content: Any, *, of: str = "") -> str:
    """Digest of what a file of JSON holds, and of what it is of."""
    as_read = json.loads(json.dumps(content))  # numbers that are keys are text then, and sorted as such
    return hashlib.sha256((json.dumps(as_read, sort_keys=True) + of).encode()).hexdigest()
