"""HisToGene: all spots of a section attend to each other, each known by its tile and its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from st_predict.core.methods.blocks import PlaceEmbedding, encode_section, prediction_head, transformer
from st_predict.core.methods.interface import Method, MethodConfig, Needs
from st_predict.core.methods.published import (
    ANCHORED,
    CENTERED,
    DECAY,
    DROPPED,
    FAST_RATE,
    NARROW,
    PANEL,
    PIECES,
    PREPARED,
    SAME_ADAM,
    SEVERAL,
    SLOW_DECAY,
    STOPPED,
    TOTALS,
    WIDTHS,
    Published,
)
from st_predict.core.methods.recipe import PLAIN_INPUTS, FitConfig, Recipe, require

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.methods.interface import Batch


@dataclass(frozen=True)
class HisToGeneConfig(MethodConfig):
    """Settings of :class:`HisToGene`.

    Parameters
    ----------
    width
        Width N of a spot's embedding.
    layers, heads
        Layers and heads of the transformer; heads divide ``width``.
    n_places
        Number of columns and of rows that have an embedding of their own.
    dropout, head_dropout
        Dropout of the embeddings and in the transformer, and before the linear head. Dropout before a layer norm makes
        predictions larger in evaluation than in training, so most of it comes after the last layer norm.
    """

    width: int = 128
    layers: int = 1
    heads: int = 4
    n_places: int = 128
    dropout: float = 0.2
    head_dropout: float = 0.6

    def __post_init__(self) -> None:
        require(self, "histogene", {
            "width, layers, heads and n_places must be at least 1": min(
                self.width, self.layers, self.heads, self.n_places
            )
            >= 1,
            "heads must divide width": self.heads >= 1 and self.width % self.heads == 0,
            "dropouts must be in [0, 1)": 0 <= min(self.dropout, self.head_dropout)
            and max(self.dropout, self.head_dropout) < 1,
        })  # fmt: skip

    @property
    def needs(self) -> Needs:
        """See :class:`~st_predict.core.methods.interface.Needs`."""
        return Needs(section=True)


class HisToGene(Method):
    """HisToGene (Pang, Su and Li, bioRxiv 2021, doi 10.1101/2021.11.28.470212; no arXiv version).

    Follows the publication: a linear embedding of the tile plus learned embeddings of the spot's column and row, a
    pre-norm transformer over all spots of the section, layer norm and a linear head, mean squared error. Differs: the
    linear embedding is of an encoder's features, not of raw pixels, whose 38 million weights a few sections cannot
    train; places and the head start at zero; there is dropout before the head, and no super-resolution. Since columns
    and rows are known, a section that is turned is predicted differently.

    Parameters
    ----------
    n_inputs, n_genes
        Input features D and genes G.
    config
        Settings.
    """

    def __init__(self, n_inputs: int, n_genes: int, config: HisToGeneConfig) -> None:
        super().__init__()
        self.config = config
        self.tile_embedding = nn.Linear(n_inputs, config.width)
        self.place_embedding = PlaceEmbedding(config.n_places, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = transformer(config.width, layers=config.layers, heads=config.heads, dropout=config.dropout)
        self.head = prediction_head(config.width, n_genes, config.head_dropout)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error."""
        return {"mse": (self.predict(batch) - batch.measured()[batch.targets]).square().mean()}

    def predict(self, batch: Batch) -> Tensor:
        """``(U, D)`` tiles -> ``(B, G)``. U tiles, D input features, B targets, G genes."""
        spots = self.dropout(self.tile_embedding(batch.tiles) + self.place_embedding(batch.places))  # (U, N)
        predicted: Tensor = self.head(encode_section(self.encoder, spots).index_select(0, batch.targets))
        return predicted


PRESETS = {
    "default": Recipe(
        "histogene", HisToGeneConfig(), fit=FitConfig(max_epochs=60, learning_rate=2e-3, weight_decay=0.1, patience=10)
    ),
    # What the publication trains from scratch is its linear map of pixels. A linear map of features stands for it, so
    # the encoder stays frozen and a batch is a whole section, as there.
    "paper": Recipe(
        "histogene",
        HisToGeneConfig(width=1024, layers=8, heads=16, n_places=64, dropout=0.1, head_dropout=0.0),
        PLAIN_INPUTS,
        FitConfig(
            max_epochs=100,
            learning_rate=1e-5,
            weight_decay=0.0,
            decay=1.0,
            inner_folds=0,
            members=1,
            anchor=False,
            augment=False,
        ),
    ),
}

_LINEAR = "what it trains from scratch is a linear map of pixels, 38 million weights; one of features stands for it"
PUBLISHED = (
    Published("encoder", "a linear map of pixels, trained", "code", _LINEAR),
    Published("tiles", "112 px", "code", WIDTHS),
    Published("inputs", "pixels", "code", {"default": PREPARED, "paper": _LINEAR}),
    Published(
        "targets", "log10 of 1 + counts per 10,000 over the panel", "code", {"default": CENTERED, "paper": TOTALS}
    ),
    Published("genes", "785 of the 1000 most variable", "code", PANEL),
    Published("batch", "a section", "code", PIECES),
    Published("seen together in training", "a section", "code", PIECES),
    Published("seen together in prediction", "a section", "code", PIECES),
    Published("optimizer", "Adam, no weight decay", "code", {"default": DECAY, "paper": SAME_ADAM}),
    Published("learning rate", 1e-5, "code", {"default": FAST_RATE}),
    Published("encoder learning rate", 1e-5, "code", _LINEAR),
    Published("learning rate schedule", "constant", "code", {"default": SLOW_DECAY}),
    Published("epochs", 100, "code", {"default": STOPPED}),
    Published("networks", 1, "code", {"default": SEVERAL}),
    Published("slides unlike training", "predicted as any other", "code", {"default": ANCHORED}),
    Published("augmentation", "none", "code"),
    Published("width", 1024, "code", {"default": NARROW}),
    Published("layers", 8, "code", {"default": NARROW}),
    Published("heads", 16, "code", {"default": NARROW}),
    Published("n_places", 64, "code", {"default": "Visium has 128 columns"}),
    Published("dropout", 0.1, "code", {"default": DROPPED}),
    Published("head_dropout", 0.0, "code", {"default": DROPPED}),
    Published(
        "places and head at the start", "random", "code", "a place that no training section reaches then adds nothing",
        built="0",
    ),
)  # fmt: skip
