"""``gene_scores``: the PCC of every gene against the ceiling estimated from its counts, to see which can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError
from st_predict.pl._figure import check_picture, finish, method_look, new_axes
from st_predict.pl._tables import check_columns, choose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from numpy.typing import NDArray

_COLUMNS = ("pcc", "ceiling", "mean_count", "constant")
_MAKERS = "st_predict.tl.evaluate, or the .genes of that of st_predict.tl.cross_validate"
_PANEL_IN = 3.5
_IN_A_ROW = 4
# Of names, as shares of the axes: how tall one is, how wide a letter, how far they stay from the diagonal.
_NAME, _LETTER, _OFF = 0.055, 0.036, 0.07
_ABOVE_TEXT = 0.4  # what is written along the diagonal ends lower


@checked
def gene_scores(
    table: pd.DataFrame,
    *,
    method: str | Sequence[str] | None = None,
    n_labels: int = 8,
    axes: Axes | Sequence[Axes] | NDArray[Any] | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> NDArray[Any]:
    """Show which genes can be trusted: the PCC of each against its noise ceiling.

    Each dot is a gene, colored by its mean count. The diagonal is an estimate of what a predictor of the true rates
    would reach; on few spots a gene may lie above it. A gene near the diagonal is predicted as well as its noise
    allows. A gene far below it varies in ways that the model does not see. A gene at the left has too few counts to
    tell.

    The genes that reach most and least of their ceiling are named. They are chosen from the half with the highest
    ceilings; in the other half chance would decide.

    Parameters
    ----------
    table
        The result of :func:`st_predict.tl.evaluate`, or ``.genes`` of the result of ``st_predict.tl.cross_validate``:
        columns ``method``, ``gene``, ``pcc``, ``ceiling``, ``mean_count`` and ``constant``, averaged over sections.
    method
        One or several methods of a comparison, each in a panel of its own; ``None``: all.
    n_labels
        How many genes to name in a panel, half of them the best, half the worst.
    axes
        Axes to draw on, one for each method; ``None``: a new figure.
    show
        Whether to call ``matplotlib.pyplot.show``.
    save
        File to write the figure to.

    Returns
    -------
    Axes ``(n_methods,)``.

    Raises
    ------
    InputError
        If this is no such table, it has no such method, or the axes or the file do not fit.

    Examples
    --------
    >>> stp.tl.predict(sections["S1"], model)
    >>> axes = stp.pl.gene_scores(stp.tl.evaluate(sections["S1"]), n_labels=4, save="gene_scores.png")
    """
    parts = _by_method(check_columns(table, numbers=_COLUMNS, made_by=_MAKERS), method)
    if not any(map(len, parts.values())):
        raise InputError(
            "no gene of the table has both a PCC and a ceiling",
            where="table",
            expected="scores of one or more genes",
            remedy="evaluate a prediction on more spots, or with lower min_counts",
        )
    check_picture(axes, (1, len(parts)), save)
    n_cols = min(len(parts), _IN_A_ROW) if axes is None else len(parts)
    n_rows = -(-len(parts) // n_cols)
    names_wide = _LETTER * max((len(str(gene)) for part in parts.values() for gene in part.index), default=0)
    width = _PANEL_IN * (1 + names_wide) * n_cols + 1.0
    panels = new_axes(axes, (n_rows, n_cols), (width, (_PANEL_IN + 0.7) * n_rows)).ravel()
    for unused in panels[len(parts) :]:
        unused.remove()
    panels = panels[: len(parts)]
    norm = _count_scale(np.concatenate([part["mean_count"] for part in parts.values()]))
    low = min(0.0, *(part["pcc"].min() for part in parts.values())) - 0.03
    for ax, (name, part) in zip(panels, parts.items(), strict=True):
        dots = _draw_genes(ax, part, norm, low)
        _name_genes(ax, part, n_labels)
        ax.set_title(_title(name, part), fontsize="medium")
    _draw_bar(panels[n_cols - 1], dots, 1.1 + names_wide)
    return finish(panels, show=show, save=save)


def _by_method(table: pd.DataFrame, method: str | Sequence[str] | None) -> dict[str, pd.DataFrame]:
    """A title and the scores by gene of each panel."""
    if "method" not in table:
        if method is not None:
            raise InputError(
                f"method is {method!r}, but the table is of one prediction and names no method",
                where="method",
                expected="a column 'method', as in the .genes of the table of st_predict.tl.cross_validate",
                remedy="leave method out",
            )
        named = table.set_index("gene") if "gene" in table else table  # a column once it was written and read back
        return {str(table.attrs.get("section", "")): named.dropna(subset=["pcc", "ceiling"])}
    table = check_columns(table, names=["gene", "method"], made_by=_MAKERS)
    known = table["method"].astype(str)
    wanted = list(known.unique() if method is None else [method] if isinstance(method, str) else method)
    if not wanted:
        raise InputError(
            "no method was asked for",
            where="method",
            expected=f"one or more of {', '.join(known.unique())}",
            remedy="name some, or leave method out",
        )
    parts = {name: table[known == choose(name, known, where="method")] for name in wanted}
    return {method_look(name).label: _by_gene(part) for name, part in parts.items()}


def _by_gene(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over sections; constant where it is so in any."""
    genes = rows.groupby("gene", sort=False, observed=True)
    means = genes[["pcc", "ceiling", "mean_count"]].mean().assign(constant=genes["constant"].max())
    return means.dropna(subset=["pcc", "ceiling"])


