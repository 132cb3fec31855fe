"""Every preset beside its publication: what differs is explained, what is explained differs, and the docs say the same."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from lightning.pytorch import Callback

import st_predict as stp
from st_predict.cli import main
from st_predict.cli.preset_facts import FACTS, OF_SOME, own_settings, settle
from st_predict.cli.presets import Row, preset_names, preset_table, render
from st_predict.core.errors import InputError
from st_predict.core.fitting.network import _sampler
from st_predict.core.inputs.kinds import FeatureInputs, PixelInputs
from st_predict.core.methods import registry
from st_predict.core.methods.published import NOT_STATED, Published
from st_predict.core.methods.registry import METHODS
from st_predict.core.methods.settle import settle_method

pytestmark = pytest.mark.one_python

DOCS = Path(__file__).resolve().parents[2] / "docs" / "guide" / "methods.md"
PUBLISHED = [name for name, entry in METHODS.items() if entry.published]
PRESETS = [(method, preset) for method in PUBLISHED for preset in preset_names(method)]


@pytest.mark.parametrize(("method", "preset"), PRESETS)
def test_what_differs_is_explained_and_what_is_explained_differs(method: str, preset: str) -> None:
    faults = [
        f"{row.setting}: {row.published} published, {row.here} here, why: {row.why or 'not told'}"
        for row in preset_table(method, preset)
        if row.differs != bool(row.why)
    ]
    assert faults == []


@pytest.mark.parametrize("method", PUBLISHED)
def test_every_setting_is_told_once(method: str) -> None:
    told = [one.setting for one in METHODS[method].published]
    assert len(told) == len(set(told))
    gradient = METHODS[method].method is not METHODS["ridge"].method
    expected = {*own_settings(method), *(set(FACTS) - set(OF_SOME) if gradient else ())}
    assert expected <= set(told)
    built = {one.setting for one in METHODS[method].published if one.built is not None}
    assert not built & (set(FACTS) | set(own_settings(method))), "what a setting says is looked up, never written down"
    assert set(told) <= built | set(FACTS) | set(own_settings(method))


def test_whoever_has_presets_to_choose_from_says_what_was_published() -> None:
    assert {name for name, entry in METHODS.items() if "paper" in entry.presets} <= set(PUBLISHED)


def test_here_is_what_the_settled_recipe_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset that changes changes its table, with nothing written down."""
    entry = METHODS["triplex"]
    paper = entry.presets["paper"]
    changed = dataclasses.replace(
        paper,
        settings=dataclasses.replace(paper.settings, width=256),
        fit=dataclasses.replace(
            paper.fit, batch_size=40, learning_rate=3e-4, schedule="cosine", inner_folds=1, stain_jitter=0.1
        ),
    )
    monkeypatch.setitem(registry.METHODS, "triplex", entry._replace(presets={**entry.presets, "paper": changed}))
    settle.cache_clear()
    here = {row.setting: row.here for row in preset_table("triplex", "paper")}
    settle.cache_clear()
    assert here["width"] == "256" and here["learning rate"] == "0.0003"
    assert here["encoder learning rate"] == "0.0001" and here["learning rate schedule"] == "cosine to 0"
    assert here["batch"] == "40 neighboring spots of a section"
    assert here["epochs"] == "at most 200, stopped by 1 inner fold with patience 10"
    assert here["augmentation"] == "turns and flips and stain jitter 0.1"


@pytest.mark.parametrize(("method", "preset"), PRESETS)
def test_a_batch_is_told_as_it_is_drawn(method: str, preset: str) -> None:
    """The sizes in the words are those that the sampler of a fit asks for."""
    if not METHODS[method].method(1, 1, METHODS[method].presets["default"].settings).needs.gradient:
        return
    recipe = settle_method(method, preset=preset)
    needs = recipe.needs
    asked: list[int] = []

    def blocks(size: int) -> list[np.ndarray]:
        asked.append(size)
        return [np.arange(size)] * 6400  # as many as every batch divides

    encoder: Any = object()
    inputs = (
        PixelInputs(recipe.inputs, encoder, []) if recipe.fit.trainable_encoder else FeatureInputs(recipe.inputs, [])
    )
    module: Any = SimpleNamespace(
        config=recipe.fit, spots=SimpleNamespace(blocks=blocks), method=SimpleNamespace(needs=needs), inputs=inputs
    )
    drawn = len(next(iter(_sampler(module, seed=0))))
    numbers = [int(word) for word in re.findall(r"\d+", dict(rows(method, preset))["batch"])]
    assert numbers[0] == drawn
    assert numbers[1:] in ([], asked)


def rows(method: str, preset: str) -> list[tuple[str, str]]:
    return [(row.setting, row.here) for row in preset_table(method, preset)]


class _Modes(Callback):
    """Whether the encoder's layers were in training mode in any step."""

    def __init__(self) -> None:
        self.seen: set[bool] = set()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen |= {layer.training for layer in pl_module.encoder.modules()}


def test_an_encoder_in_training_keeps_its_batch_norm() -> None:
    sections = stp.datasets.synthetic_tissue(n_sections=1, n_genes=20, size_um=900.0, um_per_px=2.0)
    modes = _Modes()
    stp.tl.train(
        sections, method="stnet", preset="paper", encoder="tiny", genes=5, max_epochs=1, batch_size=8, callbacks=[modes]
    )
    assert modes.seen == {False}
    assert dict(rows("stnet", "paper"))["batch norm of the encoder"] == "kept as pretrained (evaluation mode)"


def test_a_table_as_text_and_as_markdown() -> None:
    text, markdown = render(["ridge"]), render(["ridge"], markdown=True)
    assert (
        text.startswith("ridge: Linear map with an L2 penalty: the baseline of HEST-Benchmark")
        and "preset default, " in text
    )
    assert re.search(r"^setting +published +here +why different$", text, re.M)
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert table[0] == "| setting | published | here | why different |"
    assert len(table) == 2 + len(METHODS["ridge"].published)
    assert {line.count(" | ") for line in table} == {3}
    assert "not stated" not in {row.published for row in preset_table("nh2st", "paper") if row.differs}


def test_the_command_prints_them() -> None:
    asked = CliRunner().invoke(main, ["presets", "stnet", "ridge", "--format", "markdown"])
    assert asked.exit_code == 0
    assert asked.output == render(["stnet", "ridge"], markdown=True) + "\n"
    everything = CliRunner().invoke(main, ["presets"])
    assert everything.output == render(PUBLISHED) + "\n"


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("mean", "no publication of 'mean' to compare with"),
        ("nhst", "there is no 'nhst'"),
        ("auto", "'auto' has no presets: it chooses one of several methods on what is held out"),
    ],
)
def test_a_method_without_a_publication_is_refused(method: str, found: str) -> None:
    with pytest.raises(InputError, match=found):
        preset_names(method)
    refused = CliRunner().invoke(main, ["presets", method])
    assert refused.exit_code == 2
    assert found in refused.output and "expected: ridge, nh2st" in refused.output.lower()


def test_not_stated_is_no_difference() -> None:
    assert Published("width", NOT_STATED, "").why_in("paper") == ""
    row = Row("width", NOT_STATED, "", "64", "")
    assert not row.differs


def test_the_docs_hold_the_present_tables() -> None:
    begin, end = "<!-- st-predict presets --format markdown -->\n", "\n<!-- end of presets -->"
    text = DOCS.read_text(encoding="utf-8")
    held = text.split(begin)[1].split(end)[0]
    assert held == render(PUBLISHED, markdown=True), "give docs/guide/methods.md the output of the command anew"
