"""Methods side by side: dots, order and lines against the table they were drawn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import st_predict as stp

# Method -> PCC of the folds P1 and P2; a fold has two sections, this much below and above it.
PCC = {"mean": [0.0, 0.0], "ridge": [0.2, 0.4], "deep": [0.3, 0.6], "shuffled": [0.02, -0.04], "weak": [0.1, 0.2]}
APART = 0.05


def tidy(pcc: dict[str, list[float]] = PCC, split: str = "leave one subject out", folds: str = "P") -> pd.DataFrame:
    rows = []
    for method, values in pcc.items():
        for number, value in enumerate(values, start=1):
            for section, off in (("a", -APART), ("b", APART)):
                where = {"method": method, "fold": f"{folds}{number}", "section": f"{folds}{number}{section}"}
                scores = {"pcc": value + off, "mse": 1 - value, "relative_variance": 2 * value, "ceiling": 0.5 + off}
                rows += [{**where, "gene_set": "heg250", "metric": m, "value": v} for m, v in scores.items()]
                rows.append({**where, "gene_set": "hvg50", "metric": "pcc", "value": value / 2})
    return pd.DataFrame(rows).assign(seed=0, seconds=1.0, version="0.1.0", split=split)


def names(ax: plt.Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def folds(ax: plt.Axes) -> dict[int, list[float]]:
    """Values of the small dots of each row."""
    found = [line for line in ax.get_lines() if line.get_alpha() is not None]
    return {int(line.get_ydata()[0]): list(line.get_xdata()) for line in found}


def means(ax: plt.Axes) -> dict[str, tuple[float, float]]:
    """Place and row of every bold mark."""
    return {
        line.get_label(): (line.get_xdata()[0], line.get_ydata()[0])
        for line in ax.get_lines()
        if line.get_marker() == "|"
    }


def verticals(ax: plt.Axes) -> dict[str, float]:
    """Style and place of the lines that cross all rows."""
    return {
        str(line.get_linestyle()): line.get_xdata()[0] for line in ax.get_lines() if list(line.get_ydata()) == [0, 1]
    }


def texts(ax: plt.Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_a_dot_a_fold_and_a_bold_mark_for_their_mean() -> None:
    (ax,) = stp.pl.scores(tidy())
    assert names(ax) == ["deep", "ridge", "weak", "training mean", "shuffled images"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is on top"
    drawn = folds(ax)
    for row, method in enumerate(["deep", "ridge", "weak", "mean", "shuffled"]):
        np.testing.assert_allclose(drawn[row], PCC[method], atol=1e-12)
    np.testing.assert_allclose(means(ax)["deep"], (0.45, 0))
    np.testing.assert_allclose(means(ax)["shuffled images"], (-0.01, 4))
    assert [text for text in texts(ax) if "ceiling" not in text] == ["0.450", "0.300", "0.150", "0.000", "-0.010"]
    assert ax.get_xlabel() == "PCC\n250 most expressed genes"
    assert ax.get_title() == "2 folds, leave one subject out"


def test_ridge_and_the_ceiling_are_lines() -> None:
    (ax,) = stp.pl.scores(tidy())
    assert verticals(ax) == {"--": pytest.approx(0.3), "-": pytest.approx(0.5)}
    assert "noise ceiling 0.500" in texts(ax)
    rows = tidy()
    (ax,) = stp.pl.scores(rows[(rows["method"] != "ridge") & (rows["metric"] != "ceiling")])
    assert verticals(ax) == {}


def test_controls_are_gray_and_ridge_is_like_no_other() -> None:
    (ax,) = stp.pl.scores(tidy())
    color = {line.get_label(): line.get_color() for line in ax.get_lines() if line.get_marker() == "|"}
    assert color["training mean"] == color["shuffled images"] == "#999999"
    assert color["deep"] == color["weak"]
    assert len(set(color.values())) == 3


def test_of_errors_the_lowest_is_best() -> None:
    (ax,) = stp.pl.scores(tidy(), metric="mse")
    assert names(ax)[0] == "deep"
    np.testing.assert_allclose(means(ax)["deep"], (0.55, 0))
    assert ax.get_xlabel().startswith("MSE (lower is better)")
    assert verticals(ax) == {"--": pytest.approx(0.7)}, "only the PCC has a ceiling"


def test_of_relative_variance_that_nearest_to_one_is_best() -> None:
    (ax,) = stp.pl.scores(
        tidy({"shy": [0.2, 0.2], "right": [0.45, 0.5], "wild": [0.9, 0.9]}), metric="relative_variance"
    )
    assert names(ax) == ["right", "shy", "wild"]
    assert verticals(ax) == {"-": 1.0}
    assert texts(ax)[-1] == "as measured"


def test_another_gene_set() -> None:
    (ax,) = stp.pl.scores(tidy(), gene_set="hvg50")
    np.testing.assert_allclose(means(ax)["deep"], (0.225, 0))
    assert ax.get_xlabel() == "PCC\n50 most variable genes"
    (ax,) = stp.pl.scores(tidy().assign(gene_set="my genes"))
    assert ax.get_xlabel() == "PCC\nmy genes"


def test_missing_folds_are_counted() -> None:
    rows = tidy({**PCC, "lost": [0.5, 0.5]})
    rows = rows[~((rows["method"] == "deep") & (rows["fold"] == "P1"))]
    rows.loc[rows["method"] == "lost", "value"] = np.nan
    (ax,) = stp.pl.scores(rows)
    assert names(ax) == ["ridge", "weak", "training mean", "shuffled images", "deep", "lost"], "fewer folds come after"
    np.testing.assert_allclose(means(ax)["deep"], (0.6, 4))
    assert "lost" not in means(ax) and 5 not in folds(ax)
    places = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert 4 < places["1 of 2 folds"] < 4.5 and places["0 of 2 folds"] == 5
    width = {line.get_label(): line.get_markeredgewidth() for line in ax.get_lines()}
    assert width["deep"] < width["ridge"], "a mean of fewer folds is not as sure"


def test_methods_and_folds_that_failed_everywhere_are_told() -> None:
    from st_predict.tl._scores_table import ScoreTable

    table = ScoreTable(tidy())
    table.failures = pd.DataFrame({"method": ["lost", "lost", "deep"], "fold": ["P1", "P2", "P3"], "error": "memory"})
    (ax,) = stp.pl.scores(table)
    assert names(ax) == ["deep", "ridge", "weak", "training mean", "shuffled images", "lost"]
    assert ax.get_title() == "3 folds, leave one subject out"
    assert texts(ax).count("2 of 3 folds") == 5 and texts(ax).count("0 of 3 folds") == 1


def test_table_without_any_value() -> None:
    (ax,) = stp.pl.scores(tidy().assign(value=np.nan))
    assert texts(ax) == ["0 of 2 folds"] * 5


def test_a_panel_a_data_set_in_one_order() -> None:
    other = {"mean": [0.0], "ridge": [0.5], "deep": [0.1], "weak": [0.2]}
    both = [
        tidy().assign(dataset="her2st"),
        tidy(other, split="leave one section out, within one subject", folds="S").assign(dataset="mob"),
    ]
    axes = stp.pl.scores(pd.concat(both))
    assert axes.shape == (2,)
    # Over both sets: ridge (.3 + .5) / 2, deep (.45 + .1) / 2, weak (.15 + .2) / 2.
    assert names(axes[0]) == ["ridge", "deep", "weak", "training mean", "shuffled images"]
    assert not any(names(axes[1])), "the order is that of the first panel"
    np.testing.assert_allclose(means(axes[0])["ridge"], (0.3, 0))
    np.testing.assert_allclose(means(axes[1])["deep"], (0.1, 1))
    assert "0 of 1 folds" not in texts(axes[0])
    assert not [text for text in texts(axes[1]) if "folds" in text], "shuffled images were not tried there"
    assert [ax.get_title() for ax in axes] == [
        "her2st\n2 folds, leave one subject out",
        "mob\n1 fold, leave one section out,\nwithin one subject",
    ]


def test_text_columns_may_be_categories_and_seeds_are_averaged() -> None:
    again = tidy().assign(seed=1)
    again.loc[again["method"] == "deep", "value"] += 0.2
    rows = pd.concat([tidy(), again]).astype(dict.fromkeys(["method", "fold", "gene_set", "metric"], "category"))
    (ax,) = stp.pl.scores(rows)
    np.testing.assert_allclose(folds(ax)[0], [0.4, 0.7])
    assert names(ax)[0] == "deep" and ax.get_title() == "2 folds, 2 seeds, leave one subject\nout"


def specks(ax: plt.Axes) -> dict[int, list[float]]:
    """What seeds gave, by row."""
    return {
        int(points.get_offsets()[0, 1]): sorted(points.get_offsets()[:, 0].compressed()) for points in ax.collections
        if len(points.get_offsets()) > 1
    }  # fmt: skip


def test_every_seed_is_a_speck_below_its_fold() -> None:
    """Where a method has several; sections are averaged before seeds, so a seed of one section weighs as much."""
    again = tidy({"deep": PCC["deep"]}).assign(seed=1)
    again = again[again["section"] != "P1a"]
    (ax,) = stp.pl.scores(pd.concat([tidy(), again]))
    assert specks(ax) == {0: pytest.approx([0.3, 0.35, 0.6, 0.6])}
    np.testing.assert_allclose(folds(ax)[0], [0.325, 0.6])


def test_a_fold_that_failed_with_one_seed_is_in_no_mean() -> None:
    from st_predict.tl._scores_table import ScoreTable

    table = ScoreTable(pd.concat([tidy(), tidy({"deep": [0.9, 0.9]}).assign(seed=1)]))
    table.failures = pd.DataFrame({"method": ["deep"], "fold": ["P1"], "seed": [2], "error": "memory"})
    (ax,) = stp.pl.scores(table)
    np.testing.assert_allclose(means(ax)["deep"][0], 0.75)
    assert texts(ax).count("1 of 2 folds") == 1


def test_numbers_of_any_type_are_drawn_alike() -> None:
    (ax,) = stp.pl.scores(tidy())
    (other,) = stp.pl.scores(tidy().assign(value=tidy()["value"].astype(object), fold=1))
    assert means(other).keys() == means(ax).keys()
    np.testing.assert_allclose([*means(other).values()], [*means(ax).values()])


def test_axes_show_and_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    figure, given = plt.subplots()
    (ax,) = stp.pl.scores(tidy(), axes=given, show=True, save=tmp_path / "scores.png")
    assert ax is given and shown == [True]
    assert plt.get_fignums() == [figure.number]
    assert (tmp_path / "scores.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (None, {}, "^table is None"),
        (lambda t: t.drop(columns=["fold"]), {}, "no column 'fold', only method, section, gene_set"),
        (lambda t: t.drop(columns=["fold"]), {}, "expected: the table of st_predict.tl.cross_validate"),
        (lambda t: t[:0], {}, "the table has no row"),
        (lambda t: t.assign(method=np.nan), {}, "^a value of column 'method' is nan, and no name\n  where:    table\n"),
        (
            lambda t: t.assign(fold=[["a"]] * len(t)),
            {},
            r"^a value of column 'fold' is \['a'\] \(list\), and no name\n",
        ),
        (lambda t: t.assign(dataset=None), {}, "^a value of column 'dataset' is None, and no name\n"),
        (lambda t: t.assign(value=np.inf), {}, "^a value of column 'value' is inf, and no finite number\n"),
        (lambda t: t.assign(value="x"), {}, r"^a value of column 'value' is 'x' \(text\), and no finite number\n"),
        (lambda t: pd.concat([t, t["value"]], axis=1), {}, "^the table has column 'value' 2 times\n"),
        (lambda t: t, {"metric": "pc"}, "the table has no metric 'pc'"),
        (lambda t: t, {"metric": "pc"}, r"did you mean pcc\?"),
        (lambda t: t, {"metric": "mse", "gene_set": "hvg50"}, "expected: one of pcc"),
        (lambda t: t, {"gene_set": "heg50"}, "expected: one of heg250, hvg50"),
        (lambda t: t, {"axes": [None, None]}, r"^axes\[0\] is None"),
        (lambda t: t, {"save": "scores.xyz"}, "'scores.xyz': .xyz is no format"),
        (lambda t: t, {"save": "scores.svgz"}, "'scores.svgz': .svgz is no format"),
        (lambda t: t, {"save": "."}, "'.': no ending is no format"),
    ],
)
def test_what_cannot_be_drawn(change: object, options: dict, said: str) -> None:
    table = change(tidy()) if callable(change) else None
    with pytest.raises(stp.InputError, match=said):
        stp.pl.scores(table, **options)
    assert plt.get_fignums() == []
