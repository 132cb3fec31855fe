"""Losses that align images with expression cannot be met where one of the two is the same for all spots."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from st_predict.core.methods.registry import METHODS, build_method
from st_predict.core.training.spots import SpotSet

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


def trained(name: str, params: dict[str, Any], spots: SpotSet, terms: tuple[str, ...]) -> dict[str, float]:
    """The terms after they alone have been trained on, without dropout, averaged over the last steps."""
    default = METHODS[name].presets["default"].method
    known = {field.name: field.default for field in dataclasses.fields(default)}
    quiet = {key: 0.0 for key in ("dropout", "gene_dropout", "input_noise") if key in known}
    small = {key: value for key, value in SMALL.items() if key in known}
    torch.manual_seed(0)
    method = build_method(name, dataclasses.replace(default, **{**quiet, **small, **params}), D, G)
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


def test_a_masked_image_is_rebuilt_from_expression() -> None:
    """What is rebuilt is the image's own embedding, so that is held fixed: else it would become the same for all."""
    spots, found = section(), {}
    flat = spots.with_expression(spots.expression.mean(dim=0).expand(N, -1).clone())
    for label, given in {"measured": spots, "constant": flat}.items():
        torch.manual_seed(0)
        method = build_method("cmrcnet", METHODS["cmrcnet"].presets["default"].method, D, G)
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
