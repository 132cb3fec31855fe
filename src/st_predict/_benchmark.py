"""The benchmark: methods compared on one or several data sets, with tables, pictures and a page to show around.

A user of the public rooms, as a notebook would be.
"""

from __future__ import annotations

import re
import tempfile
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import st_predict as stp
from st_predict._report import Compared, build_page
from st_predict._spatialdata.stored import is_store
from st_predict._studies import OWN, SETTINGS, find_studies
from st_predict._summary import COLUMNS, REFERENCE, best_method, summarize
from st_predict.core.errors import InputError
from st_predict.core.files import replacing_file
from st_predict.core.outputs import check_apart, check_holder, is_free, sign

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from st_predict._studies import Study

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
"""Rows that tell what parts of NH2ST give, and several networks as ``train`` has them; with all methods or by name."""
SEEDS = 3
NETWORKS = 1
"""Of every method's row: what is compared are methods, and several networks cost all of them as many times as much."""
_TOLD = (
    "encoder",
    "encoder_weights",
    "genes",
    "gene_sets",
    "gene_ranking",
    "min_counts",
    "tile_um",
    "tile_px",
    "layer",
)
_ELEMENTS = ("image_key", "table_key", "layer")  # of the user's stores; public sets leave no choice


def run_benchmark(
    data: Sequence[str | Path],
    *,
    methods: str | Sequence[str] = "all",
    parts: bool = True,
    networks: int = NETWORKS,
    out: Path,
    settings: Mapping[str, Any] | None = None,
    command: str = "",
) -> pd.DataFrame:
    """Cross-validate methods on every data set and write a folder; finished folds found there are not run again.

    Parameters
    ----------
    data
        Zarr stores (one study together), names of public sets, folders that hold public sets.
    methods
        Names of methods or of :data:`PARTS`, or ``"all"``.
    parts
        With all methods, :data:`PARTS` as well.
    networks
        Whose mean every method predicts, but for controls and where :data:`PARTS` say otherwise.
    out
        The folder. Tables and page are written anew after every data set.
    settings
        Arguments of :func:`st_predict.tl.cross_validate`; they win over what a public set brings, and over
        :data:`SEEDS` seeds. Placed of elements and the layer are those of the stores.
    command
        What the page says it was made by.

    Returns
    -------
    The summary of :func:`st_predict._summary.summarize`, with a column ``dataset``, and its attributes by data set.

    Raises
    ------
    InputError
        If a method or a data set is unknown, elements are named where only public sets are given, or ``out`` holds
        something else or cannot be written to; found before anything is read. If a data set cannot be compared on;
        found before any tile is encoded.
    """
    named = _check_methods(methods, parts=parts, networks=networks)
    studies = find_studies(data)
    _check_tiles(studies, settings or {})
    _check_elements(studies, settings or {})
    check_apart(out, [path for path in map(Path, data) if is_store(path)], where="out")
    _check_out(out, studies)
    asked = {study.name: _settings(study, named, settings or {}) for study in studies}
    if len(studies) > 1:  # what cannot be done on the last set is not found out after hours on the first
        for study in studies:
            _check_study(study, asked[study.name])
    done: list[Compared] = []
    for study in studies:
        done.append(_compare(study, out / study.name, asked[study.name]))
        summary = _write(out, done, command, waiting=[later.name for later in studies[len(done) :]])
    return summary


def split_methods(typed: str) -> list[str]:
    """Names with commas between; those of :data:`PARTS` hold one themselves."""
    spaced = ", ".join(name.strip() for name in typed.split(","))
    names = re.findall(rf"\s*((?:{'|'.join(map(re.escape, PARTS))})(?=,|$)|[^,]+)", spaced)
    return [name for name in map(str.strip, names) if name]


def _check_methods(methods: str | Sequence[str], *, parts: bool, networks: int) -> dict[str, dict[str, Any]]:
    """Settings of known names, each once."""
    from st_predict._setup import settle_candidates
    from st_predict.core.methods.registry import METHODS
    from st_predict.tl._comparison import CONTROLS

    names = [methods] if isinstance(methods, str) else list(dict.fromkeys(methods))
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


def _check_tiles(studies: Sequence[Study], settings: Mapping[str, Any]) -> None:
    """Refuse widths in um for sets whose scale nobody knows."""
    in_px = [study.name for study in studies if "tile_px" in study.settings]
    if in_px and settings.get("tile_um"):
        raise InputError(
            f"{in_px[0]} states no scale, so tiles of so many um cannot be cut",
            where="tile_um",
            expected="widths in px for this set",
            remedy=f"leave tile_um out: {in_px[0]} brings its own widths; or compare on {in_px[0]} by itself",
        )


def _check_elements(studies: Sequence[Study], settings: Mapping[str, Any]) -> None:
    """Refuse names of elements that no data set would be read with."""
    named = [name for name in _ELEMENTS if settings.get(name) is not None]
    if named and OWN not in [study.name for study in studies]:
        raise InputError(
            f"{named[0]} is {settings[named[0]]!r}, but public sets leave no choice of it",
            where=named[0],
            expected="Zarr stores among the data",
            remedy=f"leave {named[0]} out",
        )


def _check_out(out: Path, studies: Sequence[Study]) -> None:
    """Refuse a folder that holds something else or cannot be written to."""
    from st_predict.core.protocol.keep import TABLES, check_comparison_folder, check_own_files, is_comparison

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


