"""Scores on the three public sets under the package's protocol; the figures of the README and the docs.

python benchmarks/real_sections.py [FOLDER] [--sets her2st als mob]     FOLDER: default $ST_PREDICT_DATA, else downloaded
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import st_predict as stp
from st_predict._studies import SETTINGS

if TYPE_CHECKING:
    from spatialdata import SpatialData

RECIPES: dict[str, dict[str, Any]] = {
    "mean": {"method": "mean"},
    "ridge, own tile": {"method": "ridge", "context": ()},
    "ridge, with context": {"method": "ridge"},
    "nh2st": {"method": "nh2st"},
}


def folds_of(sections: dict[str, SpatialData]) -> list[list[str]]:
    """Held-out sections of each fold: by subject, or by section where there is one subject."""
    subjects = {name: str(s["table"].obs["subject"].iloc[0]) for name, s in sections.items()}
    if len(set(subjects.values())) == 1:
        return [[name] for name in sections]
    return [[n for n, s in subjects.items() if s == subject] for subject in dict.fromkeys(subjects.values())]


def score_fold(name: str, sections: dict[str, SpatialData], held_out: list[str], **settings: Any) -> dict[str, float]:
    """Train without the held-out sections, predict them, and average their scores."""
    begin = time.perf_counter()
    model = stp.tl.train({n: s for n, s in sections.items() if n not in held_out}, **SETTINGS[name], **settings)
    scores = []
    for section in held_out:
        stp.tl.predict(sections[section], model)
        scores.append(stp.tl.evaluate(sections[section])[["pcc", "mse", "ceiling"]].mean())
    return {"seconds": time.perf_counter() - begin, **pd.DataFrame(scores).mean().to_dict()}


def score(name: str, sections: dict[str, SpatialData]) -> pd.DataFrame:
    """One row a recipe and fold."""
    return pd.DataFrame(
        {"set": name, "recipe": recipe, "fold": fold, **score_fold(name, sections, held_out, **settings)}
        for fold, held_out in enumerate(folds_of(sections))
        for recipe, settings in RECIPES.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--sets", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    tables = [score(name, getattr(stp.datasets, name)(arguments.folder)) for name in arguments.sets]
    folds = pd.concat(tables)
    grouped = folds.groupby(["set", "recipe"], sort=False)
    table = grouped[["pcc", "mse", "ceiling"]].mean()
    table.insert(1, "s.d.", grouped["pcc"].std(ddof=0))
    table["folds"] = grouped.size()
    table["s/fold"] = grouped["seconds"].median()
    print("Mean per-gene PCC over 250 genes, leaving out one subject (her2st: one section of one subject)\n")
    print(table.round(3).to_string())
    pivot = folds.pivot(index=["set", "fold"], columns="recipe", values="pcc")
    paired = (pivot["nh2st"] - pivot["ridge, with context"]).groupby("set", sort=False)
    print("\nnh2st minus ridge with context, paired over folds (under .01, als under .02, is noise):")
    for name, difference in paired:
        print(f"  {name:<8}{difference.mean():+.3f}   folds {np.round(difference.to_numpy(), 3).tolist()}")
    print("\nThe first recipe of a set encodes the tiles; its first fold took "
          f"{folds.groupby('set', sort=False)['seconds'].first().round(0).to_dict()} s, features included.")  # fmt: skip


if __name__ == "__main__":
    main()
