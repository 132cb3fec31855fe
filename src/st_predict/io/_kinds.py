"""What a file is that no reader takes, by its first bytes, and how to make one of it that is read. Reads no file."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from st_predict.io._no_rgb import by_pillow

if TYPE_CHECKING:
    from pathlib import Path

FIRST_BYTES = 64
_SHOWN = 8
_IMAGES = {b"\0\0\0\x0cjP  ": "JPEG 2000", b"\xff\x4f\xff\x51": "JPEG 2000", b"BM": "BMP", b"WEBP": "WebP", b"GIF8": "GIF",
           b"P6": "PPM"}  # fmt: skip
_PAGES = (b"<!doctype html", b"<html")


def say_kind(path: Path, start: bytes) -> tuple[str, str]:
    """What a file is, as a part of a sentence, and the remedy; no remedy for what is not known.

    Parameters
    ----------
    path
        The file.
    start
        Its first bytes, :data:`FIRST_BYTES` of them.
    """
    own = shlex.quote(path.name)
    for begin, name in _IMAGES.items():
        if begin in (start[: len(begin)], start[8:12]):  # WebP lies in a container
            return f"it is {name}", by_pillow(path)
    if start.startswith(b"\x1f\x8b"):
        return "it is compressed with gzip", f"unpack it: gunzip -k {own}"
    if start.startswith(b"PK\3\4"):
        return "it is a ZIP archive", f"unpack it: unzip {own}"
    if start.startswith(b"version https://git-lfs"):
        return "it is the pointer of Git LFS to the file, not the file", f"fetch the file: git lfs pull --include={own}"
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(_PAGES):
        return "it is a web page, as servers send where a file needs a login or is not there", "fetch the file again"
    return f"it starts with {start[:_SHOWN]!r}", ""
