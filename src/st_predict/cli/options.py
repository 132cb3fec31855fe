"""Options that several commands share, and how what is typed becomes what the verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from st_predict.core.arguments.declared import PLACE
from st_predict.core.arguments.kinds import Misfit, shown
from st_predict.core.errors import InputError
from st_predict.core.gene_sets import read_gmt

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_DIGITS = 18
STORE = click.Path(exists=True, file_okay=False, path_type=Path)
SLIDE = click.Path(exists=True, path_type=Path)


class _Out(click.Path):
    """A path to write: some text that can be one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does, once it is known to be a path."""
        try:
            return super().convert(PLACE.take(value), param, ctx)
        except Misfit as misfit:
            self.fail(f"{misfit.found} is not {misfit.expected}", param, ctx)


OUT = _Out(path_type=Path)
OUT_TEXT = _Out(path_type=str)


def genes_or_number(_ctx: click.Context, _option: click.Parameter, given: str) -> int | list[str]:
    """A number, or the names in a file."""
    if (number := _whole(given)) is not None:
        return number
    path = Path(given)
    found = f"{shown(given)} is neither a number nor a file"
    try:
        if path.is_file():
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            return [line.strip() for line in lines if line.strip()]
        if path.exists():
            found = f"{given} is a {'folder' if path.is_dir() else 'device'}, and no file of names"
    except UnicodeDecodeError:
        found = f"{given} is a file, but no text in UTF-8"
    except PermissionError:
        found = f"{given} may not be read (permission denied)"
    except OSError:  # a name that no file can have
        pass
    raise InputError(
        found,
        where="--genes",
        expected="how many genes, or a text file with one gene a line",
        remedy="correct --genes",
    )


def name_or_number(_ctx: click.Context, _option: click.Parameter, given: str | None) -> int | str | None:
    """Digits as a number, anything else as it is."""
    number = None if given is None else _whole(given)
    return given if number is None else number


def _whole(given: str) -> int | None:
    """The number that digits write; ``None`` for anything else, and for more digits than any number here has."""
    return int(given) if given.isdecimal() and len(given) <= _MOST_DIGITS else None


def _gene_sets(_ctx: click.Context, _option: click.Parameter, given: str | None) -> dict[str, tuple[str, ...]] | None:
    """The sets in a GMT file."""
    return None if given is None else read_gmt(given)


def _some(_ctx: click.Context, _option: click.Parameter, given: tuple[float, ...]) -> tuple[float, ...] | None:
    """An option that may be repeated, ``None`` where it was not given."""
    return given or None


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, listed in their order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


layer_option = click.option("--layer", help="Layer with raw counts; default X.")
seed_option = click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
key_options = _options(
    click.option("--image-key", help="Name of the H&E image, if a store has several."),
    click.option("--table-key", help="Name of the table, if a store has several."),
)
fit_options = _options(
    click.option("--encoder", default="efficientnet_lite0", show_default=True, help="Image encoder; any timm name."),
    click.option("--encoder-weights", type=click.Path(path_type=str), help="Local weights file of the encoder."),
    click.option(
        "--genes", default="250", show_default=True, callback=genes_or_number,
        help="How many genes, or a text file with one name on each line.",
    ),
    click.option("--gene-sets", callback=_gene_sets, metavar="FILE",
                 help="GMT file of gene sets to predict as well, each as the mean of its genes."),
    click.option("--gene-ranking", type=click.Choice(["heg", "hvg"]), default="heg", show_default=True,
                 help="Take the genes most expressed (heg) or most variable (hvg) in training."),
    click.option("--min-counts", type=float, help="Spots with fewer counts are not used; 500 by default, 20 for cells and fine bins."),
    click.option("--tile-um", multiple=True, type=float, callback=_some, help="Tile width in um; repeat for several."),
    click.option("--tile-px", multiple=True, type=float, callback=_some,
                 help="Tile width in px, if the scale is unknown; repeat for several."),
    click.option("--accelerator", default="auto", show_default=True, help="As in Lightning: auto, cpu, gpu."),
    layer_option, key_options, seed_option,
)  # fmt: skip
"""Options that training and comparing share: which spots and genes are used, and how much of the image is seen."""
