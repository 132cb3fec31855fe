"""Which files and folders on disk are earlier outputs of this package, and may be replaced: by what is in them, not by name.

A folder of ours is sealed when it is finished: a file in it lists what was written, with digests, since neither times
nor sizes reveal an edit. A folder with other files, or changed ones, holds somebody's work, and is not replaced. Tables
are known by their columns, pages and pictures by a mark.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError
from st_predict.core.files import replacing_file
from st_predict.core.lock import LOCK
from st_predict.core.maker import is_in_the_making
from st_predict.core.sealed import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

SEAL = "st_predict.json"
_OWN_DIGEST = "sha256"
_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")  # what file browsers leave in every folder that is looked at
_MARK = "made by st-predict"
_MARK_WITHIN = 65536  # of the begin or the end of a file
_SAME_TIME_S = 2.0  # file systems round times to as much
_SIGNED = re.compile(rf"<!-- {_MARK} [^\n]*, sha256 ([0-9a-f]{{64}}) -->\n\Z".encode())
MODEL_FILES = ("config.json", "weights.safetensors")
"""What a model is."""
_WHOLES = {
    "a Zarr store": (("zarr.json",), (".zgroup",), (".zarray",), (".zmetadata",)),
    "a model": (MODEL_FILES,),
    "the folder of a slide": (("Slidedat.ini",), ("DICOMDIR",)),  # MRXS, DICOM
}
"""Folders that are one thing, by files that each of the kind has: nothing else belongs into them."""
TEXTS = (".svg", ".html")
"""Endings of files that are edited as they are, and keep the mark then."""


def seal(folder: Path, kind: str, record: dict[str, Any] | None = None) -> None:
    """Note in a finished folder what is in it, so that it may be replaced as long as it is left as it is.

    Parameters
    ----------
    folder
        The folder.
    kind
        What it is, such as ``"prediction"``.
    record
        What else is to be told of it.
    """
    told = {
        **(record or {}),
        "kind": kind,
        "package_version": version("st-predict"),
        "files": _listing(folder, _size_and_digest),
    }
    (folder / SEAL).write_text(json.dumps({**told, _OWN_DIGEST: digest_of(told)}), encoding="utf-8")


def read_seal(folder: Path) -> dict[str, Any] | None:
    """What was told of a folder; ``None`` where nothing was, or the file that tells it was damaged.

    What an earlier version sealed carries no digest of its own.
    """
    try:
        told: dict[str, Any] = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        digest = told.pop(_OWN_DIGEST, None)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return None
    return told if digest is None or digest == digest_of(told) else None


def mark(folder: Path, kind: str) -> None:
    """Note that a folder is ours, where its files change while a run is at work."""
    if not is_marked(folder, kind):
        with replacing_file(folder / SEAL) as file:
            told = {"kind": kind, "package_version": version("st-predict")}
            file.write_text(json.dumps({**told, _OWN_DIGEST: digest_of(told)}), encoding="utf-8")


def is_marked(folder: Path, kind: str) -> bool:
    """Whether a folder was marked, or sealed, as such."""
    told = read_seal(folder)
    return told is not None and told.get("kind") == kind


def made_by() -> str:
    """The mark that pages and pictures carry."""
    return f"{_MARK} {version('st-predict')}"


def is_sealed(folder: Path, kind: str, *, whole: bool = True) -> bool:
    """Whether a folder was sealed as such, and holds what it held then, no more and, if it is to be whole, no less."""
    try:
        told = read_seal(folder) or {}
        listed = told["files"] if told["kind"] == kind else {}
        if not whole:
            lost = {*lost_files(folder)}
            listed = {name: one for name, one in listed.items() if name not in lost}
        sizes, digests = ({name: one[i] for name, one in listed.items()} for i in range(2))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False
    if digests and all(isinstance(one, int | float) for one in digests.values()):  # of an earlier version: times
        times = _listing(folder, _changed)
        same = digests.keys() == times.keys() and all(
            abs(times[name] - digests[name]) <= _SAME_TIME_S for name in times
        )
        return same and sizes == _listing(folder, _size)
    # All is read only where nothing tells sooner, before work that takes far longer.
    return bool(sizes) and sizes == _listing(folder, _size) and digests == _listing(folder, _digest)


def lost_files(folder: Path) -> list[str]:
    """Files that a folder held when it was sealed, and that are gone, by their paths in it; none where it was not sealed."""
    listed = (read_seal(folder) or {}).get("files")
    return [name for name in listed if not os.path.lexists(folder / name)] if isinstance(listed, dict) else []


def lost_arrays(folder: Path) -> list[str]:
    """Arrays of a sealed Zarr store of which chunks are gone, though what describes them is as it was written.

    An array that somebody wrote anew, in other chunks, has lost none.
    """
    arrays = dict.fromkeys(array for name in lost_files(folder) for array, _, chunk in [name.partition("/c/")] if chunk)
    listed = (read_seal(folder) or {}).get("files", {})
    found = []
    for array in arrays:
        name = f"{array}/zarr.json"
        if (folder / name).is_file() and [*listed.get(name, ())] == [*_size_and_digest(folder / name)]:
            found.append(array)
    return found


def foreign_files(folder: Path, own: Iterable[str]) -> list[str]:
    """Names of files in a folder that are not ours; what file browsers and killed runs leave there does not count."""
    names = {one.name for one in folder.iterdir()} - {*own, *_LITTER, LOCK}
    return sorted(name for name in names if not is_in_the_making(name))


def is_free(path: Path) -> bool:
    """Whether nothing is at a path, or an empty folder."""
    if not os.path.lexists(path):
        return True
    return path.is_dir() and not foreign_files(path, ())


def has_columns(path: Path, columns: Sequence[str], others: Collection[str] = ()) -> bool:
    """Whether a file is a table that begins with these columns and has none but ``others`` beside, as one of ours has.

    A column that somebody added makes it theirs; a value that somebody changed is not noticed.
    """
    import pandas as pd

    try:
        found = list(pd.read_csv(path, nrows=0)) if path.is_file() else []  # a pipe would be waited for
    except Exception:  # noqa: BLE001 - whatever keeps it from being read as a table: it is none of ours
        return False
    return found[: len(columns)] == list(columns) and set(found[len(columns) :]) <= {*others}


def sign(path: Path) -> None:
    """End a finished page or picture that is text with the mark and a digest of what stands above, for :func:`has_mark`."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    path.write_bytes(content + f"<!-- {made_by()}, sha256 {digest} -->\n".encode())


