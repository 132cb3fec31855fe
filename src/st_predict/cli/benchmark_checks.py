"""What a benchmark is asked for, and what is refused before anything is read or encoded."""

from __future__ import annotations

import re
import tempfile
from inspect import signature
from typing import TYPE_CHECKING, Any

import st_predict as stp
from st_predict._spatialdata.keys import Elements
from st_predict.cli.data_sets import OWN, SETTINGS
from st_predict.cli.summary import COLUMNS
from st_predict.core.errors import InputError
from st_predict.core.log import be_heard, logger
from st_predict.core.methods.registry import METHODS
from st_predict.core.methods.settle import settle_candidates
from st_predict.core.outputs import check_holder, is_free
from st_predict.core.protocol.keep import TABLES, check_comparison_folder, check_own_files, is_comparison
from st_predict.tl._comparison import CONTROLS, Terms, check_comparison

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from st_predict.cli.data_sets import Study

FILES = {
    "index.html": "all of it on one page",
    "scores.png": "methods side by side on every data set",
    "summary.csv": "the table above",
    "scores.csv": "scores of every section",
    "gene_scores.csv": "scores of every gene",
}
_NH2ST = {"method": "nh2st"}
PARTS: dict[str, dict[str, Any]] = {
    "nh2st, no contrast": {**_NH2ST, "params": {"query_weight": 0.0, "neighbor_weight": 0.0}},
    "nh2st, no neighbor branch": {**_NH2ST, "params": {"neighbor_weight": 0.0}},
    "nh2st, three networks": {**_NH2ST, "members": 3},
}
"""Rows that show what parts of NH2ST are worth, and what three networks are worth, as ``train`` has them."""
ELEMENTS = ("image_key", "table_key", "layer")  # of the user's stores; public sets leave no choice


def split_methods(typed: str) -> list[str]:
    """Split names at commas; the names in :data:`PARTS` have a comma of their own."""
    spaced = ", ".join(name.strip() for name in typed.split(","))
    names = re.findall(rf"\s*((?:{'|'.join(map(re.escape, PARTS))})(?=,|$)|[^,]+)", spaced)
    return [name for name in map(str.strip, names) if name]


def check_methods(methods: str | Sequence[str], *, parts: bool, networks: int) -> dict[str, dict[str, Any]]:
    """Settings of known names, each once."""
    names = [methods] if isinstance(methods, str) else list(methods)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(
            f"method {twice!r} is named twice", where="methods", expected="each name once", remedy="name it once"
        )
    if not names:
        raise InputError("no method is named", where="methods", expected="all, or names", remedy="name methods")
    if names == ["all"]:
        names = [*METHODS, *(PARTS if parts else {})]
    found = {}
    for name in names:
        settings = PARTS.get(name, {})
        if name not in PARTS:
            settle_candidates(name)
        found[name] = settings if name in CONTROLS else {"members": networks, **settings}
    return found


def check_tiles(studies: Sequence[Study], settings: Mapping[str, Any]) -> None:
    """Refuse widths in um for sets whose scale nobody knows."""
    in_px = [study.name for study in studies if "tile_px" in study.settings]
    if in_px and settings.get("tile_um"):
        raise InputError(
            f"{in_px[0]} states no scale, so tiles of so many um cannot be cut",
            where="tile_um",
            expected="widths in px for this set",
            remedy=f"leave tile_um out: {in_px[0]} brings its own widths; or compare on {in_px[0]} by itself",
        )


def check_elements(studies: Sequence[Study], settings: Mapping[str, Any]) -> None:
    """Refuse names of elements that no data set would be read with."""
    named = [name for name in ELEMENTS if settings.get(name) is not None]
    if named and OWN not in [study.name for study in studies]:
        raise InputError(
            f"{named[0]} is {settings[named[0]]!r}, but public sets leave no choice of it",
            where=named[0],
            expected="Zarr stores among the data",
            remedy=f"leave {named[0]} out",
        )


def check_out(out: Path, studies: Sequence[Study]) -> None:
    """Refuse a folder that holds something else or cannot be written to."""
    check_holder(out, where="out")
    held = [name for name in (OWN, *SETTINGS) if is_comparison(out / name)]  # also where no fold came to its end
    if not is_free(out) and not held:
        raise InputError(
            f"{out} exists and is not an earlier benchmark",
            where="out",
            expected="a new or empty folder, or an earlier benchmark",
            remedy="choose another out",
        )
    tables = {
        "summary.csv": (("dataset", "method", "pcc"), (*COLUMNS, "seeds", "folds_failed")),
        **{name: (("dataset", *TABLES[name][0]), TABLES[name][1]) for name in ("scores.csv", "gene_scores.csv")},
    }
    check_own_files(out, tables, [name for name in FILES if name not in tables])
    dropped = [name for name in held if name not in [study.name for study in studies]]
    if dropped:
        raise InputError(
            f"{out} holds a benchmark of {', '.join(dropped)} as well, which its page and tables would lose",
            where="out",
            expected="another folder, or all of its data sets named again (finished folds are not run again)",
            remedy="choose another out, or name them too",
        )
    for study in studies:
        check_comparison_folder(out / study.name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(
            f"{out} cannot be written to ({error.strerror})",
            where="out",
            expected="a folder that can be made or written to",
            remedy="choose another out",
        ) from error


def check_study(study: Study, settings: Mapping[str, Any]) -> None:
    """Read one data set and refuse what cannot be compared on it, naming it."""
    be_heard()
    logger.info("%s: checking", study.name)
    defaults = {name: p.default for name, p in signature(stp.tl.cross_validate).parameters.items()}
    values = {name: settings.get(name, default) for name, default in defaults.items()}
    terms = Terms(**{name: values[name] for name in Terms._fields})
    elements = Elements(**{name: values[name] for name in Elements._fields})
    try:
        check_comparison(study.read(), values["methods"], terms, elements)
    except InputError as error:
        raise InputError(
            f"{study.name}: {error.what}", where=error.where, expected=error.expected, remedy=error.remedy
        ) from error
