"""The control: nothing that ties a spot's image to its expression survives, and sections keep what they own."""

from __future__ import annotations

import pytest
import torch

from st_predict.core.errors import InputError
from st_predict.core.methods.interface import Batch, Reference
from st_predict.core.methods.registry import METHODS, build_method
from st_predict.core.methods.ridge import RidgeConfig
from st_predict.core.methods.shuffled import ShuffledConfig
from st_predict.core.metrics import mean_pearson

D, G, N = 12, 30, 240


def linear_reference(n: int = N, *, sections: int = 3, offset: float = 0.0, seed: int = 0) -> Reference:
    """Expression that is linear in the tiles, with little noise; sections differ by an offset of both."""
    generator = torch.Generator().manual_seed(seed)
    folds = torch.arange(n) * sections // n
    tiles = torch.randn(n, D, generator=generator)
    weight = torch.randn(D, G, generator=torch.Generator().manual_seed(77))
    expression = tiles @ weight + 0.3 * torch.randn(n, G, generator=generator) + offset * folds[:, None]
    return Reference(tiles + offset * folds[:, None], expression, folds, [torch.arange(n)], torch.zeros(n, 2))


def predicted(method: torch.nn.Module, tiles: torch.Tensor) -> torch.Tensor:
    rows = torch.arange(len(tiles))
    return method.predict(Batch(tiles, rows, rows[:, None][:, :0], torch.zeros(len(tiles), 2)))


def fitted(name: str, config: object, reference: Reference) -> torch.nn.Module:
    method = build_method(name, config, D, G)
    method.after_fit(reference)
    return method


def test_no_relation_is_kept_where_ridge_finds_it() -> None:
    train, new = linear_reference(), linear_reference(seed=1)
    scores = [
        mean_pearson(predicted(fitted("shuffled", ShuffledConfig(shuffle), train), new.tiles), new.expression)
        for shuffle in range(8)
    ]
    ridge = mean_pearson(predicted(fitted("ridge", RidgeConfig(), train), new.tiles), new.expression)
    assert ridge > 0.9
    assert abs(sum(scores) / len(scores)) < 0.1 and max(map(abs, scores)) < 0.5


def test_is_ridge_on_tiles_permuted_within_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fold keeps its own tiles, in another order; expression stays where it was."""
    reference = linear_reference()
    method = build_method("shuffled", ShuffledConfig(), D, G)
    seen: list[Reference] = []
    monkeypatch.setattr(method.ridge, "after_fit", seen.append)
    method.after_fit(reference)
    (found,) = seen
    assert torch.equal(found.expression, reference.expression) and torch.equal(found.folds, reference.folds)
    for fold in range(3):
        own = reference.folds == fold
        given, true = found.tiles[own], reference.tiles[own]
        assert torch.equal(given[given[:, 0].argsort()], true[true[:, 0].argsort()])
        assert (given == true).all(dim=1).float().mean() < 0.1


def test_what_differs_between_sections_can_still_be_learned() -> None:
    reference = linear_reference(offset=8.0)
    found = predicted(fitted("shuffled", ShuffledConfig(), reference), reference.tiles)
    means = torch.stack([found[reference.folds == fold].mean() for fold in range(3)])
    assert (means.diff() > 4).all()


def test_same_number_same_permutation() -> None:
    weights = []
    for disturbance, shuffle in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(disturbance)
        weights.append(fitted("shuffled", ShuffledConfig(shuffle), linear_reference()).ridge.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.allclose(weights[0], weights[2])


def test_prediction_follows_the_true_image() -> None:
    method = fitted("shuffled", ShuffledConfig(), linear_reference())
    tiles = linear_reference(seed=2).tiles
    assert torch.equal(predicted(method, tiles), predicted(method.ridge, tiles))
    assert predicted(method, tiles).std(dim=0).max() > 0


def test_settings() -> None:
    with pytest.raises(InputError, match="shuffle=-1") as error:
        ShuffledConfig(-1)
    assert error.value.where == "params of shuffled" and error.value.expected == "shuffle must not be negative"
    assert list(METHODS)[:2] == ["mean", "shuffled"]
