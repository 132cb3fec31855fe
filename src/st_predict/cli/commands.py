"""The commands. Each parses what is typed, calls a room and prints; longer work has files beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

import st_predict as stp
from st_predict._spatialdata.stored import is_store, open_store
from st_predict.cli.data_sets import by_name
from st_predict.cli.demo import run_demo
from st_predict.cli.group import Commands, Keeping, typed
from st_predict.cli.options import (
    OUT,
    OUT_TEXT,
    SLIDE,
    STORE,
    fit_options,
    key_options,
    layer_option,
    name_or_number,
    seed_option,
)
from st_predict.cli.predict import are_bare, predict_bare, predict_stores
from st_predict.cli.scores import means_over_genes
from st_predict.cli.terminal import as_text, say, tell_compared, tell_files
from st_predict.core.files import replacing_file
from st_predict.core.outputs import check_apart, check_output, check_side_by_side, has_columns


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(stp.__version__, prog_name="st-predict")
def main() -> None:
    """Predict spatial gene expression from H&E images with models trained on your own sections.

    Start with `st-predict demo`. The other commands take sections as SpatialData Zarr stores; in Python,
    st_predict.io.visium(outs, image=tissue).write('A1.zarr') makes one from Space Ranger output.
    """


@main.command()
@click.option("--out", type=OUT, default=Path("st-predict-demo"), show_default=True, help="Folder to write.")
@seed_option
def demo(out: Path, seed: int) -> None:
    """Train on drawn tissue with known truth, predict a section of an unseen subject, and score the prediction.

    The demo needs no data and no network, and takes about two minutes on two cores. It writes maps, tables, the model
    and the predicted section to the --out folder.
    """
    summary = run_demo(out, seed=seed)
    say(f"\nA section of an unseen subject, {summary.attrs['genes']} genes:\n")
    say(as_text(summary))
    tell_files(out, summary.attrs["files"])


@main.command()
@click.argument("sections", nargs=-1, required=True, type=STORE)
@click.option("--out", type=OUT, required=True, help="Folder for the model.")
@click.option(
    "--method",
    default="nh2st",
    show_default=True,
    help="nh2st, cmrcnet, ridge or any other method; auto: the best of nh2st, hist2st and ridge on held-out sections.",
)
@click.option("--preset", default="default", show_default=True, help="Settings of the method: default or paper.")
@click.option("--trainable-encoder", is_flag=True, default=None, help="Train the encoder end to end.")
@click.option("--max-epochs", type=int, help="Most epochs of a fit.")
@click.option("--batch-size", type=int, help="Spots in a batch.")
@click.option("--members", type=click.IntRange(min=1), help="Networks to train side by side; their mean is predicted.")
@click.option("--inner-folds", type=int, help="How many groups of sections to hold out in turn; 0: none.")
@click.option("--devices", default="1", show_default=True, callback=name_or_number, help="How many devices, or auto.")
@click.option("--num-nodes", default=1, show_default=True, help="How many machines, under SLURM or torchrun.")
@click.option("--strategy", default="auto", show_default=True, help="As in Lightning: ddp, ...")
@click.option("--precision", default="auto", show_default=True, help="As in Lightning: 32-true, bf16-mixed, ...")
@click.option("--checkpoints", "checkpoint_dir", type=OUT, help="Folder where the training is kept as it goes.")
@click.option("--resume", is_flag=True, help="Go on with the training in --checkpoints.")
@click.option("--tile-store", type=OUT_TEXT, help="Folder that keeps the tiles of an encoder in training.")
@fit_options
def train(sections: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Train a model on SECTIONS (Zarr stores with H&E and expression) and write it to --out."""
    from st_predict.cli.save import save_somewhere
    from st_predict.core.model.folder import check_model_path

    check_side_by_side(
        {"--out": out, "--checkpoints": options["checkpoint_dir"], "--tile-store": options["tile_store"]}
    )
    check_model_path(out, where="--out")
    check_apart(out, [path for path in sections if is_store(path)], where="--out")
    model = stp.tl.train(by_name(sections, where="SECTIONS"), **options)
    place = save_somewhere(model, out)
    say(f"{model!r}\nwritten to {place}")
    if place != out:
        raise SystemExit(1)


@main.command(cls=Keeping)
@click.argument("slides", nargs=-1, required=True, type=SLIDE)
@click.option("--model", "model_path", type=OUT, required=True, help="Folder of a trained model.")
@click.option("--out", type=OUT, required=True, help="Folder for the predicted stores, one for each slide, same names.")
@click.option("--key-added", default="predicted", show_default=True, help="Name of the prediction.")
@click.option("--um-per-px", type=float, help="Scale of bare slides that state none.")
@click.option("--pitch-um", type=float, help="Pitch of the grid on bare slides; default: that of the training spots.")
@click.option("--jobs", "n_jobs", type=click.IntRange(min=1),
              help="How many bare slides at a time; default: one for each core.")  # fmt: skip
