"""A training that is told to end fails, says what is kept, and goes on from there; Ctrl-C stays Ctrl-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
from click.testing import CliRunner
from spatialdata import SpatialData

import st_predict as stp
from st_predict.cli import main
from st_predict.core.fitting.module import FitModule

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"), pytest.mark.one_python]


class Sent(lightning.Callback):
    """Sends this process a signal in the second epoch of the final fit."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.records and batch_idx == 1:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def train(make_section: Callable[..., SpatialData], quick: dict[str, Any]) -> Callable[..., Any]:
    return lambda **settings: stp.tl.train([make_section("A", 0), make_section("B", 1)], **quick, **settings)


def test_told_to_end_it_fails_and_goes_on_from_what_was_kept(
    train: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "kept"
    with pytest.raises(SystemExit) as ended:
        train(callbacks=[Sent(signal.SIGTERM)], checkpoint_dir=folder)
    assert ended.value.code == 143
    said = caplog.messages[-1]
    assert said.startswith(f"ended by SIGTERM. No new model was made; kept in {folder}: ")
    assert "blocks of features and the fits" in said and "resume=True (--resume) goes on from there" in said
    assert not [one for one in folder.rglob("*") if one.name.startswith(".")], "nothing half written is left"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert train(checkpoint_dir=folder, resume=True).id == train().id


def test_told_to_end_while_tiles_are_encoded(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from st_predict.core.encoders import embed

    monkeypatch.setattr(embed, "tile_encoder", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        train()
    assert ended.value.code == 143
    assert caplog.messages[-1].startswith(
        "ended by SIGTERM. No new model was made, and nothing of the training is kept"
    )


def test_a_handler_of_the_users_own_does_not_make_it_end_well(train: Callable[..., Any]) -> None:
    """Then Lightning notes the signal, and exits at the end of the batch as if all had gone well."""
    seen = []
    signal.signal(signal.SIGTERM, lambda *_: seen.append("mine"))
    try:
        with pytest.raises(SystemExit) as ended:
            train(callbacks=[Sent(signal.SIGTERM)])
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert seen == ["mine"] and ended.value.code == 143


def test_ctrl_c_stays_ctrl_c(train: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            train(callbacks=[Sent(signal.SIGINT)])
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler, "and the next one is heard, too"
    finally:
        signal.signal(signal.SIGINT, before)
    assert caplog.messages[-1].startswith("broken off. No new model was made")


def test_on_the_command_line(
    make_section: Callable[..., SpatialData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_section().write(tmp_path / "A.zarr")
    step = FitModule.training_step

    def sent(self: Any, *arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    monkeypatch.setattr(FitModule, "training_step", sent)
    options = ["--encoder", "tiny", "--genes", "10", "--max-epochs", "2", "--batch-size", "16"]
    arguments = ["train", str(tmp_path / "A.zarr"), "--out", str(tmp_path / "m"), "--checkpoints", str(tmp_path / "c")]
    done = CliRunner().invoke(main, [*arguments, *options])
    assert done.exit_code == 143 and "Error: ended by SIGTERM" in done.output, done.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["A.zarr", "c"]


def test_a_comparison_told_to_end_says_which_folds_are_kept(
    three_sections: dict[str, SpatialData], quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    from st_predict.core.protocol.keep import KeptFolds

    keep = KeptFolds.keep

    def sent(self: Any, *arguments: Any) -> None:
        keep(self, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(KeptFolds, "keep", sent)
    settings = {name: quick[name] for name in ("encoder", "genes")}
    with pytest.raises(SystemExit) as ended:
        stp.tl.cross_validate(three_sections, methods="mean", out=tmp_path / "cv", n_jobs=1, **settings)
    assert ended.value.code == 143
    assert caplog.messages[-1].endswith(f"kept in {tmp_path / 'cv'}; the same call goes on with the others")
    assert len(list((tmp_path / "cv" / "folds").glob("mean-*.json"))) == 1


def test_signatures_are_those_of_the_functions() -> None:
    from inspect import signature

    assert "checkpoint_dir" in signature(stp.tl.train).parameters and stp.tl.train.__name__ == "train"
    assert "seeds" in signature(stp.tl.cross_validate).parameters
