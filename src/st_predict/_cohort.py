"""Many slides, each predicted into a store of its own; what fails costs itself alone, what is done is not done again.

A user of the public rooms, as a notebook would be.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import st_predict as stp
from st_predict.core.ending import telling_what_is_left
from st_predict.core.errors import InputError
from st_predict.core.files import follow_umask, plain_name, remove_unfinished, replacing_file, replacing_folder
from st_predict.core.outputs import SEAL, check_apart, check_output, has_columns, is_sealed, seal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from spatialdata import SpatialData

    from st_predict.core.training.model import Model

MANIFEST = "manifest.csv"
COLUMNS = ["slide", "status", "reason", "n_spots", "unlike_training", "slide_shift", "seconds", "path", "store", "series",
           "remarks"]  # fmt: skip
PREDICTION = "prediction"
"""What the seal of a store calls it."""
_MODEL, _LOCK = "model", ".running"
_LOOK_PX = 2000
_SEPARATOR = " | "


class Settings(NamedTuple):
    """What is the same for all slides."""

    key_added: str
    um_per_px: float | None
    pitch_um: float | None
    device: str
    interval: float | None = None
    min_reliability: float | None = None


class _Job(NamedTuple):
    name: str
    path: str
    store: str
    series: int | None = None
    """Which slide of a file of several; ``None``: the largest."""

    def of(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """What its store is made with."""
        return wanted if self.series is None else {**wanted, "series": self.series}


def run_cohort(
    paths: Sequence[str | Path],
    model: Model,
    out_dir: Path,
    *,
    settings: Settings,
    n_jobs: int | None,
    client: Any,
    series: int | Literal["all"] | None = None,
) -> pd.DataFrame:
    """Predict every slide, see :func:`st_predict.tl.predict_cohort`."""
    from st_predict._log import be_heard, logger
    from st_predict._workers import n_cores, run_jobs
    from st_predict.core.encoders.frozen import torch_device
    from st_predict.core.progress import progress_bar

    be_heard()
    jobs = _jobs(paths, out_dir, series)
    check_apart(out_dir, [job.path for job in jobs if Path(job.path).is_dir()], where="out_dir")
    _check_out(out_dir)
    wanted = _identity(model.id, settings)
    left = f"The slides that were done lie in {out_dir}; the same call goes on with the others"
    with _alone(out_dir), telling_what_is_left(lambda: left):
        for job in jobs:
            remove_unfinished(Path(job.store))
            if _done_earlier(job, job.of(wanted)) is None:
                _check_store(Path(job.store))
        model.save(out_dir / _MODEL)
        rows = {
            job.name: _row(job, "skipped", reason="done earlier", **found)
            for job in jobs
            if (found := _done_earlier(job, job.of(wanted))) is not None
        }
        if rows:
            logger.info("%d of %d slides were done earlier", len(rows), len(jobs))
        todo = [job for job in jobs if job.name not in rows]
        shared = str(out_dir / _MODEL), settings, wanted
        if n_jobs is None and client is None:
            n_jobs = min(n_cores(), max(1, len(todo))) if torch_device(settings.device) == "cpu" else 1
        with progress_bar(len(jobs), "slides", unit="slide") as bar:
            bar.update(len(rows))
            manifest = _write_manifest(jobs, rows, out_dir)
            for i, found, error in run_jobs(
                predict_slide, shared, [(job,) for job in todo], n_jobs=n_jobs, client=client
            ):
                job = todo[i]
                rows[job.name] = found if error is None else _row(job, "failed", reason=_said(error))
                if error is not None:
                    logger.warning("%s failed: %s", job.name, rows[job.name]["reason"])
                manifest = _write_manifest(jobs, rows, out_dir)
                bar.update(1)
    return manifest


def predict_slide(shared: tuple[str, Settings, dict[str, Any]], job: _Job) -> dict[str, Any]:
    """Predict one slide into its store; the row of the manifest."""
    from st_predict._log import be_heard
    from st_predict._prediction import predict_sdata
    from st_predict.core.progress import hidden_progress

    be_heard(logging.WARNING)  # in a process of its own; the manifest says the rest
    model_path, settings, wanted = shared
    begin = time.perf_counter()
    model = _load(model_path, wanted["model"])
    state = _state(Path(job.path)) if Path(job.path).exists() else None  # as it is now, should it change meanwhile
    store = Path(job.store)
    part = store.with_name(f".{store.stem}.st-predict.part")
    with hidden_progress(), _heard() as remarks:
        sdata = stp.io.slide(job.path, um_per_px=settings.um_per_px, series=job.series)
        predict_sdata(
            sdata, model, key_added=settings.key_added, device=settings.device, interval=settings.interval,
            min_reliability=settings.min_reliability, pitch_um=settings.pitch_um, keep=part,
        )  # fmt: skip
        table = sdata.tables[settings.key_added]
        notes = {name: round(table.uns[settings.key_added][name], 4) for name in ("unlike_training", "slide_shift")}
        found = {"n_spots": table.n_obs, **notes, "series": _series(sdata), "remarks": _SEPARATOR.join(remarks) or None}
        made_from = {**job.of(wanted), "slide": state}
        _write_store(sdata, settings.key_added, store, {"made_from": made_from, "found": found})
    shutil.rmtree(part, ignore_errors=True)
    return _row(job, "done", seconds=time.perf_counter() - begin, **found)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What the package warns of meanwhile, in this thread: of many slides, nobody reads along."""
    mine, remarks = threading.get_ident(), []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == mine:
                remarks.append(" ".join(record.getMessage().split()))

    handler, logger = Keep(logging.WARNING), logging.getLogger("st_predict")
    logger.addHandler(handler)
    try:
        yield remarks
    finally:
        logger.removeHandler(handler)


