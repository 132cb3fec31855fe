"""mclSTExp: contrast between images and expression with its place, and prediction by retrieval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from st_predict.core.methods.blocks import PlaceEmbedding, ProjectionHead, encode_section, transformer
from st_predict.core.methods.interface import Method, MethodConfig, Needs
from st_predict.core.methods.published import (
    ANCHORED,
    ANY_ENCODER,
    BATCH_NORM,
    CENTERED,
    CUT,
    DECAY,
    DROPPED,
    ENCODED_ONCE,
    FAST_RATE,
    FROZEN,
    NARROW,
    NO_JITTER,
    PANEL,
    PREPARED,
    SEVERAL,
    SLOW_DECAY,
    STOPPED,
    TOTALS,
    UM,
    WHOLE,
    WIDTHS,
    Published,
)
from st_predict.core.methods.recipe import PLAIN_INPUTS, FitConfig, Recipe, require
from st_predict.core.methods.retrieval import RetrievalBank

if TYPE_CHECKING:
    from st_predict.core.methods.interface import Batch, Reference


@dataclass(frozen=True)
class MclSTExpConfig(MethodConfig):
    """Settings of :class:`MclSTExp`.

    Parameters
    ----------
    width
        Embedding width N of both modalities.
    layers, heads
        Layers and heads of the transformer over expression; heads divide ``width``.
    n_places
        Number of columns and of rows that have an embedding of their own.
    dropout
        Dropout of the image's projection head and of the expression side.
    temperature
        Divides the products of the embeddings, which are layer-normed and so as large as the width.
    retrieved
        How many training spots are averaged for a prediction.
    """

    width: int = 128
    layers: int = 1
    heads: int = 4
    n_places: int = 128
    dropout: float = 0.5
    temperature: float = 16.0
    retrieved: int = 100

    def __post_init__(self) -> None:
        require(self, "mclstexp", {
            "width, layers, heads, n_places and retrieved must be at least 1": min(
                self.width, self.layers, self.heads, self.n_places, self.retrieved
            )
            >= 1,
            "heads must divide width": self.heads >= 1 and self.width % self.heads == 0,
            "dropout must be in [0, 1)": 0 <= self.dropout < 1,
            "temperature must be positive": self.temperature > 0,
        })  # fmt: skip

    @property
    def needs(self) -> Needs:
        """See :class:`~st_predict.core.methods.interface.Needs`."""
        return Needs(section=True)


class MclSTExp(Method):
    """mclSTExp (Min et al., Briefings in Bioinformatics 2024, arXiv 2407.08216).

    Follows the publication: the image through a projection head; the spot's expression with embeddings of its column
    and row through a transformer over spots and a projection head; contrast both ways between the layer-normed
    embeddings; prediction from the training spots whose expression embedding is most similar to the image's, weighed
    by their inverse square distance. Differs: any encoder, by default a frozen one, in place of DenseNet-121; the
    transformer sees spots of one section (all of them; a batch of them while an encoder is trained), where the code
    lets the spots of a mixed batch attend to each other; expression is scaled as a whole and mapped to the embedding's width first, so that
    heads divide it; distances are those of unit vectors.

    Parameters
    ----------
    n_inputs, n_genes
        Input features D and genes G.
    config
        Settings.
    """

    expression_scale: Tensor

    def __init__(self, n_inputs: int, n_genes: int, config: MclSTExpConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.register_buffer("expression_scale", torch.ones(()))
        self.image_head = ProjectionHead(n_inputs, width, config.dropout)
        self.gene_embedding = nn.Linear(n_genes, width)
        self.place_embedding = PlaceEmbedding(config.n_places, width)
        self.encoder = transformer(width, layers=config.layers, heads=config.heads, dropout=config.dropout)
        self.gene_head = ProjectionHead(width, width, config.dropout)
        self.bank = RetrievalBank()

    def before_fit(self, reference: Reference) -> None:
        """Compute the scale of training expression, whatever it was centered on."""
        centered = reference.expression - reference.expression.mean(dim=0)
        self.expression_scale.copy_(centered.square().mean().sqrt().clamp(min=1e-6))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of finding the expression of an image and the image of an expression, averaged."""
        images = self.image_head(batch.tiles.index_select(0, batch.targets))
        genes = self._embed_genes(batch.measured(), batch.places).index_select(0, batch.targets)
        logits = images @ genes.T / self.config.temperature  # (B, B)
        pairs = torch.arange(len(logits), device=logits.device)
        contrast = functional.cross_entropy(logits, pairs) + functional.cross_entropy(logits.T, pairs)
        return {"contrast": contrast / 2}

    def after_fit(self, reference: Reference) -> None:
        """Embed the training spots' expression, a section at a time."""
        keys = reference.expression.new_empty(len(reference.expression), self.config.width)
        for rows in reference.blocks:
            keys[rows] = self._embed_genes(reference.expression[rows], reference.places[rows])
        self.bank.fill(keys, reference.expression)

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``: weighted mean expression of the retrieved training spots."""
        images = self.image_head(batch.tiles.index_select(0, batch.targets))
        return self.bank.retrieve(images, self.config.retrieved, weighting="inverse_square_distance")

    def _embed_genes(self, expression: Tensor, places: Tensor) -> Tensor:
        """Expression ``(U, G)`` and places ``(U, 2)`` of a section's spots -> ``(U, N)``."""
        spots = self.gene_embedding(expression / self.expression_scale) + self.place_embedding(places)
        embedded: Tensor = self.gene_head(encode_section(self.encoder, spots))
        return embedded


