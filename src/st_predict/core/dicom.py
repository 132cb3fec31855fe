"""Which files of a folder are DICOM, by their first bytes. Reads nothing else of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_DICOM_DEPTH = 3
_MOST_FOLDERS, _MOST_OTHERS = 2_000, 20_000
"""Folders of one depth, and files that are not DICOM: a folder of more is no study."""
_ZARR = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def dicom_files(folder: Path) -> list[Path]:
    """Find the DICOM files of a folder by their first bytes, since many have no ending; else those of its subfolders.

    A study has a folder for each series, and a medium has a folder for each patient, study and series. What this user
    may not read is passed over.
    """
    below, n_others = [folder], 0
    for _ in range(1 + _DICOM_DEPTH):
        if any(os.path.exists(place / name) for place in below for name in _ZARR):
            return []
        found, deeper = [], []
        for entry in (entry for place in below for entry in _within(place)):
            if os.path.isdir(entry):
                deeper.append(entry)
            elif os.path.isfile(entry) and is_dicom_file(entry):
                found.append(entry)
            else:
                n_others += 1
            if not found and max(len(deeper) / _MOST_FOLDERS, n_others / _MOST_OTHERS) > 1:
                return []
        if found:
            return sorted(found)
        below = sorted(deeper)
    return []


def _within(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def is_dicom_file(file: Path) -> bool:
    """Whether a file is DICOM by its first bytes, and no index of a medium."""
    try:
        with file.open("rb") as opened:
            return file.name != "DICOMDIR" and opened.read(132)[128:] == b"DICM"
    except OSError:
        return False
