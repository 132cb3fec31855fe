"""How runs end that are told to, and processes that work for another. Knows nothing of what they do.

A signal to end is an exception here: what was begun is tidied up on the way out, and the process does not end well.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger("st_predict")
PARENT = "ST_PREDICT_PARENT"
"""Variable of the environment that names the process another one works for."""
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_LOOK_S = 0.5


class Terminated(SystemExit):
    """The process was told to end; its exit status is 128 and the number of the signal, as shells have it.

    Parameters
    ----------
    number
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name

    def __str__(self) -> str:
        return f"ended by {self.signal}"


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP raise :class:`Terminated` in the main thread, once; whoever handles them already keeps them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def end(number: int, _frame: object) -> None:
        if not came:  # what is being tidied up is not broken off
            came.append(number)
            raise Terminated(number)

    taken = [one for one in _SIGNALS if signal.getsignal(one) == signal.SIG_DFL]  # nohup has SIGHUP ignored
    for one in taken:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)
    if came:  # raised where nothing can be, as in a destructor, and lost there
        raise Terminated(came[0])


@contextmanager
def telling_what_is_left(left: Callable[[], str]) -> Iterator[None]:
    """Say of a run that is broken off, by a signal or by Ctrl-C, what is left of it and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as error:
        logger.error("%s. %s", str(error) or "broken off", left())
        raise


def end_with(parent: int) -> None:
    """Have this process end once it is no longer the child of another, whatever ended that one.

    Looked at, not left to the system: Linux would end it with the thread that started it, and others know no such thing.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def end_with_launcher() -> None:
    """End with whoever started this process as one of several that train together; the first of them is nobody's child."""
    if int(os.environ.get("LOCAL_RANK", "0")) > 0 or "TORCHELASTIC_RUN_ID" in os.environ:
        end_with(int(os.environ.get(PARENT, os.getppid())))
    else:
        os.environ[PARENT] = str(os.getpid())  # before Lightning starts the others, which inherit it


def dask_setup(_server: object) -> None:
    """What dask calls in every process of a cluster of ours that preloads this module, as it starts."""
    end_with(int(os.environ[PARENT]))
