"""What columns of spots and features mean, by their names and values: rules on words, the only ones there are.

Names are read without case and what parts their words, and without what merging tables adds to them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.arguments.kinds import shown
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_MERGED = re.compile(r"[._][xy]$|-\d+$")  # by pandas and R, and by AnnData.concatenate
_PLACE = re.compile(r"[._][xy]$")
_MOST_SECTIONS = 24
_AFTER = (
    "(s|ids?|names?|no|nr|num|number|label|key|code|uuid|index|idx|files?|filename|path|barcode|accession|serial|title)"
)
_SAMPLES = re.compile(
    "(tissue|visium|bio|serial|spatial|orig|original|source|geo|he)*"
    "(samples?|sections?|(capture|visium)area|images?|files?|filename|coordinatesystem|pucks?|gsm|accession|"
    f"(library|libraries|slide|slice){_AFTER}){_AFTER}*|origident"
)
_PERSONS = "specimens?|donors?|patients?|subjects?|mouse|mice|animals?|individuals?"
_PARTS = re.compile(
    f"(tissue|visium)?(library|libraries|slides?|slices?|batch|datasets?|{_PERSONS}|replicates?|"
    f"fov|gemgroup|gemwell|arrays?|region|roi|block){_AFTER}*"
)
_PERSON = re.compile(f"({_PERSONS}){_AFTER}*")
_NUMBERED = re.compile(r"library|slides?|slices?|specimens?")
_SERIAL = re.compile(r"(?=.*\d)(?=.*[A-Za-z]).{3,}")  # V10-1, GSM4284316; a score or a mark is no such word

_ON, _OFF = "(in|inside|on|under|within|over|overlaps?|covers?)", "(off|outside|outof|non|not(in|on|under)?)"
_TISSUE = re.compile("(in|on|under|is)tissue")
_MAYBE_TISSUE = re.compile(f"(spots?|is|has|{_ON})*tissue(in|mask|flag|status|spots?)*|selected")
_NO_TISSUE = re.compile(f"(spots?|is)*({_OFF}tissue|on(glass|background)|isglass|isbackground)(mask|flag|spots?)*")
_TRUE = {"true", "t", "yes", "y", "on", "tissue", "in", "inside", "in tissue", "on tissue", "under tissue"}
_FALSE = {
    "false", "f", "no", "n", "off", "glass", "background", "out", "outside", "not in tissue", "not tissue", "no tissue",
    "off tissue", "out of tissue",
}  # fmt: skip
_NAMED = 3
_MISSING = {"", "na", "n/a", "nan", "none", "null", "<na>"}


def comparable(values: pd.Series) -> pd.Series:
    """A column whose values can be told apart: as text where some are lists, dicts or arrays, which cannot."""
    try:
        values.factorize()
    except TypeError:
        return values.map(str, na_action="ignore")
    return values


def check_comparable(values: pd.Series) -> None:
    """Refuse a column of spots whose values cannot be told apart, see :func:`comparable`.

    Raises
    ------
    InputError
        With one of these values.
    """
    if comparable(values) is not values:
        raise InputError(
            f"a value of obs[{values.name!r}] is {shown(next(v for v in values.dropna() if not isinstance(v, str)))}",
            where=f"obs[{values.name!r}]",
            expected="text or numbers",
            remedy=f"make them text: obs[{values.name!r}] = obs[{values.name!r}].astype(str); or drop the column",
        )


def check_columns(frame: pd.DataFrame, where: str) -> None:
    """Refuse a table of spots or features in which two columns have one name.

    Raises
    ------
    InputError
        With the first such name.
    """
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise InputError(
            f"several columns of {where} are called {twice.tolist()[0]!r}",
            where=where,
            expected="a name of its own for each column",
            remedy=f"keep the first of each: {where} = {where}.loc[:, ~{where}.columns.duplicated()]",
        )


def plain_name(name: object) -> str:
    """Name of a column without case and what parts its words: ``sampleID``, ``Sample.Id`` and ``sample_id`` are one."""
    return re.sub(r"[\W_]+", "", str(name)).lower()


def column_name(name: object) -> str:
    """:func:`plain_name` without what merging adds: ``sample_x``, ``sample.y`` and ``sample-0`` are ``sample``."""
    return plain_name(_MERGED.sub("", str(name).strip()))


def plain_word(value: object) -> str:
    """A value as words in lower case; bytes are text."""
    return re.sub(r"[-_\s]+", " ", _text(value)).strip().lower()


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def names_samples(values: pd.Series) -> bool:
    """Whether a column tells samples or sections apart: by its name, or by values that are serial numbers.

    Fractions are scores, whatever the column is called; whole numbers may have become floats beside a missing one. Numbers
    in x or y are places, and of more than some tens of values no column tells what lies on one image.
    """
    name, numbers = column_name(values.name), values.dtype.kind in "iuf"
    if numbers and _PLACE.search(str(values.name)):
        return False
    if _SAMPLES.fullmatch(name):
        try:
            if values.nunique() > _MOST_SECTIONS:
                return False
        except TypeError:  # lists and the like
            return False
        return values.dtype.kind != "f" or bool((values.dropna() % 1 == 0).all())
    if not _NUMBERED.fullmatch(name):
        return False
    return all(isinstance(value, str) and _SERIAL.fullmatch(value) for value in values.dropna())


def names_parts(name: object) -> bool:
    """Whether a column may tell samples apart, or parts of one section."""
    return _PARTS.fullmatch(column_name(name)) is not None


def names_persons(name: object) -> bool:
    """Whether a column tells donors apart, of whom one slide may hold several."""
    return _PERSON.fullmatch(column_name(name)) is not None


def is_choice(name: object) -> bool:
    """Whether a column may as well be a user's choice, or a kind of tissue."""
    return plain_name(name) in ("selected", "tissue")


