"""If a disk is full, a model that took hours is not lost: it is written to another place."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from st_predict.cli.group import given_as
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from st_predict.core.model.model import Model


def save_somewhere(model: Model, out: Path) -> Path:
    """Write a model and return where; if it cannot be written to ``out``, ask for another folder, or look for one.

    At a terminal the user is asked until the model is written. Elsewhere the current folder, the home folder and the
    temporary folder are tried.

    Raises
    ------
    InputError
        If the model cannot be written to any of them.
    """
    try:
        with given_as("--out"):
            return model.save(out)
    except InputError as error:
        click.echo(f"Error: {error}", err=True)
        first = error
    if sys.stdin.isatty():
        return _save_where_told(model)
    for folder in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
        try:
            place = model.save(folder / f"{out.name}-{model.id}")
        except (InputError, OSError):
            continue
        click.echo(f"The model was written to {place} instead", err=True)
        return place
    raise first


def _save_where_told(model: Model) -> Path:
    while True:
        place = click.prompt("Another folder for the model", type=click.Path(path_type=Path), err=True)
        try:
            return model.save(place)
        except InputError as error:
            click.echo(f"Error: {error}", err=True)
