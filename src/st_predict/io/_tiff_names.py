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


def completed(described: str) -> str | None:
    """OME-XML with a ``TiffData`` in every image, as the order of the pages gives it; ``None`` where nothing is missing.

    Some programs leave it out. The pages are then those of the images in their order.
    """
    if "<TiffData" in described or ":TiffData" in described or not described:
        return None
    try:
        root = ElementTree.fromstring(described)
    except ElementTree.ParseError:
        return None
    first = 0
    for pixels in root.findall("{*}Image/{*}Pixels"):
        samples = [int(channel.get("SamplesPerPixel", 1)) for channel in pixels.findall("{*}Channel")]
        planes = len(samples) if sum(samples) == int(pixels.get("SizeC", 1)) else int(pixels.get("SizeC", 1))
        n = planes * int(pixels.get("SizeZ", 1)) * int(pixels.get("SizeT", 1))
        ElementTree.SubElement(pixels, pixels.tag.replace("Pixels", "TiffData"), IFD=str(first), PlaneCount=str(n))
        first += n
    return ElementTree.tostring(root, encoding="unicode")


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
