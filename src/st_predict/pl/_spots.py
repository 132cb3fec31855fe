"""Spots in their true size and place, as matplotlib collections; opens no element of a SpatialData itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict._spatialdata.outlines import spot_outlines
from st_predict.core.neighbors import nearest_spots
from st_predict.core.tiles.thumbnail import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.collections import Collection
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed
    from st_predict.core.section import ImageSource, Section


_MAX_VECTOR_SPOTS = 10_000


class Spots(NamedTuple):
    """Spots of one section in px of its image, in the order of its table: circles, or the outlines of bins."""

    centers_px: NDArray[np.float64]
    """``(n, 2)``, x then y."""
    radii_px: NDArray[np.float64]
    """``(n,)``; of bins, of the circle that holds them."""
    outlines_px: Sequence[NDArray[np.float64]] | None
    """Corners of each bin ``(m, 2)``; ``None`` for circles."""

    def draw(self, ax: Axes, rows: NDArray[Any] | slice = slice(None)) -> Collection:
        """Add spots (mask, indices or all) to a map as one collection, to be colored; the view stays as it is."""
        from matplotlib.collections import EllipseCollection, PolyCollection

        collection: Collection
        if self.outlines_px is None:
            widths = 2 * self.radii_px[rows]
            collection = EllipseCollection(
                widths, widths, np.zeros(len(widths)), units="xy", offsets=self.centers_px[rows],
                offset_transform=ax.transData,
            )  # fmt: skip
        else:
            chosen = np.arange(len(self.centers_px))[rows]
            collection = PolyCollection([self.outlines_px[i] for i in chosen])
        # A vector file of tens of thousands of bins could not be opened.
        collection.set(linewidth=0, rasterized=len(self.centers_px) > _MAX_VECTOR_SPOTS)
        ax.add_collection(collection, autolim=False)
        return collection

    def view(self, image: ImageSource) -> Box:
        """The part of the image that holds all spots, with a margin."""
        low = (self.centers_px - self.radii_px[:, None]).min(axis=0)
        high = (self.centers_px + self.radii_px[:, None]).max(axis=0)
        margin = max(0.04 * float((high - low).max()), float(np.median(self.radii_px)))
        height, width = int(image.row_edges[-1]), int(image.col_edges[-1])
        (left, top), (right, bottom) = np.maximum(low - margin, 0), np.minimum(high + margin, (width, height))
        return Box(float(left), float(top), float(right), float(bottom))

    def pitch_px(self) -> float:
        """Median distance from a spot to the one nearest to it; its diameter where there is only one spot."""
        if len(self.centers_px) < 2:
            return float(2 * self.radii_px[0])
        nearest = nearest_spots(self.centers_px, 1).rows[:, 0]
        return float(np.median(np.linalg.norm(self.centers_px - self.centers_px[nearest], axis=1)))


def read_spots(sdata: SpatialData, placed: Placed, section: Section) -> Spots:
    """Read size and outline of the spots; ``placed`` and ``section`` are those of the section as it was read."""
    return Spots(section.centers_px, *spot_outlines(sdata, placed, section.centers_px))
