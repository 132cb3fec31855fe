"""A fit that is broken off ends as one that was not, and a folder of another training is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch

from st_predict.core.encoders.registry import build_encoder
from st_predict.core.errors import InputError
from st_predict.core.fitting import checkpoints
from st_predict.core.fitting.checkpoints import Checkpoints, FitCheckpoint
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run, Watch, fit_network, new_network
from st_predict.core.inputs.kinds import FeatureInputs, PixelInputs
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.nh2st import NH2STConfig
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import build_method

SMALL = NH2STConfig(width=16, hidden=16, neighbors=4)
EPOCHS = 6


class Broken(Exception):
    pass


class BreakOff(lightning.Callback):
    """Stops a fit where a killed process would, before a step by its number."""

    def __init__(self, step: int) -> None:
        self.left = step

    def on_train_batch_start(self, *_: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise Broken


def fit(
    spots: SpotSet, path: Path | None = None, *, stop: int | None = None, pixels: bool = False, **config: Any
) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Weights and records of a fit that stops on a held-out section."""
    inputs = PixelInputs(InputConfig(), build_encoder("tiny"), []) if pixels else FeatureInputs(InputConfig(), [])
    train, held = spots.of_sections([0, 1]), {2: spots.of_sections([2])}
    method: Any = new_network(
        lambda: build_method("nh2st", SMALL, 24 if pixels else spots.tiles.shape[1], spots.expression.shape[1]), 0
    )
    method.before_fit(train.reference())
    records = fit_network(
        method,
        inputs,
        train,
        FitConfig(**{"batch_size": 8, "patience": 2, "decay_every": 2, **config}),
        epochs=EPOCHS,
        held_out=held,
        seed=0,
        run=Run(
            Hardware("cpu"),
            Watch(
                callbacks=[] if stop is None else [BreakOff(stop)],
                checkpoint=None if path is None else FitCheckpoint(path, of="a fit"),
            ),
        ),
    )
    weights = dict(method.state_dict())
    if inputs.encoder:
        weights |= {f"encoder.{name}": value for name, value in inputs.encoder.state_dict().items()}
    return weights, [
        (
            r.epoch,
            r.losses,
            {n: (s.pcc.tolist(), s.mse, s.rows.tolist(), s.predicted.tolist()) for n, s in r.held_out.items()},
        )
        for r in records
    ]


@pytest.fixture(params=["features", "pixels"])
def spots(request: pytest.FixtureRequest, spot_set: Callable[..., SpotSet]) -> SpotSet:
    found = spot_set()
    if request.param == "features":
        return found
    generator = torch.Generator().manual_seed(0)
    shape = (len(found.tiles), 1, 32, 32, 3)
    return found.with_tiles(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator))


@pytest.mark.one_python
def test_a_fit_broken_off_ends_as_one_that_was_not(
    spots: SpotSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = spots.tiles.dim() > 2
    whole, records = fit(spots, pixels=pixels)
    assert fit(spots, tmp_path / "whole.ckpt", pixels=pixels)[1] == records
    for every, stops in ((300.0, [7, 4, 0, 6]), (0.0, [2, 1, 8, 3])):  # steps of the runs that are broken off in turn
        monkeypatch.setattr(checkpoints, "_EVERY_SECONDS", every)
        path = tmp_path / f"{every}.ckpt"
        for stop in stops:
            with pytest.raises(Broken):
                fit(spots, path, stop=stop, pixels=pixels)
            torch.rand(stop)
        weights, again = fit(spots, path, pixels=pixels)
        assert again == records and len(records) > 2
        assert weights.keys() == whole.keys()
        for name, values in whole.items():
            assert torch.equal(weights[name], values), name
        assert not [file for file in tmp_path.iterdir() if file.suffix != ".ckpt"]


def test_what_was_run_is_not_run_again(
    spot_set: Callable[..., SpotSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_EVERY_SECONDS", 0.0)
    path, spots = tmp_path / "fit.ckpt", spot_set()
    with pytest.raises(Broken):
        fit(spots, path, stop=9)
    state = torch.load(path, weights_only=True)
    assert (len(state["records"]), state["batch"]) == (1, 2), "six batches an epoch; the ninth is before its third"
    fit(spots, path)
    assert fit(spots, path, stop=0)[1] == fit(spots)[1], "a finished fit runs no step"


def test_what_diverged_is_not_kept(
    spot_set: Callable[..., SpotSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_EVERY_SECONDS", 0.0)
    with pytest.raises(InputError, match=r"diverged in epoch \d+, step \d+ of \d+ run: the losses are mse (nan|inf)"):
        fit(spot_set(), tmp_path / "fit.ckpt", learning_rate=1e30)
    state = torch.load(tmp_path / "fit.ckpt", weights_only=True)
    assert all(torch.isfinite(loss) for step in state["losses"] for loss in step.values())


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_file_is_named_and_its_fit_run_anew(
    cut: bool, spot_set: Callable[..., SpotSet], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A byte that flipped among the weights would be read as if nothing had happened."""
    path, spots = tmp_path / "fit.ckpt", spot_set()
    weights, records = fit(spots, path)
    content = path.read_bytes()
    place = content.index(b"data/") + 5000
    path.write_bytes(content[:1000] if cut else content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
    found, again = fit(spots, path)
    assert caplog.messages == [f"{path} is damaged, or of another fit; this one is run anew"]
    assert again == records and all(torch.equal(found[name], value) for name, value in weights.items())
    assert path.read_bytes()[-73:] != content[:1000][-73:] and fit(spots, path, stop=0)[1] == records


SETTINGS = {"seed": 0, "panel": ["a", "b"], "section A": "0123", "recipe": {"fit": {"rate": 0.5, "size": 64}}}


def test_the_same_training_is_gone_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "training"
    Checkpoints(folder, resume=True, made_from=SETTINGS)
    assert Checkpoints(folder, resume=True, made_from=SETTINGS).of_fit("inner fold 1/5") is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "seed (0, now 1)"),
        ({"section A": "4567"}, "section A"),
        ({"section B": "0123"}, "section B"),
        ({"recipe": {"fit": {"rate": 0.1, "size": 64}}}, "recipe.fit.rate (0.5, now 0.1)"),
        ({"recipe": {"fit": {"rate": 0.5}}}, "recipe.fit.size (64, now None)"),
        ({"seed": 1, "panel": ["a"]}, "seed (0, now 1), panel (['a', 'b'], now ['a'])"),
    ],
)
def test_another_training_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    Checkpoints(tmp_path, resume=False, made_from=SETTINGS)
    with pytest.raises(InputError) as error:
        Checkpoints(tmp_path, resume=True, made_from={**SETTINGS, **changes})
    assert error.value.what.endswith(f"other values of {said}")


def test_a_training_is_not_begun_over_another(tmp_path: Path) -> None:
    Checkpoints(tmp_path, resume=False, made_from=SETTINGS)
    with pytest.raises(InputError, match="holds a training") as error:
        Checkpoints(tmp_path, resume=False, made_from=SETTINGS)
    assert "resume=True" in error.value.remedy


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no training"):
        Checkpoints(tmp_path, resume=True, made_from=SETTINGS)
