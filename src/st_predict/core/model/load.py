"""A model built of what its folder holds; nothing is fetched, and nothing is made that is larger than the weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from st_predict.core.encoders.registry import build_encoder
from st_predict.core.errors import InputError
from st_predict.core.inputs.transform import InputTransform
from st_predict.core.methods.registry import build_network
from st_predict.core.methods.ridge import Ridge, RidgeConfig
from st_predict.core.model.config_file import NoMoreThan, check_config, config_digest
from st_predict.core.model.domain import Domain
from st_predict.core.model.folder import broken, read_folder
from st_predict.core.model.model import Model
from st_predict.core.model.record import TrainingRecord
from st_predict.core.model.reliability import Reliability

if TYPE_CHECKING:
    from torch import Tensor

    from st_predict.core.encoders.encoder import Encoder

_PARTS = ("network", "inputs", "targets", "encoder", "anchor", "domain", "reliability")  # as Model.tensors names them


def load_model(path: str | Path) -> Model:
    """Read a model folder.

    Raises
    ------
    InputError
        If the folder or one of its files is missing, cut, foreign, changed, or of a newer format; if config.json is not
        that of a model, or does not fit the weights; or if only a model hub knows what the encoder is.
    """
    path = Path(path)
    config, tensors = read_folder(path)
    try:
        model = _build(config, tensors)
    except InputError as error:
        if error.where == "encoder":
            raise  # it says what to do
        raise _unfit(path, error) from error  # a setting that nobody typed: the file is wrong
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _unfit(path, error) from error
    if config.get("id") != model.id or config.get("config_sha256") != config_digest(config):
        raise broken(path, "config.json was changed")
    return model


def _unfit(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200]
    return broken(path, f"its parts do not fit together ({type(error).__name__}: {reason})")


def _build(config: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
    check_config(config, tensors)
    parts: dict[str, dict[str, Any]] = {name: {} for name in _PARTS}
    for key, value in tensors.items():
        part, name = key.split(".", 1)
        parts[part][name] = value
    recipe, size = TrainingRecord.of_record(config).recipe, (config["n_inputs"], len(config["panel"]))
    with NoMoreThan(tensors):
        network = build_network(recipe, *size)
    network.load_state_dict(parts["network"])
    anchor = None
    if parts["anchor"]:
        anchor = Ridge(*size, RidgeConfig())
        anchor.load_state_dict(parts["anchor"])
    return Model.of_record(
        config,
        transform=InputTransform(recipe.inputs, parts["inputs"]),
        center=parts["targets"]["mean"],
        network=network.eval(),
        encoder=_trained_encoder(config, parts["encoder"], tensors),
        anchor=anchor,
        domain=Domain(**parts["domain"]) if parts["domain"] else None,
        reliability=Reliability(**parts["reliability"]) if parts["reliability"] else None,
    )


def _trained_encoder(config: dict[str, Any], state: dict[str, Any], tensors: dict[str, Tensor]) -> Encoder | None:
    if not config["encoder_trained"]:
        return None
    architecture = config.get("encoder_architecture")
    with NoMoreThan(tensors):
        encoder = build_encoder(config["encoder"]["name"], pretrained=False, architecture=architecture)
    encoder.load_state_dict(state)
    return encoder
