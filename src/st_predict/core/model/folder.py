"""Models on disk: a folder of config.json and safetensors, never pickle; checked whole before it is used.

Nothing is fetched, and nothing is made that is larger than the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load, save_file

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.encoders.registry import build_encoder
from st_predict.core.errors import InputError
from st_predict.core.files import follow_umask, opened_together, replacing_folder
from st_predict.core.inputs.transform import InputTransform
from st_predict.core.methods.recipe import FitConfig, InputConfig, Recipe
from st_predict.core.methods.registry import METHODS, build_network
from st_predict.core.methods.ridge import Ridge, RidgeConfig
from st_predict.core.model.config_file import LARGEST_BYTES, NoMoreThan, check_config, config_digest
from st_predict.core.model.domain import Domain
from st_predict.core.model.model import Model
from st_predict.core.model.reliability import Reliability
from st_predict.core.outputs import MODEL_FILES, check_output, foreign_files
from st_predict.core.processes import rank_and_size
from st_predict.core.tiles.geometry import TileSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from st_predict.core.encoders.encoder import Encoder

_FORMAT = "st-predict model 2"
_CONFIG, _WEIGHTS = MODEL_FILES
_OLDER = ("st-predict model 1",)
_PARTS = ("network", "inputs", "targets", "encoder", "anchor", "domain", "reliability")  # as Model.tensors names them


def save_model(model: Model, path: str | Path) -> Path:
    """See :meth:`Model.save`."""
    path = Path(path)
    if rank_and_size()[0]:
        return path
    with replacing_folder(path, check_model_path) as folder:
        folder.mkdir()
        save_file({key: value.contiguous() for key, value in model.tensors().items()}, folder / _WEIGHTS)
        config = {**_config(model), "weights_sha256": _sha256(folder / _WEIGHTS)}
        config["config_sha256"] = config_digest(config)
        (folder / _CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
        follow_umask(folder / _WEIGHTS)
    return path


def check_model_path(path: Path) -> None:
    """Refuse to write a model over something else.

    Raises
    ------
    InputError
        If something that is not a model is there, or files beside a model's own, or nothing can be written there.
    """
    if path.is_dir() and _is_model(path) and (others := foreign_files(path, MODEL_FILES)):
        raise InputError(
            f"{path} holds more than an earlier model: {', '.join(others[:4])}{', ...' if len(others) > 4 else ''}",
            where="path",
            expected="a new folder, or an earlier model to replace",
            remedy="choose another path, or move these files away",
        )
    check_output(path, _is_model, what="a model", where="path")


def load_model(path: str | Path) -> Model:
    """Read a model folder: the one that is there or, where another process replaces it meanwhile, the earlier or the new one.

    Raises
    ------
    InputError
        If the folder or one of its files is missing, cut, foreign, changed, or of a newer format; if config.json holds what
        no model has, or more than the weights are those of; or if what the encoder is can only be told by a hub.
    """
    path = Path(path)
    try:
        with opened_together(path, MODEL_FILES) as files:
            return _read_model(path, files)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"there is no model folder {path}",
            where="path",
            expected=f"a folder with {_CONFIG} and {_WEIGHTS}",
            remedy="give the folder that Model.save wrote",
        ) from error


def _read_model(path: Path, files: Mapping[str, BinaryIO]) -> Model:
    config = _read_config(path, files)
    _check_format(path, config)
    if _WEIGHTS not in files:
        raise _broken(path, f"{_WEIGHTS} is missing")
    weights = files[_WEIGHTS].read()
    if hashlib.sha256(weights).hexdigest() != config["weights_sha256"]:
        raise _broken(path, f"{_WEIGHTS} is cut or was changed")
    try:
        model = _build(config, load(weights))
    except InputError as error:
        if error.where == "encoder":
            raise  # it says what to do
        raise _unfit(path, error) from error  # a setting that nobody typed: the file is wrong
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        raise _unfit(path, error) from error
    if config.get("id") != model.id or config.get("config_sha256") != config_digest(config):
        raise _broken(path, f"{_CONFIG} was changed")
    return model


def _config(model: Model) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "package_version": version("st-predict"),
        "id": model.id,
        "method": model.method,
        "recipe": model.recipe.to_dict(),
        "encoder": model.encoder_identity._asdict(),
        "encoder_trained": model.encoder is not None,
        "encoder_architecture": None if model.encoder is None else model.encoder.architecture,
        "tiles": model.tiles.to_dict(),
        "um_per_px": model.um_per_px,
        "pitch_um": model.pitch_um,
        "layout": model.layout,
        "ground": model.ground,
        "subject": model.subject,
        "choice": model.choice,
        "min_counts": model.min_counts,
        "seed": model.seed,
        "sections": model.sections,
        "epochs": model.epochs,
        "n_inputs": model.n_inputs,
        "panel": model.panel,
        "gene_sets": dict(model.gene_sets),
        "history": model.history_rows,
        "held_out": model.held_out_rows,
    }


def _build(config: dict[str, Any], tensors: dict[str, Any]) -> Model:
    check_config(config, tensors)
    parts: dict[str, dict[str, Any]] = {name: {} for name in _PARTS}
    for key, value in tensors.items():
        part, name = key.split(".", 1)
        parts[part][name] = value
    recipe, size = _recipe(config), (config["n_inputs"], len(config["panel"]))
    with NoMoreThan(tensors):
        network = build_network(recipe, *size)
    network.load_state_dict(parts["network"])
    anchor = None
    if parts["anchor"]:
        anchor = Ridge(*size, RidgeConfig())
        anchor.load_state_dict(parts["anchor"])
    return Model(
        method=config["method"],
        recipe=recipe,
        panel=config["panel"],
        encoder_identity=EncoderIdentity(**config["encoder"]),
        tiles=TileSpec.from_dict(config["tiles"]),
        um_per_px=config["um_per_px"],
        pitch_um=config["pitch_um"],
        min_counts=config["min_counts"],
        seed=config["seed"],
        sections=config["sections"],
        n_inputs=config["n_inputs"],
        epochs=config["epochs"],
        history_rows=config["history"],
        held_out_rows=config["held_out"],
        transform=InputTransform(recipe.inputs, parts["inputs"]),
        center=parts["targets"]["mean"],
        network=network.eval(),
        encoder=_trained_encoder(config, parts["encoder"], tensors),
        anchor=anchor,
        domain=Domain(**parts["domain"]) if parts["domain"] else None,
        reliability=Reliability(**parts["reliability"]) if parts["reliability"] else None,
        gene_sets=_tuples(config.get("gene_sets", {})),
        layout=config.get("layout"),
        ground=config.get("ground"),
        subject=config.get("subject"),
        choice=config.get("choice"),
    )


def _recipe(config: dict[str, Any]) -> Recipe:
    kept = {part: _tuples(settings) for part, settings in config["recipe"].items()}
    settings = type(METHODS[config["method"]].presets["default"].settings)
    return Recipe(config["method"], settings(**kept["method"]), InputConfig(**kept["inputs"]), FitConfig(**kept["fit"]))


def _trained_encoder(config: dict[str, Any], state: dict[str, Any], tensors: dict[str, Any]) -> Encoder | None:
    if not config["encoder_trained"]:
        return None
    architecture = config.get("encoder_architecture")
    with NoMoreThan(tensors):
        encoder = build_encoder(config["encoder"]["name"], pretrained=False, architecture=architecture)
    encoder.load_state_dict(state)
    return encoder


def _read_config(path: Path, files: Mapping[str, BinaryIO]) -> dict[str, Any]:
    if _CONFIG not in files:
        raise _broken(path, f"{_CONFIG} is missing")
    if (size := os.fstat(files[_CONFIG].fileno()).st_size) > LARGEST_BYTES:
        raise _broken(
            path, f"{_CONFIG} has {size / 1e6:.0f} MB, and no model's has more than {LARGEST_BYTES / 1e6:.0f}"
        )
    try:
        config = json.loads(files[_CONFIG].read().decode("utf-8"))
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, and lists within thousands of lists
        raise _broken(path, f"{_CONFIG} is cut or not JSON ({error})") from error
    if not isinstance(config, dict) or "weights_sha256" not in config:
        raise _broken(path, f"{_CONFIG} is not an st-predict model's")
    return config


def _check_format(path: Path, config: dict[str, Any]) -> None:
    """Refuse a model that this version cannot build."""
    if config.get("format") in _OLDER:
        raise InputError(
            f"{path} was saved by st-predict {config.get('package_version')} in an older format ({config['format']}): its settings "
            "and networks are others",
            where="path",
            expected=f"a model in the format of this version ({_FORMAT})",
            remedy="train the model again, or load it with the version that saved it",
        )
    if config.get("format") != _FORMAT or str(config.get("method")) not in METHODS:
        raise _broken(path, f"it has format {config.get('format')!r} and method {config.get('method')!r}")


def _is_model(path: Path) -> bool:
    """Whether a folder is a model of this version or an earlier one."""
    try:
        with opened_together(path, (_CONFIG,)) as files:
            return _read_config(path, files).get("format") in (_FORMAT, *_OLDER)
    except (OSError, InputError):
        return False


def _broken(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} cannot be read as a model: {what}",
        where="path",
        expected=f"a folder with the {_CONFIG} ({_FORMAT}) and {_WEIGHTS} that Model.save wrote together",
        remedy="copy the whole folder again, or save the model again with this version",
    )


def _unfit(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200]
    return _broken(path, f"its parts do not fit together ({type(error).__name__}: {reason})")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
