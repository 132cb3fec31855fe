"""Whether sections share spots: one that is there twice, whole or in part, would be held out and trained on at once."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.errors import InputError
from st_predict.core.expression import sums, total_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from st_predict.core.section import Section

_SHARED = 0.1  # of the spots of the smaller section; crops may share a seam


def check_once(sections: Sequence[Section]) -> None:
    """Refuse sections of which two share more than a few spots, under whatever names.

    Spots are the same if they have the same place on the image and the same counts. First only places and totals are
    compared, which are known; counts are read for sections that agree in those.

    Raises
    ------
    InputError
        Naming both.
    """
    from scipy.sparse import csr_matrix

    known = [np.column_stack([section.centers_px, total_counts(section.counts)]) for section in sections]
    sizes = [len(spots) for spots in known]
    every = np.concatenate(known)
    _, numbers = np.unique(every, axis=0, return_inverse=True)
    counted = every[:, 2] > 0
    owner = np.repeat(np.arange(len(sections)), sizes)
    places = owner[counted], numbers.ravel()[counted]
    holds = csr_matrix((np.ones(len(places[0])), places), (len(sections), len(every)))
    holds.data[:] = 1
    shared = (holds @ holds.T).toarray()
    rows = np.split(numbers.ravel(), np.cumsum(sizes)[:-1])
    for one, other in combinations(range(len(shared)), 2):
        if shared[one, other] <= _SHARED * min(sizes[one], sizes[other]):
            continue
        first, second = sections[one], sections[other]
        if _same_counts(first.keep(np.isin(rows[one], rows[other])), second.keep(np.isin(rows[other], rows[one]))):
            raise InputError(
                f"sections {one + 1} and {other + 1} ({first.name!r} and {second.name!r}) are one: {shared[one, other]:.0f} "
                f"spots, of {sizes[one]} and {sizes[other]}, have the same places and the same counts in both",
                where="sdata",
                expected="every section once: what is held out must not be trained on",
                remedy="leave one of them out; or, if they are parts of one section, give every spot to one part",
            )


def _same_counts(one: Section, other: Section) -> bool:
    """Whether the genes that both have are counted alike, summed over all spots."""
    _, here, there = np.intersect1d(one.gene_names, other.gene_names, return_indices=True)
    ours, theirs = _gene_sums(one)[here], _gene_sums(other)[there]
    return bool(ours.any() and (ours == theirs).all())


def _gene_sums(section: Section) -> NDArray[np.float64]:
    return sums(section.counts, axis=0)
