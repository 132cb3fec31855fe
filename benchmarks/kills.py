"""What is lost when commands are killed: at random moments, and in the middle of writing a file.

python benchmarks/kills.py [--random 100] [--aimed 20] [--seed 0] [--share] [--at-once 2]

Every command is run once to its end. Then it is run again and again in an empty folder or over an earlier output, killed
(SIGKILL), told to end (SIGTERM), or broken off as Ctrl-C does (SIGINT to all its processes), given once more, and compared
with the run that was not broken off. ``--share`` takes a tenth. Exits with 1 if anything was lost, differs or is left.

Commands run in forks of this process, which has imported all they need: starting one takes no time.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import json
import os
import pkgutil
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

os.environ.update(OMP_NUM_THREADS="1", ST_PREDICT_PROGRESS="0", MPLBACKEND="agg")

import psutil

warnings.simplefilter("ignore")
QUICK = ["--encoder", "tiny", "--genes", "10"]
SIGNALS = {signal.SIGKILL: (-9,), signal.SIGTERM: (143, -15), signal.SIGINT: (130, -2)}
ENDED_S = 30.0
STARTING = 4  # times as long as one process takes a command here that starts others: they import all anew
CACHES = ("torchinductor_", ".ses")  # of torch and of ONNX Runtime, which keep them for whoever runs next
WHERE_USED = ("spatialdata", "distributed", "skimage.measure", "onnxruntime", "lightning.pytorch")
_NUMBER_BYTES = 2
_LOOK_S = 0.001
COLUMNS = ("ended before", "lost", "differs", "tracebacks", "processes left", "files left")


class Case(NamedTuple):
    """A command over the inputs, and what is compared of its result."""

    name: str
    arguments: Callable[[Path], list[str]]
    result: Callable[[Path], Any]
    replaces: bool = False
    """Whether it makes the same anew where it is given twice."""
    like: str = ""
    """The command of one process that gives the same."""


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    seconds: float
    processes_left: int


class Unbroken(NamedTuple):
    """A command that nobody killed."""

    work: Path
    """The folder it worked in."""
    result: Any
    seconds: float
    makings: int
    """How many files and folders it was seen to make."""


def in_fork(work: Callable[[], Any]) -> Any:
    """What a function returns, from a process of its own: this one stays without threads."""
    return in_forks([work])[0]


def in_turn(works: Sequence[Callable[[], Any]], at_once: int) -> list[Any]:
    """What functions return, by so many processes: whichever is free takes the next."""
    left, numbers = os.pipe()
    os.write(numbers, b"".join(i.to_bytes(_NUMBER_BYTES, "little") for i in range(len(works))))
    os.close(numbers)

    def some() -> list[Any]:
        found = []
        while number := os.read(left, _NUMBER_BYTES):
            i = int.from_bytes(number, "little")
            found.append((i, works[i]()))
        return found

    shares = in_forks([some] * at_once)
    os.close(left)
    return [found for _, found in sorted(chain(*shares), key=itemgetter(0))]


def in_forks(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """What functions return that run at once, each in a process of its own.

    Raises
    ------
    RuntimeError
        If one of them fails.
    """
    started = []
    for work in works:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            with os.fdopen(write, "w") as file:
                try:
                    json.dump({"found": work()}, file)
                except BaseException as error:  # noqa: BLE001 - a fork never goes on where its parent does
                    json.dump({"failed": f"{type(error).__name__}: {error}"}, file)
            os._exit(0)
        os.close(write)
        started.append((child, read))
    told = []
    for child, read in started:
        with os.fdopen(read) as file:
            told.append(json.loads(file.read()))
        os.waitpid(child, 0)
    for one in told:
        if "failed" in one:
            raise RuntimeError(one["failed"])
    return [one["found"] for one in told]


def start(arguments: list[str], folder: Path) -> int:
    """Run ``st-predict`` in a fork and a group of processes of its own, with a temporary folder of its own."""
    (folder / "tmp").mkdir(exist_ok=True)
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)  # whatever a terminal sends goes to all of a group
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["TMPDIR"], tempfile.tempdir = str(folder / "tmp"), None
    sys.argv = ["st-predict", *arguments]
    status: Any = 0
    try:
        from st_predict.cli.__main__ import run

        signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except SystemExit as error:
        status = error.code or 0
    except BaseException:  # noqa: BLE001 - as Python ends with it
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


def ended(child: int, begin: float, family: list[psutil.Process]) -> Ended:
    """Wait for a command, and then for the processes that it had started."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seconds = time.monotonic() - begin
    _, left = psutil.wait_procs(family, timeout=ENDED_S)
    return Ended(status, seconds, sum(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in left))


