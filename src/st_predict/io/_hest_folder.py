"""Folders of HEST-1k, STP-Bench and HEST-Benchmark: which samples are there, and what of each. Reads no pixel, no count."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError
from st_predict.core.text import read_json
from st_predict.io._checks import logger
from st_predict.io._h5ad import check_fetched
from st_predict.io._library import positive

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

EXPRESSION = ("st", "adata")
"""Folders of counts: of HEST-1k, and of the benchmark."""
SCALE = "pixel_size_um_estimated"
"""What HEST measured by the spots; ``pixel_size_um_embedded`` is what the file says."""
_SLIDES = (".tif", ".tiff", ".svs", ".ndpi", ".mrxs")
_NOTHING = {"", "nan", "none", "null"}
_MOST_SPOTS = 2**40
_TEST = re.compile(r"test_(\d+)\.csv")
_COLUMNS = {
    "technology": "st_technology",
    "species": "species",
    "organ": "organ",
    "patient": "patient",
    "dataset": "dataset_title",
    "spots": "spots_under_tissue",
    "um_per_px": SCALE,
}


@dataclass(frozen=True)
class Sample:
    """The files of one sample; ``None`` for one that is not there."""

    name: str
    expression: Path | None = None
    slide: Path | None = None
    patches: Path | None = None
    metadata: Path | None = None

    def facts(self) -> dict[str, Any]:
        """What is known of it by the metadata; what is missing there is left out.

        Raises
        ------
        InputError
            If the file cannot be read.
        """
        if self.metadata is None:
            return {}
        check_fetched(self.metadata, where=str(self.metadata))
        try:
            found = read_json(self.metadata)
        except ValueError as error:
            found = error
        if not isinstance(found, dict):
            raise InputError(
                f"{self.metadata.name} cannot be read ({found if isinstance(found, ValueError) else 'it is not a JSON object'})",
                where=str(self.metadata),
                expected="metadata of a sample as JSON",
                remedy="download it again",
            )
        return {key: value for key, value in found.items() if not _is_nothing(value)}


def _is_nothing(value: object) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def find_samples(folder: Path) -> dict[str, Sample]:
    """Find all samples of a folder, by name, whole or not.

    Raises
    ------
    InputError
        If it is no such folder.
    """
    if not folder.is_dir():
        raise InputError(
            f"no such folder: {folder}", where="folder", expected="a folder of HEST-1k", remedy="check the path"
        )
    held = next((name for name in EXPRESSION if (folder / name).is_dir()), EXPRESSION[0])
    expression = _by_name(folder / held, (".h5ad",))
    patches, metadata = _by_name(folder / "patches", (".h5",)), _by_name(folder / "metadata", (".json",))
    slides = _by_name(folder / "wsis", _SLIDES)
    names = sorted({*expression, *slides, *patches, *metadata})
    if not names:
        raise _no_samples(folder)
    return {name: Sample(name, expression.get(name), slides.get(name), patches.get(name), metadata.get(name))
            for name in names}  # fmt: skip


def _by_name(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Files by name without ending; of several of one name, that whose ending comes first."""
    if not folder.is_dir():
        return {}
    found = [path for path in folder.iterdir() if path.suffix.lower() in endings and not path.name.startswith(".")]
    found.sort(key=lambda path: -endings.index(path.suffix.lower()))
    return {path.stem: path for path in found}


def _no_samples(folder: Path) -> InputError:
    tasks = sorted(path.name for path in folder.iterdir() if any((path / name).is_dir() for name in EXPRESSION))
    if tasks:
        return InputError(
            f"{folder} holds several folders of samples: {', '.join(tasks)}",
            where="folder",
            expected="the folder of one task",
            remedy=f"give one of them: hest({str(folder / tasks[0])!r})",
        )
    return InputError(
        f"there are no samples in {folder}",
        where="folder",
        expected="st/ID.h5ad, wsis/ID.tif, metadata/ID.json as in HEST-1k; or adata/ID.h5ad, patches/ID.h5 as in its benchmark",
        remedy="give the folder that holds these folders, or download samples with st_predict.datasets.hest",
    )


