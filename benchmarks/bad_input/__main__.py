"""Wrong calls over the whole public surface, and what comes of them: an error of ours, another's, or an answer.

python benchmarks/bad_input [--share 0.1] [--seed 0] [--only tl.train]

Every argument of every public function is given values that are wrong for it; sections, files, models and command lines
that are wrong follow. Drawn tissue, the smallest encoder and ridge are used, so that a call that is taken is fast. It
ends with status 1 if a call was taken though wrong, ended in an error that is not ours, or took too long, or if a file of
the user's was changed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import io
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

# Before anything of them is loaded: one thread, no bars, no network.
os.environ |= {
    "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "ST_PREDICT_PROGRESS": "0", "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE", "ST_PREDICT_DATA": "user/data",
}  # fmt: skip

from calls import ARGUMENT_LIST, Call, calls_of_arguments, calls_of_sections
from commands import command_lines
from desk import Desk, digest
from right import calls_that_are_right

import st_predict as stp

SECONDS = 20
MEMORY = 24 * 2**30
OWN, PYTHON, FOREIGN, TAKEN, SLOW, CHANGED = (
    "error of ours", "Python's TypeError", "another's error", "taken", "too slow", "file changed",
)  # fmt: skip
OUTCOMES = (OWN, PYTHON, FOREIGN, TAKEN, SLOW, CHANGED)
FINE = (OWN, PYTHON)


class TooSlow(BaseException):
    """A call that took too long; no ``except Exception`` catches it."""


def _ring(_number: int, _frame: Any) -> None:
    raise TooSlow


def outcome(call: Call, desk: Desk, place: Path) -> tuple[str, str]:
    """What came of a call, and what it said; it works in an empty folder with a link to the user's files."""
    place.mkdir()
    (place / "user").symlink_to(desk.folder / "user")
    said = io.StringIO()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of this process's own time: others may keep the machine busy
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    try:
        with contextlib.chdir(place), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            call.run(desk)
        found = TAKEN, ""
    except TooSlow:
        found = SLOW, f"over {SECONDS} s"
    except stp.InputError as error:
        parts = error.what, error.where, error.expected, error.remedy
        found = (OWN if all(map(str.strip, parts)) else FOREIGN), str(error)
    except SystemExit as error:
        found = TAKEN, f"exit {error.code}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
        python = call.kind == ARGUMENT_LIST and isinstance(error, TypeError) and "argument" in str(error)
        last = traceback.extract_tb(error.__traceback__)[-1]
        found = (
            PYTHON if python else FOREIGN,
            f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {' '.join(str(error).split())[:110]}",
        )
    finally:
        for clock in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(clock, 0)
        from matplotlib import pyplot as plt

        plt.close("all")
        shutil.rmtree(place, ignore_errors=True)
    if digest(desk.folder / "user") != desk.digest:
        desk.digest = digest(desk.folder / "user")
        return CHANGED, found[1]
    return found


def all_calls(seed: int) -> list[Call]:
    rng = random.Random(seed)
    lines = [
        Call(line.split()[0], "command line", line, functools.partial(_command, line)) for line in command_lines(rng)
    ]
    return [*calls_of_arguments(rng), *calls_of_sections(), *lines, *calls_that_are_right()]


def _command(line: str, _desk: Desk) -> None:
    """A command line; an exit status of 1 or 2 with a word about it is the command's own error."""
    import shlex

    from click.testing import CliRunner

    from st_predict.cli import main

    result = CliRunner().invoke(main, shlex.split(line))
    if isinstance(result.exception, Exception):
        raise result.exception
    if result.exit_code in (1, 2) and result.output.strip():
        raise stp.InputError(result.output, where="line", expected="another", remedy="correct it")


def fine(call: Call, found: str) -> bool:
    return found == TAKEN if call.verb == "right" else found in FINE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="run this share of the calls, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="calls whose name begins so")
    parser.add_argument("--list", action="store_true", help="print every call with what it said")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for number_ in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number_, _ring)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    calls = [call for call in all_calls(options.seed) if call.verb.startswith(options.only or "")]
    if options.share < 1:
        calls = random.Random(options.seed).sample(calls, round(options.share * len(calls)))
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    bad, begin = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder).resolve())
        for number_, call in enumerate(calls):
            found, said = outcome(call, desk, desk.folder / f"call{number_}")
            table[call.kind][found] += 1
            if not fine(call, found):
                bad.append(call)
                print(f"{found}: {call.verb}({call.said}) {said}", flush=True)
            elif options.list:
                print(f"{found}: {call.verb}({call.said})\n{said}\n", flush=True)
    tell(table, len(calls), len(bad), time.perf_counter() - begin)
    sys.exit(bool(bad))


def tell(table: dict[str, collections.Counter[str]], n: int, n_bad: int, seconds: float) -> None:
    """The table, kinds of calls by outcome, as Markdown."""
    print(f"\n| what is wrong | calls | {' | '.join(OUTCOMES)} |")
    print("| --- " + "| ---: " * (len(OUTCOMES) + 1) + "|")
    total: collections.Counter[str] = collections.Counter()
    for kind in sorted(table, key=lambda kind: (kind.startswith("right"), kind)):
        total += table[kind]
        print(f"| {kind} | {table[kind].total()} | {' | '.join(str(table[kind][one] or '') for one in OUTCOMES)} |")
    print(f"| all | {n} | {' | '.join(str(total[one]) for one in OUTCOMES)} |")
    print(f"\n{n} calls in {seconds:.0f} s; {n_bad} not as they should be.")


if __name__ == "__main__":
    main()
