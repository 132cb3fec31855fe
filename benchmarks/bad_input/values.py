"""Values that are wrong for an argument, by the kind of the argument.

What is wrong is settled here anew: nothing of the package says it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

LONG = "x" * 300
ABSURD = 2**70


class Wrong(NamedTuple):
    """One wrong value."""

    kind: str
    """What is wrong with it."""
    value: Any
    """The value; or, where it must be made anew for each call, a :class:`Made`."""
    said: str
    """How it is named in the list."""


class Made(NamedTuple):
    """A value that is made anew from the desk for each call: a generator, an object that calls change."""

    make: Callable[[Any], Any]


Values = Iterator[tuple[str, Any]]
"""Pairs of what is wrong and the value."""


class Kind(NamedTuple):
    """What an argument is, as its documentation says."""

    values: Callable[[random.Random], Values]
    optional: bool = False

    def wrong(self, rng: random.Random) -> list[Wrong]:
        """All that is wrong for it."""
        found = list(self.values(rng))
        if not self.optional:
            found.append(("None", None))
        return [Wrong(kind, value, shown(value)) for kind, value in found]

    def or_none(self) -> Kind:
        """The same, where None may be given."""
        return self._replace(optional=True)


def shown(value: Any) -> str:
    """A value in a few letters."""
    if isinstance(value, Made):
        return value.make.__doc__ or getattr(value.make, "__name__", "made")
    return f"{type(value).__name__} {' '.join(repr(value).split())[:60]}"


def generator(*values: Any) -> Made:
    def make(_desk: Any) -> Any:
        return (one for one in values)

    make.__doc__ = f"generator of {values!r:.40}"
    return Made(make)


def _not_a_number(rng: random.Random) -> Values:
    yield "text for a number", str(rng.randint(2, 9))
    yield "text for a number", rng.choice(["many", "all of them", "ten"])
    yield "text for a number", b"3"
    yield "empty", ""
    yield "bool for a number", True
    yield "bool for a number", np.False_
    yield "wrong container", []
    yield "wrong container", {}
    yield "wrong container", {3}
    yield "wrong container", [rng.randint(2, 9)]
    yield "wrong container", np.array([1.0, 2.0])
    yield "wrong container", pd.DataFrame({"a": [1, 2]})
    yield "wrong container", generator(3)
    yield "wrong type", complex(1, 1)
    yield "wrong type", object()
    yield "NaN or infinite", float("nan")
    yield "NaN or infinite", np.float32("inf")
    yield "NaN or infinite", float("-inf")


def whole(low: int, *, absurd: int = 10**12, several: bool = False) -> Kind:
    """A whole number, not below ``low``; ``several``: a list of them is right as well."""

    def values(rng: random.Random) -> Values:
        for kind, value in _not_a_number(rng):
            if not (several and (isinstance(value, np.ndarray) or _is_list(value))):
                yield kind, value
        yield "fraction for a whole number", rng.randint(1, 5) + 0.5
        yield "too small", low - 1
        yield "too small", np.int64(low - rng.randint(2, 1000))
        yield "absurdly large", absurd
        yield "absurdly large", ABSURD

    return Kind(values)


def number(low: float | None, high: float, *, below: float | None = None) -> Kind:
    """A finite number, over ``low`` and up to ``high``; ``below`` is one that is just too small."""

    def values(rng: random.Random) -> Values:
        yield from _not_a_number(rng)
        if low is not None:
            yield "too small", low if below is None else below
            yield "too small", low - rng.uniform(1, 1000)
        yield "absurdly large", high
        yield "absurdly large", high * 1e6
        yield "absurdly large", ABSURD**20

    return Kind(values)


def flag() -> Kind:
    def values(rng: random.Random) -> Values:
        yield "text for a switch", rng.choice(["yes", "False", "no"])
        yield "number for a switch", rng.randint(2, 9)
        yield "number for a switch", 0.5
        yield "NaN or infinite", float("nan")
        yield "empty", ""
        yield "empty", {}
        yield "wrong container", [True]
        yield "wrong container", pd.Series([True, False])
        yield "wrong type", object()

    return Kind(values)


def choice(*options: str, absent: str = "nosuch") -> Kind:
    """One of a few names."""

    def values(rng: random.Random) -> Values:
        yield "unknown name", absent
        yield "unknown name", "".join(rng.choices("abcdefgh", k=7))
        yield "unknown name", options[0].upper() + "!"
        yield "unknown name", LONG
        yield "empty", ""
        yield "number for a name", rng.randint(2, 10**6) + 0.5
        yield "bool for a name", True
        yield "NaN or infinite", float("nan")
        yield "wrong type", options[0].encode()
        yield "wrong container", [options[0]]
        yield "wrong container", {options[0]: 1}
        yield "wrong container", {options[0]}
        yield "wrong type", object()

    return Kind(values)


def new_name() -> Kind:
    """A name that is written as a key of a Zarr store."""

    def values(rng: random.Random) -> Values:
        for name in (".", "..", "a/b", "/", "__mine", LONG, "a\0b", "a\nb", "a b", "$\\frac{", "../out"):
            yield "unusable name", name
        yield "unusable name", "".join(rng.choices("/\\:*?<>|", k=4))
        yield "empty", ""
        yield "number for a name", rng.randint(1, 10**6)
        yield "bool for a name", False
        yield "NaN or infinite", float("nan")
        yield "wrong type", b"name"
        yield "wrong type", Path("name")
        yield "wrong container", ["name"]
        yield "wrong container", {}
        yield "wrong type", object()

    return Kind(values)


def names(known: str, *, one: bool = True, count: bool = False, known_only: bool = True, twice: bool = False) -> Kind:
    """A list of names; ``one``: a single one is right as well, ``count``: a number is, ``twice``: a name may come again."""

    def values(rng: random.Random) -> Values:
        yield "empty", []
        yield "empty", ()
        yield "empty", np.array([], dtype=object)
        yield "wrong container", {known: 1}
        yield "wrong container", {known}
        yield "wrong container", generator(known)
        yield "wrong container", pd.DataFrame({"a": [known]})
        yield "wrong container", [[known]]
        yield "wrong container", np.array([[known, known]])
        yield "wrong type", known.encode()
        yield "wrong type", [known.encode()]
        yield "wrong type", object()
        if not twice:
            yield "duplicates in a list", [known, known]
        yield "None", [known, None]
        yield "number for a name", [rng.randint(1, 9)]
        yield "number for a name", [known, 5.5]
        yield "NaN or infinite", [float("nan")]
        yield "NaN or infinite", float("nan")
        yield "bool for a name", True
        yield "empty", [""]
        if known_only:
            yield "unknown name", ["nosuch"]
            yield "unknown name", [known, "".join(rng.choices("abcdefgh", k=9))]
            for name in (".", "..", "a/b", LONG, "$\\frac{"):
                yield "unusable name", [name]
        if one:
            yield "empty", ""
            if known_only:
                yield "unknown name", "nosuch"
        else:
            yield "text for a list", known
        if count:
            yield "negative or zero", 0
            yield "negative or zero", -rng.randint(1, 99)
            yield "absurdly large", 10**9
            yield "absurdly large", ABSURD
            yield "fraction for a whole number", 10.5
            yield "text for a number", "10"
        else:
            yield "number for a name", rng.randint(1, 99)

    return Kind(values)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def widths() -> Kind:
    """One width or several."""

    def values(rng: random.Random) -> Values:
        for kind, value in number(0, 1e9).values(rng):
            if not (isinstance(value, np.ndarray) or _is_list(value)):
                yield kind, value
        good = float(rng.randint(100, 120))
        yield "text for a number", [good, "112"]
        yield "bool for a number", [True]
        yield "NaN or infinite", [good, float("nan")]
        yield "NaN or infinite", (float("inf"),)
        yield "None", [None]
        yield "too small", [good, 0]
        yield "too small", [-good]
        yield "absurdly large", [1e9]
        yield "duplicates in a list", [good, good]
        yield "wrong container", [[good]]
        yield "wrong container", np.array([[good, 154.0]])
        yield "wrong container", {"a": good}

    return Kind(values)


def counts_list() -> Kind:
    """A list of whole numbers, at least 1, or none."""

    def values(rng: random.Random) -> Values:
        n = rng.randint(2, 8)
        for value in (
            n,
            str(n),
            b"8",
            True,
            float("nan"),
            object(),
            {n},
            {n: n},
            generator(n),
            pd.DataFrame({"a": [n]}),
        ):
            yield "wrong container", value
        yield "text for a number", [str(n)]
        yield "bool for a number", [True]
        yield "fraction for a whole number", [n + 0.5]
        yield "NaN or infinite", [float("nan")]
        yield "None", [None]
        yield "too small", [0]
        yield "too small", [n, -n]
        yield "absurdly large", [10**9]
        yield "duplicates in a list", [n, n]
        yield "wrong container", [[n]]

    return Kind(values)


def _no_path(rng: random.Random) -> Values:
    yield "empty", ""
    yield "number for a path", rng.randint(1, 99)
    yield "number for a path", float("nan")
    yield "bool for a path", True
    yield "wrong type", b"user/notes.txt"
    yield "wrong container", []
    yield "wrong container", {"path": "user"}
    yield "wrong container", pd.DataFrame({"path": ["user"]})
    yield "wrong type", object()
    yield "bad path", "a\0b"
    yield "bad path", "user/" + LONG


def readable(*, folder: bool = False, frame: bool = False, any_file: bool = False, wrong: tuple[str, ...] = ()) -> Kind:
    """A file to read, or a folder; ``frame``: a table in memory is right as well, ``any_file``: any file that is there is, ``wrong``: files of another kind."""

    def values(rng: random.Random) -> Values:
        for kind, value in _no_path(rng):
            if not (frame and isinstance(value, pd.DataFrame)):
                yield kind, value
        yield "bad path", "nosuch/file.tif"
        yield "bad path", Path("user/notes.txt/file.tif")
        yield "bad path", "user/broken_link"
        yield "bad path", "/dev/null"
        yield "bad path", "user/empty.tif"
        if not any_file:
            yield "file of another kind", "user/notes.txt"
            yield "file of another kind", "user/random.bin"
        yield "bad path", "user/full" if folder else "user"
        for one in wrong:
            yield "file of another kind", one
        if frame:
            yield "file of another kind", pd.DataFrame()
            yield "file of another kind", pd.DataFrame({"a": [1, 2]})

    return Kind(values)


def writable(*, shared: bool = False, read: tuple[str, ...] = ("user/A.zarr",)) -> Kind:
    """A folder to write, which may hold other files where it is ``shared``; ``read`` is what is read meanwhile."""

    def values(rng: random.Random) -> Values:
        yield from _no_path(rng)
        yield "cannot be written", "user/notes.txt"
        yield "cannot be written", Path("user/notes.txt/out")
        if not shared:
            yield "cannot be written", "user/full"
        yield "cannot be written", "user/A.zarr/out"
        yield "cannot be written", "user/model/out"
        yield "cannot be written", "/proc/out"
        yield "cannot be written", "/dev/null/out"
        yield "cannot be written", "user/broken_link"
        for one in read:
            yield "cannot be written", one

    return Kind(values)


def picture() -> Kind:
    def values(rng: random.Random) -> Values:
        yield from _no_path(rng)
        yield "cannot be written", "out"
        yield "cannot be written", f"out.{''.join(rng.choices('qxz', k=3))}"
        yield "cannot be written", "nosuch/out.png"
        yield "cannot be written", Path("user")
        yield "cannot be written", "user/photo.png"
        yield "cannot be written", "user/notes.txt/out.png"
        yield "cannot be written", "/proc/out.png"
        yield "cannot be written", "user/A.zarr/out.png"

    return Kind(values)


def of_class(*, also: tuple[str, ...] = (), several: bool = False) -> Kind:
    """An object of a class; ``also`` names objects of the desk that are wrong for it."""

    def values(rng: random.Random) -> Values:
        for value in (rng.randint(1, 9), 0.5, float("nan"), True, b"x", object()):
            yield "wrong object", value
        yield "wrong object", "nosuch.zarr"
        yield "empty", ""
        yield "empty", {}
        yield "empty", pd.DataFrame()
        if not several:
            yield "empty", []
            yield "wrong object", Path("user/A.zarr")
        for name in also:

            def make(desk: Any, name: str = name) -> Any:
                return desk.objects()[name]()

            make.__doc__ = name
            yield "wrong object", Made(make)

    return Kind(values)
