"""What chance reaches, against ridge solved at length, and on maps that are smooth or not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from st_predict.core.fitting import control
from st_predict.core.fitting.control import N_SHUFFLES, chosen_pcc, shuffled_pcc
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.metrics import pearson

MakeSpots = Callable[..., SpotSet]


def held(spots: SpotSet, *numbers: int) -> dict[int, SpotSet]:
    return {number: spots.of_sections([number]) for number in numbers}


def test_one_shuffle_is_ridge_on_permuted_tiles(spot_set: MakeSpots) -> None:
    spots = spot_set()
    train, shown = spots.of_sections([0, 1]), held(spots, 2)
    found = shuffled_pcc(train, shown, seed=3)
    assert list(found) == [2] and found[2].shape == (3, N_SHUFFLES, train.expression.shape[1])
    for shuffle in (0, 17):
        rows = control._shuffled(train.sections, 3, shuffle)
        assert torch.equal(train.sections[rows], train.sections) and len(rows.unique()) == len(rows)
        x, y = train.tiles[rows].double(), train.expression.double()
        x, y = x - x.mean(dim=0), y - y.mean(dim=0)
        scatter = x.T @ x / len(x)
        for number, penalty in enumerate((0.1, 1.0, 10.0)):
            added = penalty * torch.linalg.eigvalsh(scatter).mean() * torch.eye(len(scatter))
            weight = torch.linalg.solve(scatter + added, x.T @ y / len(x))
            expected = pearson(shown[2].tiles.double() @ weight, shown[2].expression)
            torch.testing.assert_close(found[2][number, shuffle], expected, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(found[2][:, 0], found[2][:, 17])


def test_the_penalty_is_the_best_on_all_that_is_held_out() -> None:
    """One for all sections and genes, another for another shuffle."""
    one = torch.tensor([[[0.1, 0.3], [0.0, 0.0]], [[0.0, 0.2], [0.2, -0.1]]])  # penalty, shuffle, gene
    other = torch.tensor([[[0.1, 0.1], [0.0, 0.0]], [[0.5, 0.1], [0.1, 0.1]]])
    torch.testing.assert_close(chosen_pcc([one, other]), torch.tensor([[0.25, 0.15], [0.15, 0.0]]))


def test_a_section_is_shuffled_alike_in_all_folds() -> None:
    """As the sections of one data set of shuffled images; not so other sections, shuffles and seeds."""
    one, other = torch.tensor([0] * 30 + [1] * 40), torch.tensor([1] * 40 + [2] * 20)
    first = control._shuffled(one, 0, 5)
    assert torch.equal(first[30:] - 30, control._shuffled(other, 0, 5)[:40])
    assert not torch.equal(first, control._shuffled(one, 0, 6)) and not torch.equal(first, control._shuffled(one, 1, 5))


def test_same_seed_same_chance(spot_set: MakeSpots) -> None:
    spots = spot_set()
    first, again, other = (shuffled_pcc(spots.of_sections([0, 1]), held(spots, 2), seed=seed)[2] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_smooth_maps_are_alike_by_chance_more_often(spot_set: MakeSpots) -> None:
    """Rough ones scatter as independent spots do; of smooth ones few spots count, and chance reaches further."""
    sizes, generator = ((12, 12), (12, 12), (12, 12)), torch.Generator().manual_seed(0)
    spots = spot_set(sizes)
    spread = {}
    for name in ("rough", "smooth"):
        maps = torch.randn(3, 30, 12, 12, generator=generator)
        if name == "smooth":
            maps = torch.nn.functional.avg_pool2d(maps, 7, stride=1, padding=3, count_include_pad=False)
        values = maps.flatten(2).transpose(1, 2).reshape(-1, 30)
        found = spots.with_tiles(values[:, :10]).with_expression(values[:, 10:])
        spread[name] = _rms(shuffled_pcc(found.of_sections([0, 1]), held(found, 2), seed=0)[2])
    assert abs(spread["rough"] - 1 / np.sqrt(144)) < 0.02
    assert spread["smooth"] > 2.5 * spread["rough"]


def test_of_many_spots_some_are_shuffled(spot_set: MakeSpots, monkeypatch) -> None:
    spots = spot_set(((40, 40), (30, 40), (30, 30)))
    train, shown = spots.of_sections([0, 1]), held(spots, 2)
    whole = _rms(shuffled_pcc(train, shown, seed=0)[2])
    monkeypatch.setattr(control, "_MOST_SPOTS", 700)
    assert abs(_rms(shuffled_pcc(train, shown, seed=0)[2]) - whole) < 0.3 * whole


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
