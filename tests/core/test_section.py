"""The value the core works on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from st_predict.core.section import Section, same_subject, with_common_names
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


def of_subject(subject: object) -> Section:
    return Section("H", ArraySource(np.zeros((4, 4, 3), np.uint8)), np.zeros((3, 2)), None, subject)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("P1", "P1"), (" P1 ", "P1"), ("7", "7"), ("7.0", "7"), (7.0, "7"), (7, "7"), ("7.5", "7.5"), ("P 1.0", "P 1.0"),
        ("", None), ("  ", None), ("unknown", None), ("NA", None), ("nan", None), (float("nan"), None), (None, None), ("?", None),
    ],
)  # fmt: skip
def test_a_subject_is_named_alike_however_it_is_written(written: object, name: str | None) -> None:
    section = of_subject(written)
    assert section.subject == name and section.keep(np.array([0])).subject == name


def test_patients_that_differ_in_capitals_are_one() -> None:
    sections = [of_subject(subject) for subject in ("P1", "p1", "P2", None, "p2 ")]
    assert [section.subject for section in with_common_names(sections)] == ["P1", "P1", "P2", None, "P2"]
    assert same_subject("P1", "p1") and not same_subject("P1", "P2")
