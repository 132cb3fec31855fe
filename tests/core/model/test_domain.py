"""How unlike the training tiles others are: by plain linear algebra, and on tiles whose strangeness is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from st_predict.core.model.domain import Domain

N_AXES, WIDTH = 3, 12


def tiles(n: int, seed: int, *, shift: float = 0.0) -> torch.Tensor:
    """``(n, 2, 6)``: three strong directions, little in the others, a section's own offset."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(WIDTH, N_AXES, generator=torch.Generator().manual_seed(99))).Q
    rows = torch.randn(n, N_AXES, generator=generator) * torch.tensor([5.0, 3.0, 2.0]) @ axes.T
    rows += 0.3 * torch.randn(n, WIDTH, generator=generator) + shift
    return rows.view(n, 2, WIDTH // 2)


def folds(n: int) -> list[tuple[list[int], list[int]]]:
    return [([i for i in range(n) if i != held], [held]) for held in range(n)]


@pytest.fixture
def sections() -> list[torch.Tensor]:
    return [tiles(200, seed) for seed in range(4)]


def test_distance_is_that_of_plain_linear_algebra(sections: list[torch.Tensor]) -> None:
    domain = Domain.fit(sections, folds(4))
    rows = torch.cat(sections).flatten(1).double().numpy()
    k = domain.axes.shape[1]
    assert k == WIDTH // 2
    centered = rows - rows.mean(axis=0)
    _, values, axes = np.linalg.svd(centered, full_matrices=False)
    within = centered @ axes[:k].T
    outside = (centered - within @ axes[:k]) ** 2
    rest = outside.sum(axis=1)
    plain = np.sqrt(((within**2 / (values[:k] ** 2 / len(rows))).mean(axis=1) + rest / rest.mean()) / 2)
    found = domain.distance(torch.cat(sections).numpy()) * float(domain.limit)
    np.testing.assert_allclose(found, plain, rtol=1e-3)
    np.testing.assert_allclose(domain.mean, rows.mean(axis=0), atol=1e-5)


def test_one_in_a_hundred_of_a_section_left_out_lies_beyond() -> None:
    domain = Domain.fit([tiles(2000, seed) for seed in range(4)], folds(4))
    new = domain.distance(tiles(4000, seed=50).numpy())
    assert new.shape == (4000,) and new.dtype == np.float32
    assert (new > 1).mean() == pytest.approx(0.01, abs=0.004)


def test_the_limit_grows_with_what_sections_differ_by(sections: list[torch.Tensor]) -> None:
    apart = [section + 2.0 * number for number, section in enumerate(sections)]
    assert Domain.fit(apart, folds(4)).limit > Domain.fit(sections, folds(4)).limit


@pytest.mark.parametrize("change", ["shifted", "stretched", "turned"])
def test_other_tiles_lie_beyond(sections: list[torch.Tensor], change: str) -> None:
    domain = Domain.fit(sections, folds(4))
    strange = tiles(100, seed=7)
    if change == "shifted":
        strange = strange + 3
    elif change == "stretched":
        strange = strange * 6
    else:
        strange = strange.flip(2)
    assert (domain.distance(strange.numpy()) > 1).mean() > 0.5


def test_scale_is_that_within_sections(sections: list[torch.Tensor]) -> None:
    apart = [section + 100.0 * number for number, section in enumerate(sections)]
    expected = torch.cat([s.flatten(1) - s.flatten(1).mean(dim=0) for s in sections]).square().mean(dim=0).sqrt()
    torch.testing.assert_close(Domain.fit(apart, folds(4)).scale, expected, rtol=1e-3, atol=1e-4)


def test_one_section_is_measured_against_quarters_of_itself() -> None:
    domain = Domain.fit([tiles(400, seed=1)], [])
    assert (domain.distance(tiles(4000, seed=2).numpy()) > 1).mean() == pytest.approx(0.01, abs=0.01)


def test_many_tiles_are_thinned_and_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from st_predict.core.model import domain as module

    sections = [tiles(300, seed) for seed in range(3)]
    whole = Domain.fit(sections, folds(3))
    expected = whole.distance(tiles(50, seed=9).numpy())
    monkeypatch.setattr(module, "_PART_SPOTS", 7)
    np.testing.assert_allclose(whole.distance(tiles(50, seed=9).numpy()), expected, rtol=1e-5)
    monkeypatch.setattr(module, "_MOST_TILES", 300)
    torch.testing.assert_close(
        Domain.fit(sections, folds(3)).mean, torch.cat([s[::3] for s in sections]).flatten(1).mean(dim=0)
    )


def test_only_what_is_used_counts(sections: list[torch.Tensor]) -> None:
    used = [torch.arange(200)[number::3] for number in range(4)]
    kept = Domain.fit([section[rows] for section, rows in zip(sections, used, strict=True)], folds(4)).tensors()
    found = Domain.fit(sections, folds(4), used).tensors()
    assert all(torch.equal(found[name], kept[name]) for name in kept)


def test_constant_and_few_features_stay_finite() -> None:
    still = [torch.ones(5, 1, 4), torch.ones(6, 1, 4)]
    found = Domain.fit(still, folds(2)).distance(np.ones((3, 1, 4), np.float32))
    assert np.isfinite(found).all() and (found <= 1).all()
    assert np.isfinite(Domain.fit([torch.randn(8, 1, 1)], []).distance(np.ones((3, 1, 1), np.float32))).all()


def test_the_same_tiles_give_the_same_bits(sections: list[torch.Tensor]) -> None:
    state = torch.get_rng_state()
    first, second = (Domain.fit(sections, folds(4)).tensors() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(state, torch.get_rng_state()), "the global generator is left alone"


def test_slides_like_those_of_training_lie_within(sections: list[torch.Tensor]) -> None:
    apart = [section + 0.3 * number for number, section in enumerate(sections)]
    domain = Domain.fit(apart, folds(4))
    assert domain.shift((tiles(150, seed=9) + 0.45).numpy()) < 0.7
    assert domain.shift((tiles(150, seed=9) + 0.9).numpy()) == pytest.approx(1 / 1.5, abs=0.4)
    assert domain.shift((tiles(150, seed=9) + 3.0).numpy()) > 1.5


def test_the_mean_of_few_tiles_is_given_its_noise(sections: list[torch.Tensor]) -> None:
    domain = Domain.fit([section + 0.3 * number for number, section in enumerate(sections)], folds(4))
    few = [domain.shift((tiles(6, seed) + 0.45).numpy()) for seed in range(20)]
    assert np.median(few) < 0.7 and np.mean([shift > 1 for shift in few]) < 0.2
