"""The page of a benchmark: one HTML file that holds its pictures and needs no network. Computes no score.

This file chooses what the page shows; the words are in ``templates/page.html``.
"""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from st_predict.cli import summary as summaries
from st_predict.cli.html import number, picture, render
from st_predict.core.protocol.verdict import LEVEL, SAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

_LEAST_IS_BEST, _ONE_IS_BEST = ("mse",), ("relative_variance",)  # in all other columns the largest is best
_NOT_RANKED = (
    "pcc_sd",
    "folds",
    "vs_ridge",
    "constant",
    "covered90",
    "networks",
    "epochs",
    "seconds",
    *summaries.TERMS,
)
_PAPER_NAMES = {
    "pcc_h_testselected": "the 50 genes predicted best on the test section",
    "pcc_hvg_from_test_truth": "the 50 genes most variable in the test truth",
    "pcc_pooled_slides": "spots of all held-out slides pooled",
}


class Compared(NamedTuple):
    """One data set of the page."""

    name: str
    table: pd.DataFrame
    """What ``st_predict.tl.cross_validate`` returned."""
    summary: pd.DataFrame
    settings: Mapping[str, Any]
    """What it was run with."""
    pictures: Mapping[str, Path]
    """PNG files by what they show."""


class Cell(NamedTuple):
    """One cell of a table."""

    text: str
    note: str = ""
    """Smaller text below it; only cells of the head have one."""
    best: bool = False
    """Whether it is the best of its column."""
    verdict: str = ""
    """``better``, ``worse``, ``same`` or ``unclear``, shown after the text."""


class Row(NamedTuple):
    """One row: its name, its cells, and whether it is a ``control`` or a ``limit``."""

    name: str
    cells: Sequence[Cell]
    kind: str = ""


class Table(NamedTuple):
    """A table whose first column is names."""

    head: Sequence[Cell]
    rows: Sequence[Row]


def build_page(parts: Sequence[Compared], *, command: str, waiting: Sequence[str] = ()) -> str:
    """Write the page.

    Parameters
    ----------
    parts
        The data sets.
    command
        What made it, as typed.
    waiting
        Names of data sets that are still to come.
    """
    return render(
        "page.html",
        title=f"Gene expression predicted from H&E: methods compared on {', '.join(part.name for part in parts)}",
        waiting=waiting,
        level=LEVEL,
        same=SAME,
        parts=[_shown(part) for part in parts],
        command=command,
        provenance=_provenance(parts),
    )


def _shown(part: Compared) -> dict[str, Any]:
    """The values that the template gets for one data set."""
    return {
        "name": part.name,
        "n_methods": len(part.summary.query("method != @summaries.CEILING")),
        "counted": summaries.counted(part.table),
        "in_common": _in_common(part.summary),
        "summary": _summary_table(part.summary),
        "failures": part.table.failures.to_dict("records"),
        "pictures": [picture(path, caption) for caption, path in part.pictures.items()],
        "folds": _fold_table(part),
        "as_in_papers": _paper_table(part),
    }


def _cells(texts: Iterable[str]) -> list[Cell]:
    return [Cell(text) for text in texts]


def _row(name: str, cells: Sequence[Cell]) -> Row:
    """A row of a method: controls are muted, the ceiling stands apart."""
    kind = "limit" if name == summaries.CEILING else "control" if name in summaries.CONTROLS else ""
    return Row(summaries.CONTROLS.get(name, name), cells, kind)


def _in_common(summary: pd.DataFrame) -> dict[str, str]:
    """What is the same for all methods, or a hint at the column if it is not the same."""
    said = summaries.in_common(summary)
    return {name: said.get(term, "not the same for all: see the column") for term, name in summaries.TERMS.items()}


def _summary_table(summary: pd.DataFrame) -> Table:
    shown = [c for c in summaries.shown_columns(summary) if c not in ("method", "verdict", "vs_ridge_margin")]
    best = {column: _best(summary, column) for column in shown if column not in _NOT_RANKED}
    rows = [
        _row(row["method"], [_summary_cell(row, column, best.get(column)) for column in shown])
        for _, row in summary.iterrows()
    ]
    return Table(_cells(["method", *(summaries.COLUMNS[column] for column in shown)]), rows)


def _summary_cell(row: pd.Series, column: str, best: str | None) -> Cell:
    if column == "folds":
        of_all = f" of {row['folds'] + row['folds_failed']}" if row["folds_failed"] else ""
        return Cell(f"{row['folds']}{of_all}")
    if column == "vs_ridge":
        apart = f"{number(row[column], sign='+')} ± {number(row['vs_ridge_margin'])}"
        return Cell(apart, verdict=row["verdict"]) if row["verdict"] else Cell("")
    if column == "networks" or column in summaries.TERMS:
        return Cell(str(row[column]))
    printed = number(row[column], digits=summaries.DIGITS.get(column, 3))
    return Cell(printed, best=printed == best and row["method"] != summaries.CEILING)


def _best(summary: pd.DataFrame, column: str) -> str | None:
    """The best number as it is printed, so that numbers that look equal are all marked."""
    values = summaries.comparable(summary)[column].dropna()
    if not len(values):
        return None
    if column in _ONE_IS_BEST:
        return number(values.loc[(values - 1).abs().idxmin()])
    return number(values.min() if column in _LEAST_IS_BEST else values.max())


def _fold_table(part: Compared) -> Table:
    pcc = summaries.by_fold(part.table, "pcc")
    limit = summaries.by_fold(part.table, "ceiling").mean()
    rows = [
        _row(name, _cells(map(number, limit if name == summaries.CEILING else pcc.loc[name])))
        for name in part.summary["method"]
    ]
    shift = summaries.slide_shift(part.table)
    if shift.notna().any():
        rows.append(Row("slide shift", _cells(number(v, digits=2) for v in shift.reindex(pcc.columns)), "limit"))
    return Table(_cells(["held out", *map(str, pcc.columns)]), rows)


def _paper_table(part: Compared) -> Table:
    """Scores as papers give them, beside the PCC of the tables above."""
    honest = part.summary.set_index("method")["pcc"].drop(summaries.CEILING)
    known = set(part.table["metric"])  # slides are pooled only where a fold holds out several
    means = {metric: summaries.by_fold(part.table, metric).mean(axis=1) for metric in _PAPER_NAMES if metric in known}
    rows = [
        _row(str(name), _cells([number(pcc), *(number(of_metric[name]) for of_metric in means.values())]))
        for name, pcc in honest.items()
    ]
    return Table([*_cells(["method", "PCC"]), *(Cell(metric, _PAPER_NAMES[metric]) for metric in means)], rows)


def _provenance(parts: Sequence[Compared]) -> dict[str, str]:
    """Versions, seeds and settings: what it takes to make the page again."""
    versions, seeds = (
        dict.fromkeys(str(value) for part in parts for value in part.table[column].dropna())
        for column in ("version", "seed")
    )
    return {
        "versions": "; ".join([*versions, f"Python {platform.python_version()}"]),
        "written": datetime.now(UTC).date().isoformat(),
        "seeds": ", ".join(seeds),
        **{part.name: ", ".join(f"{name} {value}" for name, value in part.settings.items()) for part in parts},
    }
