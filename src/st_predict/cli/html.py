"""How a page is made from a template: text is escaped, pictures lie inside, numbers are printed. Knows no score."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from st_predict.core.outputs import made_by

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = "–"
_MINUS = "\N{MINUS SIGN}"
_BORDER_PX = 22  # around a picture, both sides together


class Picture(NamedTuple):
    """A picture as a page holds it."""

    address: str
    """The whole file, in base64."""
    width_px: int
    caption: str


def render(template: str, **values: Any) -> str:
    """Fill in a file of ``templates``; beside the values it knows ``generator``, what wrote the page."""
    environment = Environment(
        loader=PackageLoader("st_predict.cli"),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelled name is an error and no gap in the page
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(generator=made_by(), **values)


def number(value: Any, *, digits: int = 3, sign: str = "") -> str:
    """A number with a real minus sign; a dash where there is none."""
    if value is None or value != value:
        return NOTHING
    printed = f"{value:{sign}.{digits}f}"
    if not any(c in "123456789" for c in printed):
        printed = f"{0:.{digits}f}"  # no minus nothing
    return printed.replace("-", _MINUS)


def picture(path: Path, caption: str) -> Picture:
    """A PNG file, half its pixels wide: such files are made for print."""
    from PIL import Image

    with Image.open(path) as image:
        width = image.width // 2 + _BORDER_PX
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    return Picture(f"data:image/png;base64,{encoded}", width, caption)
