"""What every part of NH2ST gives: inputs, branches, attention, contrast, hypergraph, K, L, batch, temperature, weights.

python benchmarks/nh2st_ablations.py [FOLDER] [--sets synthetic her2st als mob] [--out FOLDER]

Loss weights are the paper's, (1, 0.5), unless a row says otherwise, so that a part of the contrast can matter; every
variant trains for the same number of epochs. Finished folds are kept in --out, and an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

import st_predict as stp
from st_predict._studies import SETTINGS
from st_predict._summary import by_fold
from st_predict._verdict import judge
from st_predict.core.methods.nh2st import NH2ST, NH2STConfig
from st_predict.core.methods.recipe import FitConfig
from st_predict.core.training.hardware import Hardware
from st_predict.core.training.network import fit_network
from st_predict.core.training.spots import SpotSet

if TYPE_CHECKING:
    from spatialdata import SpatialData

EPOCHS = 12  # what the inner folds of the default choose, about
BASE = "base: tokens, both hypergraphs, K 8, L 2, batch 64, tau 0.1, weights (1, 0.5)"
PAPERS_WEIGHTS = {"query_weight": 1.0, "neighbor_weight": 0.5}


def weights(query: float, neighbor: float) -> dict[str, float]:
    return {"query_weight": query, "neighbor_weight": neighbor}


# The base is left out of each list: it stands in every one, once in the table.
PARAMS: dict[str, dict[str, dict[str, Any]]] = {
    "branches": {"query alone": weights(1, 0), "neighbor alone": weights(0, 0.5), "translator alone": weights(0, 0)},
    "attention": {"single token (literal)": {"attention": "single"}, "none": {"attention": "none"}},
    "hypergraph": {
        "image's for both": {"hypergraphs": "image"}, "graph": {"hypergraphs": "graph"}, "none": {"hypergraphs": "none"},
    },
    "K": {str(k): {"neighbors": k} for k in (4, 16, 25)},
    "L": {str(n): {"layers": n} for n in (1, 3, 4)},
    "temperature": {str(tau): {"temperature": tau} for tau in (0.025, 0.05, 0.15, 0.2)},
    "loss weights": {str(w): weights(*w) for w in ((0.1, 0.05), (0, 1), (0.5, 1), (1, 1))},
    "contrast": {"both ways": {"symmetric": True}},
    "rank": {"none": {"rank": None}},
    "surroundings at prediction": {"mean": {"surroundings": "mean"}, "attention": {"surroundings": "attention"}},
    "input noise": {"none": {"input_noise": 0.0}, "1": {"input_noise": 1.0}},
}  # fmt: skip
BATCH_SIZES = (8, 16, 32, 128)
INPUTS: dict[str, dict[str, Any]] = {
    "no context": {"context": ()}, "scored by training spots": {"standardize": "training"},
}  # fmt: skip


def variants() -> dict[str, dict[str, Any]]:
    """Settings of ``cross_validate`` by label."""

    def settings(params: dict[str, Any], **given: Any) -> dict[str, Any]:
        return {
            "method": "nh2st", "params": {**PAPERS_WEIGHTS, **params}, "max_epochs": EPOCHS, "inner_folds": 0, **given,
        }  # fmt: skip

    found = {BASE: settings({})}
    for part, choices in PARAMS.items():
        found |= {f"{part}: {choice}": settings(params) for choice, params in choices.items()}
    found |= {f"inputs: {choice}": settings({}, **given) for choice, given in INPUTS.items()}
    return found | {f"batch: {size}": settings({}, batch_size=size) for size in BATCH_SIZES}


def sections_of(name: str, folder: str | None) -> dict[str, SpatialData]:
    if name == "synthetic":
        return stp.datasets.synthetic_tissue(n_sections=4, n_subjects=4)
    return getattr(stp.datasets, name)(folder)


def contrast_on_constant_images(attention: str) -> dict[str, float]:
    """Final contrastive losses where every image is the same; ln(batch) means they cannot be met without images."""
    generator = torch.Generator().manual_seed(0)
    n, genes = 512, 60
    programs = torch.randn(n, 6, generator=generator) @ torch.randn(6, genes, generator=generator)
    grid = torch.stack(torch.meshgrid(torch.arange(32), torch.arange(16), indexing="ij"), dim=-1).view(-1, 2)
    neighbors = torch.cdist(grid.double(), grid.double()).argsort(dim=1)[:, 1:9]
    spots = SpotSet(torch.ones(n, 16), programs, torch.zeros(n, dtype=torch.long), neighbors, grid.float())
    config = NH2STConfig(attention=attention, query_weight=1.0, neighbor_weight=1.0, dropout=0.0, gene_dropout=0.0,
                         input_noise=0.0)  # fmt: skip
    torch.manual_seed(0)
    method = NH2ST(16, genes, config)
    method.before_fit(spots.reference())
    records = fit_network(
        method, None, spots, FitConfig(batch_size=64), epochs=30, held_out={}, seed=0, hardware=Hardware("cpu", 1), label=attention
    )
    return {name: records[-1].losses[name] for name in ("query", "neighbor")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--sets", nargs="+", default=["synthetic", *SETTINGS], choices=["synthetic", *SETTINGS])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"Contrastive losses after training on one constant image (chance: ln 64 = {math.log(64):.2f})")
    for attention in ("tokens", "single", "none"):
        losses = contrast_on_constant_images(attention)
        print(f"  {attention:<10}query {losses['query']:.2f}   neighbor {losses['neighbor']:.2f}")
    columns, differences = {}, {}
    for name in arguments.sets:
        out = None if arguments.out is None else arguments.out / name
        table = stp.tl.cross_validate(
            sections_of(name, arguments.folder), methods=variants(), out=out, **SETTINGS.get(name, {})
        )
        pcc = by_fold(table, "pcc")
        columns[name] = pcc.mean(axis=1)
        found = {row: judge(pcc.loc[[row]].to_numpy().T, pcc.loc[BASE].to_numpy(), drawn=True) for row in pcc.index}
        differences[f"{name} vs base"] = pd.Series({row: one.mean for row, one in found.items()})
        differences[f"{name} +/-"] = pd.Series({row: one.margin for row, one in found.items()})
        for failure in table.failures.to_dict("records"):
            print("failed, and in no mean: {method} with {fold} held out: {error}".format(**failure))
    print("\nMean per-gene PCC over 250 genes on held-out subjects (sections), and its paired difference to the base")
    print(f"with half the width of its 95 % interval over folds; one seed, {EPOCHS} epochs.\n")
    table = pd.DataFrame(columns).join(pd.DataFrame(differences))
    print(table.to_string(float_format=lambda value: f"{value:.3f}", index_names=False))


if __name__ == "__main__":
    main()
