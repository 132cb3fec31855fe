"""The command line: the verbs of the package over files. Parses, calls the rooms, prints; holds no logic of its own."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

import st_predict as stp
from st_predict._spatialdata.stored import is_store, open_store
from st_predict._studies import by_name
from st_predict.core.ending import Terminated, ended_by_signals
from st_predict.core.errors import InputError
from st_predict.core.log import be_heard
from st_predict.core.outputs import check_apart, check_output, has_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from spatialdata import SpatialData

    from st_predict.core.training.model import Model

# Before torch is loaded: threads that wait by spinning slow each other down many times over where cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

USER_ERROR = 2
_STORE = click.Path(exists=True, file_okay=False, path_type=Path)
_SLIDE = click.Path(exists=True, path_type=Path)
_OUT = click.Path(path_type=Path)
_TYPED = "st_predict.typed"
_FOR_ALL = ("interval", "min_reliability")
_FOR_BARE, _FOR_STORES = ("um_per_px", "pitch_um", "n_jobs", "series", *_FOR_ALL), ("image_key", "table_key", *_FOR_ALL)


class _Commands(click.Group):
    """Say what a user can mend without a traceback; anything else is a bug and keeps its own."""

    def invoke(self, ctx: click.Context) -> Any:
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


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(stp.__version__, prog_name="st-predict")
def main() -> None:
    """Predict spatial gene expression from H&E images with models trained on your own sections.

    Start with `st-predict demo`. The other commands take sections as SpatialData Zarr stores; in Python,
    st_predict.io.visium(outs, image=tissue).write('A1.zarr') makes one from Space Ranger output.
    """


class _Told(click.Command):
    """Keeps what was typed, for those who will read the results."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TYPED] = shlex.join(["st-predict", str(ctx.info_name), *args])
        return super().parse_args(ctx, args)


def _genes(_ctx: click.Context, _option: click.Parameter, given: str) -> int | list[str]:
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
    return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def _gene_sets(_ctx: click.Context, _option: click.Parameter, given: str | None) -> dict[str, tuple[str, ...]] | None:
    """The sets in a GMT file."""
    from st_predict.core.gene_sets import read_gmt

    return None if given is None else read_gmt(given)


def _devices(_ctx: click.Context, _option: click.Parameter, given: str) -> int | str:
    return int(given) if given.isdigit() else given


def _series(_ctx: click.Context, _option: click.Parameter, given: str | None) -> int | str | None:
    return int(given) if given is not None and given.isdigit() else given


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


