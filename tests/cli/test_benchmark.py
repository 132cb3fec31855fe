"""The benchmark command over real stores on disk: what it writes, keeps and refuses, and its page in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import wraps
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import st_predict as stp
from st_predict.cli import benchmark, main
from st_predict.cli.benchmark import SEEDS, run_benchmark
from st_predict.cli.benchmark_checks import PARTS, split_methods
from st_predict.cli.data_sets import SETTINGS, find_studies
from st_predict.cli.summary import CEILING
from st_predict.core.errors import InputError
from st_predict.core.methods.registry import METHODS
from st_predict.core.protocol import fold as protocol_fold
from st_predict.tl._comparison import CONTROLS
from st_predict.tl._scores_table import ScoreTable, assemble

TINY = ["--encoder", "tiny", "--tile-um", "112", "--genes", "20", "--jobs", "1", "--seeds", "2"]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["benchmark", *map(str, arguments)])


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three small drawn sections of two subjects, written; the name of one looks like a tag."""
    folder = tmp_path_factory.mktemp("stores")
    tissue = stp.datasets.synthetic_tissue(n_sections=3, n_subjects=2, n_genes=40, size_um=1200.0)
    paths = [folder / name for name in ("S1.zarr", "<b>.zarr", "S3.zarr")]
    for path, sdata in zip(paths, tissue.values(), strict=True):
        sdata.write(path)
    return paths


