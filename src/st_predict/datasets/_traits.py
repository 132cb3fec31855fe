"""The anatomy that differs from subject to subject, as numbers. Knows neither maps nor pixels nor genes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_COLD = 0.25  # share of patients with hardly a lymphocyte


@dataclass(frozen=True)
class Traits:
    """What differs from subject to subject in the anatomy.

    Parameters
    ----------
    tumor, immune, fat
        Share of the tissue that each of these regions takes.
    ducts
        Places tried for a duct.
    nest_um
        Width of a tumor nest: cords where small, sheets where large.
    cohesion
        How much the nests keep to the tumor's side of the section: scattered where small, one mass where large.
    cellularity
        Factor on the density of tumor cells.
    lymphocytes
        Factor on the density of lymphocytes outside the infiltrate.
    nuclear_size, atypia
        Factors on the half axes of tumor nuclei, and on how ragged and coarse they are.
    """

    tumor: float
    immune: float
    fat: float
    ducts: int = 140
    nest_um: float = 75.0
    cohesion: float = 0.9
    cellularity: float = 1.0
    lymphocytes: float = 1.0
    nuclear_size: float = 1.0
    atypia: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Traits:
        """Draw the traits of one of several subjects that are much alike."""
        return cls(tumor=rng.uniform(0.28, 0.46), immune=rng.uniform(0.08, 0.17), fat=rng.uniform(0.08, 0.20))

    @classmethod
    def draw_patient(cls, rng: np.random.Generator) -> Traits:
        """Draw the traits of one of several patients: each its own tumor in its own tissue."""
        tumor = rng.uniform(0.12, 0.62)
        cold = rng.random() < _COLD
        return cls(
            tumor=tumor,
            immune=(1.0 - tumor) * (0.01 if cold else rng.uniform(0.06, 0.40)),
            fat=(1.0 - tumor) * rng.uniform(0.0, 0.45),
            ducts=int(rng.integers(0, 240)),
            nest_um=log_uniform(rng, 35.0, 190.0),
            cohesion=rng.uniform(0.3, 1.5),
            cellularity=log_uniform(rng, 0.55, 1.5),
            lymphocytes=0.15 if cold else log_uniform(rng, 0.4, 3.0),
            nuclear_size=log_uniform(rng, 0.78, 1.4),
            atypia=log_uniform(rng, 0.5, 2.0),
        )


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a factor between ``low`` and ``high``, even in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
