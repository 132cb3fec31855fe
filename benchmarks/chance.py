"""How many genes are called predictable where images are shuffled, and how many where they are not.

python benchmarks/chance.py [FOLDER] [--sets her2st als mob] [--methods ridge nh2st hist2st] [--shuffles 10]

Every method is trained on the features of shuffled tiles, each time on another shuffle, none of which is one that the limit was
set by; then on the tiles as they are.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

import st_predict as stp
from st_predict._spatialdata.features import store_features
from st_predict.cli.data_sets import SETTINGS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spatialdata import SpatialData

FIRST = 1000  # the seed of the first training: others than the default's
TABLE = "table"


def trained(
    sections: dict[str, SpatialData], keys: dict[str, str], features: dict[str, NDArray[np.float32]], **settings: Any
) -> stp.Model:
    """A model of sections whose tiles have these features."""
    for name, values in features.items():
        table, key = sections[name].tables[TABLE], keys[name]
        store_features(table, key, dict(table.uns[key]), values)
    model = stp.tl.train(sections, **settings)
    for name, values in features.items():  # else they were taken for damaged, and made again of the true image
        assert np.array_equal(sections[name].tables[TABLE].obsm[keys[name]], values), name
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--sets", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--methods", nargs="+", default=["ridge", "nh2st", "hist2st"])
    parser.add_argument("--shuffles", type=int, default=10)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("st_predict").setLevel(logging.ERROR)
    for name in asked.sets:
        sections: dict[str, SpatialData] = getattr(stp.datasets, name)(asked.folder)
        keys = {section: stp.pp.embed(sdata) for section, sdata in sections.items()}
        features = {section: sdata.tables[TABLE].obsm[keys[section]] for section, sdata in sections.items()}
        for method in asked.methods:
            found = []
            for shuffle in range(asked.shuffles):
                rng = np.random.default_rng((FIRST, shuffle))
                shuffled = {section: values[rng.permutation(len(values))] for section, values in features.items()}
                found.append(
                    trained(sections, keys, shuffled, method=method, seed=FIRST + shuffle, **SETTINGS[name])
                    .genes["predictable"]
                    .mean()
                )
            genes = trained(sections, keys, features, method=method, **SETTINGS[name]).genes
            print(
                f"{name}, {method}: of shuffled images {100 * np.mean(found):.1f} % of genes are called predictable, at most "
                f"{100 * max(found):.0f} % by one of {asked.shuffles} shuffles; of the images "
                f"{100 * genes['predictable'].mean():.0f} %; chance {genes['chance'].mean():.2f}, "
                f"{genes['chance'].min():.2f} to {genes['chance'].max():.2f} by gene",
                flush=True,
            )


if __name__ == "__main__":
    main()
