"""What the tables and the page of a benchmark say, against tables whose every value is known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from st_predict import _comparison
from st_predict._report import Compared, build_page
from st_predict._summary import CEILING, CONTROLS, best_method, counted, summarize
from st_predict.tl._scores_table import ScoreTable, assemble


def table_of(pcc: dict[str, dict[str, list[float]]], failed: tuple[tuple[str, str], ...] = ()) -> ScoreTable:
    """As ``cross_validate`` makes it: method -> fold -> PCC of each section; other scores follow from the PCC."""
    results = []
    for method, folds in pcc.items():
        for fold, values in folds.items():
            rows = []
            for number, value in enumerate(values):
                ceiling = 0.8 if number else 0.6
                scores = {
                    "pcc": value, "spearman": value / 2, "mse": 1 - value, "relative_variance": 3 * value,
                    "ceiling": ceiling, "pcc_of_ceiling": value / ceiling, "gene_correlation": value, "morans_i": value,
                    "n_genes": 60.0, "pcc_h_testselected": value + 0.3,
                }  # fmt: skip
                where = {"section": f"{fold}.{number}", "n_spots": 100, "n_spots_left_out": 5}
                rows += [{**where, "gene_set": "heg60", "metric": m, "value": v} for m, v in scores.items()]
                rows.append({**where, "gene_set": "hvg50", "metric": "pcc", "value": value + 0.1})
                rows.append({**where, "gene_set": "hvg50", "metric": "ceiling", "value": 0.9})
            fit = {"epochs": 3, "seconds": 1.5, "seed": 0, "version": "st-predict 0", "scores": rows}
            results.append({"label": method, "fold": fold, "genes": {"gene": ["g"]}, **fit})
    failures = [{"method": method, "fold": fold, "error": "ValueError: it broke"} for method, fold in failed]
    return assemble(results, failures, split="leave one subject out")


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
    assert ridge["pcc_sd"] == pytest.approx(0.1)  # of the population
    assert ridge["pcc_hvg50"] == pytest.approx(0.4)
    assert ridge["pcc_of_ceiling"] == pytest.approx((0.2 / 0.6 + (0.3 / 0.6 + 0.5 / 0.8) / 2) / 2)
    assert ridge[["spearman", "mse", "relative_variance"]].tolist() == pytest.approx([0.15, 0.7, 0.9])
    assert np.isnan(ridge["vs_ridge"]) and ridge["verdict"] == ""
    assert rows.loc["deep", "vs_ridge"] == pytest.approx(0.25) and rows.loc["deep", "verdict"] == "better"
    assert rows.loc["mean", "verdict"] == "worse"
    # One fold of two: compared with ridge on that fold alone, though its mean is above that of ridge.
    assert rows.loc["torn", ["folds", "folds_failed"]].tolist() == [1, 1]
    assert rows.loc["torn", "vs_ridge"] == pytest.approx(0) and rows.loc["torn", "verdict"] == "same"
    assert np.isnan(rows.loc["lost", "pcc"]) and rows.loc["lost", "folds"] == 0
    limit = rows.loc[CEILING]
    assert limit[["pcc", "pcc_sd", "pcc_hvg50", "pcc_of_ceiling"]].tolist() == pytest.approx([0.65, 0.05, 0.9, 1])
    assert best_method(summarize(KNOWN)) == "deep"
    assert counted(KNOWN) == {
        "sections": 3, "spots": 300, "left_out": 15, "folds": 2, "genes": "60", "split": "leave one subject out"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("difference", "n_folds", "verdict"),
    [(0.015, 3, "same"), (0.015, 4, "better"), (-0.015, 4, "worse"), (0.009, 4, "same"), (-0.03, 2, "worse")],
)
def test_differences_within_noise_are_none(difference: float, n_folds: int, verdict: str) -> None:
    folds = [f"P{i}" for i in range(n_folds)]
    table = table_of({"ridge": {f: [0.3] for f in folds}, "deep": {f: [0.3 + difference] for f in folds}})
    assert summarize(table).set_index("method").loc["deep", "verdict"] == verdict


def test_a_mean_that_one_fold_carries_is_no_difference() -> None:
    folds = {f"P{i}": [0.3 + apart] for i, apart in enumerate((0.15, -0.03, -0.03, -0.03))}
    table = table_of({"ridge": {f: [0.3] for f in folds}, "deep": folds})
    row = summarize(table).set_index("method").loc["deep"]
    assert row["vs_ridge"] == pytest.approx(0.015) and row["verdict"] == "same"


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
    assert rows["deep"][:3] == ["<b>0.550</b>", "0.050", '+0.250 <span class="better">better</span>']
    assert rows["tuned ridge"][3] == "0.400" and rows["torn"][3] == "0.500"
    assert rows["deep"][6] == "<b>0.450</b>"  # of errors the least is best
    assert [name for name, row in rows.items() if row[7].startswith("<b>")] == ["tuned ridge"]  # .9 is nearest to 1
    assert rows["torn"][-1] == "1 of 2" and rows["lost"][:2] == ["–", "–"]
    assert rows[CEILING][0] == "0.650"
    assert page.count("ValueError: it broke") == 3
    assert "torn, with P1 held out" in page
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
    assert "&lt;b&gt;x&lt;/b&gt; &amp; &quot;y&quot;" in page and "&lt;script&gt;" in page


def test_page_when_everything_failed() -> None:
    page = page_of(table_of({}, failed=(("ridge", "P1"), ("mean", "P1"))))
    assert page.count("it broke") == 2
