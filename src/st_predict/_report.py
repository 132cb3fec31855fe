"""The page of a benchmark: one HTML file that holds its pictures and needs no network. Computes no score."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from st_predict import _html, _summary
from st_predict._html import Cell, Row, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

_LEAST_IS_BEST, _ONE_IS_BEST = ("mse",), ("relative_variance",)  # of all others the most
_NOT_RANKED = ("pcc_sd", "folds", "vs_ridge", "constant", "covered90")
_MEANINGS = {
    "PCC": "Pearson correlation per gene over the spots of one held-out section, then the mean over genes, sections and "
    "folds; a constant prediction counts 0",
    "s.d.": "standard deviation of the PCC over folds",
    "50 HVG": "PCC over those 50 genes of the panel that vary most in training",
    "of ceiling": "PCC as a fraction of the noise ceiling",
    "Spearman": "rank correlation, averaged like the PCC",
    "MSE": "mean squared error of log1p of counts per 10,000; the least is best",
    "rel. var.": "variance of the prediction over that of the measured; below 1 the prediction is too smooth",
    "gene-gene": "agreement of the correlations between genes, predicted with measured",
    "Moran's I": "agreement of the genes' spatial autocorrelation, predicted with measured",
    "foreseen": "rank correlation, over genes, of the PCC that the model expected of each with the one it reached",
    "within 90 %": "spots within the intervals that are to cover 90 % of them, mean over genes",
    "const.": "genes of a section that were predicted or measured as constant, and count 0; mean over sections",
    "vs ridge": "mean difference of the PCC to that of ridge, fold by fold",
}
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
    later = f'<p class="warn">Not finished: still to come are {escape(", ".join(waiting))}.</p>' if waiting else ""
    sections = [later, _compared(parts), _how_to_read(), *map(_data_set, parts), _paper_style(parts)]
    return _html.page(
        f"Gene expression predicted from H&E: methods compared on {', '.join(part.name for part in parts)}",
        files("st_predict").joinpath("_report.css").read_text(encoding="utf-8"),
        "\n".join([*sections, _provenance(parts, command)]),
    )


def _row(name: str, cells: Sequence[str | Cell]) -> Row:
    """A row of a method: controls are muted, the ceiling stands apart."""
    kind = "limit" if name == _summary.CEILING else "control" if name in _summary.CONTROLS else ""
    return Row(_summary.CONTROLS.get(name, name), cells, kind)


def _compared(parts: Iterable[Compared]) -> str:
    rows = []
    for part in parts:
        found = _summary.counted(part.table)
        spots = f"{found['spots']:,}"
        if found["left_out"]:
            spots += " " + _html.small(f"{found['left_out']:,} left out")
        n_methods = len(part.summary.query("method != @_summary.CEILING"))
        cells: list[str | Cell] = [
            str(n_methods),
            str(found["sections"]),
            str(found["folds"]),
            spots,
            escape(found["genes"]),
        ]
        rows.append(Row(part.name, [*cells, Cell(escape(found["split"]), "text")]))
    head: list[str | Cell] = ["data set", "methods", "sections", "folds", "spots", "genes", Cell("split", "text")]
    return f"<h3>What was compared</h3>\n{_html.table(head, rows)}"


def _how_to_read() -> str:
    (many, fine), (_, coarse) = _summary.NOISE_PCC
    return f"""<h3>How to read it</h3>
