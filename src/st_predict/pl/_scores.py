"""``scores``: methods side by side, a dot for each held-out fold, with the controls and the noise ceiling."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.arguments.checked import checked
from st_predict.pl._figure import check_picture, finish, method_look, new_axes
from st_predict.pl._tables import check_columns, choose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_COLUMNS = ("method", "fold", "gene_set", "metric")
_NAMES = {
    "pcc": "PCC",
    "spearman": "Spearman correlation",
    "mse": "MSE",
    "mae": "MAE",
    "r2": "R²",
    "relative_variance": "variance, predicted over measured",
    "constant": "constant genes",
    "ceiling": "noise ceiling",
    "pcc_of_ceiling": "PCC as a fraction of the noise ceiling",
    "gene_correlation": "agreement of gene-gene correlation",
    "morans_i": "agreement of Moran's I",
}
_IDEAL = {"mse": 0.0, "mae": 0.0, "constant": 0.0, "relative_variance": 1.0}  # of all others more is better
_RANKINGS = {"heg": "most expressed", "hvg": "most variable"}
_REFERENCE = "ridge"
_PANEL_IN, _ROW_IN, _LETTER_IN = 3.4, 0.33, 0.085
_SMALL_ROWS = 0.38  # from the middle of a number to that of the small line under it
_SEED_ROWS, _SPECK = 0.3, 4.0  # specks of seeds, below the dot of their fold
_TITLE_LETTERS = 36


@checked
def scores(
    table: pd.DataFrame,
    *,
    metric: str = "pcc",
    gene_set: str | None = None,
    axes: Axes | Sequence[Axes] | NDArray[Any] | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> NDArray[Any]:
    """Compare methods on what was held out of their training.

    Each method is a row, the best on top. A small dot is a fold: the mean over its sections, then its seeds. If there
    are several seeds, a speck for each lies below the dot. A bold mark and a number give the mean over folds. The
    controls, training mean and shuffled images, are gray. The dashed line is tuned ridge on frozen features, which a
    deep method has to beat. For the PCC another line is the noise ceiling, an estimate of what the true rates would
    reach.

    If folds of a method failed, its mark is thin, and the row says how many folds the mean is over. Such methods come
    after those that have all folds.

    Parameters
    ----------
    table
        The result of ``st_predict.tl.cross_validate``: columns ``method``, ``fold``, ``gene_set``, ``metric`` and
        ``value``. The title shows ``split`` and ``seed`` if these columns are there. Tables of several data sets can be
        joined with a column ``dataset``; each data set is then a panel, with the methods in the same order.
    metric
        A value of the column ``metric``.
    gene_set
        A value of the column ``gene_set``; ``None``: the first.
    axes
        Axes to draw on, one for each data set; ``None``: a new figure.
    show
        Whether to call ``matplotlib.pyplot.show``.
    save
        File to write the figure to.

    Returns
    -------
    Axes ``(n_datasets,)``.

    Raises
    ------
    InputError
        If this is no such table, it has no such metric or gene set, or the axes or the file do not fit.

    Examples
    --------
    >>> table = stp.tl.cross_validate(sections, methods=["ridge"], genes=20, n_jobs=1)
    >>> (ax,) = stp.pl.scores(table, metric="pcc")
    >>> [label.get_text() for label in ax.get_yticklabels()][0]
    'ridge'
    """
    failed = getattr(table, "failures", None)
    others = [column for column in ("dataset", "seed") if column in table]
    table = check_columns(table, names=[*_COLUMNS, *others], numbers=["value"], made_by="st_predict.tl.cross_validate")
    gene_sets = table["gene_set"].astype(str)
    gene_set = choose(gene_sets.iloc[0] if gene_set is None else gene_set, gene_sets, where="gene_set")
    rows = table[gene_sets == gene_set]
    choose(metric, rows["metric"], where="metric")
    parts = dict(list(rows.groupby("dataset", sort=False, observed=True))) if "dataset" in rows else {"": rows}
    check_picture(axes, (1, len(parts)), save)
    of_seeds = {name: _by_seed(part, rows[:0] if failed is None else failed, metric) for name, part in parts.items()}
    values = {name: _by_fold(part) for name, part in of_seeds.items()}
    order = _best_first([_comparable(part) for part in values.values()], metric)
    labels = [method_look(method).label for method in order]
    size_in = _PANEL_IN * len(parts) + _LETTER_IN * max(map(len, labels)), _ROW_IN * len(order) + 1.3
    panels = new_axes(axes, (1, len(parts)), size_in)[0]
    for number, (ax, (name, part)) in enumerate(zip(panels, parts.items(), strict=True)):
        _draw_methods(ax, values[name], of_seeds[name], order)
        _draw_limit(ax, part, metric)
        ax.set(xlabel=_axis_label(metric, gene_set), yticks=range(len(order)), yticklabels=[] if number else labels)
        ax.set_title(
            "\n".join(filter(None, [str(name), _protocol(part, values[name].shape[1])])), pad=18, fontsize="medium"
        )
    return finish(panels, show=show, save=save)


def _by_seed(rows: pd.DataFrame, failed: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Methods and folds x seeds, NaN where one failed or has no value; those that failed everywhere are methods too."""
    import pandas as pd

    methods, folds = (list(dict.fromkeys([*rows[column], *failed[column]])) for column in ("method", "fold"))
    rows = rows[rows["metric"] == metric]
    keys = ["method", "fold", rows["seed"] if "seed" in rows else pd.Series(0, rows.index, name="seed")]
    found = rows.groupby(keys, observed=True)["value"].mean().unstack("seed")
    found = found.reindex(pd.MultiIndex.from_product([methods, folds], names=["method", "fold"]))
    torn = list(failed[["method", "fold"]].itertuples(index=False, name=None))
    found.loc[found.index.isin(torn)] = np.nan
    return found


