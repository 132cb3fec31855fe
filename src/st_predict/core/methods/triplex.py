"""TRIPLEX: a target's tile, its neighborhood and its whole section, each predicting alone and all fused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from st_predict.core.methods.attention import gather_tokens, token_weights
from st_predict.core.methods.blocks import (
    CrossAttentionLayer,
    PlaceEmbedding,
    encode_section,
    encode_weighted,
    transformer,
    weighted_mean,
)
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
    PANEL,
    PIECES,
    PREPARED,
    SAME_ADAM,
    SEVERAL,
    STOPPED,
    UM,
    WHOLE,
    WIDTHS,
    Published,
)
from st_predict.core.methods.recipe import PLAIN_INPUTS, FitConfig, Recipe, require

if TYPE_CHECKING:
    from st_predict.core.methods.interface import Batch


@dataclass(frozen=True)
class TRIPLEXConfig(MethodConfig):
    """Settings of :class:`TRIPLEX`.

    Parameters
    ----------
    width
        Width N of all tokens.
    neighbors
        K, nearest spots that make a neighborhood with the target itself.
    fusion_layers, section_layers, neighbor_layers
        Layers of the fusion and of the transformers over a section and over a neighborhood.
    heads, dropout
        Attention heads of all layers, which divide ``width``, and dropout.
    distillation
        How much of a branch's loss is its distance to the fused prediction; the rest is that to the truth.
    n_places
        Number of columns and of rows of the array that have an embedding of their own; further ones share the last.
    """

    width: int = 64
    neighbors: int = 8
    fusion_layers: int = 1
    section_layers: int = 1
    neighbor_layers: int = 1
    heads: int = 4
    dropout: float = 0.5
    distillation: float = 0.3
    n_places: int = 128

    def __post_init__(self) -> None:
        layers = min(self.fusion_layers, self.section_layers, self.neighbor_layers)
        sizes = self.width, self.neighbors, layers, self.heads, self.n_places
        require(self, "triplex", {
            "width, neighbors, layers, heads and n_places must be at least 1": min(sizes) >= 1,
            "heads must divide width": self.heads >= 1 and self.width % self.heads == 0,
            "dropout must be in [0, 1)": 0 <= self.dropout < 1,
            "distillation must be in [0, 1]": 0 <= self.distillation <= 1,
        })  # fmt: skip

    @property
    def needs(self) -> Needs:
        """See :class:`~st_predict.core.methods.interface.Needs`."""
        return Needs(neighbors=self.neighbors, section=True)


class TRIPLEX(Method):
    """TRIPLEX (Chung et al., CVPR 2024, arXiv 2403.07592).

    Follows the paper: the section's token of a target queries its own and its neighborhood's tokens through one shared
    stack, the two results are summed, and every branch predicts too, drawn to the truth and to the fused prediction;
    only the target branch trains an encoder. Differs: the nearest spots stand in for the 5 x 5 tiles around a target (8
    by default, which score as 24 do at half the cost), and their distance in columns and rows is embedded where the
    paper biases attention; one vector of frozen features stands in for a tile's map of tokens, so that the fusion finds
    one target token; where an encoder is trained the other branches see it move; places are embedded by column and row
    in place of a convolution over the array; hidden layers are half as wide. Since columns and rows are known, a
    section that is turned is predicted differently.

    Parameters
    ----------
    n_inputs, n_genes
        Input features D and genes G.
    config
        Settings.
    """

    def __init__(self, n_inputs: int, n_genes: int, config: TRIPLEXConfig) -> None:
        super().__init__()
        width, heads, dropout = config.width, config.heads, config.dropout
        self.config = config
        self.target_input, self.neighbor_input, self.section_input = (
            nn.Sequential(nn.Linear(n_inputs, width), nn.Dropout(dropout)) for _ in range(3)
        )
        self.offsets = PlaceEmbedding(6, width)  # the nearest 24 lie within 2 columns or rows, at an edge within 5
        self.places = PlaceEmbedding(config.n_places, width)
        self.neighbor_layers = transformer(width, layers=config.neighbor_layers, heads=heads, dropout=dropout)
        self.section_layers = transformer(width, layers=config.section_layers, heads=heads, dropout=dropout)
        self.fusion_layers = nn.ModuleList(
            CrossAttentionLayer(width, heads=heads, dropout=dropout) for _ in range(config.fusion_layers)
        )
        self.fusion_head, self.target_head, self.neighbor_head, self.section_head = (
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_genes)) for _ in range(4)
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Squared error of the fused prediction, and of each branch to the truth and to the fused one."""
        fused, *branches = self._predictions(batch)
        truth, alpha = batch.measured()[batch.targets], self.config.distillation
        terms = {"mse": (fused - truth).square().mean()}
        for name, own in zip(("target", "neighbor", "section"), branches, strict=True):
            # As in the released code the gradient reaches the fused side of the distance too.
            terms[name] = (1 - alpha) * (own - truth).square().mean() + alpha * (fused - own).square().mean()
        return terms

    def predict(self, batch: Batch) -> Tensor:
        """``(B, G)``: the fused prediction. A section is what the batch holds of it."""
        return self._predictions(batch)[0]

    def _predictions(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Fused, target's, neighbors' and section's, each ``(B, G)``. B targets, K neighbors, U tiles, N width."""
        context = batch.tiles.detach()
        target = self.target_input(batch.tiles.index_select(0, batch.targets))  # (B, N)
        wanted = gather_tokens(batch.places, batch.targets, batch.neighbors)  # (B, K + 1, 2)
        offsets = (wanted - wanted[:, :1]).abs()
        neighborhood = gather_tokens(self.neighbor_input(context), batch.targets, batch.neighbors)
        neighborhood = neighborhood + self.offsets(offsets.flatten(0, 1)).view_as(neighborhood)
        weights = token_weights(batch.neighbor_weights)  # (B, K + 1)
        neighborhood = encode_weighted(self.neighbor_layers, neighborhood, weights)  # (B, K + 1, N)
        section = encode_section(self.section_layers, self.section_input(context) + self.places(batch.places))
        section = section.index_select(0, batch.targets)  # (B, N)
        fused = self._fuse(section, target[:, None]) + self._fuse(section, neighborhood, weights)
        return (
            self.fusion_head(fused),
            self.target_head(target),
            self.neighbor_head(weighted_mean(neighborhood, weights)),
            self.section_head(section),
        )

    def _fuse(self, section: Tensor, tokens: Tensor, weights: Tensor | None = None) -> Tensor:
        """``(B, N)``, and ``(B, T, N)`` of weights ``(B, T)``, -> ``(B, N)``."""
        query = section[:, None]
        for layer in self.fusion_layers:
            query = layer(query, tokens, weights)
        return query[:, 0]


PRESETS = {
    "default": Recipe("triplex", TRIPLEXConfig(), fit=FitConfig(max_epochs=30, learning_rate=5e-3, weight_decay=0.1)),
    # Settings of the released code for the HER2+ breast data; it has 4, 8 and 4 heads and trains on 128 spots a batch.
    "paper": Recipe(
        "triplex",
        TRIPLEXConfig(width=512, neighbors=24, section_layers=5, neighbor_layers=4, dropout=0.3),
        PLAIN_INPUTS,
        FitConfig(
            max_epochs=200, batch_size=128, learning_rate=1e-4, weight_decay=0.0, decay_every=50, decay=0.9,
            inner_folds=0, trainable_encoder=True, anchor=False,
        ),
    ),
}  # fmt: skip

PUBLISHED = (
    Published("encoder", "resnet18, trained", "paper", {"default": FROZEN, "paper": ANY_ENCODER}),
    Published("tiles", "224 px", "paper", {"default": WIDTHS, "paper": UM}),
    Published(
        "inputs", "49 tokens of a target's tile", "code", {"default": PREPARED, "paper": "any encoder gives one vector"}
    ),
    Published(
        "targets", "log10 of 1 + counts per 10,000 over the panel, smoothed over the 3 x 3 spots around", "code",
        {"default": CENTERED, "paper": "smoothed truth is another, easier task"},
    ),
    Published("genes", "250 of highest mean count", "paper", PANEL),
    Published("batch", "128 random spots", "code", {"default": WHOLE, "paper": CUT}),
    Published("seen together in training", "a section", "paper", {"default": PIECES, "paper": CUT}),
    Published("seen together in prediction", "a section", "paper", PIECES),
    Published("optimizer", "Adam, no weight decay", "code", {"default": DECAY, "paper": SAME_ADAM}),
    Published("learning rate", 1e-4, "code", {"default": FAST_RATE}),
    Published("encoder learning rate", 1e-4, "code", {"default": FROZEN}),
    Published("learning rate schedule", "times 0.9 every 50 epochs", "code"),
    Published(
        "epochs", "at most 200, stopped by the test fold with patience 20", "code",
        {"default": STOPPED, "paper": "nothing outside the training sections is used"},
    ),
    Published("networks", 1, "paper", {"default": SEVERAL}),
    Published("slides unlike training", "predicted as any other", "paper", {"default": ANCHORED}),
    Published("augmentation", "turns and flips", "code", {"default": ENCODED_ONCE}),
    Published("batch norm of the encoder", "trained with each batch", "code", BATCH_NORM),
    Published("width", 512, "code", {"default": NARROW}),
    Published("neighbors", 24, "paper", {"default": "8 score as 24 do at half the cost"}),
    Published("fusion_layers", 1, "code"),
    Published("section_layers", 5, "code", {"default": NARROW}),
    Published("neighbor_layers", 4, "code", {"default": NARROW}),
    Published("heads", "4, 8 and 4", "code", "one setting for the three transformers"),
    Published("dropout", "0.4, 0.3 and 0.3", "code", {"default": DROPPED, "paper": "one setting for the three transformers"}),
    Published("distillation", 0.3, "code"),
    Published("n_places", "a convolution over the array", "paper", "an embedding of column and row needs no full grid"),
    Published(
        "neighbors' and section's features", "of a frozen encoder", "paper",
        "one encoder is kept; where it is trained they see it move", built="of the target's encoder",
    ),
    Published(
        "neighbors' place", "a bias of attention", "paper", "any layout of neighbors has distances", built="their distance, embedded"
    ),
    Published("hidden layers", "4 times the width", "code", NARROW, built="2 times the width"),
)  # fmt: skip