<ul>
<li>Every score is of sections that were held out: genes, scaling, penalties and lengths of training were chosen on the
training sections of each fold alone. Bold is the best of a column, among methods with the same folds.</li>
<li>Gray rows are controls: the training mean, ridge on shuffled images (which hold nothing), and tuned ridge on frozen
features, which a deep method has to beat. A method is called better or worse than ridge if it is so in every fold, and by
more than {fine} ({coarse} with fewer than {many} folds) in the mean.</li>
<li>Counts are noisy, so that the true rates themselves would not reach a PCC of 1. The noise ceiling is an estimate of what
they would.</li>
</ul>
<details><summary>What the columns mean</summary>
{_html.facts(_MEANINGS)}
</details>"""


def _data_set(part: Compared) -> str:
    pictures = "".join(_html.picture(path, caption) for caption, path in part.pictures.items())
    return f"""<h2>{escape(part.name)}</h2>
{_summary_table(part.summary)}
{_failed(part.table.failures)}
{pictures}
<h3>PCC of every fold</h3>
{_fold_table(part)}"""


def _summary_table(summary: pd.DataFrame) -> str:
    shown = [c for c in _summary.COLUMNS if c not in ("method", "verdict") and summary[c].notna().any()]
    best = {column: _best(summary, column) for column in shown if column not in _NOT_RANKED}
    rows = [
        _row(row["method"], [_summary_cell(row, column, best.get(column)) for column in shown])
        for _, row in summary.iterrows()
    ]
    return _html.table(["method", *(escape(_summary.COLUMNS[column]) for column in shown)], rows)


def _summary_cell(row: pd.Series, column: str, best: str | None) -> str:
    if column == "folds":
        return f"{row['folds']} of {row['folds'] + row['folds_failed']}" if row["folds_failed"] else f"{row['folds']}"
    if column == "vs_ridge":
        verdict = row["verdict"]
        return f'{number(row[column], sign="+")} <span class="{verdict}">{verdict}</span>' if verdict else ""
    printed = number(row[column], digits=0 if column == "constant" else 3)
    return f"<b>{printed}</b>" if printed == best and row["method"] != _summary.CEILING else printed


def _best(summary: pd.DataFrame, column: str) -> str | None:
    """The best number as it is printed, so that what looks equal is marked alike."""
    values = _summary.comparable(summary)[column].dropna()
    if not len(values):
        return None
    if column in _ONE_IS_BEST:
        return number(values.loc[(values - 1).abs().idxmin()])
    return number(values.min() if column in _LEAST_IS_BEST else values.max())


def _failed(failures: pd.DataFrame) -> str:
    if not len(failures):
        return ""
    items = "".join(
        f"<li>{escape(str(row.method))}, with {escape(str(row.fold))} held out: {escape(str(row.error))}</li>\n"
        for row in failures.itertuples()
    )
    return f'<div class="warn"><p>These folds failed, and are in no mean:</p>\n<ul>\n{items}</ul></div>'


def _fold_table(part: Compared) -> str:
    pcc = _summary.by_fold(part.table, "pcc")
    limit = _summary.by_fold(part.table, "ceiling").mean()
    rows = [
        _row(name, [number(value) for value in (limit if name == _summary.CEILING else pcc.loc[name])])
        for name in part.summary["method"]
    ]
    return _html.table(["held out", *(escape(str(fold)) for fold in pcc.columns)], rows)


def _paper_style(parts: Iterable[Compared]) -> str:
    tables = []
    for part in parts:
        honest = part.summary.set_index("method")["pcc"].drop(_summary.CEILING)
        known = set(part.table["metric"])  # slides are pooled only where a fold holds out several
        means = {
            metric: _summary.by_fold(part.table, metric).mean(axis=1) for metric in _PAPER_NAMES if metric in known
        }
        rows = [
            _row(name, [number(pcc), *(number(of_metric[name]) for of_metric in means.values())])
            for name, pcc in honest.items()
        ]
        head = [f"{escape(metric)}<br>{_html.small(_PAPER_NAMES[metric])}" for metric in means]
        tables.append(f"<h3>{escape(part.name)}</h3>\n{_html.table(['method', 'PCC', *head], rows)}")
    return f"""<h2>For comparison with papers only</h2>
<p>These numbers flatter, and nothing here was chosen by them. The first two look at the held-out truth to choose the genes
that are scored: the best 50 of many scattered values are well above their mean even where a prediction holds nothing, as the
row of shuffled images shows. The third, where a fold holds out several slides, pools them, so that telling slides apart counts as predicting a pattern within them.
Beside them is the PCC of the tables above.</p>
{"".join(tables)}"""


def _provenance(parts: Sequence[Compared], command: str) -> str:
    versions, seeds = (
        dict.fromkeys(str(value) for part in parts for value in part.table[column].dropna())
        for column in ("version", "seed")
    )
    known = {
        "versions": "; ".join([*versions, f"Python {platform.python_version()}"]),
        "written": datetime.now(UTC).date().isoformat(),
        "seed": ", ".join(seeds),
        **{part.name: ", ".join(f"{name} {value}" for name, value in part.settings.items()) for part in parts},
    }
    return f"""<h2>How it was made</h2>
<pre>{escape(command)}</pre>
{_html.facts(known)}
<h3>Seconds a fit took, mean over folds</h3>
{_seconds_table(parts)}"""


def _seconds_table(parts: Sequence[Compared]) -> str:
    means = [part.table.groupby(["method", "fold"])["seconds"].first().groupby("method").mean() for part in parts]
    methods = dict.fromkeys(str(name) for part in parts for name in part.table["method"])
    rows = [_row(name, [number(of_set.get(name), digits=1) for of_set in means]) for name in methods]
    return _html.table(["method", *(escape(part.name) for part in parts)], rows)
