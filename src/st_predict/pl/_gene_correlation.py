"""``gene_correlation``: which genes go together over the spots, as measured and as predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.keys import Elements
from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError
from st_predict.core.gene_names import of_note
from st_predict.core.metrics import agreement, correlation_matrix
from st_predict.pl._compared import compare
from st_predict.pl._figure import check_picture, figure_of, finish, new_axes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict.pl._compared import Compared

_MOST_NAMES = 60
_LEAST = 3  # genes or spots; of fewer there is nothing to correlate
_PANEL_IN = 4.8
_CMAP = "RdBu_r"
_TICKS = (-1, -0.5, 0, 0.5, 1)


@checked
def gene_correlation(
    sdata: SpatialData,
    *,
    key: str = "predicted",
    genes: Sequence[str] | None = None,
    min_counts: float | None = None,
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    layer: str | None = None,
    axes: Axes | Sequence[Axes] | NDArray[Any] | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> NDArray[Any]:
    """Compare which genes go together over the spots of a section, measured and predicted.

    Two maps show the Pearson correlation of every two genes, measured and predicted, both in the order that clusters
    the measured one. The third panel shows the pairs of genes, predicted against measured. Its agreement is the Pearson
    correlation over these pairs; ``gene_correlation`` of ``st_predict.tl.cross_validate`` is the same over a gene set.

    Noise draws measured correlations toward 0, and no model predicts noise. So predicted correlations are usually
    stronger. This does not lower the agreement. A constant gene has a correlation of 0 with all others.

    Parameters
    ----------
    sdata
        A section with measured expression that :func:`~st_predict.tl.predict` was run on.
    key
        ``key_added`` of the prediction.
    genes
        Predicted genes; ``None``: the genes of the panel whose measured values (log1p of counts per 10,000) vary most,
        60 at most. Genes that the section lacks are left out, and the figure's title names them.
    min_counts
        Spots with fewer counts are left out; ``None``: as in training.
    image_key, shapes_key, table_key
        Names of the elements, if there are several.
    layer
        Layer with raw counts; ``None``: ``X``.
    axes
        Three axes to draw on; ``None``: a new figure.
    show
        Whether to call ``matplotlib.pyplot.show``.
    save
        File to write the figure to.

    Returns
    -------
    Axes ``(3,)``: measured, predicted, and predicted against measured.

    Raises
    ------
    InputError
        If there is no such prediction, nothing was measured, there are fewer than three spots or genes, or the axes or
        the file do not fit.

    Examples
    --------
    >>> stp.tl.predict(sections["S1"], model)
    >>> axes = stp.pl.gene_correlation(sections["S1"], genes=model.panel[:10])
    >>> [ax.get_title() for ax in axes]
    ['measured correlation', 'predicted correlation', '45 pairs, agreement 0...']
    """
    check_picture(axes, (1, 3), save)
    listed = [genes] if isinstance(genes, str) else genes
    compared = compare(
        sdata,
        None if listed is None else list(dict.fromkeys(listed)),  # a gene named twice would be a pair with itself
        key=key,
        min_counts=min_counts,
        elements=Elements(image_key, shapes_key, table_key, layer),
    )
    columns, measured, predicted = _correlations(compared, most=_MOST_NAMES if genes is None else None)
    order = _cluster(measured)
    measured, predicted = measured[order][:, order], predicted[order][:, order]
    panels = new_axes(axes, (1, 3), (3 * _PANEL_IN + 1.6, _PANEL_IN + 1.0))[0]
    if axes is None:
        left_out = [] if genes is None else [gene for i, gene in enumerate(compared.genes) if i not in columns]
        figure_of(panels).suptitle(_caption(compared, left_out), fontsize="medium", parse_math=False)
    _draw_maps(panels[:2], measured, predicted, [compared.genes[column] for column in columns[order]])
    _draw_pairs(panels[2], measured, predicted)
    return finish(panels, show=show, save=save)


def _correlations(
    compared: Compared, *, most: int | None
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Columns of the measured genes, those that vary most first, and their correlations, measured and predicted.

    Raises
    ------
    InputError
        If nothing was measured, or there are too few spots or genes.
    """
    if compared.measured is None:
        raise InputError(
            f"section {compared.section.name!r} has no measured expression",
            where="sdata",
            expected="a section with counts, and a prediction beside them",
            remedy="predict a section that was measured",
        )
    measured, predicted = (values[compared.scored] for values in (compared.measured, compared.predicted))
    known = np.flatnonzero(np.isfinite(measured).all(axis=0))
    if min(len(measured), len(known)) < _LEAST:
        lost = [gene for i, gene in enumerate(compared.genes) if i not in known]
        more = "name more genes" if most is None else "predict with a model of genes that this section has"
        if near := of_note(lost, compared.section.gene_names):
            more = f"map the names of this table to those of the training sections{near}"
        raise InputError(
            f"{len(measured)} of {compared.section.n_spots} spots have enough counts, and "
            f"{len(known)} of {len(compared.genes)} genes were measured",
            where="min_counts, genes",
            expected=f"at least {_LEAST} spots and {_LEAST} genes",
            remedy="lower min_counts" if len(measured) < _LEAST else more,
        )
    columns = known[np.argsort(-measured[:, known].std(axis=0, dtype=np.float64), kind="stable")[:most]]
    return columns, correlation_matrix(measured[:, columns]), correlation_matrix(predicted[:, columns])