def _by_fold(of_seeds: pd.DataFrame) -> pd.DataFrame:
    """Methods x folds, in the order of both."""
    means = of_seeds.mean(axis=1)
    methods, folds = (list(dict.fromkeys(means.index.get_level_values(level))) for level in ("method", "fold"))
    return means.unstack("fold").reindex(index=methods, columns=folds)


def _comparable(values: pd.DataFrame) -> pd.Series:
    """Means of the methods that have as many folds as any; a mean over fewer is another number."""
    known = values.count(axis=1)
    return values.mean(axis=1).where(known == known.max())


def _best_first(means: Sequence[pd.Series], metric: str) -> list[str]:
    """Methods by their mean over data sets; those without a value come last."""
    import pandas as pd

    both = pd.concat(means, axis=1)
    worse = -both if metric not in _IDEAL else (both - _IDEAL[metric]).abs()
    return list(worse.mean(axis=1).sort_values(kind="stable").index)


def _draw_methods(ax: Axes, values: pd.DataFrame, of_seeds: pd.DataFrame, order: Sequence[str]) -> None:
    """A row a method, empty if it was not tried: its folds, their seeds, their mean, and the line that ridge draws."""
    for place, method in enumerate(order):
        if method not in values.index:
            continue
        row = values.loc[method]
        look, known = method_look(method), row.dropna()
        whole = len(known) == len(row)
        if len(known):
            mean = known.mean()
            ax.hlines(place, known.min(), known.max(), color="0.88", linewidth=1.5, zorder=1)
            ax.plot(known, [place] * len(known), look.marker, color=look.color, alpha=0.5, markersize=5, mew=0)
            seeds = of_seeds.loc[method].to_numpy()
            if (~np.isnan(seeds)).sum(axis=1).max() > 1:
                ax.scatter(seeds, np.full_like(seeds, place + _SEED_ROWS), s=_SPECK, color=look.color, linewidths=0)
            ax.plot(mean, place, "|", color=look.color, markersize=14, mew=3.5 if whole else 1.2, label=look.label)
            ax.text(1.03, place, f"{mean:.3f}", transform=ax.get_yaxis_transform(), va="center_baseline")
            if method == _REFERENCE:
                ax.axvline(mean, color=look.color, linestyle="--", linewidth=1, zorder=1)
        if not whole:
            ax.text(
                1.03, place + (_SMALL_ROWS if len(known) else 0), f"{len(known)} of {len(row)} folds", color="0.4",
                transform=ax.get_yaxis_transform(), va="center", fontsize="x-small",
            )  # fmt: skip
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)  # beside the numbers of another panel they would be read as minus signs
    ax.spines[["top", "right"]].set_visible(False)


def _draw_limit(ax: Axes, rows: pd.DataFrame, metric: str) -> None:
    """Draw what a predictor of the truth would reach: the noise ceiling of the PCC, or all of the variance."""
    place, label = _IDEAL.get(metric), "as measured"
    if metric == "pcc":
        ceiling = _by_fold(_by_seed(rows, rows[:0], "ceiling")).mean().mean()  # of a section it is the same for all
        place, label = ceiling, f"noise ceiling {ceiling:.3f}"
    if not place or place != place:  # errors have their ideal at the end of the axis; a table may lack the ceiling
        return
    ax.axvline(place, color="0.25", linewidth=1, zorder=1)
    ax.text(place, 1.01, label, transform=ax.get_xaxis_transform(), ha="right", va="bottom", fontsize="small")


def _axis_label(metric: str, gene_set: str) -> str:
    named = re.fullmatch(r"(heg|hvg)(\d+)", gene_set)
    genes = f"{named[2]} {_RANKINGS[named[1]]} genes" if named else gene_set
    better = {None: "", 0.0: " (lower is better)"}.get(_IDEAL.get(metric), " (1 is best)")
    return f"{_NAMES.get(metric, metric)}{better}\n{genes}"


def _protocol(rows: pd.DataFrame, n_folds: int) -> str:
    """How many folds and seeds, and how folds were made."""
    split = " / ".join(rows["split"].dropna().astype(str).unique()) if "split" in rows else ""
    n_seeds = rows["seed"].nunique() if "seed" in rows else 1
    counted = [f"{n_folds} fold{'s' * (n_folds > 1)}", f"{n_seeds} seeds" if n_seeds > 1 else "", split]
    return textwrap.fill(", ".join(filter(None, counted)), _TITLE_LETTERS)
