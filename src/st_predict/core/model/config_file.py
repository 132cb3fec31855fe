"""What a model's config.json may hold: types and sizes, checked before anything is built of it. Builds nothing itself.

A model may come from anybody. The weights fill the network that its config.json asks for, so it may not be larger than they
are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Union, get_args, get_origin, get_type_hints

import torch
from torch.overrides import TorchFunctionMode

from st_predict.core.methods.recipe import FitConfig, InputConfig
from st_predict.core.methods.registry import METHODS
from st_predict.core.model.record import WRITTEN_AS, TrainingRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LARGEST_BYTES = 64_000_000
"""Of a config.json: a hundred times that of a model of all genes with a long history."""
LARGEST_SETTING = 65_536
"""Of the whole numbers that networks are made by, such as widths and layers."""
_LARGEST_NUMBER = 2**63
_LONGEST_TEXT, _LONGEST_LIST = 10_000, 1_000_000
_MOST_WIDTHS = 64
_RANGES = {
    "um_per_px": (1e-3, 1e3),
    "pitch_um": (1e-3, 1e6),
    "min_counts": (0, 1e12),
    "epochs": (0, 1e9),
    "n_inputs": (1, 1e7),
}
_SIZELESS = {"shuffle"}  # the number of a random draw


class _Recipe(TypedDict):
    method: dict[str, Any]
    inputs: InputConfig
    fit: FitConfig


class _Tiles(TypedDict):
    widths_um: list[float]
    widths_px: list[float]


class _Architecture(TypedDict):
    name: str
    args: dict[str, Any]
    settings: dict[str, Any]


class _Later(TypedDict, total=False):
    """Entries that models had from some version on."""

    encoder_architecture: _Architecture | None
    config_sha256: str


class _Config(_Later):
    """What stands beside the record of the training."""

    format: str
    package_version: str
    id: str
    method: str
    recipe: _Recipe
    encoder_trained: bool
    weights_sha256: str


def check_config(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse a config.json that no model can have, or that does not fit the weights beside it.

    Parameters
    ----------
    config
        What config.json holds.
    tensors
        The weights, by name.

    Raises
    ------
    ValueError
        With the first entry that does not hold.
    """
    _check_type(config, _Config, "")
    _check_record(config)
    method = type(METHODS[config["method"]].presets["default"].settings)
    _check_type(config["recipe"]["method"], method, "recipe.method")
    for name, value in _whole_numbers(config["recipe"]):
        if value > LARGEST_SETTING:
            raise ValueError(f"{name} is {value}, expected at most {LARGEST_SETTING}")
    for name, (low, high) in _RANGES.items():
        value = config[name]
        if value is not None and not low <= value <= high:
            raise ValueError(f"{name} is {value!r}, expected {low:g} to {high:g}")
    if not 1 <= len([*config["tiles"]["widths_um"], *config["tiles"]["widths_px"]]) <= _MOST_WIDTHS:
        raise ValueError(f"tiles has no width, or more than {_MOST_WIDTHS}")
    panel, sets = config["panel"], config.get("gene_sets", {})
    if len(set(panel)) != len(panel) or not set(sets) <= set(panel):
        raise ValueError("panel names a gene twice, or lacks a gene set")
    if tensors["targets.mean"].shape != (len(panel),):
        raise ValueError(f"panel has {len(panel)} genes, the weights have {tuple(tensors['targets.mean'].shape)}")


