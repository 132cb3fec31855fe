"""The value the core works on: plain arrays of one tissue section. Knows neither files nor SpatialData."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray


class ImageSource(Protocol):
    """Pixels of one RGB image, stored as a grid of chunks that are each worth decoding once.

    ``row_edges`` and ``col_edges`` hold the chunk borders in px, from 0 to the image's height and width.
    """

    row_edges: NDArray[np.int64]
    col_edges: NDArray[np.int64]

    def read_chunk(self, row: int, col: int) -> NDArray[np.uint8]:
        """Decode one chunk: ``(height, width, 3)`` uint8."""
        ...


@dataclass(frozen=True, eq=False)
class Section:
    """One section: an image, spots on it and, where measured, their expression.

    Parameters
    ----------
    name
        Section name, for messages and tables.
    image
        Pixels of the image the spots lie on.
    centers_px
        Spot centers ``(n_spots, 2)``, x then y, in px of ``image``.
    um_per_px
        Scale of ``image``; ``None`` where it is unknown.
    subject
        Patient or animal the section is from; ``None`` where it is unknown.
    counts
        Raw counts ``(n_spots, n_genes)``, dense, scipy sparse, or what is read as these are; ``None`` for H&E only.
    gene_names
        Gene names ``(n_genes,)``; none for H&E only.
    reduced
        Smaller copies of ``image``, finer ones first, from which wide tiles are cut; none where the image is no pyramid.
    gene_sets
        Genes of every set that is a target under its own name, see :mod:`~st_predict.core.expression`.
    """

    name: str
    image: ImageSource
    centers_px: NDArray[np.float64]
    um_per_px: float | None
    subject: str | None = None
    counts: Any = None
    gene_names: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype=np.str_))
    reduced: Sequence[ImageSource] = ()
    gene_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def n_spots(self) -> int:
        """Number of spots."""
        return len(self.centers_px)

    def measured(self) -> Iterator[bytes]:
        """Spots, genes and counts as bytes, to tell sections apart by."""
        counts = self.counts
        if hasattr(counts, "parts"):
            parts = counts.parts()
        else:
            parts = (counts.indptr, counts.indices, counts.data) if hasattr(counts, "indptr") else (counts,)
        for values in (self.centers_px, self.gene_names.astype("U"), *parts):
            yield np.ascontiguousarray(values).tobytes()

    def keep(self, spots: NDArray[Any]) -> Section:
        """The same section with only the given spots (mask or indices)."""
        counts = None if self.counts is None else self.counts[spots]
        return replace(self, centers_px=self.centers_px[spots], counts=counts)