@pytest.fixture(scope="module")
def made(stores: list[Path], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What the command wrote and printed for them."""
    out = tmp_path_factory.mktemp("made") / "out"
    result = run(*stores, "--methods", "stnet, ridge", "--out", out, *TINY)
    assert result.exit_code == 0, result.output
    return SimpleNamespace(out=out, output=result.output)


def test_command_writes_what_it_names(made: SimpleNamespace) -> None:
    summary, scores, genes = (pd.read_csv(made.out / f"{n}.csv") for n in ("summary", "scores", "gene_scores"))
    assert {table.columns[0] for table in (summary, scores, genes)} == {"dataset"}
    assert set(summary["method"]) == {"mean", "shuffled", "ridge", "stnet", CEILING}
    rows = scores[(scores["metric"] == "pcc") & (scores["gene_set"] == "heg20")]
    again = rows.groupby(["method", "fold", "seed"])["value"].mean().groupby(["method", "fold"]).mean()
    again = again.groupby("method").mean()
    for method, pcc in summary.set_index("method")["pcc"].drop(CEILING).items():
        assert pcc == pytest.approx(again[method])
        assert f"{pcc:.3f}" in made.output
    assert set(rows["section"]) == {"S1", "<b>", "S3"}
    assert len(genes) == (1 + 2 + 1 + 2) * 3 * 20, "mean, shuffled, ridge, stnet by their seeds"
    assert "20 genes, 2 folds, 2 seeds, leave one subject out\ninputs of all: tiny, tiles of 112 um" in made.output
    had = summary.set_index("method")
    assert had["networks"].drop(CEILING).to_dict() == {"mean": 0, "shuffled": 0, "ridge": 0, "stnet": 1}
    assert had.loc["stnet", "seeds"] == 2 and (had["seconds"].drop(CEILING) > 0).all()
    page = (made.out / "index.html").read_text(encoding="utf-8")
    assert "leave one subject out" in page and "--methods 'stnet, ridge'" in unescape(page)
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=\"(?!data:)|@import|url\(", page)
    assert sorted(p.name for p in made.out.iterdir()) == [
        "gene_scores.csv", "index.html", "scores.csv", "scores.png", "sections", "summary.csv"
    ]  # fmt: skip
    assert not [p for p in made.out.rglob("*") if p.name.startswith(".")]


@pytest.mark.one_python
def test_gene_sets_are_scored_beside_the_panel(stores: list[Path], tmp_path: Path) -> None:
    names = [str(name) for name in stp.datasets.synthetic_tissue(n_genes=40, size_um=1200.0)["S1"]["table"].var_names]
    (tmp_path / "sets.gmt").write_text(f"odd set\t\t{names[1]}\t{names[3]}\nfirst set\t\t{names[0]}\n")
    options = ["--methods", "ridge", "--out", tmp_path / "out", "--gene-sets", tmp_path / "sets.gmt"]
    result = run(*stores, *options, *TINY)
    assert result.exit_code == 0, result.output
    scores, summary = (pd.read_csv(tmp_path / "out" / f"{n}.csv") for n in ("scores", "summary"))
    ridge = scores[(scores["metric"] == "pcc") & (scores["method"] == "ridge")]
    means = ridge.groupby(["gene_set", "fold"])["value"].mean().groupby("gene_set").mean()
    assert set(means.index) == {"heg20", "gene_sets"}
    assert summary.set_index("method").loc["ridge", "pcc"] == pytest.approx(means["heg20"])
    assert ", 20 genes, " in result.output
    assert "odd set, first set" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


@pytest.mark.one_python
def test_second_run_fits_nothing(
    made: SimpleNamespace, stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(made.out, tmp_path / "out")
    fits: list[str] = []
    fit = protocol_fold.fit_fold
    monkeypatch.setattr(
        protocol_fold, "fit_fold", lambda study, one, fold: fits.append(one.label) or fit(study, one, fold)
    )
    (out / "index.html").unlink()
    again = run(*stores, "--methods", "stnet", "--out", out, *TINY)
    assert again.exit_code == 0, again.output
    assert fits == []
    assert (out / "index.html").exists()
    pd.testing.assert_frame_equal(pd.read_csv(out / "summary.csv"), pd.read_csv(made.out / "summary.csv"))


@pytest.mark.one_python
def test_failed_fold_is_named(stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_fold = protocol_fold.run_fold

    def breaking(study: Any, candidate: Any, fold: Any) -> Any:
        if candidate.label == "ridge" and fold.name == "S3":
            raise ValueError("singular <matrix>")
        return run_fold(study, candidate, fold)

    monkeypatch.setattr("st_predict.tl._cross_validate.run_fold", breaking)
    result = run(*stores, "--methods", "mean", "--groups", "section", "--out", tmp_path / "out", *TINY)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "ridge, with S3 held out (seed 0): ValueError: singular &lt;matrix&gt;" in page
    rows = pd.read_csv(tmp_path / "out" / "summary.csv", index_col="method")[["folds", "folds_failed"]]
    assert rows.loc["ridge"].tolist() == [2, 1] and rows.loc["mean"].tolist() == [3, 0]


@pytest.mark.one_python
def test_when_all_fails_it_is_said_and_nothing_is_lost(
    stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("out of order")

    monkeypatch.setattr("st_predict.tl._cross_validate.run_fold", broken)
    result = run(*stores, "--methods", "mean", "--out", tmp_path / "out", *TINY)
    assert result.exit_code == 1
    assert (
        "failed, and left out of all means: mean with P1 held out (seed 0): ValueError: out of order" in result.output
    )
    assert len(pd.read_csv(tmp_path / "out" / "sections" / "failures.csv")) == (1 + 2 + 1) * 2
    assert "out of order" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


@pytest.mark.one_python
def test_page_says_what_is_still_to_come(stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    def lost_on_the_way(_path: Path | None) -> Any:
        reads.append("mob")
        if len(reads) == 2:
            raise ConnectionError("no network")
        return stp.datasets.synthetic_tissue(n_sections=2, n_subjects=2, n_genes=40, size_um=1200.0)

    monkeypatch.setattr(stp.datasets, "mob", lost_on_the_way)
    result = run("mob", *stores, "--methods", "ridge", "--out", tmp_path / "out", "--encoder", "tiny", "--jobs", "1")
    assert result.exit_code == 2 and "no network" in result.output
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "still to come are mob" in page and "<h2>sections</h2>" in page


def test_what_cannot_be_done_on_one_set_is_said_before_any_is_begun(
    stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_one_subject(_path: Path | None) -> Any:
        return stp.datasets.synthetic_tissue(n_sections=2, n_subjects=1, n_genes=40, size_um=1200.0)

    fits: list[object] = []
    monkeypatch.setattr(protocol_fold, "fit_fold", lambda *arguments: fits.append(arguments))
    monkeypatch.setattr(stp.datasets, "als", of_one_subject)
    options = ["--methods", "ridge", "--groups", "subject", "--out", tmp_path / "out", "--encoder", "tiny"]
    result = run(*stores, "als", *options)
    assert result.exit_code == 2 and "als: sections cannot be split by subject" in result.output
    assert fits == [] and not list((tmp_path / "out").iterdir())


def test_public_sets_bring_their_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, dict[str, Any]] = {}

    @wraps(stp.tl.cross_validate)
    def pretended(sections: Any, **settings: Any) -> ScoreTable:
        asked[sections] = settings
        return assemble([], [], split="")

    monkeypatch.setattr(stp.tl, "cross_validate", pretended)
    monkeypatch.setattr(benchmark, "check_study", lambda *_: None)
    for name in SETTINGS:
        monkeypatch.setattr(stp.datasets, name, lambda folder, name=name: name)
    run_benchmark(["mob", "als"], methods=["ridge"], out=tmp_path / "a", settings={"genes": 30})
    assert list(asked) == ["mob", "als"]
    shared = {"methods": {"ridge": {}}, "seeds": SEEDS, "genes": 30}
    assert asked["als"] == {**shared, "out": tmp_path / "a" / "als"}
    assert asked["mob"] == {**shared, **SETTINGS["mob"], "out": tmp_path / "a" / "mob"}
    run_benchmark(["mob"], methods=["ridge"], out=tmp_path / "b", settings={"min_counts": 7})
    assert asked["mob"]["min_counts"] == 7 and asked["mob"]["tile_px"] == SETTINGS["mob"]["tile_px"]
    one = {name: {} if name in CONTROLS else {"members": 1} for name in METHODS}
    everything = {**one, **{name: {"members": 1, **part} for name, part in PARTS.items()}}
    for options, expected in [({}, everything), ({"parts": False}, one)]:
        run_benchmark(["mob"], out=tmp_path / f"c{len(expected)}", settings={"seeds": 1}, **options)
        assert asked["mob"]["methods"] == expected and asked["mob"]["seeds"] == 1


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("all", ["all"]),
        (" nh2st,triplex , ", ["nh2st", "triplex"]),
        ("nh2st, no contrast", ["nh2st, no contrast"]),
        ("nh2st,nh2st,no contrast,ridge", ["nh2st", "nh2st, no contrast", "ridge"]),
        ("nh2st, no contrastive", ["nh2st", "no contrastive"]),
    ],
)
def test_parts_have_a_comma_in_their_name(typed: str, names: list[str]) -> None:
    assert split_methods(typed) == names


@pytest.mark.one_python
def test_parts_of_nh2st_are_rows_of_their_own(stores: list[Path], tmp_path: Path) -> None:
    """A part by name: without its contrast NH2ST has no contrastive loss."""
    seen: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "st_predict.tl._cross_validate.run_fold",
            lambda _study, one, _fold: seen.append({"label": one.label, **vars(one.plan.recipe.settings)}) or 1 / 0,
        )
        result = run(
            *stores, "--methods", "nh2st, no contrast,nh2st, no neighbor branch", "--out", tmp_path / "o", *TINY
        )
    assert result.exit_code == 1, result.output
    weights = {one["label"]: (one["query_weight"], one["neighbor_weight"]) for one in seen if "query_weight" in one}
    assert weights == {"nh2st, no contrast": (0, 0), "nh2st, no neighbor branch": (0.1, 0)}


def test_data_that_is_meant(stores: list[Path], tmp_path: Path) -> None:
    for name in ("mob", "als", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "sections.csv").write_text("dataset,section\nals,A\nher2st,B\nmob,C\nother,D\n")
    found = find_studies([tmp_path, stores[0], "her2st", stores[1]])
    assert [study.name for study in found] == ["sections", "als", "mob", "her2st"]
    assert set(found[0].read()) == {"S1", "<b>"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{S}", "--methods", "ridge,nh3st", "--out", "{tmp}/o"], "did you mean nh2st"),
        (["{S}", "--methods", ",", "--out", "{tmp}/o"], "no method is named"),
        (["{S}", "--out", "{mine}"], "is not an earlier benchmark"),
        (["{S}", "--out", "{mine}/index.html"], "is not an earlier benchmark"),
        (["{S}", "--out", "{mine}/index.html/o"], "cannot be written to"),
        (["hers2t", "--out", "{tmp}/o"], "did you mean her2st"),
        (["{mine}", "--out", "{tmp}/o"], "is no Zarr store and holds no public sets"),
        (["als", "mob", "als", "--out", "{tmp}/o"], "als is given 2 times"),
        (["{S}", "{S}", "--out", "{tmp}/o"], "are one store\n  where:    DATA"),
        (["{S}", "{mine}/{S.name}", "--out", "{tmp}/o"], "1 of 2 stores share a name with another"),
        (["mob", "--tile-um", "112", "--out", "{tmp}/o"], "mob states no scale"),
        (["mob", "--layer", "raw", "--out", "{tmp}/o"], "public sets leave no choice of it"),
        (["mob", "--out", "{earlier}"], "holds a benchmark of als as well"),
    ],
)
def test_user_errors_before_anything_is_read(
    arguments: list[str], said: str, stores: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("was read")

    monkeypatch.setattr("spatialdata.read_zarr", refused)
    for name in SETTINGS:
        monkeypatch.setattr(stp.datasets, name, refused)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("a page of mine")
    earlier = tmp_path / "mine" / "earlier"
    (earlier / "als" / "folds").mkdir(parents=True)
    shutil.copytree(stores[0], mine / stores[0].name)
    result = run(*[a.format(S=stores[0], tmp=tmp_path, mine=mine, earlier=earlier) for a in arguments])
    assert result.exit_code == 2, result.output
    assert said in result.output and "remedy" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["mine"] and (mine / "index.html").read_text() == "a page of mine"


def test_sections_that_cannot_be_split_are_refused(stores: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to hold out"):
        run_benchmark([stores[0]], methods=["ridge"], out=tmp_path / "o", settings={"encoder": "tiny"})


def browse(page: Path, width: int, *options: str) -> str:
    """What headless Chromium prints of a page."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            f"--user-data-dir={page.parent / 'profile'}", f"--window-size={width},2600",
            "--virtual-time-budget=3000", *options, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.one_python
@pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the path")
def test_page_in_a_browser(made: SimpleNamespace, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    shutil.copy(made.out / "index.html", page)
    browse(page, 1200, f"--screenshot={tmp_path / 'shot.png'}")
    with Image.open(tmp_path / "shot.png") as image:
        shot = np.asarray(image.convert("RGB")).astype(int)
    assert shot.shape[1] == 1200
    for color in ((0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00)):  # the mark of a method and of ridge, in pictures only
        assert (np.abs(shot - color).max(axis=2) < 8).sum() > 50

    # The page runs no script: this asks the browser what it made of it, on a wide and a narrow screen.
    asked = (
        "<script>onload = () => document.body.dataset.seen = JSON.stringify({"
        "pictures: [...document.images].map(i => [i.naturalWidth, i.clientWidth]),"
        "rows: [...document.querySelectorAll('table')].map(t => t.rows.length),"
        "names: [...document.querySelectorAll('tbody th')].map(t => t.innerText),"
        "beyond: document.documentElement.scrollWidth - document.documentElement.clientWidth})</script></body>"
    )
    probe = tmp_path / "probe.html"
    probe.write_text(page.read_text(encoding="utf-8").replace("</body>", asked), encoding="utf-8")
    for width in (1200, 500):
        dom = browse(probe, width, "--dump-dom")
        seen = json.loads(unescape(re.search(r'data-seen="([^"]*)"', dom)[1]))
        assert len(seen["pictures"]) == 3 and all(natural > 500 < 2 * shown for natural, shown in seen["pictures"])
        assert seen["rows"] == [2, 6, 7, 5]  # what was compared, summary, folds and how far they lie off, as in papers
        assert {"stnet", "tuned ridge", "sections"} <= set(seen["names"])
        assert seen["beyond"] <= 0  # tables scroll by themselves
