"""What a shift common to all genes of a slide does to intervals: how many spots of new slides those for 90 % cover.

python benchmarks/interval_shift.py [--models 100] [--slides 50]

Residuals are drawn: normal, of standard deviation 1 within a slide, and off together by a shift of the slide, normal as
well, whose standard deviation is a row. Intervals are set as in training, by so many groups of one section each, and held
against new slides; the mean and the 10 % quantile are over slides of all models drawn.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
import torch

from st_predict.core.model.reliability import HeldOut, Reliability

LEVEL, GROUPS, SHIFTS = 0.9, (2, 3, 4, 8), (0.0, 0.25, 0.5, 1.0)
SPOTS, GENES, AWAY = 200, 20, 20.0


def slide(generator: torch.Generator, group: int, shift: float) -> HeldOut:
    """Predictions far from 0, below which no interval reaches, and what was measured."""
    predicted = AWAY + torch.randn(SPOTS, GENES, generator=generator)
    residuals = torch.randn(SPOTS, GENES, generator=generator) + shift * torch.randn(1, generator=generator)
    return HeldOut(group, torch.zeros(GENES), predicted, predicted + residuals)


def covered(n_groups: int, shift: float, models: int, slides: int) -> np.ndarray:
    """Share of spots within the intervals, of every new slide of every model."""
    generator = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(models):
        found = Reliability.fit([slide(generator, group, shift) for group in range(n_groups)], torch.ones(GENES))
        for _ in range(slides):
            new = slide(generator, 0, shift)
            lower, upper = found.interval(new.predicted.numpy(), LEVEL)
            truth = new.measured.numpy()
            shares.append(((truth >= lower) & (truth <= upper)).mean())
    return np.array(shares)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--slides", type=int, default=50)
    asked = parser.parse_args()
    rows = []
    for shift in SHIFTS:
        for n_groups in GROUPS:
            shares = covered(n_groups, shift, asked.models, asked.slides)
            rows.append((shift, n_groups, f"{shares.mean():.2f} / {np.quantile(shares, 0.1):.2f}"))
    table = pd.DataFrame(rows, columns=["shift", "groups", "covered"])
    print(table.pivot(index="shift", columns="groups", values="covered").to_string())
