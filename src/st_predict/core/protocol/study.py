"""A study: sections with their encoded tiles, and the groups of them that are held out. Fits nothing."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.tiles.sources import ArraySource

if TYPE_CHECKING:
    from st_predict.core.fitting.hardware import Hardware
    from st_predict.core.fitting.plan import Plan
    from st_predict.core.inputs.encoded import EncodedTiles
    from st_predict.core.section import Section

_PART_SPOTS = 256


@dataclass(frozen=True)
class Candidate:
    """One row of the comparison.

    Parameters
    ----------
    label
        What tables call it.
    plan
        Method and settings, panel, spot filter and seed.
    among
        What it is chosen among on the training sections of every fold; empty: it is the method named.
    """

    label: str
    plan: Plan
    among: tuple[Candidate, ...] = ()


@dataclass(frozen=True, eq=False)
class Study:
    """Sections and their tiles, all that fitting and scoring need; images are left behind.

    Parameters
    ----------
    sections
        The sections.
    frozen, trainable
        Their tiles for candidates with a frozen and with a trainable encoder; ``None`` where there is none such.
    hardware
        Where fits run.
    domains
        What the tiles of training sections look like, by their numbers: fitted once a fold, and not once a method.
    """

    sections: list[Section]
    frozen: EncodedTiles | None
    trainable: EncodedTiles | None
    hardware: Hardware
    domains: dict[tuple[int, ...], Any] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        blank = ArraySource(np.zeros((1, 1, 3), np.uint8))
        without = [dataclasses.replace(section, image=blank, reduced=()) for section in self.sections]
        object.__setattr__(self, "sections", without)

    def only(self, wanted: list[int]) -> Study:
        """The study of some sections, as if there were no others."""
        return dataclasses.replace(
            self,
            sections=[self.sections[i] for i in wanted],
            frozen=self.frozen and self.frozen.only(wanted),
            trainable=self.trainable and self.trainable.only(wanted),
        )

    def tiles_of(self, candidate: Candidate) -> EncodedTiles:
        """Tiles as a candidate takes them."""
        tiles = self.trainable if candidate.plan.recipe.fit.trainable_encoder else self.frozen
        if tiles is None:
            raise ValueError("the study was made without tiles of this kind")
        return tiles

    def digest(self, candidate: Candidate) -> str:
        """Hash of everything a candidate's folds depend on: sections, their tiles, and the encoder behind them."""
        found = hashlib.sha256()
        tiles = self.tiles_of(candidate)
        names = [(section.name, section.subject) for section in self.sections]
        found.update(repr((names, tiles.spec, tiles.identity.name, tiles.identity.fingerprint)).encode())
        if self.sections[0].gene_sets:
            found.update(repr(list(self.sections[0].gene_sets.items())).encode())
        for section in self.sections:
            for part in section.measured():
                found.update(part)
        for values in tiles.values:
            for start in range(0, len(values), _PART_SPOTS):
                found.update(np.ascontiguousarray(values[start : start + _PART_SPOTS]).tobytes())
        return found.hexdigest()