def _cluster(correlation: NDArray[np.float64]) -> NDArray[np.intp]:
    """An order in which genes that go together are neighbors: average linkage of one minus their correlation."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    apart = 1 - correlation[np.triu_indices(len(correlation), 1)]
    return np.asarray(leaves_list(linkage(np.clip(apart, 0, 2), "average", optimal_ordering=True)), dtype=np.intp)


def _draw_maps(
    panels: NDArray[Any], measured: NDArray[np.float64], predicted: NDArray[np.float64], genes: list[str]
) -> None:
    """Two maps, one scale and one order; names at the left while they can be read."""
    for ax, source, values in zip(panels, ("measured", "predicted"), (measured, predicted), strict=True):
        shown = ax.imshow(values, cmap=_CMAP, vmin=-1, vmax=1, interpolation="nearest")
        n_constant = int((np.diag(values) == 0).sum())
        constant = f" ({n_constant} gene{'s' * (n_constant > 1)} constant)" if n_constant else ""
        ax.set(title=f"{source} correlation{constant}", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    if len(genes) <= _MOST_NAMES:
        size = min(9.0, 0.85 * 72 * _PANEL_IN / len(genes))
        panels[0].set_yticks(range(len(genes)), genes, fontsize=size, fontstyle="italic")
        panels[0].tick_params(length=0)
    place = panels[1].inset_axes((1.03, 0.0, 0.045, 1.0))
    place.figure.colorbar(shown, cax=place, ticks=_TICKS).outline.set_visible(False)


def _draw_pairs(ax: Axes, measured: NDArray[np.float64], predicted: NDArray[np.float64]) -> None:
    """A dot for each pair of genes, and the line on which both correlations are the same."""
    upper = np.triu_indices(len(measured), 1)
    x, y = measured[upper], predicted[upper]
    ax.plot([-1, 1], [-1, 1], color="0.25", linewidth=1, zorder=1)
    ax.axhline(0, color="0.88", linewidth=1, zorder=0)
    ax.axvline(0, color="0.88", linewidth=1, zorder=0)
    # Of many dots each is fainter, so that one sees where most lie.
    ax.scatter(x, y, s=8, color="#0072B2", alpha=max(0.05, min(0.6, 600 / len(x))), linewidth=0, rasterized=True)
    ax.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal", xticks=_TICKS, yticks=_TICKS)
    ax.set(xlabel="measured correlation", ylabel="predicted correlation")
    ax.set_title(f"{len(x):,} pairs, agreement {agreement(y, x):.2f}")
    ax.spines[["top", "right"]].set_visible(False)


def _caption(compared: Compared, left_out: list[str]) -> str:
    record = compared.prediction.provenance
    caption = f"{compared.section.name}: {record['method']} on {record['encoder']}, {compared.scored.sum():,} spots"
    if left_out:
        names = ", ".join(left_out[:5]) + (f" and {len(left_out) - 5} more" if len(left_out) > 5 else "")
        caption += f" (not measured, left out: {names})"
    return caption
