"""The value the core works on: plain arrays of one tissue section. Knows neither files nor SpatialData."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from st_predict.core.gene_names import clean_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray


_NOBODY = {"", "unknown", "na", "n/a", "<na>", "nan", "none", "null", "?", "-"}


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
        Section name, for messages and tables; blanks around it are taken off.
    image
        Pixels of the image the spots lie on.
    centers_px
        Spot centers ``(n_spots, 2)``, x then y, in px of ``image``.
    um_per_px
        Scale of ``image``; ``None`` where it is unknown.
    subject
        Patient or animal the section is from, see :func:`subject_name`; ``None`` where it is unknown.
    counts
        Raw counts ``(n_spots, n_genes)``, dense, scipy sparse, or what is read as these are; ``None`` for H&E only.
    gene_names
        Gene names ``(n_genes,)``; none for H&E only.
    other_names
        Other names of the genes, by where they stand: ids beside symbols, or the other way round.
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
    other_names: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    reduced: Sequence[ImageSource] = ()
    gene_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", clean_name(self.name))
        object.__setattr__(self, "subject", subject_name(self.subject))

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


def subject_name(written: object) -> str | None:
    """A subject's name however a table holds it: no blanks around it, 7 for 7.0; ``None`` for words that name nobody."""
    name = " ".join(str(written).split())
    whole = name.removesuffix(".0")
    return None if name.casefold() in _NOBODY else whole if whole.isdigit() else name


def same_subject(one: str, other: str) -> bool:
    """Whether two names are of one subject: P1 is p1."""
    return one.casefold() == other.casefold()


def with_common_names(sections: Sequence[Section]) -> list[Section]:
    """The same sections, each subject spelled as where it comes first: names that differ only in capitals are one patient."""
    names: dict[str, str] = {}
    return [
        section
        if section.subject is None
        else replace(section, subject=names.setdefault(section.subject.casefold(), section.subject))
        for section in sections
    ]
