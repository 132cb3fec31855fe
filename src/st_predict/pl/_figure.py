"""What all pictures share: axes, the look of methods, the scale bar, saving. Knows matplotlib only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict.core.errors import InputError
from st_predict.core.files import replacing_file
from st_predict.core.outputs import TEXTS, check_output, has_mark, made_by, sign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from st_predict.core.tiles.thumbnail import Box, Thumbnail

SAVED_DPI = 200
_KEEP_A_MARK = ("eps", "jpeg", "jpg", "pdf", "png", "ps", "svg", "tif", "tiff", "webp")
"""Endings of pictures that say what drew them, so that a later one of ours may replace them, and no other."""
_CONTROL, _REFERENCE, _METHOD = "#999999", "#E69F00", "#0072B2"  # Okabe and Ito's, for every kind of color vision


class Look(NamedTuple):
    """Label, color and marker of a method, the same in every picture."""

    label: str
    color: str
    marker: str


_LOOKS = {
    "mean": Look("training mean", _CONTROL, "s"),
    "shuffled": Look("shuffled images", _CONTROL, "s"),
    "ridge": Look("ridge", _REFERENCE, "D"),
}


def method_look(method: str) -> Look:
    """Controls are gray squares, ridge is an orange diamond, every other method a blue dot."""
    return _LOOKS.get(method, Look(str(method), _METHOD, "o"))


def check_picture(
    axes: Axes | Sequence[Axes] | NDArray[Any] | None, shape: tuple[int, int], save: str | Path | None
) -> None:
    """Refuse axes that do not fit and files that cannot be written, before any work.

    Parameters
    ----------
    axes
        Axes that the user gave; ``None``: a new figure.
    shape
        Rows and columns of panels.
    save
        File to write the figure to, if any.

    Raises
    ------
    InputError
        If there are more or fewer axes than panels, or some that cannot be drawn on; the file's folder does not exist or
        its format is unknown; or a file is there that is no picture of ours.
    """
    if axes is not None:
        _check_axes(np.asarray(axes, dtype=object).ravel(), shape, saved=save is not None)
    if save is not None:
        _check_file(Path(save))


def _check_axes(axes: NDArray[Any], shape: tuple[int, int], *, saved: bool) -> None:
    """Refuse axes ``(n,)`` that are not one a panel, each on a figure and flat; on one figure where it is saved."""
    n = shape[0] * shape[1]
    fault = f"{len(axes)} axes were given for {n} panels" if len(axes) != n else ""
    for number, ax in enumerate(axes):
        if ax.figure is None:
            fault = fault or f"axes[{number}] was removed from its figure"
        elif ax.name != "rectilinear":
            fault = fault or f"axes[{number}] has the projection {ax.name!r}"
    if len(set(axes)) < len(axes):
        fault = fault or "the same axes were given for several panels"
    if not fault and saved and len({ax.figure.canvas.figure for ax in axes}) > 1:
        fault = "the axes lie on several figures, of which one would be saved"
    if fault:
        raise InputError(
            fault,
            where="axes",
            expected=f"{shape[0]} row{'s' * (shape[0] > 1)} of {shape[1]}",
            remedy=f"fig, axes = matplotlib.pyplot.subplots({shape[0]}, {shape[1]}), or leave axes out",
        )


def _check_file(path: Path) -> None:
    from matplotlib.backend_bases import FigureCanvasBase

    formats = [ending for ending in _KEEP_A_MARK if ending in FigureCanvasBase.get_supported_filetypes()]
    if not path.parent.is_dir() or path.suffix[1:].lower() not in formats:
        missing = not path.parent.is_dir()
        raise InputError(
            f"the picture cannot be written to {str(path)!r}: "
            + (
                f"there is no folder {str(path.parent)!r}"
                if missing
                else f"{path.suffix or 'no ending'!s} is no format"
            ),
            where="save",
            expected=f"a file in a folder that exists, ending in .{', .'.join(formats)}",
            remedy="make the folder first"
            if missing
            else f"save={str(path.parent / (path.stem or 'picture')) + '.png'!r}",
        )
    check_output(path, has_mark, what="a picture that st_predict drew", where="save")


def check_cmap(cmap: str) -> None:
    """Refuse a color map that matplotlib does not know.

    Raises
    ------
    InputError
        With some that it knows.
    """
    from matplotlib import colormaps

    if cmap not in colormaps:
        raise InputError(
            f"there is no color map {cmap!r}",
            where="cmap",
            expected="the name of a matplotlib color map",
            remedy="cmap='viridis', or 'magma', 'cividis', 'inferno'",
        )


def new_axes(
    axes: Axes | Sequence[Axes] | NDArray[Any] | None, shape: tuple[int, int], size_in: tuple[float, float]
) -> NDArray[Any]:
    """Axes of a ``shape``, rows by columns: the user's, which were checked before, or those of a new figure."""
    if axes is not None:
        return np.asarray(axes, dtype=object).reshape(shape)
    from matplotlib import pyplot as plt

    made: NDArray[Any] = plt.subplots(*shape, figsize=size_in, layout="constrained", squeeze=False)[1]
    return made