def _settings(study: Study, methods: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``cross_validate`` for one data set: its own, and over them what was given."""
    known = {name: value for name, value in given.items() if study.name == OWN or name not in _ELEMENTS}
    return {"methods": methods, "seeds": SEEDS, **study.settings, **known}


def _check_study(study: Study, settings: Mapping[str, Any]) -> None:
    """Read one data set and refuse what cannot be compared on it, naming it."""
    from st_predict.core.log import be_heard, logger
    from st_predict.tl._comparison import check_comparison

    be_heard()
    logger.info("%s: checking", study.name)
    defaults = {name: p.default for name, p in signature(stp.tl.cross_validate).parameters.items()}
    wanted = [name for name in signature(check_comparison).parameters if name != "sections"]
    try:
        check_comparison(study.read(), **{name: settings.get(name, defaults[name]) for name in wanted})
    except InputError as error:
        raise InputError(
            f"{study.name}: {error.what}", where=error.where, expected=error.expected, remedy=error.remedy
        ) from error


def _compare(study: Study, folder: Path, settings: Mapping[str, Any]) -> Compared:
    """Cross-validate on one data set; its tables, folds and pictures lie in a folder of their own."""
    from st_predict.core.log import be_heard, logger

    be_heard()
    logger.info("%s: reading", study.name)
    table = stp.tl.cross_validate(study.read(), out=folder, **settings)
    summary = summarize(table)
    return Compared(study.name, table, summary, _told(settings), _draw(table, best_method(summary), folder))


def _told(settings: Mapping[str, Any]) -> dict[str, str]:
    """What a reader needs to repeat it, defaults included."""
    from st_predict.core.tiles.geometry import DEFAULT_TILE_UM

    known = signature(stp.tl.cross_validate).parameters
    found = {name: settings.get(name, known[name].default) for name in _TOLD}
    if not found["tile_um"] and not found["tile_px"]:
        found["tile_um"] = DEFAULT_TILE_UM
    if not isinstance(found["genes"], int):
        found["genes"] = f"{len(found['genes'])} given by name"
    if found["gene_sets"]:
        found["gene_sets"] = ", ".join(found["gene_sets"])
    told = {}
    for name, value in found.items():
        if value is not None:
            told[name] = " / ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else str(value)
    return told


def _draw(table: pd.DataFrame, best: str | None, folder: Path) -> dict[str, Path]:
    """Pictures that the page shows, by what they show."""
    from matplotlib import pyplot as plt

    drawn: dict[str, Path] = {}
    if not len(table):
        return drawn
    with replacing_file(folder / "scores.png") as file:
        axes = stp.pl.scores(table, save=file, show=False)
    plt.close(axes.flat[0].figure)
    caption = "Every method on what was held out of its training: a dot a fold (the mean over its seeds), a bar and a number for the mean over folds."
    drawn[caption] = folder / "scores.png"
    scored = set(table.genes["method"])
    shown = [name for name in (best, REFERENCE) if name is not None and name in scored]
    if shown:
        with replacing_file(folder / "gene_scores.png") as file:
            axes = stp.pl.gene_scores(table.genes, method=shown, save=file, show=False)
        plt.close(axes.flat[0].figure)
        caption = f"Which genes can be trusted: the PCC of every gene against its noise ceiling, by {' and '.join(shown)}. A gene of the panels of some folds only is a dot as well."
        drawn[caption] = folder / "gene_scores.png"
    of_best = table.genes[table.genes["method"] == best]
    if best is not None and "expected_pcc" in of_best and of_best["expected_pcc"].notna().any():
        with replacing_file(folder / "reliability.png") as file:
            axes = stp.pl.reliability(table.genes, method=best, save=file, show=False)
        plt.close(axes.flat[0].figure)
        caption = f"Whether {best} knew how sure it was: what it expected of every gene and what it reached, and how many spots lie within its intervals."
        drawn[caption] = folder / "reliability.png"
    return drawn


def _write(out: Path, parts: Sequence[Compared], command: str, *, waiting: Sequence[str]) -> pd.DataFrame:
    """Tables of all data sets and the page, each whole or not at all."""
    summary = _joined({part.name: part.summary for part in parts})
    tables = {
        "summary": summary,
        "scores": _joined({part.name: part.table for part in parts}),
        "gene_scores": _joined({part.name: part.table.genes for part in parts}),
    }
    for name, table in tables.items():
        with replacing_file(out / f"{name}.csv") as file:
            table.to_csv(file, index=False)
    _draw_together(tables["scores"], out / "scores.png")
    with replacing_file(out / "index.html") as file:
        file.write_text(build_page(parts, command=command, waiting=waiting), encoding="utf-8")
        sign(file)
    summary.attrs = {part.name: part.summary.attrs for part in parts}
    return summary


def _draw_together(table: pd.DataFrame, path: Path) -> None:
    """All data sets in one picture, methods in one order."""
    from matplotlib import pyplot as plt

    if len(table):
        with replacing_file(path) as file:
            axes = stp.pl.scores(table, save=file, show=False)
        plt.close(axes.flat[0].figure)


def _joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One below the other, ``dataset`` first."""
    import pandas as pd

    plain = [pd.DataFrame({"dataset": name, **table}) for name, table in tables.items()]
    return pd.concat(plain, ignore_index=True)
