"""The images of a Space Ranger folder: which are there, and whether they, their scale factors and the spots belong together.

Builds no SpatialData.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from st_predict.core.checks import check_spots_on_image
from st_predict.core.errors import InputError
from st_predict.io._checks import check_image_size, sizes_agree
from st_predict.io._images import open_image

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da
    import numpy as np

    from st_predict.io._space_ranger import Outs

logger = logging.getLogger("st_predict")

THUMBNAILS = ("hires", "lowres")


def open_images(outs: Outs, image: str | Path | None) -> dict[str, da.Array]:
    """Images by short name: full, hires, lowres; those that are there."""
    pixels = {} if image is None else {"full": open_image(image, where="image")}
    for name in THUMBNAILS:
        file = outs.folder / "spatial" / f"tissue_{name}_image.png"
        if not file.is_file():
            continue
        if outs.scalefactors.get(f"tissue_{name}_scalef") is None:
            logger.warning("%s is left out: scalefactors_json.json has no tissue_%s_scalef", file.name, name)
            continue
        pixels[name] = open_image(file, where=str(file))
    return pixels


def check_images(pixels: dict[str, da.Array], outs: Outs, centers_px: np.ndarray) -> None:
    """Refuse images that were not made from one, and spots that do not lie on it."""
    implied = {name: _full_size(pixels[name], outs, name) for name in THUMBNAILS if name in pixels}
    if len(implied) == 2:
        _check_thumbnails(implied, where=str(outs.folder / "spatial" / "scalefactors_json.json"))
    if "full" in pixels:
        _, height, width = pixels["full"].shape
        for name, size in list(implied.items())[:1]:
            check_image_size((width, height), size, thumbnail=f"tissue_{name}_image.png", where="image")
        check_spots_on_image(centers_px, width=width, height=height, where="image")
        return
    for name, (width, height) in list(implied.items())[:1]:
        spare = 1 / outs.scalefactors[f"tissue_{name}_scalef"]  # a thumbnail is cut to whole pixels
        try:
            check_spots_on_image(centers_px, width=round(width + spare), height=round(height + spare), where="path")
        except InputError as error:
            raise InputError(
                f"{error.what}; its size follows from tissue_{name}_image.png and tissue_{name}_scalef",
                where=str(outs.folder / "spatial"),
                expected=error.expected,
                remedy="copy spatial/ from the Space Ranger output again",
            ) from error


def _full_size(thumbnail: da.Array, outs: Outs, name: str) -> tuple[float, float]:
    """Width and height of the image that a thumbnail was made from, by its scale factor."""
    factor = outs.scalefactors[f"tissue_{name}_scalef"]
    return thumbnail.shape[2] / factor, thumbnail.shape[1] / factor


def _check_thumbnails(implied: dict[str, tuple[float, float]], *, where: str) -> None:
    hires, lowres = (implied[name] for name in THUMBNAILS)
    if sizes_agree(hires, lowres):
        return
    raise InputError(
        f"by the scale factors, tissue_hires_image.png was made from an image of {hires[0]:.0f} x {hires[1]:.0f} px, and "
        f"tissue_lowres_image.png from one of {lowres[0]:.0f} x {lowres[1]:.0f} px (width x height)",
        where=where,
        expected="thumbnails of one image",
        remedy="copy spatial/ from the Space Ranger output again, and change no image in it",
    )
