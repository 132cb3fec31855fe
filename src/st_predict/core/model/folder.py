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

from st_predict.core.errors import InputError
from st_predict.core.files import follow_umask, opened_together, replacing_folder
from st_predict.core.full import check_room
from st_predict.core.methods.registry import METHODS
from st_predict.core.model.config_file import LARGEST_BYTES, config_digest
from st_predict.core.outputs import MODEL_FILES, check_output, foreign_files
from st_predict.core.processes import rank_and_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


_FORMAT = "st-predict model 2"
_CONFIG, _WEIGHTS = MODEL_FILES
_OLDER = ("st-predict model 1",)


def write_folder(path: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a model: what config.json says of it, and its weights by name; of several processes the first does."""
    if rank_and_size()[0]:
        return
    with replacing_folder(path, check_model_path) as folder:
        check_room(path, sum(value.nbytes for value in tensors.values()))
        folder.mkdir()
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / _WEIGHTS)
        made = {"format": _FORMAT, "package_version": version("st-predict"), **config}
        made["weights_sha256"] = _sha256(folder / _WEIGHTS)
        made["config_sha256"] = config_digest(made)
        (folder / _CONFIG).write_text(json.dumps(made, indent=1), encoding="utf-8")
        follow_umask(folder / _WEIGHTS)


def check_model_path(path: Path, *, where: str = "path") -> None:
    """Refuse to write a model over something else; ``where`` is the argument that the path was given as.

    Raises
    ------
    InputError
        If something that is not a model is there, a damaged one, files beside a model's own, or nothing can be written
        there, or it is the working folder.
    """
    if os.path.realpath(path) in (os.path.realpath(os.curdir), os.path.realpath(os.sep)):
        raise InputError(
            f"{str(path)!r} is the working folder, and a model takes the place of a whole folder",
            where=where,
            expected="a new folder, or an earlier model to replace",
            remedy=f"name a folder in it, such as {str(path / 'model')!r}",
        )
    _check_readable(path, where=where)
    if path.is_dir() and _is_model(path) and (others := foreign_files(path, MODEL_FILES)):
        raise InputError(
            f"{path} holds more than an earlier model: {', '.join(others[:4])}{', ...' if len(others) > 4 else ''}",
            where=where,
            expected="a new folder, or an earlier model to replace",
            remedy="choose another path, or move these files away",
        )
    check_output(path, _is_model, what="a model", where=where)


def _check_readable(path: Path, *, where: str) -> None:
    """Refuse a folder of a model's files of which config.json is damaged, as nobody can tell whose model it was."""
    if not (path / _WEIGHTS).is_file() or foreign_files(path, MODEL_FILES):
        return
    try:
        with opened_together(path, (_CONFIG,)) as files:
            _read_config(path, files)
    except OSError:
        return
    except InputError as error:
        raise InputError(
            error.what,
            where=where,
            expected="a new folder, or an earlier model to replace",
            remedy=f"move {path} away and do the same again: the model is written there anew",
        ) from error


def read_folder(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What config.json says, and the weights.

    Both are of one model, even if another process replaces it meanwhile.

    Raises
    ------
    InputError
        If the folder or one of its files is missing, cut, foreign, or of a newer format, or the weights are not those that
        config.json names.
    """
    try:
        with opened_together(path, MODEL_FILES) as files:
            config = _read_config(path, files)
            _check_format(path, config)
            if _WEIGHTS not in files:
                raise broken(path, f"{_WEIGHTS} is missing")
            weights = files[_WEIGHTS].read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"there is no model folder {path}",
            where="path",
            expected=f"a folder with {_CONFIG} and {_WEIGHTS}",
            remedy="give the folder that Model.save wrote",
        ) from error
    except IsADirectoryError as error:
        raise broken(path, "one of its files is a folder") from error
    if hashlib.sha256(weights).hexdigest() != config["weights_sha256"]:
        raise broken(path, f"{_WEIGHTS} is cut or was changed")
    try:
        return config, load(weights)
    except SafetensorError as error:
        raise broken(path, f"{_WEIGHTS} cannot be read ({error})") from error


def _read_config(path: Path, files: Mapping[str, BinaryIO]) -> dict[str, Any]:
    if _CONFIG not in files:
        raise broken(path, f"{_CONFIG} is missing")
    if (size := os.fstat(files[_CONFIG].fileno()).st_size) > LARGEST_BYTES:
        raise broken(path, f"{_CONFIG} has {size / 1e6:.0f} MB, and no model's has more than {LARGEST_BYTES / 1e6:.0f}")
    try:
        config = json.loads(files[_CONFIG].read().decode("utf-8"))
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, and lists within thousands of lists
        raise broken(path, f"{_CONFIG} is cut or not JSON ({error})") from error
    if not isinstance(config, dict) or "weights_sha256" not in config:
        raise broken(path, f"{_CONFIG} is not an st-predict model's")
    return config


def _check_format(path: Path, config: dict[str, Any]) -> None:
    """Refuse a model that this version cannot build."""
    if config.get("format") in _OLDER:
        raise InputError(
            f"{path} was saved by st-predict {config.get('package_version')} in an older format ({config['format']}): its settings "
            "and networks differ from those of this version",
            where="path",
            expected=f"a model in the format of this version ({_FORMAT})",
            remedy="train the model again, or load it with the version that saved it",
        )
    if config.get("format") != _FORMAT or str(config.get("method")) not in METHODS:
        raise broken(path, f"it has format {config.get('format')!r} and method {config.get('method')!r}")


def _is_model(path: Path) -> bool:
    """Whether a folder is a model of this version or an earlier one."""
    try:
        with opened_together(path, (_CONFIG,)) as files:
            return _read_config(path, files).get("format") in (_FORMAT, *_OLDER)
    except (OSError, InputError):
        return False


def broken(path: Path, what: str) -> InputError:
    """The error for a folder that is not a complete model."""
    return InputError(
        f"{path} cannot be read as a model: {what}",
        where="path",
        expected=f"a folder with the {_CONFIG} ({_FORMAT}) and {_WEIGHTS} that Model.save wrote together",
        remedy="copy the whole folder again, or save the model again with this version",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