@click.option("--series", callback=name_or_number, metavar="N|all",
              help="Which slide to predict if a file holds several, or all; default: the largest.")  # fmt: skip
@click.option(
    "--interval",
    type=float,
    help="Write intervals that cover this share of spots, on average over slides: 0.5, 0.8, 0.9 or 0.95.",
)
@click.option("--min-reliability", type=float, help="Leave out genes whose expected PCC is lower.")
@key_options
def predict(slides: tuple[Path, ...], model_path: Path, out: Path, key_added: str, **options: Any) -> None:
    """Predict the expression of SLIDES with a trained model.

    SLIDES are either bare H&E slides or Zarr stores. Bare slides (SVS, NDPI, TIFF, OME-Zarr, JPEG, ...) are predicted
    one by one: a slide that fails does not stop the others. If you give the command again, slides that are done are
    skipped. Zarr stores have H&E and spots; a copy of each, with its prediction, is written to --out.
    """
    given = {name: value for name, value in options.items() if value is not None}
    bare = are_bare(slides, given)
    check_apart(out, [model_path], where="--out")
    (predict_bare if bare else predict_stores)(slides, model_path, out, key_added=key_added, **given)


@main.command()
@click.argument("slides", nargs=-1, required=True, type=STORE)
@click.option("--key", default="predicted", show_default=True, help="Name of the prediction.")
@click.option("--out", type=OUT, help="CSV file for the scores of every gene.")
@click.option("--min-counts", type=float, help="Spots with fewer counts are not scored; default: as in training.")
@layer_option
@key_options
def evaluate(
    slides: tuple[Path, ...], key: str, out: Path | None, min_counts: float | None, layer: str | None,
    image_key: str | None, table_key: str | None,
) -> None:  # fmt: skip
    """Score predicted SLIDES against the expression measured on them."""
    import pandas as pd

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
        for name, slide in by_name(slides, where="SLIDES").items()
    }
    say(as_text(means_over_genes(scores, "section")))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(out) as file:
            pd.concat(scores, names=["section"]).to_csv(file)
        say(f"scores of every gene: {out}")


@main.command(cls=Keeping)
@click.argument("data", nargs=-1, required=True)
@click.option("--methods", default="all", show_default=True, help="all, or names with commas between: nh2st,triplex.")
@click.option(
    "--parts/--no-parts",
    default=True,
    show_default=True,
    help="With all methods, also NH2ST without its contrast, without its neighbor branch, and with three networks.",
)
@click.option(
    "--networks",
    default=1,
    show_default=True,
    type=click.IntRange(min=1, max=1000),
    help="How many networks every method predicts the mean of; train has three.",
)
@click.option(
    "--seeds",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many seeds every network is trained with; the first is --seed.",
)
@click.option("--out", type=OUT, required=True, help="Folder for the page, the tables and the finished folds.")
@click.option("--groups", type=click.Choice(["subject", "section"]),
              help="What is held out together; default: subjects if several are known, else sections.")  # fmt: skip
@click.option("--jobs", "n_jobs", type=click.IntRange(min=1),
              help="How many folds at a time; default: one for each core, or one on a GPU.")  # fmt: skip
@fit_options
@click.pass_context
def benchmark(
    ctx: click.Context, /, data: tuple[str, ...], methods: str, parts: bool, networks: int, out: Path, **options: Any
) -> None:
    """Compare methods on DATA, leak-free, and write a page with tables and pictures to --out.

    DATA are Zarr stores, which together are the sections of one study; names of public sets (her2st, als, mob: read
    from the folder in ST_PREDICT_DATA, or downloaded once); or a folder that holds these sets and their sections.csv.
    mob has its own tile widths and uses every spot, unless options say otherwise. The training mean, shuffled images
    and ridge are in every comparison. If a comparison was interrupted, the same command goes on where it stopped.
    """
    from st_predict.cli.benchmark import run_benchmark
    from st_predict.cli.benchmark_checks import FILES, split_methods

    given = {name: v for name, v in options.items() if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT}
    named = split_methods(methods)
    summary = run_benchmark(
        data, methods=named, parts=parts, networks=networks, out=out, settings=given, command=typed(ctx)
    )
    for name, rows in summary.groupby("dataset", sort=False):
        tell_compared(str(name), rows, summary.attrs[name])
    tell_files(out, FILES)
    if summary["pcc"].isna().all():
        raise SystemExit(1)


@main.command()
@click.argument("methods", nargs=-1, metavar="[METHOD]...")
@click.option("--format", "layout", type=click.Choice(["text", "markdown"]), default="text", show_default=True)
def presets(methods: tuple[str, ...], layout: str) -> None:
    """Print the settings of each preset of METHODs, beside those that were published; without METHOD, of all methods.

    There is one table for each preset. Its columns are the setting, what was published (and where), what is used here,
    and why it differs.
    """
    from st_predict.cli.presets import documented_methods, render

    say(render(methods or documented_methods(), markdown=layout == "markdown"))
