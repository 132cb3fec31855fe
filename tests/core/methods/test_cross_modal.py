"""Losses that align images with expression cannot be met where one of the two is the same for all spots."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from st_predict.core.inputs.spots import SpotSet
from st_predict.core.methods.interface import Batch
from st_predict.core.methods.registry import METHODS, build_method

N, D, G = 96, 10, 12
SMALL = {"width": 32, "hidden": 32, "programs": 4, "tokens": 4, "heads": 4, "n_places": 16}
LOSSES = [
    ("nh2st", {"attention": "tokens"}, ("query", "neighbor")),
    ("nh2st", {"attention": "none"}, ("query", "neighbor")),
    ("nh2st", {"attention": "single"}, ("query", "neighbor")),
    ("cmrcnet", {}, ("contrast",)),
    ("bleep", {}, ("contrast",)),
    ("mclstexp", {"temperature": 2.0}, ("contrast",)),
]
"""Every loss that compares the two modalities: method, settings and terms."""


def section() -> SpotSet:
    """A section whose expression is told by its images but for a little noise, on a square array."""
    generator = torch.Generator().manual_seed(0)
    tiles = torch.randn(N, D, generator=generator)
    expression = tiles @ torch.randn(D, G, generator=generator) + 0.1 * torch.randn(N, G, generator=generator)
    places = torch.stack(torch.meshgrid(torch.arange(12), torch.arange(8), indexing="ij"), dim=-1).view(-1, 2).float()
    neighbors = torch.cdist(places, places).argsort(dim=1)[:, 1:9]
    return SpotSet(tiles, expression, torch.zeros(N, dtype=torch.long), neighbors, places)


def small(name: str, params: dict[str, Any]) -> Any:
    """A small method without dropout."""
    default = METHODS[name].presets["default"].settings
    known = {field.name for field in dataclasses.fields(default)}
    quiet = {key: 0.0 for key in ("dropout", "gene_dropout", "input_noise") if key in known}
    sizes = {key: value for key, value in SMALL.items() if key in known}
    return build_method(name, dataclasses.replace(default, **{**quiet, **sizes, **params}), D, G)


def trained(name: str, params: dict[str, Any], spots: SpotSet, terms: tuple[str, ...]) -> dict[str, float]:
    """The terms after they alone have been trained on, without dropout, averaged over the last steps."""
    torch.manual_seed(0)
    method = small(name, params)
    method.before_fit(spots.reference())
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    batch, last = spots.batch(torch.arange(N)), []
    for step in range(150):
        found = method.loss(batch)
        optimizer.zero_grad()
        torch.stack([found[term] for term in terms]).sum().backward()
        optimizer.step()
        if step >= 140:
            last.append({term: found[term].item() for term in terms})
    return {term: sum(one[term] for one in last) / len(last) for term in terms}


@pytest.mark.parametrize(("name", "params", "terms"), LOSSES)
@pytest.mark.parametrize("constant", ["expression", "images"])
def test_the_other_modality_is_needed(name: str, params: dict, terms: tuple[str, ...], constant: str) -> None:
    spots = section()
    flat = spots.expression.mean(dim=0).expand(N, -1), spots.tiles.mean(dim=0).expand(N, -1)
    blind = spots.with_expression(flat[0]) if constant == "expression" else spots.with_tiles(flat[1])
    whole, without = trained(name, params, spots, terms), trained(name, params, blind.each(torch.clone), terms)
    for term in terms:
        assert without[term] > 1.25 * whole[term] + 0.05, (term, whole[term], without[term])


def noise(mix: torch.Tensor) -> Batch:
    """Targets, each with neighbors of its own whose expression is like its own, and images that have nothing to do with it."""
    n, k = 24, 4
    expression = (torch.randn(n, 1, 4) + 0.5 * torch.randn(n, 1 + k, 4)) @ mix
    rows = torch.arange(n * (1 + k)).view(n, 1 + k)
    places = torch.randint(12, (n * (1 + k), 2)).float()
    return Batch(torch.randn(n * (1 + k), D), rows[:, 0], rows[:, 1:], places, expression.flatten(0, 1))


@pytest.mark.parametrize(
    ("name", "params", "term", "met"),
    [
        ("nh2st", {"query_weight": 1.0, "neighbor_weight": 0.0}, "query", False),
        ("nh2st", {"query_weight": 0.0, "neighbor_weight": 1.0}, "neighbor", False),
        ("nh2st", {"query_weight": 1.0, "neighbor_weight": 0.0, "attention": "none"}, "query", False),
        ("nh2st", {"query_weight": 0.0, "neighbor_weight": 1.0, "attention": "none"}, "neighbor", False),
        (
            "nh2st",
            {"query_weight": 1.0, "neighbor_weight": 0.0, "attention": "tokens"},
            "query",
            True,
        ),  # as its docs say
        ("mclstexp", {"temperature": 1.0}, "contrast", False),
    ],
)
def test_images_that_tell_nothing_leave_a_contrast_at_chance(
    name: str, params: dict[str, Any], term: str, *, met: bool
) -> None:
    """Images are drawn anew each step: what lowers the loss on further ones is expression on the images' side."""
    torch.manual_seed(0)
    method = small(name, params)
    mix = torch.randn(4, G)
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    for _ in range(250):
        loss = method.loss(noise(mix))[term]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        reached = sum(method.loss(noise(mix))[term].item() for _ in range(20)) / 20
    assert (reached < math.log(24) - 0.1) == met, reached


def test_a_masked_image_is_rebuilt_from_expression() -> None:
    """What is rebuilt is the image's own embedding, so that is held fixed: else it would become the same for all."""
    spots, found = section(), {}
    flat = spots.with_expression(spots.expression.mean(dim=0).expand(N, -1).clone())
    for label, given in {"measured": spots, "constant": flat}.items():
        torch.manual_seed(0)
        method = build_method("cmrcnet", METHODS["cmrcnet"].presets["default"].settings, D, G)
        method.image_head.requires_grad_(False)
        optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=3e-3)
        losses = []
        for _ in range(150):
            loss = method.loss(given.batch(torch.randperm(N)[: N // 2]))["reconstruction"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found[label] = sum(losses[-20:]) / 20
    assert found["constant"] > 1.4 * found["measured"], found
