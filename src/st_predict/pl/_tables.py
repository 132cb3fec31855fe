"""Tables of scores that pictures are drawn from: checks them, and finds what the user names in them."""

from __future__ import annotations

import difflib
import math
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.arguments.kinds import shown
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd


def check_columns(
    table: pd.DataFrame, *, names: Sequence[str] = (), numbers: Sequence[str] = (), made_by: str
) -> pd.DataFrame:
    """Refuse a table that lacks one of these columns, or holds in it what does not belong there, or has no row.

    Parameters
    ----------
    table
        As the user gave it.
    names
        Columns of names, none of which may be missing.
    numbers
        Columns of numbers; one that is missing is NaN, and none is infinite.
    made_by
        The function that makes such tables.

    Returns
    -------
    The table, its numbers as numbers.

    Raises
    ------
    InputError
        The message names that function.
    """
    found = [str(column) for column in table.columns]
    lost = [column for column in (*names, *numbers) if column not in found]
    double = [column for column in (*names, *numbers) if found.count(column) > 1]
    if lost:
        raise _unlike(f"the table has no column {', '.join(map(repr, lost))}, only {', '.join(found[:12])}", made_by)
    if double:
        raise _unlike(f"the table has column {double[0]!r} {found.count(double[0])} times", made_by)
    if not len(table):
        raise _unlike("the table has no row", made_by)
    for column in names:
        if wrong := [value for value in table[column] if not _is_name(value)]:
            raise _unlike(f"a value of column {column!r} is {shown(wrong[0])}, and no name", made_by)
    changed = {column: np.array([_number(value) for value in table[column]]) for column in numbers}
    for column, values in changed.items():
        if (wrong := np.isinf(values)).any():
            raise _unlike(
                f"a value of column {column!r} is {shown(table[column][wrong].iloc[0])}, and no finite number", made_by
            )
    return table.assign(**changed)


def _unlike(what: str, made_by: str) -> InputError:
    return InputError(
        what,
        where="table",
        expected=f"the table of {made_by}",
        remedy="give it as it was returned, or as it was written and read back",
    )


def _number(value: Any) -> float:
    """A number, NaN where it is missing, infinite where it is none."""
    import pandas as pd

    if value is None or value is pd.NA or value is pd.NaT:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.inf


def _is_name(value: Any) -> bool:
    """Whether a value is text that is not empty, or a finite number."""
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, Real) and math.isfinite(value)


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
