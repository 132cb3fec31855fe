"""How commands are run: what the terminal hears, what a failure says, what was typed. Knows none of them."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from typing import Any

import click

from st_predict.core.ending import Terminated, ended_by_signals
from st_predict.core.errors import InputError
from st_predict.core.log import be_heard

USER_ERROR = 2
_TYPED = "st_predict.typed"


class Commands(click.Group):
    """Say what a user can mend without a traceback; anything else is a bug and keeps its own."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what ends it early is told in one line."""
        # Before torch is loaded: threads that wait by spinning slow each other down many times over where cores are shared.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        be_heard()
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # other packages' remarks to their developers; ours are log messages
        try:
            with ended_by_signals():
                return super().invoke(ctx)
        except Terminated as error:
            click.echo(f"Error: {error}", err=True)
            raise
        except (InputError, ConnectionError, PermissionError) as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(USER_ERROR)


class Told(click.Command):
    """Keeps what was typed, for those who will read the results."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, once it is kept."""
        ctx.meta[_TYPED] = shlex.join(["st-predict", str(ctx.info_name), *args])
        return super().parse_args(ctx, args)


def typed(ctx: click.Context) -> str:
    """The command of a :class:`Told`, as it was typed."""
    return str(ctx.meta[_TYPED])
