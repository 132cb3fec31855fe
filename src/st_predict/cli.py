"""The command line: the verbs of the package over files. Parses, calls the rooms, prints; holds no logic of its own."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import st_predict as stp
from st_predict._log import be_heard
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from spatialdata import SpatialData

# Before torch is loaded: threads that wait by spinning slow each other down many times over where cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

USER_ERROR = 2
_STORE = click.Path(exists=True, file_okay=False, path_type=Path)
_OUT = click.Path(path_type=Path)


class _Commands(click.Group):
    """Say what a user can mend without a traceback; anything else is a bug and keeps its own."""

    def invoke(self, ctx: click.Context) -> Any:
        be_heard()
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # other packages' remarks to their developers; ours are log messages
        try:
            return super().invoke(ctx)
        except (InputError, ConnectionError, PermissionError) as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(USER_ERROR)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(stp.__version__, prog_name="st-predict")
def main() -> None:
    """Predict spatial gene expression from H&E images with models trained on your own sections.

    Start with `st-predict demo`. The other commands take sections as SpatialData Zarr stores; in Python,
    st_predict.io.visium(outs, image=tissue).write('A1.zarr') makes one from Space Ranger output.
    """


_image_key = click.option("--image-key", help="Name of the H&E image, where a store has several.")
_table_key = click.option("--table-key", help="Name of the table, where a store has several.")
_seed = click.option("--seed", default=0, show_default=True, help="Seed of everything random.")


@main.command()
@click.option("--out", type=_OUT, default=Path("st-predict-demo"), show_default=True, help="Folder to write.")
@_seed
def demo(out: Path, seed: int) -> None:
    """Train on drawn tissue with known truth, predict a section of an unseen subject, score it.

    Needs no data and no network; takes about two minutes on two cores. Writes maps, tables, the model and the
    predicted section to the --out folder.
    """
    from st_predict._demo import run_demo

    summary = run_demo(out, seed=seed)
    click.echo(f"\nA section of an unseen subject, {summary.attrs['genes']} genes:\n")
    click.echo(_table(summary))
    click.echo(f"\nTo look at, in {out}:")
    for name, what in summary.attrs["files"].items():
        click.echo(f"  {name:<18} {what}")


@main.command()
@click.argument("sections", nargs=-1, required=True, type=_STORE)
@click.option("--out", type=_OUT, required=True, help="Folder for the model.")
@click.option("--method", default="nh2st", show_default=True, help="nh2st, ridge or mean.")
@click.option("--preset", default="default", show_default=True, help="Settings of the method: default or paper.")
@click.option("--encoder", default="efficientnet_lite0", show_default=True, help="Image encoder; any timm name.")
@click.option("--encoder-weights", type=click.Path(path_type=str), help="Local weights file of the encoder.")
@click.option("--genes", default="250", show_default=True, help="How many genes, or a text file with one name a line.")
@click.option("--gene-ranking", type=click.Choice(["heg", "hvg"]), default="heg", show_default=True)
@click.option("--min-counts", default=500.0, show_default=True, help="Least counts of a spot to be trained on.")
@click.option("--tile-um", multiple=True, type=float, help="Tile width in um; repeat for several.")
@click.option("--tile-px", multiple=True, type=float, help="Tile width in px, where the scale is unknown.")
@click.option("--trainable-encoder", is_flag=True, default=None, help="Train the encoder end to end.")
@click.option("--max-epochs", type=int, help="Epochs at most.")
@click.option("--batch-size", type=int, help="Spots a batch.")
@click.option("--inner-folds", type=int, help="Groups of sections held out in turn; 0: none.")
@click.option("--accelerator", default="auto", show_default=True, help="As in Lightning: auto, cpu, gpu.")
@click.option("--layer", help="Layer with raw counts; default X.")
@_image_key
@_table_key
@_seed
def train(
    sections: tuple[Path, ...], out: Path, genes: str, tile_um: tuple[float, ...], tile_px: tuple[float, ...],
    **options: Any,
) -> None:  # fmt: skip
    """Train a model on SECTIONS (Zarr stores with H&E and expression) and write it to --out."""
    from st_predict.core.training.store import check_model_path

    check_model_path(out)
    model = stp.tl.train(
        {name: _read(path) for name, path in _by_name(sections).items()},
        genes=_genes(genes),
        tile_um=tile_um or None,
        tile_px=tile_px or None,
        **options,
    )
    click.echo(f"{model!r}\nwritten to {model.save(out)}")


@main.command()
@click.argument("slides", nargs=-1, required=True, type=_STORE)
@click.option("--model", "model_path", type=_OUT, required=True, help="Folder of a trained model.")
@click.option("--out", type=_OUT, required=True, help="Folder for the predicted stores, one a slide, same names.")
@click.option("--key-added", default="predicted", show_default=True, help="Name of the prediction.")
@_image_key
@_table_key
def predict(
    slides: tuple[Path, ...], model_path: Path, out: Path, key_added: str, image_key: str | None, table_key: str | None
) -> None:
    """Predict the expression of SLIDES (Zarr stores with H&E and spots) with a trained model."""
    from st_predict.core.files import replacing_folder

    model = stp.load_model(model_path)
    targets = [out / slide.name for slide in slides]
    for slide, target in zip(slides, targets, strict=True):
        _check_target(slide, target, targets.count(target))
    for slide, target in zip(slides, targets, strict=True):
        sdata = _read(slide)
        stp.tl.predict(sdata, model, key_added=key_added, image_key=image_key, table_key=table_key)
        with replacing_folder(target) as folder:
            sdata.write(folder, update_sdata_path=False)
        click.echo(f"{target}: {len(model.panel)} genes under {key_added!r}")


@main.command()
@click.argument("slides", nargs=-1, required=True, type=_STORE)
@click.option("--key", default="predicted", show_default=True, help="Name of the prediction.")
@click.option("--out", type=_OUT, help="CSV file for the scores of every gene.")
@click.option("--min-counts", type=float, help="Least counts of a spot to be scored; default as in training.")
@click.option("--layer", help="Layer with raw counts; default X.")
@_image_key
@_table_key
def evaluate(
    slides: tuple[Path, ...], key: str, out: Path | None, min_counts: float | None, layer: str | None,
    image_key: str | None, table_key: str | None,
) -> None:  # fmt: skip
    """Score predicted SLIDES against the expression measured on them."""
    import pandas as pd

    from st_predict._demo import summarize

    scores = {
        name: stp.tl.evaluate(
            _read(slide), key=key, min_counts=min_counts, layer=layer, image_key=image_key, table_key=table_key
        )
        for name, slide in _by_name(slides).items()
    }
    click.echo(_table(summarize(scores, "section")))
    if out is not None:
        pd.concat(scores, names=["section"]).to_csv(out)
        click.echo(f"scores of every gene: {out}")


def _by_name(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Stores by the name that tables show."""
    named = {path.stem: path for path in paths}
    if len(named) < len(paths):
        raise InputError(
            f"{len(paths) - len(named)} of {len(paths)} stores share a name with another",
            where="SECTIONS",
            expected="stores of different names",
            remedy="rename the stores",
        )
    return named


