"""Where libraries that read files are called: what they raise becomes our error, and what they log is kept from the user.

Knows no format.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from st_predict.core.errors import InputError
from st_predict.io._checks import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOGGER = "tifffile"  # the one that remarks on every tag it cannot use, by the thousand
NOT_MEANT = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError)
"""What Python raises where a library takes a header at its word; anything else a library raises with a reason."""

_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)  # Zarr reads in a thread of its own


class _Keep(logging.Filter):
    """Remarks made while :func:`reading` are kept there; others are let pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        remarks = _heard.get()
        if remarks is None:
            return True
        remarks.append(" ".join(record.getMessage().split()))
        return False


_KEEP = _Keep()


@contextmanager
def reading(path: Path, *, where: str) -> Iterator[list[str]]:
    """Call another library within this; gives the list of what it remarks.

    Parameters
    ----------
    path
        The file that is read.
    where
        The argument it was given as.

    Raises
    ------
    InputError
        If the file is cut, corrupt or gone, with the cause.
    """
    logging.getLogger(_LOGGER).addFilter(_KEEP)
    remarks: list[str] = []
    token = _heard.set(remarks)
    try:
        yield remarks
    except (InputError, MemoryError):
        raise
    except OSError as error:
        raise unreadable(path, error, where=where) from error
    except Exception as error:
        raise unreadable(path, _cause(error) + said(remarks), where=where) from error
    finally:
        _heard.reset(token)


def said(remarks: list[str]) -> str:
    """The first remark of a library, and how many there are more, to end a sentence with; empty where there are none."""
    if not remarks:
        return ""
    more = f", and {len(remarks) - 1} more remarks" if len(remarks) > 1 else ""
    return f" ({_LOGGER}: {remarks[0]}{more})"


def _cause(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, NOT_MEANT) or not text:
        return f"its header contradicts itself ({type(error).__name__}: {text})"
    return text