def has_mark(path: Path) -> bool:
    """Whether a page or a picture says that it is ours, and where it is text, that it is as it was written."""
    if path.suffix.lower() in TEXTS:
        content = path.read_bytes() if path.is_file() else b""
        signed = _SIGNED.search(content)
        return signed is not None and hashlib.sha256(content[: signed.start()]).hexdigest().encode() == signed[1]
    try:
        with path.open("rb") as file:
            begin = file.read(_MARK_WITHIN)
            file.seek(max(0, path.stat().st_size - _MARK_WITHIN))
            return _MARK.encode() in begin + file.read()
    except OSError:
        return False


def check_output(path: Path, ours: Callable[[Path], bool], *, what: str, where: str) -> None:
    """Refuse a path, before any work, where there is something else or nothing can be written.

    A link is written through, to what it points at.

    Parameters
    ----------
    path
        The file or folder to be made or replaced.
    ours
        Whether what is there is an output of the same kind, and as it was written.
    what
        The kind, with its article, for the error.
    where
        The argument it was given as.

    Raises
    ------
    InputError
        If something else is there, a link that points at nothing is, or nothing can be written there.
    """
    _check_link(path, where=where)
    if not is_free(path) and not ours(path):
        raise InputError(
            f"{path} exists and is not {what}, as it was written"
            if _says_ours(path)
            else f"{path} exists and is not {what}",
            where=where,
            expected=f"a new path, or {what} to which nothing was added since",
            remedy="choose another path, or move away what is there",
        )
    if _is_mount(path):
        raise InputError(
            f"{path} is a mount point, which nothing can take the place of",
            where=where,
            expected="a path that can be made or replaced as a whole",
            remedy=f"name one within it, such as {str(path / 'out')!r}" if path.is_dir() else "choose another path",
        )
    check_writable(path, where=where)


def check_writable(path: Path, *, where: str) -> None:
    """Refuse a path at which nothing can be made.

    Raises
    ------
    InputError
        If the folder that is to hold it is a file, may not be written to, or is one to which nothing may be added.
    """
    holder = Path(os.path.realpath(path)).parent
    check_holder(holder, where=where)
    while not os.path.lexists(holder):
        holder = holder.parent
    _check_can_hold(holder, path, where=where)


def _check_can_hold(holder: Path, path: Path, *, where: str) -> None:
    """Refuse a path for which files would be made in a folder that takes none."""
    if not _can_hold(holder):
        raise InputError(
            f"{path} cannot be written: {holder} " + ("cannot be written to" if holder.is_dir() else "is not a folder"),
            where=where,
            expected="a path in a folder that can be written to",
            remedy="choose another path",
        )