def config_digest(config: Mapping[str, Any]) -> str:
    """Hash of all that config.json says, except the hash itself; how it is laid out does not matter."""
    said = {key: value for key, value in config.items() if key != "config_sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class NoMoreThan(TorchFunctionMode):
    """Stops the building of a network that has more tensors, or more numbers in them, than the weights.

    Building a network also makes a few tensors that are not kept. So four times as many are allowed, and ten million
    numbers more.

    Parameters
    ----------
    tensors
        The weights.

    Raises
    ------
    ValueError
        Before the tensor that is too much is made.
    """

    _MAKERS = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye})

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self._tensors = 4 * len(tensors) + 1000
        self._numbers = 4 * sum(value.numel() for value in tensors.values()) + 10_000_000

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what is made."""
        kwargs = kwargs or {}
        if func in self._MAKERS:
            size = kwargs.get("size", args[0] if args and isinstance(args[0], (tuple, list)) else args)
            self._tensors -= 1
            self._numbers -= math.prod(side for side in size if isinstance(side, int))
            if self._tensors < 0 or self._numbers < 0:
                raise ValueError("config.json asks for a larger network than the weights belong to")
        return func(*args, **kwargs)


def _check_type(value: Any, hint: Any, name: str) -> None:
    """Refuse a value from JSON that is not of a type; dataclasses, named tuples and typed dicts are objects, tuples are lists."""
    kind, of = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        plain = [one for one in of if one is not NoneType]
        if value is not None and not any(_fits(value, one, name) for one in plain):
            raise _wrong(name, value, hint)
    elif kind is Literal:
        if value not in of:
            raise _wrong(name, value, hint)
    elif kind in (list, tuple):
        if not isinstance(value, list) or len(value) > _LONGEST_LIST:
            raise _wrong(name, value, hint)
        for one in value:
            _check_type(one, of[0], f"an entry of {name}")
    elif dataclasses.is_dataclass(kind) or isinstance(kind, type(_Config)) or hasattr(kind, "_fields"):
        _check_entries(value, kind, name)
    elif kind is dict:
        if not isinstance(value, dict) or len(value) > _LONGEST_LIST:
            raise _wrong(name, value, hint)
        for one in value.values() if of and of[1] is not Any else ():
            _check_type(one, of[1], f"an entry of {name}")
    elif not _is_plain(value, kind):
        raise _wrong(name, value, hint)


def _check_record(config: Mapping[str, Any]) -> None:
    hints = {**get_type_hints(TrainingRecord), "tiles": _Tiles}  # of which both entries are written
    for one in dataclasses.fields(TrainingRecord):
        entry = WRITTEN_AS.get(one.name, one.name)
        if entry in config and entry not in get_type_hints(_Config):
            _check_type(config[entry], hints[one.name], entry)
        elif entry not in config and one.default is one.default_factory is dataclasses.MISSING:
            raise ValueError(f"{entry} is missing")


def _check_entries(value: Any, kind: Any, name: str) -> None:
    """Check every entry by its own type; only entries with a default may be missing."""
    if not isinstance(value, dict):
        raise _wrong(name, value, dict)
    hints = get_type_hints(kind)
    settings = {field.name: field for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
    if settings and (others := set(value) - set(settings)):
        raise ValueError(f"{name} has no setting {min(others)!r}")
    for entry, hint in hints.items():
        place = f"{name}.{entry}".lstrip(".")
        if entry in value:
            unset = entry in settings and settings[entry].default is None and value[entry] is None
            if not unset:
                _check_type(value[entry], hint, place)
        elif not settings and entry in getattr(kind, "__required_keys__", hints):
            raise ValueError(f"{place} is missing")


def _fits(value: Any, hint: Any, name: str) -> bool:
    try:
        _check_type(value, hint, name)
    except ValueError:
        return False
    return True


def _is_plain(value: Any, kind: type) -> bool:
    if kind is str:
        return isinstance(value, str) and len(value) <= _LONGEST_TEXT
    if kind is bool:
        return isinstance(value, bool)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is int:
        return whole and abs(value) < _LARGEST_NUMBER
    return kind is float and (isinstance(value, float) or (whole and abs(value) < _LARGEST_NUMBER))


def _whole_numbers(recipe: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The settings of a network that are whole numbers, one by one."""
    asked = {f"recipe.method.{k}": v for k, v in recipe["method"].items() if k not in _SIZELESS}
    asked |= {f"recipe.inputs.{k}": v for k, v in recipe["inputs"].items()}
    asked["recipe.fit.members"] = recipe["fit"].get("members")
    for name, value in asked.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int) and not isinstance(one, bool):
                yield name, one


def _wrong(name: str, value: Any, hint: Any) -> ValueError:
    kind = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    return ValueError(f"{name} is {repr(value)[:60]}, expected {kind}")
