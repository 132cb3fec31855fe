"""The command line: the verbs of the package over files. The one room that uses the others as a user does.

Asked for help, it loads no torch: what a command needs is imported when it runs.
"""

from __future__ import annotations

from st_predict.cli.commands import main

__all__ = ["main"]
