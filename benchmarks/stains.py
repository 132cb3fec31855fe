"""What scoring features within a slide is worth where a slide is stained otherwise than those trained on.

python benchmarks/stains.py [FOLDER] [--methods ridge nh2st]

Trained on three her2st sections, tried on the fourth, its image as it is and recolored.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from spatialdata.models import Image2DModel
from spatialdata.transformations import get_transformation

import st_predict as stp

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

STAINS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "as it is": lambda rgb: rgb,
    "warm": lambda rgb: rgb * np.float32([[[1.0]], [[0.9]], [[0.8]]]),
    "pale": lambda rgb: 255 - (255 - rgb) * np.float32(0.7),
    "dark": lambda rgb: 255 * (rgb / 255) ** np.float32(1.4),
    "blue": lambda rgb: rgb * np.float32([[[0.85]], [[0.9]], [[1.0]]]),
}
"""Changes of an image ``(3, y, x)`` in 0 to 255."""
HELD_OUT = "C5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--methods", nargs="+", default=["ridge", "nh2st"])
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("st_predict").setLevel(logging.ERROR)
    sections = stp.datasets.her2st(asked.folder)
    slide = sections.pop(HELD_OUT)
    # Not drawn toward ridge: what the inputs are worth is to be seen, not what is done about slides unlike training.
    models = {
        (method, standardize): stp.tl.train(
            sections, method=method, standardize=standardize, anchor=False if method != "ridge" else None
        )
        for method in asked.methods
        for standardize in ("slide", "training")
    }
    [key] = slide.images
    image = slide.images[key]
    placed = get_transformation(image, get_all=True)
    rgb = np.asarray(image.data, dtype=np.float32)
    found: dict[str, dict[tuple[str, str], float]] = {}
    for stain, change in STAINS.items():
        recolored = np.clip(np.rint(change(rgb)), 0, 255).astype(np.uint8)
        slide.images[key] = Image2DModel.parse(recolored, dims=("c", "y", "x"), transformations=placed)
        for row, model in models.items():
            stp.tl.predict(slide, model, key_added="tried")
            found.setdefault(stain, {})[row] = stp.tl.evaluate(slide, key="tried")["pcc"].mean()
    table = pd.DataFrame(found).rename_axis(index=["method", "scored within"])
    print(f"Mean per-gene PCC on {HELD_OUT} of her2st, one seed\n")
    print(table.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
