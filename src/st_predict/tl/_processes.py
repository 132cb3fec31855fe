"""Independent jobs over processes, with dask.distributed: a worker that dies costs its own job only.

Processes of ours are spoken to with keys that live as long as they do; a client's are the user's own affair.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from st_predict.core.ending import PARENT, TOLD_BY
from st_predict.core.files import clear_temporary, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_ENDS_WITH_US = "st_predict.core.ending"  # what a process of the cluster loads as it starts, see dask_setup there

_SCRATCH, _DASK_SAYS = "DASK_TEMPORARY_DIRECTORY", "DASK_LOGGING__DISTRIBUTED"


_ENDED_S = 5.0


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    work: Callable[..., Any],
    shared: Any,
    jobs: Sequence[tuple[Any, ...]],
    *,
    n_jobs: int | None,
    client: Any = None,
) -> Iterator[tuple[int, Any, Exception | None]]:
    """Run ``work(shared, *job)`` for every job, in this process, in ``n_jobs`` of their own, or by a client's workers.

    Parameters
    ----------
    work
        What to run.
    shared
        Its first argument; handed to each process once.
    jobs
        Its other arguments.
    n_jobs
        Processes; 1: none but this one. With a client: jobs at a time, ``None``: one a worker.
    client
        A ``dask.distributed.Client``, whose workers are given work and jobs as they are.

    Yields
    ------
    Index of a job that ended, its result, and the error if it failed; as they end.
    """
    if client is not None:
        from distributed.protocol.pickle import dumps

        packed = dumps((work, shared))

        def at_once() -> int:  # a cluster grows while it is at work
            return n_jobs or max(1, len(client.scheduler_info(n_workers=-1)["workers"]))

        yield from _run_by(lambda i: client.submit(_unpacked, packed, jobs[i], pure=False), len(jobs), at_once)
        return
    clear_temporary()  # also where all was done before the last run was killed
    n_jobs = n_jobs or 1
    if n_jobs == 1 or len(jobs) < 2:
        for i, job in enumerate(jobs):
            try:
                yield i, work(shared, *job), None
            except Exception as error:  # noqa: BLE001 - one job's failure is reported, and the others go on
                yield i, None, error
        return
    yield from _run_in_processes(work, shared, jobs, min(n_jobs, len(jobs)))


def _run_in_processes(
    work: Callable[..., Any], shared: Any, jobs: Sequence[tuple[Any, ...]], n_jobs: int
) -> Iterator[tuple[int, Any, Exception | None]]:
    from distributed import Client
    from distributed.deploy.subprocess import SubprocessCluster
    from distributed.protocol.pickle import dumps
    from distributed.security import Security

    # Of this run alone: whoever may speak to a scheduler or a worker may have it run anything.
    security = Security.temporary()
    # Subprocesses, not multiprocessing: a user's script need not guard its main module.
    folder = temporary_folder("processes")
    try:
        # By file, and a job by its number: what travels through the scheduler is unpacked there too, torch and all.
        path = folder / "jobs.pickle"
        path.write_bytes(dumps((work, shared, jobs)))
        environment = {
            **_for_workers(max(1, n_cores() // n_jobs)), **_keys(security), _SCRATCH: str(folder), _DASK_SAYS: "critical",
            "TMPDIR": str(folder),  # what they are at when they are killed goes with all else
        }  # fmt: skip
        with _environment(environment), _deaf():
            cluster = SubprocessCluster(
                n_workers=n_jobs,
                threads_per_worker=1,
                dashboard_address=None,  # type: ignore[arg-type]  # what its documentation says turns it off
                # Who is tried again, and when, is settled here. A worker ends with its nanny by itself.
                scheduler_kwargs={
                    "allowed_failures": 0,
                    "protocol": "tls",
                    "preload": [_ENDS_WITH_US],
                    "scheduler_file": str(folder / "scheduler.json"),  # else left among temporary files
                },
                worker_kwargs={"memory_limit": 0, "local_directory": str(folder), "preload_nanny": [_ENDS_WITH_US]},
                silence_logs=logging.CRITICAL,
                security=security,
            )
        try:
            with Client(cluster) as client:
                yield from _run_by(partial(_submit, client, str(path)), len(jobs), lambda: n_jobs)
        finally:
            _end(cluster)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end(cluster: Any) -> None:
    """End a cluster and all processes that it has started, whatever they are at.

    Dask kills children first, whose parents then complain, and fails where one ends by itself at that moment. So workers
    are killed here, parents first, and dask finds them gone.
    """
    from distributed.core import Status

    _kill(cluster.workers.values())
    try:
        cluster.close()
    except psutil.NoSuchProcess:
        _kill([cluster.scheduler])
        cluster.status = Status.closed


def _kill(started: Iterable[Any]) -> None:
    """Kill processes with those that they have started, and wait until their end is known."""
    started = [one.process for one in started if one.process is not None and one.process.returncode is None]
    family = []
    for one in started:
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(one.pid)
            family += [first, *first.children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    until = time.monotonic() + _ENDED_S
    while any(one.returncode is None for one in started) and time.monotonic() < until:
        time.sleep(0.01)


def _submit(client: Any, path: str, i: int) -> Any:
    return client.submit(_run_one, path, i, pure=False)


def _run_by(
    submit: Callable[[int], Any], n: int, at_once: Callable[[], int]
) -> Iterator[tuple[int, Any, Exception | None]]:
    """Jobs by number, so many at a time; one whose worker died is tried again by itself, in case it was another's fault."""
    from distributed.scheduler import KilledWorker

    killed = []
    for i, result, error in _side_by_side(submit, range(n), at_once):
        if isinstance(error, KilledWorker):
            killed.append(i)
        else:
            yield i, result, error
    for i in killed:
        yield from _side_by_side(submit, [i], lambda: 1)


