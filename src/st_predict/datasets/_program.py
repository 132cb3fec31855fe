"""The known program from morphology to expression: what each gene's mean is, given the cells in and around a spot.

Owns genes and counts as plain arrays. Knows the cell types by name, nothing of images, geometry or SpatialData.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from st_predict.datasets._tissue import CELL_TYPES
from st_predict.datasets._traits import log_uniform

# The program is the same for every seed, so that a model trained on one synthetic study can be applied to another.
_PROGRAM_SEED = 20_171

NICHES = ("lymphocyte", "tumor")  # the cell types whose neighborhood switches the niche genes on
_NICHE_SHARE, _HOUSE_SHARE, _NOISE_SHARE = 0.16, 0.16, 0.08
_MEDIAN_UMI = 6_500.0
_TYPICAL_CELLS = 9.0  # cells in a spot of 55 um
_DISPERSION = 0.05
_AMBIENT_CELLS = 1.5  # transcripts that spread on the glass, as so many cells of average composition
_AMBIENT = np.array([0.30, 0.15, 0.30, 0.08, 0.12, 0.05])

# How patients differ in the program.
_STRENGTH = 0.7  # sigma of a program's strength, lognormal
_OFF, _REWIRED = (
    0.15,
    0.30,
)  # shares of the genes of a program that a patient keeps off, or expresses in another cell type
_NICHE_DEAF = 0.3  # share of patients in whom a niche changes nothing
_OWN = 0.25  # sigma of a subject's factor on a gene, lognormal


@dataclass(frozen=True)
class Program:
    """What every gene does.

    Parameters
    ----------
    genes
        Names ``(n_genes,)``, by program: ``TUMOR_01``, ..., ``HOUSE_01``, ``NICHE_TUMOR_01``, ..., ``NOISE_01``.
    group
        The program of each gene ``(n_genes,)``: a cell type, ``"house"``, ``"niche_lymphocyte"``, ``"niche_tumor"`` or ``"noise"``.
    loadings
        Expression of each gene in one cell of each type ``(n_genes, n_types)``.
    niche
        How strongly each gene answers to each of `NICHES` in its neighborhood ``(n_genes, n_niches)``.
    """

    genes: NDArray[np.str_]
    group: NDArray[np.str_]
    loadings: NDArray[np.float64]
    niche: NDArray[np.float64]


@dataclass(frozen=True)
class Assay:
    """How deep a subject was sequenced: the typical spot's transcripts, and those spread on the glass, as so many cells."""

    median_umi: float = _MEDIAN_UMI
    ambient_cells: float = _AMBIENT_CELLS

    @classmethod
    def draw_patient(cls, rng: np.random.Generator) -> Assay:
        """Draw the assay of one patient's block."""
        return cls(median_umi=log_uniform(rng, 2_800.0, 10_500.0), ambient_cells=log_uniform(rng, 0.6, 4.0))


_ASSAY = Assay()


@dataclass(frozen=True)
class Expression:
    """Raw counts ``(n_spots, n_genes)`` and the noise-free log1p of counts per 10,000 behind them, of the same shape."""

    counts: NDArray[np.float32]
    truth: NDArray[np.float32]


