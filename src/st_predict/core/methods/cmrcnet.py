"""CMRCNet: cross-modal contrast, beside the reconstruction of masked images from expression; prediction by retrieval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from st_predict.core.methods.blocks import ProjectionHead, dropped
from st_predict.core.methods.contrast import soft_contrast
from st_predict.core.methods.interface import Method, MethodConfig
from st_predict.core.methods.published import (
    ANCHORED,
    ANY_ENCODER,
    CENTERED,
    DECAY,
    ENCODED_ONCE,
    FAST_RATE,
    FROZEN,
    NARROW,
    PANEL,
    PREPARED,
    SEVERAL,
    SLOW_DECAY,
    STOPPED,
    TOTALS,
    UM,
    WIDTHS,
    Published,
)
from st_predict.core.methods.recipe import PLAIN_INPUTS, FitConfig, Recipe, require
from st_predict.core.methods.retrieval import RetrievalBank

if TYPE_CHECKING:
    from st_predict.core.methods.interface import Batch, Reference


@dataclass(frozen=True)
class CMRCNetConfig(MethodConfig):
    """Settings of :class:`CMRCNet`.

    Parameters
    ----------
    width
        Embedding width N of both modalities and of their tokens; a multiple of 8.
    tokens
        T, number of tokens of an image, and of an expression profile.
    masked
        Probability that an element of an image token is hidden.
    fusion_blocks
        How often the fusion block (one set of weights) is applied.
    temperature
        Temperature of the contrastive loss.
    reconstruction_weight
        Weight of the reconstruction beside the contrast; 0 turns it off.
    dropout, gene_dropout
        Dropout of heads and fusion, and of the expression tokens.
    retrieved
        How many training spots are averaged for a prediction.
    """

    width: int = 256
    tokens: int = 8
    masked: float = 0.5
    fusion_blocks: int = 2
    temperature: float = 1.0
    reconstruction_weight: float = 1.0
    dropout: float = 0.1
    gene_dropout: float = 0.25
    retrieved: int = 50

    def __post_init__(self) -> None:
        require(self, "cmrcnet", {
            "tokens and retrieved must be at least 1": min(self.tokens, self.retrieved) >= 1,
            "width must be a positive multiple of 8": self.width >= 8 and self.width % 8 == 0,
            "masked and dropouts must be in [0, 1)": 0 <= min(self.masked, self.dropout, self.gene_dropout)
            and max(self.masked, self.dropout, self.gene_dropout) < 1,
            "temperature must be positive": self.temperature > 0,
            "fusion_blocks and reconstruction_weight must not be negative": self.fusion_blocks >= 0
            and self.reconstruction_weight >= 0,
        })  # fmt: skip


class Reconstruction(nn.Module):
    """Masked image tokens ask the expression tokens for what they lost, and are fused to one embedding."""

    def __init__(self, width: int, *, masked: float, fusion_blocks: int, dropout: float) -> None:
        super().__init__()
        self.masked, self.fusion_blocks = masked, fusion_blocks
        self.ask = nn.MultiheadAttention(width, 4, dropout, batch_first=True)
        self.attend = nn.TransformerEncoderLayer(
            width, 8, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.ask_again = nn.MultiheadAttention(width, 4, dropout, batch_first=True)

    def forward(self, images: Tensor, genes: Tensor) -> Tensor:
        """``(B, T, N)`` twice -> ``(B, N)``. B targets, T tokens, N width."""
        # No residual here: what the image lost comes back from expression, or not at all.
        tokens = self.ask(dropped(images, self.masked), genes, genes, need_weights=False)[0]
        for _ in range(self.fusion_blocks):
            tokens = self.attend(tokens)
            tokens = tokens + self.ask_again(tokens, genes, genes, need_weights=False)[0]
        return tokens.mean(dim=1)


class CMRCNet(Method):
    """Cross-modal mask reconstruction and contrast (Liu et al., Medical Image Analysis 2026, arXiv 2506.08854).

    Follows the publication's code: projection heads; contrast with soft targets; element-wise masking without
    rescaling; a first attention without residual; fusion blocks that share their weights; a reconstruction target that
    is not detached (it could become the same for all spots, which the contrast prevents); the logarithm of both losses;
    prediction as the mean expression of the most similar training spots.

    Differs: image tokens are a linear map of the encoder's features (any encoder, frozen by default), where the
    publication trains a ViT-B/32 from scratch and takes its 50 patches; cross-attention is the standard one.

    Parameters
    ----------
    n_inputs, n_genes
        Input features D and genes G.
    config
        Settings.
    """

    def __init__(self, n_inputs: int, n_genes: int, config: CMRCNetConfig) -> None:
        super().__init__()
        self.config = config
        width, tokens = config.width, config.tokens
        self.image_head = ProjectionHead(n_inputs, width, config.dropout)
        self.gene_head = ProjectionHead(n_genes, width, config.dropout)
        self.image_tokens = nn.Sequential(nn.Linear(n_inputs, tokens * width), nn.Unflatten(1, (tokens, width)))
        self.gene_tokens = nn.Sequential(
            nn.Linear(n_genes, tokens * width), nn.ELU(), nn.AlphaDropout(config.gene_dropout),
            nn.Unflatten(1, (tokens, width)),
        )  # fmt: skip
        self.reconstruction = Reconstruction(
            width, masked=config.masked, fusion_blocks=config.fusion_blocks, dropout=config.dropout
        )
        self.bank = RetrievalBank()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``log(1 + .)`` of the mean contrast and of the mean squared error of the reconstruction."""
        tiles, expression = batch.tiles.index_select(0, batch.targets), batch.measured()[batch.targets]
        images = self.image_head(tiles)
        contrast = soft_contrast(images, self.gene_head(expression), temperature=self.config.temperature)
        terms = {"contrast": contrast.mean().log1p()}
        if self.config.reconstruction_weight:
            rebuilt = self.reconstruction(self.image_tokens(tiles), self.gene_tokens(expression))
            error = (rebuilt - images).square().mean()
            terms["reconstruction"] = self.config.reconstruction_weight * error.log1p()
        return terms

    def after_fit(self, reference: Reference) -> None:
        """Embed the training spots' expression."""
        self.bank.fill(self.gene_head(reference.expression), reference.expression)

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``: mean expression of the retrieved training spots."""
        return self.bank.retrieve(self.image_head(batch.tiles[batch.targets]), self.config.retrieved)


_COSINE = FitConfig(
    max_epochs=60, batch_size=64, block_size=1, learning_rate=1e-4, weight_decay=1e-3, schedule="cosine", final_learning_rate=1e-5,
    inner_folds=0, trainable_encoder=True, anchor=False,
)  # fmt: skip
PRESETS = {
    "default": Recipe("cmrcnet", CMRCNetConfig(width=128, tokens=4), fit=FitConfig(learning_rate=1e-3)),
    "paper": Recipe("cmrcnet", CMRCNetConfig(), PLAIN_INPUTS, _COSINE),
}

PUBLISHED = (
    Published("encoder", "ViT-B/32 of 8 layers, trained from scratch", "code", {"default": FROZEN, "paper": ANY_ENCODER}),
    Published("tiles", "224 px", "code", {"default": WIDTHS, "paper": UM}),
    Published(
        "inputs", "50 patch tokens", "code", {"default": PREPARED, "paper": "any encoder gives one vector; a linear map makes tokens of it"}
    ),
    Published("targets", "log1p of normalized counts", "code", {"default": CENTERED, "paper": TOTALS}),
    Published("genes", "union of each slide's 1000 most variable", "code", PANEL),
    Published("batch", "64 random spots", "code"),
    Published("optimizer", "AdamW, weight decay 0.001", "code", {"default": DECAY}),
    Published("learning rate", 1e-4, "code", {"default": FAST_RATE}),
    Published("encoder learning rate", 1e-4, "code", {"default": FROZEN}),
    Published("learning rate schedule", "cosine to 1e-05", "code", {"default": SLOW_DECAY}),
    Published(
        "epochs", "60, best on random training spots", "code",
        {"default": STOPPED, "paper": "spots beside those trained on are not held out, so all epochs are run"},
    ),
    Published("networks", 1, "code", {"default": SEVERAL}),
    Published("slides unlike training", "predicted as any other", "code", {"default": ANCHORED}),
    Published("augmentation", "turns and flips", "code", {"default": ENCODED_ONCE}),
    Published("width", 256, "code", {"default": NARROW}),
    Published("tokens", "50 of an image, 8 of an expression", "code", {"default": NARROW, "paper": "one setting for both modalities"}),
    Published("masked", 0.5, "code"),
    Published("fusion_blocks", 2, "code"),
    Published("temperature", 1.0, "code"),
    Published("reconstruction_weight", 1.0, "code"),
    Published("dropout", 0.1, "code"),
    Published("gene_dropout", 0.25, "code"),
    Published("retrieved", 50, "code"),
)  # fmt: skip
