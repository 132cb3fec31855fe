"""``write_hest``: sections as a folder in the layout of HEST-1k, so that readers of such folders can be tried on drawn tissue."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.image import image_source
from st_predict._spatialdata.kept import own_genes, own_spots
from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.prediction import distance_column, is_prediction, var_columns
from st_predict._spatialdata.read import read_section, spot_diameter_px
from st_predict.core.arguments.checked import checked
from st_predict.core.arguments.kinds import as_file
from st_predict.core.errors import InputError
from st_predict.core.files import replacing_file
from st_predict.core.neighbors import pitch_px
from st_predict.core.outputs import check_places, is_free
from st_predict.core.tiles.geometry import tile_corners
from st_predict.core.tiles.stream import stream_tiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict.core.section import ImageSource, Section

_PATCH_PX, _PATCH_UM_PER_PX = 224, 0.5
_TILE_PX, _SMALLEST_PX = 256, 512


@checked
def write_hest(sections: Mapping[str, SpatialData], folder: str | Path, *, slides: bool = True) -> None:
    """Write sections in the layout of HEST-1k: ``st/``, ``wsis/``, ``metadata/`` and ``patches/``.

    :func:`st_predict.io.hest` reads them back: the same spots, counts, pixels and scale.

    Parameters
    ----------
    sections
        Sample name -> section. Each image is held in memory while it is written.
    folder
        Where to write; the folder is made if it is not there. If files of these samples are there already, the call is
        refused. A sample appears whole, or not at all if writing it
        fails.
    slides
        ``False`` leaves the slides out, as HEST-Benchmark does. The patches of 112 um around the spots are then the only
        pixels.

    Raises
    ------
    InputError
        If a section has no scale, a file is there already, the folder holds other things, or names differ by case only.

    Examples
    --------
    >>> stp.datasets.write_hest({"S1": sections["S1"]}, "drawn")
    >>> stp.io.hest("drawn", "S1").tables["table"].shape
    (41, 60)
    """
    folder, read = Path(folder), {}
    check_places(folder=folder)
    _check_files(list(sections))
    for name, sdata in sections.items():
        section, placed = read_section(sdata, Elements(), need_counts=True)
        if section.um_per_px is None:
            raise InputError(
                f"the scale of section {name!r} is unknown",
                where=f"sections[{name!r}]",
                expected="the width of an image pixel in um",
                remedy="st_predict.pp.set_scale(sdata, um_per_px=...)",
            )
        read[name] = (section, sdata, placed)
        files = _files(folder, name)
        counts = files["st"]
        for path in files.values():
            if path.exists():
                raise InputError(
                    f"{path} is there already"
                    + ("" if counts.exists() else f", of a sample without counts ({counts} is missing)"),
                    where="folder",
                    expected="a new folder",
                    remedy="give another folder"
                    + ("" if counts.exists() else ", or remove what a killed run left of it"),
                )
    if not is_free(folder) and not any((folder / part).is_dir() for part in ("st", "metadata", "patches")):
        raise InputError(
            f"{folder} holds other files, and none in the layout of HEST-1k",
            where="folder",
            expected="a new or empty folder, or one with the folders of HEST-1k",
            remedy="give another folder",
        )
    for name, (section, sdata, placed) in read.items():
        files = _files(folder, name)
        for path in files.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        table = sdata.tables[placed.table]
        barcodes = [str(name) for name in table.obs_names[own_spots(table)]]
        # All files of a sample take their places once all are written, the first of them last: a sample without counts is
        # one that readers call unfinished, whenever a run is killed.
        with ExitStack() as whole:
            new = {
                kind: whole.enter_context(replacing_file(path))
                for kind, path in files.items()
                if slides or kind != "wsis"
            }
            _write_counts(new["st"], section, table)
            _write_patches(new["patches"], section, barcodes)
            new["metadata"].write_text(json.dumps(_metadata(name, section, spot_diameter_px(sdata, placed))))
            if slides:
                _write_slide(new["wsis"], image_source(sdata, placed.image), float(section.um_per_px or 0))


def _check_files(names: list[str]) -> None:
    """Refuse names that are one file where case does not count."""
    first: dict[str, str] = {}
    for name in names:
        if (other := first.setdefault(as_file(name), name)) != name:
            raise InputError(
                f"{other!r} and {name!r} differ by upper and lower case only, and are one file on many disks",
                where="sections",
                expected="names that differ by more than case",
                remedy="give one of them another name",
            )


def _files(folder: Path, name: str) -> dict[str, Path]:
    endings = {"st": ".h5ad", "wsis": ".tif", "metadata": ".json", "patches": ".h5"}
    return {kind: folder / kind / f"{name}{ending}" for kind, ending in endings.items()}


def _write_counts(path: Path, section: Section, table: AnnData) -> None:
    """What was measured, without predictions and the names of our elements."""
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    keys = [key for key in table.uns if is_prediction(table.uns, key)]
    of_spots = ["region", "instance_id", "section", "subject", *map(distance_column, keys)]
    of_genes = [column for key in keys for column in var_columns(key)]
    AnnData(
        csr_matrix(section.counts, dtype=np.float32),
        obs=table.obs.loc[own_spots(table)].drop(columns=of_spots, errors="ignore"),
        var=table.var.loc[own_genes(table)].drop(columns=of_genes, errors="ignore"),
        obsm={"spatial": section.centers_px},
    ).write_h5ad(path)


def _metadata(name: str, section: Section, diameter_px: float) -> dict[str, Any]:
    um_per_px = float(section.um_per_px or 0)
    diameter_um = diameter_px * um_per_px
    facts = {
        "id": name,
        "st_technology": "Visium" if abs(diameter_um - 55) < 1 else "Spatial Transcriptomics",
        "pixel_size_um_estimated": um_per_px,
        "pixel_size_um_embedded": um_per_px,
        "spot_diameter": diameter_um,
        "inter_spot_dist": pitch_px(section.centers_px) * um_per_px or None,
        "spots_under_tissue": section.n_spots,
        "fullres_px_width": int(section.image.col_edges[-1]),
        "fullres_px_height": int(section.image.row_edges[-1]),
        "patient": section.subject,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _write_patches(path: Path, section: Section, barcodes: list[str]) -> None:
    """Patches of 224 px of 0.5 um, with their corners as HEST-1k gives them."""
    import h5py

    side_px = round(_PATCH_PX * _PATCH_UM_PER_PX / float(section.um_per_px or 0))
    patches = np.empty((section.n_spots, _PATCH_PX, _PATCH_PX, 3), np.uint8)
    for batch in stream_tiles(section.image, section.centers_px, [side_px], out_px=_PATCH_PX):
        patches[batch.spots] = batch.pixels
    with h5py.File(path, "w") as file:
        file.create_dataset("img", data=patches, chunks=(1, *patches.shape[1:]), compression="gzip")
        file["img"].attrs["patch_size_src"] = side_px
        file["coords"] = tile_corners(section.centers_px, side_px)
        file["barcode"] = np.array(barcodes, dtype="S")[:, None]


def _write_slide(path: Path, source: ImageSource, um_per_px: float) -> None:
    """A pyramid of tiles, without loss."""
    import tifffile
    from PIL import Image

    levels = [_whole(source)]
    while max(levels[-1].shape[:2]) > _SMALLEST_PX:
        height, width = (-(-size // 2) for size in levels[-1].shape[:2])
        levels.append(np.asarray(Image.fromarray(levels[-1]).resize((width, height), Image.Resampling.BOX)))
    per_cm = 1e4 / um_per_px
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for number, level in enumerate(levels):
            file.write(
                level, photometric="rgb", tile=(_TILE_PX, _TILE_PX), compression="zlib",
                subifds=len(levels) - 1 if number == 0 else None, subfiletype=1 if number else 0,
                resolution=(per_cm / 2**number, per_cm / 2**number), resolutionunit="CENTIMETER",
            )  # fmt: skip


def _whole(source: ImageSource) -> NDArray[np.uint8]:
    rows = [
        np.concatenate([source.read_chunk(row, col) for col in range(len(source.col_edges) - 1)], axis=1)
        for row in range(len(source.row_edges) - 1)
    ]
    return np.ascontiguousarray(np.concatenate(rows))
