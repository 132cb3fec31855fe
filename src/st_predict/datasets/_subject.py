"""A subject: what all its sections have in common, drawn from its own stream of random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from st_predict.datasets._program import Assay, Program, patient_program, subject_shift
from st_predict.datasets._stain import Stain
from st_predict.datasets._traits import Traits


@dataclass(frozen=True)
class Subject:
    """What the sections of one subject have in common."""

    name: str
    traits: Traits
    stain: Stain
    program: Program
    shift: NDArray[np.float64]
    assay: Assay

    @classmethod
    def draw(cls, rng: np.random.Generator, program: Program, *, name: str, patient: bool) -> Subject:
        """Draw one subject: a patient of its own, or one of several much alike."""
        if patient:
            traits, stain = Traits.draw_patient(rng), Stain.draw_patient(rng)
            program, assay = patient_program(rng, program), Assay.draw_patient(rng)
        else:
            traits, stain, assay = Traits.draw(rng), Stain.draw(rng), Assay()
        return cls(name, traits, stain, program, subject_shift(rng, program), assay)

    @property
    def loadings(self) -> NDArray[np.float64]:
        """Expression of each gene in one cell of each type of this subject ``(n_genes, n_types)``."""
        return self.program.loadings * self.shift[:, None]
