"""The fit by gradient: it stops, it repeats itself, it leaves the caller's state as it was."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from st_predict.core.encoders.registry import build_encoder
from st_predict.core.errors import InputError
from st_predict.core.fitting import module
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run, fit_network, new_network
from st_predict.core.inputs.kinds import FeatureInputs, PixelInputs
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.interface import Batch, Method, Needs
from st_predict.core.methods.nh2st import NH2STConfig
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import build_method
from st_predict.core.model.predict import predict_spots

CPU = Hardware("cpu", 1)
FEATURES = FeatureInputs(InputConfig(), [])
SMALL = NH2STConfig(width=16, hidden=16, neighbors=4, input_noise=0.0)  # its tiles are of no set scale


def fitted(
    spots: SpotSet, *, seed: int = 0, epochs: int = 3, held_out: Any = None, **fit: Any
) -> tuple[Any, list[Any]]:
    method = new_network(lambda: build_method("nh2st", SMALL, spots.tiles.shape[1], spots.expression.shape[1]), seed)
    method.before_fit(spots.reference())
    config = FitConfig(**{"batch_size": 8, **fit})
    records = fit_network(
        method, FEATURES, spots, config, epochs=epochs, held_out=held_out or {}, seed=seed, run=Run(CPU)
    )
    return method, records


def test_losses_fall_and_are_recorded(spot_set: Callable[..., SpotSet]) -> None:
    method, records = fitted(spot_set(), epochs=40, learning_rate=1e-2)
    assert [record.epoch for record in records] == list(range(1, 41))
    assert set(records[0].losses) == {"mse", "query", "neighbor"} and records[0].held_out == {}
    assert records[-1].losses["mse"] < 0.5 * records[0].losses["mse"]
    assert not method.training and not any(p.is_cuda for p in method.parameters())


def test_a_fit_that_diverges_is_an_error(spot_set: Callable[..., SpotSet]) -> None:
    with pytest.raises(
        InputError, match=r"diverged in epoch \d+, step \d+ of 9 run: the losses are mse (nan|inf)"
    ) as error:
        fitted(spot_set(), learning_rate=1e30)
    assert "below 1e+30" in error.value.remedy


def test_same_seed_same_weights(spot_set: Callable[..., SpotSet]) -> None:
    weights = []
    for seed, disturbance in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(disturbance)
        method, _ = fitted(spot_set(), seed=seed)
        weights.append(torch.cat([p.detach().flatten() for p in method.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.allclose(weights[0], weights[2])


def test_stops_when_held_out_sections_stop_getting_better(
    monkeypatch: pytest.MonkeyPatch, spot_set: Callable[..., SpotSet]
) -> None:
    scores = iter([0.1, 0.3, 0.2, 0.25, 0.29, 0.5, 0.6])
    monkeypatch.setattr(module, "pearson", lambda predicted, truth: torch.full((1,), next(scores)).double())
    spots = spot_set()
    held = {2: spots.of_sections([2])}
    _, records = fitted(spots.of_sections([0, 1]), epochs=20, held_out=held, patience=3)
    reached = [record.held_out[2].mean_pcc for record in records]
    assert reached == pytest.approx([0.1, 0.3, 0.2, 0.25, 0.29])


def test_runs_all_epochs_where_nothing_is_held_out(spot_set: Callable[..., SpotSet]) -> None:
    assert len(fitted(spot_set(), epochs=9, patience=1)[1]) == 9


def test_held_out_scores_are_those_of_the_network(spot_set: Callable[..., SpotSet]) -> None:
    spots = spot_set()
    held = {1: spots.of_sections([1]), 2: spots.of_sections([2])}
    method, records = fitted(spots.of_sections([0]), epochs=2, held_out=held)
    assert set(records[-1].held_out) == {1, 2}
    for number, section in held.items():
        predicted = predict_spots(method, section)
        mse = float((predicted - section.expression).square().mean())
        score = records[-1].held_out[number]
        assert score.mse == pytest.approx(mse, rel=1e-5)
        torch.testing.assert_close(score.predicted, predicted[score.rows])


class Recording(Method):
    """A method that notes its learning rate's effect: its one weight falls by the learning rate each step."""

    needs = Needs()

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.targets: list[int] = []
        self.modes: list[bool] = []

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        self.targets.append(len(batch.targets))
        self.modes.append(self.training)
        return {"first": self.weight, "second": 2 * self.weight}

    def predict(self, batch: Batch) -> torch.Tensor:
        self.modes.append(self.training)
        return torch.zeros(len(batch.targets), 5) + self.weight


