"""The command line, over real stores on disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import st_predict as stp
from st_predict.cli import main
from st_predict.cli.terminal import say
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

TINY = ["--encoder", "tiny", "--tile-um", "112", "--genes", "20", "--max-epochs", "3", "--batch-size", "32"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three small drawn sections, written."""
    folder = tmp_path_factory.mktemp("stores")
    tissue = stp.datasets.synthetic_tissue(n_sections=3, n_subjects=3, n_genes=40, size_um=900.0)
    paths = {name: folder / f"{name}.zarr" for name in tissue}
    for name, sdata in tissue.items():
        sdata.write(paths[name])
    return paths


@pytest.fixture(scope="module")
def model(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on two of them by the command."""
    path = tmp_path_factory.mktemp("model") / "model"
    result = run("train", stores["S1"], stores["S2"], "--out", path, *TINY)
    assert result.exit_code == 0, result.output
    return path


@pytest.mark.one_python
def test_train_writes_a_model_of_the_given_settings(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    assert config["sections"] == ["S1", "S2"]
    assert len(config["panel"]) == 20
    assert config["encoder"]["name"] == "tiny"
    assert config["recipe"]["fit"]["max_epochs"] == 3


def test_predict_and_evaluate(stores: dict[str, Path], model: Path, tmp_path: Path) -> None:
    import spatialdata

    before = {p: p.stat().st_mtime_ns for p in stores["S3"].rglob("*")}
    result = run("predict", stores["S3"], "--model", model, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    predicted = spatialdata.read_zarr(tmp_path / "out" / "S3.zarr")["table"]
    assert predicted.obsm["predicted"].shape == (predicted.n_obs, 20)
    assert {p: p.stat().st_mtime_ns for p in stores["S3"].rglob("*")} == before
    assert "consolidated_metadata" in (tmp_path / "out" / "S3.zarr" / "zarr.json").read_text()

    again = run("predict", stores["S3"], "--model", model, "--out", tmp_path / "out")
    assert again.exit_code == 0, again.output

    scores = run("evaluate", tmp_path / "out" / "S3.zarr", "--out", tmp_path / "scores.csv")
    assert scores.exit_code == 0, scores.output
    table = pd.read_csv(tmp_path / "scores.csv", index_col=["section", "gene"])
    assert len(table) == 20
    assert f"{table['pcc'].mean():.3f}" in scores.output


def listed(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with what is in it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def predicted_anew(stores: dict[str, Path], model: Path, out: Path) -> Result:
    return run("predict", stores["S3"], "--model", model, "--out", out)


@pytest.mark.one_python
def test_a_store_that_is_no_prediction_of_ours_is_never_replaced(
    stores: dict[str, Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A section of the user's own under the name of the slide; and a prediction that the user went on working on."""
    import spatialdata

    shutil.copytree(stores["S1"], tmp_path / "mine" / "S3.zarr")
    assert predicted_anew(stores, model, tmp_path / "ours").exit_code == 0
    assert predicted_anew(stores, model, tmp_path / "ours").exit_code == 0, "an earlier prediction is replaced"
    annotated = spatialdata.read_zarr(tmp_path / "ours" / "S3.zarr")
    annotated["notes"] = annotated["S3"]
    annotated.write_element("notes")
    monkeypatch.setattr(stp, "load_model", None)  # what is refused is refused before any work
    for out in (tmp_path / "mine", tmp_path / "ours"):
        before = listed(out)
        result = predicted_anew(stores, model, out)
        assert result.exit_code == 2 and "S3.zarr exists and is not an earlier prediction" in result.output
        assert listed(out) == before


@pytest.mark.parametrize("where", ["inside the slide", "the folder it stands in", "linked"])
def test_a_slide_is_never_written_into(stores: dict[str, Path], model: Path, tmp_path: Path, where: str,
                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    slide = tmp_path / "S3.zarr"
    shutil.copytree(stores["S3"], slide)
    before = listed(tmp_path)
    monkeypatch.chdir(slide)
    out: Path | str = {"inside the slide": slide / "out", "the folder it stands in": "..", "linked": tmp_path / "l"}[
        where
    ]
    if where == "linked":
        (tmp_path / "l").symlink_to(slide)
    result = run("predict", ".", "--model", model, "--out", out)
    assert result.exit_code == 2, result.output
    assert ("would be overwritten" if where == "the folder it stands in" else "which is read") in result.output
    assert listed(tmp_path) == before


def test_a_model_is_never_written_into(stores: dict[str, Path], model: Path) -> None:
    before = listed(model)
    for out in (model, model / "out"):
        result = run("predict", stores["S3"], "--model", model, "--out", out)
        assert result.exit_code == 2 and "is read" in result.output, result.output
    assert listed(model) == before


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        (["predict", "{S1}", "--model", "{model}", "--out", "{S2}"], "S2"),
        (["predict", "{S1}", "--model", "{model}", "--out", "{other}"], "other"),
        (["evaluate", "{S1}", "--out", "{S2}/tables/scores.csv"], "S2"),
        (["train", "{S1}", "--out", "{S2}/images/model"], "S2"),
        (["train", "{S1}", "--out", "{tmp}/m", "--checkpoints", "{S2}/kept"], "S2"),
        (["train", "{S1}", "--out", "{tmp}/m", "--tile-store", "{other}"], "other"),
        (["benchmark", "{S1}", "{S3}", "--out", "{S2}/cv"], "S2"),
        (["demo", "--out", "{other}/demo"], "other"),
    ],
)
def test_nothing_is_added_to_other_stores_and_models(
    arguments: list[str], whole: str, stores: dict[str, Path], model: Path, tmp_path: Path
) -> None:
    places = {**stores, "tmp": tmp_path, "model": model, "other": tmp_path / "other"}
    shutil.copytree(model, places["other"])
    before = listed(places[whole])
    result = run(*[a.format(**places) for a in arguments])
    assert result.exit_code == 2, result.output
    assert f"{places[whole]} is a {'model' if whole == 'other' else 'Zarr store'}, and what is written" in result.output
    assert listed(places[whole]) == before


