"""Names of genes across sections: what is common to all, what is lost, and why names may not match."""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from st_predict.core.section import Section

logger = logging.getLogger("st_predict")

_GENOME = r"(?i)^(GRC[hmrz]\d+|hg\d+|mm\d+|rn\d+|human|mouse|rat)(_+|:|\||-)(?=\w)"  # GRCh38_CD3D
# What names may differ by, one thing at a time, then two.
_ALIKE: dict[str, Callable[[str], str]] = {
    "their version suffix": lambda name: re.sub(r"\.\d+$", "", name),
    "upper and lower case": str.casefold,
    "the genome before them": lambda name: re.sub(_GENOME, "", name),
    "quotation marks": lambda name: name.strip("\"'"),
    "dots, dashes and underscores": lambda name: re.sub(r"[-_.:/ ]", ".", name),  # R's make.names
    "the number of their transcript": lambda name: re.sub(r"-2\d\d$", "", name),  # CD3D-201
    "the text after an id": lambda name: re.sub(r"(?<=\w)(\s|\(|\|).*$", "", name),  # CD3D (ENSG00000167286)
}
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # zero, and halves of letters, as Python holds bytes that are no UTF-8
_ENOUGH = 0.1  # of the names that are not found, for a reason to be one
_FEW = 0.5  # of the genes of the smallest section
_LISTED = 4


def clean_name(name: object) -> str:
    """A name without the byte-order mark and the blanks, of any width, that text files leave around it.

    Empty for what is no name: neither text nor a number, such as a missing value, or a row of a MultiIndex; or text that
    no file can hold.
    """
    if isinstance(name, str) and name.isascii() and "\0" not in name:  # as nearly all are, by the ten thousand
        return name.strip()
    if not isinstance(name, str | Real) or name != name or _NO_TEXT.search(str(name)):
        return ""
    return re.sub(r"^[\s\ufeff\u200b]+|[\s\ufeff\u200b]+$", "", str(name))


def why_lost(lost: Iterable[str], known: Iterable[str]) -> str:
    """Say in words the only difference between names that are not found and names that are there; ``""`` if there are more.

    >>> why_lost(["ENSG00000167286.9"], ["ENSG00000167286.11"])
    'they differ only by their version suffix (ENSG00000167286.9 and ENSG00000167286.11)'
    """
    lost, known = sorted(set(lost)), sorted(set(known))
    for what, of_lost, of_known in _ways():
        there = {of_known(name): name for name in reversed(known)}
        pairs = [(name, there[of_lost(name)]) for name in lost if of_lost(name) in there]
        if pairs and len(pairs) >= _ENOUGH * len(lost):
            who = "they differ" if len(pairs) == len(lost) else f"{len(pairs)} of them differ"
            return f"{who} only by {what} ({pairs[0][0]} and {pairs[0][1]})"
    return ""


def _ways() -> list[tuple[str, Callable[[str], str], Callable[[str], str]]]:
    """Differences between names, one or two at once, each with the functions that remove it from the names of either side."""

    def both(one: Callable[[str], str], other: Callable[[str], str]) -> Callable[[str], str]:
        return lambda name: one(other(one(name)))  # whichever of them stands outside

    pairs = itertools.combinations(_ALIKE.items(), 2)
    ways = _ALIKE | {f"{what} and {other}": both(one, two) for (what, one), (other, two) in pairs}
    both_sides = [(what, alike, alike) for what, alike in ways.items()]
    # Left out on one side alone: the rest must be the whole other name, as ADIPOCYTE_01 and TUMOR_01 are no one gene.
    before = "a prefix"
    return [*both_sides, (before, _without_first, str), (before, str, _without_first)]


def _without_first(name: str) -> str:
    return re.sub(r"^[^_:|]+[_:|]+(?=\w)", "", name)


def names_like(namings: Mapping[str, NDArray[np.str_]], wanted: Iterable[str]) -> tuple[str, NDArray[np.str_]]:
    """The names of a table's genes, of those it has, that find most of the genes that are wanted.

    Parameters
    ----------
    namings
        Names ``(n_genes,)`` by where they stand; the first are used unless they find less than half and others find more.
    wanted
        Names that are looked for. Ensembl ids are found whatever version they have.

    Returns
    -------
    Where the names stand, and the names, spelled as those that are wanted. A name that several genes have finds none of
    them; a gene that is not found keeps its first name.
    """
    spelled = {_without_version(name): name for name in wanted}
    (own, first), *others = namings.items()
    known = set(spelled.values())
    best, n_best = (own, first), len(known.intersection(first.tolist()))
    if n_best >= _FEW * len(known):
        return best
    for where, names in [(own, first), *others]:
        found = [spelled.get(_without_version(name), "") for name in names.tolist()]
        times = Counter(found)
        n_found = sum(times[name] == 1 for name in times if name)
        if n_found > n_best:
            renamed = [name if times[name] == 1 else mine for name, mine in zip(found, first.tolist(), strict=True)]
            best, n_best = (where, np.array(renamed, np.str_)), n_found
    return best