def tissue_columns(frame: pd.DataFrame) -> list[tuple[str, bool]]:
    """Columns that tell which spots are in tissue, the usual one first, and whether yes is tissue or glass in them.

    Some names are also those of a kind of tissue, or of a user's choice: they count if they are of both marks alone.
    """
    found: list[tuple[int, str, bool]] = []
    for column in frame.columns:
        name = column_name(column)
        sure, negative = _TISSUE.fullmatch(name), _NO_TISSUE.fullmatch(name)
        if not (sure or negative or _MAYBE_TISSUE.fullmatch(name)):
            continue
        marks = {yes_or_no(value) for value in comparable(frame[column]).unique()} - {None}
        if not marks or (not sure and marks != {True, False}):
            continue
        rank = 0 if column == "in_tissue" else 1 if sure else 2 if negative else 4 if is_choice(column) else 3
        found.append((rank, str(column), not negative))
    return [(column, positive) for _, column, positive in sorted(found, key=lambda entry: entry[0])]


def empty_tissue_column(frame: pd.DataFrame) -> str | None:
    """The column that should tell which spots are in tissue, where it has no value at all and no other one tells."""
    if not len(frame) or tissue_columns(frame):
        return None
    sure = (column for column in frame.columns if _TISSUE.fullmatch(column_name(column)))
    return next(
        (str(column) for column in sure if {yes_or_no(value) for value in frame[column].unique()} == {None}), None
    )


def yes_or_no(value: object) -> bool | str | None:
    """Yes or no, however it is written; ``None`` where it is missing, and the words where they say neither."""
    word = plain_word(value)
    if word in _MISSING:
        return None
    if word in _TRUE | _FALSE:
        return word in _TRUE
    try:
        number = float(_text(value))  # with its sign, which is none of a word's
        return {0.0: False, 1.0: True}.get(number, f"{number:g}")
    except ValueError:
        return word


def marked(values: pd.Series, *, yes: bool) -> NDArray[np.bool_]:
    """Rows of a column of marks that say yes, or those that say no ``(n,)``."""
    codes, found = comparable(values).factorize()  # -1: missing, as of a barcode without a position
    return np.array([*(yes_or_no(value) is yes for value in found), False], bool)[codes]


def check_marks(values: pd.Series, where: str, *, of: str, meant: str) -> None:
    """Refuse a column of marks with words that say neither yes nor no.

    Parameters
    ----------
    values, where
        The column, and what the user calls it.
    of, meant
        What yes is said of, and the column of that name that is meant.

    Raises
    ------
    InputError
        With the first such words.
    """
    if unknown := [value for value in comparable(values).unique() if isinstance(yes_or_no(value), str)]:
        raise InputError(
            f"{where} holds {', '.join(repr(str(value)) for value in unknown[:_NAMED])}",
            where=where,
            expected=f"1 or True for {of}, 0 or False for the others",
            remedy=f"correct the column, or rename it if it means something else than {meant}",
        )
