"""Jobs over processes: results, errors, and workers that die. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from st_predict.core.maker import making
from st_predict.tl import _processes
from st_predict.tl._processes import n_cores, run_jobs


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


def test_temporary_files_of_processes_go_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(_: None) -> str:
        import tempfile

        return tempfile.mkdtemp()

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = [found for _, found, _ in run_jobs(work, None, [(), ()], n_jobs=2)]
    assert [Path(one).parents[1] for one in made] == [tmp_path, tmp_path]
    assert not list(tmp_path.iterdir())


@pytest.mark.one_python
def test_processes_share_cores_and_show_no_bars() -> None:
    def work(shared: str) -> tuple[str | None, str | None, str]:
        import os

        return os.environ.get("OMP_NUM_THREADS"), os.environ.get("ST_PREDICT_PROGRESS"), shared

    for _, result, error in run_jobs(work, "data", [(), ()], n_jobs=2):
        assert error is None
        assert result == (str(max(1, n_cores() // 2)), "0", "data")


def test_what_a_killed_run_left_is_removed_where_nothing_is_left_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = "import sys; from pathlib import Path; from st_predict.core.maker import making; Path(making(sys.argv[1])).mkdir()"
    subprocess.run([sys.executable, "-c", made, "processes"], cwd=tmp_path, check=True)
    (tmp_path / making("processes")).mkdir()  # of this process, which lives
    assert len(list(tmp_path.iterdir())) == 2
    assert list(run_jobs(len, None, [], n_jobs=2)) == []
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.one_python
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_processes_are_deaf_to_what_is_sent_to_all() -> None:
    """As a terminal sends Ctrl-C, and a scheduler SIGTERM; one that is still starting would end with a traceback."""

    def work(_: None) -> list[str]:
        import signal

        return sorted(one.name for one in signal.pthread_sigmask(signal.SIG_BLOCK, set()))

    every = ["SIGHUP", "SIGINT", "SIGTERM"]
    assert [found for _, found, _ in run_jobs(work, None, [(), ()], n_jobs=2)] == [every, every]
    assert not {*every} & {one.name for one in signal.pthread_sigmask(signal.SIG_BLOCK, set())}


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
from st_predict.core.maker import making
from st_predict.tl._processes import run_jobs
from st_predict.core.ending import ended_by_signals

def work(shared, i):
    import time
    from pathlib import Path
    Path(shared, str(i)).touch()
    time.sleep(300)

with ended_by_signals():
    list(run_jobs(work, sys.argv[1], [(0,), (1,)], n_jobs=2))
"""


@pytest.mark.one_python
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


@pytest.mark.one_python
def test_nobody_else_speaks_to_the_processes_of_a_run() -> None:
    """Every socket that one of them listens on, tried as another user would: without keys, and with keys of another run."""

    def work(parent: int, job: int) -> dict[str, str]:
        import asyncio
        import http.client
        import urllib.request

        import psutil
        from distributed import get_worker
        from distributed.core import connect
        from distributed.security import Security

        async def ask(address: str) -> str:
            keys = Security.temporary(require_encryption=False).get_connection_args("client")
            comm = await connect(address, timeout=1, **keys)
            await comm.write({"op": "identity", "reply": True})
            return str(await comm.read())

        async def answer(address: str) -> str:
            try:
                return await asyncio.wait_for(ask(address), 2)
            except Exception as error:  # noqa: BLE001 - any is a refusal
                return f"refused: {type(error).__name__}"

        def page(address: str) -> str:
            try:
                with urllib.request.urlopen(f"http://{address}/info/main/workers.html", timeout=1) as opened:
                    return str(opened.read(50).decode())
            except (OSError, ValueError, http.client.HTTPException) as error:
                return f"refused: {type(error).__name__}"

        async def everything(places: list[str]) -> dict[str, str]:
            asked = [f"{kind}://{place}" for place in places for kind in ("tcp", "tls")]
            return dict(zip(asked, await asyncio.gather(*map(answer, asked)), strict=True))

        if job:
            return {}
        ours = psutil.Process(parent)
        places = {
            f"{socket.laddr.ip}:{socket.laddr.port}"
            for one in [ours, *ours.children(recursive=True)]
            for socket in one.net_connections(kind="tcp")
            if socket.status == psutil.CONN_LISTEN
        }
        found = asyncio.run(everything(sorted(places)))
        return {
            **found,
            **{f"http://{place}": page(place) for place in places},
            "scheduler": str(get_worker().scheduler.address),
        }

    before = dict(os.environ)
    for i, found, error in run_jobs(work, os.getpid(), [(0,), (1,)], n_jobs=2):
        assert error is None, error
        if i == 0:
            assert found.pop("scheduler") in found and len(found) >= 9
            assert {place.split("//")[1].split(":")[0] for place in found} == {"127.0.0.1"}, found
            assert all(answer.startswith("refused") for answer in found.values()), found
    assert dict(os.environ) == before


def test_processes_that_have_ended_by_themselves_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are looked for, and while they are killed; their children end all the same."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    alive = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert alive.stdout is not None
    child = psutil.Process(int(alive.stdout.readline()))
    alive.stdout.close()
    monkeypatch.setattr(_processes, "_ENDED_S", 0.5)
    started = [SimpleNamespace(process=SimpleNamespace(pid=one.pid, returncode=None)) for one in (gone, alive)]
    _processes._kill([*started, SimpleNamespace(process=None)])
    assert alive.wait(10) == -signal.SIGKILL
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
