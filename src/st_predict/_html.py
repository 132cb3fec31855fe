"""Pieces of a page: tables, numbers and pictures as HTML. Knows nothing of what they show; what is text is escaped here."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from st_predict.core.outputs import made_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

NOTHING = "–"
_MINUS = "\N{MINUS SIGN}"
_BORDER_PX = 22  # around a picture, both sides together


class Cell(NamedTuple):
    """HTML in a cell that looks other than most."""

    html: str
    kind: str


class Row(NamedTuple):
    """One row: its name (text), what follows (HTML), and how it looks."""

    name: str
    cells: Sequence[str | Cell]
    kind: str = ""


def table(head: Sequence[str | Cell], rows: Iterable[Row]) -> str:
    """A table that scrolls by itself where the screen is narrow; the first column is names."""
    top = "".join(_cell("th", cell) for cell in head)
    body = "".join(
        f'<tr class="{row.kind}"><th scope="row">{escape(row.name)}</th>'
        f"{''.join(_cell('td', cell) for cell in row.cells)}</tr>\n"
        for row in rows
    )
    return f'<div class="scroll"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def _cell(tag: str, cell: str | Cell) -> str:
    return f'<{tag} class="{cell.kind}">{cell.html}</{tag}>' if isinstance(cell, Cell) else f"<{tag}>{cell}</{tag}>"


def small(text: str) -> str:
    """Text of less weight."""
    return f"<small>{escape(text)}</small>" if text else ""


def number(value: Any, *, digits: int = 3, sign: str = "") -> str:
    """A number with a real minus sign; a dash where there is none."""
    if value is None or value != value:
        return NOTHING
    printed = f"{value:{sign}.{digits}f}"
    if not any(c in "123456789" for c in printed):
        printed = f"{0:.{digits}f}"  # no minus nothing
    return printed.replace("-", _MINUS)


def facts(listed: Mapping[str, str]) -> str:
    """Names with what is said of each."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>\n" for name, text in listed.items())
    return f"<dl>\n{items}</dl>"


def picture(path: Path, caption: str) -> str:
    """A PNG file inside the page, half its pixels wide: such files are made for print."""
    from PIL import Image

    with Image.open(path) as image:
        width = image.width // 2 + _BORDER_PX
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"""<figure>
<img src="data:image/png;base64,{encoded}" alt="{escape(caption)}" style="width: {width}px">
<figcaption>{escape(caption)}</figcaption>
</figure>
"""


def page(title: str, style: str, body: str) -> str:
    """A whole document."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="{escape(made_by())}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""
