"""Expanded rows in pieces against a matrix of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from st_predict.core.inputs import rows as module
from st_predict.core.inputs.rows import Moments, SectionRows, mean_and_std, times_transposed
from st_predict.core.methods.recipe import InputConfig

N, W, CONTEXT = 50, 4, (3, 60)
"""The wider context holds more spots than there are."""


def section(seed: int = 0, *, arrays: bool = False) -> tuple[SectionRows, torch.Tensor]:
    """Spots in no order, some not used; and their expanded rows by a loop over spots."""
    rng = np.random.default_rng(seed)
    features, centers = rng.normal(3, 2, (N, 2, W // 2)).astype(np.float32), rng.uniform(0, 100, (N, 2))
    used, array = rng.random(N) > 0.3, np.arange(N) % 2
    config = InputConfig(context=(3,) if arrays else CONTEXT, standardize="slide")
    flat = features.reshape(N, W).astype(np.float64)
    scored = (flat - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-6)
    expanded = []
    for i in np.flatnonzero(used):
        order = np.argsort(np.linalg.norm(centers - centers[i], axis=1))
        order = [j for j in order if j != i and (not arrays or array[j] == array[i])]
        expanded.append(np.concatenate([scored[i], *(scored[order[:k]].mean(axis=0) for k in config.context)]))
    rows = SectionRows(config, features, centers, used=used, arrays=array if arrays else None)
    return rows, torch.from_numpy(np.stack(expanded))


@pytest.fixture(params=[6, 4096], ids=["in pieces", "whole"])
def _piece_spots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE_SPOTS", request.param)


@pytest.mark.usefixtures("_piece_spots")
@pytest.mark.parametrize("n_used", [30, 20])
def test_spots_that_are_equally_far_weigh_the_same(n_used: int) -> None:
    """On a square array the mean over the nearest 6 is that of 4 and half of each of the next 4; also its transpose."""
    row, column = (v.ravel() for v in np.mgrid[:5, :6])
    centers, features = np.column_stack([column, row]) * 7.0, np.random.default_rng(0).normal(size=(30, 1, 3))
    used = np.arange(30) < n_used
    rows = SectionRows(
        InputConfig(context=(6,), standardize="none"), features.astype(np.float32), centers, used=used
    )  # fmt: skip
    distance = ((centers[:, None] - centers) ** 2).sum(axis=2).round()
    np.fill_diagonal(distance, np.inf)
    last = np.sort(distance, axis=1)[:, 5:6]
    nearer, tied = distance < last, distance == last
    shares = (nearer + tied * (6 - nearer.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)) / 6
    expanded = torch.from_numpy(np.concatenate([features[:, 0], shares @ features[:, 0]], axis=1)[used])
    found = torch.full((n_used, 6), torch.nan)
    for piece in rows:
        found[piece.places] = torch.cat([piece.means(piece.features, k) for k in rows.blocks], dim=1)
    torch.testing.assert_close(found.double(), expanded, rtol=1e-5, atol=1e-6)
    weights = torch.randn(n_used, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        times_transposed([rows], weights).double(), expanded.T @ weights.double(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.usefixtures("_piece_spots")
@pytest.mark.parametrize("arrays", [False, True])
def test_means_are_those_of_a_loop(arrays: bool) -> None:
    rows, expanded = section(arrays=arrays)
    found = torch.full((len(rows), rows.width), torch.nan)
    for piece in rows:
        assert len(piece.places) <= module._PIECE_SPOTS
        found[piece.places] = torch.cat([piece.means(piece.features, k) for k in rows.blocks], dim=1)
    torch.testing.assert_close(found.double(), expanded, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_piece_spots")
def test_product_with_the_transpose() -> None:
    parts = [section(seed) for seed in range(3)]
    expanded = torch.cat([part[1] for part in parts])
    weights = torch.randn(len(expanded), 3, generator=torch.Generator().manual_seed(1))
    found = times_transposed([part[0] for part in parts], weights)
    torch.testing.assert_close(found.double(), expanded.T @ weights.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("_piece_spots")
def test_mean_and_std_of_several_sections() -> None:
    parts = [section(seed) for seed in range(3)]
    expanded = torch.cat([part[1] for part in parts])
    mean, std = mean_and_std([part[0] for part in parts])
    torch.testing.assert_close(mean.double(), expanded.mean(dim=0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(std.double(), expanded.std(dim=0, correction=0), rtol=1e-4, atol=1e-5)


def test_moments_keep_what_varies_little_far_from_zero() -> None:
    rows = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) * 0.01 + 500
    first, *others = [Moments.of(part) for part in rows.split([3, 500, 1, 496])]
    for other in others:
        first = first.join(other)
    assert first.n == 1000
    torch.testing.assert_close(first.mean, rows.double().mean(dim=0), rtol=1e-9, atol=0)
    torch.testing.assert_close(first.std, rows.double().std(dim=0, correction=0), rtol=1e-5, atol=0)


def test_features_are_not_copied_and_stay_as_they_are() -> None:
    features = np.random.default_rng(0).normal(size=(9, 1, 3)).astype(np.float32)
    before = features.copy()
    rows = SectionRows(InputConfig(), features, np.random.default_rng(1).uniform(0, 9, (9, 2)))
    assert rows._flat.data_ptr() == features.ctypes.data
    times_transposed([rows], torch.ones(9, 2))
    assert np.array_equal(features, before)


def test_a_slide_of_few_spots_is_scored_by_a_typical_one() -> None:
    """Wholly where there is one spot, not at all from thirty on, and in between in proportion."""
    rng = np.random.default_rng(0)
    config = InputConfig(context=(), standardize="slide")
    typical = torch.full((6,), 2.0), torch.full((6,), 0.5)
    for n in (1, 16, 30, 40):
        features = rng.normal(5, 3, (n, 2, 3)).astype(np.float32)
        centers = rng.random((n, 2))
        own, alone = (SectionRows(config, features, centers, typical=t) for t in (typical, None))
        flat, share = torch.from_numpy(features).flatten(1), min((n - 1) / 29, 1)
        mean = share * flat.mean(dim=0) + (1 - share) * 2
        scale = share * flat.std(dim=0, correction=0) + (1 - share) * 0.5
        (piece,), (other,) = own, alone
        torch.testing.assert_close(
            piece.features[piece.spots], ((flat - mean) / scale)[piece.places], atol=1e-4, rtol=1e-4
        )
        assert torch.equal(piece.features, other.features) == (n >= 30)