def _count_scale(counts: NDArray[np.float64]) -> LogNorm:
    from matplotlib.colors import LogNorm

    positive = counts[counts > 0]
    low, high = (positive.min(), positive.max()) if len(positive) else (1.0, 1.0)
    return LogNorm(low, high) if high > 1.01 * low else LogNorm(low / 2, high * 2)


def _draw_genes(ax: Axes, genes: pd.DataFrame, norm: LogNorm, low: float) -> Any:
    """A dot for each gene, those of few counts under the others, and the diagonal."""
    genes = genes.sort_values("mean_count", kind="stable")
    ax.plot([0, 1], [0, 1], color="0.25", linewidth=1, zorder=1)
    ax.text(0.02, 0.035, "PCC = ceiling", rotation=45, rotation_mode="anchor", color="0.25", fontsize="small")
    ax.axhline(0, color="0.88", linewidth=1, zorder=0)
    counts = np.clip(genes["mean_count"], norm.vmin, norm.vmax)
    dots = ax.scatter(genes["ceiling"], genes["pcc"], c=counts, norm=norm, cmap="viridis", s=14, linewidth=0)
    ax.set(xlim=(-0.02, 1.0), ylim=(low, 1.0), xlabel="noise ceiling", ylabel="PCC", aspect="equal")
    ax.spines[["top", "right"]].set_visible(False)
    return dots


def _draw_bar(ax: Axes, dots: Any, left: float) -> None:
    """One color bar for all panels, beyond the names beside this one."""
    from matplotlib.ticker import LogLocator

    place = ax.inset_axes((left, 0.0, 0.045, 1.0))
    ticks = LogLocator(subs=(1, 2, 5))
    bar = place.figure.colorbar(dots, cax=place, label="mean count per spot", ticks=ticks, format="%g")
    bar.minorticks_off()
    bar.outline.set_visible(False)


def _name_genes(ax: Axes, genes: pd.DataFrame, n_labels: int) -> None:
    """The best along the diagonal, the worst right of the axes, where no dots are."""
    sure = genes[(genes["ceiling"] >= genes["ceiling"].median()) & (genes["ceiling"] > 0)]
    sure = sure[~sure["constant"].astype(bool)]
    sure = sure.iloc[np.argsort(-(sure["pcc"] / sure["ceiling"]).to_numpy(), kind="stable")]
    n_best = min(-(-n_labels // 2), len(sure))
    best, worst = sure.iloc[:n_best], sure.iloc[max(n_best, len(sure) - n_labels // 2) :]
    low, high = ax.get_ylim()
    gap = _NAME * (high - low)
    widest = _LETTER * max((len(str(gene)) for gene in best.index), default=0)
    heights = _spread(best["pcc"], gap, within=(max(_ABOVE_TEXT, widest + _OFF), high - gap / 2))
    for (gene, row), height in zip(best.iterrows(), heights, strict=True):
        _name_gene(ax, str(gene), row, (height - _OFF, height), "right")
    heights = _spread(worst["pcc"], gap, within=(low + gap, high - gap / 2))
    for (gene, row), height in zip(worst.iterrows(), heights, strict=True):
        _name_gene(ax, str(gene), row, (1.03, height), "left")


def _name_gene(ax: Axes, gene: str, row: pd.Series, place: tuple[float, float], side: str) -> None:
    ax.annotate(
        gene, (row["ceiling"], row["pcc"]), place, ha=side, va="center", fontsize="small", fontstyle="italic",
        annotation_clip=False,
        arrowprops={
            "arrowstyle": "-", "color": "0.5", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2,
            "relpos": (float(side == "right"), 0.5),
        },
    )  # fmt: skip


def _spread(heights: pd.Series, gap: float, *, within: tuple[float, float]) -> NDArray[np.float64]:
    """Heights in their order, moved so that there is a gap between any two and, if there is room, all lie within."""
    rising = np.argsort(heights.to_numpy(), kind="stable")  # of the true ones, so that lines to dots do not cross
    wanted = np.clip(heights.to_numpy(np.float64), *within)
    steps = gap * np.arange(len(wanted))
    placed = np.empty_like(wanted)
    placed[rising] = np.maximum.accumulate(wanted[rising] - steps) + steps
    middle = (placed - wanted).mean() if len(wanted) else 0.0
    down = min(middle, placed.min(initial=np.inf) - within[0])
    return placed - max(down, placed.max(initial=-np.inf) - within[1])


def _title(name: str, genes: pd.DataFrame) -> str:
    constant = int(genes["constant"].astype(bool).sum())
    of_what = f"{len(genes)} genes" + (f" ({constant} constant)" if constant else "")
    scores = f"PCC {genes['pcc'].mean():.3f}, ceiling {genes['ceiling'].mean():.3f}"
    return f"{name}: {of_what}\n{scores}" if name else f"{of_what}\n{scores}"
