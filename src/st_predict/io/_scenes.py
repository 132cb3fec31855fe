"""Files that hold several slides: which one is read, and the message about the others. Knows no format."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from st_predict.core.checks import whole_number
from st_predict.core.chunks import say_missing
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


# What scanners and converters put beside a slide, named by a word of theirs anywhere in the name of the picture.
_BESIDE = re.compile(
    r"(?<![^\W\d_])(label|macro|thumb(nail)?|overview|bar[\s_-]?code)s?([\s_-]?image)?(?![^\W\d_])", re.I
)
_MAP = re.compile(r"\W*map\W*", re.I)
_NAMED = 8
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Scene(NamedTuple):
    """One slide of a file."""

    number: int
    """Number of the picture in the file, from 0."""
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.number} ({self.width} x {self.height} px)"


def lies_beside(name: str) -> bool:
    """Whether the name of a picture says that it is a label, a photograph of the whole glass or the like."""
    return bool(_BESIDE.search(_CAMEL.sub(" ", name)) or _MAP.fullmatch(name))


def choose_scene(usable: Sequence[Scene], known: Sequence[Scene], path: Path, *, where: str, series: int | None) -> int:
    """Check the number that is asked for; if there is none, take the largest usable scene.

    Parameters
    ----------
    usable
        Slides of the file.
    known
        All pictures of the file, which may be asked for by number.
    path, where
        The file, and the argument it was given as, for errors.
    series
        What is asked for.

    Raises
    ------
    InputError
        If there is no scene of that number.
    """
    if series is None:
        return max(usable, key=lambda scene: (scene.height * scene.width, -scene.number)).number
    number = whole_number(series)
    if number is None or number not in [scene.number for scene in known]:
        raise InputError(
            f"{path.name} has no series {series!r}",
            where="series",
            expected=f"one of {', '.join(map(str, known))}",
            remedy="correct series, or leave it out for the largest",
        )
    return number


def several(scenes: Sequence[Scene], number: int, path: Path) -> str | None:
    """The message about the slides of a file that are not read; ``None`` where there are none."""
    others = [scene for scene in scenes if scene.number != number]
    if not others:
        return None
    named = ", ".join(map(str, others[:_NAMED])) + (", ..." if len(others) > _NAMED else "")
    return (
        f"{path.name} holds {len(others) + 1} scenes, of which series {number} is read and "
        f"{named} {'is' if len(others) == 1 else 'are'} not; series= chooses"
    )


def say_focal(n: int, path: Path) -> str | None:
    """The message about focal planes that are not read; ``None`` where there is one."""
    if n < 2:
        return None
    return f"{path.name} holds {n} focal planes; number {middle(n)} (from 0), in the middle, is read and the others are not"


def middle(n: int) -> int:
    """The focal plane that is read of several: scanners focus on the tissue, and step up and down from there."""
    return n // 2


def missing(image: Any, path: Path) -> str | None:
    """The message about blocks of an image that were never stored; ``None`` where all were."""
    return say_missing(image.lacks, path.name)
