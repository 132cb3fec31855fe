"""A study: sections with their encoded tiles, and the groups of them that are held out. Fits nothing."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from st_predict.core.errors import InputError
from st_predict.core.tiles.sources import ArraySource

if TYPE_CHECKING:
    from st_predict.core.section import Section
    from st_predict.core.training.encoded import EncodedTiles
    from st_predict.core.training.hardware import Hardware
    from st_predict.core.training.plan import Plan

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


class OuterFold(NamedTuple):
    """What is held out together, by section number."""

    name: str
    train: list[int]
    held_out: list[int]


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


def outer_folds(
    sections: Sequence[Section], groups: Literal["subject", "section"] | Sequence[str] | None
) -> tuple[str, list[OuterFold]]:
    """Hold out each subject in turn; each section where there is one subject, which the description then says.

    Parameters
    ----------
    sections
        All sections.
    groups
        ``"subject"``, ``"section"``, or one name a section of what belongs together; ``None``: by subject where
        several are known, else by section.

    Returns
    -------
    A description, and the folds.

    Raises
    ------
    InputError
        If there are fewer than two groups.
    """
    subjects = [section.subject for section in sections]
    known = {subject for subject in subjects if subject is not None}
    several = len(known) > 1 and None not in subjects
    if groups is None:
        groups = "subject" if several else "section"
    if isinstance(groups, str) and groups == "subject":
        if not several:
            missing = [s.name for s in sections if s.subject is None]
            raise InputError(
                "sections cannot be split by subject: "
                + (f"{', '.join(missing)} name none" if missing else f"all are of {subjects[0]!r}"),
                where="groups",
                expected="at least two subjects, every section's known (obs['subject'])",
                remedy="leave groups out to hold out one section at a time within one subject",
            )
        return "leave one subject out", _folds([str(subject) for subject in subjects])
    if isinstance(groups, str) and groups == "section":
        folds = _folds([section.name for section in sections])
        unknown = ", subjects unknown" if None in subjects else ""
        return f"leave one section out{unknown or _shared_subjects(subjects, folds)}", folds
    if isinstance(groups, str) or len(groups) != len(sections):
        raise InputError(
            f"groups is {groups!r}",
            where="groups",
            expected=f"'subject', 'section', or {len(sections)} names, one a section",
            remedy="correct groups",
        )
    folds = _folds([str(group) for group in groups])
    return f"leave one group out{_shared_subjects(subjects, folds)}", folds


def _shared_subjects(subjects: Sequence[str | None], folds: Sequence[OuterFold]) -> str:
    """What a split must be called where it trains on a subject that it tests on."""
    known = set(subjects) - {None}
    if len(known) == 1 and None not in subjects:
        return ", within one subject"
    sides = [({subjects[i] for i in fold.train}, {subjects[i] for i in fold.held_out}) for fold in folds]
    return ", sections of one subject on both sides" if any(a & b & known for a, b in sides) else ""


def _folds(names: list[str]) -> list[OuterFold]:
    distinct = list(dict.fromkeys(names))
    if len(distinct) < 2:
        raise InputError(
            f"there is nothing to hold out: all sections are of {distinct[0]!r}",
            where="sections",
            expected="at least two sections, of two groups",
            remedy="give more sections; a spot-wise split would leak, since neighboring spots are alike",
        )
    return [
        OuterFold(
            name,
            [i for i, other in enumerate(names) if other != name],
            [i for i, other in enumerate(names) if other == name],
        )
        for name in distinct
    ]
