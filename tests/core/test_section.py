"""The value the core works on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from st_predict.core.section import Section
from st_predict.core.tiles.sources import ArraySource


@pytest.mark.parametrize("spots", [np.array([True, False, True]), np.array([0, 2])])
@pytest.mark.parametrize("kind", [np.asarray, csr_matrix])
def test_keep_takes_centers_and_counts_together(spots: np.ndarray, kind: type) -> None:
    counts = kind(np.arange(6).reshape(3, 2))
    whole = Section("A", ArraySource(np.zeros((4, 4, 3), np.uint8)), np.arange(6.0).reshape(3, 2), 0.5, "P", counts)
    kept = whole.keep(spots)
    assert (kept.n_spots, kept.name, kept.subject, kept.um_per_px) == (2, "A", "P", 0.5)
    assert kept.centers_px.tolist() == [[0, 1], [4, 5]]
    found = kept.counts.toarray() if kind is csr_matrix else kept.counts
    assert found.tolist() == [[0, 1], [4, 5]]


def test_keep_without_counts() -> None:
    bare = Section("H", ArraySource(np.zeros((4, 4, 3), np.uint8)), np.zeros((3, 2)), None)
    assert bare.keep(np.array([1])).counts is None and len(bare.gene_names) == 0
