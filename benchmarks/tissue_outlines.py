"""Outlines of tissue on tinted, padded, transparent and turned versions of a real section, in one picture, and their areas.

python benchmarks/tissue_outlines.py [FOLDER] [--out outlines.png]

The versions are those of the tests. Areas are parts of that of the plain image; 5 % are promised.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
from spatialdata import SpatialData
from spatialdata.models import Image2DModel

import st_predict as stp

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "pp"))

SECTION, STEP = "C2", 8  # of her2st; every so many px


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--out", type=Path, default=Path("outlines.png"))
    arguments = parser.parse_args()
    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from test_find_tissue import VERSIONS

    section = stp.datasets.her2st(arguments.folder)[SECTION]
    pixels = np.asarray(next(iter(section.images.values())).data[:, ::STEP, ::STEP]).transpose(1, 2, 0)
    versions = {"plain": lambda given: given, **VERSIONS}
    figure, axes = plt.subplots(-(-len(versions) // 3), 3, figsize=(15, 4 * -(-len(versions) // 3)))
    for ax in axes.flat:
        ax.axis("off")
    plain = None
    for ax, (name, change) in zip(axes.flat, versions.items(), strict=False):
        image = change(pixels)
        channels = list("rgba")[: image.shape[2]]
        element = Image2DModel.parse(image.transpose(2, 0, 1), dims=("c", "y", "x"), c_coords=channels)
        slide = SpatialData(images={"slide": element}, attrs={"st_predict": {"um_per_px": {"slide": 5.5}}})
        stp.pp.find_tissue(slide)
        found = slide.shapes["tissue"].geometry
        plain = plain or found.area.sum()
        ax.imshow(image)
        for outline in found:
            for ring in (outline.exterior, *outline.interiors):
                ax.plot(*ring.xy, color="lime", linewidth=1)
        share = found.area.sum() / plain
        ax.set_title(f"{name}: {share:.3f}")
        print(f"{name:<40}{share:.4f} of the plain area, {len(found)} pieces")
    figure.tight_layout()
    figure.savefig(arguments.out, dpi=70)


if __name__ == "__main__":
    main()
