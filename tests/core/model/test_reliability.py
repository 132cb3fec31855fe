"""How sure a model is: what it expects of genes, and whether its intervals cover what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from st_predict.core.errors import InputError
from st_predict.core.model.reliability import LEVELS, HeldOut, Reliability, sampled_rows

N_GENES = 6


def held_out(seed: int, *, n: int = 400, offset: float = 0.0, group: int | None = None) -> HeldOut:
    """A section whose residuals grow with the prediction, and lie off by up to ``offset``."""
    generator = torch.Generator().manual_seed(seed)
    predicted = 3 * torch.rand(n, N_GENES, generator=generator) + 2
    noise = torch.randn(n, N_GENES, generator=generator) * (0.1 + 0.2 * predicted)
    shift = offset * torch.randn(N_GENES, generator=generator)
    pcc = torch.linspace(0, 0.5, N_GENES, dtype=torch.double) + 0.01 * (seed % 3)
    return HeldOut(seed if group is None else group, pcc, predicted, predicted + noise + shift)


def fitted(*sections: HeldOut) -> Reliability:
    return Reliability.fit(sections, torch.full((N_GENES,), 0.8))


def covered(found: Reliability, section: HeldOut, level: float) -> np.ndarray:
    lower, upper = found.interval(section.predicted.numpy(), level)
    truth = section.measured.clamp(min=0).numpy()
    inside: np.ndarray = (truth >= lower) & (truth <= upper)
    return inside


@pytest.mark.parametrize("level", LEVELS)
def test_intervals_cover_what_they_say(level: float) -> None:
    found = fitted(*(held_out(seed) for seed in range(4)))
    inside = np.concatenate([covered(found, held_out(seed), level) for seed in range(10, 20)])
    assert inside.mean() == pytest.approx(level, abs=0.025)
    assert np.abs(inside.mean(axis=0) - level).max() < 0.06, "every gene"


def test_intervals_are_as_wide_as_predictions_are_uncertain() -> None:
    found = fitted(*(held_out(seed) for seed in range(4)))
    section = held_out(11, n=3000)
    inside = covered(found, section, 0.9)
    low = section.predicted.numpy() < 3
    assert inside[low].mean() == pytest.approx(0.9, abs=0.03)
    assert inside[~low].mean() == pytest.approx(0.9, abs=0.03)


def test_sections_that_differ_widen_the_intervals() -> None:
    """Of a few sections that lie apart, a further one lies apart too: the pooled quantiles alone would miss it."""
    inside = {0: [], 1: []}
    for seed in range(0, 60, 4):
        alike, apart = (
            fitted(*(held_out(seed + i, offset=2.0, group=group(i)) for i in range(3)))
            for group in (lambda i: 0, lambda i: i)
        )
        section = held_out(seed + 3, offset=2.0)
        inside[0].append(covered(alike, section, 0.9).mean())
        inside[1].append(covered(apart, section, 0.9).mean())
    assert np.mean(inside[0]) < 0.84, "of one group nothing is known of how others differ"
    assert np.mean(inside[1]) == pytest.approx(0.9, abs=0.05)


def test_sections_weigh_the_same() -> None:
    """A section of many spots and small residuals does not make the intervals of the others too narrow."""
    large = held_out(0, n=8000, group=0)
    large = large._replace(measured=large.predicted + 0.01 * (large.measured - large.predicted))
    found = fitted(large, held_out(1, group=0), held_out(2, group=0))
    assert covered(found, held_out(5), 0.9).mean() > 0.8


def test_expected_pcc_is_the_mean_over_sections() -> None:
    found = fitted(held_out(0), held_out(1), held_out(2))
    torch.testing.assert_close(found.expected_pcc, (torch.linspace(0, 0.5, N_GENES) + 0.01).float())
    torch.testing.assert_close(found.pcc_sd, torch.full((N_GENES,), 0.01))
    assert found.chance is None and found.predictable is None, "nothing was shuffled"
    assert torch.equal(found.ceiling, torch.full((N_GENES,), 0.8))
    assert fitted(held_out(0)).pcc_sd.isnan().all()


def shuffled(seed: int, n: int) -> torch.Tensor:
    """Shuffles whose genes largely share their luck, each gene with its own width."""
    generator = torch.Generator().manual_seed(seed)
    luck = 0.9 * torch.randn(n, 1, generator=generator) + 0.44 * torch.randn(n, N_GENES, generator=generator)
    return torch.linspace(0.02, 0.1, N_GENES) * luck


def test_shuffled_images_pass_chance_in_at_most_two_percent_of_genes() -> None:
    """On average over models, though few shuffles set the limit and one more may take most genes across; 1 % is aimed at."""
    sections, ceiling = [held_out(0), held_out(1)], torch.full((N_GENES,), 0.8)
    shares = []
    for seed in range(300):
        found = Reliability.fit(sections, ceiling, shuffled(seed, 10))
        assert found.chance is not None
        shares.append((shuffled(1000 + seed, 20) > found.chance).double().mean(dim=0))
    assert torch.stack(shares).mean() == pytest.approx(0.01, abs=0.004)
    assert torch.stack(shares).mean(dim=0).max() < 0.02, "of every gene"


def test_a_gene_is_predictable_beyond_its_own_chance() -> None:
    found = Reliability.fit([held_out(0), held_out(1)], torch.full((N_GENES,), 0.8), shuffled(0, 200))
    assert found.chance is not None and found.predictable is not None
    assert (found.chance.diff() > 0).all(), "of wider scatter more is asked"
    assert found.predictable.tolist() == (found.expected_pcc > found.chance).tolist()
    assert found.predictable.tolist() == [False, True, True, True, True, True]
    part = found.only(torch.tensor([4, 0]))
    assert part.predictable is not None and part.predictable.tolist() == [True, False]


def test_no_interval_reaches_below_nothing() -> None:
    found = fitted(*(held_out(seed) for seed in range(3)))
    lower, upper = found.interval(np.zeros((5, N_GENES), np.float32), 0.95)
    assert (lower == 0).all() and (upper > 0).all()


def test_another_level_is_refused() -> None:
    with pytest.raises(InputError, match="interval is 0.7") as error:
        fitted(held_out(0)).interval(np.zeros((2, N_GENES), np.float32), 0.7)
    assert "0.5, 0.8, 0.9, 0.95" in error.value.expected


def test_only_some_genes() -> None:
    found = fitted(held_out(0), held_out(1))
    part, predicted = found.only(torch.tensor([4, 1])), np.full((3, N_GENES), 2.5, np.float32)
    assert torch.equal(part.expected_pcc, found.expected_pcc[[4, 1]])
    np.testing.assert_array_equal(part.interval(predicted[:, :2], 0.8)[1], found.interval(predicted, 0.8)[1][:, [4, 1]])


@pytest.mark.parametrize(
    ("n_spots", "n_genes", "n_sections", "kept"),
    [(300, 250, 1, 300), (5000, 250, 1, 800), (5000, 250, 20, 40), (5000, 20_000, 100, 20), (7, 20_000, 1, 7)],
)
def test_what_is_kept_of_a_section(n_spots: int, n_genes: int, n_sections: int, kept: int) -> None:
    rows = sampled_rows(n_spots, n_genes, n_sections)
    assert len(rows.unique()) == kept and rows[0] == 0 and rows[-1] == n_spots - 1
