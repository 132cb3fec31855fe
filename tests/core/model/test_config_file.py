"""A model of anybody's: no edit goes unseen, nothing is made beyond its weights, and nothing is fetched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from st_predict.core.encoders.registry import build_encoder
from st_predict.core.errors import InputError
from st_predict.core.model import folder as store
from st_predict.core.model import load
from st_predict.core.model.config_file import LARGEST_BYTES, NoMoreThan
from st_predict.core.model.load import load_model
from st_predict.core.model.model import Model


@pytest.fixture
def folder(quick_model: Model, tmp_path: Path) -> Path:
    return quick_model.save(tmp_path / "model")


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def write(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config))


def test_every_entry_is_part_of_the_identity(folder: Path) -> None:
    """Other values of the right types, one entry at a time, and one entry less."""
    config = read(folder)
    other = {
        "package_version": "9.9", "id": "0" * 12, "encoder": {**config["encoder"], "fingerprint": "f" * 16},
        "tiles": {"widths_um": [99.0, 154.0, 308.0, 616.0], "widths_px": []}, "um_per_px": 0.5, "pitch_um": 100.0,
        "layout": "hex", "ground": "new subject", "subject": "P9", "choice": "because", "min_counts": 1, "seed": 7,
        "sections": ["A", "C"], "epochs": 9, "panel": config["panel"][::-1], "gene_sets": {config["panel"][-1]: ["x"]},
        "history": config["history"][1:], "held_out": [], "config_sha256": "0" * 64,
        "recipe": {**config["recipe"], "fit": {**config["recipe"]["fit"], "learning_rate": 0.1}},
    }  # fmt: skip
    # These are told before, by what does not fit: another network, another format, other weights.
    assert set(config) - set(other) == {
        "format", "method", "encoder_trained", "encoder_architecture", "n_inputs", "weights_sha256",
    }  # fmt: skip
    for entry, value in other.items():
        assert value != config[entry], entry
        write(folder, {**config, entry: value})
        with pytest.raises(InputError, match=r"config\.json was changed"):
            load_model(folder)
    for entry in ("layout", "ground", "subject", "choice", "gene_sets", "config_sha256"):  # that models lacked at first
        write(folder, {key: value for key, value in config.items() if key != entry})
        with pytest.raises(InputError, match=r"config\.json was changed"):
            load_model(folder)
    (folder / "config.json").write_text(json.dumps(config, indent=7))  # laid out otherwise it says the same
    load_model(folder)


def test_whatever_predictions_depend_on_is_in_the_id(quick_model: Model) -> None:
    identity = quick_model.encoder_identity._replace(fingerprint="another")
    changes: list[dict[str, Any]] = [
        {"pitch_um": 55.0}, {"um_per_px": 0.5}, {"layout": "hex"}, {"min_counts": 1}, {"encoder_identity": identity},
    ]  # fmt: skip
    ids = [quick_model.id, *(replace(quick_model, **change).id for change in changes)]
    assert len(set(ids)) == len(ids)


WRONG: dict[str, tuple[list[str], Any, str]] = {
    "layers": (["recipe", "method", "layers"], 200_000, "recipe.method.layers is 200000, expected at most 65536"),
    "many layers": (["recipe", "method", "layers"], 60_000, "asks for a larger network than the weights belong to"),
    "wide": (["recipe", "method", "width"], 60_000, "asks for a larger network than the weights belong to"),
    "members": (["recipe", "fit", "members"], 10**9, "recipe.fit.members is 1000000000, expected at most 65536"),
    "many members": (["recipe", "fit", "members"], 50_000, "asks for a larger network"),
    "context": (["recipe", "inputs", "context"], [10**8], "recipe.inputs.context is 100000000, expected at most"),
    "components": (["recipe", "inputs", "components"], 10**12, "recipe.inputs.components is"),
    "text": (["recipe", "method", "width"], "128", "recipe.method.width is '128', expected int"),
    "switch": (["recipe", "method", "layers"], True, "recipe.method.layers is True, expected int"),
    "choice of": (["recipe", "method", "attention"], "all", r"recipe.method.attention is 'all', expected Literal"),
    "setting": (["recipe", "method", "hooks"], ["os"], "recipe.method has no setting 'hooks'"),
    "inputs": (["n_inputs"], 10**12, "n_inputs is 1000000000000, expected 1 to 1e\\+07"),
    "many inputs": (["n_inputs"], 10**7, "asks for a larger network"),
    "scale": (["um_per_px"], -1.0, "um_per_px is -1.0, expected 0.001 to 1000"),
    "no scale": (["um_per_px"], float("nan"), "um_per_px is nan, expected"),
    "scale in text": (["um_per_px"], "0.5", "um_per_px is '0.5', expected float | None"),
    "pitch": (["pitch_um"], float("inf"), "pitch_um is inf, expected"),
    "counts": (["min_counts"], None, "min_counts is None, expected float"),
    "seed": (["seed"], 2**80, "seed is .*, expected int"),
    "panel": (["panel"], "g1", "panel is 'g1', expected list"),
    "gene": (["panel"], [1] * 10, "an entry of panel is 1, expected str"),
    "long gene": (["panel"], ["g" * 100_000], "an entry of panel is"),
    "longer panel": (["panel"], [f"g{i}" for i in range(11)], r"panel has 11 genes, the weights have \(10,\)"),
    "gene twice": (["panel"], ["g1"] * 10, "panel names a gene twice"),
    "set": (["gene_sets"], {"nothing": ["g1"]}, "lacks a gene set"),
    "sections": (["sections"], [{"name": "A"}], "an entry of sections is"),
    "history": (["history"], [{"loss": [1]}], "an entry of an entry of history is"),
    "layout": (["layout"], "<script>", "layout is '<script>', expected"),
    "encoder": (["encoder", "name"], None, "encoder.name is None, expected str"),
    "trained": (["encoder_trained"], "yes", "encoder_trained is 'yes', expected bool"),
    "widths": (["tiles", "widths_um"], [100.0] * 65, "tiles has no width, or more than 64"),
    "no widths": (["tiles"], {"widths_um": []}, "tiles.widths_px is missing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_values_no_model_has_are_refused_at_once(folder: Path, case: str) -> None:
    place, value, said = WRONG[case]
    config = read(folder)
    within = config
    for name in place[:-1]:
        within = within[name]
    within[place[-1]] = value
    write(folder, {**config, "config_sha256": store.config_digest(config)})
    begin = time.perf_counter()
    with pytest.raises(InputError, match=f"its parts do not fit together .*{said}") as error:
        load_model(folder)
    assert time.perf_counter() - begin < 3 and len(error.value.what) < 1000


def test_nothing_is_made_of_a_type_that_is_wrong(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def built(*_: object, **__: object) -> None:
        raise AssertionError("something was built")

    monkeypatch.setattr(load, "build_network", built)
    monkeypatch.setattr(load, "build_encoder", built)
    write(folder, {**read(folder), "history": "none"})
    with pytest.raises(InputError, match="history is 'none', expected list"):
        load_model(folder)


def test_an_encoder_larger_than_the_weights_is_not_made(folder: Path) -> None:
    config = read(folder)
    config |= {"encoder_trained": True, "encoder": {**config["encoder"], "name": "vit_giant_patch14_224"}}
    write(folder, config)
    with pytest.raises(InputError, match="asks for a larger network than the weights belong to"):
        load_model(folder)


@pytest.mark.parametrize("content", ["[" * 200_000, '{"seed": ' + "9" * 50_000 + "}"], ids=["deep", "digits"])
def test_json_that_python_cannot_hold(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json is cut or not JSON"):
        load_model(folder)


def test_a_config_of_gigabytes_is_not_read(folder: Path) -> None:
    os.truncate(folder / "config.json", LARGEST_BYTES + 1_000_000)  # a hole, which takes no room
    with pytest.raises(InputError, match=r"config\.json has 65 MB, and no model's has more than 64"):
        load_model(folder)


def test_what_is_made_is_counted_before_it_is_made() -> None:
    with NoMoreThan({"a": torch.zeros(10)}):
        torch.nn.Linear(1000, 1000)
        with pytest.raises(ValueError, match="asks for a larger network"):
            torch.nn.Linear(10**6, 10**6)
        with pytest.raises(ValueError, match="asks for a larger network"):
            torch.zeros(size=(10**6, 10**6))


OFFLINE = """
import socket, sys

