"""Hist2ST: a transformer over the section, a graph over each spot's nearest, and a likelihood of the counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from st_predict.core.methods.blocks import PlaceEmbedding, encode_section, prediction_head, transformer
from st_predict.core.methods.graph import RememberingGraph, neighbors_of_all
from st_predict.core.methods.interface import Method, MethodConfig, Needs
from st_predict.core.methods.published import (
    ANCHORED,
    ANY_ENCODER,
    BATCH_NORM,
    CENTERED,
    CUT,
    DECAY,
    DROPPED,
    FAST_RATE,
    FROZEN,
    NARROW,
    PANEL,
    PIECES,
    PREPARED,
    SAME_ADAM,
    SEVERAL,
    STOPPED,
    TOTALS,
    UM,
    WIDTHS,
    Published,
)
from st_predict.core.methods.recipe import PLAIN_INPUTS, FitConfig, Recipe, require
from st_predict.core.methods.zinb import CountHeads

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.methods.interface import Batch


@dataclass(frozen=True)
class Hist2STConfig(MethodConfig):
    """Settings of :class:`Hist2ST`.

    Parameters
    ----------
    width
        Width N of a spot's embedding.
    layers, heads, dropout
        Layers, heads (which divide ``width``) and dropout of the transformer; dropout is applied to the embeddings too.
    neighbors, graph_layers
        K, nearest spots of the graph, and layers over it.
    own_tile
        The LSTM reads the transformer's output first. In the paper it reads the graph layers only, which know nothing
        of the spot itself.
    n_places
        Number of columns and of rows that have an embedding of their own.
    zinb_weight, distillation_weight
        Weights of the counts' likelihood and of self-distillation; 0 turns a term off.
    passes, feature_dropout
        Number of augmented passes of the self-distillation, and the dropout of the input features in them.
    """

    width: int = 96
    layers: int = 1
    heads: int = 4
    neighbors: int = 4
    graph_layers: int = 2
    own_tile: bool = True
    n_places: int = 128
    dropout: float = 0.5
    zinb_weight: float = 0.02
    distillation_weight: float = 0.5
    passes: int = 2
    feature_dropout: float = 0.2

    def __post_init__(self) -> None:
        sizes = self.width, self.layers, self.heads, self.neighbors, self.graph_layers, self.n_places, self.passes
        dropouts = self.dropout, self.feature_dropout
        require(self, "hist2st", {
            "width, layers, heads, neighbors, graph_layers, n_places and passes must be at least 1": min(sizes) >= 1,
            "heads must divide width": self.heads >= 1 and self.width % self.heads == 0,
            "weights must not be negative": min(self.zinb_weight, self.distillation_weight) >= 0,
            "dropouts must be in [0, 1)": 0 <= min(dropouts) and max(dropouts) < 1,
        })  # fmt: skip

    @property
    def needs(self) -> Needs:
        """See :class:`~st_predict.core.methods.interface.Needs`."""
        return Needs(neighbors=self.neighbors, section=True)


class Hist2ST(Method):
    """Hist2ST (Zeng et al., Briefings in Bioinformatics 2022, doi 10.1093/bib/bbac297; no arXiv version).

    Follows the publication: embeddings of tile and place, a transformer over all spots of the section, layers over
    the graph of each spot's nearest, an LSTM over their outputs, a linear head (MSE), a zero-inflated negative
    binomial of the raw counts, and self-distillation: augmented passes, weighed by a learned score, are drawn to the
    plain one. Differs: any encoder in place of the ConvMixer; an augmented pass is dropout of the encoded features (the
    code turns and recolors the image, which would encode every tile again for every pass); neighbors are not cut off by
    distance; places and the head start at zero; see ``own_tile``. Since columns and rows are known, a section that is
    turned is predicted differently.

    Parameters
    ----------
    n_inputs, n_genes
        Input features D and genes G.
    config
        Settings.
    """

    def __init__(self, n_inputs: int, n_genes: int, config: Hist2STConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.tile_embedding = nn.Linear(n_inputs, width)
        self.place_embedding = PlaceEmbedding(config.n_places, width)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = transformer(width, layers=config.layers, heads=config.heads, dropout=config.dropout)
        self.graph = RememberingGraph(width, config.graph_layers, own_first=config.own_tile)
        self.head = prediction_head(width, n_genes)
        self.counts = CountHeads(width, n_genes)
        self.pass_score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """MSE, likelihood of the counts and self-distillation."""
        config = self.config
        spots = self._embed(batch)
        predicted = self.head(spots)
        terms = {"mse": (predicted - batch.measured()[batch.targets]).square().mean()}
        if config.zinb_weight:
            terms["zinb"] = config.zinb_weight * self.counts.loss(spots, batch)
        if config.distillation_weight:
            terms["distillation"] = config.distillation_weight * (self._teacher(batch) - predicted).square().mean()
        return terms

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``: the linear head alone."""
        predicted: Tensor = self.head(self._embed(batch))
        return predicted

    def _embed(self, batch: Batch) -> Tensor:
        """``(U, D)`` tiles -> ``(B, N)``. U tiles, D input features, B targets, N width."""
        spots = self.dropout(self.tile_embedding(batch.tiles) + self.place_embedding(batch.places))
        spots = self.graph(encode_section(self.encoder, spots), *neighbors_of_all(batch))  # (U, N)
        return spots.index_select(0, batch.targets)

    def _teacher(self, batch: Batch) -> Tensor:
        """Predictions of the augmented passes, ``(B, G)`` each, averaged by each spot's scores of them."""
        passes = [
            self._embed(batch._replace(tiles=functional.dropout(batch.tiles, self.config.feature_dropout)))
            for _ in range(self.config.passes)
        ]
        spots = torch.stack(passes)  # (A, B, N), A passes
        taught: Tensor = (self.pass_score(spots).softmax(dim=0) * self.head(spots)).sum(dim=0)
        return taught