def family_of(child: int) -> list[psutil.Process]:
    """Processes that a command has started."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(child).children(recursive=True)
    return []


def run_whole(arguments: list[str], folder: Path) -> Ended:
    """Run a command to its end."""
    begin = time.monotonic()
    return ended(start(arguments, folder), begin, [])


def run_killed(arguments: list[str], folder: Path, number: int, moment: Callable[[], bool]) -> Ended:
    """Run a command and send it a signal as soon as it is the moment."""
    begin = time.monotonic()
    child = start(arguments, folder)
    while not moment():
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return ended(child, begin, [])
        time.sleep(_LOOK_S)
    family = family_of(child)
    with suppress(ProcessLookupError):
        if number == signal.SIGINT:
            os.killpg(child, number)
        else:
            os.kill(child, number)
    return ended(child, begin, family)


class Makings:
    """Files and folders that a command has been seen to make in a folder, each under its own unfinished name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[Path] = set()

    def count(self) -> int:
        """How many were seen, with those that are there now."""
        self._seen.update(in_the_making(self._folder, within_stores=False))
        return len(self._seen)


def in_the_making(folder: Path, *, within_stores: bool = True) -> list[Path]:
    """Files and folders that a run leaves only if it is killed, and its temporary files."""
    from st_predict.core.lock import LOCK
    from st_predict.core.maker import is_in_the_making

    found = []
    for within, folders, names in os.walk(folder / "work"):
        if not within_stores:  # where there are thousands, and none of our own making
            folders[:] = [name for name in folders if name != "new" and not name.endswith(".zarr")]
        for name in (*names, *folders):
            if is_in_the_making(name) or name == LOCK or name.endswith(".part"):
                found.append(Path(within, name))
    return found + [path for path in (folder / "tmp").iterdir() if not path.name.startswith(CACHES)]


def draw(inputs: Path) -> None:
    """Sections, slides, a model and a prediction that the commands work on."""
    import numpy as np
    from PIL import Image

    import st_predict as stp

    sections = stp.datasets.synthetic_tissue(n_sections=2, n_subjects=2, n_genes=60, size_um=700, um_per_px=2)
    for name, sdata in sections.items():
        sdata.write(inputs / f"{name}.zarr")
        pixels = np.asarray(
            sdata[f"{name}_image"].data if f"{name}_image" in sdata else next(iter(sdata.images.values()))
        )
        Image.fromarray(np.moveaxis(pixels, 0, -1)).save(inputs / f"slide_{name}.png")
    model = stp.tl.train(sections, encoder="tiny", genes=10, method="ridge")
    model.save(inputs / "model")
    last = list(sections)[-1]
    stp.tl.predict(sections[last], model)
    sections[last].write(inputs / "predicted.zarr")


