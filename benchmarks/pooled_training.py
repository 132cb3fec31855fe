"""What a model loses that is trained on transcripts pooled to spots, beside one of an array's own spots.

python benchmarks/pooled_training.py [--draws 4] [--method ridge]

One drawn tissue is measured twice: by spots of 55 um on a hexagonal array, and by single transcripts that are pooled to
such spots (``pp.pool_spots``; its image lies aslant and shifted). Three subjects; two are trained on, with equal settings,
and both models predict the spots of the third. They are compared with its true expression, which has no noise, so that the
depths of the two measurements do not blur the score. Draws differ in tissue, subjects and genes' counts.
"""

from __future__ import annotations

import argparse
import logging
import warnings

import numpy as np
import pandas as pd
from spatialdata import SpatialData

import st_predict as stp

GOAL = 0.02
SQUARES = {"layout": "square", "diameter_um": 100.0}
DISKS = {"layout": "hex", "diameter_um": 55.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--method", default="ridge")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("st_predict").setLevel(logging.ERROR)
    rows = {f"draw {seed}": reached(asked.method, seed) for seed in range(asked.draws)}
    table = pd.DataFrame(rows).T
    table["disks less spots"] = table["pooled to disks"] - table["spots of an array"]
    table.loc["mean"] = table.mean()
    print(f"Mean PCC of genes with the true expression of an unseen subject, {asked.method}\n")
    print(table.to_string(float_format="{:.3f}".format))
    lost = -table.loc["mean", "disks less spots"]
    print(f"\nlost by pooling to disks: {lost:.3f} (goal: at most {GOAL})")
    if asked.draws > 1:
        print(f"standard deviation over draws: {table['disks less spots'][:-1].std():.3f}")


def reached(method: str, seed: int) -> dict[str, float]:
    """Score of the models of one draw, by what they were trained on."""
    drawn = {"n_sections": 3, "n_subjects": 3, "seed": seed}
    spots = stp.datasets.synthetic_tissue(**drawn)
    *training, unseen = spots
    of_genes = spots[unseen].tables["table"].var["program"]
    settings = {"method": method, "genes": of_genes.index[of_genes != "noise"].tolist()}
    found = {
        "spots of an array": score(stp.tl.train({name: spots[name] for name in training}, **settings), spots[unseen])
    }
    for label, how in (("pooled to disks", DISKS), ("pooled to squares", SQUARES)):
        sections = stp.datasets.synthetic_tissue(technology="xenium", **drawn)
        for name in training:
            stp.pp.pool_spots(sections[name], **how)
        pooled = {name: sections[name] for name in training}
        found[label] = score(stp.tl.train(pooled, table_key="spots_counts", **settings), spots[unseen])
    return found


def score(model: stp.Model, section: SpatialData) -> float:
    """Mean PCC over the genes of a model."""
    stp.tl.predict(section, model, key_added="tried")
    table = section.tables["table"]
    predicted = table.obsm["tried"]
    true = pd.DataFrame(table.layers["truth"], columns=table.var_names)[predicted.columns]
    return float(np.mean([np.corrcoef(predicted[gene], true[gene])[0, 1] for gene in predicted]))


if __name__ == "__main__":
    main()
