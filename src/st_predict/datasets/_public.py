"""The public studies, from a local folder or downloaded once.

Owns the choice of sections and the layout of the local folder. Downloading is ``_download``'s work, reading ``io.legacy_st``'s.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError
from st_predict.datasets._download import FOLDER_VARIABLE, PublicSection, download, read_sources, scale
from st_predict.io import legacy_st

if TYPE_CHECKING:
    from spatialdata import SpatialData

_LOCAL_FILES = {"counts": "counts.tsv.gz", "image": "image.jpg", "spots": "spots.tsv"}
_COLUMNS = ("dataset", "section", "subject", "um_per_px")


@checked
def her2st(path: str | Path | None = None, *, sections: str | Sequence[str] | None = None) -> dict[str, SpatialData]:
    """Load four sections of one HER2-positive breast tumor (Andersson et al. 2021).

    Each has about 180 spots of 100 um at 200 um pitch and 15,700 genes, about 0.69 um/px.

    Parameters
    ----------
    path
        Local folder with ``her2st/<section>/{image.jpg,counts.tsv.gz,spots.tsv}`` and ``sections.csv``. Without it
        the folder in the environment variable ``ST_PREDICT_DATA`` is used; without either, the files are downloaded
        once from the authors' repository into the user's cache and checked against known checksums.
    sections
        Names of the sections to load, all of them by default.

    Returns
    -------
    dict
        Section name to SpatialData, as from :func:`st_predict.io.legacy_st`.

    Raises
    ------
    InputError
        A section is unknown, the local folder lacks the set or a file, or a downloaded file is not the known one.
    ConnectionError
        The files cannot be downloaded.

    Examples
    --------
    >>> sections = stp.datasets.her2st(sections="C2")
    >>> list(sections)
    ['C2']
    >>> axes = stp.pl.alignment(sections["C2"])
    """
    return _load("her2st", path, sections)


@checked
def als(path: str | Path | None = None, *, sections: str | Sequence[str] | None = None) -> dict[str, SpatialData]:
    """Load six sections of mouse spinal cord, ALS model and wild type, of three mice (Maniatis et al. 2019).

    Each has 40 to 100 spots of 100 um at 200 um pitch and 12,000 to 13,000 genes, about 0.68 um/px. ``CN51_C2_1`` and
    ``CN51_C2_2`` are two mice (765 and 794) on one image, and so are ``CN52_C2_1`` and ``CN52_C2_2``: split by subject,
    never by section alone. Even then, when one of these mice is held out, the model is trained on the other, which was
    stained and scanned with it. To hold out a mouse together with every image that it is on, give
    ``groups=["765, 794"] * 4 + ["652"] * 2`` for the sections in their order. This makes two folds.

    Parameters
    ----------
    path
        Local folder, as for :func:`her2st`, with ``als/``.
    sections
        Names of the sections to load, all of them by default.

    Returns
    -------
    dict
        Section name to SpatialData, as from :func:`st_predict.io.legacy_st`.

    Raises
    ------
    InputError
        A section is unknown, the local folder lacks the set or a file, or a downloaded file is not the known one.
    ConnectionError
        The files cannot be downloaded.

    Examples
    --------
    >>> sections = stp.datasets.als(sections=["CN51_C2_1"])
    >>> list(sections)
    ['CN51_C2_1']
    """
    return _load("als", path, sections)


@checked
def mob(path: str | Path | None = None, *, sections: str | Sequence[str] | None = None) -> dict[str, SpatialData]:
    """Load three sections of mouse olfactory bulb, 400 spots and 1,000 genes (Ensembl ids) each.

    The source states no scale, so these sections have none. It names no animals either, so they have no subject: nobody
    knows whether a held-out section is of another animal than the training sections.

    Parameters
    ----------
    path
        Local folder, as for :func:`her2st`, with ``mob/``.
    sections
        Names of the sections to load, all of them by default.

    Returns
    -------
    dict
        Section name to SpatialData, as from :func:`st_predict.io.legacy_st`.

    Raises
    ------
    InputError
        A section is unknown, the local folder lacks the set or a file, or a downloaded file is not the known one.
    ConnectionError
        The files cannot be downloaded.

    Examples
    --------
    >>> sections = stp.datasets.mob(sections="MOB1")
    >>> sections["MOB1"].attrs["st_predict"]["um_per_px"]
    {}
    """
    return _load("mob", path, sections)


def _load(dataset: str, path: str | Path | None, sections: str | Sequence[str] | None) -> dict[str, SpatialData]:
    folder = path if path is not None else os.environ.get(FOLDER_VARIABLE)
    wanted = [sections] if isinstance(sections, str) else sections
    if folder:
        found = _local(dataset, Path(folder), wanted)
    else:
        sources = [source for source in read_sources() if source.dataset == dataset]
        known = list(dict.fromkeys(source.section for source in sources))
        found = download(sources, _choose(dataset, wanted, known))
    return {
        one.name: legacy_st(
            one.counts, one.image, one.spots, section=one.name, subject=one.subject, um_per_px=one.um_per_px
        )
        for one in found
    }


def _choose(dataset: str, wanted: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    unknown = [name for name in wanted or () if name not in known]
    if unknown or (wanted is not None and len(wanted) == 0):
        raise InputError(
            f"{dataset} has no section {', '.join(map(repr, unknown))}" if unknown else "no section is asked for",
            where=f"{dataset}(sections=)",
            expected=f"names among {', '.join(known)}",
            remedy="leave sections out to load all of them",
        )
    return list(dict.fromkeys(wanted or known))


def _subject(row: Mapping[str, str]) -> str | None:
    """The patient or animal of a section; a listing that gives the section's own name, for want of one, knows none."""
    return None if row["subject"] in ("", row["section"]) else row["subject"]


def _local(dataset: str, folder: Path, wanted: Sequence[str] | None) -> list[PublicSection]:
    """Find the sections of a local folder; every file is looked for before any is read."""
    listing = folder / "sections.csv"
    for needed in (listing, folder / dataset):
        if not needed.exists():
            raise InputError(
                f"{needed} does not exist",
                where=f"{dataset}(path=) or the environment variable {FOLDER_VARIABLE}",
                expected=f"a folder with sections.csv and {dataset}/<section>/{{{','.join(_LOCAL_FILES.values())}}}",
                remedy=f"name the right folder, or unset {FOLDER_VARIABLE} and leave path out to download the data",
            )
    with listing.open(newline="", encoding="utf-8") as lines:
        table = csv.DictReader(lines)
        lacking = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
        if lacking:
            raise InputError(
                f"columns {', '.join(lacking)} are missing",
                where=str(listing),
                expected=f"columns {', '.join(_COLUMNS)}, one row a section",
                remedy="add the columns; an unknown um_per_px stays empty",
            )
        rows = {row["section"]: row for row in table if row["dataset"] == dataset}
    found, missing = [], []
    for name in _choose(dataset, wanted, list(rows)):
        paths = {kind: folder / dataset / name / file for kind, file in _LOCAL_FILES.items()}
        missing += [str(file) for file in paths.values() if not file.is_file()]
        found.append(PublicSection(name, _subject(rows[name]), scale(rows[name]["um_per_px"]), **paths))
    if missing:
        raise InputError(
            f"{len(missing)} missing: {', '.join(missing)}",
            where=str(folder / dataset),
            expected=f"{', '.join(_LOCAL_FILES.values())} in the folder of every section",
            remedy="add the files, or name in sections= only those that are complete",
        )
    return found
