"""Which genes can be trusted: dots, names and colors against the table they were drawn from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm

import st_predict as stp

# By share of the ceiling: best, good, fair, poor; the faint ones reach all of a ceiling that is next to nothing.
GENES = {
    "best": (0.81, 0.9), "good": (0.64, 0.8), "fair": (0.35, 0.7), "poor": (0.06, 0.6), "flat": (0.0, 0.95),
    "faint1": (0.1, 0.1), "faint2": (0.12, 0.1), "faint3": (0.0, 0.0), "faint4": (-0.2, 0.2), "faint5": (0.2, 0.2),
}  # fmt: skip


def one_prediction() -> pd.DataFrame:
    table = pd.DataFrame.from_dict(GENES, orient="index", columns=["pcc", "ceiling"]).rename_axis("gene")
    table = table.assign(mean_count=100 * table["ceiling"], constant=table.index == "flat")
    table.attrs["section"] = "C3"
    return table


def by_section(methods: tuple[str, ...] = ("mean", "ridge", "deep")) -> pd.DataFrame:
    """Two sections, this much apart, of methods each a tenth worse than the one after it."""
    rows = []
    for worse, method in enumerate(reversed(methods)):
        for section, off in (("A", -0.02), ("B", 0.02)):
            one = one_prediction().reset_index().assign(method=method, fold=section, section=section)
            rows.append(one.assign(pcc=one["pcc"] - 0.1 * worse + off, constant=one["constant"] & (section == "B")))
    return pd.concat(rows, ignore_index=True)


def dots(ax: plt.Axes) -> dict[tuple[float, float], float]:
    """Mean count by place."""
    (found,) = ax.collections
    return {(float(x), float(y)): float(c) for (x, y), c in zip(found.get_offsets(), found.get_array(), strict=True)}


def named(ax: plt.Axes) -> dict[str, tuple[float, float]]:
    """What the lines beside names lead to."""
    return {text.get_text(): tuple(map(float, text.xy)) for text in ax.texts if hasattr(text, "xy")}


def test_a_dot_a_gene_colored_by_its_count() -> None:
    (ax,) = stp.pl.gene_scores(one_prediction())
    drawn = dots(ax)
    assert len(drawn) == len(GENES)
    for pcc, ceiling in GENES.values():
        assert drawn[ceiling, pcc] == pytest.approx(max(100 * ceiling, 10)), "a count of 0 has the lowest color"
    norm = ax.collections[0].norm
    assert isinstance(norm, LogNorm) and (norm.vmin, norm.vmax) == pytest.approx((10, 95))
    (bar,) = ax.child_axes
    assert bar.get_ylabel() == "mean count per spot"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("noise ceiling", "PCC")
    assert any(list(line.get_xdata()) == [0, 1] == list(line.get_ydata()) for line in ax.get_lines()), "the diagonal"
    values = np.array(list(GENES.values()))
    pcc, ceiling = values.mean(axis=0)
    assert ax.get_title() == f"C3: 10 genes (1 constant)\nPCC {pcc:.3f}, ceiling {ceiling:.3f}"
    low, high = ax.get_ylim()
    assert low < values[:, 0].min() and high >= 1


def test_best_and_worst_are_named_where_noise_does_not_choose() -> None:
    (ax,) = stp.pl.gene_scores(one_prediction(), n_labels=2)
    assert named(ax) == {"best": (0.9, 0.81), "poor": (0.6, 0.06)}
    (ax,) = stp.pl.gene_scores(one_prediction(), n_labels=3)
    assert set(named(ax)) == {"best", "good", "poor"}
    (ax,) = stp.pl.gene_scores(one_prediction(), n_labels=50)
    assert set(named(ax)) == {"best", "good", "fair", "poor"}, "each once"
    (ax,) = stp.pl.gene_scores(one_prediction(), n_labels=0)
    assert named(ax) == {}


def test_names_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    ceiling = rng.uniform(0.6, 0.62, 200)
    table = pd.DataFrame({"pcc": ceiling * rng.choice([0.1, 0.9], 200), "ceiling": ceiling})
    table = table.assign(mean_count=1.0, constant=False).set_index(pd.Index([f"GENE{i}" for i in range(200)]))
    (ax,) = stp.pl.gene_scores(table, n_labels=12)
    ax.figure.draw_without_rendering()
    # Of the text alone: an annotation counts its line as its own.
    boxes = [plt.Text.get_window_extent(text) for text in ax.texts if text.get_fontstyle() == "italic"]
    assert len(boxes) == 12
    assert not any(a.shrunk(1, 0.8).overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("pcc", [0.98, 0.5, 0.0])
def test_names_stay_within_and_in_the_order_of_their_dots(pcc: float) -> None:
    values = pcc + np.arange(8) / 1000
    table = pd.DataFrame({"pcc": values, "ceiling": 0.99, "mean_count": 1.0, "constant": False})
    (ax,) = stp.pl.gene_scores(table.set_index(pd.Index(list("abcdefgh"))), n_labels=8)
    places = {text.get_text(): text.xyann[1] for text in ax.texts if hasattr(text, "xyann")}
    for names in ("abcd", "efgh"):
        heights = [places[name] for name in names]
        assert (np.diff(heights) > 0.05).all()
        assert ax.get_ylim()[0] < heights[0] and heights[-1] < ax.get_ylim()[1]


def test_a_panel_a_method_averaged_over_sections() -> None:
    axes = stp.pl.gene_scores(by_section())
    assert axes.shape == (3,)
    assert [ax.get_title().split(":")[0] for ax in axes] == ["deep", "ridge", "training mean"]
    for worse, ax in enumerate(axes):
        expected = {(ceiling, round(pcc - 0.1 * worse, 6)) for pcc, ceiling in GENES.values()}
        assert {(x, round(y, 6)) for x, y in dots(ax)} == expected
        assert "(1 constant)" in ax.get_title(), "in one of two sections"
    assert len({ax.get_ylim() for ax in axes}) == 1
    assert [len(ax.child_axes) for ax in axes] == [0, 0, 1], "one color bar for all"


def test_methods_that_were_asked_for() -> None:
    axes = stp.pl.gene_scores(by_section(), method="ridge")
    assert [ax.get_title().split(":")[0] for ax in axes] == ["ridge"]
    axes = stp.pl.gene_scores(by_section(), method=["ridge", "deep"])
    assert [ax.get_title().split(":")[0] for ax in axes] == ["ridge", "deep"]


def test_many_methods_take_several_rows() -> None:
    axes = stp.pl.gene_scores(by_section(tuple("abcdefg")))
    assert axes.shape == (7,)
    assert len(axes[0].figure.axes) == 7, "no empty axes"
    tops = {round(float(ax.get_position().y1), 2) for ax in axes}
    assert len(tops) == 2


def test_method_that_failed_has_an_empty_panel() -> None:
    table = by_section(("ridge", "deep"))
    table.loc[table["method"] == "deep", "pcc"] = np.nan
    first, second = stp.pl.gene_scores(table)
    assert first.get_title().startswith("deep: 0 genes")
    assert dots(first) == {} and len(dots(second)) == 10


def test_table_that_was_written_and_read_back(tmp_path: Path) -> None:
    one_prediction().to_csv(tmp_path / "genes.csv")
    (ax,) = stp.pl.gene_scores(pd.read_csv(tmp_path / "genes.csv"), n_labels=2)
    assert set(named(ax)) == {"best", "poor"}


def test_table_of_a_real_prediction(made: SimpleNamespace) -> None:
    scores = stp.tl.evaluate(made.section().sdata)
    (ax,) = stp.pl.gene_scores(scores)
    assert set(dots(ax)) == set(zip(scores["ceiling"], scores["pcc"], strict=True))
    assert ax.get_title().startswith("P: 3 genes")


def test_axes_and_save(tmp_path: Path) -> None:
    figure, given = plt.subplots(1, 3)
    axes = stp.pl.gene_scores(by_section(), axes=given, save=tmp_path / "genes.pdf")
    assert (axes == given).all() and plt.get_fignums() == [figure.number]
    assert (tmp_path / "genes.pdf").stat().st_size > 0


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        (one_prediction()["pcc"], {}, "^table is of type Series"),
        (one_prediction()[:0], {}, "the table has no row"),
        (one_prediction().assign(pcc=np.nan), {}, "^no gene of the table has both a PCC and a ceiling\n"),
        (
            one_prediction().assign(mean_count=np.inf),
            {},
            "^a value of column 'mean_count' is inf, and no finite number\n",
        ),
        (one_prediction().assign(pcc="x"), {}, r"^a value of column 'pcc' is 'x' \(text\), and no finite number\n"),
        (one_prediction().assign(pcc=1j), {}, r"^a value of column 'pcc' is 1j \(complex\), and no finite number\n"),
        (
            one_prediction().assign(pcc=pd.Timestamp("2026-01-01")),
            {},
            "^a value of column 'pcc' is of type Timestamp, and no finite number\n",
        ),
        (by_section().assign(gene=None), {}, "^a value of column 'gene' is None, and no name\n"),
        (pd.concat([by_section()] * 2, axis=1), {}, "^the table has column 'pcc' 2 times\n"),
        (by_section().drop(columns="gene"), {}, "the table has no column 'gene'"),
        (one_prediction(), {"method": "ridge"}, "the table is of one prediction and names no method"),
        (by_section(), {"method": "rigde"}, r"the table has no method 'rigde'\n(.*\n)*.*did you mean ridge"),
        (by_section(), {"method": []}, r"^method is \[\] \(list\), which is empty"),
        (by_section(), {"n_labels": -1}, "n_labels is -1"),
        (by_section(), {"axes": [None]}, r"^axes\[0\] is None"),
        (by_section(), {"save": "nowhere/genes.png"}, "there is no folder 'nowhere'"),
    ],
)
def test_what_cannot_be_drawn(table: object, options: dict, said: str) -> None:
    with pytest.raises(stp.InputError, match=said):
        stp.pl.gene_scores(table, **options)
    assert plt.get_fignums() == []
