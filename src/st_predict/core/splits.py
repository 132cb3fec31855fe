"""What is held out together: groups of sections, by subject where several are known. Never spots of one section.

Inner folds lie within the training sections; outer folds hold out what scores are of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from st_predict.core.section import Section

Ground = Literal["new subject", "same subject", "new section"]
"""For what slides scores on held-out groups are valid, see :func:`ground_of`."""


class Fold(NamedTuple):
    """One inner fold, by section number."""

    train: list[int]
    held_out: list[int]


def held_out_groups(sections: Sequence[Section]) -> tuple[str, list[str]]:
    """What is held out together: ``"subject"`` where several are known, else ``"section"``; and each section's group."""
    subjects = [s.subject for s in sections if s.subject is not None]
    if len(subjects) == len(sections) and len(set(subjects)) > 1:
        return "subject", subjects
    return "section", [str(i) for i in range(len(sections))]


def ground_of(sections: Sequence[Section]) -> Ground:
    """What scores on held-out groups tell of: ``"new subject"``, ``"same subject"``, or ``"new section"`` of subjects unknown."""
    if held_out_groups(sections)[0] == "subject":
        return "new subject"
    return "new section" if only_subject(sections) is None else "same subject"


def only_subject(sections: Sequence[Section]) -> str | None:
    """The one subject that all sections are of; ``None`` where they are of several, or some name none."""
    known = {section.subject for section in sections}
    return known.pop() if len(known) == 1 else None


def inner_folds(sections: Sequence[Section], n_folds: int) -> list[Fold]:
    """Hold out each group of sections in turn, see :func:`held_out_groups`.

    With more groups than folds several are held out together; a single fold holds out the last group. No fold
    where there is one group only.
    """
    _, groups = held_out_groups(sections)
    names = list(dict.fromkeys(groups))
    if len(names) < 2 or n_folds == 0:
        return []
    parts = [names[-1:]] if n_folds == 1 else np.array_split(np.array(names), min(n_folds, len(names)))
    return [
        Fold(
            [i for i, group in enumerate(groups) if group not in part],
            [i for i, group in enumerate(groups) if group in part],
        )
        for part in map(set, parts)
    ]


class OuterFold(NamedTuple):
    """What is held out together, by section number."""

    name: str
    train: list[int]
    held_out: list[int]


def outer_folds(
    sections: Sequence[Section], groups: Literal["subject", "section"] | Sequence[str] | Mapping[str, str] | None
) -> tuple[str, list[OuterFold]]:
    """Hold out each subject in turn; each section where there is one subject, which the description then says.

    Parameters
    ----------
    sections
        All sections.
    groups
        ``"subject"``, ``"section"``, or what each section belongs to, in their order or by their names; ``None``: by subject
        where several are known, else by section.

    Returns
    -------
    A description, and the folds.

    Raises
    ------
    InputError
        If there are fewer than two groups, or a section has none.
    """
    if isinstance(groups, Mapping):
        groups = _in_order(sections, groups)
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
                + (f"{', '.join(missing)} have no subject" if missing else f"all are of {subjects[0]!r}"),
                where="groups",
                expected="at least two subjects, and a subject for every section (obs['subject'])",
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


def _in_order(sections: Sequence[Section], groups: Mapping[str, str]) -> list[str]:
    """Groups by the names of sections, in their order; every section has one, and every name is that of a section."""
    names = [section.name for section in sections]
    unfit = [name for name in names if name not in groups] or [name for name in groups if name not in names]
    if unfit:
        raise InputError(
            f"groups {'names no group for section' if unfit[0] in names else 'names a section that is not there:'} {unfit[0]!r}",
            where="groups",
            expected=f"a group for each of {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}",
            remedy="name the groups by these names, or give a list in the order of the sections: groups.tolist()",
        )
    return [groups[name] for name in names]


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
