"""Where the command starts, installed or as ``python -m st_predict``, and how its process ends when it is broken off."""

from __future__ import annotations

import logging
import signal
import sys

_SIGNALLED = 128  # a status above it is that of a signal


def run() -> None:
    """Run the command line. Ctrl-C ends it at once while it loads and when all is done; meanwhile the command sees to it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background of a shell it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from st_predict.cli.commands import main

    try:
        main()
    except SystemExit as ended:
        if isinstance(ended.code, int) and ended.code > _SIGNALLED:
            _hush()
        raise


def _hush() -> None:
    """Keep the interpreter from telling, piece by piece with tracebacks, what other threads were at when all was broken off."""
    logging.getLogger("asyncio").disabled = True
    sys.unraisablehook = lambda _: None


if __name__ == "__main__":
    run()
