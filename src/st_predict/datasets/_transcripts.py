"""Every transcript of a synthetic section, at its cell, as imaging sees it; plain arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from st_predict.datasets._program import express
from st_predict.datasets._tissue import CELL_TYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from st_predict.datasets._subject import Subject
    from st_predict.datasets._tissue import Cells

SPREAD_UM = 2.5  # s.d. of the distance of a transcript from the center of its cell, along either axis
_DEPTH, _AMBIENT_CELLS = 0.05, 0.02  # of a spot's transcripts in a cell, and what lies on the glass, as so many cells
_NEIGHBORHOOD_UM, _REACH = 110.0, 3.0
_JUNK = 0.06  # share of transcripts that are misread: any gene, anywhere
_CONTROLS = ("NegControlProbe_00001", "NegControlProbe_00002", "NegControlCodeword_0500", "UnassignedCodeword_0001")
_OF_CONTROLS = 0.003


@dataclass(frozen=True)
class Transcripts:
    """Transcripts of one section, in no order.

    Parameters
    ----------
    at_um
        Places ``(n, 2)``, x then y, from the corner of the image.
    feature
        Index into `features` ``(n,)``.
    cell
        The cell each lies in ``(n,)``; -1: in none.
    quality
        Phred scores ``(n,)``; below 20 for most of what is misread.
    features
        Genes of the program, then controls.
    """

    at_um: NDArray[np.float64]
    feature: NDArray[np.int64]
    cell: NDArray[np.int64]
    quality: NDArray[np.float32]
    features: NDArray[np.str_]


def draw_transcripts(rng: np.random.Generator, subject: Subject, cells: Cells, size_um: float) -> Transcripts:
    """Draw what every cell expresses, by the program that spots express, and where each transcript lies.

    Parameters
    ----------
    rng
        Source of it all.
    subject
        Whose program, factor on every gene and depth hold.
    cells
        Cells of the section.
    size_um
        Side of the square that the section lies in.
    """
    kind = np.eye(len(CELL_TYPES))[cells.kind]
    assay = replace(subject.assay, median_umi=subject.assay.median_umi * _DEPTH, ambient_cells=_AMBIENT_CELLS)
    counts = express(
        rng, subject.program, cells=kind, neighborhood=_neighborhood(cells, kind), shift=subject.shift, assay=assay
    ).counts
    cell, gene = np.nonzero(counts)
    each = counts[cell, gene].astype(np.int64)
    cell, gene = np.repeat(cell, each), np.repeat(gene, each)
    at_um = cells.centers_um[cell] + rng.normal(scale=SPREAD_UM, size=(len(cell), 2))
    quality = rng.uniform(20, 40, size=len(cell))

    n_junk, n_genes = round(_JUNK * len(cell)), counts.shape[1]
    n_controls = round(_OF_CONTROLS * len(cell))
    n_lost = n_junk + n_controls
    lost = np.concatenate(
        [rng.integers(n_genes, size=n_junk), n_genes + rng.integers(len(_CONTROLS), size=n_controls)]
    )  # fmt: skip
    of_lost = np.concatenate([rng.uniform(0, 20, size=n_junk), rng.uniform(20, 40, size=n_controls)])
    order = rng.permutation(len(cell) + n_lost)
    return Transcripts(
        np.concatenate([at_um, rng.uniform(0, size_um, size=(n_lost, 2))])[order],
        np.concatenate([gene, lost])[order],
        np.concatenate([cell, np.full(n_lost, -1)])[order],
        np.concatenate([quality, of_lost]).astype(np.float32)[order],
        np.array([*subject.program.genes, *_CONTROLS]),
    )


def _neighborhood(cells: Cells, kind: NDArray[np.float64]) -> NDArray[np.float64]:
    """Composition of the surroundings of each cell ``(n, n_types)``, as spots have it, of cells within reach alone."""
    from scipy.spatial import cKDTree

    tree = cKDTree(cells.centers_um)
    near = tree.sparse_distance_matrix(tree, _REACH * _NEIGHBORHOOD_UM, output_type="coo_matrix").tocsr()
    near.data = np.exp(-0.5 * (near.data / _NEIGHBORHOOD_UM) ** 2)
    found = near @ kind + kind  # a cell lies at no distance from itself, which a sparse matrix leaves out
    return np.asarray(found / found.sum(axis=1, keepdims=True))
