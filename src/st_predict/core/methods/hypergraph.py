"""Small hypergraphs (or graphs) over a target and its neighbors, batched over targets, and the convolution on them.

Every node has a weight, and counts by it in every sum over nodes, or over the hyperedges around them: a node of weight
one half counts half, and a node of weight 0 counts nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEAST = 1e-12


def similarity_hyperedges(nodes: Tensor, degree: int, weights: Tensor | None = None) -> Tensor:
    """Incidence of the hypergraphs of NH2ST, Eq. 3: hyperedge j joins node j and its most similar nodes.

    Parameters
    ----------
    nodes
        Node features ``(B, M, N)``. B targets, M nodes, N width.
    degree
        Nodes a hyperedge, itself included; at most M.
    weights
        Weights of the nodes ``(B, M)``; ``None``: all 1.

    Returns
    -------
    ``(B, M, M)`` of 0 and 1, node by hyperedge. Similarity is the cosine; no gradient flows through the choice.
    """
    with torch.no_grad():
        unit = functional.normalize(nodes, dim=-1)
        similarity = unit @ unit.transpose(1, 2)
        own = torch.eye(nodes.shape[1], device=nodes.device, dtype=torch.bool)
        if weights is not None:
            similarity = similarity.masked_fill((weights == 0)[:, None], -torch.inf)
        members = similarity.masked_fill(own, torch.inf).topk(min(degree, nodes.shape[1]), dim=2).indices
        return torch.zeros_like(similarity).scatter_(2, members, 1.0).transpose(1, 2)


def hypergraph_propagation(incidence: Tensor, weights: Tensor | None = None) -> Tensor:
    """HGNN's ``D^-1 H B^-1 H^T``, D node and B hyperedge degrees: ``(B, M, M)`` node by hyperedge -> node by node.

    With ``weights`` ``(B, M)`` it is ``D^-1 H W B^-1 H^T W``: hyperedge j weighs what node j does.
    """
    if weights is None:
        weights = incidence.new_ones(incidence.shape[:2])
    members, edges = weights[:, :, None] * incidence, weights[:, None] * incidence
    per_edge = members / _degree(members, dim=1)
    per_node = edges / _degree(edges, dim=2)
    return per_node @ per_edge.transpose(1, 2)


def graph_propagation(incidence: Tensor, weights: Tensor | None = None) -> Tensor:
    """The same choice of similar nodes as an ordinary graph: GCN's ``D^-1/2 A D^-1/2`` (Kipf and Welling, 2017).

    An edge joins node j to every member of its hyperedge, in both directions; each node is joined to itself. With
    ``weights`` ``(B, M)`` it is ``D^-1/2 A W D^-1/2``.
    """
    adjacency = torch.maximum(incidence, incidence.transpose(1, 2))
    weighted = adjacency if weights is None else adjacency * weights[:, None]
    scale = _degree(weighted, dim=2).rsqrt()
    return scale * weighted * scale.transpose(1, 2)


def _degree(incidence: Tensor, *, dim: int) -> Tensor:
    """Sum along one side; 0 becomes the least number that can be divided by."""
    total: Tensor = incidence.sum(dim=dim, keepdim=True)
    return total.clamp(min=_LEAST)


class GraphConvolution(nn.Module):
    """Layers ``X' = relu(P X Theta)``; HGNN or GCN, by the propagation P.

    Parameters
    ----------
    width
        Width N of the node features.
    layers
        Number L of layers.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.theta = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, nodes: Tensor, propagation: Tensor) -> Tensor:
        """``(B, M, N)`` and ``(B, M, M)`` -> ``(B, M, N)``. B targets, M nodes, N width."""
        for theta in self.theta:
            nodes = torch.relu(theta(propagation @ nodes))
        return nodes
