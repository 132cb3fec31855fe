"""Space Ranger output folders: the files of each version, and the scale that follows from them.

Knows folders and geometry; builds no SpatialData.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.arguments.declared import UM_PER_PX
from st_predict.core.arguments.kinds import Number
from st_predict.core.checks import check_um_per_px
from st_predict.core.errors import InputError
from st_predict.core.scale import array_steps, row_pitch_um_per_px
from st_predict.core.text import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

logger = logging.getLogger("st_predict")

COUNTS = "filtered_feature_bc_matrix"
POSITIONS = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
_MOST_ODD = 3  # spots that are named where the others lie on an array
_BIN = re.compile(r"square_\d+um")

_THUMBNAIL_FACTOR = Number(1e-4, 1, ends=True, what="pixels of the thumbnail in one of the full-resolution image")
_FACTORS = {
    "spot_diameter_fullres": Number(0, 10_000, what="the diameter of a spot in px of the full-resolution image"),
    "tissue_hires_scalef": _THUMBNAIL_FACTOR,
    "tissue_lowres_scalef": _THUMBNAIL_FACTOR,
    "microns_per_pixel": UM_PER_PX,
}

# What `spot_diameter_fullres` stands for: 65 um where it was measured, 55 um by the printed spot.
_SPOT_DIAMETERS_UM = (65.0, 55.0)


@dataclass(frozen=True)
class Outs:
    """The files of one Space Ranger output folder, all of them present.

    Parameters
    ----------
    folder
        The folder that holds counts and ``spatial``.
    counts
        The filtered matrix: an ``.h5`` file, or a folder with ``matrix.mtx.gz``.
    positions
        The tissue positions file.
    scalefactors
        Contents of ``scalefactors_json.json``.
    section
        Name of the section, as files and folders suggest it.
    bin_name
        ``square_XXXum`` for Visium HD, None for Visium.
    """

    folder: Path
    counts: Path
    positions: Path
    scalefactors: dict[str, Any]
    section: str
    bin_name: str | None


def find_outs(path: str | Path) -> Outs:
    """Find the files of a Visium ``outs`` folder, or of one bin size of Visium HD.

    Raises
    ------
    InputError
        There is no such folder, files are missing, or there are several bin sizes to choose from.
    """
    folder = _folder(Path(path))
    spatial = folder / "spatial"
    counts = _counts(folder)
    positions = next((spatial / name for name in POSITIONS if (spatial / name).is_file()), None)
    scalefactors = spatial / "scalefactors_json.json"
    missing = [
        *([] if counts else [f"{COUNTS}.h5 (or the folder {COUNTS}/ with matrix.mtx.gz)"]),
        *([] if positions else [f"spatial/{POSITIONS[1]} (or {POSITIONS[0]}, {POSITIONS[2]})"]),
        *([] if scalefactors.is_file() else ["spatial/scalefactors_json.json"]),
    ]
    if missing or counts is None or positions is None:
        raise InputError(
            f"{folder} is missing {'; '.join(missing)}",
            where="path",
            expected="an outs folder of Space Ranger, or a square_XXXum folder of Visium HD",
            remedy="give the folder that holds the filtered matrix and spatial/, complete",
        )
    bin_name = folder.name if _BIN.fullmatch(folder.name) else None
    factors = _scalefactors(scalefactors, hd=bin_name is not None)
    return Outs(folder, counts, positions, factors, _section(folder, counts), bin_name)


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise InputError(
            f"no such folder: {path}", where="path", expected="a Space Ranger folder", remedy="check the path"
        )
    if not (path / "spatial").is_dir() and (path / "outs").is_dir():
        path = path / "outs"
    bins_folder = path / "binned_outputs" if (path / "binned_outputs").is_dir() else path
    bins = sorted(child for child in bins_folder.iterdir() if child.is_dir() and _BIN.fullmatch(child.name))
    if len(bins) > 1:
        raise InputError(
            f"{bins_folder} holds several bin sizes: {', '.join(child.name for child in bins)}",
            where="path",
            expected="one bin size",
            remedy=f"give one of them, e.g. visium({str(bins[-1])!r})",
        )
    return bins[0] if bins else path


def _counts(folder: Path) -> Path | None:
    # Archives put the sample's name before the file's: GSM123_filtered_feature_bc_matrix.h5.
    prefixed = sorted(folder.glob(f"*_{COUNTS}.h5"))
    plain = folder / f"{COUNTS}.h5"
    if plain.is_file() or len(prefixed) == 1:
        return plain if plain.is_file() else prefixed[0]
    matrix = folder / COUNTS
    # Versions 1 and 2 of Cell Ranger wrote text, with genes.tsv beside it.
    unzipped = (matrix / "matrix.mtx").is_file() and (matrix / "genes.tsv").is_file()
    return matrix if unzipped or (matrix / "matrix.mtx.gz").is_file() else None


def _section(folder: Path, counts: Path) -> str:
    if counts.suffix == ".h5" and counts.stem != COUNTS:
        return counts.stem.removesuffix(f"_{COUNTS}")
    folder = folder.resolve()
    while folder.name in ("outs", "binned_outputs") or _BIN.fullmatch(folder.name):
        folder = folder.parent
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", folder.name).lstrip("_.") or "visium"


def _scalefactors(path: Path, *, hd: bool) -> dict[str, Any]:
    needed = ["spot_diameter_fullres", *(["microns_per_pixel"] if hd else [])]
    try:
        factors = read_json(path)
    except ValueError as error:
        factors = error
    if not isinstance(factors, dict) or any(factors.get(key) is None for key in needed):
        raise InputError(
            f"{path.name} holds {factors!r}",
            where=str(path),
            expected=f"JSON with the numbers {', '.join(needed)}",
            remedy="copy the file from the Space Ranger output again",
        )
    stated = {key: value for key, value in factors.items() if key in _FACTORS and value is not None}
    stated = {key: _FACTORS[key].check(value, f"{key} in {path}") for key, value in stated.items()}
    hires, lowres = stated.get("tissue_hires_scalef", 1), stated.get("tissue_lowres_scalef", 0)
    if hires < lowres:
        raise InputError(
            f"tissue_hires_scalef is {hires:g} and tissue_lowres_scalef {lowres:g}: the two are exchanged",
            where=str(path),
            expected="the larger factor for the larger thumbnail",
            remedy="copy the file from the Space Ranger output again",
        )
    return factors | stated


def um_per_px(outs: Outs, positions: pd.DataFrame) -> float | None:
    """Micrometers a full-resolution pixel.

    Visium HD states it. For Visium it follows from the pitch: neighbors of one row are two array columns and 100 um
    apart on the slide, and a plane fitted to all spots (in tissue or not) gives that distance in pixels. The other
    candidate, 55 um / ``spot_diameter_fullres``, is not used: in Space Ranger 1 outputs that diameter stands for 65 um
    (two sections measured: 0.72644 and 0.72612 by the pitch, 0.7265 and 0.7261 by 65 um, 0.615 by 55 um), so it would
    be 15 % off. It serves as a check: a pitch that fits neither is reported.

    Parameters
    ----------
    outs
        The folder's files.
    positions
        As :func:`~st_predict.io._positions.read_positions` gives them.

    Returns
    -------
    The scale, or None where the positions do not lie on an array (one row, or a poor fit).
    """
    if outs.bin_name is not None:
        return float(outs.scalefactors["microns_per_pixel"])
    array = positions[["array_row", "array_col"]].to_numpy(dtype=float)
    pixels = positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(dtype=float)
    scale = row_pitch_um_per_px(array[:, 0], array[:, 1], pixels)
    if scale is None:
        logger.warning(
            "positions in %s do not lie on a regular array: um per pixel stays unknown%s",
            outs.positions,
            _odd(positions.index, array, pixels),
        )
        return None
    check_um_per_px(scale, where=f"the spot pitch in {outs.positions.name}")
    by_diameter = [um / outs.scalefactors["spot_diameter_fullres"] for um in _SPOT_DIAMETERS_UM]
    if not any(abs(scale - other) < 0.05 * scale for other in by_diameter):
        logger.warning(
            "the 100 um pitch gives %.4f um per pixel, which is used; spot_diameter_fullres gives %.4f or %.4f",
            scale,
            *by_diameter,
        )
    return scale


def _odd(barcodes: Sequence[str], array: NDArray[np.float64], pixels: NDArray[np.float64]) -> str:
    """Name the spots without which the others lie on an array, to end a sentence with; empty where it is not up to a few."""
    _, which, n = np.unique(array, axis=0, return_inverse=True, return_counts=True)
    twice = np.flatnonzero(n[which.ravel()] > 1)
    if 0 < len(twice) <= _MOST_ODD:
        row, col = array[twice[0]].astype(int)
        return f"; {barcodes[twice[0]]} and {barcodes[twice[1]]} both have array_row {row} and array_col {col}"
    kept = np.arange(len(array))
    for _ in range(_MOST_ODD):
        design = np.column_stack([np.ones(len(kept)), array[kept]])
        fit = np.linalg.lstsq(design, pixels[kept], rcond=None)[0]
        kept = np.delete(kept, np.linalg.norm(design @ fit - pixels[kept], axis=1).argmax())
        if array_steps(array[kept, 0], array[kept, 1], pixels[kept]) is not None:
            odd = np.setdiff1d(np.arange(len(array)), kept)
            return f"; but for {', '.join(f'{barcodes[i]} (row {i + 1})' for i in odd)} they do"
    return ""
