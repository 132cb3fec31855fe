"""Kinds of values that an argument may be; each takes a value, or says what was found and what was expected.

Knows no argument and no verb. The class of another package is checked without importing that package: if there is a
value of the class, the package is imported already.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Collection, KeysView, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from st_predict.core.checks import whole_number
from st_predict.core.errors import InputError
from st_predict.core.gene_names import clean_name
from st_predict.core.room import give_back

_SHOWN = 60  # letters of a value in an error
_LONGEST_NAME = 200  # bytes; file systems take 255, and endings are added
_LONGEST_PART = 255
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # no name of a file on Windows, whatever its ending
_LONGEST_TEXT = 1000
_AT_ONCE = 4096  # rows
_LARGEST = 1e15  # of an array's numbers: their squares are summed in single precision
_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, range, Path, np.generic)


class Misfit(Exception):
    """A value that is not of the kind that was expected.

    Parameters
    ----------
    found
        What it is, as in "seed is ...".
    expected
        What was expected.
    at
        Where in the value, such as ``"[1]"``.
    near
        Whether its type is right. Of several kinds, this one was then meant.
    """

    def __init__(self, found: str, expected: str, *, at: str = "", near: bool = False) -> None:
        super().__init__(found)
        self.found, self.expected, self.at, self.near = found, expected, at, near


class Kind:
    """One kind of values."""

    remedy: str = ""
    """What to do about a wrong value; empty: correct it."""

    @property
    def expected(self) -> str:
        """The kind, in words."""
        raise NotImplementedError

    def take(self, value: Any) -> Any:
        """The value in plain Python types.

        Raises
        ------
        Misfit
            If it is none of this kind.
        """
        raise NotImplementedError

    def check(self, value: Any, where: str) -> Any:
        """The value in plain Python types; ``where`` is the argument.

        Raises
        ------
        InputError
            If it is none of this kind.
        """
        try:
            return self.take(value)
        except Misfit as misfit:
            place = f"{where}{misfit.at}"
            remedy = self.remedy or f"correct {place}"
            raise InputError(
                f"{place} is {misfit.found}", where=where, expected=misfit.expected, remedy=remedy
            ) from None

    def misfit(self, value: Any, *, near: bool = False) -> Misfit:
        """The error for a value that is not of this kind."""
        return Misfit(shown(value), self.expected, near=near)


def shown(value: Any) -> str:
    """A value in a few letters, with its type where that does not show."""
    if isinstance(value, np.number):
        value = value.item()
    if not (value is None or isinstance(value, _PLAIN)):
        return f"the class {value.__qualname__}" if isinstance(value, type) else f"of type {type(value).__name__}"
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an int of more digits than Python writes
        return "a number of thousands of digits"
    text = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."
    if isinstance(value, str) and not value.strip():
        return f"{text}, which is empty"
    plain = value is None or isinstance(value, bool | int | float)
    return text if plain else f"{text} ({'text' if isinstance(value, str) else type(value).__name__})"


def ordered(value: Any) -> list[Any] | None:
    """What is in a list, tuple, array of one dimension, Index, Series or view of a dict; ``None``: it is none of these."""
    if isinstance(value, str | bytes | bytearray | Mapping):
        return None
    if isinstance(value, Sequence | KeysView | ValuesView):
        return list(value)
    found = value.tolist() if getattr(value, "ndim", None) == 1 and hasattr(value, "tolist") else None
    return found if isinstance(found, list) else None


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number within limits, of Python or NumPy; no truth value."""

    low: int
    high: int
    what: str = "a whole number"

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return f"{self.what}, {self.low:,} to {self.high:,}"

    def take(self, value: Any) -> int:
        """As an ``int``."""
        number = whole_number(value)
        if number is None or not self.low <= number <= self.high:
            raise self.misfit(value, near=number is not None)
        return number