PRESETS = {
    "default": Recipe("hist2st", Hist2STConfig(), fit=FitConfig(max_epochs=60, learning_rate=3e-3, weight_decay=0.1)),
    # Where the encoder is trained, a batch is batch_size spots of a section, for memory.
    "paper": Recipe(
        "hist2st",
        Hist2STConfig(
            width=1024, layers=8, heads=16, graph_layers=4, own_tile=False, n_places=64, dropout=0.2,
            zinb_weight=0.25, distillation_weight=0.5, passes=5,
        ),
        PLAIN_INPUTS,
        FitConfig(
            max_epochs=350, batch_size=128, learning_rate=1e-5, encoder_learning_rate=1e-5, weight_decay=0.0,
            inner_folds=0, trainable_encoder=True, anchor=False, augment=False,
        ),
    ),
}  # fmt: skip

PUBLISHED = (
    Published("encoder", "ConvMixer, trained from scratch", "paper", {"default": FROZEN, "paper": ANY_ENCODER}),
    Published("tiles", "112 px", "code", {"default": WIDTHS, "paper": UM}),
    Published("inputs", "features as they are", "code", {"default": PREPARED}),
    Published(
        "targets", "log10 of 1 + counts per 10,000 over the panel", "code", {"default": CENTERED, "paper": TOTALS}
    ),
    Published("genes", "785 of the 1000 most variable", "code", PANEL),
    Published("batch", "a section", "code", {"default": PIECES, "paper": CUT}),
    Published("seen together in training", "a section", "code", {"default": PIECES, "paper": CUT}),
    Published("seen together in prediction", "a section", "code", PIECES),
    Published("optimizer", "Adam, no weight decay", "code", {"default": DECAY, "paper": SAME_ADAM}),
    Published("learning rate", 1e-5, "code", {"default": FAST_RATE}),
    Published("encoder learning rate", 1e-5, "code", {"default": FROZEN}),
    Published("learning rate schedule", "times 0.9 every 50 epochs", "code"),
    Published("epochs", 350, "code", {"default": STOPPED}),
    Published("networks", 1, "code", {"default": SEVERAL}),
    Published("slides unlike training", "predicted as any other", "code", {"default": ANCHORED}),
    Published("augmentation", "none", "code"),
    Published("batch norm of the encoder", "trained with each batch", "code", BATCH_NORM),
    Published("width", 1024, "code", {"default": NARROW}),
    Published("layers", 8, "code", {"default": NARROW}),
    Published("heads", 16, "code", {"default": NARROW}),
    Published("neighbors", 4, "code"),
    Published("graph_layers", 4, "code", {"default": NARROW}),
    Published("own_tile", False, "code", {"default": "the graph layers alone do not see the spot itself"}),
    Published("n_places", 64, "code", {"default": "Visium has 128 columns"}),
    Published("dropout", 0.2, "code", {"default": DROPPED}),
    Published("zinb_weight", 0.25, "code", {"default": "chosen on held-out training sections"}),
    Published("distillation_weight", 0.5, "code"),
    Published("passes", 5, "code", {"default": NARROW}),
    Published(
        "feature_dropout", "turns, flips and gray of the image", "code",
        "the image's own changes would encode every tile again for every pass",
    ),
    Published(
        "neighbors too far away", "cut off, for the grid of her2st", "code", "arrays differ in pitch",
        built="kept",
    ),
)  # fmt: skip
