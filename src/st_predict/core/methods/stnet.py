"""ST-Net: a linear map from one tile's features, trained by gradient on the squared error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from st_predict.core.methods.interface import Method, MethodConfig
from st_predict.core.methods.published import (
    ANCHORED,
    ANY_ENCODER,
    BATCH_NORM,
    CENTERED,
    DECAY,
    ENCODED_ONCE,
    FAST_RATE,
    FROZEN,
    PANEL,
    PREPARED,
    SEVERAL,
    SLOW_DECAY,
    SMALL_BATCH,
    STOPPED,
    TOTALS,
    UM,
    WIDTHS,
    Published,
)
from st_predict.core.methods.recipe import PLAIN_INPUTS, FitConfig, Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.methods.interface import Batch, Reference


@dataclass(frozen=True)
class STNetConfig(MethodConfig):
    """ST-Net has no settings of its own; only the encoder and the training have."""


class STNet(Method):
    """ST-Net (He et al., Nature Biomedical Engineering 2020).

    Follows the paper: encoder features, one linear layer that starts as the training mean, squared error. Differs: any
    encoder in place of DenseNet-121, by default a frozen one.

    Parameters
    ----------
    n_inputs, n_genes
        Input features D and genes G.
    config
        Empty.
    """

    def __init__(self, n_inputs: int, n_genes: int, config: STNetConfig) -> None:
        super().__init__()
        self.config = config
        self.head = nn.Linear(n_inputs, n_genes)
        nn.init.zeros_(self.head.weight)

    def before_fit(self, reference: Reference) -> None:
        """Start as the training mean: zero weights, the mean as bias (as the publication's code)."""
        with torch.no_grad():
            self.head.bias.copy_(reference.expression.mean(dim=0))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error."""
        return {"mse": (self.predict(batch) - batch.measured()[batch.targets]).square().mean()}

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``."""
        predicted: Tensor = self.head(batch.tiles.index_select(0, batch.targets))
        return predicted


PRESETS = {
    "default": Recipe("stnet", STNetConfig(), fit=FitConfig(learning_rate=3e-4, weight_decay=0.1)),
    # The paper's optimizer is SGD with momentum 0.9 at 1e-6 on a summed error; AdamW takes its place here.
    "paper": Recipe(
        "stnet",
        STNetConfig(),
        PLAIN_INPUTS,
        FitConfig(
            max_epochs=50,
            batch_size=32,
            learning_rate=1e-4,
            weight_decay=0.0,
            decay=1.0,
            block_size=1,
            inner_folds=0,
            trainable_encoder=True,
            anchor=False,
        ),
    ),
}

PUBLISHED = (
    Published("encoder", "densenet121, trained", "paper", {"default": FROZEN, "paper": ANY_ENCODER}),
    Published("tiles", "224 px", "paper", {"default": WIDTHS, "paper": UM}),
    Published("inputs", "features as they are", "paper", {"default": PREPARED}),
    Published("targets", "log of (1 + count) / (total + number of genes)", "code", {"default": CENTERED, "paper": TOTALS}),
    Published("genes", "250 of highest mean count", "paper", PANEL),
    Published("batch", "32 random spots", "paper", {"default": SMALL_BATCH}),
    Published(
        "optimizer", "SGD, momentum 0.9, no weight decay", "code",
        {"default": DECAY, "paper": "one optimizer for all methods; that of the code fits an error summed over the batch"},
    ),
    Published(
        "learning rate", 1e-6, "paper",
        {"default": FAST_RATE, "paper": "the error is a mean over the batch, and AdamW scales every step"},
    ),
    Published("encoder learning rate", 1e-6, "paper", {"default": FROZEN, "paper": "as the learning rate"}),
    Published("learning rate schedule", "constant", "code", {"default": SLOW_DECAY}),
    Published("epochs", 50, "paper", {"default": STOPPED}),
    Published("networks", 1, "paper", {"default": SEVERAL}),
    Published("slides unlike training", "predicted as any other", "paper", {"default": ANCHORED}),
    Published("augmentation", "turns and flips", "paper", {"default": ENCODED_ONCE}),
    Published("batch norm of the encoder", "trained with each batch", "code", BATCH_NORM),
    Published(
        "prediction", "mean over a tile's eight orientations", "paper", "eight times the encoding",
        built="of the tile as it lies",
    ),
)  # fmt: skip
