"""The pictures of a benchmark: those of one data set, and all data sets side by side."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import st_predict as stp
from st_predict.cli.summary import REFERENCE
from st_predict.core.files import replacing_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd


def draw_compared(table: pd.DataFrame, best: str | None, folder: Path) -> dict[str, Path]:
    """Pictures that the page shows, by what they show."""
    drawn: dict[str, Path] = {}
    if not len(table):
        return drawn
    caption = "Every method on the sections held out of its training. A dot is a fold (the mean over its seeds); the bar and the number are the mean over folds."
    drawn[caption] = _draw(folder / "scores.png", partial(stp.pl.scores, table))
    scored = set(table.genes["method"])
    shown = [name for name in (best, REFERENCE) if name is not None and name in scored]
    if shown:
        caption = f"Which genes can be trusted: the PCC of every gene against its noise ceiling, by {' and '.join(shown)}. A gene that only some folds have in their panel is a dot as well."
        drawn[caption] = _draw(folder / "gene_scores.png", partial(stp.pl.gene_scores, table.genes, method=shown))
    of_best = table.genes[table.genes["method"] == best]
    if best is not None and "expected_pcc" in of_best and of_best["expected_pcc"].notna().any():
        caption = f"Whether {best} knew how sure it was: the PCC that it expected of every gene and the PCC that it reached, and how many spots lie within its intervals."
        drawn[caption] = _draw(folder / "reliability.png", partial(stp.pl.reliability, table.genes, method=best))
    return drawn


def draw_together(table: pd.DataFrame, path: Path) -> None:
    """All data sets in one picture, methods in one order."""
    if len(table):
        _draw(path, partial(stp.pl.scores, table))


def _draw(path: Path, plot: Callable[..., Any]) -> Path:
    """Write one picture, whole or not at all, and close it."""
    from matplotlib import pyplot as plt

    with replacing_file(path) as file:
        axes = plot(save=file, show=False)
    plt.close(axes.flat[0].figure)
    return path
