"""The store of a slide of a cohort: what lies in it, what it was made from, and whether it is still that."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from st_predict._spatialdata.image import image_source, reduced_sources
from st_predict.core.errors import InputError
from st_predict.core.files import replacing_folder
from st_predict.core.log import logger
from st_predict.core.outputs import check_output, is_sealed, lost_arrays, lost_files, read_seal, seal
from st_predict.core.tiles.thumbnail import Box, read_thumbnail
from st_predict.io._slide import slide_files

if TYPE_CHECKING:
    from spatialdata import SpatialData

PREDICTION = "prediction"
"""What the seal of a store calls it."""
_LOOK_PX = 2000
_NAMED = 3


def check_store(store: Path) -> None:
    """Refuse to replace anything but a prediction, as it was written; a user may keep a slide under the same name.

    One that has lost files, and is otherwise as it was written, may be replaced: it holds nobody's work.
    """
    check_output(
        store,
        lambda path: is_sealed(path, PREDICTION, whole=False),
        what="an earlier prediction of st_predict",
        where="out_dir",
    )


def done_earlier(store: Path, slide: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """What the manifest says of a slide whose store is what would be made now; ``None`` where it is to be made.

    Raises
    ------
    InputError
        If it has lost values and was worked on since, so that it may not be replaced.
    """
    try:
        record = read_seal(store) or {}
        done = record["made_from"] == {**wanted, "slide": slide_state(slide)}
        found = dict(record["found"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if done and not _has_lost(store) else None


def _has_lost(store: Path) -> bool:
    """Whether a store has lost files, which Zarr would read as zeros, and is to be made again; it is said."""
    if not (lost := lost_files(store)):
        return False
    if is_sealed(store, PREDICTION, whole=False):
        logger.warning(
            "%s is damaged: %d of its files are lost (%s%s); its slide is predicted again",
            store, len(lost), ", ".join(lost[:_NAMED]), ", ..." if len(lost) > _NAMED else "",
        )  # fmt: skip
        return True
    if arrays := lost_arrays(store):
        raise InputError(
            f"{store} is damaged: chunks are lost of {', '.join(arrays[:_NAMED])}; and it was changed since it was written",
            where="out_dir",
            expected="predictions as they were written, or with all that they held",
            remedy="move it away, and give the same call again: its slide is predicted again",
        )
    return False


def slide_state(path: Path) -> str:
    """Digest of the names, sizes and times of all files that a slide consists of."""
    found = sorted((os.path.relpath(file, path.parent), file.stat()) for file in slide_files(path))
    return hashlib.sha256(repr([(name, one.st_size, one.st_mtime_ns) for name, one in found]).encode()).hexdigest()


def write_store(sdata: SpatialData, key: str, store: Path, record: dict[str, Any]) -> None:
    """The prediction, its spots and tissue, and a small copy of the image to look at; not the slide itself."""
    from spatialdata import SpatialData

    image = next(iter(sdata.images))
    small_copy, step = _small_copy(sdata, image)
    own = sdata.attrs["st_predict"]
    scales = {name: step * um_per_px for name, um_per_px in own["um_per_px"].items()}
    small = SpatialData(
        images={image: small_copy},
        shapes=dict(sdata.shapes.items()),
        tables={key: sdata.tables[key]},
        attrs={"st_predict": {**own, "um_per_px": scales}},
    )
    with replacing_folder(store, check_store) as folder:
        small.write(folder)
        seal(folder, PREDICTION, record)


def _small_copy(sdata: SpatialData, image: str) -> tuple[Any, float]:
    """A reduced image in its place, and its px in px of the slide."""
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale

    levels = [image_source(sdata, image), *reduced_sources(sdata, image)]
    size = int(levels[0].col_edges[-1]), int(levels[0].row_edges[-1])
    look = read_thumbnail(levels, Box(0, 0, *size), side_px=min(_LOOK_PX, max(size)))
    height, width = look.pixels.shape[:2]
    down, right = look.extent[2] / height, look.extent[1] / width
    element = Image2DModel.parse(
        look.pixels.transpose(2, 0, 1),
        dims=("c", "y", "x"),
        c_coords=["r", "g", "b"],
        transformations={"global": Scale([down, right], axes=("y", "x"))},
    )
    return element, right
