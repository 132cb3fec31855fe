"""Synthetic sections with known ground truth: draws the tissue, expresses the genes and assembles SpatialData.

The only file of this generator that knows SpatialData; anatomy, stain and program are plain arrays in their own modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from st_predict.core.arguments.checked import checked
from st_predict.datasets import _program, _stain, _tissue
from st_predict.datasets._platforms import as_visium_hd, as_xenium, draw_placing
from st_predict.datasets._program import gene_program
from st_predict.datasets._subject import Subject
from st_predict.datasets._tissue import CELL_TYPES, REGIONS
from st_predict.datasets._transcripts import draw_transcripts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict.datasets._program import Expression, Program

_Subjects = Literal["alike", "patients"]
_Technology = Literal["visium", "xenium", "visium_hd"]

_SPOT_UM = 55.0
_PITCH_UM = 100.0
_NEIGHBORHOOD_UM = 110.0
_ON_TISSUE = 0.5  # share of its circle that a spot must have on tissue to be kept
# First key of the random streams, so that none of them depends on how many others there are.
_SUBJECTS, _SECTIONS, _PLACING = 1, 2, 3


@dataclass(frozen=True)
class _Drawn:
    """One section as plain arrays, spots in rows."""

    image: NDArray[np.uint8]
    array_xy: NDArray[np.intp]
    centers_um: NDArray[np.float64]
    cells: NDArray[np.float64]
    region: list[str]
    expression: Expression


@checked
def synthetic_tissue(
    *,
    n_sections: int = 4,
    n_subjects: int = 2,
    subjects: _Subjects = "alike",
    n_genes: int = 300,
    size_um: float = 1800.0,
    um_per_px: float = 0.75,
    technology: _Technology = "visium",
    seed: int = 0,
) -> dict[str, SpatialData]:
    """Draw H&E-like sections whose expression follows from their cells by a known program.

    Tumor nests, stroma, immune infiltrate, fat and ducts are filled with nuclei of six cell types and stained in
    optical density. Each spot (55 um, hexagonal array of 100 um pitch) expresses what its cells express. Genes of the
    ``niche_*`` programs also depend on the cells around the spot. ``noise`` genes depend on nothing that can be seen.
    Counts are negative binomial. Sections of one subject are always alike; ``subjects`` sets how subjects differ.

    Parameters
    ----------
    n_sections
        Number of sections. Section ``i`` is the same however many are drawn.
    n_subjects
        Number of subjects; sections are given to them in turn.
    subjects
        How subjects differ, see Notes. ``"alike"``: a little; a model is nearly as good on a new subject as on a new
        section. ``"patients"``: as patients do, both in how tissue looks and in what it expresses.
    n_genes
        Number of genes, at least 20. What a gene does depends on this number and never on ``seed``, so a model
        trained on one seed can be applied to another.
    size_um
        Side of the square image in um.
    um_per_px
        Scale of the image.
    technology
        What measures the section, see Returns. The tissue and its image are the same for all.
    seed
        Seed of everything else.

    Returns
    -------
    dict
        Section name (``"S1"``, ...) to SpatialData with image ``S1_image``, circles ``S1`` and table ``"table"``:
        raw counts in ``X``, the noise-free log1p of counts per 10,000 in ``layers["truth"]``, nuclei of each type
        within the spot in ``obsm["cell_types"]``, the tissue region in ``obs["tissue_region"]``, and each gene's
        program in ``var["program"]``. ``varm["loadings"]`` holds a gene's expression in each cell type as it is common
        to all subjects, ``varm["subject_loadings"]`` as it is in the subject of this section.

        The others have the elements that spatialdata-io's readers make, and what every cell expresses:

        - ``"xenium"``: ``points["transcripts"]`` in um, with ``feature_name`` (control probes among them), ``cell_id`` and
          ``qv``; ``shapes["cell_circles"]`` and ``tables["table"]``, the counts of cells; the image ``"he_image"``, which
          was scanned on another machine and is placed by an affine;
        - ``"visium_hd"``: bins of 8 and of 16 um, ``shapes["S1_square_008um"]`` with ``tables["square_008um"]`` and so on;
          the images ``S1_full_image`` and ``S1_hires_image``.

    Raises
    ------
    InputError
        If a number is too small or the image would hold no spot.

    Notes
    -----
    Subjects that are ``"alike"`` differ in the strength of each stain (uniform, .75 to 1.35), in the share of the
    tissue that is tumor (.28 to .46), infiltrate (.08 to .17) and fat (.08 to .20), and by a factor on every gene
    (lognormal, sigma .25).

    ``"patients"`` have that factor too, and differ in

    - stain and scan: hematoxylin .6 to 1.5 and eosin .5 to 1.6 times the usual, each color channel of either by a
      lognormal factor of sigma .16; the light of the empty slide by .87 to 1, its tint, the scanner's tone (exponent of the
      optical density, .82 to 1.25), blur of .35 to 1.3 um;
    - tissue: .12 to .62 of it tumor; of the rest .06 to .40 infiltrate and up to .45 fat, and none to many ducts. One
      patient in four has hardly a lymphocyte, the others .4 to 3 times the usual number outside the infiltrate.
      Tumor nests are 35 to 190 um wide, scattered or in one mass, with .55 to 1.5 times the cells, of .78 to 1.4
      times the size and .5 to 2 times the raggedness;
    - program: each program (cell types, niches, house) has a strength of its own, lognormal of sigma .7. In each cell
      type 15 % of the genes are off (no more expressed in their own type than in the others) and 30 % are rewired
      (expressed in another type in place of their own); which genes differs between patients. Each niche changes nothing
      in 30 % of patients, and is .3 to 1.5 times as strong as usual in the others;
    - assay: the typical spot holds 2,800 to 10,500 transcripts, and .6 to 4 cells' worth of them (1.5 where alike)
      come from the glass, not from its cells.

    Examples
    --------
    >>> sections = stp.datasets.synthetic_tissue(n_sections=2, n_genes=60, size_um=800)
    >>> sections["S1"].tables["table"].shape
    (41, 60)
    >>> sections["S1"].tables["table"].var["program"].unique().tolist()
    ['tumor', 'lymphocyte', 'fibroblast', 'macrophage', 'epithelial', 'adipocyte', 'house', 'niche_lymphocyte', ...]
    """
    program = gene_program(n_genes)
    sections = {}
    for index in range(n_sections):
        name, number = f"S{index + 1}", index % n_subjects
        block, slide = _stream(seed, _SUBJECTS, number), _stream(seed, _SECTIONS, index)
        subject = Subject.draw(block, program, name=f"P{number + 1}", patient=subjects == "patients")
        ground = _grow(slide, subject, size_um=size_um, um_per_px=um_per_px)
        if technology == "visium":
            drawn = _draw(slide, subject, ground, size_um=size_um)
            sections[name] = _assemble(drawn, program, subject, section=name, um_per_px=um_per_px)
            continue
        transcripts = draw_transcripts(slide, subject, ground.cells, size_um)
        if technology == "xenium":
            placing = draw_placing(_stream(seed, _PLACING, index), size_um)
            sections[name] = as_xenium(
                ground, transcripts, placing, subject=subject.name, section=name, um_per_px=um_per_px
            )
        else:
            sections[name] = as_visium_hd(ground, transcripts, subject=subject.name, section=name, um_per_px=um_per_px)
    return sections


def _stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


@dataclass(frozen=True)
class Ground:
    """What lies on one slide, whatever measures it."""

    tissue: _tissue.Tissue
    cells: _tissue.Cells
    image: NDArray[np.uint8]


def _grow(rng: np.random.Generator, subject: Subject, *, size_um: float, um_per_px: float) -> Ground:
    tissue = _tissue.grow_tissue(rng, size_um, subject.traits)
    cells = _tissue.place_cells(rng, tissue, size_um)
    size_px = round(size_um / um_per_px)
    stain = subject.stain.vary(rng)
    return Ground(tissue, cells, _stain.draw_section(rng, tissue, cells, stain, size_px=size_px, um_per_px=um_per_px))


def _draw(rng: np.random.Generator, subject: Subject, ground: Ground, *, size_um: float) -> _Drawn:
    from scipy.spatial import cKDTree
    from scipy.spatial.distance import cdist

    tissue, cells = ground.tissue, ground.cells
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
    expression = _program.express(
        rng, subject.program, cells=counted, neighborhood=nearby, shift=subject.shift, assay=subject.assay
    )
    labels = [_tissue.REGIONS[label] for label in region]
    return _Drawn(ground.image, array_xy, centers_um, counted, labels, expression)


def _spot_array(size_um: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Hexagonal array over the image: array positions ``(n, 2)`` (columns counted in half pitches) and centers in um."""
    row_step, margin = _PITCH_UM * np.sqrt(3) / 2, _PITCH_UM / 2
    n_rows, n_cols = int((size_um - 2 * margin) / row_step) + 1, int((size_um - 2 * margin) / _PITCH_UM) + 1
    row, col = (grid.ravel() for grid in np.meshgrid(np.arange(n_rows), np.arange(n_cols), indexing="ij"))
    x = 2 * col + row % 2
    array_xy = np.column_stack([x, row])
    return array_xy, np.column_stack([margin + x * _PITCH_UM / 2, margin + row * row_step])


def _assemble(drawn: _Drawn, program: Program, subject: Subject, *, section: str, um_per_px: float) -> SpatialData:
    import anndata as ad
    import pandas as pd
    from scipy.sparse import csr_matrix
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Identity

    image_key = f"{section}_image"
    centers_px = drawn.centers_um / um_per_px
    n = len(centers_px)
    spots = pd.Index([f"{x}x{y}" for x, y in drawn.array_xy])
    obs = pd.DataFrame(
        {
            "region": pd.Categorical([section] * n),
            "instance_id": np.arange(n),
            "section": pd.Categorical([section] * n),
            "subject": pd.Categorical([subject.name] * n),
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
        varm={
            "loadings": pd.DataFrame(program.loadings, index=genes, columns=list(CELL_TYPES)),
            "subject_loadings": pd.DataFrame(subject.loadings, index=genes, columns=list(CELL_TYPES)),
        },
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
