"""Jobs over processes: results, errors, and workers that die. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from st_predict._workers import n_cores, run_jobs


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_every_job_ends_with_its_result_or_its_error(n_jobs: int) -> None:
    def work(shared: int, value: int) -> int:
        if value == 2:
            raise ValueError("no twos")
        return shared * value

    ended = {i: (result, error) for i, result, error in run_jobs(work, 10, [(v,) for v in range(5)], n_jobs=n_jobs)}
    assert sorted(ended) == [0, 1, 2, 3, 4]
    assert {i: result for i, (result, _) in ended.items() if i != 2} == {0: 0, 1: 10, 3: 30, 4: 40}
    assert isinstance(ended[2][1], ValueError) and str(ended[2][1]) == "no twos"


def test_a_worker_that_dies_costs_its_own_job_only() -> None:
    def work(shared: None, value: int) -> tuple[int, int]:
        import os
        import time

        time.sleep(0.2)
        if value == 1:
            os._exit(9)  # as the system ends a process that takes too much memory
        return value, os.getpid()

    ended = {i: (result, error) for i, result, error in run_jobs(work, None, [(v,) for v in range(6)], n_jobs=2)}
    assert type(ended[1][1]).__name__ == "KilledWorker" and ended[1][0] is None
    others = [ended[i] for i in (0, 2, 3, 4, 5)]
    assert [result[0] for result, error in others if error is None] == [0, 2, 3, 4, 5]


def test_processes_share_cores_and_show_no_bars() -> None:
    def work(shared: str) -> tuple[str | None, str | None, str]:
        import os

        return os.environ.get("OMP_NUM_THREADS"), os.environ.get("ST_PREDICT_PROGRESS"), shared

    for _, result, error in run_jobs(work, "data", [(), ()], n_jobs=2):
        assert error is None
        assert result == (str(max(1, n_cores() // 2)), "0", "data")


def test_our_error_crosses_a_process_border_whole() -> None:
    def work(shared: None) -> None:
        from st_predict.core.errors import InputError

        raise InputError("what", where="where", expected="expected", remedy="remedy")

    for _, _, error in run_jobs(work, None, [(), ()], n_jobs=2):
        assert (error.what, error.where, error.expected, error.remedy) == ("what", "where", "expected", "remedy")


def test_lazy_arrays_of_a_job_are_computed_where_it_runs() -> None:
    def work(shared: None) -> tuple[int, list[int]]:
        import os

        import dask.array as da

        blocks = da.zeros(8, chunks=1, dtype=int).map_blocks(lambda block: block + os.getpid(), dtype=int)
        return os.getpid(), sorted(set(blocks.compute().tolist()))

    for _, (process, computed_in), _ in run_jobs(work, None, [(), ()], n_jobs=2):
        assert computed_in == [process]


PARENT = """
import sys
from st_predict._workers import run_jobs
from st_predict.core.ending import ended_by_signals

def work(shared, i):
    import time
    from pathlib import Path
    Path(shared, str(i)).touch()
    time.sleep(300)

with ended_by_signals():
    list(run_jobs(work, sys.argv[1], [(0,), (1,)], n_jobs=2))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_workers_end_with_their_parent_whatever_ended_it(number: int, status: int, tmp_path: Path) -> None:
    """Scheduler, nannies and workers, while these are in the middle of their jobs."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    try:
        while len(list(tmp_path.iterdir())) < 2:
            assert parent.poll() is None
            time.sleep(0.05)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) >= 5, "a scheduler, two nannies and two workers"
        parent.send_signal(number)
        assert parent.wait(timeout=60) == status
        left = psutil.wait_procs(family, timeout=30)[1]
        assert [one for one in left if one.status() != psutil.STATUS_ZOMBIE] == []
    finally:
        parent.kill()
        parent.wait()
