"""What cross_validate adds to its fits, and what processes save; features cached beforehand.

python benchmarks/cross_validation.py [FOLDER] [--set her2st] [--methods all]
"""

from __future__ import annotations

import argparse
import time
import warnings

import pandas as pd

import st_predict as stp
from st_predict.cli.data_sets import SETTINGS
from st_predict.tl._processes import n_cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--set", default="her2st", choices=list(SETTINGS))
    parser.add_argument("--methods", default="all")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sections = getattr(stp.datasets, arguments.set)(arguments.folder)
    settings = SETTINGS[arguments.set]
    stp.tl.cross_validate(sections, methods="mean", n_jobs=1, **settings)  # encodes the tiles
    rows = []
    for n_jobs in (1, n_cores()):
        begin = time.perf_counter()
        table = stp.tl.cross_validate(sections, methods=arguments.methods, n_jobs=n_jobs, **settings)
        wall = time.perf_counter() - begin
        fits = table.drop_duplicates(["method", "fold", "seed"])["seconds"].sum()
        rows.append({"n_jobs": n_jobs, "wall s": wall, "sum of fits s": fits, "wall / fits": wall / fits})
    print(f"\n{arguments.set}, {table['method'].nunique()} methods, {table['fold'].nunique()} folds, features cached\n")
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    print("\nWith one process, wall / fits - 1 is what reading, scoring and bookkeeping add.")


if __name__ == "__main__":
    main()