@pytest.mark.one_python
def test_a_slide_named_by_a_dot_is_written_under_its_name(
    stores: dict[str, Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stores["S3"])
    result = run("predict", ".", "--model", model, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["S3.zarr"]


@pytest.mark.one_python
def test_scores_replace_scores_alone(
    stores: dict[str, Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predicted_anew(stores, model, tmp_path).exit_code == 0
    slide, table = tmp_path / "S3.zarr", tmp_path / "new" / "scores.csv"
    for _ in range(2):
        assert run("evaluate", slide, "--out", table).exit_code == 0
    monkeypatch.setattr(stp.tl, "evaluate", None)
    mine = {"thesis.docx": b"PK\x03\x04 years of work", "scores.csv": b"gene,section,pcc\nA,S3,1\n", "zarr.json": b""}
    for name, content in mine.items():
        place = slide / name if name == "zarr.json" else tmp_path / name
        content = place.read_bytes() if name == "zarr.json" else content
        place.write_bytes(content)
        result = run("evaluate", slide, "--out", place)
        assert result.exit_code == 2 and "remedy" in result.output, result.output
        assert place.read_bytes() == content


@pytest.mark.one_python
def test_genes_from_a_file(stores: dict[str, Path], tmp_path: Path) -> None:
    names = [
        str(n) for n in np.asarray(stp.datasets.synthetic_tissue(n_genes=40, size_um=900.0)["S1"]["table"].var_names)
    ]
    listing = tmp_path / "genes.txt"
    listing.write_text("\n".join(names[:3]) + "\n")
    result = run("train", stores["S1"], "--out", tmp_path / "m", *TINY, "--genes", listing, "--method", "mean")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "m" / "config.json").read_text())["panel"] == names[:3]


@pytest.mark.one_python
def test_gene_sets_from_a_file(stores: dict[str, Path], tmp_path: Path) -> None:
    names = [str(n) for n in stp.datasets.synthetic_tissue(n_genes=40, size_um=900.0)["S1"]["table"].var_names]
    listing = tmp_path / "sets.gmt"
    listing.write_text(f"odd\tno address\t{names[1]}\t{names[3]}\nfirst\t\t{names[0]}\n")
    options = [*TINY, "--gene-sets", listing]
    result = run("train", stores["S1"], "--out", tmp_path / "m", *options, "--method", "mean")
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert len(config["panel"]) == 22 and config["panel"][20:] == ["odd", "first"]
    assert config["gene_sets"] == {"odd": [names[1], names[3]], "first": [names[0]]}
    result = run("predict", stores["S2"], "--model", tmp_path / "m", "--out", tmp_path / "out")
    assert "20 genes and 2 gene sets under 'predicted'" in result.output
    result = run("evaluate", tmp_path / "out" / "S2.zarr", "--out", tmp_path / "scores.csv")
    assert result.exit_code == 0, result.output
    assert pd.read_csv(tmp_path / "scores.csv")["gene"].tolist()[20:] == ["odd", "first"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["train", "{S1}", "--out", "{tmp}/m", "--gene-sets", "{tmp}/mine.txt"],
            "line 1 of {tmp}/mine.txt has no genes",
        ),
        (["benchmark", "{S1}", "{S2}", "--out", "{tmp}/m", "--gene-sets", "none.gmt"], "none.gmt cannot be read"),
        (["train", "{S1}", "--out", "{tmp}/m", "--method", "nh3st"], "did you mean nh2st"),
        (["train", "{S1}", "--out", "{tmp}/m", "--genes", "nowhere.txt"], "neither a number nor a file"),
        (["train", "{S1}", "--out", "{tmp}/m", "--genes", "/dev/null"], "/dev/null is a device, and no file of names"),
        (["train", "{S1}", "--out", "{tmp}/m", "--genes", "{tmp}"], "{tmp} is a folder, and no file of names"),
        (
            ["train", "{S1}", "--out", "{tmp}/m", "--genes", "{tmp}/latin.txt"],
            "latin.txt is a file, but no text in UTF-8",
        ),
        (["train", "{S1}", "--out", "{tmp}/m", "--inner-folds", "2", "--encoder", "tiny"], "asked of one section"),
        (["train", "{tmp}", "--out", "{tmp}/m"], "not a SpatialData Zarr store"),
        (["train", "{S1}", "--out", "{tmp}"], "exists and is not a model"),
        (["train", "{S1}", "--out", "{tmp}"], "where:    --out"),
        (["train", "{S1}", "--out", "{tmp}/m", "--checkpoints", "{S1}/kept"], "where:    --checkpoints"),
        (["benchmark", "{S1}", "{S2}", "--out", "{tmp}/m", "--tile-um", "0"], "where:    --tile-um"),
        (["predict", "{model}/config.json", "--model", "{model}", "--out", "{S1}"], "where:    --out"),
        (["train", "{S1}", "--out", "{S1}/model"], "{S1} is a Zarr store, and what is written there"),
        (
            ["train", "{S1}", "--out", "{tmp}/m", "--checkpoints", "{S1}/kept"],
            "{S1} is a Zarr store, and what is written there",
        ),
        (
            ["train", "{S1}", "--out", "{tmp}/m", "--tile-store", "{S1}/tiles"],
            "{S1} is a Zarr store, and what is written there",
        ),
        (["benchmark", "{S1}", "{S2}", "--out", "{S2}/cv"], "{S2}/cv lies within {S2}, which is read"),
        (["predict", "{S1}", "--model", "{tmp}/none", "--out", "{tmp}/o"], "there is no model folder"),
        (["predict", "{S1}", "--model", "{stores}", "--out", "{tmp}/o"], "where:    --model"),
        (["predict", "{model}/config.json", "--model", "{tmp}/none", "--out", "{tmp}/o"], "where:    --model"),
        (
            ["train", "{S1}", "--out", "{tmp}/m", "--encoder", "tiny", "--strategy", "none"],
            "where:    --accelerator, --devices, --num-nodes, --strategy, --precision",
        ),
        (["predict", "{S1}", "--model", "{model}", "--out", "{stores}"], "would be overwritten"),
        (
            ["predict", "{S1}", "--model", "{model}", "--out", "{tmp}/o", "--jobs", "2", "--um-per-px", "1"],
            "--jobs, --um-per-px is not for stores",
        ),
        (
            ["predict", "{model}/config.json", "--model", "{model}", "--out", "{tmp}/o", "--table-key", "t"],
            "--table-key is not for bare slides",
        ),
        (["train", "{S1}", "--out", "{tmp}/m", "--genes", "9" * 5000], "... (text) is neither a number nor a file"),
        (["train", "{S1}", "--out", "{tmp}/m", "--devices", "9" * 5000], "devices is '9999999"),
        (["benchmark", "a" * 300, "--out", "{tmp}/o"], "DATA is a path with a name of 300 bytes"),
        (
            ["predict", "{tmp}/x\udcff.tif", "--model", "{model}", "--out", "{tmp}/o"],
            "a path with a name in another encoding than UTF-8",
        ),
        (["evaluate", "{S1}"], "there is no prediction under 'predicted'"),
    ],
)
def test_user_errors_exit_with_2_and_no_traceback(
    arguments: list[str], said: str, stores: dict[str, Path], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("not a model")
    (tmp_path / "x\udcff.tif").touch()
    (tmp_path / "latin.txt").write_bytes("\u00b5".encode("latin-1"))
    places = {**stores, "tmp": tmp_path, "model": model, "stores": stores["S1"].parent}
    result = run(*[a.format(**places) for a in arguments])
    assert result.exit_code == 2
    assert said.format(**places) in result.output
    assert "Traceback" not in result.output
    assert "remedy" in result.output


def test_a_reader_that_leaves_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        say("one line")
        say("and another")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(InputError, match="the output of the command cannot be written .No space left on device."):
            say("one line")
        full.flush = lambda: None  # type: ignore[method-assign]  # what is left cannot be written either
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_a_working_folder_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    result = run("presets")
    assert result.exit_code == 2 and "the working folder cannot be found" in result.output


def test_a_bug_keeps_its_traceback(stores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(stp.tl, "train", broken)
    result = run("train", stores["S1"], "--out", tmp_path / "m")
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize("command", [[], *([name] for name in main.commands)])
def test_help(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize("module", ["st_predict", "st_predict.cli"])
def test_help_loads_nothing_heavy(module: str) -> None:
    """Asked of the modules, so that these entries are tried as well."""
    command = [sys.executable, "-X", "importtime", "-m", module, "benchmark", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"Usage: python -m {module} benchmark" in done.stdout
    loaded = {line.rsplit("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "st_predict.cli.commands" in loaded, "the check reads something else"
    assert not loaded & {"torch", "lightning", "timm", "pandas", "anndata", "spatialdata", "matplotlib", "jinja2"}


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("st-predict pre", {"plain,predict", "plain,presets"}), ("st-predict train --inner", {"plain,--inner-folds"})],
)
def test_shells_complete_what_is_typed(typed: str, completed: set[str]) -> None:
    """As a shell asks: words so far, and which of them is to be completed."""
    asked = {"_ST_PREDICT_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    result = CliRunner().invoke(main, [], prog_name="st-predict", env=asked)
    assert result.exit_code == 0
    assert set(result.output.split()) == completed


@pytest.mark.one_python
def test_demo_writes_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stp.tl, "train", partial(stp.tl.train, encoder="tiny", tile_um=112, max_epochs=3, members=1))
    small = partial(stp.datasets.synthetic_tissue, n_genes=40, size_um=900.0)
    monkeypatch.setattr(stp.datasets, "synthetic_tissue", small)
    out = tmp_path / "demo"
    result = run("demo", "--out", out)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out / "scores.csv", index_col="method")
    assert list(table.index) == ["mean", "ridge", "nh2st"]
    assert table.loc["mean", "PCC"] == 0
    for name in ("maps.png", "alignment.png", "history.png", "gene_scores.csv", "model", "predicted.zarr"):
        assert (out / name).exists()
        assert name in result.output
    assert stp.load_model(out / "model").method == "nh2st"

    def drawn(**_: object) -> None:
        raise stp.InputError("drawn", where="-", expected="-", remedy="-")

    monkeypatch.setattr(stp.datasets, "synthetic_tissue", drawn)
    assert run("demo", "--out", out).output.startswith("Error: drawn")  # an earlier demo may be replaced
    (out / "thesis.txt").write_text("years of work")  # in a demo
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "scores.csv").write_text("mine")  # a file named like one of a demo's
    for place in (out, foreign):
        before = listed(place)
        refused = run("demo", "--out", place)
        assert refused.exit_code == 2
        assert "not an earlier demo" in refused.output
        assert listed(place) == before