def cases(inputs: Path) -> list[Case]:
    """All commands that write, with one and two processes."""
    stores = [str(path) for path in sorted(inputs.glob("S*.zarr"))]
    slides = [str(path) for path in sorted(inputs.glob("slide_*.png"))]
    few = ["--max-epochs", "3", "--batch-size", "32", "--members", "1"]

    def train(work: Path) -> list[str]:
        kept = ["--checkpoints", str(work / "kept"), "--resume"]
        return ["train", *stores[:2], "--out", str(work / "model"), *QUICK, *few, *kept]

    def train_encoder(work: Path) -> list[str]:
        return [*train(work), "--trainable-encoder", "--tile-store", str(work / "tiles")]

    def predict(work: Path) -> list[str]:
        return ["predict", *stores[:2], "--model", str(inputs / "model"), "--out", str(work / "out")]

    def cohort(jobs: int) -> Callable[[Path], list[str]]:
        scale = ["--um-per-px", "2", "--jobs", str(jobs)]
        return lambda work: [
            "predict",
            *slides[:2],
            "--model",
            str(inputs / "model"),
            "--out",
            str(work / "out"),
            *scale,
        ]

    def benchmark(jobs: int) -> Callable[[Path], list[str]]:
        some = ["--methods", "ridge", "--seeds", "1", "--jobs", str(jobs)]
        return lambda work: ["benchmark", *stores[:2], "--out", str(work / "out"), *QUICK, *some]

    def evaluate(work: Path) -> list[str]:
        return ["evaluate", str(inputs / "predicted.zarr"), "--out", str(work / "scores.csv")]

    return [
        Case("train", train, _model, replaces=True),
        Case("train --trainable-encoder", train_encoder, _model, replaces=True),
        Case("predict stores", predict, _predictions, replaces=True),
        Case("predict slides", cohort(1), _predictions),
        Case("benchmark", benchmark(1), _scores),
        Case("evaluate", evaluate, lambda work: (work / "scores.csv").read_text(), replaces=True),
        Case("benchmark --jobs 2", benchmark(2), _scores, like="benchmark"),
        Case("predict slides --jobs 2", cohort(2), _predictions, like="predict slides"),
    ]


def _model(work: Path) -> str:
    import st_predict as stp

    return stp.load_model(work / "model").id


def _predictions(work: Path) -> dict[str, float]:
    import numpy as np
    import spatialdata

    found = {}
    for store in sorted((work / "out").glob("*.zarr")):
        tables = spatialdata.read_zarr(store).tables  # of a bare slide, or beside the measured counts of a section
        values = tables["predicted"].X if "predicted" in tables else tables["table"].obsm["predicted"]
        values = np.asarray(values, np.float64)
        found[store.name] = float((values * np.arange(1, values.size + 1).reshape(values.shape)).sum())
    if not found:
        raise FileNotFoundError(f"no prediction in {work / 'out'}")
    return found


def _scores(work: Path) -> str:
    import pandas as pd

    table = pd.read_csv(work / "out" / "scores.csv").drop(columns="seconds")
    return table.to_csv(index=False)


def result_of(case: Case, work: Path) -> Any:
    """What is compared, or why it cannot be read."""

    def read() -> Any:
        try:
            return case.result(work)
        except Exception as error:  # noqa: BLE001 - it is no result
            return {"unreadable": f"{type(error).__name__}: {error}"[:500]}

    return in_fork(read)


def try_one(case: Case, folder: Path, unbroken: Unbroken, draws: random.Random, aimed: bool) -> dict[str, Any]:
    """Kill a command once, over what an earlier one left or over nothing, give it once more, and compare."""
    whole, seconds = unbroken.result, unbroken.seconds * (STARTING if case.like else 1)
    work = folder / "work"
    number = draws.choice(list(SIGNALS))
    earlier = case.replaces and draws.random() < 0.5
    if earlier:
        shutil.copytree(unbroken.work, work)
    else:
        work.mkdir(parents=True)
    if aimed:
        when, seen = draws.randint(1, unbroken.makings), Makings(folder)
        killed = run_killed(case.arguments(work), folder, number, lambda: seen.count() >= when)
    else:
        when, begin = draws.uniform(0, 1) * seconds, time.monotonic()
        killed = run_killed(case.arguments(work), folder, number, lambda: time.monotonic() - begin >= when)
    lost = earlier and result_of(case, work) != whole
    again = run_whole(case.arguments(work), folder)
    log = (folder / "log.txt").read_text()
    left = [] if again.status else in_the_making(folder)
    found = {
        "ended before": killed.status == 0,
        "lost": bool(lost),
        "differs": again.status != 0 or result_of(case, work) != whole,
        "tracebacks": "Traceback" in log,
        "processes left": killed.processes_left + again.processes_left,
        "files left": len(left),
        "status": killed.status not in (0, *SIGNALS[signal.Signals(number)]),
    }
    if any(value for name, value in found.items() if name != "ended before"):
        print(f"{case.name}, {signal.Signals(number).name}, {aimed=}, {when=}: {killed}, {again}, {found}")
        print("\n".join([*map(str, left), log[-3000:]]), flush=True)
    return {"command": case.name, "kill": ("aimed " if aimed else "") + signal.Signals(number).name, **found}