def _without_version(name: str) -> str:
    return re.sub(r"^(ENS[A-Z]*G\d+)\.\d+$", r"\1", name)


def named_like(section: Section, wanted: Iterable[str]) -> Section:
    """A section whose genes are named as those that are wanted, if its table has such names, see :func:`names_like`."""
    if not len(section.gene_names):
        return section
    where, names = names_like({"var_names": section.gene_names, **section.other_names}, wanted)
    return replace(section, gene_names=names) if names is not section.gene_names else section


def with_names_alike(sections: Sequence[Section]) -> list[Section]:
    """Sections whose genes have names of one kind, if their tables have those beside names of another kind.

    Names of tables stay as they are if they find half of the genes of the smallest section.
    """
    best, n_best = list(sections), _n_common(sections)
    if n_best >= _FEW * min(len(section.gene_names) for section in sections):
        return best
    for section in sections:
        for names in (section.gene_names, *section.other_names.values()):
            wanted = set(names.tolist()) - {""}
            alike = [named_like(one, wanted) for one in sections]
            if _n_common(alike) > n_best:
                best, n_best = alike, _n_common(alike)
    for section, renamed in zip(sections, best, strict=True):
        if renamed is not section:
            n_lost = int((renamed.gene_names == section.gene_names).sum())
            logger.warning(
                "the genes of %s are named as those of the other sections, by a column of its var: %d of %d are found, %d keep "
                "their own names (%s, ...)",
                section.name, len(renamed.gene_names) - n_lost, len(renamed.gene_names), n_lost, section.gene_names[0],
            )  # fmt: skip
    return best


def _n_common(sections: Sequence[Section]) -> int:
    return len(set.intersection(*(set(section.gene_names.tolist()) for section in sections)))


def of_note(lost: Iterable[str], known: Iterable[str]) -> str:
    """:func:`why_lost` as the end of a sentence."""
    why = why_lost(map(str, lost), map(str, known))
    return f": {why}" if why else ""


def say_common(sections: Sequence[Section]) -> None:
    """Say how many genes are common to sections, where some are not: a warning if they are few, or names nearly match."""
    names = [set(map(str, section.gene_names)) for section in sections]
    common = set.intersection(*names)
    most, least = max(map(len, names)), min(map(len, names))
    if len(common) == most or not common:  # without any there is no training, and an error says why
        return
    first = names[0]
    why = why_lost(first - common, set().union(*names[1:]) - first)
    listing = ", ".join(f"{s.name} has {len(own)}" for s, own in zip(sections[:_LISTED], names, strict=False))
    level = logging.WARNING if why or len(common) < _FEW * least else logging.INFO
    logger.log(
        level,
        "%d of %d genes are common to all %d sections (%s%s); the others are left out%s",
        len(common), most, len(sections), listing, ", ..." if len(sections) > _LISTED else "",
        f", {len(first - common)} of {sections[0].name} among them: {why}. Give all sections one kind of names" if why else "",
    )  # fmt: skip


def say_lost(lost: Sequence[str], panel: Sequence[str], known: Iterable[str], *, of: str, so: str) -> None:
    """Say which genes of a panel a section does not have, and what follows from it.

    Parameters
    ----------
    lost, panel
        The genes, and those they are of.
    known
        Names the section has.
    of, so
        The section, and what follows, in words.
    """
    if not lost:
        return
    why = why_lost(lost, set(map(str, known)) - set(panel))
    level = logging.WARNING if why or len(lost) > _FEW * len(panel) else logging.INFO
    logger.log(
        level,
        "%s has %d of the %d predicted genes and lacks %s%s: %s%s",
        of, len(panel) - len(lost), len(panel), ", ".join(lost[:_LISTED]), ", ..." if len(lost) > _LISTED else "", so,
        f" ({why})" if why else "",
    )  # fmt: skip
