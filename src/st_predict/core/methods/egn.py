"""EGN: a prediction uses the expression of the training tiles most similar to a target, through gated bridges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from st_predict.core.methods.bridge import ExemplarBridge
from st_predict.core.methods.interface import Method, MethodConfig, Needs
from st_predict.core.methods.published import (
    ANCHORED,
    ANY_ENCODER,
    CENTERED,
    DECAY,
    DROPPED,
    FAST_RATE,
    FROZEN,
    NARROW,
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
from st_predict.core.methods.recipe import PLAIN_INPUTS, FitConfig, Recipe, require
from st_predict.core.methods.retrieval import RetrievalBank

if TYPE_CHECKING:
    from st_predict.core.methods.interface import Batch, Reference


@dataclass(frozen=True)
class EGNConfig(MethodConfig):
    """Settings of :class:`EGN`.

    Parameters
    ----------
    width, dropout
        Width N of all embeddings, and their dropout.
    exemplars
        K, training spots retrieved for each target.
    bridges
        Exemplar bridges, one after the other.
    correlation_weight
        Weight of 1 - PCC over a batch, mean over genes, beside the squared error; 0 turns it off.
    """

    width: int = 64
    exemplars: int = 9
    bridges: int = 2
    dropout: float = 0.7
    correlation_weight: float = 0.5

    def __post_init__(self) -> None:
        require(self, "egn", {
            "width, exemplars and bridges must be at least 1": min(self.width, self.exemplars, self.bridges) >= 1,
            "dropout must be in [0, 1)": 0 <= self.dropout < 1,
            "correlation_weight must not be negative": self.correlation_weight >= 0,
        })  # fmt: skip

    @property
    def needs(self) -> Needs:
        """See :class:`~st_predict.core.methods.interface.Needs`."""
        return Needs(bank=True)


class EGN(Method):
    """Exemplar-guided network (Yang et al., WACV 2023, arXiv 2210.16721).

    Follows the paper: the training tiles nearest to a target are retrieved, from other sections than its own while
    training; bridges gate their expression into the target's representation; squared error and correlation over the
    batch. Differs: one vector of any encoder's features stands in for a vision transformer's tokens, so a bridge
    gates it as a whole and no attention lies between bridges; the same features, by cosine, are what is retrieved by,
    where the paper trains an autoencoder for that; genes are not scaled to 0..1.

    Parameters
    ----------
    n_inputs, n_genes
        Input features D and genes G.
    config
        Settings.
    """

    folds: Tensor

    def __init__(self, n_inputs: int, n_genes: int, config: EGNConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.bank = RetrievalBank()
        # Whose section an exemplar is of matters while training only: a saved model does without.
        self.register_buffer("folds", torch.empty(0, dtype=torch.long), persistent=False)
        self.image = nn.Sequential(nn.Linear(n_inputs, width), nn.GELU(), nn.Dropout(config.dropout))
        self.query = nn.Sequential(nn.Linear(n_inputs, width), nn.Dropout(config.dropout))
        self.exemplar = nn.Sequential(nn.Linear(n_inputs + n_genes, width), nn.Dropout(config.dropout))
        self.expression = nn.Linear(n_genes, width)
        self.bridges = nn.ModuleList(ExemplarBridge(width) for _ in range(config.bridges))
        self.head = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, n_genes))

    def before_fit(self, reference: Reference) -> None:
        """Fill the bank. While the encoder is trained, exemplars keep the features they had before."""
        # The bank's keys have unit length, so the tile is kept a second time beside its expression.
        self.bank.fill(reference.tiles, torch.cat([reference.tiles, reference.expression], dim=1))
        self.folds = reference.folds

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Squared error and correlation; exemplars are of other folds, as they will be of other sections."""
        if batch.folds is None:
            raise ValueError("a training batch carries folds")
        others = batch.folds[batch.targets, None] != self.folds
        predicted = self._predict(batch.tiles.index_select(0, batch.targets), others)
        truth = batch.measured()[batch.targets]
        terms = {"mse": (predicted - truth).square().mean()}
        if self.config.correlation_weight:
            pcc = functional.cosine_similarity(predicted - predicted.mean(dim=0), truth - truth.mean(dim=0), dim=0)
            terms["correlation"] = self.config.correlation_weight * (1 - pcc.mean())
        return terms

    def after_fit(self, reference: Reference) -> None:
        """Fill the bank again, since a trained encoder gives other features than before."""
        self.before_fit(reference)

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``, with exemplars of all training sections."""
        return torch.cat([self._predict(tiles, None) for tiles in batch.tiles[batch.targets].split(1024)])

    def _predict(self, tiles: Tensor, allowed: Tensor | None) -> Tensor:
        """``(B, D)`` -> ``(B, G)``; ``allowed`` ``(B, M)`` says which of the M kept spots may be exemplars."""
        similarity, rows = self.bank.nearest(tiles.detach(), self.config.exemplars, allowed=allowed)
        kept = self.bank.values[rows]  # (B, K, D + G)
        found = similarity.isfinite()[..., None].to(kept.dtype)
        state = self.image(tiles), self.query(tiles), self.exemplar(kept)
        expression = self.expression(kept[..., tiles.shape[1] :])
        for bridge in self.bridges:
            state = bridge(*state, expression, found)
        predicted: Tensor = self.head(torch.cat(state[:2], dim=1))
        return predicted


PRESETS = {
    "default": Recipe("egn", EGNConfig(), fit=FitConfig(weight_decay=0.1)),
    # The released training command (K = 6, the paper 9; its schedule restarts twice an epoch, here it falls once).
    "paper": Recipe(
        "egn",
        EGNConfig(width=1024, exemplars=6, bridges=4, dropout=0.0, correlation_weight=0.5),
        PLAIN_INPUTS,
        FitConfig(
            max_epochs=50, batch_size=32, block_size=1, learning_rate=5e-4, encoder_learning_rate=5e-4, weight_decay=1e-4,
            schedule="cosine", final_learning_rate=1e-4, inner_folds=0, trainable_encoder=True, anchor=False, augment=False,
        ),
    ),
}  # fmt: skip

PUBLISHED = (
    Published("encoder", "vision transformer, trained from scratch", "paper", {"default": FROZEN, "paper": ANY_ENCODER}),
    Published("tiles", "256 px", "code", {"default": WIDTHS, "paper": UM}),
    Published("inputs", "patch tokens", "paper", {"default": PREPARED, "paper": "any encoder gives one vector"}),
    Published(
        "targets", "log10 of 1 + counts, each gene scaled to 0..1", "code",
        {"default": CENTERED, "paper": TOTALS},
    ),
    Published("genes", "250 of highest mean count", "paper", PANEL),
    Published(
        "batch", "32 spots as they are stored", "code",
        {"default": SMALL_BATCH, "paper": "its correlation over a batch asks for spots that differ"},
    ),
    Published("optimizer", "AdamW, weight decay 0.0001", "code", {"default": DECAY}),
    Published("learning rate", 5e-4, "code", {"default": FAST_RATE}),
    Published("encoder learning rate", 5e-4, "code", {"default": FROZEN}),
    Published(
        "learning rate schedule", "cosine to 0.0001, restarted twice an epoch, after 100 steps of warm-up", "code",
        {"default": SLOW_DECAY, "paper": "it falls once: what is left after the last epoch is then a trained network"},
    ),
    Published(
        "epochs", "50, best on the test fold", "code",
        {"default": STOPPED, "paper": "nothing outside the training sections is used"},
    ),
    Published("networks", 1, "paper", {"default": SEVERAL}),
    Published("slides unlike training", "predicted as any other", "paper", {"default": ANCHORED}),
    Published("augmentation", "none", "code"),
    Published(
        "exemplars", 9, "paper", {"paper": "6 in the released training command"},
    ),
    Published("width", 1024, "code", {"default": NARROW}),
    Published("bridges", 4, "code", {"default": NARROW}),
    Published("dropout", 0.0, "code", {"default": DROPPED}),
    Published("correlation_weight", 0.5, "code"),
    Published(
        "exemplars are near by", "an autoencoder trained for that", "paper",
        "the features at hand need no second training", built="cosine of the encoder's features",
    ),
    Published(
        "between bridges", "self-attention over patch tokens", "paper", "one vector has nothing to attend to",
        built="nothing",
    ),
)  # fmt: skip
