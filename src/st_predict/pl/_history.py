"""``history``: how training went, and how the method did on sections while they were held out."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError
from st_predict.pl._figure import check_picture, finish, method_look, new_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from st_predict.core.model.model import Model

# Okabe and Ito's colors, told apart by every kind of color vision.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_BY_EPOCH = {"loss": "training loss", "held_out_pcc": "held-out PCC"}
_FINAL = "final"
_LONG_LABEL = 24


@checked
def history(
    model: Model,
    *,
    axes: Axes | Sequence[Axes] | NDArray[Any] | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> NDArray[Any]:
    """Draw how training went.

    There are up to three panels, one for each kind of record that the model has:

    - the training loss of every fit by epoch; the final fit is bold;
    - the PCC on the sections that each inner fold held out, by epoch; the best epoch is marked;
    - the PCC of each section while it was held out, for this method, the training mean and ridge.

    A dashed line marks the number of epochs that was chosen.

    Parameters
    ----------
    model
        A trained model.
    axes
        Axes to draw on, one for each panel; ``None``: a new figure.
    show
        Whether to call ``matplotlib.pyplot.show``.
    save
        File to write the figure to.

    Returns
    -------
    Axes ``(n_panels,)``.

    Raises
    ------
    InputError
        If the model has no records, or the axes or the file do not fit.

    Examples
    --------
    >>> model = stp.tl.train(sections, genes=20, max_epochs=2, members=1)
    >>> axes = stp.pl.history(model)
    >>> [ax.get_ylabel() for ax in axes[:2]]
    ['training loss', 'held-out PCC']
    """
    rows, held_out = model.history, model.held_out
    by_epoch = [column for column in _BY_EPOCH if column in rows]
    chosen = model.epochs if "held_out_pcc" in rows else None  # without inner folds the user set it
    draw: list[Callable[[Axes], None]] = [partial(_draw_epochs, rows=rows, column=c, chosen=chosen) for c in by_epoch]
    if len(held_out):
        draw.append(partial(_draw_sections, pcc=held_out["pcc"]))
    if not draw:
        raise InputError(
            f"this model has no history: {model.method!r} is not trained by epochs, and no section was held out",
            where="model",
            expected="a model trained by gradient, or on two or more sections with inner folds",
            remedy="score it on a section it has not seen: st_predict.tl.evaluate",
        )
    check_picture(axes, (1, len(draw)), save)
    tall = max(3.2, 1.4 + 0.28 * len(held_out))
    panels = new_axes(axes, (1, len(draw)), (4.0 * len(draw), tall))[0]
    for ax, panel in zip(panels, draw, strict=True):
        panel(ax)
        ax.spines[["top", "right"]].set_visible(False)
    return finish(panels, show=show, save=save)


def _draw_epochs(ax: Axes, *, rows: pd.DataFrame, column: str, chosen: int | None) -> None:
    """A line a fit, the best epoch of each where the column is a score, and the number of epochs that was chosen."""
    from matplotlib.ticker import MaxNLocator

    colors = itertools.cycle(_COLORS)
    for fit, one in rows.dropna(subset=column).groupby("fit", sort=False):
        final = fit == _FINAL
        color = "black" if final else next(colors)
        label = str(fit) if final else f"{fit}{_without(str(one['held_out'].iloc[0]))}"
        ax.plot(one["epoch"], one[column], color=color, linewidth=2.5 if final else 1.0, label=label)
        if column == "held_out_pcc":
            best = one.loc[one[column].idxmax()]
            ax.plot(best["epoch"], best[column], "o", color=color, markersize=5)
    if chosen is not None:
        ax.axvline(
            chosen, color="0.4", linestyle="--", linewidth=1, label=f"chosen: {chosen} epoch{'s' * (chosen > 1)}"
        )
    ax.set(xlabel="epoch", ylabel=_BY_EPOCH[column])
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.legend(frameon=False, fontsize="small")


def _without(held_out: str) -> str:
    """Names of what a fold held out, while they are few."""
    names = held_out.split(", ")
    return f" (without {held_out})" if len(held_out) <= _LONG_LABEL else f" (without {len(names)} sections)"


def _draw_sections(ax: Axes, *, pcc: pd.DataFrame) -> None:
    """A row a section, a dot a method; the last row is their average."""
    names = [str(name) for name in pcc.index]
    values = pcc.to_numpy(np.float64)
    if len(names) > 1:
        values, names = np.vstack([values, values.mean(axis=0)]), [*names, "average"]
        ax.axhline(len(names) - 1.5, color="0.8", linewidth=0.8)
    places = np.arange(len(names))
    ax.hlines(places, values.min(axis=1), values.max(axis=1), color="0.88", linewidth=1.5, zorder=1)
    for method, column in zip(pcc.columns, values.T, strict=True):
        look = method_look(method)
        ax.plot(column, places, look.marker, color=look.color, label=look.label, zorder=2)
    ax.set(xlabel="held-out PCC", yticks=places, yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    ax.legend(
        frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(pcc.columns),
        handletextpad=0.2, columnspacing=1.2,
    )  # fmt: skip
