"""Where the command starts, installed or as ``python -m st_predict``; loads the commands, and cares for Ctrl-C meanwhile."""

from __future__ import annotations

import signal


def run() -> None:
    """Run the command line; what ends it while it is loading, or when all is done, ends it at once and without a traceback."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # in the background of a shell it is ignored
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from st_predict.cli.commands import main

    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    finally:
        if heard:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    run()