def _side_by_side(
    submit: Callable[[int], Any], jobs: Iterable[int], at_once: Callable[[], int]
) -> Iterator[tuple[int, Any, Exception | None]]:
    """As many jobs with the workers as can run, so that none waits behind another that may end its worker."""
    from distributed import as_completed

    waiting = iter(jobs)
    running: dict[Any, int] = {}

    def following() -> list[Any]:
        """As many of the next jobs as there is room for."""
        futures = []
        for i in islice(waiting, max(0, at_once() - len(running))):
            futures.append(submit(i))
            running[futures[-1].key] = i
        return futures

    ended = as_completed(following())
    for future in ended:
        i, error = running.pop(future.key), future.exception()
        ended.update(following())
        yield i, (None if error else future.result()), error


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Variables for processes that start now, and as they were afterwards."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start now do not hear what a terminal or a scheduler sends to all: this one does, and ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TOLD_BY)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _for_workers(threads: int) -> dict[str, str]:
    """What workers find in their environment before anything is loaded."""
    environment = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
        "ST_PREDICT_PROGRESS": 0,
        "PYTHONWARNINGS": os.environ.get(
            "PYTHONWARNINGS", "ignore"
        ),  # remarks to developers, once more from each process
        # Left to itself dask has malloc give memory back after every use: three times slower for small networks.
        "MALLOC_TRIM_THRESHOLD_": 2**30,
        "MALLOC_MMAP_THRESHOLD_": 2**25,
    }
    return {"DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON": repr(environment), PARENT: str(os.getpid())}


def _keys(security: Any) -> dict[str, str]:
    """Placed of a run: an environment is read by its own user alone, a command line by everybody."""
    settings = {
        "COMM__REQUIRE_ENCRYPTION": True,
        "COMM__TLS__CA_FILE": security.tls_ca_file,
        "SCHEDULER__HTTP__ROUTES": [],  # pages of the scheduler and its workers are not for TLS, nor for anybody
        "WORKER__HTTP__ROUTES": [],
    }
    for role in ("client", "scheduler", "worker"):
        for part in ("cert", "key"):
            settings[f"COMM__TLS__{role}__{part}".upper()] = getattr(security, f"tls_{role}_{part}")
    return {f"DASK_DISTRIBUTED__{name}": repr(value) for name, value in settings.items()}


def _unpacked(packed: bytes, job: tuple[Any, ...]) -> Any:
    work, shared = pickle.loads(packed)
    return _here(work, shared, *job)


def _run_one(path: str, i: int) -> Any:
    work, shared, jobs = _load(path)
    return _here(work, shared, *jobs[i])


def _here(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run a job; its lazy arrays are computed in this process, not sent to the cluster that runs the job."""
    import dask

    with dask.config.set(scheduler="threads"):
        return work(*arguments)


@lru_cache(maxsize=1)
def _load(path: str) -> Any:
    with Path(path).open("rb") as file:
        return pickle.load(file)  # written by the process that started this one
