"""Sections as a user gives them, one, a list or a dict, objects or stores: read, named apart, with their gene sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.read import read_section
from st_predict._spatialdata.stored import read_stored_section
from st_predict.core.errors import InputError
from st_predict.core.gene_names import say_common, with_names_alike
from st_predict.core.gene_sets import with_gene_sets
from st_predict.core.once import check_once
from st_predict.core.outputs import check_apart
from st_predict.core.section import with_common_names

if TYPE_CHECKING:
    from typing import TypeAlias

    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed
    from st_predict.core.section import Section

    Sections: TypeAlias = "SectionLike | Sequence[SectionLike] | Mapping[str, SectionLike]"
    SectionLike: TypeAlias = SpatialData | str | Path


class ReadSections(NamedTuple):
    """Sections with the objects they were read from."""

    sections: list[Section]
    placed: list[Placed]
    objects: list[SpatialData | Path]
    """As given: a store is opened anew where it is needed."""


def read_sections(sdata: Sections, elements: Elements = Elements(), *, gene_sets: Any = None) -> ReadSections:
    """Read one section, a list, or a dict that names them, and the gene sets of them that are targets.

    Raises
    ------
    InputError
        If there are none, one cannot be read, two are the same section or have one name, or the gene sets cannot be used.
    """
    if isinstance(sdata, Mapping):
        named: list[tuple[str | None, Any]] = list(sdata.items())
    else:
        named = [(None, one) for one in (sdata if isinstance(sdata, list | tuple) else [sdata])]
    if not named:
        raise InputError("there are no sections", where="sdata", expected="at least one", remedy="give sections")
    sections, placed, objects = [], [], []
    for name, given in named:
        one = Path(given) if isinstance(given, str) else given
        section, found = (
            read_stored_section(one, elements)
            if isinstance(one, Path)
            else read_section(one, elements, need_counts=True)
        )
        sections.append(section if name is None else dataclasses.replace(section, name=str(name)))
        placed.append(found)
        objects.append(one)
    check_once(sections)
    names = [section.name for section in sections]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(
            f"{len(twice)} sections are named {twice[0]!r}",
            where="sdata",
            expected="a name of its own for each section",
            remedy="give a dict that names them: train({'A1': ..., 'B1': ...})",
        )
    sections = with_names_alike(with_common_names(sections))
    say_common(sections)
    return ReadSections(with_gene_sets(sections, gene_sets), placed, objects)


def check_outside(read: ReadSections, **places: str | Path | None) -> None:
    """Refuse folders to be written, by the argument they were given as, within stores that are read.

    Raises
    ------
    InputError
        Naming the folder.
    """
    stores = [one for one in read.objects if isinstance(one, Path)]
    for where, place in places.items():
        if place is not None:
            check_apart(Path(place), stores, where=where)
