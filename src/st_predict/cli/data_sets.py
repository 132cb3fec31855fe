"""Find and read what a command is given: Zarr stores by name, and the public sets with their settings."""

from __future__ import annotations

import csv
import difflib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import st_predict as stp
from st_predict._spatialdata.stored import is_store, open_store
from st_predict.core.arguments.declared import PLACE
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from spatialdata import SpatialData

# mob states no scale: tiles in pixels, and its 1,000 genes make every spot shallow.
SETTINGS: dict[str, dict[str, Any]] = {
    "her2st": {},
    "als": {},
    "mob": {"tile_px": (32, 64, 128, 256), "min_counts": 0},
}
"""The public sets, and what each needs other than the defaults, as ``st_predict.tl.train`` takes it."""
OWN = "sections"
"""Name of the study that all given Zarr stores make together."""
_LISTING = "sections.csv"


class Study(NamedTuple):
    """Sections that methods are compared on together."""

    name: str
    read: Callable[[], dict[str, SpatialData]]
    settings: Mapping[str, Any]
    """The settings that it needs in place of the defaults."""


def by_name(paths: Sequence[Path], *, where: str) -> dict[str, Path]:
    """Stores by the name that tables show; ``where`` is what the command calls them, for errors.

    Raises
    ------
    InputError
        If two share one, or are one store.
    """
    first: dict[str, Path] = {}
    for path in paths:
        if (earlier := first.setdefault(os.path.realpath(path), path)) is not path:
            raise InputError(
                f"{earlier} and {path} are one store",
                where=where,
                expected="every section once",
                remedy="leave one of them out",
            )
    named = {Path(os.path.abspath(path)).stem: path for path in paths}  # "." has a name, too
    if len(named) < len(paths):
        raise InputError(
            f"{len(paths) - len(named)} of {len(paths)} stores share a name with another",
            where=where,
            expected="stores of different names",
            remedy="rename the stores",
        )
    return named


def read_stores(paths: Mapping[str, Path]) -> dict[str, SpatialData]:
    """Open every store, under its name."""
    return {name: open_store(path) for name, path in paths.items()}


def find_studies(data: Sequence[str | Path]) -> list[Study]:
    """Tell which data sets are meant; nothing is read.

    Parameters
    ----------
    data
        Zarr stores, names of public sets, or folders that hold public sets beside a ``sections.csv``.

    Returns
    -------
    First the study of all stores, so that a user's mistakes are found early; then the public sets as they were named.

    Raises
    ------
    InputError
        If something is none of these, or is named twice.
    """
    stores: list[Path] = []
    public: list[tuple[str, Path | None]] = []
    for given in data:
        path = Path(PLACE.check(given, "DATA"))
        if str(given) in SETTINGS:
            public.append((str(given), None))
        elif is_store(path):
            stores.append(path)
        elif (path / _LISTING).is_file():
            public += [(name, path) for name in _sets_in(path)]
        else:
            raise _unknown(str(given))
    names = [name for name, _ in public]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(
            f"{twice[0]} is given {names.count(twice[0])} times",
            where="DATA",
            expected="every set once, by its name or in a folder",
            remedy="leave the others out",
        )
    own = [Study(OWN, partial(read_stores, by_name(stores, where="DATA")), {})] if stores else []
    return own + [Study(name, partial(_read_public, name, folder), SETTINGS[name]) for name, folder in public]


def _read_public(name: str, folder: Path | None) -> dict[str, SpatialData]:
    found: dict[str, SpatialData] = getattr(stp.datasets, name)(folder)
    return found


def _sets_in(folder: Path) -> list[str]:
    """Public sets that a folder lists and holds."""
    with (folder / _LISTING).open(newline="", encoding="utf-8") as lines:
        listed = {row.get("dataset") for row in csv.DictReader(lines)}
    found = [name for name in SETTINGS if name in listed and (folder / name).is_dir()]
    if not found:
        raise InputError(
            f"{folder} has a {_LISTING}, but none of the public sets",
            where="DATA",
            expected=f"folders named {', '.join(SETTINGS)}, and rows for them in {_LISTING}",
            remedy="give your own sections as Zarr stores",
        )
    return found


def _unknown(given: str) -> InputError:
    near = difflib.get_close_matches(given, SETTINGS, n=1)
    what = "is no Zarr store and holds no public sets" if Path(given).exists() else "does not exist, and names no set"
    return InputError(
        f"{given} {what}",
        where="DATA",
        expected=f"Zarr stores that SpatialData.write made, {', '.join(SETTINGS)}, or a folder with {_LISTING} that holds these",
        remedy=f"did you mean {near[0]}?"
        if near
        else "read a section with st_predict.io and write it: sdata.write('A1.zarr')",
    )
