"""Which files of a folder are DICOM, by their first bytes. Reads nothing else of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_DICOM_DEPTH = 3
_ZARR = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def dicom_files(folder: Path) -> list[Path]:
    """Find the DICOM files of a folder by their first bytes, since many have no ending; else those of its subfolders.

    A study has a folder for each series, and a medium has a folder for each patient, study and series.
    """
    below = [folder]
    for _ in range(1 + _DICOM_DEPTH):
        if any((place / name).exists() for place in below for name in _ZARR):
            return []
        files = sorted(file for place in below for file in place.iterdir() if file.is_file() and is_dicom_file(file))
        if files:
            return files
        below = sorted(found for place in below for found in place.iterdir() if found.is_dir())
    return []


def is_dicom_file(file: Path) -> bool:
    """Whether a file is DICOM by its first bytes, and no index of a medium."""
    try:
        with file.open("rb") as opened:
            return file.name != "DICOMDIR" and opened.read(132)[128:] == b"DICM"
    except OSError:
        return False