def _read(path: Path) -> SpatialData:
    import spatialdata

    if not any((path / name).exists() for name in ("zarr.json", ".zattrs", ".zgroup")):
        raise InputError(
            f"{path} is not a SpatialData Zarr store",
            where="SECTIONS",
            expected="a folder that SpatialData.write made",
            remedy="read the section with st_predict.io and write it: sdata.write('A1.zarr')",
        )
    return spatialdata.read_zarr(path)


def _genes(given: str) -> int | list[str]:
    """A number, or the names in a file."""
    if given.isdigit():
        return int(given)
    path = Path(given)
    if not path.is_file():
        raise InputError(
            f"{given!r} is neither a number nor a file",
            where="--genes",
            expected="how many genes, or a text file with one gene a line",
            remedy="correct --genes",
        )
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _check_target(slide: Path, target: Path, times: int) -> None:
    """Refuse to write over a slide, over something else, or twice to one place."""
    if target.resolve() == slide.resolve() or times > 1 or (target.exists() and not (target / "zarr.json").exists()):
        raise InputError(
            f"{target} would be overwritten",
            where="--out",
            expected="a folder where each slide's name is free, or an earlier prediction's",
            remedy="choose another --out, or rename slides of the same name",
        )


def _table(frame: pd.DataFrame) -> str:
    return str(frame.to_string(float_format=lambda value: f"{value:.3f}"))


if __name__ == "__main__":
    sys.exit(main())
