"""Ridge against its normal equations, its choice of penalty and rank, and the mean."""

from __future__ import annotations

import pytest
import torch

from st_predict.core.errors import InputError
from st_predict.core.methods.interface import Batch, Reference
from st_predict.core.methods.registry import build_method
from st_predict.core.methods.ridge import RidgeConfig
from st_predict.core.metrics import mean_pearson

D, G = 15, 8


def as_reference(tiles: torch.Tensor, expression: torch.Tensor, folds: torch.Tensor) -> Reference:
    return Reference(tiles, expression, folds, [torch.arange(len(tiles))], torch.zeros(len(tiles), 2))


def reference(n: int = 120, noise: float = 0.5, sections: int = 3, seed: int = 0, d: int = D) -> Reference:
    generator = torch.Generator().manual_seed(seed)
    tiles = torch.randn(n, d, generator=generator) * torch.linspace(0.2, 2, d) + 3
    weight = torch.randn(d, G, generator=torch.Generator().manual_seed(77))
    expression = tiles @ weight + noise * torch.randn(n, G, generator=generator) + 5
    return as_reference(tiles, expression, torch.arange(n) * sections // n)


def fitted(config: RidgeConfig, data: Reference) -> torch.nn.Module:
    method = build_method("ridge", config, data.tiles.shape[1], G)
    method.after_fit(data)
    return method


def predict(method: torch.nn.Module, tiles: torch.Tensor) -> torch.Tensor:
    rows = torch.arange(len(tiles))
    return method.predict(Batch(tiles, rows, rows[:, None][:, :0], torch.zeros(len(tiles), 2)))


def closed_form(data: Reference, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and intercept from the normal equations, the penalty relative to the mean eigenvalue."""
    x, y = data.tiles.double(), data.expression.double()
    centered = x - x.mean(dim=0)
    scatter = centered.T @ centered
    scale = torch.diagonal(scatter).sum() / len(scatter)
    weight = torch.linalg.solve(
        scatter + penalty * scale * torch.eye(len(scatter)).double(), centered.T @ (y - y.mean(dim=0))
    )
    return weight, y.mean(dim=0) - x.mean(dim=0) @ weight


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_equals_the_normal_equations(penalty: float) -> None:
    data = reference()
    method = fitted(RidgeConfig(penalties=(penalty,), ranks=(None,)), data)
    weight, intercept = closed_form(data, penalty)
    new = torch.randn(20, D)
    assert torch.allclose(predict(method, new).double(), new.double() @ weight + intercept, atol=1e-4)


def test_rank_projects_on_the_leading_components_of_expression() -> None:
    data = reference()
    method = fitted(RidgeConfig(penalties=(0.1,), ranks=(2,)), data)
    centered = (data.expression - data.expression.mean(dim=0)).double()
    leading = torch.linalg.svd(centered, full_matrices=False).Vh[:2].T
    expected = closed_form(data, 0.1)[0] @ leading @ leading.T
    assert torch.allclose(method.weight.double(), expected, atol=1e-5)


def test_penalty_is_small_where_there_is_no_noise_and_large_where_there_is_little_else() -> None:
    choices = RidgeConfig(penalties=(1e-4, 1.0), ranks=(None,))
    for noise, penalty in ((0.01, 1e-4), (10.0, 1.0)):
        data = reference(n=45, noise=noise, d=30)
        assert torch.allclose(fitted(choices, data).weight.double(), closed_form(data, penalty)[0], atol=1e-4), noise


def test_rank_is_found_where_expression_has_few_programs() -> None:
    generator = torch.Generator().manual_seed(0)
    tiles = torch.randn(60, 30, generator=generator)
    program = tiles[:, :1] @ torch.randn(1, G, generator=generator)
    data = as_reference(tiles, program + 1.0 * torch.randn(60, G, generator=generator), torch.arange(60) // 20)
    weight = fitted(RidgeConfig(penalties=(0.1,), ranks=(None, 1)), data).weight
    assert torch.linalg.matrix_rank(weight, rtol=1e-4) == 1


@pytest.mark.parametrize("seed", range(4))
def test_penalty_is_the_one_that_scores_best_on_sections_left_out(seed: int) -> None:
    """A plain loop: each section in turn is predicted from the others; mean PCC over genes and sections decides."""
    data = reference(n=45, noise=6.0, d=30, seed=seed)
    penalties = tuple(10.0**p for p in torch.arange(-2, 2, 0.25).tolist())
    scores = []
    for penalty in penalties:
        total = 0.0
        for section in range(3):
            held = data.folds == section
            weight, intercept = closed_form(
                as_reference(data.tiles[~held], data.expression[~held], held[~held]), penalty
            )
            found = data.tiles[held].double() @ weight + intercept
            for gene in range(G):
                total += float(torch.corrcoef(torch.stack([found[:, gene], data.expression[held][:, gene]]))[0, 1])
        scores.append(total)
    best = penalties[max(range(len(scores)), key=scores.__getitem__)]
    method = fitted(RidgeConfig(penalties=penalties, ranks=(None,)), data)
    assert torch.allclose(method.weight.double(), closed_form(data, best)[0], atol=1e-5)


def test_more_features_than_spots() -> None:
    data = reference(n=24, d=60)
    method = fitted(RidgeConfig(), data)
    assert torch.isfinite(predict(method, data.tiles)).all()


def naive(data: Reference, config: RidgeConfig) -> tuple[tuple[float, int | None], torch.Tensor]:
    """The choice and its weight, from all rows in memory and every held-out spot predicted."""
    x, y = data.tiles.double(), data.expression.double()

    def solve(rows: torch.Tensor, penalty: float, rank: int | None) -> torch.Tensor:
        weight = closed_form(data._replace(tiles=x[rows], expression=y[rows]), penalty)[0]
        if rank is None:
            return weight
        leading = torch.linalg.eigh((y[rows] - y[rows].mean(dim=0)).T.cov()).eigenvectors.flip(1)[:, :rank]
        return weight @ leading @ leading.T

    choices = [(penalty, rank) for penalty in config.penalties for rank in config.ranks]
    score = dict.fromkeys(choices, 0.0)
    for fold in data.folds.unique():
        held = data.folds == fold
        for choice in choices:
            predicted = (x[held] - x[~held].mean(dim=0)) @ solve(~held, *choice) + y[~held].mean(dim=0)
            score[choice] += mean_pearson(predicted, y[held])
    best = max(choices, key=lambda choice: score[choice])
    return best, solve(torch.ones(len(x), dtype=torch.bool), *best)


@pytest.mark.parametrize("part", [11, 4096])
@pytest.mark.parametrize(
    "data",
    [
        reference(noise=3.0),
        reference(n=45, noise=5.0, d=60),
        reference(noise=3.0)._replace(tiles=reference(noise=3.0).tiles + 1000),
    ],
    ids=["more spots than inputs", "more inputs than spots", "far from the origin"],
)
def test_equals_the_form_that_holds_all_rows(monkeypatch: pytest.MonkeyPatch, data: Reference, part: int) -> None:
    monkeypatch.setattr("st_predict.core.methods.ridge._PART_SPOTS", part)
    config = RidgeConfig(ranks=(None, 1, 2, 4))
    choice, weight = naive(data, config)
    found = build_method("ridge", config, data.tiles.shape[1], G).double()
    found.after_fit(data)
    assert float((found.weight - weight).norm() / weight.norm()) < 1e-8, choice
    assert torch.allclose(found.intercept, data.expression.double().mean(dim=0), rtol=1e-12)
    assert torch.allclose(found.input_mean, data.tiles.double().mean(dim=0), rtol=1e-12)


@pytest.mark.parametrize("change", [{"penalties": ()}, {"penalties": (0.0,)}, {"ranks": ()}, {"ranks": (None, 0)}])
def test_settings_that_make_no_sense(change: dict) -> None:
    with pytest.raises(InputError, match="must be positive|must be at least 1, or None"):
        RidgeConfig(**change)


def test_mean_is_the_training_mean_whatever_the_image() -> None:
    data = reference()
    method = build_method("mean", None, D, G)
    method.after_fit(data)
    found = predict(method, torch.randn(4, D))
    assert found.shape == (4, G)
    assert torch.allclose(found, data.expression.mean(dim=0).expand(4, G), atol=1e-6)
