"""How many genes are called predictable where images are shuffled, and how many where they are not.

python benchmarks/chance.py [FOLDER] [--sets her2st als mob] [--shuffles 25]

Tuned ridge is trained on shuffled images, each time on another shuffle, none of which is one that the limit was set by; then
on the images as they are.
"""

from __future__ import annotations

import argparse
import logging
import warnings

import numpy as np

import st_predict as stp
from st_predict._studies import SETTINGS

FIRST = 1000  # the seed of the first training: others than the default's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--sets", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--shuffles", type=int, default=25)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("st_predict").setLevel(logging.ERROR)
    for name in asked.sets:
        sections = getattr(stp.datasets, name)(asked.folder)
        fixed, found = [], []
        for shuffle in range(asked.shuffles):
            genes = stp.tl.train(
                sections, method="shuffled", params={"shuffle": shuffle}, seed=FIRST + shuffle, **SETTINGS[name]
            ).genes
            fixed.append((genes["expected_pcc"] >= 0.1).mean())
            found.append(genes["predictable"].mean())
        genes = stp.tl.train(sections, method="ridge", **SETTINGS[name]).genes
        print(
            f"{name}: of shuffled images {100 * np.mean(found):.1f} % of genes are called predictable, at most "
            f"{100 * max(found):.0f} % by one of {asked.shuffles} shuffles ({100 * np.mean(fixed):.1f} % reach .1); of the "
            f"images {100 * genes['predictable'].mean():.0f} %; chance {genes['chance'].mean():.2f}, "
            f"{genes['chance'].min():.2f} to {genes['chance'].max():.2f} by gene",
            flush=True,
        )


if __name__ == "__main__":
    main()
