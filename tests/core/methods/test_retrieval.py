"""Methods that embed both modalities: their losses against loops, their retrieval against brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from st_predict.core.errors import InputError
from st_predict.core.methods.blocks import PlaceEmbedding, ProjectionHead, column_means, dropped
from st_predict.core.methods.cmrcnet import CMRCNet, CMRCNetConfig, Reconstruction
from st_predict.core.methods.contrast import soft_contrast
from st_predict.core.methods.interface import Batch, Reference
from st_predict.core.methods.registry import METHODS, build_method, find_recipe
from st_predict.core.methods.retrieval import RetrievalBank
from st_predict.core.neighbors import array_places

D, G, N = 6, 5, 20


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    tiles, expression = torch.randn(N, D, generator=generator), torch.randn(N, G, generator=generator)
    return Batch(tiles, torch.arange(N), torch.empty(N, 0, dtype=torch.long), torch.zeros(N, 2), expression)


def reference(of: Batch) -> Reference:
    return Reference(of.tiles, of.measured(), torch.zeros(N), [torch.arange(N)], of.places)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_soft_contrast_equals_loops(temperature: float) -> None:
    torch.manual_seed(0)
    images, genes = torch.randn(6, 4), torch.randn(6, 4)
    expected = []
    targets = [
        [float((images[i] @ images[j] + genes[i] @ genes[j]) / 2) * temperature for j in range(6)] for i in range(6)
    ]
    targets = [[math.exp(t) / sum(math.exp(u) for u in row) for t in row] for row in targets]
    logits = [[float(genes[i] @ images[j]) / temperature for j in range(6)] for i in range(6)]
    for i in range(6):
        row = sum(math.exp(logits[i][j]) for j in range(6))
        column = sum(math.exp(logits[j][i]) for j in range(6))
        of_gene = -sum(targets[i][j] * (logits[i][j] - math.log(row)) for j in range(6))
        of_image = -sum(targets[j][i] * (logits[j][i] - math.log(column)) for j in range(6))
        expected.append((of_gene + of_image) / 2)
    assert soft_contrast(images, genes, temperature=temperature).tolist() == pytest.approx(expected, rel=1e-4)


def test_soft_targets_spare_spots_that_are_alike() -> None:
    """Two spots alike in both modalities are no negatives of each other; a hard target would ask to part them."""
    pair = torch.tensor([[4.0, 0, 0], [4.0, 0, 0], [0, 4.0, 0]])
    assert float(soft_contrast(pair, pair, temperature=1.0)[0]) == pytest.approx(math.log(2), abs=0.01)
    assert float(soft_contrast(pair, pair, temperature=1.0)[2]) == pytest.approx(0.0, abs=0.01)


def test_retrieval_equals_brute_force() -> None:
    torch.manual_seed(0)
    keys, values, queries = torch.randn(40, 3), torch.randn(40, 4), torch.randn(7, 3)
    bank = RetrievalBank()
    bank.fill(keys, values)
    found = bank.retrieve(queries, 5)
    weighted = bank.retrieve(queries, 5, weighting="inverse_square_distance")
    for b in range(7):
        order = sorted(range(40), key=lambda i: -float(functional.cosine_similarity(queries[b], keys[i], dim=0)))[:5]
        assert torch.allclose(found[b], values[order].mean(dim=0), atol=1e-6)
        unit = functional.normalize(queries[b], dim=0), functional.normalize(keys[order], dim=1)
        weight = 1 / (unit[0] - unit[1]).square().sum(dim=1)
        assert torch.allclose(weighted[b], (weight[:, None] * values[order]).sum(0) / weight.sum(), atol=1e-4)


@pytest.mark.parametrize("most", [1, 60, 2**24])
def test_a_bank_searched_in_parts_finds_the_same(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr("st_predict.core.methods.retrieval._MOST_VALUES", most)
    generator = torch.Generator().manual_seed(0)
    keys, values, queries = (torch.randn(*shape, generator=generator) for shape in ((41, 3), (41, 4), (7, 3)))
    allowed = torch.rand(7, 41, generator=generator) > 0.4
    allowed[3] = torch.arange(41) < 2  # fewer than are asked for
    bank = RetrievalBank()
    bank.fill(keys, values)
    similarity = functional.cosine_similarity(queries[:, None], keys[None], dim=2)
    expected = similarity.masked_fill(~allowed, -torch.inf).sort(dim=1, descending=True)
    found, rows = bank.nearest(queries, 5, allowed=allowed)
    torch.testing.assert_close(found, expected.values[:, :5])
    known = found.isfinite()
    assert torch.equal(rows[known], expected.indices[:, :5][known]) and known[3].tolist() == [True] * 2 + [False] * 3
    plain = values[similarity.topk(5, dim=1).indices].mean(dim=1)
    torch.testing.assert_close(bank.retrieve(queries, 5), plain)


def test_a_bank_smaller_than_what_is_retrieved_gives_all_of_it() -> None:
    bank = RetrievalBank()
    bank.fill(torch.eye(3), torch.arange(3.0)[:, None])
    assert bank.retrieve(torch.ones(1, 3), 50).item() == 1.0


def test_a_bank_loads_with_its_own_size() -> None:
    bank, empty = RetrievalBank(), RetrievalBank()
    bank.fill(torch.randn(9, 3), torch.randn(9, 2))
    empty.load_state_dict(bank.state_dict())
    assert torch.equal(empty.keys, bank.keys) and torch.equal(empty.values, bank.values)


def test_masking_hides_the_asked_share_and_leaves_the_rest_as_it_is() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(50, 8, 64)
    masked = dropped(tokens, 0.5)
    hidden = masked == 0
    assert float(hidden.float().mean()) == pytest.approx(0.5, abs=0.01), "each element on its own"
    assert torch.equal(masked[~hidden], tokens[~hidden]), "not scaled up as dropout would"
    assert not hidden.all(dim=2).any(), "no token is hidden as a whole"
    assert torch.equal(dropped(tokens, 0.0), tokens)


def test_reconstruction_asks_the_expression_and_teaches_both_sides() -> None:
    torch.manual_seed(0)
    part = Reconstruction(16, masked=0.5, fusion_blocks=2, dropout=0.0)
    images, genes = torch.randn(4, 3, 16, requires_grad=True), torch.randn(4, 3, 16, requires_grad=True)
    target = torch.randn(4, 16, requires_grad=True)
    (part(images, genes) - target).square().mean().backward()
    assert all(side.grad is not None and side.grad.abs().sum() > 0 for side in (images, genes, target))
    torch.manual_seed(1)
    one = part(images, genes)
    torch.manual_seed(1)
    assert not torch.allclose(one, part(images, genes.flip(0))), "what is rebuilt depends on the expression"
    assert not torch.allclose(one, part(images, genes)), "another mask each time"


def test_reconstruction_gradient_equals_finite_differences() -> None:
    torch.manual_seed(0)
    part = Reconstruction(8, masked=0.0, fusion_blocks=1, dropout=0.0).double()
    inputs = torch.randn(2, 2, 8, dtype=torch.double, requires_grad=True), torch.randn(2, 2, 8, dtype=torch.double)
    assert torch.autograd.gradcheck(part, inputs)


def test_losses_of_cmrcnet_are_logarithms_of_means() -> None:
    torch.manual_seed(0)
    method = CMRCNet(D, G, CMRCNetConfig(width=16, tokens=2, masked=0.0, dropout=0.0, gene_dropout=0.0))
    data = batch()
    terms = {name: term.detach() for name, term in method.loss(data).items()}
    images, genes = method.image_head(data.tiles), method.gene_head(data.measured())
    contrast = soft_contrast(images, genes, temperature=1.0)
    rebuilt = method.reconstruction(method.image_tokens(data.tiles), method.gene_tokens(data.measured()))
    assert float(terms["contrast"]) == pytest.approx(float((1 + contrast.mean()).log().detach()), rel=1e-5)
    error = (rebuilt - images).square()
    assert float(terms["reconstruction"]) == pytest.approx(float((1 + error.mean()).log().detach()), rel=1e-5)
    off = CMRCNet(D, G, CMRCNetConfig(width=16, tokens=2, reconstruction_weight=0.0))
    assert set(off.loss(data)) == {"contrast"}


@pytest.mark.parametrize("name", ["bleep", "cmrcnet"])
def test_prediction_is_the_mean_expression_of_the_most_similar_spots(name: str) -> None:
    torch.manual_seed(0)
    method: Any = build_method(name, find_recipe(name, "default", {"retrieved": 3, "width": 16}).settings, D, G).eval()
    data = batch()
    method.after_fit(reference(data))
    predicted = method.predict(data._replace(expression=None))
    similarity = functional.cosine_similarity(
        method.image_head(data.tiles)[:, None], method.gene_head(data.measured())[None], dim=2
    )
    for b in range(N):
        nearest = similarity[b].argsort(descending=True)[:3]
        assert torch.allclose(predicted[b], data.measured()[nearest].mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("name", ["bleep", "cmrcnet"])
def test_training_brings_an_image_to_its_expression(name: str) -> None:
    torch.manual_seed(0)
    params = {"width": 32, "retrieved": 3, "dropout": 0.0}
    method: Any = build_method(name, find_recipe(name, "default", params).settings, D, G)
    data = batch()
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        torch.stack(list(method.loss(data).values())).sum().backward()
        optimizer.step()
    method.eval().after_fit(reference(data))
    own = method.bank.nearest(method.image_head(data.tiles), 1)[1][:, 0]
    assert float((own == torch.arange(N)).float().mean()) > 0.9


def test_paper_presets_carry_the_published_hyperparameters() -> None:
    cmrcnet = METHODS["cmrcnet"].presets["paper"]
    found = cmrcnet.settings
    assert (found.width, found.tokens, found.masked, found.fusion_blocks, found.temperature) == (256, 8, 0.5, 2, 1.0)
    assert (found.dropout, found.gene_dropout, found.retrieved) == (0.1, 0.25, 50)
    fit = cmrcnet.fit
    assert (fit.learning_rate, fit.weight_decay, fit.schedule, fit.final_learning_rate) == (1e-4, 1e-3, "cosine", 1e-5)
    assert (fit.max_epochs, fit.batch_size, fit.augment, fit.trainable_encoder) == (60, 64, True, True)
    bleep = METHODS["bleep"].presets["paper"].settings
    assert (bleep.width, bleep.temperature, bleep.dropout, bleep.retrieved) == (256, 1.0, 0.1, 50)


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("cmrcnet", {"width": 12}, "width must be a positive multiple of 8"),
        ("cmrcnet", {"masked": 1.0}, "masked and dropouts must be in"),
        ("cmrcnet", {"tokens": 0}, "tokens and retrieved must be at least 1"),
        ("cmrcnet", {"temperature": 0.0}, "temperature must be positive"),
        ("cmrcnet", {"fusion_blocks": -1}, "must not be negative"),
        ("bleep", {"retrieved": 0}, "width and retrieved must be at least 1"),
        ("bleep", {"temperature": -1.0}, "temperature must be positive"),
        ("bleep", {"dropout": 1.0}, "dropout must be in"),
    ],
)
def test_settings_that_make_no_sense(name: str, change: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        find_recipe(name, "default", change)


def test_projection_head_adds_its_residual_before_the_norm() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(4, 8, 0.0)
    rows = torch.randn(3, 4)
    projected = rows @ head.projection.weight.T + head.projection.bias
    linear = head.residual[1]
    expected = projected + functional.gelu(projected) @ linear.weight.T + linear.bias
    assert torch.allclose(head(rows), functional.layer_norm(expected, (8,)), atol=1e-5)


@pytest.fixture
def places() -> PlaceEmbedding:
    torch.manual_seed(0)
    embedding = PlaceEmbedding(40, 3)
    for weight in embedding.parameters():
        torch.nn.init.normal_(weight)
    return embedding


def test_places_are_embedded_by_column_and_row_and_capped(places: PlaceEmbedding) -> None:
    column, row, far, last = places(torch.tensor([[1.0, 2.0], [2.0, 1.0], [90.0, 2.0], [39.0, 2.0]]))
    assert torch.allclose(column, places.columns.weight[1] + places.rows.weight[2])
    assert not torch.allclose(column, row) and torch.equal(far, last) and not torch.allclose(column, last)


def test_places_between_are_weighed_by_distance(places: PlaceEmbedding) -> None:
    between, left, right = places(torch.tensor([[1.25, 2.0], [1.0, 2.0], [2.0, 2.0]]))
    assert torch.allclose(between, 0.75 * left + 0.25 * right, atol=1e-6)


def test_spots_of_a_hexagonal_array_are_told_apart_and_a_slight_turn_moves_them_slightly(
    places: PlaceEmbedding,
) -> None:
    row, column = (v.ravel() for v in np.mgrid[:30, :30])
    centers = np.column_stack([column + 0.5 * (row % 2), row * np.sqrt(3) / 2]) * 100
    angle = np.radians(0.3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    straight, turned = (places(torch.from_numpy(array_places(c)).float()) for c in (centers, centers @ turn))
    assert len(torch.unique(straight.detach().round(decimals=4), dim=0)) == len(centers)
    spread = (straight - straight.mean(dim=0)).square().mean()
    assert (turned - straight).square().mean() < 0.05 * spread


def test_column_means() -> None:
    rows = torch.arange(8.0).view(4, 2)
    assert column_means(rows, torch.tensor([[0, 2], [3, 3]])).tolist() == [[2.0, 3.0], [6.0, 7.0]]
    assert column_means(rows, torch.empty(3, 0, dtype=torch.long)).tolist() == [[0.0, 0.0]] * 3