def refused(*args, **kwargs):
    raise AssertionError("the network was asked")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refused
import st_predict
for path in sys.argv[1:]:
    print(st_predict.load_model(path).id)
"""


@pytest.fixture
def hub_model(
    make_section: Callable[..., Any], quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Model:
    """A model whose encoder is a hub's and was trained; the hub is a cache."""
    from st_predict.tl import train

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "hf/models--owner--model/snapshots/0"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0")
    args = {"img_size": 32, "patch_size": 8, "depth": 1, "embed_dim": 24, "num_heads": 2, "num_classes": 0}
    settings = {"input_size": [3, 32, 32], "mean": [0.4] * 3, "std": [0.6] * 3, "num_classes": 0}
    described = {"architecture": "vit_tiny_patch16_224", "model_args": args, "pretrained_cfg": settings}
    (snapshot / "config.json").write_text(json.dumps(described))
    torch.manual_seed(0)
    save_file(timm.create_model("vit_tiny_patch16_224", **args).state_dict(), snapshot / "model.safetensors")
    sections = [make_section("A", 0), make_section("B", 1)]
    return train(sections, **{**quick, "encoder": "hf-hub:owner/model", "max_epochs": 1}, trainable_encoder=True)


@pytest.mark.one_python
def test_loading_never_asks_the_network(hub_model: Model, folder: Path, tmp_path: Path, quick_model: Model) -> None:
    """Not even for a trained encoder whose architecture only a hub tells, in a process that never saw the hub."""
    hub_model.save(tmp_path / "hub")
    environment = {**os.environ, "HF_HOME": str(tmp_path / "empty"), "HF_HUB_CACHE": str(tmp_path / "empty")}
    command = [sys.executable, "-c", OFFLINE, str(folder), str(tmp_path / "hub")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [quick_model.id, hub_model.id], done.stderr[-2000:]


def test_an_encoder_of_a_hub_comes_back_as_it_was(hub_model: Model, tmp_path: Path) -> None:
    loaded, encoder = load_model(hub_model.save(tmp_path / "hub")), hub_model.encoder
    assert loaded.encoder is not None and encoder is not None
    tiles = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(loaded.encoder(tiles), encoder.cpu().eval()(tiles))
    assert loaded.encoder.tile_px == encoder.tile_px == 32 and loaded.id == hub_model.id


def test_an_encoder_whose_architecture_is_not_known_here(
    hub_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As saved at first: the hub's cache tells, and where it does not the user is told."""
    path = hub_model.save(tmp_path / "hub")
    config = {**read(path), "encoder_architecture": None}
    write(path, {**config, "config_sha256": store.config_digest(config)})
    assert load_model(path).id == hub_model.id
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(InputError, match="the architecture of 'hf-hub:owner/model' is not known here") as error:
        load_model(path)
    assert "load the model then and save it again" in error.value.remedy


@pytest.mark.parametrize("argument", ["checkpoint_path", "pretrained_cfg", "pretrained", "cache_dir"])
def test_an_architecture_names_no_files(argument: str) -> None:
    asked = {"name": "vit_tiny_patch16_224", "args": {argument: "/etc/hosts"}, "settings": {}}
    with pytest.raises(ValueError, match=f"timm has no architecture 'vit_tiny_patch16_224' of .*{argument}"):
        build_encoder("hf-hub:owner/model", pretrained=False, architecture=asked)


@pytest.mark.parametrize("name", ["hf-hub:other/model", "local-dir:/tmp", "no_such_model"])
def test_an_architecture_is_one_of_timms(name: str) -> None:
    asked = {"name": name, "args": {}, "settings": {}}
    with pytest.raises(ValueError, match="timm has no architecture"):
        build_encoder("hf-hub:owner/model", pretrained=False, architecture=asked)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_of_a_model_follow_the_umask(quick_model: Model, tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        folder = quick_model.save(tmp_path / "model")
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "config.json": mode,
        "weights.safetensors": mode,
    }
