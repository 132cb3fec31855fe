"""``spot_grid``: spots where no array ever lay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from st_predict._spatialdata.keys import find_image
from st_predict._spatialdata.own import all_or_nothing
from st_predict._spatialdata.slide import add_grid
from st_predict.core.arguments.checked import checked

if TYPE_CHECKING:
    from spatialdata import SpatialData


@checked
def spot_grid(
    sdata: SpatialData,
    *,
    pitch_um: float = 100.0,
    diameter_um: float = 55.0,
    layout: Literal["hex", "square"] = "hex",
    key_added: str = "spots",
    image_key: str | None = None,
    tissue_key: str | None = None,
) -> None:
    """Lay an array of spots on the tissue of a slide.

    The defaults are a Visium array. A finer pitch gives sharper maps. Its spots overlap, and so do their tiles, but
    every pixel is decoded once. For a model that looks at a spot's neighbors, lay a grid of the layout and the pitch
    that it was trained on (``model.layout``, ``model.pitch_um``), or of a half, a third, ... of that pitch: see
    :func:`st_predict.tl.predict`.

    Parameters
    ----------
    sdata
        A slide of known scale.
    pitch_um
        Distance between neighboring spots.
    diameter_um
        Diameter of the spots, as they are drawn.
    layout
        ``"hex"``: every other row lies half a pitch aside; ``"square"``: rows and columns.
    key_added
        Name to write the shapes under.
    image_key
        Name of the H&E image, if there are several.
    tissue_key
        Outlines of tissue in ``sdata.shapes``; ``None``: ``"tissue"``, or LazySlide's ``"tissues"``. If there is
        neither, :func:`find_tissue` is run with its defaults.

    Returns
    -------
    ``None``. Writes ``sdata.shapes[key_added]``: circles whose centers lie on tissue, row by row, in px of the image,
    with the columns ``array_row`` and ``array_col``. An earlier grid is replaced. Predictions and features that this
    package wrote on it are then removed, and a message says so.

    Raises
    ------
    InputError
        If the scale is unknown, there is no tissue, a length is not positive, or ``key_added`` holds your data, such as a
        grid that you changed, or one that a table of yours annotates.

    Examples
    --------
    >>> slide = stp.io.slide("slides/one.tif")
    >>> stp.pp.spot_grid(slide, pitch_um=50)
    >>> len(slide.shapes["spots"])
    156
    >>> sorted(slide.shapes)
    ['spots', 'tissue']
    """
    image = find_image(sdata, image_key)
    with all_or_nothing(sdata):
        add_grid(
            sdata, image, key_added, pitch_um=pitch_um, diameter_um=diameter_um, layout=layout, tissue_key=tissue_key
        )
