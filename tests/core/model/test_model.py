"""What a model says of itself and which sections and encoders it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.errors import InputError
from st_predict.core.model.model import Model
from st_predict.core.section import Section
from st_predict.core.tiles.geometry import TileSpec


def test_repr_is_short(quick_model: Model) -> None:
    assert repr(quick_model) == f"Model {quick_model.id}: nh2st on tiny, 10 genes, trained on A, B"
    many = dataclasses.replace(quick_model, sections=[f"S{i}" for i in range(9)])
    assert repr(many).endswith("trained on S0, S1, S2, S3, S4, S5, ...")


def test_id_follows_weights_and_panel(quick_model: Model) -> None:
    assert len(quick_model.id) == 12
    assert dataclasses.replace(quick_model, seed=9, sections=["X"]).id == quick_model.id
    assert dataclasses.replace(quick_model, panel=quick_model.panel[::-1]).id != quick_model.id
    assert dataclasses.replace(quick_model, center=quick_model.center + 1).id != quick_model.id


def test_provenance_is_plain_values(quick_model: Model) -> None:
    import json

    found = quick_model.provenance()
    assert json.loads(json.dumps(found)) == found
    assert found["target"] == "log1p of counts per 10,000" and found["panel"] == quick_model.panel
    assert (found["model"], found["method"], found["encoder"]) == (quick_model.id, "nh2st", "tiny")
    assert (found["tile_um"], found["tile_px"], found["min_counts"]) == ([112.0, 154.0, 308.0, 616.0], [], 500.0)


def test_genes_of_another_model_have_no_provenance(quick_model: Model) -> None:
    with pytest.raises(InputError, match="^'zz' is none of the 10 genes that the model predicts\n  where:    panel\n"):
        quick_model.provenance(["zz"])


@pytest.mark.parametrize(("trained", "given"), [(0.5, 0.6), (0.5, 0.45)])
def test_pixel_model_refuses_another_scale(
    quick_model: Model, plain_section: Callable[..., Section], trained: float, given: float
) -> None:
    model = dataclasses.replace(quick_model, um_per_px=trained, tiles=TileSpec(widths_px=(224.0,)))
    section = dataclasses.replace(plain_section("A"), um_per_px=given)
    with pytest.raises(InputError, match=f"has {given} um/px; the model was trained in pixels at 0.5 um/px") as error:
        model.check_section(section)
    assert "tile_um=" in error.value.remedy


def refusal(model: Model, section: Section) -> InputError | None:
    """What the model says against a section; nothing where it takes it."""
    try:
        model.check_section(section)
    except InputError as error:
        return error
    return None


@pytest.mark.parametrize(("trained", "given"), [(0.5, 0.51), (0.5, None), (None, 0.5), (None, None)])
def test_pixel_model_takes_the_same_or_an_unknown_scale(
    quick_model: Model, plain_section: Callable[..., Section], trained: Any, given: Any
) -> None:
    section = dataclasses.replace(plain_section("A"), um_per_px=given)
    model = dataclasses.replace(quick_model, um_per_px=trained, tiles=TileSpec(widths_px=(224.0,)))
    assert refusal(model, section) is None


def test_physical_tiles_fit_any_scale(quick_model: Model, plain_section: Callable[..., Section]) -> None:
    assert quick_model.um_per_px == 4.0
    assert refusal(quick_model, dataclasses.replace(plain_section("A"), um_per_px=0.25)) is None


def test_other_encoder_weights_are_refused(quick_model: Model) -> None:
    quick_model.check_encoder(quick_model.encoder_identity)
    with pytest.raises(InputError, match="the weights of 'tiny' here \\(other\\) are not those"):
        quick_model.check_encoder(EncoderIdentity("tiny", None, "other"))