@dataclass(frozen=True)
class Number(Kind):
    """A finite number within limits; ``ends``: the limits themselves are taken too."""

    low: float
    high: float
    ends: bool = False
    what: str = "a finite number"
    remedy: str = ""

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return f"{self.what}, {self.low:g} to {self.high:g}" if self.ends else self._between()

    def _between(self) -> str:
        return f"{self.what}, over {self.low:g} and under {self.high:g}"

    def take(self, value: Any) -> float:
        """As an ``int`` or a ``float``."""
        if isinstance(value, bool | np.bool_) or not _is_real(value):
            raise self.misfit(value)
        number: Any = value
        # NaN is in no order; a whole number is compared whatever its size.
        if not (self.low < number < self.high or (self.ends and value in (self.low, self.high))):
            raise self.misfit(value, near=True)
        return int(number) if isinstance(number, Integral) else float(number)


@dataclass(frozen=True)
class OrUnknown(Kind):
    """A number, or NaN where it is not known."""

    number: Number

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return f"{self.number.expected}; or NaN where it is not known"

    def take(self, value: Any) -> float:
        """As a ``float``."""
        unknown = isinstance(value, float | np.floating) and bool(np.isnan(value))
        return float("nan") if unknown else float(self.number.take(value))


@dataclass(frozen=True)
class Flag(Kind):
    """True or False."""

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return "True or False"

    def take(self, value: Any) -> bool:
        """As a ``bool``."""
        if not isinstance(value, bool | np.bool_):
            raise self.misfit(value)
        return bool(value)


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few names or numbers."""

    options: tuple[Any, ...]

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return " or ".join(", ".join(map(repr, self.options)).rsplit(", ", 1))

    def take(self, value: Any) -> Any:
        """As it stands among the options."""
        kinds = {str if isinstance(option, str) else Real for option in self.options}
        if isinstance(value, bool | np.bool_) or not isinstance(value, tuple(kinds)):
            raise self.misfit(value)
        if value not in self.options:
            raise self.misfit(value)
        return self.options[self.options.index(value)]


@dataclass(frozen=True)
class Text(Kind):
    """A name that is looked up: some letters; ``bare``: without the blanks around it, as names in tables are read."""

    what: str = "a name"
    bare: bool = False

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return f"{self.what}, as text"

    def take(self, value: Any) -> str:
        """As a ``str``."""
        if not isinstance(value, str) or not value.strip():
            raise self.misfit(value, near=isinstance(value, str))
        if not clean_name(value):
            raise Misfit(shown(value), f"{self.what}, as text that files can hold", near=True)
        if len(value) > _LONGEST_TEXT:
            raise Misfit(f"of {len(value):,} letters", f"{self.what} of at most {_LONGEST_TEXT:,} letters", near=True)
        return clean_name(value) if self.bare else str(value)


@dataclass(frozen=True)
class Name(Kind):
    """A name that is written: SpatialData takes it as a key, and file systems as the name of a file."""

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return (
            f"letters and digits of any script, '_', '-' and '.', not starting with '__', '.' or '-' or ending with '.', "
            f"no name of a device of Windows, of at most {_LONGEST_NAME} bytes"
        )

    def take(self, value: Any) -> str:
        """As a ``str``."""
        if not isinstance(value, str) or not is_key(value):
            raise self.misfit(value, near=isinstance(value, str))
        return str(value)


def is_key(name: str) -> bool:
    """Whether a name can be a key of a SpatialData, and of a file system."""
    plain = bool(name) and all(letter.isalnum() or letter in "_-." for letter in name)
    told = plain and not name.startswith(("__", ".", "-")) and not name.endswith(".")  # "-x" is an option of commands
    return told and _DEVICE.fullmatch(name) is None and len(name.encode()) <= _LONGEST_NAME


def as_file(name: str) -> str:
    """What file systems that know no case, and one form of each letter, take a name for."""
    return unicodedata.normalize("NFC", name).casefold()


@dataclass(frozen=True)
class Place(Kind):
    """The path of a file or a folder, as text or as a Path."""

    what: str = "a path"

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return f"{self.what}, as text or as a Path"

    def take(self, value: Any) -> Any:
        """As it was given."""
        path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
        if not isinstance(path, str) or not path.strip() or "\0" in path:
            raise self.misfit(value)
        if any("\ud800" <= letter <= "\udfff" for letter in path):  # as Python holds bytes that are no text
            raise Misfit(
                f"a path with a name in another encoding than UTF-8: {path!a}",
                "a path whose names are text in UTF-8",
                near=True,
            )
        if long := next((part for part in Path(path).parts if len(os.fsencode(part)) > _LONGEST_PART), None):
            raise Misfit(
                f"a path with a name of {len(os.fsencode(long))} bytes",
                f"a path whose names have at most {_LONGEST_PART} bytes each",
                near=True,
            )
        return value if isinstance(value, str | Path) else Path(path)


@dataclass(frozen=True)
class Instance(Kind):
    """An object of a class, by the dotted name it is known by."""

    name: str
    what: str
    remedy: str = ""

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return self.what

    def take(self, value: Any) -> Any:
        """As it was given."""
        module, _, name = self.name.rpartition(".")
        known = getattr(sys.modules.get(module), name, None)
        if known is None or not isinstance(value, known):
            raise self.misfit(value)
        return value


@dataclass(frozen=True)
class Array(Kind):
    """An array of NumPy: of real numbers, or of whole ones."""

    n_dims: int
    what: str
    whole: bool = False
    dtype: str | None = None
    """The type that finite numbers are converted to; ``None``: they keep their own."""

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return self.what

    def take(self, value: Any) -> Any:
        """As numbers of :attr:`dtype`."""
        if not isinstance(value, np.ndarray):
            raise self.misfit(value)
        if value.ndim != self.n_dims or value.dtype.kind not in ("iu" if self.whole else "iuf") or not value.size:
            raise Misfit(f"an array {value.shape} of {value.dtype}", self.expected, near=True)
        if np.ma.is_masked(value):
            raise Misfit(f"an array {value.shape} with masked values", self.expected, near=True)
        if self.dtype is None:
            return value
        with np.errstate(over="ignore"):
            found = value.astype(self.dtype, copy=False)
        for start in range(0, len(found), _AT_ONCE):  # it may be a file that is larger than the memory
            finite = (np.abs(found[start : start + _AT_ONCE]) < _LARGEST).all()
            give_back(found)
            if finite:
                continue
            raise Misfit(f"an array {value.shape} with NaN, infinity or numbers too large", self.expected, near=True)
        return found


@dataclass(frozen=True)
class Listed(Kind):
    """Several values of one kind, in an order; ``least`` of them, each once unless ``twice``."""

    item: Kind
    least: int = 1
    twice: bool = False

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return f"a list of these: {self.item.expected}"

    def take(self, value: Any) -> list[Any] | tuple[Any, ...]:
        """As a list, or a tuple where it is one."""
        given = ordered(value)
        if given is None:
            raise self.misfit(value)
        found = [_within(self.item, one, f"[{number}]") for number, one in enumerate(given)]
        if len(found) < self.least:
            raise Misfit(f"{shown(value)}, which is empty", f"at least {self.least}: {self.item.expected}", near=True)
        if not self.twice and len(set(found)) < len(found):
            again = next(one for number, one in enumerate(found) if one in found[:number])
            raise Misfit(f"a list in which {shown(again)} stands twice", "each of them once", near=True)
        return tuple(found) if isinstance(value, tuple) else found


@dataclass(frozen=True)
class Nested(Kind):
    """One value of a kind, or an array of them of any shape."""

    item: Kind

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return f"{self.item.expected}, or a list or an array of these"

    def take(self, value: Any) -> Any:
        """As it was given."""
        inside = value.ravel().tolist() if isinstance(value, np.ndarray) else ordered(value)
        if inside is None:
            return self.item.take(value)
        for number, one in enumerate(inside):
            _within(self, one, f"[{number}]")
        return value


@dataclass(frozen=True)
class Mapped(Kind):
    """A dict with keys of one kind and values of another."""

    key: Kind
    value: Kind
    what: str
    least: int = 0
    remedy: str = ""

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return self.what

    def take(self, value: Any) -> dict[Any, Any]:
        """As a dict."""
        if not isinstance(value, Mapping):
            raise self.misfit(value)
        found = {}
        for key, one in value.items():
            name = _within(self.key, key, ", of which a key")
            if name in found:  # which blanks around it told apart
                raise Misfit(f"a dict in which {shown(name)} stands twice", "each of them once", near=True)
            found[name] = _within(self.value, one, f"[{name!r:.60}]")
        if len(found) < self.least:
            raise Misfit("an empty dict", self.what, near=True)
        return found


@dataclass(frozen=True)
class ByName(Kind):
    """Values of one kind by name: a dict, or a Series that is indexed by names rather than numbered."""

    value: Kind
    what: str

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return self.what

    def take(self, value: Any) -> dict[str, Any]:
        """As a dict."""
        index: Any = getattr(value, "index", None)
        if hasattr(index, "to_list") and getattr(value, "ndim", None) == 1:
            names = index.to_list()
            if names == list(range(len(names))):  # numbered: a list like any other
                raise self.misfit(value)
            if len(set(names)) < len(names):
                raise Misfit("a Series with two values for one name", self.what, near=True)
            value = dict(zip(names, value.tolist(), strict=True))
        if not isinstance(value, Mapping):
            raise self.misfit(value)
        return {str(name): _within(self.value, one, f"[{name!r}]") for name, one in value.items()}


@dataclass(frozen=True)
class Settings(Kind):
    """A dict of arguments by their names; unknown names are checked later, where they are used."""

    kinds: Mapping[str, Kind]

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return "a dict of settings by name"

    def take(self, value: Any) -> dict[str, Any]:
        """As a dict."""
        if not isinstance(value, Mapping):
            raise self.misfit(value)
        return {
            name: _within(self.kinds[name], one, f"[{name!r}]") if name in self.kinds else one
            for name, one in value.items()
        }


@dataclass(frozen=True)
class Members(Kind):
    """Names as a group, whose order does not matter: a list or a set."""

    item: Kind

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return f"a list of these: {self.item.expected}"

    def take(self, value: Any) -> Collection[Any]:
        """As it was given."""
        given = sorted(value, key=repr) if isinstance(value, AbstractSet) else ordered(value)
        if given is None:
            raise self.misfit(value)
        for number, one in enumerate(given):
            _within(self.item, one, f"[{number}]")
        return value if isinstance(value, AbstractSet) else given


@dataclass(frozen=True)
class Anything(Kind):
    """Any value; it is checked where it is used."""

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return "a value"

    def take(self, value: Any) -> Any:
        """As it was given."""
        return value


@dataclass(frozen=True)
class OneOf(Kind):
    """A value of one of several kinds."""

    kinds: tuple[Kind, ...]
    none: bool = False
    what: str = ""
    remedy: str = ""

    @property
    def expected(self) -> str:
        """The kind, in words."""
        return self.what or "; or ".join([kind.expected for kind in self.kinds] + ["None"] * self.none)

    def take(self, value: Any) -> Any:
        """As the first kind takes it that accepts it."""
        if value is None and self.none:
            return None
        misfits = []
        for kind in self.kinds:
            try:
                return kind.take(value)
            except Misfit as misfit:
                misfits.append(misfit)
        meant = next((misfit for misfit in misfits if misfit.near), None)
        raise meant or self.misfit(value)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real)


def optional(*kinds: Kind) -> OneOf:
    """A value of one of these kinds, or None."""
    return OneOf(kinds, none=True, remedy=next((kind.remedy for kind in kinds if kind.remedy), ""))


def _within(kind: Kind, value: Any, place: str) -> Any:
    """A part of a value, by its place in it."""
    try:
        return kind.take(value)
    except Misfit as misfit:
        raise Misfit(misfit.found, misfit.expected, at=f"{place}{misfit.at}", near=True) from None
