"""How often better, worse and same are said of a method, by simulation of tables whose truth is known.

python benchmarks/verdicts.py [--repeats 2000]

A table is folds x seeds of differences to ridge: a true difference, the fold's own chance and the seed's. Their sizes are those
seen on the public sets. Two things that no rule can see in one table are told last: how often one of ten methods that equal
ridge is called better or worse, and what it does that folds share training sections and so a part of their chance.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import pandas as pd

from st_predict.core.protocol.verdict import judge

FOLDS, SEEDS = (3, 4, 6, 8), (2, 3, 5)  # with fewer the verdict is always unclear
FOLD_SD, SEED_SD = (0.005, 0.02), (0.001, 0.01)
DIFFERENCES = (0.01, 0.02, 0.03)
MISSED = 0.02  # of a method so far above, same must not be said
METHODS = 10
SHARED = 0.2  # of the variance of folds


def tables(
    rng: np.random.Generator, repeats: int, shape: tuple[int, int], fold_sd: float, seed_sd: float, difference: float
) -> np.ndarray:
    """Differences to ridge ``(repeats, n_folds, n_seeds)``."""
    folds = rng.normal(difference, fold_sd, (repeats, shape[0], 1))
    return folds + rng.normal(0, seed_sd, (repeats, *shape))


def said(drawn: np.ndarray) -> dict[str, float]:
    """Share of the tables of which each verdict is given."""
    words = Counter(judge(table, np.zeros(len(table)), drawn=True).verdict for table in drawn)
    return {word: words[word] / len(drawn) for word in ("better", "worse", "same", "unclear")}


def rates(rng: np.random.Generator, repeats: int) -> pd.DataFrame:
    """A row a size of the table and of its chances."""
    rows = []
    for n_folds in FOLDS:
        for n_seeds in SEEDS:
            for fold_sd in FOLD_SD:
                for seed_sd in SEED_SD:
                    setting = rng, repeats, (n_folds, n_seeds), fold_sd, seed_sd
                    none = said(tables(*setting, 0.0))
                    row = {"folds": n_folds, "seeds": n_seeds, "fold s.d.": fold_sd, "seed s.d.": seed_sd,
                           "false": none["better"] + none["worse"], "same": none["same"]}  # fmt: skip
                    apart = {d: said(tables(*setting, d)) for d in DIFFERENCES}
                    row |= {f"+{d}": found["better"] for d, found in apart.items()}
                    rows.append(row | {f"same, +{MISSED}": apart[MISSED]["same"]})
    return pd.DataFrame(rows)


def any_of_ten(rng: np.random.Generator, repeats: int, n_folds: int) -> float:
    """How often one of ten methods that equal ridge is called otherwise; half of a fold's chance is ridge's own."""
    found = 0
    for _ in range(repeats):
        ridge = rng.normal(0, 0.01 / np.sqrt(2), (n_folds, 1))
        words = [
            judge(ridge + table, np.zeros(n_folds), drawn=True).verdict
            for table in tables(rng, METHODS, (n_folds, 3), 0.01 / np.sqrt(2), 0.003, 0.0)
        ]
        found += any(word in ("better", "worse") for word in words)
    return found / repeats


def sharing(rng: np.random.Generator, repeats: int, n_folds: int) -> float:
    """False verdicts where folds share a part of their chance, which then is like a difference."""
    drawn = tables(rng, repeats, (n_folds, 3), 0.01 * np.sqrt(1 - SHARED), 0.003, 0.0)
    drawn += rng.normal(0, 0.01 * np.sqrt(SHARED), (repeats, 1, 1))
    found = said(drawn)
    return found["better"] + found["worse"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    found = rates(rng, repeats)
    print(
        "false: better or worse said of a method that equals ridge; same: said of it; +d: better said of one that is d above\n"
    )
    print(found.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    print(f"\nmost false verdicts in any row: {found['false'].max():.3f}")
    rows = [{"folds": n, "one of ten": any_of_ten(rng, repeats // 4, n), "shared chance": sharing(rng, repeats, n)} for n in FOLDS]  # fmt: skip
    print(
        f"\n3 seeds, s.d. of folds .01, of seeds .003. one of {METHODS}: tables of so many methods that equal ridge in which at"
    )
    print(
        f"least one is called better or worse; shared chance: false verdicts where {SHARED} of the folds' variance is common\n"
    )
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.3f}"))


if __name__ == "__main__":
    main()
