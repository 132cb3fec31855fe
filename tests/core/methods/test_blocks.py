"""The blocks of NH2ST against plain loops over nodes, edges and pairs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from st_predict.core.methods.attention import CrossAttention, gather_tokens
from st_predict.core.methods.blocks import (
    CrossAttentionLayer,
    column_means,
    encode_weighted,
    transformer,
    weighted_mean,
)
from st_predict.core.methods.contrast import info_nce
from st_predict.core.methods.hypergraph import (
    GraphConvolution,
    graph_propagation,
    hypergraph_propagation,
    similarity_hyperedges,
)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def loop_incidence(nodes: torch.Tensor, degree: int) -> torch.Tensor:
    """``(M, N)`` -> ``(M, M)``: column j holds node j and its degree - 1 most similar nodes."""
    n = len(nodes)
    incidence = torch.zeros(n, n)
    for j in range(n):
        others = sorted((i for i in range(n) if i != j), key=lambda i: -cosine(nodes[i], nodes[j]))
        for i in [j, *others[: degree - 1]]:
            incidence[i, j] = 1
    return incidence


@pytest.mark.parametrize("degree", [1, 2, 4, 9])
def test_hyperedges_join_a_node_and_its_most_similar(degree: int) -> None:
    torch.manual_seed(degree)
    nodes = torch.randn(5, 9, 6)
    found = similarity_hyperedges(nodes, degree)
    assert torch.equal(found, torch.stack([loop_incidence(one, degree) for one in nodes]))
    assert (found.sum(dim=1) == degree).all()


def test_similarity_is_the_cosine_not_the_product() -> None:
    nodes = torch.tensor([[[1.0, 0.0], [0.9, 0.1], [50.0, 50.0]]])
    assert similarity_hyperedges(nodes, 2)[0, :, 0].tolist() == [1, 1, 0]


def test_degree_beyond_the_nodes_joins_all() -> None:
    assert (similarity_hyperedges(torch.randn(2, 3, 4), 7) == 1).all()


def test_a_node_is_in_its_own_edge_even_among_copies() -> None:
    same = torch.ones(1, 6, 3)
    assert (similarity_hyperedges(same, 2)[0].diagonal() == 1).all()


def test_no_gradient_through_the_choice() -> None:
    assert not similarity_hyperedges(torch.randn(1, 4, 3, requires_grad=True), 2).requires_grad


def loop_convolution(nodes: torch.Tensor, incidence: torch.Tensor, thetas: list[torch.nn.Linear]) -> torch.Tensor:
    """One target: mean over each hyperedge, mean over each node's hyperedges, linear map, ReLU."""
    for theta in thetas:
        mapped = [theta(node) for node in nodes]
        edges = []
        for j in range(incidence.shape[1]):
            members = [mapped[i] for i in range(len(mapped)) if incidence[i, j]]
            edges.append(sum(members) / len(members))
        spread = []
        for i in range(len(mapped)):
            joined = [edges[j] for j in range(incidence.shape[1]) if incidence[i, j]]
            spread.append(sum(joined) / len(joined))
        nodes = torch.relu(torch.stack(spread))
    return nodes


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_convolution_equals_loops_over_nodes_and_edges(layers: int) -> None:
    torch.manual_seed(0)
    nodes = torch.randn(4, 9, 5)
    incidence = (torch.rand(4, 9, 9) < 0.3).float()
    incidence = torch.maximum(incidence, torch.eye(9))  # no node without an edge, no edge without a node
    convolution = GraphConvolution(5, layers)
    found = convolution(nodes, hypergraph_propagation(incidence))
    expected = torch.stack([
        loop_convolution(one, edges, list(convolution.theta)) for one, edges in zip(nodes, incidence, strict=True)
    ])  # fmt: skip
    assert torch.allclose(found, expected, atol=1e-6)
    assert found.detach().std() > 0


def test_graph_propagation_equals_the_normalized_adjacency() -> None:
    torch.manual_seed(0)
    incidence = similarity_hyperedges(torch.randn(3, 6, 4), 3)
    found = graph_propagation(incidence)
    for b in range(3):
        joined = [[bool(incidence[b, i, j] or incidence[b, j, i]) for j in range(6)] for i in range(6)]
        degree = [sum(row) for row in joined]
        for i in range(6):
            for j in range(6):
                expected = joined[i][j] / math.sqrt(degree[i] * degree[j])
                assert float(found[b, i, j]) == pytest.approx(expected, abs=1e-6)


def test_targets_of_a_batch_do_not_mix() -> None:
    torch.manual_seed(0)
    nodes = torch.randn(3, 4, 5)
    convolution = GraphConvolution(5, 2)
    together = convolution(nodes, hypergraph_propagation(similarity_hyperedges(nodes, 2)))
    alone = convolution(nodes[1:2], hypergraph_propagation(similarity_hyperedges(nodes[1:2], 2)))
    assert torch.allclose(together[1], alone[0], atol=1e-6)


def loop_info_nce(images: torch.Tensor, genes: torch.Tensor, tau: float) -> float:
    total = 0.0
    for i in range(len(images)):
        logits = [cosine(images[i], genes[j]) / tau for j in range(len(genes))]
        total -= math.log(math.exp(logits[i]) / sum(math.exp(logit) for logit in logits))
    return total / len(images)


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_info_nce_equals_a_loop(tau: float) -> None:
    torch.manual_seed(0)
    images, genes = torch.randn(7, 5), torch.randn(7, 5)
    one_way, other_way = loop_info_nce(images, genes, tau), loop_info_nce(genes, images, tau)
    assert abs(one_way - other_way) > 1e-3, "the two directions differ on this example"
    assert float(info_nce(images, genes, temperature=tau, symmetric=False)) == pytest.approx(one_way, rel=1e-5)
    both = float(info_nce(images, genes, temperature=tau, symmetric=True))
    assert both == pytest.approx((one_way + other_way) / 2, rel=1e-5)


