"""What readers refuse beside what no part of the package can use: files, names and image sizes that cannot be right."""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

from st_predict.core.arguments.declared import NAME
from st_predict.core.arguments.kinds import is_key
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


logger = logging.getLogger("st_predict")

# Image sizes implied by a thumbnail are off by up to half a thumbnail pixel: 0.1 % at 600 px.
SIZE_TOLERANCE = 0.02
_MOST_LINKS = 40  # after which systems call it a loop


def check_file(path: Path, *, where: str) -> None:
    """Refuse a path that is not a file with something in it."""
    if not path.is_file():
        raise InputError(f"no such file: {path}", where=where, expected="an existing file", remedy="check the path")
    if path.stat().st_size == 0:
        raise InputError(
            f"{path} is empty (0 bytes)", where=where, expected="a file with content", remedy="fetch the file again"
        )


def check_readable(path: Path, *, where: str) -> None:
    """Refuse a path that is not there, is an empty file, or may not be read."""
    try:
        exists = path.exists()
    except PermissionError:
        exists = True
    if exists and not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
        raise InputError(
            f"{path} may not be read (permission denied)",
            where=where,
            expected="a file this user may read",
            remedy=f"ask its owner, or: chmod u+r {path.name}",
        )
    if not path.is_dir():
        check_file(path, where=where)


def link_places(path: Path) -> list[Path]:
    """Folders in which the other files of a slide may lie: that of the path, then those its links lead to."""
    found = [path.absolute()]
    while found[-1].is_symlink() and len(found) < _MOST_LINKS:
        found.append(found[-1].parent / found[-1].readlink())
    return found


def unreadable(path: Path, why: object, *, where: str) -> InputError:
    """Make the error for an image file that cannot be read to its end; ``why`` ends the sentence.

    Where the system has no file left to open, or the file is gone, the image is not at fault, and the error says so.
    """
    if isinstance(why, FileNotFoundError):
        return InputError(
            f"{path} is gone: it, or a part of it, was moved or deleted since it was opened",
            where=where,
            expected="the image in the same place until it has been read",
            remedy="put it back, and run the same call again",
        )
    if isinstance(why, OSError) and why.errno in (errno.EMFILE, errno.ENFILE):
        return InputError(
            f"{path.name} cannot be opened: too many files are open ({why.strerror})",
            where=where,
            expected="as many open files as there are levels in all open slides",
            remedy="open fewer slides at a time, or allow more files before Python starts: ulimit -n 8192",
        )
    return InputError(
        f"{path.name} is truncated or corrupt: {why}",
        where=where,
        expected="a complete image, with all its files",
        remedy="fetch or export the image again",
    )


def check_section(section: str, *, where: str = "section") -> None:
    """Refuse a name that could not be an element name of a SpatialData object."""
    if not is_key(section):
        raise InputError(
            f"{section!r} cannot be part of the names of SpatialData elements",
            where=where,
            expected=NAME.expected,
            remedy="give the section another name",
        )


def sizes_agree(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether two sizes of one image are the same but for the rounding of thumbnails."""
    return all(abs(p - q) <= SIZE_TOLERANCE * q for p, q in zip(a, b, strict=True))


def check_image_size(size: tuple[int, int], implied: tuple[float, float], *, thumbnail: str, where: str) -> None:
    """Refuse a full-resolution image whose size disagrees with the thumbnail that was made from it.

    Parameters
    ----------
    size
        Width, height of the image given, in px.
    implied
        Width, height of the thumbnail divided by its scale factor, in full-resolution px.
    thumbnail
        Name of the thumbnail file.
    where
        The argument that holds the image.
    """
    if sizes_agree(size, implied):
        return
    found = f"the image is {size[0]} x {size[1]} px, but {thumbnail} was made from one of about {implied[0]:.0f} x {implied[1]:.0f} px"
    if sizes_agree(size[::-1], implied):
        raise InputError(
            f"axes look swapped: {found} (width x height)",
            where=where,
            expected="the image as it was given to Space Ranger",
            remedy="turn the image back by 90 degrees",
        )
    raise InputError(
        f"{found} (width x height): the spots would lie in the wrong places on it",
        where=where,
        expected="the full-resolution image that was given to Space Ranger",
        remedy="give that file, not tissue_hires_image.png or another smaller, cropped or enlarged copy",
    )