def test_schedule_batches_and_modes(spot_set: Callable[..., SpotSet]) -> None:
    spots = spot_set()
    method = Recording()
    config = FitConfig(batch_size=20, learning_rate=0.1, weight_decay=0.0, decay_every=2, decay=0.5)
    held = {2: spots.of_sections([2])}
    records = fit_network(
        method, FEATURES, spots.of_sections([0, 1]), config, epochs=4, held_out=held, seed=0, run=Run(CPU)
    )
    assert method.targets == [25, 25] * 4, "fifty spots are two batches of twenty and what is left over"
    assert method.modes == [True, True, False] * 4
    assert set(records[0].losses) == {"first", "second"}
    # Adam moves a weight of constant gradient by the learning rate: 2 steps an epoch of .1, .1, .05, .05.
    assert method.weight.item() == pytest.approx(-0.6, abs=1e-5)


class BatchNormEncoder(torch.nn.Module):
    """An encoder of one weight, whose layer would follow the batch if it were in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(1, affine=False)
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.modes: list[bool] = []

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.norm.training)
        return self.norm(tiles.flatten(1).float().mean(dim=1, keepdim=True)) + self.weight


class Passing(Recording):
    """A method whose loss falls with its own weight and with the encoder's."""

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"first": self.weight + batch.tiles.mean()}


def test_encoder_in_training_moves_at_its_own_rate_and_keeps_its_statistics(spot_set: Callable[..., SpotSet]) -> None:
    spots = spot_set()
    spots = spots.with_tiles(torch.randint(0, 256, (len(spots.tiles), 1, 4, 4, 3), dtype=torch.uint8))
    method, encoder = Passing(), BatchNormEncoder().eval()
    config = FitConfig(batch_size=74, learning_rate=0.1, encoder_learning_rate=0.01, weight_decay=0.0)
    held = {0: spots.of_sections([0])}
    fit_network(
        method, PixelInputs(InputConfig(), encoder, []), spots, config, epochs=3, held_out=held, seed=0, run=Run(CPU)
    )
    assert method.weight.item() == pytest.approx(-0.3, abs=1e-5)
    assert encoder.weight.item() == pytest.approx(-0.03, abs=1e-5)
    assert set(encoder.modes) == {False} and encoder.norm.num_batches_tracked == 0


def test_training_leaves_the_global_generator_alone(spot_set: Callable[..., SpotSet]) -> None:
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    fitted(spot_set(), epochs=1)
    assert torch.equal(torch.rand(2), expected)


def test_predictions_do_not_depend_on_how_spots_are_split(spot_set: Callable[..., SpotSet]) -> None:
    spots = spot_set()
    method, _ = fitted(spots)
    whole = predict_spots(method, spots)
    assert torch.allclose(whole, predict_spots(method, spots, batch_size=7), atol=1e-5)
    assert whole.shape == spots.expression.shape


def test_new_networks_leave_the_global_generator_alone() -> None:
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    new_network(lambda: torch.nn.Linear(3, 3), 9)
    assert torch.equal(torch.rand(2), expected)


def test_lightnings_loggers_get_their_levels_back(spot_set: Callable[..., SpotSet]) -> None:
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    fitted(spot_set(), epochs=1)
    assert logger.level == before


class Hungry(Recording):
    """A method whose step runs out of memory on more than twenty targets."""

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        if len(batch.targets) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().loss(batch)


def test_a_batch_too_large_for_memory_is_told_with_one_that_fits(spot_set: Callable[..., SpotSet]) -> None:
    with pytest.raises(InputError, match="a batch of 70 spots does not fit in the memory of cpu") as error:
        fit_network(
            Hungry(),
            FEATURES,
            spot_set(),
            FitConfig(batch_size=70),
            epochs=1,
            held_out={},
            seed=0,
            run=Run(CPU),
        )
    assert "at most about 17" in error.value.expected and "batch_size=17" in error.value.remedy


class Waits(TorchDispatchMode):
    """Notes what would make a GPU wait for the CPU or the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if by_mask or name in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal"):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("pixels", [False, True])
def test_a_training_step_waits_for_nothing(spot_set: Callable[..., SpotSet], pixels: bool) -> None:
    spots = spot_set()
    inputs = PixelInputs(InputConfig(), build_encoder("tiny"), []) if pixels else FEATURES
    if pixels:
        spots = spots.with_tiles(torch.randint(0, 256, (len(spots.tiles), 1, 32, 32, 3), dtype=torch.uint8))
    method: Any = build_method("nh2st", SMALL, 24 if pixels else spots.tiles.shape[1], spots.expression.shape[1])
    fitting = module.FitModule(method, inputs, FitConfig(), spots)
    batch = spots.batch(torch.arange(20))
    with Waits() as waits:
        fitting.training_step(batch, 0).backward()
    assert waits.found == []
    with Waits() as waits:
        float(batch.places.sum())
    assert waits.found == ["_local_scalar_dense"], "what it would have found"
