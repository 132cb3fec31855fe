"""``reliability``: whether a model knew how sure it was. Compares expected with reached scores, and intervals with truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError
from st_predict.pl._figure import check_picture, finish, new_axes
from st_predict.pl._tables import check_columns, choose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_COVERED = "covered"
_NAMES, _NUMBERS = ("method", "section", "gene"), ("pcc", "expected_pcc")
_PANEL_IN = 4.0
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")  # Okabe and Ito's
_NAMED = 6
_ALLOWED = 0.05  # how far off a share is still as it should be


@checked
def reliability(
    table: pd.DataFrame,
    *,
    method: str = "nh2st",
    axes: Axes | Sequence[Axes] | NDArray[Any] | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> NDArray[Any]:
    """Show whether a model knew how sure it was.

    The left panel has a dot for each gene and held-out section. It shows the PCC that the model expected of the gene,
    from inner folds of its training sections, and the PCC that it reached; both are means over seeds. The right panel
    has a line for each held-out section. It shows the share of spots that intervals were to cover and the share that
    they did cover, over all genes. The band is 5 % to both sides.

    Parameters
    ----------
    table
        ``.genes`` of the result of :func:`st_predict.tl.cross_validate`.
    method
        The method to show.
    axes
        Two axes to draw on; ``None``: a new figure.
    show
        Whether to call ``matplotlib.pyplot.show``.
    save
        File to write the figure to.

    Returns
    -------
    Axes ``(2,)``.

    Raises
    ------
    InputError
        If this is no such table; the method is not in it, or expected nothing of its genes; or the axes or the file do
        not fit.

    Examples
    --------
    >>> methods = {"nh2st": {"max_epochs": 2, "members": 1}}
    >>> table = stp.tl.cross_validate(sections, methods=methods, genes=20, n_jobs=1)
    >>> axes = stp.pl.reliability(table.genes, method="nh2st")
    >>> axes[0].get_title()
    'Genes: rank correlation ...'
    """
    made_by = "st_predict.tl.cross_validate, its .genes"
    _check_expected(table, method)
    table = check_columns(table, names=_NAMES, numbers=[*_NUMBERS, *_covered(table)], made_by=made_by)
    check_picture(axes, (1, 2), save)
    known = table["method"].astype(str)
    rows = table[known == choose(method, known, where="method")].dropna(subset=["pcc", "expected_pcc"])
    if rows.empty:
        others = known[table["expected_pcc"].notna()].unique().tolist()
        raise _expected_nothing(method, others, where="method")
    panels = new_axes(axes, (1, 2), (2 * _PANEL_IN + 1.0, _PANEL_IN + 0.4)).ravel()
    of_seeds = rows.groupby(["section", "gene"], sort=False, observed=True)
    rows = of_seeds.mean(numeric_only=True).reset_index()
    sections = {str(name): part for name, part in rows.groupby("section", sort=False, observed=True)}
    _draw_genes(panels[0], sections)
    _draw_intervals(panels[1], sections)
    return finish(panels, show=show, save=save)


def _check_expected(table: pd.DataFrame, method: str) -> None:
    """Refuse a table in which no method expected anything, as of a comparison that had nothing to learn it from."""
    made = {*_NAMES, "pcc"} <= {*map(str, table.columns)} and len(table) > 0
    if made and "expected_pcc" not in table and not _covered(table):
        choose(method, table["method"].astype(str), where="method")
        raise _expected_nothing(method, [], where="table")


def _expected_nothing(method: str, others: Sequence[str], *, where: str) -> InputError:
    """Make the error for a method that expected nothing; ``others`` did."""
    return InputError(
        f"{method} expected nothing of its genes: nothing was held out where it was trained",
        where=where,
        expected="a method that inner folds stop, thus none in closed form such as ridge or mean, and two or more training "
        "sections in a fold (of two sections, each fold trains on one)",
        remedy=f"choose another method: {', '.join(others)}"
        if others
        else "run cross_validate with three sections or more and a method that is trained by gradient, such as nh2st",
    )


def _covered(table: pd.DataFrame) -> list[str]:
    """Columns that tell how many spots lie within the intervals of a level."""
    names = [str(column) for column in table.columns]
    return [name for name in names if name.startswith(_COVERED) and name.removeprefix(_COVERED).isdigit()]


def _color(number: int, n_sections: int) -> str:
    """A color a section while they can be told apart; beyond, one for all."""
    return _COLORS[number] if n_sections <= len(_COLORS) else _COLORS[0]


def _draw_genes(ax: Axes, sections: dict[str, pd.DataFrame]) -> None:
    """What was expected of every gene and what came true."""
    from scipy.stats import spearmanr

    low = min(0.0, *(part[["expected_pcc", "pcc"]].min().min() for part in sections.values())) - 0.03
    high = max(part[["expected_pcc", "pcc"]].max().max() for part in sections.values()) + 0.03
    ax.plot([low, high], [low, high], color="0.25", linewidth=1, zorder=1)
    ranks = []
    for number, (name, part) in enumerate(sections.items()):
        ranks.append(float(spearmanr(part["expected_pcc"], part["pcc"]).statistic) if len(part) > 2 else float("nan"))
        ax.scatter(
            part["expected_pcc"], part["pcc"], s=9, linewidth=0, alpha=0.6, color=_color(number, len(sections)),
            label=f"{name}: {ranks[-1]:.2f}",
        )  # fmt: skip
    ax.set(
        xlim=(low, high), ylim=(low, high), aspect="equal", xlabel="PCC expected", ylabel="PCC on the held-out section"
    )
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(f"Genes: rank correlation {np.nanmean(ranks):.2f}", fontsize="medium")
    if len(sections) <= _NAMED:
        ax.legend(title="rank correlation", frameon=False, fontsize="small", title_fontsize="small", loc="lower right",
                  markerscale=1.6, handletextpad=0.2)  # fmt: skip


def _draw_intervals(ax: Axes, sections: dict[str, pd.DataFrame]) -> None:
    """Shares that intervals were to cover and did."""
    columns = _covered(next(iter(sections.values())))
    wanted = np.array([int(column.removeprefix(_COVERED)) / 100 for column in columns])
    ax.plot([0, 1], [0, 1], color="0.25", linewidth=1, zorder=1)
    ax.fill_between([0, 1], [-_ALLOWED, 1 - _ALLOWED], [_ALLOWED, 1 + _ALLOWED], color="0.92", linewidth=0, zorder=0)
    shares = np.array([[part[column].mean() for column in columns] for part in sections.values()])
    for number, (name, row) in enumerate(zip(sections, shares, strict=True)):
        ax.plot(wanted, row, marker="o", markersize=4, linewidth=1, color=_color(number, len(sections)), label=name)
    low = min(0.4, np.min(shares[~np.isnan(shares)], initial=1.0) - 0.03)
    ax.set(xlim=(low, 1.0), ylim=(low, 1.0), aspect="equal", xticks=wanted, xticklabels=[f"{w:.0%}" for w in wanted],
           yticks=wanted, yticklabels=[f"{w:.0%}" for w in wanted],
           xlabel="spots that intervals were to cover", ylabel="spots within them")  # fmt: skip
    ax.tick_params(axis="x", labelrotation=45)
    ax.spines[["top", "right"]].set_visible(False)
    means = dict(zip(columns, shares.mean(axis=0), strict=True))
    told = f": {means['covered90']:.0%} within those for 90%" if "covered90" in means else ""
    ax.set_title(f"Intervals{told}", fontsize="medium")