def _check_link(path: Path, *, where: str) -> None:
    """Refuse a link that leads nowhere: what was meant to be there cannot be told."""
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"{path} is a link to {os.readlink(path)}, which does not exist",
            where=where,
            expected="a path that is no link, or one that leads somewhere",
            remedy="remove the link, or make what it points at",
        )


def _is_mount(path: Path) -> bool:
    """Whether something is mounted at a path, be it another part of the same file system, as Docker mounts folders."""
    place = os.path.realpath(path)
    try:
        told = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:  # of Linux alone
        return os.path.ismount(place)
    escaped = re.sub(rb"[\\\s]", lambda found: b"\\%03o" % found[0][0], os.fsencode(place))
    return any(line.split(b" ")[4] == escaped for line in told)


def _can_hold(folder: Path) -> bool:
    """Whether files can be made in a folder; some file systems only tell when it is tried."""
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return False
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def check_holder(folder: Path, *, where: str) -> None:
    """Refuse to write into a folder that is, or lies in, one whole: a store, a model, or the pixels of a slide.

    Parameters
    ----------
    folder
        The folder that files are to be written into, there or not.
    where
        The argument it was given as.

    Raises
    ------
    InputError
        Naming the whole.
    """
    place = Path(os.path.realpath(folder))
    for one in (*reversed(place.parents), place):  # the outermost is what a user knows it by
        for kind, marks in _WHOLES.items():
            if any(all((one / name).is_file() for name in names) for names in marks):
                raise InputError(
                    f"{one} is {kind}, and what is written there would become part of it",
                    where=where,
                    expected="a path outside of stores, models and slides",
                    remedy="choose another path",
                )


def check_apart(path: Path, inputs: Iterable[str | Path], *, where: str) -> None:
    """Refuse to write into what is read.

    Parameters
    ----------
    path
        The file or folder to be made.
    inputs
        Stores and slides that are read.
    where
        The argument it was given as.

    Raises
    ------
    InputError
        If it is one of them, or would lie within one.
    """
    place = Path(os.path.realpath(path))
    for one in inputs:
        read = Path(os.path.realpath(one))
        beside = [read.with_suffix("")] if read.suffix.lower() == ".mrxs" else []  # its pixels lie in a folder
        if place == read or any(part in (place, *place.parents) for part in (read, *beside)):
            said = "is read, and would be overwritten" if place == read else f"lies within {one}, which is read"
            raise InputError(
                f"{path} {said}",
                where=where,
                expected="a path outside of all that is read",
                remedy="choose another path",
            )


def check_places(**places: str | Path | None) -> None:
    """Refuse folders to be written, by the argument they were given as, where nothing can be written, or one within another.

    Raises
    ------
    InputError
        Naming the folder.
    """
    given = {where: Path(place) for where, place in places.items() if place is not None}
    for where, place in given.items():
        _check_link(place, where=where)
        check_holder(place, where=where)
        if place.is_dir():
            _check_can_hold(place, place, where=where)
        elif place.exists():
            raise InputError(
                f"{place} is a file", where=where, expected="a folder, new or there", remedy="choose another path"
            )
        else:
            check_writable(place, where=where)
    check_side_by_side(given)


def check_side_by_side(places: Mapping[str, str | Path | None]) -> None:
    """Refuse folders to be written of which one is, or lies within, another: each is filled and cleared by its own rules.

    Raises
    ------
    InputError
        Naming both.
    """
    real = {where: Path(os.path.realpath(place)) for where, place in places.items() if place is not None}
    for where, place in real.items():
        for other, holder in real.items():
            if other != where and holder in (place, *place.parents):
                raise InputError(
                    f"{where} ({places[where]}) lies in {other} ({places[other]})",
                    where=where,
                    expected=f"a folder outside of {other}",
                    remedy="give each of them a folder of its own, side by side",
                )


def _listing(folder: Path, told: Callable[[Path], Any]) -> dict[str, Any]:
    """What is told of every file of a folder, by its path in it."""
    found = {}
    for within, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(within) / name).is_symlink()]
        for name in (*names, *links):
            path = Path(within) / name
            if name not in _LITTER and path != folder / SEAL:
                found[path.relative_to(folder).as_posix()] = told(path)
    return found


def _size(path: Path) -> int:
    return path.lstat().st_size


def _changed(path: Path) -> float:
    return path.lstat().st_mtime


def _digest(path: Path) -> str:
    """Of what is in a file, or of where a link leads."""
    if path.is_symlink():
        return hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size_and_digest(path: Path) -> tuple[int, str]:
    return _size(path), _digest(path)


def _says_ours(path: Path) -> bool:
    """Whether a folder was sealed by this package at some time."""
    return (path / SEAL).is_file()
