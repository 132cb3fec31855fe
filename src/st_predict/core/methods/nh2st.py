"""NH2ST: a query and a neighbor branch align images with expression, and a translator predicts expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from st_predict.core.methods.attention import CrossAttention, MutualAttention, gather_tokens, token_weights
from st_predict.core.methods.blocks import weighted_mean
from st_predict.core.methods.contrast import info_nce
from st_predict.core.methods.hypergraph import (
    GraphConvolution,
    graph_propagation,
    hypergraph_propagation,
    similarity_hyperedges,
)
from st_predict.core.methods.interface import Method, MethodConfig, Needs
from st_predict.core.methods.published import (
    ANCHORED,
    ANY_ENCODER,
    BATCH_NORM,
    CENTERED,
    DECAY,
    DROPPED,
    FAST_RATE,
    FROZEN,
    NARROW,
    NOT_STATED,
    PANEL,
    PREPARED,
    SAME_ADAM,
    SEVERAL,
    SMALL_BATCH,
    STOPPED,
    UM,
    WIDTHS,
    Published,
)
from st_predict.core.methods.recipe import PLAIN_INPUTS, FitConfig, Recipe, require

if TYPE_CHECKING:
    from st_predict.core.methods.interface import Batch, Reference


@dataclass(frozen=True)
class NH2STConfig(MethodConfig):
    """Settings of :class:`NH2ST`.

    Parameters
    ----------
    width
        Embedding width N of both modalities.
    hidden
        Hidden width of the translator.
    neighbors
        K, nearest spots that make a neighborhood.
    degree
        Nodes a hyperedge.
    layers
        L, hypergraph convolutions.
    attention
        ``"single"``: one token each, no residual and one function for both directions of a branch, as the paper writes
        it (Eq. 1 and 4); the softmax is then identically 1. ``"none"``: no cross-attention. ``"tokens"``: the K + 1 tiles
        of the neighborhood and the gene programs attend to each other, by a function for each direction; what is attended
        to is added to the target's own embedding (query branch) or to the pooled nodes (neighbor branch). Expression then
        chooses among the tiles, and that choice alone can lower the contrastive loss, whatever the tiles show.
    programs
        Gene-program tokens the expression embedding is split into (``"tokens"`` only); divides ``width``.
    hypergraphs
        ``"both"``: one from image and one from expression features, as the paper. ``"image"``: the image's for
        both, as the released code. ``"graph"``: an ordinary graph of similar nodes in place of each hypergraph;
        ``"none"``: no convolution, the nodes are pooled as they are.
    temperature
        tau of both contrastive losses.
    symmetric
        Contrast both ways; the paper's Eq. 2 goes from image to expression.
    query_weight, neighbor_weight
        lambda_1 and lambda_2 of Eq. 5; 0 turns the branch's contrast off.
    surroundings
        What the translator sees of the K neighbors' images, at prediction too, added to the target's own embedding:
        ``"mean"``: a linear map of the mean of their embeddings; ``"attention"``: of those the target attends to;
        ``"none"``: nothing, as the paper. Either starts from nothing and is learned.
    input_noise
        Standard deviation of the noise that is added to the input features in training; the features have a mean square
        of 1 by default.
    rank
        Leading principal components of training expression that predictions are made of; ``None``: no limit.
    dropout
        Dropout of the image embedding and in the translator.
    gene_dropout
        Dropout of the expression that enters the expression encoder.
    """

    width: int = 128
    hidden: int = 128
    neighbors: int = 8
    degree: int = 4
    layers: int = 2
    attention: Literal["tokens", "single", "none"] = "single"
    programs: int = 4
    hypergraphs: Literal["both", "image", "graph", "none"] = "both"
    temperature: float = 0.1
    symmetric: bool = False
    query_weight: float = 0.1
    neighbor_weight: float = 0.05
    surroundings: Literal["mean", "attention", "none"] = "none"
    input_noise: float = 0.5
    rank: int | None = 16
    dropout: float = 0.3
    gene_dropout: float = 0.1

    def __post_init__(self) -> None:
        require(self, "nh2st", {
            "width, hidden, neighbors, degree, layers and programs must be at least 1": min(
                self.width, self.hidden, self.neighbors, self.degree, self.layers, self.programs
            )
            >= 1,
            "programs must divide width": self.programs >= 1 and self.width % self.programs == 0,
            "attention must be 'tokens', 'single' or 'none'": self.attention in {"tokens", "single", "none"},
            "hypergraphs must be 'both', 'image', 'graph' or 'none'": self.hypergraphs
            in {"both", "image", "graph", "none"},
            "surroundings must be 'mean', 'attention' or 'none'": self.surroundings in {"mean", "attention", "none"},
            "input_noise must not be negative": self.input_noise >= 0,
            "temperature must be positive": self.temperature > 0,
            "weights must not be negative": min(self.query_weight, self.neighbor_weight) >= 0,
            "rank must be at least 1, or None": self.rank is None or self.rank >= 1,
            "dropouts must be in [0, 1)": 0 <= min(self.dropout, self.gene_dropout)
            and max(self.dropout, self.gene_dropout) < 1,
        })  # fmt: skip

    @property
    def needs(self) -> Needs:
        """See :class:`~st_predict.core.methods.interface.Needs`."""
        return Needs(neighbors=self.neighbors, predicts_alone=self.surroundings == "none")


class Surroundings(nn.Module):
    """Adds the neighbors' images to each target's own: ``W m``, where ``m`` is their mean or what the target attends to.

    ``W`` starts at 0, so a network that has no use for its surroundings predicts as one that does not see them.
    """

    def __init__(self, width: int, *, attend: bool) -> None:
        super().__init__()
        self.attention = CrossAttention(width, width, width) if attend else None
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, images: Tensor, batch: Batch) -> Tensor:
        """Embeddings of all tiles ``(U, N)`` -> ``(B, N)``; of a spot without neighbors, what its own tile adds."""
        around, weights = gather_tokens(images, batch.targets, batch.neighbors), batch.neighbor_weights  # (B, K + 1, N)
        if batch.neighbors.shape[1]:
            around = around[:, 1:]
        if self.attention is None:
            return self.out(weighted_mean(around, weights))
        return self.out(self.attention(images.index_select(0, batch.targets)[:, None], around, weights)[:, 0])


class NH2ST(Method):
    """Neighbor-guided hypergraph network (Qu et al., MICCAI 2025, arXiv 2506.23827).

    Follows the paper: both branches share the image and the expression encoder; both contrastive losses (Eq. 2);
    two hypergraphs (Eq. 3); the translator takes the image embedding **before** cross-attention and alone predicts
    (section 2.4). Differs by default: see ``attention``, ``rank`` and the weights in :class:`NH2STConfig`; each can
    be set back, and the preset ``"paper"`` does.

    Parameters
    ----------
    n_inputs, n_genes
        Input features D and genes G.
    config
        Settings.
    """

    expression_scale: Tensor
    expression_mean: Tensor
    basis: Tensor

    def __init__(self, n_inputs: int, n_genes: int, config: NH2STConfig) -> None:
        super().__init__()
        width, tokens = config.width, config.attention == "tokens"
        self.config = config
        n_outputs = n_genes if config.rank is None else min(config.rank, n_genes)
        self.register_buffer("expression_scale", torch.ones(()))
        self.register_buffer("expression_mean", torch.zeros(n_genes))
        self.register_buffer("basis", torch.eye(n_genes)[:n_outputs])
        self.image_encoder = nn.Sequential(nn.Linear(n_inputs, width), nn.GELU(), nn.Dropout(config.dropout))
        self.expression_encoder = nn.Sequential(
            nn.Dropout(config.gene_dropout), nn.Linear(n_genes, width), nn.GELU(), nn.Linear(width, width)
        )
        self.translator = nn.Sequential(
            nn.Linear(width, config.hidden), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(config.hidden, n_outputs)
        )
        if config.surroundings != "none":
            self.surroundings = Surroundings(width, attend=config.surroundings == "attention")
        program = width // config.programs if tokens else width
        self.query_attention = MutualAttention(width, program, width, shared=not tokens)
        self.image_hypergraph = GraphConvolution(width, config.layers)
        self.gene_hypergraph = GraphConvolution(width, config.layers)
        self.neighbor_attention = MutualAttention(width, width, width, shared=not tokens)

    def before_fit(self, reference: Reference) -> None:
        """Take the scale of training expression; its mean and leading principal components (times their s.d.)."""
        mean = reference.expression.mean(dim=0)
        centered = reference.expression - mean
        self.expression_scale.copy_(centered.std().clamp(min=1e-6))
        if self.config.rank is None:
            return
        self.expression_mean.copy_(mean)
        values, vectors = torch.linalg.eigh(centered.T.double() @ centered.double() / len(centered))
        leading = slice(-len(self.basis), None)
        scaled = vectors[:, leading] * values[leading].clamp(min=1e-9).sqrt()
        self.basis.copy_(scaled.T.flip(0))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Eq. 5: weighted query and neighbor contrast, and the translator's MSE."""
        config = self.config
        expression = batch.measured()
        images = self.image_encoder(self._noisy(batch.tiles))
        terms = {"mse": (self._translate(images, batch) - expression[batch.targets]).square().mean()}
        if config.query_weight == config.neighbor_weight == 0:
            return terms
        genes = self.expression_encoder(expression / self.expression_scale)
        if config.query_weight:
            pair = self._query_branch(images, genes, batch)
            terms["query"] = config.query_weight * self._contrast(*pair)
        if config.neighbor_weight:
            pair = self._neighbor_branch(images, genes, batch)
            terms["neighbor"] = config.neighbor_weight * self._contrast(*pair)
        return terms

    def predict(self, batch: Batch) -> Tensor:
        """Expression from images alone, ``(B, G)`` (query branch, section 2.4)."""
        if self.config.surroundings == "none":
            return self._expression(self.image_encoder(batch.tiles[batch.targets]))
        return self._translate(self.image_encoder(batch.tiles), batch)

    def _noisy(self, tiles: Tensor) -> Tensor:
        """Add noise to the inputs in training, so that differences between spots smaller than the noise are not learned by heart."""
        if not (self.training and self.config.input_noise):
            return tiles
        return tiles + self.config.input_noise * torch.randn_like(tiles)

    def _translate(self, images: Tensor, batch: Batch) -> Tensor:
        """``(U, N)`` -> ``(B, G)``."""
        own = images.index_select(0, batch.targets)
        if self.config.surroundings != "none":
            own = own + self.surroundings(images, batch)
        return self._expression(own)

    def _expression(self, images: Tensor) -> Tensor:
        """``(B, N)`` -> ``(B, G)``."""
        scores = self.translator(images)
        return scores if self.config.rank is None else self.expression_mean + scores @ self.basis

    def _contrast(self, images: Tensor, genes: Tensor) -> Tensor:
        return info_nce(images, genes, temperature=self.config.temperature, symmetric=self.config.symmetric)

    def _query_branch(self, images: Tensor, genes: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Refined pair of each target, ``(U, N)`` twice -> ``(B, N)`` twice. U tiles, B targets, N width."""
        own_image, own_genes = images.index_select(0, batch.targets), genes.index_select(0, batch.targets)
        if self.config.attention == "none":
            return own_image, own_genes
        if self.config.attention == "single":  # Eq. 1: z_p is made of expression, z_g of the image
            of_images, of_genes = self.query_attention(own_image[:, None], own_genes[:, None])
            return of_genes[:, 0], of_images[:, 0]
        around = gather_tokens(images, batch.targets, batch.neighbors)  # (B, K + 1, N)
        programs = own_genes.unflatten(1, (self.config.programs, -1))  # (B, P, N / P)
        weights = token_weights(batch.neighbor_weights)  # (B, K + 1)
        of_images, of_genes = self.query_attention(around, programs, image_weights=weights)
        # The branch is about the target: what is found around it refines the target's own embedding, no mean of all.
        return own_image + of_images.mean(dim=1), own_genes + weighted_mean(of_genes, weights)

    def _neighbor_branch(self, images: Tensor, genes: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Refined pair of each neighborhood, ``(U, N)`` twice -> ``(B, N)`` twice. U tiles, B targets, N width."""
        image_nodes = gather_tokens(images, batch.targets, batch.neighbors)  # (B, K + 1, N)
        gene_nodes = gather_tokens(genes, batch.targets, batch.neighbors)
        weights = token_weights(batch.neighbor_weights)  # (B, K + 1)
        if self.config.hypergraphs != "none":
            image_edges = self._edges(image_nodes, weights)
            gene_edges = image_edges if self.config.hypergraphs == "image" else self._edges(gene_nodes, weights)
            image_nodes = self.image_hypergraph(image_nodes, image_edges)
            gene_nodes = self.gene_hypergraph(gene_nodes, gene_edges)
        image, gene = weighted_mean(image_nodes, weights), weighted_mean(gene_nodes, weights)  # the pooling layer
        if self.config.attention == "none":
            return image, gene
        if self.config.attention == "single":  # Eq. 4, on the pooled nodes
            of_images, of_genes = self.neighbor_attention(image[:, None], gene[:, None])
            return of_genes[:, 0], of_images[:, 0]
        of_images, of_genes = self.neighbor_attention(
            image_nodes, gene_nodes, image_weights=weights, gene_weights=weights
        )
        return image + weighted_mean(of_images, weights), gene + weighted_mean(of_genes, weights)

    def _edges(self, nodes: Tensor, weights: Tensor | None) -> Tensor:
        """Propagation ``(B, M, M)`` of a neighborhood's M nodes, of weights ``(B, M)``."""
        hyperedges = similarity_hyperedges(nodes, self.config.degree, weights)
        propagation = graph_propagation if self.config.hypergraphs == "graph" else hypergraph_propagation
        return propagation(hyperedges, weights)


PRESETS = {
    "default": Recipe("nh2st", NH2STConfig()),
    # Section 3 of the paper; heads, hidden width and dropout are not stated there. N = 512 as in its code.
    "paper": Recipe(
        "nh2st",
        NH2STConfig(
            width=512, hidden=512, temperature=0.05, query_weight=1.0, neighbor_weight=0.5,
            input_noise=0.0, rank=None, dropout=0.0, gene_dropout=0.0,
        ),
        PLAIN_INPUTS,
        FitConfig(
            max_epochs=20, batch_size=8, learning_rate=1e-4, weight_decay=0.0, decay_every=50, decay=0.9,
            block_size=1, members=1, inner_folds=0, trainable_encoder=True, anchor=False, augment=False,
        ),
    ),
}  # fmt: skip

PUBLISHED = (
    Published("encoder", "resnet18, trained", "paper, section 2.1", {"default": FROZEN, "paper": ANY_ENCODER}),
    Published("tiles", "224 px", "paper, section 3", {"default": WIDTHS, "paper": UM}),
    Published(
        "inputs", "features as they are", "paper, section 2.1", {"default": PREPARED}
    ),
    Published(
        "targets", "log10 of 1 + counts per 10,000 over the panel, smoothed over the 3 x 3 spots around", "code",
        {"default": CENTERED, "paper": "smoothed truth is another, easier task"},
    ),
    Published("genes", "250 of highest mean count", "paper, section 3", PANEL),
    Published("batch", "8 random spots", "paper, section 3", {"default": SMALL_BATCH}),
    Published("optimizer", "Adam, no weight decay", "paper, section 3", {"default": DECAY, "paper": SAME_ADAM}),
    Published("learning rate", 1e-4, "paper, section 3", {"default": FAST_RATE}),
    Published("encoder learning rate", 1e-4, "paper, section 3", {"default": FROZEN}),
    Published("learning rate schedule", "times 0.9 every 50 epochs", "paper, section 3"),
    Published("epochs", 20, "paper, section 3; code: at most 200", {"default": STOPPED}),
    Published("networks", 1, "paper", {"default": SEVERAL}),
    Published("slides unlike training", "predicted as any other", "paper", {"default": ANCHORED}),
    Published("augmentation", NOT_STATED, ""),
    Published("batch norm of the encoder", "trained with each batch", "code", BATCH_NORM),
    Published("width", 512, "code", {"default": NARROW}),
    Published("hidden", 256, "code", {"default": NARROW, "paper": "the paper states no width: two layers, opposite to the encoder"}),
    Published("neighbors", 8, "paper, section 3.2"),
    Published("degree", 4, "code"),
    Published("layers", 2, "paper, section 3.2"),
    Published("attention", "single", "paper, Eq. 1"),
    Published("programs", NOT_STATED, ""),
    Published("hypergraphs", "both", "paper, section 2.3; code: image"),
    Published("temperature", 0.05, "paper, section 3.2", {"default": "lower ones cost on the embedded tissue"}),
    Published("symmetric", False, "paper, Eq. 2"),
    Published("query_weight", 1.0, "paper, section 3.2", {"default": "at full weight the contrast costs more than it gives"}),
    Published("neighbor_weight", 0.5, "paper, section 3.2", {"default": "as the query's"}),
    Published("surroundings", "none", "paper, section 2.4"),
    Published("input_noise", 0.0, "paper", {"default": DROPPED}),
    Published("rank", None, "paper", {"default": "few components of expression can be learned from few spots"}),
    Published("dropout", 0.5, "code", {"default": "chosen on held-out training sections", "paper": "the paper has none"}),
    Published("gene_dropout", NOT_STATED, ""),
    Published(
        "between the layers of expression encoder and translator", "nothing, so each is one linear map", "code",
        "the paper's two layers are to capture nonlinear interactions", built="GELU",
    ),
    Published("heads of attention", 8, "code", "Eq. 1 has one", built="1"),
    Published(
        "weights the encoder starts from", "a histology checkpoint", "code", "it is in no package; `encoder_weights=` takes a file",
        built="those of `encoder=`, by default of ImageNet",
    ),
    Published(
        "image embedding", "the map of 7 x 7 x 512, flattened and projected", "code",
        "any encoder gives one vector a tile, and few spots cannot train a map of 25,088 numbers",
        built="one vector, projected, then GELU",
    ),
    Published(
        "expression given to its encoder", "as it is", "code", "so that it is of one size whatever was measured",
        built="divided by its standard deviation in training",
    ),
    Published("negatives", "off-diagonal logits times 0.1", "code", "Eq. 2 has no such factor", built="as Eq. 2"),
)  # fmt: skip
