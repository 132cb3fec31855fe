"""What every part of the default NH2ST gives, one change a row: branches, attention, hypergraph, K, L, rank, inputs, networks.

python benchmarks/nh2st_ablations.py [FOLDER] [--sets her2st als mob] [--seeds 3] [--out FOLDER]

Every row but the last is one network, and all train for the same number of epochs, so that a row costs seconds. ``patients``
is drawn tissue of six subjects that differ as patients do, each held out. Finished folds are kept in --out, and an interrupted
run goes on.
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
from st_predict.cli.data_sets import SETTINGS
from st_predict.cli.summary import by_fold
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run, fit_network
from st_predict.core.inputs.kinds import FeatureInputs
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.interface import Batch
from st_predict.core.methods.nh2st import NH2ST, NH2STConfig
from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.protocol.verdict import judge

if TYPE_CHECKING:
    from spatialdata import SpatialData

EPOCHS = 12  # about what the inner folds of the default choose
BASE = "base: the default's settings, one network"
ROWS: dict[str, dict[str, Any]] = {
    "no contrast at all": {"params": {"query_weight": 0.0, "neighbor_weight": 0.0}},
    "no neighbor branch": {"params": {"neighbor_weight": 0.0}},
    "no query branch": {"params": {"query_weight": 0.0}},
    "contrast at the paper's weights, (1, 0.5)": {"params": {"query_weight": 1.0, "neighbor_weight": 0.5}},
    "attention: tokens of the neighborhood": {"params": {"attention": "tokens"}},
    "attention: none": {"params": {"attention": "none"}},
    "hypergraph: the image's for both": {"params": {"hypergraphs": "image"}},
    "hypergraph: a graph": {"params": {"hypergraphs": "graph"}},
    "hypergraph: none": {"params": {"hypergraphs": "none"}},
    "K: 4": {"params": {"neighbors": 4}},
    "L: 1": {"params": {"layers": 1}},
    "temperature: the paper's, 0.05": {"params": {"temperature": 0.05}},
    "rank: 8": {"params": {"rank": 8}},
    "rank: none, as the paper": {"params": {"rank": None}},
    "input noise: none": {"params": {"input_noise": 0.0}},
    "inputs: means over 8 and 24 neighbors too": {"context": (8, 24)},
    "inputs: scored by training spots": {"standardize": "training"},
    "networks: three, as the default": {"members": 3},
}
"""Changes to the base, as ``cross_validate`` takes settings."""


def variants() -> dict[str, dict[str, Any]]:
    """Settings of ``cross_validate`` by label."""
    base = {"method": "nh2st", "max_epochs": EPOCHS, "inner_folds": 0, "members": 1}
    return {BASE: base, **{label: {**base, **change} for label, change in ROWS.items()}}


def sections_of(name: str, folder: str | None) -> dict[str, SpatialData]:
    if name == "patients":
        return stp.datasets.synthetic_tissue(n_sections=6, n_subjects=6, subjects="patients")
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
        method,
        FeatureInputs(InputConfig(), []),
        spots,
        FitConfig(batch_size=64),
        epochs=30,
        held_out={},
        seed=0,
        run=Run(Hardware("cpu", 1)),
    )
    return {name: records[-1].losses[name] for name in ("query", "neighbor")}


def contrast_on_noise(attention: str, branch: str) -> float:
    """A contrastive loss on fresh images that have nothing to do with expression, after training on such images.

    Below ln(32) it was met by what expression does on the images' side, and not by what they show.
    """
    torch.manual_seed(0)
    n, k, genes = 32, 8, 60
    mix = torch.randn(6, genes)
    rows = torch.arange(n * (1 + k)).view(n, 1 + k)
    weights = {f"{name}_weight": float(name == branch) for name in ("query", "neighbor")}
    method = NH2ST(16, genes, NH2STConfig(attention=attention, width=64, input_noise=0.0, dropout=0.0, **weights))

    def loss() -> torch.Tensor:
        expression = (torch.randn(n, 1, 6) + 0.5 * torch.randn(n, 1 + k, 6)) @ mix  # neighbors are like their target
        places = torch.zeros(n * (1 + k), 2)
        batch = Batch(torch.randn(n * (1 + k), 16), rows[:, 0], rows[:, 1:], places, expression.flatten(0, 1))
        return method.loss(batch)[branch]

    optimizer = torch.optim.AdamW(method.parameters(), 2e-3)
    for _ in range(400):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    with torch.no_grad():
        return float(torch.stack([loss() for _ in range(20)]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--sets", nargs="+", default=[*SETTINGS, "patients"], choices=[*SETTINGS, "patients"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"Contrastive losses after training on one constant image (chance: ln 64 = {math.log(64):.2f})")
    for attention in ("tokens", "single", "none"):
        losses = contrast_on_constant_images(attention)
        print(f"  {attention:<10}query {losses['query']:.2f}   neighbor {losses['neighbor']:.2f}")
    print(f"\nThe same on fresh images of noise, after training on others (chance: ln 32 = {math.log(32):.2f})")
    for attention in ("tokens", "single", "none"):
        found = {branch: contrast_on_noise(attention, branch) for branch in ("query", "neighbor")}
        print(f"  {attention:<10}query {found['query']:.2f}   neighbor {found['neighbor']:.2f}")
    columns, differences = {}, {}
    for name in arguments.sets:
        out = None if arguments.out is None else arguments.out / name
        table = stp.tl.cross_validate(
            sections_of(name, arguments.folder),
            methods=variants(),
            out=out,
            seeds=arguments.seeds,
            **SETTINGS.get(name, {}),
        )
        pcc = by_fold(table, "pcc")
        columns[name] = pcc.mean(axis=1)
        found = {row: judge(pcc.loc[[row]].to_numpy().T, pcc.loc[BASE].to_numpy(), drawn=True) for row in pcc.index}
        differences[f"{name} vs base"] = pd.Series({row: one.mean for row, one in found.items()})
        differences[f"{name} +/-"] = pd.Series({row: one.margin for row, one in found.items()})
        for failure in table.failures.to_dict("records"):
            print("failed, and in no mean: {method} with {fold} held out: {error}".format(**failure))
    print("\nMean per-gene PCC over 250 genes on held-out subjects (sections), and its paired difference to the base")
    print(
        f"with half the width of its 95 % interval over folds; {arguments.seeds} seed{'s' * (arguments.seeds > 1)}, {EPOCHS} epochs.\n"
    )
    table = pd.DataFrame(columns).join(pd.DataFrame(differences))
    print(table.to_string(float_format=lambda value: f"{value:.3f}", index_names=False))


if __name__ == "__main__":
    main()
