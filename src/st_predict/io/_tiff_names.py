"""What the metadata of a TIFF say of a page: the image in OME-XML that it belongs to, and the names of its channels.

Knows tifffile's files and pages; reads no pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    import tifffile


def channel_names(file: tifffile.TiffFile, page: Any) -> tuple[str, ...]:
    """Names of the channels that are planes of their own, in OME-XML or as ImageJ writes them; none where none are told.

    Parameters
    ----------
    file
        The open file.
    page
        First page of the finest level.
    """
    if file.is_imagej:
        return tuple(str(label) for label in (file.imagej_metadata or {}).get("Labels", ()))
    named = {
        tuple(channel.get("Name", "") for channel in pixels.findall("{*}Channel")) for pixels in find_pixels(file, page)
    }
    return named.pop() if len(named) == 1 else ()


def find_pixels(file: tifffile.TiffFile, page: Any) -> list[ElementTree.Element]:
    """Find the images in OME-XML that list a page or, where none does, that are as large.

    Images without data have no page, so they cannot be counted off.
    """
    try:
        root = ElementTree.fromstring(file.ome_metadata or "")
    except ElementTree.ParseError:
        return []
    every = [pixels for pixels in root.findall("{*}Image/{*}Pixels") if _is_as_large(pixels, page)]
    return [pixels for pixels in every if _holds(pixels, page, file, root.get("UUID"))] or every


def _is_as_large(pixels: ElementTree.Element, page: Any) -> bool:
    return (pixels.get("SizeX"), pixels.get("SizeY")) == (str(page.imagewidth), str(page.imagelength))


def _holds(pixels: ElementTree.Element, page: Any, file: Any, own: str | None) -> bool:
    """Whether a page of a file is among those that an image lists as its own."""
    for data in pixels.findall("{*}TiffData"):
        uuid = data.find("{*}UUID")
        if uuid is None or uuid.text == own:
            there = page.parent is file
        else:
            there = uuid.get("FileName", "").lower() == page.parent.filename.lower()
        first = int(data.get("IFD", 0))
        n = int(data.get("PlaneCount", 1 if "IFD" in data.attrib else len(page.parent.pages)))
        if there and first <= page.index < first + n:
            return True
    return False
