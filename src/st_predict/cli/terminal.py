"""What commands print: tables as text, the files that were written, a comparison of methods. Computes nothing."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from st_predict.cli.summary import COLUMNS, DIGITS, TERMS, in_common, shown_columns
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd


def say(text: str) -> None:
    """Print a line of results. If nobody reads it any more, as after ``| head -1``, the work goes on all the same.

    Raises
    ------
    InputError
        If it cannot be written, as to a full disk.
    """
    try:
        click.echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise InputError(
            f"the output of the command cannot be written ({error.strerror})",
            where="standard output",
            expected="a terminal, a pipe, or a file with room",
            remedy="send the output elsewhere; files that were named above it are whole",
        ) from error


def as_text(frame: pd.DataFrame) -> str:
    """A table with three decimals, empty where there is no value."""
    return str(frame.to_string(float_format=lambda value: f"{value:.3f}", na_rep=""))


def tell_files(out: Path, files: Mapping[str, str]) -> None:
    """Name what was written to a folder, with what each file is."""
    say(f"\nTo look at, in {out}:")
    for name, what in files.items():
        say(f"  {name:<18} {what}")


def tell_compared(name: str, rows: pd.DataFrame, about: dict[str, Any]) -> None:
    """Print one data set: how much was compared, what all methods have in common, the summary, and what failed."""
    compared = about["compared"]
    say(
        "\n{name}: {sections} sections, {spots} spots ({left_out} left out), {genes} genes, {folds} folds, {seeds} seed{s}, "
        "{split}".format(name=name, s="s" * (compared["seeds"] > 1), **compared)
    )
    for term, text in in_common(rows).items():
        say(f"{TERMS[term]} of all: {text}")
    columns = shown_columns(rows)
    rounded = {c: [f"{n:.{DIGITS[c]}f}" if n == n else "" for n in rows[c]] for c in columns if c in DIGITS}
    say("\n" + as_text(rows[columns].assign(**rounded).set_index("method").rename(columns=COLUMNS)))
    for failure in about["failures"]:
        told = "failed, and left out of all means: {method} with {fold} held out (seed {seed}): {error}".format(
            **failure
        )
        click.echo(told, err=True)
