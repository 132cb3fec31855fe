"""What cross-attention and contrast give NH2ST: scores on real sections, and whether the contrast needs the image.

python benchmarks/nh2st_attention.py [FOLDER] [--sets her2st als mob]
"""

from __future__ import annotations

import argparse
import math
import warnings

import numpy as np
import pandas as pd
import torch
from real_sections import SETTINGS, folds_of, score_fold

import st_predict as stp
from st_predict.core.methods.nh2st import NH2ST, NH2STConfig
from st_predict.core.methods.recipe import FitConfig
from st_predict.core.training.network import Hardware, fit_network
from st_predict.core.training.spots import SpotSet

VARIANTS = {
    "tokens (default)": {},
    "single": {"attention": "single"},
    "none": {"attention": "none"},
    "tokens, paper's weights": {"query_weight": 1.0, "neighbor_weight": 0.5},
    "single, paper's weights": {"attention": "single", "query_weight": 1.0, "neighbor_weight": 0.5},
    "no contrast": {"query_weight": 0.0, "neighbor_weight": 0.0},
}


def contrast_on_constant_images(attention: str) -> dict[str, float]:
    """Final contrastive losses where every image is the same; ln(batch) means they cannot be met without images."""
    generator = torch.Generator().manual_seed(0)
    n, genes = 512, 60
    programs = torch.randn(n, 6, generator=generator) @ torch.randn(6, genes, generator=generator)
    grid = torch.stack(torch.meshgrid(torch.arange(32), torch.arange(16), indexing="ij"), dim=-1).view(-1, 2)
    neighbors = torch.cdist(grid.double(), grid.double()).argsort(dim=1)[:, 1:9]
    spots = SpotSet(torch.ones(n, 16), programs, torch.zeros(n, dtype=torch.long), neighbors, grid.float())
    config = NH2STConfig(attention=attention, query_weight=1.0, neighbor_weight=1.0, dropout=0.0, gene_dropout=0.0)
    torch.manual_seed(0)
    method = NH2ST(16, genes, config)
    method.before_fit(spots.reference())
    records = fit_network(
        method, None, spots, FitConfig(), epochs=30, held_out={}, seed=0, hardware=Hardware("cpu", 1), label=attention
    )
    return {name: records[-1].losses[name] for name in ("query", "neighbor")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--sets", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"Contrastive losses after training on one constant image (chance: ln 64 = {math.log(64):.2f})")
    for attention in ("tokens", "single", "none"):
        losses = contrast_on_constant_images(attention)
        print(f"  {attention:<10}query {losses['query']:.2f}   neighbor {losses['neighbor']:.2f}")
    rows = {}
    for name in arguments.sets:
        sections = getattr(stp.datasets, name)(arguments.folder)
        for variant, params in VARIANTS.items():
            scores = [score_fold(name, sections, held_out, params=params) for held_out in folds_of(sections)]
            pcc = [s["pcc"] for s in scores]
            rows[name, variant] = {"pcc": np.mean(pcc), "s.d.": np.std(pcc), "mse": np.mean([s["mse"] for s in scores])}
    print("\nMean per-gene PCC over 250 genes by variant")
    print(pd.DataFrame.from_dict(rows, orient="index").round(3).to_string())


if __name__ == "__main__":
    main()