def _series(sdata: SpatialData) -> int | None:
    """Which slide of a file of several was read."""
    return next(iter(sdata.attrs["st_predict"].get("series", {}).values()), None)


@lru_cache(maxsize=1)
def _load(path: str, model_id: str) -> Model:
    """The model, once a process; another run may have put another one at the same path."""
    model = stp.load_model(path)
    if model.id != model_id:
        raise RuntimeError(f"the model in {path} is {model.id}, not {model_id}: another run replaced it")
    return model


def _jobs(paths: Sequence[str | Path], out_dir: Path, series: int | Literal["all"] | None) -> list[_Job]:
    """A store for every slide, named after it, and where it is one of several of its file after its number.

    Raises
    ------
    InputError
        If there are no slides, or two would be written to one store.
    """
    if not paths:
        raise InputError("there are no slides", where="paths", expected="at least one", remedy="give paths of slides")
    jobs = []
    for path in map(Path, paths):
        plain = plain_name(Path(os.path.abspath(path)))  # "." has a name, too
        for number in _numbers(path, series):
            name = plain + ("" if number is None else f"_series{number}")
            jobs.append(_Job(name, str(path), str(out_dir / f"{name}.zarr"), number))
    names = [job.name for job in jobs]
    twice = [job.path for job in jobs if names.count(job.name) > 1]
    if twice:
        raise InputError(
            f"{len(twice)} slides would be written to stores of the same name: {', '.join(twice[:4])}",
            where="paths",
            expected="slides of different file names",
            remedy="rename slides, or predict them into different folders",
        )
    return jobs


def _numbers(path: Path, series: int | Literal["all"] | None) -> list[int | None]:
    """Which slides of a file are predicted; one that cannot be opened is told of when its turn comes."""
    if series is None:
        return [None]
    try:
        known = stp.io.slide_series(path)
    except InputError:
        return [None]
    if series == "all":
        return list(known) if len(known) > 1 else [None]
    return [None] if known == [series] else [series]


def _check_out(out_dir: Path) -> None:
    """Refuse a folder that holds something else or cannot be written to."""
    from st_predict.core.training.store import check_model_path

    manifest = out_dir / MANIFEST
    try:
        usable = not out_dir.exists() or (
            out_dir.is_dir()
            and (has_columns(manifest, COLUMNS) or (out_dir / _LOCK).exists() or not any(out_dir.iterdir()))
            and (has_columns(manifest, COLUMNS) or not manifest.exists())
        )
        if usable:
            out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{out_dir} cannot be made or read ({error.strerror})",
            where="out_dir",
            expected="a folder that can be written to",
            remedy="choose another folder",
        ) from error
    if not usable:
        raise InputError(
            f"{out_dir} exists and holds no cohort",
            where="out_dir",
            expected="a new or empty folder, or that of an earlier cohort",
            remedy="choose another folder",
        )
    check_model_path(out_dir / _MODEL)


def _check_store(store: Path) -> None:
    """Refuse to replace anything but a prediction, as it was written; a user may keep a slide under the same name."""
    check_output(
        store, lambda path: is_sealed(path, PREDICTION), what="an earlier prediction of st_predict", where="out_dir"
    )


