"""What follows from the technology of a section, recognized by how far its spots lie apart."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from st_predict.core.neighbors import pitch_px

if TYPE_CHECKING:
    from collections.abc import Sequence

    from st_predict.core.section import Section

logger = logging.getLogger("st_predict")

LEAST_COUNTS = 500
"""Of a spot of an array: those of Visium and its elders are 55 to 150 um wide, and hold thousands of counts."""
LEAST_COUNTS_OF_CELLS = 20
"""Of a cell or a fine bin: a cell of Xenium holds a hundred or two."""
CELLS_UM = 25.0
"""What lies closer than this are cells or fine bins: bins of Visium HD are 2 to 16 um wide, the spots of no array so small."""


def least_counts(sections: Sequence[Section], asked: float | None) -> float:
    """Counts from which on a spot is used: as asked, or what fits the technology; if it is not that of arrays, it is said."""
    if asked is not None:
        return asked
    apart_um = [pitch_px(s.centers_px) * s.um_per_px for s in sections if s.um_per_px is not None]
    if not apart_um or min(apart_um) >= CELLS_UM:
        return LEAST_COUNTS
    logger.info(
        "spots that lie %.3g um apart are cells or fine bins: they are used from %g counts on, spots of an array from %g "
        "(min_counts)",
        min(apart_um), LEAST_COUNTS_OF_CELLS, LEAST_COUNTS,
    )  # fmt: skip
    return LEAST_COUNTS_OF_CELLS
