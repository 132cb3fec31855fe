"""What is told to end ends as something that did not go well; children end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import psutil
import pytest

from st_predict.core import ending
from st_predict.core.ending import Terminated, ended_by_signals, telling_what_is_left

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def handled_as_usual() -> Iterator[None]:
    """Signals as a shell in the foreground leaves them; under nohup, or in the background, some are ignored."""
    usual = {
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGINT: signal.default_int_handler,
    }
    before = {one: signal.signal(one, handler) for one, handler in usual.items()}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_an_exception_and_what_is_left_is_said(
    number: int, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    tidied = []
    with pytest.raises(SystemExit) as ended, ended_by_signals(), telling_what_is_left(lambda: "Half is kept"):
        try:
            os.kill(os.getpid(), number)
            pytest.fail("went on")
        finally:
            os.kill(os.getpid(), number)  # does not break off what tidies up
            tidied.append("all")
    assert ended.value.code == status and tidied == ["all"]
    assert caplog.messages == [f"ended by {signal.Signals(number).name}. Half is kept"]
    assert signal.getsignal(number) == signal.SIG_DFL


def test_ctrl_c_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt), telling_what_is_left(lambda: "Half is kept"):
        raise KeyboardInterrupt
    assert caplog.messages == ["broken off. Half is kept"]


def test_whoever_handles_a_signal_keeps_it() -> None:
    seen = []
    signal.signal(signal.SIGTERM, lambda *_: seen.append("mine"))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
        assert seen == ["mine"] and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
@pytest.mark.parametrize("where", ["destructor", "callback of a weak reference"])
def test_a_signal_that_came_where_nothing_can_be_raised_is_raised_after_it(
    number: int,
    error: type[BaseException],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def drop() -> None:
        os.kill(os.getpid(), number)
        for _ in range(100):  # until the handler has run in here, where what it raises is dropped
            pass

    class Dying:
        def __del__(self) -> None:
            if where == "destructor":
                drop()

    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    begin = time.monotonic()
    with pytest.raises(error), ended_by_signals():
        one = Dying()
        watch = weakref.ref(one, lambda _: drop() if where != "destructor" else None)
        del one
        assert watch() is None
        time.sleep(20)
    assert time.monotonic() - begin < 10 and capfd.readouterr().err == ""
    assert sys.unraisablehook is sys.__unraisablehook__


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_one_that_was_dropped_at_the_very_end_is_raised_there(
    number: int, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying:
        def __del__(self) -> None:
            os.kill(os.getpid(), number)
            for _ in range(100):
                pass

    monkeypatch.setattr(ending, "_AGAIN_S", 60)
    with pytest.raises(error), ended_by_signals():
        one = Dying()
        del one


def test_what_else_is_dropped_is_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying:
        def __del__(self) -> None:
            raise ValueError("of something else")

    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: told.append(str(dropped.exc_value)))
    with ended_by_signals():
        one = Dying()
        del one
    assert told == ["of something else"]


def test_other_threads_leave_signals_alone() -> None:
    found = []

    def run() -> None:
        with ended_by_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


FAMILY = """
import os, subprocess, sys, time
child = "import os, time; from st_predict.core.ending import end_with_launcher; end_with_launcher(); print(os.getpid(), flush=True); time.sleep(60)"
from st_predict.core.ending import end_with_launcher
end_with_launcher()
subprocess.Popen([sys.executable, "-c", child], env={**os.environ, "LOCAL_RANK": "1"})
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_trains_with_others_ends_with_the_first(number: int) -> None:
    first = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    child = int(first.stdout.readline())
    time.sleep(0.1)
    os.kill(child, 0)
    first.send_signal(number)
    first.wait()
    assert ended_within(child, seconds=10)
    first.stdout.close()


def ended_within(pid: int, *, seconds: float) -> bool:
    """Whether a process ends in that time; one that nobody took note of yet has ended, too."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False
