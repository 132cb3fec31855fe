"""``find_tissue``: where tissue lies on a slide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from st_predict._spatialdata.keys import find_image
from st_predict._spatialdata.slide import add_tissue
from st_predict.core.arguments.checked import checked

if TYPE_CHECKING:
    from spatialdata import SpatialData


@checked
def find_tissue(
    sdata: SpatialData,
    *,
    image_key: str | None = None,
    key_added: str = "tissue",
    min_area_um2: float = 50_000,
    min_hole_um2: float = 10_000,
) -> None:
    """Outline the tissue of an H&E image, without its holes.

    Tissue is what is more saturated than glass, by Otsu's threshold on a reduced image of about 8 um a px. Green, blue
    and black marker is left out; red marker cannot be told from blood. If the scale is unknown, ``min_area_um2`` cannot
    be used, and pieces smaller than one two-thousandth of the image are left out instead.

    Parameters
    ----------
    sdata
        A slide, or a section.
    image_key
        Name of the H&E image, if there are several.
    key_added
        Name to write the shapes under.
    min_area_um2
        Smaller pieces are left out.
    min_hole_um2
        Smaller holes are filled.

    Returns
    -------
    ``None``. Writes ``sdata.shapes[key_added]``: one polygon for each piece of tissue, the largest first, in px of the
    image and in its coordinate systems. An earlier result is replaced.

    Raises
    ------
    InputError
        If there is no tissue, the image is not an H&E image, or ``key_added`` holds your data, such as outlines that
        you changed, or that a table of yours annotates.

    Examples
    --------
    >>> slide = stp.io.slide("slides/one.tif")
    >>> stp.pp.find_tissue(slide, min_area_um2=100_000)
    >>> len(slide.shapes["tissue"])
    1
    """
    image = find_image(sdata, image_key)
    add_tissue(sdata, image, key_added, min_area_um2=min_area_um2, min_hole_um2=min_hole_um2)
