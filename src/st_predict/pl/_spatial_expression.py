"""``spatial_expression``: H&E, measured and predicted expression side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.keys import Elements
from st_predict.core.arguments.checked import checked
from st_predict.core.tiles.thumbnail import read_thumbnail
from st_predict.pl._compared import compare
from st_predict.pl._figure import (
    check_cmap,
    check_picture,
    draw_image,
    draw_scale_bar,
    figure_of,
    finish,
    new_axes,
    set_map,
)
from st_predict.pl._spots import read_spots

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict.core.tiles.thumbnail import Box
    from st_predict.pl._compared import Compared
    from st_predict.pl._spots import Spots

_UNIT = "log1p CP10k"
_ROBUST = (1, 99)  # percentiles that the colors span
_SIDE_PX = 700
_PANEL_IN = 3.0
_SHORT_NAME = 12
_LEFT_OUT = "0.7"


@checked
def spatial_expression(
    sdata: SpatialData,
    genes: str | Sequence[str],
    *,
    key: str = "predicted",
    min_counts: float | None = None,
    shared_scale: bool = True,
    cmap: str = "viridis",
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    layer: str | None = None,
    axes: Axes | Sequence[Axes] | NDArray[Any] | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
) -> NDArray[Any]:
    """Map genes over a section: H&E, measured, predicted; one row for each gene.

    Measured expression is what models are trained on: log1p of counts per 10,000 over all genes. Spots are drawn in
    their true size. Spots with too few counts are hollow in the measured panel, and count neither for the color scale
    nor for the PCC. The PCC is that of :func:`st_predict.tl.evaluate`. A gene is called unpredictable if the model
    expected no more of it than chance gives (``model.genes``).

    Parameters
    ----------
    sdata
        A section that :func:`~st_predict.tl.predict` was run on. A section with H&E only has no measured panel.
    genes
        One or more predicted genes or gene sets.
    key
        ``key_added`` of the prediction.
    min_counts
        Spots with fewer counts are hollow and not scored; ``None``: as in training.
    shared_scale
        One color scale for measured and predicted, so that a prediction that varies less than the truth also looks
        flatter. ``False`` stretches each over all colors: patterns can be compared, values cannot.
    cmap
        Name of a matplotlib color map.
    image_key, shapes_key, table_key
        Names of the elements, if there are several.
    layer
        Layer with raw counts; ``None``: ``X``.
    axes
        Axes to draw on, one for each panel; ``None``: a new figure.
    show
        Whether to call ``matplotlib.pyplot.show``.
    save
        File to write the figure to.

    Returns
    -------
    Axes ``(n_genes, 3)``; ``(n_genes, 2)`` where there is no measured panel.

    Raises
    ------
    InputError
        If there is no such prediction, a gene was not predicted, or the axes or the file do not fit.

    Examples
    --------
    >>> stp.tl.predict(sections["S1"], model)
    >>> axes = stp.pl.spatial_expression(sections["S1"], model.panel[:2], save="genes.png")
    >>> axes.shape
    (2, 3)
    """
    check_cmap(cmap)
    wanted = [genes] if isinstance(genes, str) else [str(gene) for gene in genes]
    compared = compare(
        sdata,
        wanted,
        key=key,
        min_counts=min_counts,
        elements=Elements(image_key, shapes_key, table_key, layer),
    )
    shape = (len(wanted), 2 if compared.measured is None else 3)
    check_picture(axes, shape, save)
    section = compared.section
    spots = read_spots(sdata, compared.placed, section)
    box = spots.view(section.image)
    thumbnail = read_thumbnail([section.image, *section.reduced], box, side_px=_SIDE_PX)
    panels = new_axes(axes, shape, _size_in(box, shape))
    if axes is None:
        figure_of(panels).suptitle(_caption(compared), fontsize="medium", parse_math=False)
    size = "large" if max(map(len, wanted)) <= _SHORT_NAME else "small"
    for number, gene in enumerate(wanted):
        draw_image(panels[number, 0], thumbnail, box)
        draw_scale_bar(panels[number, 0], box, section.um_per_px)
        panels[number, 0].set_title("H&E")
        style = "normal" if gene in section.gene_sets else "italic"
        panels[number, 0].set_ylabel(gene, fontstyle=style, fontsize=size)
        _draw_gene(panels[number, 1:], compared, number, spots, box, cmap, shared_scale=shared_scale)
    return finish(panels, show=show, save=save)


def _draw_gene(
    panels: NDArray[Any], compared: Compared, number: int, spots: Spots, box: Box, cmap: str, *, shared_scale: bool
) -> None:
    """The maps of one gene and their color bars: measured, if there is one, then predicted."""
    predicted, scored = compared.predicted[:, number], compared.scored
    everywhere = np.ones_like(scored)
    flag = "\nunpredictable" if compared.unpredictable[number] else ""
    maps = [(f"predicted{_score(compared.pcc[number])}{flag}", predicted, everywhere)]
    if compared.measured is not None:
        measured = compared.measured[:, number]
        known = scored & np.isfinite(measured)
        maps.insert(0, ("measured" if known.any() else "not measured", measured, known))
    scales = [_robust_scale(values[rows]) for _, values, rows in maps]
    if shared_scale:
        scales = [_robust_scale(np.concatenate([values[rows] for _, values, rows in maps]))] * len(maps)
    for ax, (title, values, rows), norm in zip(panels, maps, scales, strict=True):
        set_map(ax, box)
        ax.set_title(title)
        if not rows.all():
            spots.draw(ax, ~rows).set(facecolor="none", edgecolor=_LEFT_OUT, linewidth=0.5)
        collection = spots.draw(ax, rows)
        collection.set(array=values[rows], cmap=cmap, norm=norm)
        if not shared_scale and rows.any():
            _color_bar(ax, collection, values[rows])
    if shared_scale:
        _color_bar(panels[-1], collection, np.concatenate([values[rows] for _, values, rows in maps]))


def _robust_scale(values: NDArray[np.float32]) -> Normalize:
    """Colors from the 1st to the 99th percentile; half a unit to both sides if all values are the same."""
    from matplotlib.colors import Normalize

    low, high = np.percentile(values, _ROBUST) if len(values) else (0.0, 1.0)
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    return Normalize(float(low), float(high))


def _color_bar(ax: Axes, collection: Any, values: NDArray[np.float32]) -> None:
    """A bar as tall as the map and beside it, pointed where values lie beyond its ends."""
    low, high = collection.get_clim()
    beyond = ("min" if (values < low).any() else "") + ("max" if (values > high).any() else "")
    extend = {"": "neither", "minmax": "both"}.get(beyond, beyond)
    place = ax.inset_axes((1.03, 0.0, 0.045, 1.0))
    ax.figure.colorbar(collection, cax=place, label=_UNIT, extend=extend, extendfrac=0.04).outline.set_visible(False)


def _score(pcc: float | None) -> str:
    return "" if pcc is None else f", PCC {pcc:.2f}"


def _caption(compared: Compared) -> str:
    record, left_out = compared.prediction.provenance, int((~compared.scored).sum())
    caption = f"{compared.section.name}: {record['method']} on {record['encoder']}, {len(compared.scored):,} spots"
    return caption + (f" ({left_out} hollow: under {compared.min_counts:g} counts)" if left_out else "")


def _size_in(box: Box, shape: tuple[int, int]) -> tuple[float, float]:
    """Room for maps of the box's proportions, their titles and color bars."""
    height = min(max(_PANEL_IN * box.height / box.width, 0.4 * _PANEL_IN), 2 * _PANEL_IN)
    return _PANEL_IN * shape[1] + 1.1, (height + 0.35) * shape[0] + 0.5
