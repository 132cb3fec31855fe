"""What ``predict`` does with paths: it predicts bare slides as a cohort and stores one by one, and changes no input."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import st_predict as stp
from st_predict._spatialdata.prediction import find_prediction
from st_predict._spatialdata.stored import open_store
from st_predict.cli.group import given_as
from st_predict.cli.terminal import say
from st_predict.core.dicom import dicom_files
from st_predict.core.errors import InputError
from st_predict.core.expression import describe_panel
from st_predict.core.files import replacing_folder
from st_predict.core.outputs import check_apart, check_output, is_sealed, seal
from st_predict.tl._cohort_store import PREDICTION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spatialdata import SpatialData

    from st_predict.core.model.model import Model

_FOR_ALL = ("interval", "min_reliability")
_FOR_BARE = ("um_per_px", "pitch_um", "n_jobs", "series", *_FOR_ALL)
_FOR_STORES = ("image_key", "table_key", *_FOR_ALL)


def is_slide(path: Path) -> bool:
    """Whether a path is a slide and not a SpatialData: a file, or a folder of DICOM files or an OME-Zarr image."""
    if path.is_file() or (path / "DICOMDIR").is_file():
        return True
    for name in ("zarr.json", ".zattrs"):
        if (path / name).is_file():
            try:
                found = json.loads((path / name).read_text(encoding="utf-8"))
            except ValueError:  # whatever it is, no slide
                return False
            attributes = found.get("attributes", {}) if name == "zarr.json" else found
            described = attributes.get("ome", attributes)
            if "multiscales" in described or "bioformats2raw.layout" in described:
                return True
    # As bioformats2raw writes them, its mark gone; a SpatialData has no group of this name.
    if any((path / "0" / name).is_file() for name in ("zarr.json", ".zattrs")):
        return True
    return path.is_dir() and bool(dicom_files(path))


def are_bare(slides: Sequence[Path], options: Mapping[str, Any]) -> bool:
    """Whether these are bare slides rather than stores.

    Raises
    ------
    InputError
        If they are both, or an option is not for them.
    """
    bare = [is_slide(slide) for slide in slides]
    if any(bare) and not all(bare):
        raise InputError(
            f"{slides[bare.index(True)]} is a bare slide, {slides[bare.index(False)]} a store",
            where="SLIDES",
            expected="either bare slides or stores",
            remedy="run the command once for each",
        )
    kind, fitting = ("bare slides", _FOR_BARE) if all(bare) else ("stores", _FOR_STORES)
    misfits = sorted(f"--{name.removeprefix('n_').replace('_', '-')}" for name in options.keys() - fitting)
    if misfits:
        raise InputError(
            f"{', '.join(misfits)} is not for {kind}",
            where="options",
            expected=f"options for {kind}, see st-predict predict --help",
            remedy="leave it out",
        )
    return all(bare)


def predict_bare(slides: Sequence[Path], model_path: Path, out: Path, **cohort: Any) -> None:
    """Write a cohort of bare slides, and say how it went; if a slide failed, the command ends with status 1."""
    with given_as("--model"):
        model = stp.load_model(model_path)
    manifest = stp.tl.predict_cohort(slides, model, out, **cohort)
    counts = manifest["status"].value_counts()
    say(", ".join(f"{n} {status}" for status, n in counts.items()) + f"; see {out / 'manifest.csv'}")
    for row in manifest[manifest["status"] == "failed"].itertuples():
        click.echo(f"{row.slide}: {row.reason}", err=True)
    if counts.get("failed"):
        raise SystemExit(1)


def predict_stores(slides: Sequence[Path], model_path: Path, out: Path, *, key_added: str, **keys: Any) -> None:
    """Write a copy of every store, with the prediction."""
    targets = [out / Path(os.path.abspath(slide)).name for slide in slides]  # "." has a name, too
    for target in targets:
        _check_target(target, slides, targets.count(target))
    with given_as("--model"):
        model = stp.load_model(model_path)
    for slide, target in zip(slides, targets, strict=True):
        sdata = open_store(slide)
        stp.tl.predict(sdata, model, key_added=key_added, **keys)
        with replacing_folder(target, _check_store) as folder:
            sdata.write(
                folder
            )  # else spatialdata consolidates the metadata of the store that was read, and not of this one
            seal(folder, PREDICTION)
        say(f"{target}: {_written(sdata, model, key_added)} under {key_added!r}")


def _written(sdata: SpatialData, model: Model, key: str) -> str:
    """How many genes and sets a prediction has; fewer than the model has if some were left out."""
    panel = find_prediction(sdata, key).panel
    return describe_panel(panel, {name: () for name in model.gene_sets if name in panel})


def _check_target(target: Path, slides: Sequence[Path], times: int) -> None:
    """Refuse to write over a slide or into one, over anything but an earlier prediction, or twice to one place."""
    check_apart(target, slides, where="--out")
    if times > 1:
        raise InputError(
            f"{target} would be overwritten: {times} slides have this name",
            where="--out",
            expected="slides of different names",
            remedy="rename slides, or predict them into different folders",
        )
    _check_store(target)


def _check_store(target: Path) -> None:
    check_output(
        target, lambda path: is_sealed(path, PREDICTION), what="an earlier prediction of st_predict", where="--out"
    )
