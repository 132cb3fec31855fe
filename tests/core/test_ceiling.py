"""The noise ceiling against an oracle: the true rates of drawn counts, held against these counts."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from st_predict.core.ceiling import Ceiling, noise_ceiling, target_ceilings
from st_predict.core.metrics import pearson

N_GENES, DEPTH = 200, 2000.0


class Drawn(NamedTuple):
    """Counts of a section, and what the true rates reach on them."""

    counts: NDArray[np.float32]
    totals: NDArray[np.float64]
    oracle: NDArray[np.float64]


def drawn(kind: str, n_spots: int, mean: float, seed: int, *, beyond: float = 0.0) -> Drawn:
    """Genes that vary as ``kind`` says, in spots of totals that vary by 40 %; ``beyond``: spread beyond Poisson."""
    rng = np.random.default_rng(seed)
    totals = DEPTH * np.exp(rng.normal(0, 0.4, n_spots))
    relative = np.ones((n_spots, N_GENES))
    if kind == "gamma":
        spread = rng.uniform(0.02, 1, N_GENES)
        relative = rng.gamma(1 / spread, spread, (n_spots, N_GENES))
    elif kind == "programs":  # lognormal: four programs of which every gene takes a part, all in all 20 to 80 %
        share = rng.normal(size=(4, N_GENES))
        share *= rng.uniform(0.2, 0.8, N_GENES) / np.linalg.norm(share, axis=0)
        relative = np.exp(rng.normal(size=(n_spots, 4)) @ share)
    share = relative / relative.mean(axis=0) * mean * np.exp(rng.normal(0, 0.3, N_GENES)) / DEPTH
    rates = share * totals[:, None]
    if beyond:
        rates = rates * rng.gamma(1 / beyond, beyond, rates.shape)
    counts = rng.poisson(rates)
    logs = [torch.from_numpy(np.log1p(1e4 * values)) for values in (share, counts / totals[:, None])]
    return Drawn(counts.astype(np.float32), totals, pearson(*logs).numpy())


def estimates(kind: str, n_spots: int, mean: float) -> tuple[list[Drawn], list[Ceiling]]:
    draws = [drawn(kind, n_spots, mean, seed) for seed in range(100, 108 if n_spots > 100 else 112)]
    return draws, [noise_ceiling(one.counts, one.totals, seed=0) for one in draws]


@pytest.mark.parametrize("mean", [0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("n_spots", [60, 300])
def test_ceiling_is_what_the_true_rates_reach(n_spots: int, mean: float) -> None:
    draws, found = estimates("gamma", n_spots, mean)
    off = np.mean([one.value.mean() - draw.oracle.mean() for draw, one in zip(draws, found, strict=True)])
    assert abs(off) < 0.02


@pytest.mark.parametrize("mean", [0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("n_spots", [60, 300])
def test_ceiling_of_programs(n_spots: int, mean: float) -> None:
    """Rates that do not vary as assumed: what is estimated is a little too high."""
    draws, found = estimates("programs", n_spots, mean)
    off = np.mean([one.value.mean() - draw.oracle.mean() for draw, one in zip(draws, found, strict=True)])
    assert abs(off) < 0.03


@pytest.mark.parametrize("mean", [0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("n_spots", [60, 300])
def test_ceiling_where_no_rate_varies(n_spots: int, mean: float) -> None:
    """Totals vary, and log1p of small counts with them; a true rate knows nothing of it."""
    _, found = estimates("none", n_spots, mean)
    assert np.mean([one.value.mean() for one in found]) < 0.05


@pytest.mark.parametrize(("n_spots", "mean"), [(60, 1.0), (60, 10.0), (300, 0.3), (300, 3.0)])
def test_sd_is_how_far_off_the_ceiling_of_a_gene_is(n_spots: int, mean: float) -> None:
    draws, found = estimates("gamma", n_spots, mean)
    off = np.concatenate([one.value - draw.oracle for draw, one in zip(draws, found, strict=True)])
    said = np.concatenate([one.sd for one in found])
    assert np.sqrt(np.mean(off**2)) == pytest.approx(np.sqrt(np.mean(said**2)), rel=0.2)
    assert np.mean(np.abs(off) < 2 * said) > 0.9


def test_ceiling_of_rich_genes_is_exact() -> None:
    one = drawn("gamma", 500, 300, 0)
    found = noise_ceiling(one.counts, one.totals, seed=0)
    assert np.abs(found.value - one.oracle).max() < 0.05 and np.abs(found.value - one.oracle).mean() < 0.004


def test_what_varies_beyond_poisson_is_taken_for_signal() -> None:
    """As nobody can tell it from tissue by counts alone: the ceiling is then no less than the oracle's PCC."""
    one, wild = (drawn("gamma", 300, 3, 0, beyond=beyond) for beyond in (0.0, 0.1))
    found = noise_ceiling(wild.counts, wild.totals, seed=0).value.mean()
    assert wild.oracle.mean() < one.oracle.mean() and wild.oracle.mean() < found < wild.oracle.mean() + 0.1


