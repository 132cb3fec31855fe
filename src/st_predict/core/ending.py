"""How a run ends when it is told to, and how processes end with the one they work for. Knows nothing of their work.

A signal to end becomes an exception, so that unfinished work is tidied up and the process ends with an error status.
"""

from __future__ import annotations

import _thread
import logging
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger("st_predict")
PARENT = "ST_PREDICT_PARENT"
"""Variable of the environment that names the process another one works for."""
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
TOLD_BY = frozenset({signal.SIGINT, *_SIGNALS})
"""Signals that tell a run to end, and are often sent to all of its processes at once."""
_LOOK_S = 0.5
_AGAIN_S = 0.01


class Terminated(SystemExit):
    """The process was told to end; its exit status is 128 and the number of the signal, as shells have it.

    Parameters
    ----------
    number
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.signal = signal.Signals(number).name

    def __str__(self) -> str:
        return f"ended by {self.signal}"


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP raise :class:`Terminated` in the main thread, once, and Ctrl-C ``KeyboardInterrupt``.

    Handlers that exist already stay. Where an exception is dropped, as in a destructor, it is raised again a moment later.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[BaseException] = []

    def end(number: int, _frame: object) -> None:
        if not came:  # what is being tidied up is not broken off
            came.append(Terminated(number))
            raise came[0]

    handlers = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(_SIGNALS, end)}
    taken = [one for one in handlers if signal.getsignal(one) == signal.SIG_DFL]  # nohup has SIGHUP ignored
    try:
        for one in taken:
            signal.signal(one, handlers[one])
        with _raised_again(came) if taken else nullcontext():
            yield
    finally:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)
    if came:  # and went no further, as in code that lets nothing through
        raise came[0]


@contextmanager
def _raised_again(came: list[BaseException]) -> Iterator[None]:
    """Send a signal once more whose exception Python dropped, having printed it, since nothing waits for it.

    That is so in destructors, callbacks of weak references and callbacks from C. ``came`` has the exception until then.
    """
    tell, over = sys.unraisablehook, threading.Event()

    def take(dropped: sys.UnraisableHookArgs) -> None:
        error = dropped.exc_value
        if isinstance(error, Terminated | KeyboardInterrupt):
            came[:] = [error.with_traceback(None)]  # which holds what is being destroyed
            # From a thread: what this one sent itself would be raised, and dropped, in here. One that takes no lock to
            # start, since this may have come while such a lock is held.
            _thread.start_new_thread(send, (getattr(error, "number", signal.SIGINT),))
        else:
            tell(dropped)

    def send(number: int) -> None:
        if not over.wait(_AGAIN_S):
            came.clear()
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(threading.main_thread().ident or 0, number)  # ends its waiting, too
            else:
                signal.raise_signal(number)

    sys.unraisablehook = take
    try:
        yield
    finally:
        over.set()
        sys.unraisablehook = tell


@contextmanager
def telling_what_is_left(left: Callable[[], str]) -> Iterator[None]:
    """When a run is broken off, by a signal or by Ctrl-C, say what is left of it and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as error:
        logger.error("%s. %s", str(error) or "broken off", left())
        raise


def end_with(parent: int) -> None:
    """End this process once it is no longer the child of ``parent``, whatever ended that one.

    A thread looks at the parent. Linux has a call for this, but it ends the process with the thread that started it;
    other systems have none.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def end_with_launcher() -> None:
    """If this process is one of several that train together, end it with the process that started it.

    The first of them was started by the user, and does not follow another process.
    """
    if int(os.environ.get("LOCAL_RANK", "0")) > 0 or "TORCHELASTIC_RUN_ID" in os.environ:
        end_with(int(os.environ.get(PARENT, os.getppid())))
    else:
        os.environ[PARENT] = str(os.getpid())  # before Lightning starts the others, which inherit it


def dask_setup(_server: object) -> None:
    """Called by dask in every process of a cluster of ours, which preloads this module, when the process starts."""
    end_with(int(os.environ[PARENT]))
    if hasattr(signal, "pthread_sigmask"):
        from multiprocessing import resource_tracker

        # The tracker lets them through again as it starts; what this process starts shall not hear them either.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, TOLD_BY)
