"""The command line: the verbs of the package over files. The one room that uses the others as a user does.

Asked for help, it loads no torch: what a command needs is imported when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from st_predict.cli.commands import main

__all__ = ["main"]


def __getattr__(name: str) -> Any:
    """The commands when they are first asked for: Ctrl-C is cared for before they load, see ``__main__``."""
    if name == "main":
        from st_predict.cli.commands import main

        return main
    msg = f"module 'st_predict.cli' has no attribute {name!r}"
    raise AttributeError(msg)