def test_info_nce_of_equal_images_is_the_logarithm_of_the_batch() -> None:
    loss = info_nce(torch.ones(6, 3), torch.randn(6, 3).softmax(0), temperature=0.1, symmetric=True)
    one_way = info_nce(torch.randn(6, 3), torch.ones(6, 3), temperature=0.1, symmetric=False)
    assert float(one_way) == pytest.approx(math.log(6), rel=1e-6)
    assert float(loss) >= math.log(6) - 1e-6


def test_attention_equals_its_formula() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(5, 3, 4)
    tokens, others = torch.randn(2, 6, 5), torch.randn(2, 7, 3)
    query, key, value = attention.query(tokens), attention.key(others), attention.value(others)
    expected = torch.stack([
        torch.stack([
            (query[b, t] @ key[b].T / math.sqrt(4)).softmax(dim=0) @ value[b] for t in range(6)
        ]) for b in range(2)
    ])  # fmt: skip
    assert torch.allclose(attention(tokens, others), expected, atol=1e-6)


def test_single_token_attention_ignores_who_asks() -> None:
    """Eq. 1 with one token on each side: the softmax is 1 and the result is the other modality alone."""
    torch.manual_seed(0)
    attention = CrossAttention(8, 8, 8)
    genes = torch.randn(5, 1, 8)
    first, second = attention(torch.randn(5, 1, 8), genes), attention(100 * torch.randn(5, 1, 8), genes)
    assert torch.allclose(first, functional.linear(genes, attention.value.weight), atol=1e-6)
    assert torch.allclose(first, second, atol=1e-6)


def test_gathered_tokens_are_the_target_then_its_neighbors() -> None:
    rows = torch.arange(10.0)[:, None].repeat(1, 3)
    found = gather_tokens(rows, torch.tensor([4, 7]), torch.tensor([[1, 2], [9, 0]]))
    assert found.shape == (2, 3, 3)
    assert found[..., 0].tolist() == [[4, 1, 2], [7, 9, 0]]


@pytest.mark.parametrize("propagation", [hypergraph_propagation, graph_propagation])
def test_two_nodes_of_half_the_weight_are_one(propagation: Callable[..., torch.Tensor]) -> None:
    """Node 2 stands twice, as does the hyperedge around it; node 4 too, but once it is not there."""
    torch.manual_seed(0)
    nodes = torch.randn(3, 5, 4)
    incidence = similarity_hyperedges(nodes, 3)
    twice = torch.tensor([0, 1, 2, 2, 3, 4, 4])
    split = incidence[:, twice][:, :, twice]
    weights = torch.tensor([1.0, 1, 0.5, 0.5, 1, 1, 0]).expand(3, -1)
    found, expected = propagation(split, weights) @ nodes[:, twice], propagation(incidence) @ nodes
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[:, :6], expected[:, twice[:6]])


def test_a_node_that_is_not_there_is_in_no_hyperedge_but_its_own() -> None:
    nodes = torch.ones(2, 5, 3) + 0.1 * torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    nodes[:, 4] = nodes[:, 0]
    weights = torch.tensor([[1.0, 1, 0.5, 0.5, 0]]).expand(2, -1)
    incidence = similarity_hyperedges(nodes, 3, weights)
    assert (incidence[:, 4, :4] == 0).all() and (incidence[:, 4, 4] == 1).all()
    assert torch.equal(incidence[:, :4, :4], similarity_hyperedges(nodes[:, :4], 3))


COUNTS = torch.tensor([[2, 1, 0, 1], [1, 3, 1, 0], [1, 1, 1, 1]])


def repeated(tokens: torch.Tensor, row: int) -> torch.Tensor:
    """Tokens of one target, each as often as it counts ``(1, S, N)``."""
    return tokens[row].repeat_interleave(COUNTS[row], dim=0)[None]


@pytest.mark.parametrize("evaluated", [False, True])
def test_weights_are_how_often_a_token_counts(evaluated: bool) -> None:
    """Also where torch takes another way through the same layers, as it does in evaluation."""
    torch.manual_seed(0)
    tokens, others, weights = torch.randn(3, 2, 8), torch.randn(3, 4, 8), COUNTS.float()
    cross, layer = CrossAttention(8, 8, 8), CrossAttentionLayer(8, heads=2, dropout=0.0).train(not evaluated)
    layers = transformer(8, layers=2, heads=2, dropout=0.0).train(not evaluated)
    with torch.inference_mode(evaluated):
        encoded = encode_weighted(layers, others, weights)
        for row in range(3):
            own, one = repeated(others, row), slice(row, row + 1)
            torch.testing.assert_close(repeated(encoded, row), layers(own))
            torch.testing.assert_close(cross(tokens, others, weights)[one], cross(tokens[one], own))
            torch.testing.assert_close(layer(tokens, others, weights)[one], layer(tokens[one], own))
            torch.testing.assert_close(weighted_mean(others, weights)[one], own.mean(dim=1))


def test_means_of_named_rows_are_weighed() -> None:
    torch.manual_seed(0)
    rows, index, weights = torch.randn(9, 8), torch.randint(9, (3, 4)), COUNTS.float()
    torch.testing.assert_close(column_means(rows, index, weights), weighted_mean(rows[index], weights))
    torch.testing.assert_close(column_means(rows, index, torch.ones(3, 4)), column_means(rows, index))
