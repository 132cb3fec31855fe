"""Tables of scores that pictures are drawn from: checks them, and finds what the user names in them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_columns(table: Any, columns: Iterable[str], *, made_by: str) -> None:
    """Refuse a table that lacks one of these columns or has no row; ``made_by`` is the function that makes such tables.

    Raises
    ------
    InputError
        The message names that function.
    """
    found = [str(column) for column in getattr(table, "columns", ())]
    lost = [column for column in columns if column not in found]
    if lost or not len(table):
        only = f", only {', '.join(found[:12])}" if found else f": it is a {type(table).__name__}"
        raise InputError(
            f"the table has no column {', '.join(map(repr, lost))}{only}" if lost else "the table has no row",
            where="table",
            expected=f"the table of {made_by}",
            remedy="give it as it was returned, or as it was written and read back",
        )


def choose(name: str, known: Iterable[Any], *, where: str) -> str:
    """Give the name back if it is among the known ones; ``where`` is the argument it came from.

    Raises
    ------
    InputError
        With the names known, and the nearest of them.
    """
    names = list(dict.fromkeys(map(str, known)))
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    raise InputError(
        f"the table has no {where} {name!r}",
        where=where,
        expected=f"one of {', '.join(names)}",
        remedy=f"did you mean {' or '.join(near)}?" if near else "choose one of those, or add it to the table first",
    )