@contextmanager
def _alone(out_dir: Path) -> Iterator[None]:
    """One run a folder; what a run that was killed left behind is taken over.

    Raises
    ------
    InputError
        If another run is at work there, or the folder cannot be written to.
    """
    lock = out_dir / _LOCK
    mine = {"host": socket.gethostname(), "pid": os.getpid()}
    try:
        with tempfile.NamedTemporaryFile("w", dir=out_dir, prefix=".lock.", encoding="utf-8") as file:
            json.dump(mine, file)
            file.flush()
            follow_umask(Path(file.name))  # whoever shares the folder has to see who is at work
            _take(lock, Path(file.name), mine)
    except OSError as error:
        raise InputError(
            f"{out_dir} cannot be written to ({error.strerror})",
            where="out_dir",
            expected="a folder that can be written to",
            remedy="choose another folder",
        ) from error
    try:
        yield
    finally:
        if _read_lock(lock) == mine:
            lock.unlink(missing_ok=True)


def _take(lock: Path, written: Path, mine: dict[str, Any]) -> None:
    """Link a lock that is already written, so that nobody ever reads half of one."""
    for _ in range(2):
        try:
            os.link(written, lock)
        except FileExistsError:
            holder = _read_lock(lock)
            if holder is not None and (holder["host"] != mine["host"] or _lives(holder["pid"])):
                raise InputError(
                    f"another run is at work in {lock.parent} (process {holder['pid']} on {holder['host']})",
                    where="out_dir",
                    expected="one run at a time in a folder",
                    remedy=f"wait for it; if it is gone, remove {lock}",
                ) from None
            lock.unlink(missing_ok=True)
        else:
            return
    raise InputError(
        f"another run took {lock.parent} at the same moment",
        where="out_dir",
        expected="one run at a time in a folder",
        remedy="wait for it",
    )


def _read_lock(lock: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # gone meanwhile, or cut when its run was killed
        return None
    return found if {"host", "pid"} <= found.keys() else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _identity(model_id: str, settings: Settings) -> dict[str, Any]:
    """What a finished store must have been made with to be taken as it is; the device gives the same numbers."""
    return {"model": model_id, **{k: v for k, v in settings._asdict().items() if k != "device"}}


def _state(path: Path) -> list[int]:
    """Size and time of a slide: of its file, all files of its folder, the folder beside an MRXS, those beside a DICOM."""
    beside = path.with_suffix("") if path.suffix.lower() == ".mrxs" else path
    files = [path, *(sorted(beside.rglob("*")) if beside.is_dir() else [])]
    files += sorted(path.parent.glob("*.dcm")) if path.suffix.lower() == ".dcm" else []
    found = [file.stat() for file in files]
    return [sum(one.st_size for one in found), max(one.st_mtime_ns for one in found)]


def _done_earlier(job: _Job, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """What the manifest says of a slide whose store is what would be made now; ``None`` where it is to be made."""
    try:
        record = json.loads((Path(job.store) / SEAL).read_text(encoding="utf-8"))
        done = record["made_from"] == {**wanted, "slide": _state(Path(job.path))}
        return dict(record["found"]) if done else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_store(sdata: SpatialData, key: str, store: Path, record: dict[str, Any]) -> None:
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
    with replacing_folder(store, _check_store) as folder:
        small.write(folder)
        seal(folder, PREDICTION, record)


def _small_copy(sdata: SpatialData, image: str) -> tuple[Any, float]:
    """A reduced image in its place, and its px in px of the slide."""
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale

    from st_predict._spatialdata.image import image_source, reduced_sources
    from st_predict.core.tiles.thumbnail import Box, read_thumbnail

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


def _row(job: _Job, status: str, **values: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(COLUMNS),
        "slide": job.name,
        "status": status,
        "path": job.path,
        "store": job.store,
        "series": job.series,
        **values,
    }


def _said(error: Exception) -> str:
    """One line a user can read."""
    if type(error).__name__ == "KilledWorker":
        return "its process died twice (out of memory?)"
    text = error.what + f" ({error.remedy})" if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:400]


def _write_manifest(jobs: Sequence[_Job], rows: dict[str, dict[str, Any]], out_dir: Path) -> pd.DataFrame:
    import pandas as pd

    ordered = [rows.get(job.name, _row(job, "waiting")) for job in jobs]
    table = pd.DataFrame(ordered, columns=COLUMNS).astype({"n_spots": "Int64", "series": "Int64"})
    with replacing_file(out_dir / MANIFEST) as file:
        table.to_csv(file, index=False)
    return table
