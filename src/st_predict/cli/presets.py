"""The settings of every preset beside those of its publication, one table for each preset.

Published settings are written down beside each method. Those of the preset are looked up (``preset_facts``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from st_predict.cli.preset_facts import look_up, settle, told
from st_predict.core.errors import InputError
from st_predict.core.methods.published import NOT_STATED
from st_predict.core.methods.registry import AUTO, METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = ("setting", "published", "here", "why different")


class Row(NamedTuple):
    """One setting of one preset."""

    setting: str
    published: str
    source: str
    here: str
    why: str

    @property
    def differs(self) -> bool:
        """Whether it is not as published; never so where nothing was published."""
        return self.published not in (self.here, NOT_STATED)


def documented_methods() -> list[str]:
    """Methods that have a publication to compare with."""
    return [name for name, entry in METHODS.items() if entry.published]


def preset_names(method: str) -> list[str]:
    """Presets of a method that has a publication to compare with.

    Raises
    ------
    InputError
        If there is no such method, or nothing is published of it.
    """
    documented = documented_methods()
    if method not in documented:
        raise InputError(
            f"{AUTO!r} has no presets: it chooses one of several methods on what is held out"
            if method == AUTO
            else f"there is no publication of {method!r} to compare with"
            if method in METHODS
            else f"there is no {method!r}",
            where="METHOD",
            expected=", ".join(documented),
            remedy="choose one of these",
        )
    return list(METHODS[method].presets)


def preset_table(method: str, preset: str) -> list[Row]:
    """Every published setting beside what the preset trains with, in the order of the method's ``PUBLISHED``."""
    settled = settle(method, preset)
    rows = []
    for one in METHODS[method].published:
        here = one.built if one.built is not None else look_up(settled, one.setting)
        rows.append(Row(one.setting, told(one.value), one.source, told(here), one.why_in(preset)))
    return rows


def render(methods: Sequence[str], *, markdown: bool = False) -> str:
    """Tables of all presets of methods, as text."""
    parts = []
    for method in methods:
        names = preset_names(method)
        citation = str(METHODS[method].method.__doc__).splitlines()[0]
        parts.append(f"### `{method}`\n\n{citation}" if markdown else f"{method}: {citation}")
        for preset in names:
            rows = preset_table(method, preset)
            count = f"{sum(row.differs for row in rows)} of {len(rows)} differ"
            if markdown:
                parts.append(f'`preset="{preset}"`: {count}.\n\n{_markdown(rows)}')
            else:
                parts.append(f"preset {preset}, {count}\n{_plain(rows)}")
    return "\n\n".join(parts)


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.setting, row.published + (f" ({row.source})" if row.source else ""), row.here, row.why


def _markdown(rows: Sequence[Row]) -> str:
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *map(_cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(rows: Sequence[Row]) -> str:
    lines = [COLUMNS, *map(_cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )
