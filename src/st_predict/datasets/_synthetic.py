"""Synthetic sections with known ground truth: draws the tissue, expresses the genes and assembles SpatialData.

The only file of this generator that knows SpatialData; anatomy, stain and program are plain arrays in their own modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict.datasets._program import Expression, Program

_SPOT_UM = 55.0
_PITCH_UM = 100.0
_NEIGHBORHOOD_UM = 110.0
_ON_TISSUE = 0.5  # share of its circle that a spot must have on tissue to be kept
_SUBJECTS, _SECTIONS = (
    1,
    2,
)  # first key of the random streams, so that none of them depends on how many others there are


@dataclass(frozen=True)
class _Drawn:
    """One section as plain arrays, spots in rows."""

    image: NDArray[np.uint8]
    array_xy: NDArray[np.intp]
    centers_um: NDArray[np.float64]
    cells: NDArray[np.float64]
    region: list[str]
    expression: Expression


def synthetic_tissue(
    *,
    n_sections: int = 4,
    n_subjects: int = 2,
    n_genes: int = 300,
    size_um: float = 1800.0,
    um_per_px: float = 0.75,
    seed: int = 0,
) -> dict[str, SpatialData]:
    """Draw H&E-like sections whose expression follows from their cells by a known program.

    Tumor nests, stroma, immune infiltrate, fat and ducts are filled with nuclei of six cell types and stained in
    optical density; subjects differ in stain, in composition and in expression level. Each spot (55 um, hexagonal
    array of 100 um pitch) expresses what its cells express; genes of the ``niche_*`` programs answer to the cells
    around the spot as well, and ``noise`` genes to nothing that can be seen. Counts are negative binomial.

    Parameters
    ----------
    n_sections
        Number of sections. Section ``i`` is the same however many are drawn.
    n_subjects
        Number of subjects; sections are given to them in turn.
    n_genes
        Number of genes, at least 20. What a gene does depends on this number and never on ``seed``, so a model
        trained on one seed can be applied to another.
    size_um
        Side of the square image in um.
    um_per_px
        Scale of the image.
    seed
        Seed of everything else.

    Returns
    -------
    dict
        Section name (``"S1"``, ...) to SpatialData with image ``S1_image``, circles ``S1`` and table ``"table"``:
        raw counts in ``X``, the noise-free log1p of counts per 10,000 in ``layers["truth"]``, nuclei of each type
        within the spot in ``obsm["cell_types"]``, the tissue region in ``obs["tissue_region"]``, each gene's program
        in ``var["program"]`` and its expression in each cell type in ``varm["loadings"]``.

    Raises
    ------
    InputError
        If a number is too small or the image would hold no spot.
    """
    _check(n_sections=n_sections, n_subjects=n_subjects, n_genes=n_genes, size_um=size_um, um_per_px=um_per_px)
    from st_predict.datasets._program import gene_program

    program = gene_program(n_genes)
    sections = {}
    for index in range(n_sections):
        name, subject = f"S{index + 1}", index % n_subjects
        drawn = _draw(program, index=index, subject=subject, size_um=size_um, um_per_px=um_per_px, seed=seed)
        sections[name] = _assemble(drawn, program, section=name, subject=f"P{subject + 1}", um_per_px=um_per_px)
    return sections


def _check(*, n_sections: int, n_subjects: int, n_genes: int, size_um: float, um_per_px: float) -> None:
    rules = {
        "n_sections": (n_sections, 1, float("inf")),
        "n_subjects": (n_subjects, 1, float("inf")),
        "n_genes": (n_genes, 20, float("inf")),
        "size_um": (size_um, 600.0, 10_000.0),
        "um_per_px": (um_per_px, 0.2, 2.0),
    }
    for where, (value, low, high) in rules.items():
        if not low <= value <= high:
            expected = f"at least {low}" if high == float("inf") else f"between {low} and {high}"
            raise InputError(
                f"{where} is {value}", where=f"synthetic_tissue({where}=)", expected=expected, remedy=f"change {where}"
            )


def _stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _draw(program: Program, *, index: int, subject: int, size_um: float, um_per_px: float, seed: int) -> _Drawn:
    from scipy.spatial import cKDTree
    from scipy.spatial.distance import cdist

    from st_predict.datasets import _program, _stain, _tissue

    block = _stream(seed, _SUBJECTS, subject)
    traits, stain = _tissue.Traits.draw(block), _stain.Stain.draw(block)
    shift = _program.subject_shift(block, program)

    rng = _stream(seed, _SECTIONS, index)
    tissue = _tissue.grow_tissue(rng, size_um, traits)
    cells = _tissue.place_cells(rng, tissue, size_um)
    size_px = round(size_um / um_per_px)
    image = _stain.draw_section(rng, tissue, cells, stain.vary(rng), size_px=size_px, um_per_px=um_per_px)

    array_xy, centers_um = _spot_array(size_um)
    on_tissue, region = _tissue.regions_at(tissue, centers_um, _SPOT_UM / 2)
    kept = on_tissue >= _ON_TISSUE
    array_xy, centers_um, region = array_xy[kept], centers_um[kept], region[kept]

    kind = np.eye(len(_tissue.CELL_TYPES))[cells.kind]
    distance, spot = cKDTree(centers_um).query(cells.centers_um)
    inside = distance <= _SPOT_UM / 2  # spots do not touch: a cell lies in its nearest spot or in none
    counted = np.zeros((len(centers_um), kind.shape[1]))
    np.add.at(counted, spot[inside], kind[inside])
    nearby = np.exp(-0.5 * (cdist(centers_um, cells.centers_um) / _NEIGHBORHOOD_UM) ** 2) @ kind
    nearby /= nearby.sum(axis=1, keepdims=True)
    expression = _program.express(rng, program, cells=counted, neighborhood=nearby, shift=shift)
    labels = [_tissue.REGIONS[label] for label in region]
    return _Drawn(image, array_xy, centers_um, counted, labels, expression)


def _spot_array(size_um: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Hexagonal array over the image: array positions ``(n, 2)`` (columns counted in half pitches) and centers in um."""
    row_step, margin = _PITCH_UM * np.sqrt(3) / 2, _PITCH_UM / 2
    n_rows, n_cols = int((size_um - 2 * margin) / row_step) + 1, int((size_um - 2 * margin) / _PITCH_UM) + 1
    row, col = (grid.ravel() for grid in np.meshgrid(np.arange(n_rows), np.arange(n_cols), indexing="ij"))
    x = 2 * col + row % 2
    array_xy = np.column_stack([x, row])
    return array_xy, np.column_stack([margin + x * _PITCH_UM / 2, margin + row * row_step])


