"""What the tables and the page of a benchmark say, against tables whose every value is known."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from st_predict.cli.page import Compared, build_page
from st_predict.cli.summary import CEILING, CONTROLS, best_method, counted, in_common, shown_columns, summarize
from st_predict.tl import _comparison
from st_predict.tl._scores_table import ScoreTable, assemble


def table_of(
    pcc: dict[str, dict[str, list[float]]],
    failed: tuple[tuple[str, str], ...] = (),
    had: dict[str, dict[str, object]] | None = None,
    apart: float = 0.0,
    split: str = "leave one subject out",
) -> ScoreTable:
    """As ``cross_validate`` makes it: method -> fold -> PCC of each section; other scores follow from the PCC.

    Networks (``deep`` and others that are no control) have two seeds, so much above and below.
    """
    results = []
    for method, folds in pcc.items():
        networks = 0 if method in CONTROLS else 5
        for seed, (fold, values) in [(s, f) for f in folds.items() for s in range(1 + (networks > 0))]:
            off = (2 * seed - 1) * apart if networks else 0.0
            fit = {
                "networks": networks, "inputs": "tiny, no context", "epochs": 3 + seed, "seconds": 1.5, "seed": seed,
                "stopping": "epochs by subject" if networks else "penalty by subject" if method == "ridge" else "",
                "version": "st-predict 0", **((had or {}).get(method, {})),
            }  # fmt: skip
            rows = [
                row for number, value in enumerate(values) for row in _rows(f"{fold}.{number}", number, value + off)
            ]
            results.append({"label": method, "fold": fold, "genes": {"gene": ["g"]}, **fit, "scores": rows})
    failures = [{"method": method, "fold": fold, "seed": 0, "error": "ValueError: it broke"} for method, fold in failed]
    return assemble(results, failures, split=split)


def _rows(section: str, number: int, value: float) -> list[dict[str, object]]:
    ceiling = 0.8 if number else 0.6
    scores = {
        "pcc": value, "spearman": value / 2, "mse": 1 - value, "relative_variance": 3 * value,
        "ceiling": ceiling, "pcc_of_ceiling": value / ceiling, "gene_correlation": value, "morans_i": value,
        "n_genes": 60.0, "pcc_h_testselected": value + 0.3, "slide_shift": 0.5 + number,
    }  # fmt: skip
    where = {"section": section, "n_spots": 100, "n_spots_left_out": 5}
    rows = [{**where, "gene_set": "heg60", "metric": m, "value": v} for m, v in scores.items()]
    rows.append({**where, "gene_set": "hvg50", "metric": "pcc", "value": value + 0.1})
    return [*rows, {**where, "gene_set": "hvg50", "metric": "ceiling", "value": 0.9}]


KNOWN = table_of(
    {
        "mean": {"P1": [0.0], "P2": [0.0, 0.0]},
        "ridge": {"P1": [0.2], "P2": [0.3, 0.5]},
        "deep": {"P1": [0.5], "P2": [0.5, 0.7]},
        "torn": {"P2": [0.3, 0.5]},
    },
    failed=(("torn", "P1"), ("lost", "P1"), ("lost", "P2")),
)


def page_of(table: ScoreTable, name: str = "set", **pictures: Path) -> str:
    return build_page([Compared(name, table, summarize(table), {}, pictures)], command="st-predict benchmark")


def test_summary_against_the_table() -> None:
    rows = summarize(KNOWN).set_index("method")
    assert list(rows.index) == ["deep", "ridge", "mean", "torn", "lost", CEILING], "fewer folds come after"
    ridge = rows.loc["ridge"]  # folds .2 and .4: a fold of two sections weighs no more than one of one
    assert ridge["pcc"] == pytest.approx(0.3)
    assert ridge["pcc_sd"] == pytest.approx(0.1 * np.sqrt(2))  # of the sample
    assert ridge["pcc_hvg50"] == pytest.approx(0.4)
    assert ridge["pcc_of_ceiling"] == pytest.approx((0.2 / 0.6 + (0.3 / 0.6 + 0.5 / 0.8) / 2) / 2)
    assert ridge[["spearman", "mse", "relative_variance"]].tolist() == pytest.approx([0.15, 0.7, 0.9])
    assert np.isnan(ridge["vs_ridge"]) and ridge["verdict"] == ""
    assert rows.loc["deep", "vs_ridge"] == pytest.approx(0.25) and rows.loc["deep", "verdict"] == "unclear"
    # One fold of two: compared with ridge on that fold alone, though its mean is above that of ridge.
    assert rows.loc["torn", ["folds", "folds_failed"]].tolist() == [1, 1]
    assert rows.loc["torn", "vs_ridge"] == pytest.approx(0) and rows.loc["torn", "verdict"] == "unclear"
    assert np.isnan(rows.loc["lost", "pcc"]) and rows.loc["lost", "folds"] == 0
    limit = rows.loc[CEILING]
    assert limit[["pcc", "pcc_sd", "pcc_hvg50", "pcc_of_ceiling"]].tolist() == pytest.approx(
        [0.65, 0.05 * np.sqrt(2), 0.9, 1]
    )
    assert best_method(summarize(KNOWN)) == "deep"
    assert counted(KNOWN) == {
        "sections": 3, "spots": 300, "left_out": 15, "folds": 2, "seeds": 2, "genes": "60",
        "split": "leave one subject out",
    }  # fmt: skip


def test_seeds_are_averaged_before_folds_are_compared() -> None:
    """Seeds lie .02 on either side of the mean, and of a fold that failed with one seed the other is in no mean either."""
    folds = {f"P{i}": [0.4 + 0.005 * i] for i in range(4)}
    table = table_of({"ridge": {f: [0.3] for f in folds}, "deep": folds}, apart=0.02)
    row = summarize(table).set_index("method").loc["deep"]
    assert row["pcc"] == pytest.approx(0.4075) and row["pcc_sd"] == pytest.approx(0.005 * np.std(range(4), ddof=1))
    assert row["vs_ridge"] == pytest.approx(0.1075) and row["seeds"] == 2
    # Folds by themselves would give .0103: each fold is the mean of two seeds that differ by .04.
    assert row["vs_ridge_margin"] == pytest.approx(3.182446 * np.sqrt(0.0008 / 2 / 4)) and row["verdict"] == "better"
    assert counted(table)["seeds"] == 2 and row["epochs"] == 3.5 and row["seconds"] == 1.5
    table.failures.loc[0] = ["deep", "P0", 1, "ValueError: it broke"]
    row = summarize(table).set_index("method").loc["deep"]
    assert row[["folds", "folds_failed"]].tolist() == [3, 1] and row["pcc"] == pytest.approx(0.41)


def test_one_seed_is_too_little_to_tell() -> None:
    folds = [f"P{i}" for i in range(4)]
    table = table_of(
        {"ridge": {f: [0.3] for f in folds}, "deep": {f: [0.6] for f in folds}, "mean": {f: [0.0] for f in folds}}
    )
    rows = summarize(ScoreTable.__finalize__(ScoreTable(table[table["seed"] == 0]), table)).set_index("method")
    assert rows.loc["deep", "verdict"] == "unclear" and rows.loc["mean", "verdict"] == "worse"


def test_a_mean_that_one_fold_carries_is_no_difference() -> None:
    folds = {f"P{i}": [0.3 + apart] for i, apart in enumerate((0.15, -0.03, -0.03, -0.03))}
    table = table_of({"ridge": {f: [0.3] for f in folds}, "deep": folds})
    row = summarize(table).set_index("method").loc["deep"]
    assert row["vs_ridge"] == pytest.approx(0.015) and row["verdict"] == "unclear"


def test_what_methods_had_alike_is_said_once_and_else_in_a_column() -> None:
    folds = {"P1": [0.3], "P2": [0.4]}
    methods = dict.fromkeys(("mean", "ridge", "deep", "wide"), folds)
    alike = summarize(table_of(methods))
    assert in_common(alike) == {
        "inputs": "tiny, no context",
        "stopping": "epochs by subject; in closed form: penalty by subject",
    }
    assert not {"inputs", "stopping"} & set(shown_columns(alike))
    assert alike.set_index("method")["networks"].to_dict() == {
        "mean": "0", "ridge": "0", "deep": "5", "wide": "5", CEILING: ""
    }  # fmt: skip
    own = {"mean": {"inputs": "tiny, means over 8"}}  # in closed form as ridge is, and with other inputs
    assert "inputs" not in in_common(summarize(table_of(methods, had=own)))
    had = {"wide": {"inputs": "tiny, means over 8", "networks": 1}, "deep": {"stopping": "25 epochs, nothing held out"}}
    table = table_of(methods, had=had)
    apart = summarize(table)
    assert in_common(apart) == {} and {"inputs", "stopping"} <= set(shown_columns(apart))
    page = page_of(table)
    assert "tiny, means over 8" in cells(page)["wide"] and "25 epochs, nothing held out" in cells(page)["deep"]
    assert page.count("not the same for all: see the column") == 2
    assert "not the same for all" not in page_of(table_of(methods)) and "tiny, no context" in page_of(table_of(methods))


def test_the_spread_of_the_ceiling_is_that_of_the_estimate_where_it_is_known() -> None:
    table = table_of({"ridge": {"P1": [0.3], "P2": [0.4, 0.4]}})
    assert summarize(table).set_index("method").loc[CEILING, "pcc_sd"] == pytest.approx(0.1 / np.sqrt(2))
    known = table[table["metric"] == "ceiling"].assign(metric="ceiling_sd", value=0.02)
    both = ScoreTable(pd.concat([table, known], ignore_index=True)).__finalize__(table)
    assert summarize(both).set_index("method").loc[CEILING, "pcc_sd"] == pytest.approx(0.02)


def test_whoever_failed_in_a_hard_fold_is_not_the_best() -> None:
    full = {"P1": [0.1], "P2": [0.5]}
    table = table_of({"ridge": full, "deep": full, "torn": {"P2": [0.48]}}, failed=(("torn", "P1"),))
    summary = summarize(table)
    assert best_method(summary) == "deep"
    assert cells(page_of(table))["torn"][0] == "0.480" and cells(page_of(table))["deep"][0] == "<b>0.300</b>"


def test_controls_are_those_of_the_comparison() -> None:
    assert tuple(CONTROLS) == _comparison.CONTROLS


def cells(page: str) -> dict[str, list[str]]:
    """Rows of the first table of the data set, by method."""
    table = page.split("<h2>")[1].split("</table>")[0]
    rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', table)
    return {name: re.findall("<td>(.*?)</td>", rest) for name, rest in rows}


def test_page_marks_the_best_and_names_what_failed() -> None:
    page = page_of(KNOWN)
    rows = cells(page)
    assert rows["deep"][:3] == ["<b>0.550</b>", "0.071", '+0.250 ± 0.635 <span class="unclear">unclear</span>']
    assert rows["tuned ridge"][3] == "0.400" and rows["torn"][3] == "0.500"
    assert rows["deep"][6] == "<b>0.450</b>"  # of errors the least is best
    assert [name for name, row in rows.items() if row[7].startswith("<b>")] == ["tuned ridge"]  # .9 is nearest to 1
    assert rows["torn"][-1] == "1 of 2" and rows["lost"][:2] == ["–", "–"]
    assert rows[CEILING][0] == "0.650"
    assert page.count("ValueError: it broke") == 3
    assert "torn, with P1 held out (seed 0)" in page
    assert rows["deep"][-4:] == ["5", "4", "1.5", "2"] and rows["tuned ridge"][-4:] == ["0", "3", "1.5", "2"]
    assert page.split("slide shift</th>")[1].startswith("<td>0.50</td><td>1.50</td>"), "the most of a fold's sections"
    assert "leave one subject out" in page and "15 left out" in page
    papers = page.split("For comparison with papers only")[1]
    assert (
        "0.850" in papers and "pcc_h_testselected" in papers and "pcc_h_testselected" not in page.split("For comp")[0]
    )


def test_page_shows_names_as_text() -> None:
    odd = '<b>x</b> & "y"'
    table = table_of({"ridge": {odd: [0.2]}, "<i>deep": {odd: [0.3]}}, failed=(("<u>m", odd),))
    page = build_page([Compared(odd, table, summarize(table), {"encoder": "<s>"}, {})], command="run <script>")
    assert not re.search("<(b>x|i>|u>|s>|script)", page)
    assert odd in unescape(page) and "&lt;b&gt;x&lt;/b&gt; &amp; " in page and "&lt;script&gt;" in page


def test_page_when_everything_failed() -> None:
    page = page_of(table_of({}, failed=(("ridge", "P1"), ("mean", "P1"))))
    assert page.count("it broke") == 2