def gene_program(n_genes: int) -> Program:
    """Return the program of ``n_genes`` genes; it depends on that number alone."""
    rng = np.random.default_rng(_PROGRAM_SEED)
    n_house, n_noise = round(_HOUSE_SHARE * n_genes), max(round(_NOISE_SHARE * n_genes), 1)
    n_niche = round(_NICHE_SHARE * n_genes / len(NICHES))
    n_marker = n_genes - n_house - n_noise - n_niche * len(NICHES)
    markers = [CELL_TYPES[i * len(CELL_TYPES) // n_marker] for i in range(n_marker)]
    group = np.array(
        [*markers, *["house"] * n_house, *[f"niche_{n}" for n in NICHES for _ in range(n_niche)], *["noise"] * n_noise]
    )
    genes = np.array([f"{name.upper()}_{1 + np.count_nonzero(group[:i] == name):02d}" for i, name in enumerate(group)])

    loadings = rng.lognormal(sigma=1.0, size=(n_genes, 1)) * rng.lognormal(sigma=0.6, size=(n_genes, len(CELL_TYPES)))
    for index, name in enumerate(CELL_TYPES):
        own = group == name
        loadings[own, index] *= rng.uniform(5.0, 20.0, size=np.count_nonzero(own))
    # Little until switched on: else the niche genes would crowd out all others.
    loadings[np.char.startswith(group, "niche_")] *= 0.35
    answer = zip(NICHES, (5.5, 3.0), strict=True)  # lymphocytes are rarely the majority, so their niche answers to less
    niche = np.stack([(group == f"niche_{n}") * rng.uniform(0.5 * k, 1.5 * k, n_genes) for n, k in answer], axis=1)
    return Program(genes, group, loadings, niche)


def subject_shift(rng: np.random.Generator, program: Program) -> NDArray[np.float64]:
    """Draw one subject's own factor on the expression of each gene ``(n_genes,)``."""
    return rng.lognormal(sigma=_OWN, size=len(program.genes))


def patient_program(rng: np.random.Generator, program: Program) -> Program:
    """Draw the program as one patient follows it, with the same genes and groups.

    Every program has a strength of its own. Some genes of the cell types are off: no type expresses them more than
    another. Some are expressed by another type in place of their own. Niche genes answer with another strength, or not
    at all.
    """
    loadings, niche = program.loadings.copy(), program.niche.copy()
    for index, name in enumerate(CELL_TYPES):
        others = np.delete(np.arange(len(CELL_TYPES)), index)
        for gene in np.flatnonzero(program.group == name):
            fate, other = rng.random(), rng.choice(others)
            own, low = loadings[gene, index], np.median(loadings[gene, others])
            if fate < _OFF + _REWIRED:
                loadings[gene, index] = low
            if _OFF <= fate < _OFF + _REWIRED:
                loadings[gene, other] = own
    for name in np.unique(program.group[program.group != "noise"]):
        loadings[program.group == name] *= rng.lognormal(sigma=_STRENGTH)
    deaf, answer = rng.random(len(NICHES)) < _NICHE_DEAF, rng.uniform(0.3, 1.5, size=len(NICHES))
    niche *= np.where(deaf, 0.0, answer)
    return replace(program, loadings=loadings, niche=niche)


def express(
    rng: np.random.Generator,
    program: Program,
    *,
    cells: NDArray[np.float64],
    neighborhood: NDArray[np.float64],
    shift: NDArray[np.float64],
    assay: Assay = _ASSAY,
) -> Expression:
    """Express the program in every spot.

    Parameters
    ----------
    rng
        Source of the biological and technical noise.
    program
        What every gene does.
    cells
        Cells of each type in the spot ``(n_spots, n_types)``.
    neighborhood
        Composition of the wider surroundings ``(n_spots, n_types)``, rows sum to one.
    shift
        The subject's factor for each gene ``(n_genes,)``.
    assay
        How deep the subject was sequenced.

    Returns
    -------
    Counts and truth.
    """
    amount = cells + assay.ambient_cells * _AMBIENT
    composition = amount / amount.sum(axis=1, keepdims=True)
    # What no image shows: how active each cell type is in this spot, and every gene on its own.
    activity = rng.lognormal(sigma=0.25, size=composition.shape)
    own = rng.lognormal(sigma=0.1, size=(len(cells), len(program.genes)))
    around = neighborhood[:, [CELL_TYPES.index(name) for name in NICHES]]
    rate = (composition * activity) @ program.loadings.T * np.exp(around @ program.niche.T) * own * shift

    # Noise genes hold a share of their own, so that not even normalization ties them to the tissue.
    noise = program.group == "noise"
    base = program.loadings[noise].mean(axis=1) * shift[noise]
    swing = rng.normal(scale=0.5, size=(len(cells), len(base))).clip(
        -1.5, 1.5
    )  # bounded: the shares stay far below one
    share = _NOISE_SHARE * base / base.sum() * np.exp(swing)
    rate[:, noise] = 0.0
    mean = rate / rate.sum(axis=1, keepdims=True) * (1.0 - share.sum(axis=1, keepdims=True))
    mean[:, noise] = share

    crowding = ((2.0 + cells.sum(axis=1)) / (2.0 + _TYPICAL_CELLS)) ** 0.6
    depth = assay.median_umi * crowding * rng.lognormal(sigma=0.3, size=len(cells))
    gamma = rng.gamma(1.0 / _DISPERSION, _DISPERSION, size=mean.shape)
    counts = rng.poisson(depth[:, None] * mean * gamma)
    return Expression(counts.astype(np.float32), np.log1p(1e4 * mean).astype(np.float32))