PRESETS = {
    "default": Recipe(
        "mclstexp",
        MclSTExpConfig(), fit=FitConfig(max_epochs=60, learning_rate=1e-3, weight_decay=0.1, patience=10)
    ),
    # Where the encoder is trained, a batch is a part of a section (of batch_size spots), for memory.
    "paper": Recipe(
        "mclstexp",
        MclSTExpConfig(width=256, layers=2, heads=8, dropout=0.0, temperature=1.0, retrieved=200),
        PLAIN_INPUTS,
        FitConfig(
            max_epochs=90, batch_size=128, learning_rate=1e-4, weight_decay=1e-3, decay=1.0, inner_folds=0,
            trainable_encoder=True, anchor=False,
        ),
    ),
}  # fmt: skip

PUBLISHED = (
    Published("encoder", "densenet121, trained", "code", {"default": FROZEN, "paper": ANY_ENCODER}),
    Published("tiles", "224 px", "code", {"default": WIDTHS, "paper": UM}),
    Published("inputs", "features as they are", "code", {"default": PREPARED}),
    Published("targets", "log10 of 1 + counts per 10,000 over the panel", "code", {"default": CENTERED, "paper": TOTALS}),
    Published("genes", "785 of the 1000 most variable", "code", PANEL),
    Published("batch", "128 random spots", "code", {"default": WHOLE, "paper": CUT}),
    Published(
        "seen together in training", "128 random spots of all sections", "code",
        {"default": WHOLE, "paper": "spots of other sections are no surroundings; more of one do not fit in memory"},
    ),
    Published(
        "optimizer", "Adam, weight decay 0.001 as part of the gradient", "code",
        {"default": DECAY, "paper": "one optimizer for all methods; AdamW's decay is not scaled with the steps"},
    ),
    Published("learning rate", 1e-4, "code", {"default": FAST_RATE}),
    Published("encoder learning rate", 1e-4, "code", {"default": FROZEN}),
    Published("learning rate schedule", "constant", "code", {"default": SLOW_DECAY}),
    Published("epochs", 90, "code", {"default": STOPPED}),
    Published("networks", 1, "code", {"default": SEVERAL}),
    Published("slides unlike training", "predicted as any other", "code", {"default": ANCHORED}),
    Published("augmentation", "color jitter, turns and flips", "code", {"default": ENCODED_ONCE, "paper": NO_JITTER}),
    Published("batch norm of the encoder", "trained with each batch", "code", BATCH_NORM),
    Published("width", 256, "code", {"default": NARROW}),
    Published("layers", 2, "code", {"default": NARROW}),
    Published("heads", 8, "code", {"default": NARROW}),
    Published("n_places", 65536, "code", "no array has as many columns, and what is not trained is not learned"),
    Published("dropout", 0.0, "code", {"default": DROPPED}),
    Published("temperature", 1.0, "code", {"default": "products of layer-normed embeddings are as large as their width"}),
    Published("retrieved", 200, "paper", {"default": "a handful of sections has few spots to take the mean of"}),
    Published(
        "transformer's width", "as many as genes", "code", "heads must divide it, whatever the panel", built="`width`"
    ),
    Published(
        "distance that weighs the retrieved", "of the embeddings", "code",
        "those found by cosine are weighed by the same", built="of unit vectors",
    ),
)  # fmt: skip