_layer = click.option("--layer", help="Layer with raw counts; default X.")
_seed = click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
_keys = _options(
    click.option("--image-key", help="Name of the H&E image, where a store has several."),
    click.option("--table-key", help="Name of the table, where a store has several."),
)
_fit_on = _options(
    click.option("--encoder", default="efficientnet_lite0", show_default=True, help="Image encoder; any timm name."),
    click.option("--encoder-weights", type=click.Path(path_type=str), help="Local weights file of the encoder."),
    click.option(
        "--genes", default="250", show_default=True, callback=_genes,
        help="How many genes, or a text file with one name a line.",
    ),
    click.option("--gene-sets", callback=_gene_sets, metavar="FILE",
                 help="GMT file of gene sets to predict as well, each as the mean of its genes."),
    click.option("--gene-ranking", type=click.Choice(["heg", "hvg"]), default="heg", show_default=True,
                 help="Genes most expressed or most variable in training."),
    click.option("--min-counts", default=500.0, show_default=True, help="Least counts of a spot to be used."),
    click.option("--tile-um", multiple=True, type=float, callback=_some, help="Tile width in um; repeat for several."),
    click.option("--tile-px", multiple=True, type=float, callback=_some,
                 help="Tile width in px, where the scale is unknown."),
    click.option("--accelerator", default="auto", show_default=True, help="As in Lightning: auto, cpu, gpu."),
    _layer, _keys, _seed,
)  # fmt: skip
"""What training and comparing share: the spots and genes, and what is seen of the image."""


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
@click.option(
    "--method",
    default="nh2st",
    show_default=True,
    help="nh2st, cmrcnet, ridge or any other method; auto: the best of nh2st, hist2st and ridge on what is held out.",
)
@click.option("--preset", default="default", show_default=True, help="Settings of the method: default or paper.")
@click.option("--trainable-encoder", is_flag=True, default=None, help="Train the encoder end to end.")
@click.option("--max-epochs", type=int, help="Epochs at most.")
@click.option("--batch-size", type=int, help="Spots a batch.")
@click.option("--members", type=click.IntRange(min=1), help="Networks trained side by side that predict their mean.")
@click.option("--inner-folds", type=int, help="Groups of sections held out in turn; 0: none.")
@click.option("--devices", default="1", show_default=True, callback=_devices, help="How many devices, or auto.")
@click.option("--num-nodes", default=1, show_default=True, help="Machines, under SLURM or torchrun.")
@click.option("--strategy", default="auto", show_default=True, help="As in Lightning: ddp, ...")
@click.option("--precision", default="auto", show_default=True, help="As in Lightning: 32-true, bf16-mixed, ...")
@click.option("--checkpoints", "checkpoint_dir", type=_OUT, help="Folder where the training is kept as it goes.")
@click.option("--resume", is_flag=True, help="Go on with the training in --checkpoints.")
@click.option(
    "--tile-store", type=click.Path(path_type=str), help="Folder that keeps an encoder's tiles for other runs."
)
@_fit_on
def train(sections: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Train a model on SECTIONS (Zarr stores with H&E and expression) and write it to --out."""
    from st_predict.core.training.store import check_model_path

    check_model_path(out)
    check_apart(out, [path for path in sections if is_store(path)], where="--out")
    model = stp.tl.train(by_name(sections), **options)
    click.echo(f"{model!r}\nwritten to {model.save(out)}")


@main.command()
@click.argument("slides", nargs=-1, required=True, type=_SLIDE)
@click.option("--model", "model_path", type=_OUT, required=True, help="Folder of a trained model.")
@click.option("--out", type=_OUT, required=True, help="Folder for the predicted stores, one a slide, same names.")
@click.option("--key-added", default="predicted", show_default=True, help="Name of the prediction.")
@click.option("--um-per-px", type=float, help="Scale of bare slides that state none.")
@click.option("--pitch-um", type=float, help="Pitch of the grid on bare slides; default: that of the training spots.")
@click.option("--jobs", "n_jobs", type=click.IntRange(min=1), help="Bare slides at a time; default: one a core.")
@click.option("--series", callback=_series, metavar="N|all",
              help="Which slide of files that hold several, or all; default: the largest.")  # fmt: skip
@click.option(
    "--interval",
    type=float,
    help="Write intervals that cover this share of spots, on average over slides: 0.5, 0.8, 0.9 or 0.95.",
)
@click.option("--min-reliability", type=float, help="Leave out genes of which a lower PCC is expected on a new slide.")
@_keys
def predict(slides: tuple[Path, ...], model_path: Path, out: Path, key_added: str, **options: Any) -> None:
    """Predict the expression of SLIDES with a trained model.

    SLIDES are bare H&E slides (SVS, NDPI, TIFF, OME-Zarr, JPEG, ...), of which each that fails costs itself alone and
    those that are done are skipped when the command is given again; or Zarr stores with H&E and spots, which are
    written anew with the prediction.
    """
    from st_predict._studies import is_slide

    bare = [is_slide(slide) for slide in slides]
    if any(bare) and not all(bare):
        raise InputError(
            f"{slides[bare.index(True)]} is a bare slide, {slides[bare.index(False)]} a store",
            where="SLIDES",
            expected="either bare slides or stores",
            remedy="run the command once for each",
        )
    kind, fitting = ("bare slides", _FOR_BARE) if all(bare) else ("stores", _FOR_STORES)
    given = {name: value for name, value in options.items() if value is not None}
    misfits = sorted(f"--{name.removeprefix('n_').replace('_', '-')}" for name in given.keys() - fitting)
    if misfits:
        raise InputError(
            f"{', '.join(misfits)} is not for {kind}",
            where="options",
            expected=f"options for {kind}, see st-predict predict --help",
            remedy="leave it out",
        )
    check_apart(out, [model_path], where="--out")
    if all(bare):
        _predict_bare(slides, stp.load_model(model_path), out, key_added=key_added, **given)
    else:
        _predict_stores(slides, model_path, out, key_added=key_added, **given)


def _predict_bare(slides: Sequence[Path], model: Model, out: Path, **cohort: Any) -> None:
    manifest = stp.tl.predict_cohort(slides, model, out, **cohort)
    counts = manifest["status"].value_counts()
    click.echo(", ".join(f"{n} {status}" for status, n in counts.items()) + f"; see {out / 'manifest.csv'}")
    for row in manifest[manifest["status"] == "failed"].itertuples():
        click.echo(f"{row.slide}: {row.reason}", err=True)
    if counts.get("failed"):
        raise SystemExit(1)


def _predict_stores(slides: Sequence[Path], model_path: Path, out: Path, *, key_added: str, **keys: Any) -> None:
    from st_predict.core.files import replacing_folder
    from st_predict.core.outputs import seal
    from st_predict.tl._cohort_store import PREDICTION

    targets = [out / Path(os.path.abspath(slide)).name for slide in slides]  # "." has a name, too
    for target in targets:
        _check_target(target, slides, targets.count(target))
    model = stp.load_model(model_path)
    for slide, target in zip(slides, targets, strict=True):
        sdata = open_store(slide)
        stp.tl.predict(sdata, model, key_added=key_added, **keys)
        with replacing_folder(target, _check_store) as folder:
            sdata.write(folder, update_sdata_path=False)
            seal(folder, PREDICTION)
        click.echo(f"{target}: {_written(sdata, model, key_added)} under {key_added!r}")


def _written(sdata: SpatialData, model: Model, key: str) -> str:
    """How many genes and sets a prediction is of; fewer than the model's where some were left out."""
    from st_predict._spatialdata.prediction import find_prediction
    from st_predict.core.expression import describe_panel

    panel = find_prediction(sdata, key).panel
    return describe_panel(panel, {name: () for name in model.gene_sets if name in panel})


@main.command()
@click.argument("slides", nargs=-1, required=True, type=_STORE)
@click.option("--key", default="predicted", show_default=True, help="Name of the prediction.")
@click.option("--out", type=_OUT, help="CSV file for the scores of every gene.")
@click.option("--min-counts", type=float, help="Least counts of a spot to be scored; default as in training.")
@_layer
@_keys
def evaluate(
    slides: tuple[Path, ...], key: str, out: Path | None, min_counts: float | None, layer: str | None,
    image_key: str | None, table_key: str | None,
) -> None:  # fmt: skip
    """Score predicted SLIDES against the expression measured on them."""
    import pandas as pd

    from st_predict._demo import summarize
    from st_predict.core.files import replacing_file
    from st_predict.core.protocol.scores import GENE_SCORES

    def is_ours(path: Path) -> bool:
        return has_columns(path, ("section", "gene"), (*GENE_SCORES, "expected_pcc", "covered"))

    if out is not None:
        check_apart(out, slides, where="--out")
        check_output(out, is_ours, what="an earlier table of scores", where="--out")
    scores = {
        name: stp.tl.evaluate(
            open_store(slide), key=key, min_counts=min_counts, layer=layer, image_key=image_key, table_key=table_key
        )
        for name, slide in by_name(slides).items()
    }
    click.echo(_table(summarize(scores, "section")))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(out) as file:
            pd.concat(scores, names=["section"]).to_csv(file)
        click.echo(f"scores of every gene: {out}")


@main.command(cls=_Told)
@click.argument("data", nargs=-1, required=True)
@click.option("--methods", default="all", show_default=True, help="all, or names with commas between: nh2st,triplex.")
@click.option(
    "--parts/--no-parts",
    default=True,
    show_default=True,
    help="With all methods: NH2ST without its contrast, without its neighbor branch, and with three networks, as well.",
)
@click.option(
    "--networks",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Networks whose mean every method predicts; train has three.",
)
@click.option(
    "--seeds",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many seeds every network is trained with, from --seed on.",
)
@click.option("--out", type=_OUT, required=True, help="Folder for the page, the tables and the finished folds.")
@click.option("--groups", type=click.Choice(["subject", "section"]),
              help="What is held out together; default: subjects where several are known, else sections.")  # fmt: skip
@click.option(
    "--jobs", "n_jobs", type=click.IntRange(min=1), help="Folds run at a time; default: one a core, one on a GPU."
)
@_fit_on
@click.pass_context
def benchmark(
    ctx: click.Context, /, data: tuple[str, ...], methods: str, parts: bool, networks: int, out: Path, **options: Any
) -> None:
    """Compare methods on DATA, leak-free, and write a page with tables and pictures to --out.

    DATA are Zarr stores, which together are the sections of one study; names of public sets (her2st, als, mob: read
    from the folder in ST_PREDICT_DATA, or downloaded once); or a folder that holds these sets and their sections.csv.
    mob brings its own tile widths and takes every spot, unless options say otherwise. The training mean, shuffled
    images and ridge are in every comparison. One that was interrupted goes on where it stopped.
    """
    from st_predict._benchmark import FILES, run_benchmark, split_methods

    given = {name: v for name, v in options.items() if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT}
    named = split_methods(methods)
    summary = run_benchmark(
        data, methods=named, parts=parts, networks=networks, out=out, settings=given, command=ctx.meta[_TYPED]
    )
    for name, rows in summary.groupby("dataset", sort=False):
        _tell_compared(str(name), rows, summary.attrs[name])
    click.echo(f"\nTo look at, in {out}:")
    for name, what in FILES.items():
        click.echo(f"  {name:<18} {what}")
    if summary["pcc"].isna().all():
        raise SystemExit(1)


def _tell_compared(name: str, rows: pd.DataFrame, about: dict[str, Any]) -> None:
    """One data set: how much was compared, what all methods had alike, the summary, and what failed."""
    from st_predict._summary import COLUMNS, DIGITS, TERMS, in_common, shown_columns

    compared = about["compared"]
    click.echo(
        "\n{name}: {sections} sections, {spots} spots ({left_out} left out), {genes} genes, {folds} folds, {seeds} seed{s}, "
        "{split}".format(name=name, s="s" * (compared["seeds"] > 1), **compared)
    )
    for term, text in in_common(rows).items():
        click.echo(f"{TERMS[term]} of all: {text}")
    columns = shown_columns(rows)
    rounded = {c: [f"{n:.{DIGITS[c]}f}" if n == n else "" for n in rows[c]] for c in columns if c in DIGITS}
    click.echo("\n" + _table(rows[columns].assign(**rounded).set_index("method").rename(columns=COLUMNS)))
    for failure in about["failures"]:
        told = "failed, and in no mean: {method} with {fold} held out (seed {seed}): {error}".format(**failure)
        click.echo(told, err=True)


@main.command()
@click.argument("methods", nargs=-1, metavar="[METHOD]...")
@click.option("--format", "layout", type=click.Choice(["text", "markdown"]), default="text", show_default=True)
def presets(methods: tuple[str, ...], layout: str) -> None:
    """Print what each preset of METHODs trains with, beside what was published; without METHOD, of all.

    A table a preset: setting, published (and where), here, and why it differs.
    """
    from st_predict._presets import documented_methods, render

    click.echo(render(methods or documented_methods(), markdown=layout == "markdown"))


def _check_target(target: Path, slides: Sequence[Path], times: int) -> None:
    """Refuse to write over a slide or into one, over anything but an earlier prediction, or twice to one place."""
    check_apart(target, slides, where="--out")
    if times > 1:
        raise InputError(
            f"{target} would be overwritten: {times} slides have this name",
            where="--out",
            expected="slides of different names",
            remedy="rename slides, or predict them into different folders",
        )
    _check_store(target)


def _check_store(target: Path) -> None:
    from st_predict.core.outputs import is_sealed
    from st_predict.tl._cohort_store import PREDICTION

    check_output(
        target, lambda path: is_sealed(path, PREDICTION), what="an earlier prediction of st_predict", where="--out"
    )


def _table(frame: pd.DataFrame) -> str:
    return str(frame.to_string(float_format=lambda value: f"{value:.3f}", na_rep=""))


if __name__ == "__main__":
    sys.exit(main())
