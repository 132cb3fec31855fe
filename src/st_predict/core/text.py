"""Tables and JSON as text: how they are separated and compressed, and what is refused because it is no plain text.

Knows no table.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import shlex
import zlib
from typing import IO, TYPE_CHECKING, Any, Literal, TextIO, cast

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TEXT = "utf-8-sig"  # spreadsheets put a byte-order mark before the first name
_WIDE = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_GZIP = b"\x1f\x8b"
_BLOCK = 2**20
_COMMA_WITHIN = re.compile(r"(?<=\d),(?=\d)")
_WITH_COMMA = re.compile(r"\s*[-+]?\d[\d.]*,\d+\s*")


def separator(path: Path) -> str:
    """Find the separator in a file's first line: tab, comma or semicolon, whatever the file is called."""
    with open_text(path) as file:
        line = file.readline()
    usual = "," if ".csv" in path.name.lower() else "\t"
    found = {sep: line.count(sep) for sep in (usual, "\t", ";", ",")}
    # A tab is in no name, and a comma may be. Between semicolons and within numbers alone it stands before decimals.
    decimal = found[";"] and found[","] == len(_COMMA_WITHIN.findall(line))
    alone = usual == "\t" or not (found["\t"] or decimal)
    return usual if found[usual] and alone else max(found, key=lambda sep: found[sep] * (sep != "," or not decimal))


def compression(path: Path) -> Literal["gzip"] | None:
    """How a text table is compressed, by its ending; others than gzip are not read."""
    return "gzip" if path.suffix.lower() == ".gz" else None


def open_text(path: Path) -> TextIO:
    """Open a table as text."""
    if compression(path):
        return gzip.open(path, "rt", encoding=TEXT, newline="")
    return path.open(encoding=TEXT, newline="")


def open_bytes(path: Path) -> IO[bytes]:
    """Open a table as bytes, unpacked."""
    return cast("IO[bytes]", gzip.open(path) if compression(path) else path.open("rb"))


def read_json(path: Path) -> Any:
    """What a file of JSON holds.

    Raises
    ------
    ValueError
        If it is none, with the cause.
    """
    try:
        return json.loads(path.read_text(encoding=TEXT))
    except RecursionError as error:
        raise ValueError("lists or objects lie too deep within one another") from error


def check_text(path: Path, *, where: str) -> None:
    """Refuse what is not UTF-8, and bytes of zero: what reads tables would end a cell there, and say nothing.

    What cannot be read at all is left to whoever reads it.

    Raises
    ------
    InputError
        Saying which.
    """
    try:
        with open_bytes(path) as file:
            begin = block = file.read(_BLOCK)
            at, decoder, foreign = 0, codecs.getincrementaldecoder("utf-8")(), None
            while block and b"\0" not in block:
                try:
                    decoder.decode(b"" if foreign else block)
                except UnicodeDecodeError as error:
                    foreign = error.object[error.start : error.start + 1]
                at, block = at + len(block), file.read(_BLOCK)
    except (EOFError, OSError, zlib.error):
        return
    if begin.startswith(_GZIP) and not compression(path):
        raise InputError(
            f"{path.name} is compressed with gzip, and its name does not say so",
            where=where,
            expected="plain text, or a name that ends in .gz",
            remedy=f"rename it: mv {shlex.quote(path.name)} {shlex.quote(path.name + '.gz')}",
        )
    wide = next((name for mark, name in _WIDE.items() if begin.startswith(mark)), None)
    if wide is None and b"\0" in (begin[:1], begin[1:2]) and begin[:64].count(b"\0") >= len(begin[:64]) // 2:
        wide = "UTF-16BE" if begin.startswith(b"\0") else "UTF-16LE"
    if wide is not None:
        raise _other_text(path, f"is text in {wide}", wide, where)
    if block:
        raise InputError(
            f"byte {at + block.index(0)} of {path.name} is zero: it is not a text file, or it is incomplete",
            where=where,
            expected="a table as plain text",
            remedy="fetch or export the file again",
        )
    if foreign:
        letter = foreign.decode("latin-1")
        raise _other_text(
            path, f"is no text in UTF-8: it holds the byte 0x{foreign.hex()}, in Latin-1 {letter!r}", "LATIN1", where
        )


def _other_text(path: Path, what: str, encoding: str, where: str) -> InputError:
    made = f"{path.stem}_utf8{path.suffix}"
    own, new = shlex.quote(path.name), shlex.quote(made)
    iconv = f"iconv -f {encoding} -t UTF-8"
    return InputError(
        f"{path.name} {what}",
        where=where,
        expected="text in UTF-8",
        remedy="save it as UTF-8: "
        + (f"gzip -dc {own} | {iconv} | gzip > {new}" if compression(path) else f"{iconv} {own} > {new}"),
    )


def check_points(values: Iterable[Any], name: str, *, where: str) -> None:
    """Refuse numbers with a decimal comma, told as such.

    Parameters
    ----------
    values
        Of which some are not numbers.
    name
        What holds them.
    where
        The argument they were given as.
    """
    found = next((value for value in values if isinstance(value, str) and _WITH_COMMA.fullmatch(value)), None)
    if found is not None:
        raise InputError(
            f"{name} holds numbers with a comma, e.g. {found!r}",
            where=where,
            expected="decimals after a point, and nothing between thousands: 1234.5",
            remedy="export it with points; or, where the comma stands before decimals: "
            "pandas.read_csv(path, sep=';', decimal=',').to_csv(new_path, index=False)",
        )
