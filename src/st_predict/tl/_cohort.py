"""Many slides, each predicted into a store of its own; what fails costs itself alone, what is done is not done again."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from st_predict import io
from st_predict.core.encoders.frozen import torch_device
from st_predict.core.ending import telling_what_is_left
from st_predict.core.errors import InputError
from st_predict.core.files import plain_name, remove_unfinished, replacing_file
from st_predict.core.full import NotWritten
from st_predict.core.lock import LOCK, alone_in
from st_predict.core.log import be_heard, logger
from st_predict.core.model.folder import check_model_path
from st_predict.core.model.load import load_model
from st_predict.core.outputs import check_apart, check_holder, has_columns, is_free, read_seal
from st_predict.core.progress import hidden_progress, progress_bar
from st_predict.tl._cohort_store import check_store, done_earlier, slide_state, write_store
from st_predict.tl._prediction import Request, kept_genes, predict_sdata
from st_predict.tl._processes import n_cores, run_jobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from spatialdata import SpatialData

    from st_predict.core.model.model import Model

MANIFEST = "manifest.csv"
COLUMNS = ["slide", "status", "reason", "n_spots", "unlike_training", "slide_shift", "seconds", "path", "store", "series",
           "remarks"]  # fmt: skip
_MODEL = "model"
_SEPARATOR = " | "


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
    request: Request,
    um_per_px: float | None,
    n_jobs: int | None,
    client: Any,
    series: int | Literal["all"] | None = None,
) -> pd.DataFrame:
    """Predict every slide, see :func:`st_predict.tl.predict_cohort`."""
    be_heard()
    kept_genes(model, request)  # what cannot be done for any slide is an error now
    device = torch_device(request.device)
    jobs = _jobs(paths, out_dir, series)
    check_apart(out_dir, [job.path for job in jobs if Path(job.path).is_dir()], where="out_dir")
    _check_out(out_dir)
    wanted = {"model": model.id, "um_per_px": um_per_px, **request.identity()}
    left = f"The slides that were done lie in {out_dir}; the same call goes on with the others"
    with alone_in(out_dir), telling_what_is_left(lambda: left):
        for job in jobs:
            remove_unfinished(Path(job.store))
        done = {job.name: done_earlier(Path(job.store), Path(job.path), job.of(wanted)) for job in jobs}
        for job in jobs:
            if done[job.name] is None:
                check_store(Path(job.store))
            else:
                shutil.rmtree(_part(job), ignore_errors=True)  # of a run that was killed when all was done
        rows = {
            job.name: _row(job, "skipped", reason="done earlier", **found)
            for job in jobs
            if (found := done[job.name]) is not None
        }
        if rows:
            logger.info("%d of %d slides were done earlier", len(rows), len(jobs))
        manifest = _write_manifest(jobs, rows, out_dir)  # first: by it a folder is known as that of a cohort
        model.save(out_dir / _MODEL)
        todo = [job for job in jobs if job.name not in rows]
        shared = str(out_dir / _MODEL), request, wanted
        if n_jobs is None and client is None:
            n_jobs = min(n_cores(), max(1, len(todo))) if device == "cpu" else 1
        with progress_bar(len(jobs), "slides", unit="slide") as bar:
            bar.update(len(rows))
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


def predict_slide(shared: tuple[str, Request, dict[str, Any]], job: _Job) -> dict[str, Any]:
    """Predict one slide into its store; the row of the manifest."""
    be_heard(logging.WARNING)  # in a process of its own; the manifest says the rest
    model_path, request, wanted = shared
    begin = time.perf_counter()
    model = _load(model_path, wanted["model"])
    state = slide_state(Path(job.path)) if Path(job.path).exists() else None  # as it is now, should it change meanwhile
    store, part = Path(job.store), _part(job)
    with hidden_progress(), _heard() as remarks:
        sdata = io.slide(job.path, um_per_px=wanted["um_per_px"], series=job.series)
        predicted = predict_sdata(sdata, model, request, keep=part)
        notes = {name: round(getattr(predicted, name), 4) for name in ("unlike_training", "slide_shift")}
        found = {
            "n_spots": len(predicted.expression),
            **notes,
            "series": _series(sdata),
            "remarks": _SEPARATOR.join(remarks) or None,
        }
        made_from = {**job.of(wanted), "slide": state}
        write_store(sdata, request.key_added, store, {"made_from": made_from, "found": found})
    shutil.rmtree(part, ignore_errors=True)
    return _row(job, "done", seconds=time.perf_counter() - begin, **found)


def _part(job: _Job) -> Path:
    """The folder of a slide's features while it is predicted, from which a run that was broken off goes on."""
    store = Path(job.store)
    return store.with_name(f".{store.stem}.st-predict.part")


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What the package warns of meanwhile, in this thread: of many slides, nobody reads along."""
    mine, remarks = threading.get_ident(), []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == mine:
                remarks.append(" ".join(record.getMessage().split()))

    handler = Keep(logging.WARNING)
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
    model = load_model(path)
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
        known = io.slide_series(path)
    except InputError:
        return [None]
    if series == "all":
        return list(known) if len(known) > 1 else [None]
    return [None] if known == [series] else [series]


def _check_out(out_dir: Path) -> None:
    """Refuse a folder that holds something else or cannot be written to."""
    check_holder(out_dir, where="out_dir")
    manifest = out_dir / MANIFEST
    try:
        known = has_columns(manifest, COLUMNS)
        usable = known or is_free(out_dir) or (out_dir / LOCK).exists() or _holds_slides(out_dir)
        if usable and not known and manifest.exists() and not _is_cut(manifest):
            raise InputError(
                f"{manifest} is not the table of a cohort: it was changed, or damaged",
                where="out_dir",
                expected="a folder in which our names are free, or that of an earlier cohort",
                remedy=f"move {MANIFEST} away and do the same again; slides that are done are not predicted anew",
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
    check_model_path(out_dir / _MODEL, where="out_dir")


def _holds_slides(out_dir: Path) -> bool:
    """Whether a folder whose manifest is gone holds slides that the model beside them predicted, as a cohort has it."""
    made_from = [(read_seal(store) or {}).get("made_from") for store in out_dir.glob("*.zarr")]
    try:
        found = bool(made_from) and load_model(out_dir / _MODEL).id
    except InputError:
        return False
    return any(isinstance(one, dict) and one.get("model") == found for one in made_from)


def _is_cut(manifest: Path) -> bool:
    """Whether a manifest ends before its header does, as after a crash of the machine."""
    begin = ",".join(COLUMNS).encode()
    return manifest.is_file() and begin.startswith(manifest.read_bytes()[: len(begin) + 1])


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
        return "its process died twice: out of memory, or a crash in a library that reads it"
    text = error.what + f" ({error.remedy})" if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:400]


def _write_manifest(jobs: Sequence[_Job], rows: dict[str, dict[str, Any]], out_dir: Path) -> pd.DataFrame:
    import pandas as pd

    ordered = [rows.get(job.name, _row(job, "waiting")) for job in jobs]
    table = pd.DataFrame(ordered, columns=COLUMNS).astype({"n_spots": "Int64", "series": "Int64"})
    try:
        with replacing_file(out_dir / MANIFEST) as file:
            table.to_csv(file, index=False)
    except NotWritten as error:  # the slides are what counts, and the table is returned
        logger.error("%s; the slides go on, and the next run writes it", error.what)
    return table