def _assemble(drawn: _Drawn, program: Program, *, section: str, subject: str, um_per_px: float) -> SpatialData:
    import anndata as ad
    import pandas as pd
    from scipy.sparse import csr_matrix
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Identity

    from st_predict.datasets._tissue import CELL_TYPES, REGIONS

    image_key = f"{section}_image"
    centers_px = drawn.centers_um / um_per_px
    n = len(centers_px)
    spots = pd.Index([f"{x}x{y}" for x, y in drawn.array_xy])
    obs = pd.DataFrame(
        {
            "region": pd.Categorical([section] * n),
            "instance_id": np.arange(n),
            "section": pd.Categorical([section] * n),
            "subject": pd.Categorical([subject] * n),
            "array_x": drawn.array_xy[:, 0].astype(float),
            "array_y": drawn.array_xy[:, 1].astype(float),
            "tissue_region": pd.Categorical(drawn.region, categories=REGIONS[1:]),
        },
        index=spots,
    )
    genes = pd.Index(program.genes.astype(object))
    table = ad.AnnData(
        csr_matrix(drawn.expression.counts),
        obs=obs,
        var=pd.DataFrame({"program": pd.Categorical(program.group)}, index=genes),
        layers={"truth": drawn.expression.truth},
        obsm={"spatial": centers_px, "cell_types": pd.DataFrame(drawn.cells, index=spots, columns=list(CELL_TYPES))},
        varm={"loadings": pd.DataFrame(program.loadings, index=genes, columns=list(CELL_TYPES))},
    )
    frame = {"global": Identity()}
    return SpatialData(
        images={
            image_key: Image2DModel.parse(
                np.moveaxis(drawn.image, -1, 0), dims=("c", "y", "x"), c_coords=["r", "g", "b"], transformations=frame
            )
        },
        shapes={
            section: ShapesModel.parse(
                centers_px, geometry=0, radius=_SPOT_UM / 2 / um_per_px, index=np.arange(n), transformations=frame
            )
        },
        tables={"table": TableModel.parse(table, region=section, region_key="region", instance_key="instance_id")},
        attrs={"st_predict": {"um_per_px": {image_key: um_per_px}}},
    )
