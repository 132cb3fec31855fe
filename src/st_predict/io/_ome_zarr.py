"""OME-Zarr slides: their pictures, levels and scale. Knows zarr; reads no pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from st_predict.core.codecs import check_codecs
from st_predict.io._blocks import whole_levels
from st_predict.io._checks import unreadable
from st_predict.io._opened import Opened, no_slide, of_several
from st_predict.io._scenes import Scene, choose_scene, missing, several

if TYPE_CHECKING:
    from pathlib import Path

_WHERE = "path"


def open_ome_zarr(path: Path, *, stated: bool, series: int | None) -> Opened:
    """A picture of a store: levels and, if ``stated`` is asked for, the scale its metadata state."""
    from st_predict.io import _slide_scale
    from st_predict.io._regions import OmeZarrImage

    pictures = ome_zarr_pictures(path)
    sizes = [_ome_zarr_size(group, described) for group, described in pictures]
    scenes = [Scene(i, *size) for i, size in enumerate(sizes)]
    number = choose_scene(scenes, scenes, path, where=_WHERE, series=series)
    root, (path, described) = path, pictures[number]
    try:
        axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in described["axes"]]
        names = tuple(axis["name"] for axis in axes)
        levels = [OmeZarrImage(path, where="path", name=part["path"], axes=names) for part in described["datasets"]]
        finest = [
            *described["datasets"][0].get("coordinateTransformations", []),
            *described.get("coordinateTransformations", []),
        ]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise unreadable(path, f"its OME metadata lack {error}", where="path") from error
    scale = _slide_scale.ome_zarr_scale(axes, finest, path, where="path") if stated else None
    levels[0].check_planes()
    kept, apart = whole_levels(levels, root)
    said = [missing(levels[0], root), *apart, several(scenes, number, root) if series is None else None]
    return Opened(kept, scale, tuple(note for note in said if note), of_several(scenes, number))


def ome_zarr_pictures(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Group and description of every image: one, or those of a ``bioformats2raw`` layout, each in a group of its number."""
    attributes = _zarr_attributes(path)
    described = attributes.get("ome", attributes)
    multiscales = described.get("multiscales")
    if multiscales:
        check_codecs(path, where=_WHERE)
        return [(path, one) for one in multiscales]
    if described.get("bioformats2raw.layout") is not None:
        groups = sorted((p for p in path.iterdir() if p.is_dir() and p.name.isdigit()), key=lambda p: int(p.name))
        found = [picture for group in groups for picture in ome_zarr_pictures(group)[:1]]
        if found:
            return found
    hint = ", but a SpatialData: read it with spatialdata.read_zarr" if "spatialdata_attrs" in attributes else ""
    raise no_slide(path, f"it is a Zarr store without an OME image{hint}")


def _zarr_attributes(path: Path) -> dict[str, Any]:
    import zarr

    try:
        return dict(zarr.open_group(str(path), mode="r").attrs)
    except (OSError, ValueError, KeyError) as error:
        raise no_slide(path, "it is a folder, but no OME-Zarr image") from error


def _ome_zarr_size(group: Path, described: dict[str, Any]) -> tuple[int, int]:
    """Height and width of a picture; nothing where its description is broken, which is said when it is read."""
    import zarr

    try:
        height, width = zarr.open_group(str(group), mode="r")[described["datasets"][0]["path"]].shape[-2:]
    except (KeyError, IndexError, TypeError, ValueError):
        return 0, 0
    return int(height), int(width)
