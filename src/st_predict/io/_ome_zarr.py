"""OME-Zarr slides: their pictures, levels and scale. Knows zarr; reads no pixel."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from st_predict.core.channels import say_names
from st_predict.core.chunks import whole_levels
from st_predict.core.codecs import check_codecs, read_metadata
from st_predict.core.errors import InputError
from st_predict.io import _slide_scale
from st_predict.io._checks import unreadable
from st_predict.io._foreign import reading
from st_predict.io._ome_zarr_metadata import axes_of, check_described
from st_predict.io._opened import Opened, check_sizes, no_slide, of_several
from st_predict.io._regions import OmeZarrImage
from st_predict.io._scenes import Scene, choose_scene, lies_beside, missing, say_focal, several

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WHERE = "path"
_NO_ZARR = "it is a folder, but not an OME-Zarr image"
_UNKNOWN = re.compile(
    r"unknown codec|codec not available|codec \S+ is not available|must_understand|no zarr data type found|unknown chunk",
    re.I,
)
_METADATA = ("zarr.json", ".zgroup", ".zattrs")


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
    axes = axes_of(described)
    names = tuple(axis["name"] for axis in axes)
    channels = _channel_names(group)
    for part in described["datasets"]:
        _open_level(pictures[number], part["path"])
    with reading(group, where=_WHERE):
        levels = [
            OmeZarrImage(group, where=_WHERE, name=part["path"], axes=names, channels=channels)
            for part in described["datasets"]
        ]
        finest = [
            *(described["datasets"][0].get("coordinateTransformations") or []),
            *(described.get("coordinateTransformations") or []),
        ]
    scale = _slide_scale.ome_zarr_scale(axes, finest, path, where=_WHERE) if stated else None
    check_sizes(levels, path)
    levels[0].check_planes()
    kept, apart = whole_levels(levels, path.name)
    said = [
        missing(levels[0], path),
        say_names(channels, 3, path.name),
        _say_labels(channels, levels[0].n_channels, path.name),
        say_focal(levels[0].n_focal, path),
        *apart,
        several(slides, number, path) if series is None else None,
    ]
    if unread:
        said.append(f"groups of {path.name} that hold no OME image are not read: {', '.join(unread)}")
    return Opened(kept, scale, tuple(note for note in said if note), of_several(slides, number))


def _say_labels(labels: tuple[str, ...], n: int, name: str) -> str | None:
    """The message about labels that are not those of the channels; ``None`` where they are, or where there are none."""
    if not labels or len(labels) == n:
        return None
    return (
        f"{name} has {n} channels, and {len(labels)} labels of channels ({', '.join(labels)}): the labels are not used, "
        "and the channels are taken as red, green and blue in their order"
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
    for group in (path, *groups):
        _check_metadata(group, path)
    try:
        described = _described(path)
    except InputError:
        if not groups:
            raise
        described = {}
    if entries := _entries(described):
        check_codecs(path, where=_WHERE)
        for entry in entries:
            check_described(entry, path, path)
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
        check_described(entries[0], group, path)
        place = int(group.name) if group.name.isdigit() else number
        name = f"{names.get(place, '')} {entries[0].get('name', '')}"
        found[number] = _Picture(group, entries[0], name)
    if not found:
        if not any((folder / name).is_file() for folder in (path, *groups) for name in (*_METADATA, ".zarray")):
            raise no_slide(path, _NO_ZARR)
        hint = ", but a SpatialData: read it with spatialdata.read_zarr" if "spatialdata_attrs" in described else ""
        raise no_slide(path, f"it is a Zarr store without an OME image{hint or _say_lost(path)}")
    return found, unread


def _check_metadata(group: Path, path: Path) -> None:
    """Refuse a group whose metadata are cut: as if it had none, another picture would be read in its place."""
    for file in (group / name for name in _METADATA):
        if file.is_file():
            read_metadata(file, path, where=_WHERE)


def _say_lost(path: Path) -> str:
    """Which metadata file of its root a store lacks, to end a sentence with."""
    there = [name for name in _METADATA if (path / name).is_file()]
    lost = {(): "zarr.json, and no .zgroup and .zattrs", (".zgroup",): ".zattrs", (".zattrs",): ".zgroup"}
    return f": it has no {lost[tuple(there)]}" if tuple(there) in lost else ""


def _groups(path: Path) -> list[Path]:
    """Groups of a ``bioformats2raw`` layout: those its ``OME`` group lists, else those that are named by numbers."""
    try:
        listed = _described(path / "OME").get("series") if (path / "OME").is_dir() else None
    except InputError:
        listed = None
    within = {folder.name: folder for folder in path.iterdir() if os.path.isdir(folder)}
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
        raise no_slide(path, _NO_ZARR) from error
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


def _finest(picture: _Picture) -> Any:
    """The array of the finest level."""
    return _open_level(picture, picture.described["datasets"][0]["path"])


def _open_level(picture: _Picture, name: str) -> Any:
    """The array of a level."""
    import zarr

    with reading(picture.group, where=_WHERE), _knowing(picture.group, name):
        group = zarr.open_group(str(picture.group), mode="r")
        array: Any = group[name] if name in group else None
    if not isinstance(array, zarr.Array):
        raise unreadable(
            picture.group, f"its metadata name a level {name!r}, and it has no array of that name", where=_WHERE
        )
    axes = [axis["name"] for axis in axes_of(picture.described)]
    if array.ndim != len(axes):
        raise unreadable(
            picture.group,
            f"its metadata name {len(axes)} axes ({', '.join(axes)}), and its level {name!r} has {array.ndim}",
            where=_WHERE,
        )
    return array


@contextmanager
def _knowing(group: Path, name: str) -> Iterator[None]:
    """Tell a store that zarr does not know how to read from one that is damaged."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        why = " ".join(str(error).split())
        if not _UNKNOWN.search(why):
            raise
        raise InputError(
            f"zarr does not know how to read the level {name!r} of {group.name}: {why}",
            where=_WHERE,
            expected="an image of codecs, types and extensions that zarr knows, as it is installed here",
            remedy="install a newer zarr, or the package of the codec (imagecodecs.numcodecs.register_codecs() adds those named "
            "imagecodecs_...); or ask for a copy that was written with Blosc, Zstandard or gzip",
        ) from error


def _size(array: Any) -> tuple[int, int]:
    height, width = array.shape[-2:]
    return int(height), int(width)


def _is_color(picture: _Picture, array: Any) -> bool:
    """Whether it is of 8 bits and three colors, with an alpha or without."""
    channels = dict(zip((axis["name"] for axis in axes_of(picture.described)), array.shape, strict=True)).get("c")
    return bool(array.dtype == np.uint8 and channels in (3, 4))
