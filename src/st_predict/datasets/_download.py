"""Downloads public sections by checksum, and turns the raw files into what ``io.legacy_st`` reads.

Owns the list of sources (``_sources.csv``), the cache and the quirks of each upstream repository; knows nothing of SpatialData.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from st_predict.core.errors import InputError
from st_predict.core.files import follow_umask

if TYPE_CHECKING:
    import pandas as pd

FOLDER_VARIABLE = "ST_PREDICT_DATA"  # names a local folder, which then takes the place of the download
_BASE_URL = "https://raw.githubusercontent.com"
_ALS_ARRAY = (32, 34)  # columns and rows of the array that spans each image of that study


@dataclass(frozen=True)
class PublicSection:
    """One section ready to be read: its files (or tables made from them) and what is known of it."""

    name: str
    subject: str | None
    um_per_px: float | None
    counts: Path | pd.DataFrame
    image: Path
    spots: Path | pd.DataFrame


@dataclass(frozen=True)
class Source:
    """One raw file of one section, and what is known of that section."""

    dataset: str
    section: str
    subject: str
    um_per_px: str
    kind: str
    repository: str
    commit: str
    path: str
    bytes: str
    sha256: str


def read_sources() -> list[Source]:
    """Read the list of every file that can be downloaded."""
    with files("st_predict.datasets").joinpath("_sources.csv").open(encoding="utf-8") as lines:
        return [Source(**row) for row in csv.DictReader(lines)]


def scale(text: str) -> float | None:
    """Read an um_per_px from text; empty text means that it is unknown."""
    return float(text) if text else None


def download(sources: Sequence[Source], names: Sequence[str]) -> list[PublicSection]:
    """Fetch sections into the cache, each file once.

    Parameters
    ----------
    sources
        Files of one data set.
    names
        Its sections that are wanted.
    """
    found = []
    for name in names:
        mine = [source for source in sources if source.section == name]
        first = mine[0]
        counts, image, spots = _CONVERT[first.dataset]({source.kind: _fetch(source) for source in mine})
        found.append(PublicSection(name, first.subject or None, scale(first.um_per_px), counts, image, spots))
    return found


def _cache_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("st-predict"))


def _fetch(source: Source) -> Path:
    """Return the cached file; download it if it is not there or has another checksum."""
    import pooch

    url = f"{_BASE_URL}/{source.repository}/{source.commit}/{source.path}"
    # Named by content: sections that share an image share its file.
    name = f"{source.sha256[:12]}-{source.path.rsplit('/', 1)[-1]}"
    folder = _cache_folder() / source.dataset
    known = (folder / name).exists()
    try:
        file = Path(pooch.retrieve(url, f"sha256:{source.sha256}", fname=name, path=folder))
    except OSError as error:
        raise ConnectionError(
            f"{url} cannot be downloaded: {error}\n"
            f"  remedy:   connect to the network, or give a local folder as path= or in {FOLDER_VARIABLE}"
        ) from error
    except ValueError as error:
        raise InputError(
            f"the downloaded file is not the known one: {error}",
            where=url,
            expected=f"SHA256 {source.sha256}",
            remedy=f"try again, or give a local folder as path= or in {FOLDER_VARIABLE}",
        ) from error
    if not known:
        follow_umask(file)
    return file


def _as_they_are(raw: dict[str, Path]) -> tuple[Path | pd.DataFrame, Path, Path | pd.DataFrame]:
    return raw["counts"], raw["image"], raw["spots"]


def _convert_mob(raw: dict[str, Path]) -> tuple[Path | pd.DataFrame, Path, Path | pd.DataFrame]:
    """Cut the version off the Ensembl ids, and keep the spots under tissue: the counts hold the whole array."""
    import pandas as pd

    counts = pd.read_csv(raw["counts"], sep="\t", index_col=0)
    counts.columns = [name.split(".")[0] for name in counts.columns]
    spots = pd.read_csv(raw["spots"], sep="\t", dtype={"x": str, "y": str})
    spots = spots[spots["selected"] == 1]
    return counts[counts.index.isin(spots["x"] + "x" + spots["y"])], raw["image"], spots


def _convert_als(raw: dict[str, Path]) -> tuple[Path | pd.DataFrame, Path, Path | pd.DataFrame]:
    """Drop ambiguous genes; the ids are array positions, and the array spans the image."""
    import pandas as pd
    from PIL import Image

    counts = pd.read_csv(raw["counts"], sep="\t", index_col=0)
    counts = counts[[name for name in counts.columns if "ambiguous" not in name]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # 93 Mpx; only the header is read
        with Image.open(raw["image"]) as image:
            width, height = image.size
    x, y = zip(*(name.split("x") for name in counts.index), strict=True)
    spots = pd.DataFrame({"x": x, "y": y})
    spots["pixel_x"] = (spots["x"].astype(float) - 1) * width / _ALS_ARRAY[0]
    spots["pixel_y"] = (spots["y"].astype(float) - 1) * height / _ALS_ARRAY[1]
    return counts, raw["image"], spots


_CONVERT: dict[str, Callable[[dict[str, Path]], tuple[Path | pd.DataFrame, Path, Path | pd.DataFrame]]] = {
    "her2st": _as_they_are,
    "mob": _convert_mob,
    "als": _convert_als,
}