def test_ceiling_of_few_genes_or_none() -> None:
    one = drawn("gamma", 300, 10, 0)
    lone = np.array([noise_ceiling(one.counts[:, [i]], one.totals, seed=0).value[0] for i in range(20)])
    assert abs(lone.mean() - one.oracle[:20].mean()) < 0.03
    counts = np.column_stack([one.counts[:, 0], np.zeros(300, np.float32)])
    found = noise_ceiling(counts, one.totals, seed=0)
    assert found.value[0] > 0 and found.value[1] == found.sd[1] == 0
    assert noise_ceiling(counts[:, 1:], one.totals, seed=0, together=True) == ([0.0], [0.0])


def test_ceiling_follows_its_seed() -> None:
    one = drawn("gamma", 60, 3, 0)
    first, again, other = (noise_ceiling(one.counts, one.totals, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_ceiling_of_a_set_is_that_of_the_mean_of_its_genes() -> None:
    """Two independent sections of the same rates: the root of their correlation is what the rates reach."""
    rng = np.random.default_rng(5)
    n, totals = 1000, 3000 * np.exp(rng.normal(0, 0.4, 1000))
    share = rng.gamma(4.0, 0.25, (n, 1)) * rng.uniform(0.3, 3, 6) / 3000
    counts = rng.poisson(share * totals[:, None]).astype(np.float32)
    truth = np.log1p(1e4 * share).mean(axis=1)
    measured = np.log1p(1e4 * counts / totals[:, None]).mean(axis=1)
    found = noise_ceiling(counts, totals, seed=0, together=True)
    assert found.value.shape == found.sd.shape == (1,)
    assert found.value[0] == pytest.approx(np.corrcoef(truth, measured)[0, 1], abs=0.02)
    assert found.value[0] > noise_ceiling(counts, totals, seed=0).value.max() + 0.005, "noise of several averages out"
    one = counts[:, :1]
    lone = noise_ceiling(one, totals, seed=0)
    assert noise_ceiling(one, totals, seed=0, together=True).value == pytest.approx(lone.value, abs=1e-6)
    both = target_ceilings(counts, [counts[:, :3], one], totals, seed=0)
    assert both.value.shape == both.sd.shape == (8,)
    assert np.array_equal(both.value[:6], noise_ceiling(counts, totals, seed=0).value), "sets change nothing of genes"


def test_ceiling_of_a_set_that_does_not_vary() -> None:
    """Totals alone move the mean of log1p of small counts, of all genes alike: no signal of a tissue."""
    found = [noise_ceiling(*drawn("none", 300, 1.0, seed)[:2], seed=0, together=True) for seed in range(6)]
    assert np.mean([one.value for one in found]) < 0.3


def test_ceiling_survives_an_empty_spot() -> None:
    counts = np.random.default_rng(2).poisson(5.0, (50, 3)).astype(np.float32)
    counts[4] = 0
    for together in (False, True):
        found = noise_ceiling(counts, counts.sum(axis=1, dtype=np.float64), seed=0, together=together)
        assert np.isfinite(found).all()


def test_ceiling_of_a_large_section_is_cheap() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(4.0, 1.0, (30_000, 50))).astype(np.float32)
    begin = time.process_time()
    found = noise_ceiling(counts, np.full(30_000, 3000.0), seed=0)
    assert time.process_time() - begin < 5
    part = noise_ceiling(counts[::30], np.full(1000, 3000.0), seed=0)
    assert np.abs(found.value - part.value).max() < 0.1
