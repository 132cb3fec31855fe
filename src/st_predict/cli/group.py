"""How commands are run: what the terminal shows, what a failure says, what was typed. Knows no single command."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from st_predict.core.ending import Terminated, ended_by_signals
from st_predict.core.errors import InputError
from st_predict.core.log import be_heard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USER_ERROR, BROKEN_OFF = 2, 130
_CALLED = {
    "out_dir": ("out",),
    "model": ("model_path",),
    "method": ("methods",),
    **dict.fromkeys(("sdata", "sections", "paths"), ("sections", "data", "slides")),
}
"""Arguments of functions by the names they have in commands, where these differ."""
_TYPED, _AGAIN, _KEPT = "st_predict.typed", "st_predict.again", "st_predict.kept"


class Told(click.Command):
    """A command that keeps what was typed, so that results can name it and a user can repeat it."""

    keeps = False
    """Whether it goes on from what an earlier run left in its output."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, once it is kept."""
        ctx.meta[_TYPED] = shlex.join(["st-predict", str(ctx.info_name), *args])
        left = super().parse_args(ctx, args)
        again = " --resume" if ctx.params.get("checkpoint_dir") and not ctx.params.get("resume") else ""
        ctx.meta[_AGAIN] = ctx.meta[_TYPED] + again
        ctx.meta[_KEPT] = self.keeps or bool(ctx.params.get("checkpoint_dir"))
        return left


class Keeping(Told):
    """Goes on, when it is given again, from what is done."""

    keeps = True


class Commands(click.Group):
    """Print an error that a user can mend without a traceback; any other error is a bug and keeps its traceback."""

    command_class = Told

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; if it ends early, one line says why."""
        # Before torch is loaded: threads that wait by spinning slow each other down many times over where cores are shared.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        be_heard()
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # other packages' remarks to their developers; ours are log messages
        try:
            _check_working_folder()
            with ended_by_signals():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            _tell_how_to_go_on("Aborted", ctx)
            ctx.exit(BROKEN_OFF)
        except Terminated as error:
            _tell_how_to_go_on(f"Error: {error}", ctx)
            raise
        except InputError as error:
            click.echo(f"Error: {self._as_typed(error, ctx)}", err=True)
            ctx.exit(USER_ERROR)
        except (ConnectionError, PermissionError) as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(USER_ERROR)

    def _as_typed(self, error: InputError, ctx: click.Context) -> InputError:
        """The error, with options and arguments of the command in place of those of the function which it calls."""
        command = self.commands.get(str(ctx.invoked_subcommand))
        params = command.params if command else []
        return _placed(error, ", ".join(_as_typed(name, params) for name in error.where.split(", ")))


@contextmanager
def given_as(option: str) -> Iterator[None]:
    """Calls within tell the ``path`` that they are given as the option that it was typed as: others have slides there."""
    try:
        yield
    except InputError as error:
        raise (_placed(error, option) if error.where == "path" else error) from None


def _check_working_folder() -> None:
    """Refuse to work in a folder that somebody has removed: no path that is not whole leads anywhere."""
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(
            f"the working folder cannot be found ({error.strerror})",
            where="the shell",
            expected="a folder that is there",
            remedy="change to another folder: cd ~",
        ) from error


def _placed(error: InputError, where: str) -> InputError:
    return InputError(error.what, where=where, expected=error.expected, remedy=error.remedy)


def _as_typed(name: str, params: Sequence[click.Parameter]) -> str:
    """An argument of a function as the command has it; any other words as they are."""
    for one in params:
        if one.name in (name, *_CALLED.get(name, ())):
            return one.opts[-1] if isinstance(one, click.Option) else one.human_readable_name
    return name


def typed(ctx: click.Context) -> str:
    """The command of a :class:`Told`, as it was typed."""
    return str(ctx.meta[_TYPED])


def _tell_how_to_go_on(ended: str, ctx: click.Context) -> None:
    """Say what ended the command, and the line that goes on from what is kept, or starts again if nothing is."""
    if _AGAIN in ctx.meta:
        how = "To go on from what is kept" if ctx.meta[_KEPT] else "Nothing is kept; to start again"
        ended = f"{ended}. {how}:\n  {ctx.meta[_AGAIN]}"
    click.echo(ended, err=True)
