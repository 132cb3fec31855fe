"""BLEEP: image and expression embedded in one space, and prediction by retrieval from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from st_predict.core.methods.blocks import ProjectionHead
from st_predict.core.methods.contrast import soft_contrast
from st_predict.core.methods.interface import Method, MethodConfig
from st_predict.core.methods.published import (
    ANCHORED,
    ANY_ENCODER,
    BATCH_NORM,
    CENTERED,
    DECAY,
    ENCODED_ONCE,
    FROZEN,
    PANEL,
    PREPARED,
    SEVERAL,
    SLOW_DECAY,
    SMALL_BATCH,
    STOPPED,
    UM,
    WIDTHS,
    Published,
)
from st_predict.core.methods.recipe import PLAIN_INPUTS, FitConfig, Recipe, require
from st_predict.core.methods.retrieval import RetrievalBank

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.methods.interface import Batch, Reference


@dataclass(frozen=True)
class BLEEPConfig(MethodConfig):
    """Settings of :class:`BLEEP`.

    Parameters
    ----------
    width
        Embedding width of both modalities.
    temperature
        Temperature of the contrastive loss.
    dropout
        Dropout of the projection heads.
    retrieved
        How many training spots are averaged for a prediction.
    """

    width: int = 256
    temperature: float = 1.0
    dropout: float = 0.1
    retrieved: int = 50

    def __post_init__(self) -> None:
        require(self, "bleep", {
            "width and retrieved must be at least 1": min(self.width, self.retrieved) >= 1,
            "temperature must be positive": self.temperature > 0,
            "dropout must be in [0, 1)": 0 <= self.dropout < 1,
        })  # fmt: skip


class BLEEP(Method):
    """BLEEP (Xie et al., NeurIPS 2023, arXiv 2306.01859).

    Follows the paper: a projection head a modality, contrast with soft targets, prediction as the mean expression of
    the training spots whose expression embedding is most similar to the image's. Differs: any encoder in place of
    ResNet-50, by default a frozen one; no batch correction of expression.

    Parameters
    ----------
    n_inputs, n_genes
        Input features D and genes G.
    config
        Settings.
    """

    def __init__(self, n_inputs: int, n_genes: int, config: BLEEPConfig) -> None:
        super().__init__()
        self.config = config
        self.image_head = ProjectionHead(n_inputs, config.width, config.dropout)
        self.gene_head = ProjectionHead(n_genes, config.width, config.dropout)
        self.bank = RetrievalBank()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Contrast with soft targets."""
        images = self.image_head(batch.tiles.index_select(0, batch.targets))
        genes = self.gene_head(batch.measured()[batch.targets])
        return {"contrast": soft_contrast(images, genes, temperature=self.config.temperature).mean()}

    def after_fit(self, reference: Reference) -> None:
        """Embed the training spots' expression."""
        self.bank.fill(self.gene_head(reference.expression), reference.expression)

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``: mean expression of the retrieved training spots."""
        return self.bank.retrieve(self.image_head(batch.tiles[batch.targets]), self.config.retrieved)


PRESETS = {
    "default": Recipe("bleep", BLEEPConfig(), fit=FitConfig(learning_rate=1e-3)),
    "paper": Recipe(
        "bleep",
        BLEEPConfig(),
        PLAIN_INPUTS,
        FitConfig(
            max_epochs=150,
            batch_size=32,
            learning_rate=1e-3,
            encoder_learning_rate=1e-3,
            weight_decay=1e-3,
            decay=1.0,
            block_size=1,
            inner_folds=0,
            trainable_encoder=True,
            anchor=False,
        ),
    ),
}

PUBLISHED = (
    Published("encoder", "resnet50, trained", "paper", {"default": FROZEN, "paper": ANY_ENCODER}),
    Published("tiles", "224 px", "code", {"default": WIDTHS, "paper": UM}),
    Published("inputs", "features as they are", "code", {"default": PREPARED}),
    Published(
        "targets", "log1p of normalized counts, batch-corrected by Harmony", "paper",
        {"default": CENTERED, "paper": "correction would have to see the new slide's expression"},
    ),
    Published("genes", "union of each slide's 1000 most variable", "code", PANEL),
    Published(
        "batch", "256 random spots", "code",
        {"default": SMALL_BATCH, "paper": "256 tiles with an encoder in training ask for a large GPU; `batch_size=256` is as published"},
    ),
    Published("optimizer", "AdamW, weight decay 0.001", "code", {"default": DECAY}),
    Published("learning rate", 1e-3, "code"),
    Published("encoder learning rate", 1e-3, "code", {"default": FROZEN}),
    Published("learning rate schedule", "constant", "code", {"default": SLOW_DECAY}),
    Published(
        "epochs", "150, best on random training spots", "paper",
        {"default": STOPPED, "paper": "spots beside those trained on are not held out, so all epochs are run"},
    ),
    Published("networks", 1, "paper", {"default": SEVERAL}),
    Published("slides unlike training", "predicted as any other", "paper", {"default": ANCHORED}),
    Published("augmentation", "turns and flips", "code", {"default": ENCODED_ONCE}),
    Published("batch norm of the encoder", "trained with each batch", "code", BATCH_NORM),
    Published("width", 256, "code"),
    Published("temperature", 1.0, "code"),
    Published("dropout", 0.1, "code"),
    Published("retrieved", 50, "paper"),
)  # fmt: skip