def find_sample(folder: Path, name: str) -> Sample:
    """Find one sample with counts, and pixels of some kind.

    Raises
    ------
    InputError
        If there is no such sample, or it is not whole.
    """
    samples = find_samples(folder)
    if name not in samples:
        near = get_close_matches(str(name), samples, n=3) or list(samples)[:3]
        raise InputError(
            f"there is no sample {name!r} among the {len(samples)} of {folder}",
            where="sample",
            expected=f"a name such as {', '.join(near)}",
            remedy="hest(folder) lists them",
        )
    sample = samples[name]
    lacks = [] if sample.expression else [f"{EXPRESSION[0]}/{name}.h5ad (counts)"]
    if sample.slide is None and sample.patches is None:
        lacks.append(f"wsis/{name}.tif (slide) or patches/{name}.h5 (tiles of its spots)")
    if lacks:
        raise InputError(
            f"sample {name!r} lacks {' and '.join(lacks)}",
            where=str(folder),
            expected="counts, and a slide or patches",
            remedy=f"download the rest: st_predict.datasets.hest({name!r})",
        )
    for path in (sample.expression, sample.slide or sample.patches):
        if path is not None and not path.is_dir():
            check_fetched(path, where=str(path))
    return sample


def list_samples(folder: Path) -> pd.DataFrame:
    """A row a sample, see :func:`st_predict.io.hest`."""
    import pandas as pd

    samples, folds = find_samples(folder), _test_folds(folder)
    rows = {name: _row(sample) for name, sample in samples.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("sample")
    table["spots"] = table["spots"].astype("Int64")
    table["um_per_px"] = table["um_per_px"].astype(float)
    if folds:
        table["fold"] = pd.Series(folds).reindex(table.index).astype("Int64")
    if genes := _genes(folder):
        table.attrs["genes"] = genes
    return table


def _row(sample: Sample) -> dict[str, Any]:
    facts = sample.facts()
    row = {column: facts.get(key) for column, key in _COLUMNS.items()}
    spots, um_per_px = (positive(row[column]) for column in ("spots", "um_per_px"))
    counted = int(spots) if spots and spots < _MOST_SPOTS else _n_spots(sample.expression)
    files = {"expression": sample.expression, "slide": sample.slide, "patches": sample.patches}
    return {**row, "spots": counted, "um_per_px": um_per_px, **{name: path is not None for name, path in files.items()}}


def _n_spots(path: Path | None) -> int | None:
    """Rows of an ``.h5ad`` file; ``None`` where it cannot be read, which is said when the sample is read."""
    import h5py

    if path is None:
        return None
    try:
        with h5py.File(path) as file:
            index = file["obs"][file["obs"].attrs["_index"]]
            # anndata 0.13 writes text that may be missing as a group of values and a mask.
            return len(index["values"] if isinstance(index, h5py.Group) else index)
    except (OSError, KeyError):
        return None


def _test_folds(folder: Path) -> dict[str, int]:
    """The fold of a benchmark in which each sample is tested."""
    import pandas as pd

    folds: dict[str, int] = {}
    for path in sorted((folder / "splits").glob("test_*.csv")):
        number = _TEST.fullmatch(path.name)
        try:
            names = pd.read_csv(path)["sample_id"].astype(str)
        except (KeyError, ValueError, OSError) as error:
            logger.warning("%s is left out: it cannot be read as a list of samples (%s)", path, error)
            continue
        if number:
            folds |= {name: int(number[1]) for name in names if name not in folds}
    return folds


def _genes(folder: Path) -> list[str]:
    """The panel of a benchmark: the genes in its one ``var_*genes.json``."""
    found = sorted(folder.glob("var_*genes.json"))
    if len(found) != 1:
        if found:
            logger.warning(
                "%s has several gene panels, and none of them is used: %s",
                folder,
                ", ".join(path.name for path in found),
            )
        return []
    try:
        listed: Mapping[str, Any] = read_json(found[0])
        return [str(gene) for gene in listed["genes"]]
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("%s is left out: it names no genes (%s)", found[0], error)
        return []
