"""OME-Zarr slides: their pictures, levels and scale. Knows zarr; reads no pixel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from st_predict.core.channels import say_names
from st_predict.core.chunks import whole_levels
from st_predict.core.codecs import check_codecs
from st_predict.core.errors import InputError
from st_predict.io import _slide_scale
from st_predict.io._foreign import NOT_MEANT, reading
from st_predict.io._opened import Opened, no_slide, of_several
from st_predict.io._regions import OmeZarrImage
from st_predict.io._scenes import Scene, choose_scene, lies_beside, missing, say_focal, several

if TYPE_CHECKING:
    from pathlib import Path

_WHERE = "path"


class _Picture(NamedTuple):
    group: Path
    described: dict[str, Any]
    """An entry of ``multiscales``."""
    name: str


def open_ome_zarr(path: Path, *, stated: bool, series: int | None) -> Opened:
    """Open a picture of a store.

    Parameters
    ----------
    path
        Folder of the store.
    stated
        Whether to read the scale from the metadata.
    series
        Number of the picture; ``None``: the largest.
    """
    pictures, unread = _pictures(path)
    arrays = {n: _finest(picture) for n, picture in pictures.items()}
    known = [Scene(n, *_size(array)) for n, array in arrays.items()]
    slides = [scene for scene in known if not lies_beside(pictures[scene.number].name)] or known
    color = [scene for scene in slides if _is_color(pictures[scene.number], arrays[scene.number])]
    number = choose_scene(color or slides, known, path, where=_WHERE, series=series)
    group, described, _ = pictures[number]
    with reading(group, where=_WHERE):
        axes = _axes(described)
        names = tuple(axis["name"] for axis in axes)
        channels = _channel_names(group)
        _check_within(path, described)
        levels = [
            OmeZarrImage(group, where=_WHERE, name=part["path"], axes=names, channels=channels)
            for part in described["datasets"]
        ]
        finest = [
            *(described["datasets"][0].get("coordinateTransformations") or []),
            *(described.get("coordinateTransformations") or []),
        ]
    scale = _slide_scale.ome_zarr_scale(axes, finest, path, where=_WHERE) if stated else None
    levels[0].check_planes()
    kept, apart = whole_levels(levels, path.name)
    said = [
        missing(levels[0], path),
        say_names(channels, 3, path.name),
        say_focal(levels[0].n_focal, path),
        *apart,
        several(slides, number, path) if series is None else None,
    ]
    if unread:
        said.append(f"groups of {path.name} that hold no OME image are not read: {', '.join(unread)}")
    return Opened(kept, scale, tuple(note for note in said if note), of_several(slides, number))


def _check_within(path: Path, described: dict[str, Any]) -> None:
    """Refuse levels that lie elsewhere than in the store, as one that was tampered with may name files of its reader's."""
    for part in described["datasets"]:
        named = str(part["path"])
        if named.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", named):
            raise InputError(
                f"{path.name} names a level {named!r}, which lies outside of the store",
                where=_WHERE,
                expected="levels within the store",
                remedy="open the store that holds this level; do not trust a store with such a path that somebody sent you",
            )


def ome_zarr_slides(path: Path) -> list[int]:
    """Numbers of the pictures of a store that are slides: no labels and no photographs."""
    pictures, _ = _pictures(path)
    return [n for n, picture in pictures.items() if not lies_beside(picture.name)] or list(pictures)


def _pictures(path: Path) -> tuple[dict[int, _Picture], list[str]]:
    """Every image by its number, and the names of groups that hold none.

    Images are those of one group, or of a ``bioformats2raw`` layout, each in a group of its number. Such a layout may lack
    its mark, or all metadata of its root.
    """
    groups = _groups(path)
    try:
        described = _described(path)
    except InputError:
        if not groups:
            raise
        described = {}
    if entries := _entries(described):
        check_codecs(path, where=_WHERE)
        return {n: _Picture(path, entry, str(entry.get("name", ""))) for n, entry in enumerate(entries)}, []
    found, unread = {}, []
    names = _ome_xml_names(path)
    for number, group in enumerate(groups):
        try:
            entries = _entries(_described(group))
        except InputError:
            entries = []
        if not entries:
            unread.append(group.name)
            continue
        check_codecs(group, where=_WHERE)
        place = int(group.name) if group.name.isdigit() else number
        name = f"{names.get(place, '')} {entries[0].get('name', '')}"
        found[number] = _Picture(group, entries[0], name)
    if not found:
        hint = ", but a SpatialData: read it with spatialdata.read_zarr" if "spatialdata_attrs" in described else ""
        raise no_slide(path, f"it is a Zarr store without an OME image{hint}")
    return found, unread


def _groups(path: Path) -> list[Path]:
    """Groups of a ``bioformats2raw`` layout: those its ``OME`` group lists, else those that are named by numbers."""
    try:
        listed = _described(path / "OME").get("series") if (path / "OME").is_dir() else None
    except InputError:
        listed = None
    within = {folder.name: folder for folder in path.iterdir() if folder.is_dir()}
    if isinstance(listed, list) and listed and all(str(name) in within for name in listed):
        return [within[str(name)] for name in listed]
    return sorted((folder for name, folder in within.items() if name.isdigit()), key=lambda folder: int(folder.name))


def _channel_names(group: Path) -> tuple[str, ...]:
    """Labels of the channels; none where they are not described."""
    try:
        return tuple(str(channel.get("label", "")) for channel in _described(group)["omero"]["channels"])
    except (KeyError, TypeError, AttributeError):
        return ()


def _described(path: Path) -> dict[str, Any]:
    """Metadata of a group, which may lie below ``ome``."""
    import zarr

    try:
        attributes = dict(zarr.open_group(str(path), mode="r").attrs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise no_slide(path, "it is a folder, but not an OME-Zarr image") from error
    found = attributes.get("ome")
    return {**attributes, **found} if isinstance(found, dict) else attributes


def _entries(described: dict[str, Any]) -> list[dict[str, Any]]:
    """Images that a group describes."""
    found = described.get("multiscales")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _ome_xml_names(path: Path) -> dict[int, str]:
    """Names of the images of a ``bioformats2raw`` layout, which it keeps in a file of OME-XML."""
    try:
        root = ElementTree.parse(path / "OME" / "METADATA.ome.xml").getroot()
    except (OSError, ElementTree.ParseError):
        return {}
    return {number: image.get("Name", "") for number, image in enumerate(root.findall("{*}Image"))}


def _axes(described: dict[str, Any]) -> list[dict[str, Any]]:
    return [axis if isinstance(axis, dict) else {"name": axis} for axis in described["axes"]]


def _finest(picture: _Picture) -> Any:
    """The array of the finest level; ``None`` where its description is broken, which is an error once it is read."""
    import zarr

    try:
        return zarr.open_group(str(picture.group), mode="r")[picture.described["datasets"][0]["path"]]
    except (*NOT_MEANT, ValueError, OSError):
        return None


def _size(array: Any) -> tuple[int, int]:
    height, width = getattr(array, "shape", ())[-2:] or (0, 0)
    return int(height), int(width)


def _is_color(picture: _Picture, array: Any) -> bool:
    """Whether it is of 8 bits and three colors, with an alpha or without."""
    try:
        channels = dict(zip((axis["name"] for axis in _axes(picture.described)), array.shape, strict=True)).get("c")
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return bool(array.dtype == np.uint8 and channels in (3, 4))
