"""What the metadata of an OME-Zarr image must hold: axes by name, and levels that lie within the store. Opens nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_WHERE = "path"
_EXPECTED = {
    "axes": "a list of axes by name, y and x among them, each once: [{'name': 'c'}, {'name': 'y'}, {'name': 'x'}]",
    "datasets": "a list of levels, the finest first, each the name of an array: [{'path': '0'}, {'path': '1'}]",
}


def check_described(described: dict[str, Any], group: Path, path: Path) -> None:
    """Refuse an image of which the metadata do not say what its axes are, and where its levels lie.

    Parameters
    ----------
    described
        An entry of ``multiscales``.
    group
        The group that has it.
    path
        The store.
    """
    found = described.get("axes")
    names = [axis.get("name") for axis in axes_of(described)] if isinstance(found, list) else []
    if any(not isinstance(name, str) for name in names) or len(set(names)) < len(names) or not {"y", "x"} <= set(names):
        raise _wrong("axes", found, group, path)
    found = described.get("datasets")
    parts = found if isinstance(found, list) else []
    if not parts or any(not isinstance(part, dict) or not isinstance(part.get("path"), str) for part in parts):
        raise _wrong("datasets", found, group, path)
    for part in parts:
        _check_within(part["path"], path)


def axes_of(described: dict[str, Any]) -> list[dict[str, Any]]:
    """Axes as version 0.4 describes them; earlier ones give their names alone."""
    return [axis if isinstance(axis, dict) else {"name": axis} for axis in described["axes"]]


def _wrong(field: str, found: object, group: Path, path: Path) -> InputError:
    place = path.name if group == path else f"{path.name}/{group.name}"
    held = f"no {field}" if found is None else f"{field} {str(found):.80}"
    return InputError(
        f"the multiscales of {place} hold {held}",
        where=_WHERE,
        expected=_EXPECTED[field],
        remedy="write the OME metadata of the store again, or export the image again",
    )


def _check_within(named: str, path: Path) -> None:
    """Refuse levels that lie elsewhere than in the store, as one that was tampered with may name files of its reader's."""
    if named.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", named):
        raise InputError(
            f"{path.name} names a level {named!r}, which lies outside of the store",
            where=_WHERE,
            expected="levels within the store",
            remedy="open the store that holds this level; do not trust a store with such a path that somebody sent you",
        )
