"""Gene sets as targets: checks what a user asks for against the genes of the sections, and reads files of sets.

:mod:`~st_predict.core.expression` computes the value of a set.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import zlib
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError
from st_predict.core.gene_names import clean_name
from st_predict.core.text import check_text, open_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from st_predict.core.section import Section

logger = logging.getLogger("st_predict")
_EXAMPLE = "gene_sets={'T cells': ['CD3D', 'CD3E']}"


def with_gene_sets(sections: Sequence[Section], given: Any) -> list[Section]:
    """Sections that know the gene sets, each set without the genes that one of the sections lacks, which is said.

    Parameters
    ----------
    sections
        Sections with counts, all that take part.
    given
        Genes by name of the set; ``None``: no sets.

    Raises
    ------
    InputError
        If there is no dict of lists of genes, a name is taken, or a set is empty or has no gene that all sections have.
    """
    if given is None:
        return list(sections)
    asked = _checked(given)
    _check_names(sections, asked)
    shared = set.intersection(*(set(map(str, section.gene_names)) for section in sections))
    kept = {name: tuple(gene for gene in genes if gene in shared) for name, genes in asked.items()}
    for name, genes in asked.items():
        if not kept[name]:
            raise InputError(
                f"gene set {name!r} has no gene that all {len(sections)} sections have ({_lost(sections, genes)})",
                where="gene_sets",
                expected="at least one gene of each set in every section, named as there",
                remedy="leave this set out, or map its genes to the names that the tables use",
            )
        if len(kept[name]) < len(genes):
            left_out = [gene for gene in genes if gene not in shared]
            logger.warning(
                "gene set %r is the mean of %d of its %d genes; left out: %s",
                name, len(kept[name]), len(genes), _lost(sections, left_out),
            )  # fmt: skip
    return [dataclasses.replace(section, gene_sets=kept) for section in sections]


def read_gmt(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Gene sets of a GMT file, ``.gz`` as well: a set a line, its name, a description and its genes with tabs between.

    Raises
    ------
    InputError
        If the file cannot be read, a line is none of these, or two have one name.
    """
    expected = "a GMT file: a line a set, with tabs between its name, a description and its genes"
    check_text(Path(path), where="gene sets")
    try:
        with open_text(Path(path)) as file:
            text = file.read()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__})", where="gene sets", expected=expected, remedy="give one"
        ) from error
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if not line.strip():
            continue
        name, *fields = (field.strip() for field in line.split("\t"))
        genes = tuple(gene for gene in fields[1:] if gene)
        if name in found or not name or not genes:
            fault = f"names {name!r} again" if name in found else "has no name" if not name else "has no genes"
            raise InputError(
                f"line {number} of {path} {fault}", where="gene sets", expected=expected, remedy="correct the line"
            )
        found[name] = genes
    if not found:
        raise InputError(f"{path} is empty", where="gene sets", expected=expected, remedy="give one with sets")
    return found


def _checked(given: Any) -> dict[str, tuple[str, ...]]:
    """Names and distinct genes as plain strings, or a refusal."""
    if not isinstance(given, Mapping):
        raise InputError(
            f"gene_sets is of type {type(given).__name__}",
            where="gene_sets",
            expected="a dict of lists of genes by the name of the set",
            remedy=_EXAMPLE,
        )
    found = {}
    for name, members in given.items():
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"a gene set is named {name!r}", where="gene_sets", expected="a name of letters", remedy=_EXAMPLE
            )
        listed = isinstance(members, Iterable) and not isinstance(members, str | bytes | Mapping)
        genes = (sorted(members, key=str) if isinstance(members, Set) else list(members)) if listed else []
        if not listed or not all(isinstance(gene, str) for gene in genes):
            wrong = next((gene for gene in genes if not isinstance(gene, str)), members)
            raise InputError(
                f"gene set {name!r} {'holds' if listed else 'is'} {wrong!r:.60}",
                where="gene_sets",
                expected="a list of gene names",
                remedy=_EXAMPLE,
            )
        if not genes:
            raise InputError(
                f"gene set {name!r} is empty",
                where="gene_sets",
                expected="at least one gene in every set",
                remedy="list its genes, or leave it out",
            )
        found[name] = tuple(dict.fromkeys(map(clean_name, genes)))
    return found


def _check_names(sections: Sequence[Section], names: Iterable[str]) -> None:
    """Refuse a set that could not be told from a gene or another set, as predictions are stored ("/" becomes "_")."""
    taken = {str(g).replace("/", "_"): f"gene {str(g)!r} of {s.name!r}" for s in sections for g in s.gene_names}
    for name in names:
        stored = name.replace("/", "_")
        if stored in taken:
            raise InputError(
                f"gene set {name!r} is named like {taken[stored]}",
                where="gene_sets",
                expected='names that no gene and no other set has ("/" and "_" are alike)',
                remedy=f"call it {name + ' set'!r}, for example",
            )
        taken[stored] = f"gene set {name!r}"


def _lost(sections: Sequence[Section], genes: Iterable[str]) -> str:
    """Genes with the sections that lack them."""
    known = {section.name: set(map(str, section.gene_names)) for section in sections}
    lacking = {gene: [name for name, names in known.items() if gene not in names] for gene in genes}
    return ", ".join(f"{gene} (not in {', '.join(where)})" for gene, where in lacking.items() if where)