def try_all(place: Path, n_random: int, n_aimed: int, seed: int, at_once: int) -> list[dict[str, Any]]:
    """Every command in turn, as often as asked; a row for each time."""
    inputs = place / "inputs"
    inputs.mkdir()
    _import_all()
    in_fork(lambda: draw(inputs))
    known = cases(inputs)
    alone = [case for case in known if not case.like]
    ended = in_turn([partial(run_unbroken, case, place / f"whole_{i}") for i, case in enumerate(alone)], at_once)
    wholes = {case.name: Unbroken(Path(work), *told) for case, (work, *told) in zip(alone, ended, strict=True)}

    def try_number(i: int) -> dict[str, Any]:
        case = known[i % len(known)]
        whole = wholes[case.like or case.name]
        row = try_one(case, place / str(i), whole, random.Random(f"{seed} {i}"), aimed=i >= n_random)
        shutil.rmtree(place / str(i), ignore_errors=True)
        return row

    return in_turn([partial(try_number, i) for i in range(n_random + n_aimed)], at_once)


def run_unbroken(case: Case, folder: Path) -> tuple[str, Any, float, int]:
    """Run a command that nobody kills; what :class:`Unbroken` has of it."""
    work = folder / "work"
    work.mkdir(parents=True)
    seen = Makings(folder)
    done = run_killed(case.arguments(work), folder, 0, lambda: seen.count() < 0)
    if done.status:
        raise RuntimeError(f"{case.name} fails:\n{(folder / 'log.txt').read_text()}")
    result = in_fork(lambda: case.result(work))  # ends here if it cannot be read
    print(f"{case.name}: {done.seconds:.1f} s", flush=True)
    return str(work), result, done.seconds, max(1, seen.count())


def main() -> int:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, default=100)
    parser.add_argument("--aimed", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", action="store_true", help="a tenth, of every command once")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, help="commands that run side by side")
    asked = parser.parse_args()
    n_random, n_aimed = (8, 4) if asked.share else (asked.random, asked.aimed)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what is raised in a fork before it is ready would end up here
    place = Path(tempfile.mkdtemp(prefix="st_predict_kills_"))  # forks would remove a TemporaryDirectory as they end
    try:
        rows = try_all(place, n_random, n_aimed, asked.seed, asked.at_once)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    _print(rows)
    return int(any(row[name] for row in rows for name in (*COLUMNS[1:], "status")))


def _import_all() -> None:
    """Import what commands import, here, and once: all modules of ours, and what they import where it is used."""
    import st_predict

    ours = (one.name for one in pkgutil.walk_packages(st_predict.__path__, "st_predict."))
    for name in (*(name for name in ours if not name.endswith("__main__")), *WHERE_USED):
        importlib.import_module(name)
    # A fork would else clear away, at some moment, what importing has left here; Python swallows a signal that comes then.
    gc.collect()
    gc.freeze()


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"{'command':<27}{'kill':<16}{'n':>4}" + "".join(f"{name:>16}" for name in COLUMNS))
    for key in sorted({(row["command"], row["kill"]) for row in rows}):
        mine = [row for row in rows if (row["command"], row["kill"]) == key]
        sums = "".join(f"{sum(int(row[name]) for row in mine):>16}" for name in COLUMNS)
        print(f"{key[0]:<27}{key[1]:<16}{len(mine):>4}{sums}")
    print(f"{'all':<43}{len(rows):>4}" + "".join(f"{sum(int(row[name]) for row in rows):>16}" for name in COLUMNS))


if __name__ == "__main__":
    sys.exit(main())