def figure_of(axes: NDArray[Any]) -> Figure:
    """The whole figure, also where the axes lie on a part of it."""
    figure: Figure = axes.flat[0].figure.canvas.figure
    return figure


def finish(axes: NDArray[Any], *, show: bool | None, save: str | Path | None) -> NDArray[Any]:
    """Write and show the figure if asked; it stays open."""
    _take_literally(axes)
    if save is not None:
        with replacing_file(Path(save)) as file:
            figure_of(axes).savefig(file, dpi=SAVED_DPI, bbox_inches="tight", **_marked(Path(save)))
            if Path(save).suffix.lower() in TEXTS:
                sign(file)
    if show:
        from matplotlib import pyplot as plt

        plt.show()
    return axes


def _take_literally(axes: NDArray[Any]) -> None:
    r"""Have names with dollars drawn as they are: matplotlib would read a formula, and fail on ``$\frac{``."""
    from matplotlib.text import Text

    for ax in axes.flat:
        for text in ax.findobj(Text):
            if "$" in text.get_text() and "$\\mathdefault" not in text.get_text():  # of a scale's own numbers
                text.set_parse_math(False)


def _marked(path: Path) -> dict[str, Any]:
    """Arguments of ``savefig`` that mark a picture as ours."""
    ending = path.suffix[1:].lower()
    if ending == "png":
        return {"metadata": {"Software": made_by()}}
    if ending in ("pdf", "svg", "ps", "eps"):
        return {"metadata": {"Creator": made_by()}}
    from PIL import ExifTags, Image

    exif = Image.Exif()
    exif[ExifTags.Base.Software] = made_by()
    return {"pil_kwargs": {"exif": exif}}


def set_map(ax: Axes, box: Box) -> None:
    """Make axes a map of a part of an image: x to the right, y downward, no ticks, squares square."""
    ax.set(xlim=(box.left, box.right), ylim=(box.bottom, box.top), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def draw_image(ax: Axes, thumbnail: Thumbnail, box: Box) -> None:
    """Put reduced pixels where they lie on the image."""
    ax.imshow(thumbnail.pixels, extent=thumbnail.extent, interpolation="antialiased")
    set_map(ax, box)


def draw_scale_bar(ax: Axes, box: Box, um_per_px: float | None) -> None:
    """A bar of a round length, about a fifth of the width; in px where the scale is unknown."""
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]

    length = round_length(box.width * (um_per_px or 1) / 5)
    if um_per_px is None:
        label = f"{length:g} px"
    else:
        label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    bar = AnchoredSizeBar(
        ax.transData, length / (um_per_px or 1), label, "lower left",
        pad=0.35, borderpad=0.5, sep=3, size_vertical=box.width / 120, color="black",
    )  # fmt: skip
    bar.patch.set(facecolor="white", edgecolor="none", alpha=0.8)
    ax.add_artist(bar)


def round_length(length: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above a length."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(power * max(step for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))
