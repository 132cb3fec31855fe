"""A training that may be broken off: each of its fits as it stands, in a folder, written beside and renamed."""

from __future__ import annotations

import json
import logging
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as lightning
import torch

from st_predict.core.errors import InputError
from st_predict.core.files import replacing_file
from st_predict.core.full import going_on_unkept, said_if_not_written
from st_predict.core.outputs import foreign_files, is_free
from st_predict.core.processes import rank_and_size
from st_predict.core.sealed import Damaged, check_sealed, digest_of, read_json, seal_file, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger("st_predict")
_FEATURES = "features"
_KEPT = re.compile(r"[0-9a-f]{16}")
_OF = "training.json"
_EVERY_SECONDS = 300.0


class Checkpoints:
    """The folder of one training.

    Parameters
    ----------
    folder
        Where it is; made if it is not there.
    resume
        Whether to go on with a training that is there.
    made_from
        What the training is of, by name: settings as they are, data as hashes.

    Raises
    ------
    InputError
        If a training is there that was not to be resumed or was begun with anything else, or something else is there.
    """

    def __init__(self, folder: Path, *, resume: bool, made_from: Mapping[str, Any]) -> None:
        self.folder = folder
        wanted = json.loads(json.dumps(made_from))
        self._of = digest_of(wanted)
        found = self._read()
        if found is not None and not resume:
            raise InputError(
                f"{folder} holds a training",
                where="checkpoint_dir",
                expected="a new or empty folder",
                remedy="resume=True goes on with it; to begin anew, remove the folder or choose another one",
            )
        changed = [] if found is None else _changed(_flat(found), _flat(wanted))
        if changed:
            raise InputError(
                f"the training in {folder} was begun with other values of {', '.join(changed)}",
                where="resume",
                expected="the same sections and settings",
                remedy="give what it was begun with, or train into another checkpoint_dir",
            )
        if found is None and rank_and_size()[0] == 0:
            with said_if_not_written(folder, folder):
                folder.mkdir(parents=True, exist_ok=True)
            with replacing_file(folder / _OF) as file:
                write_json(file, wanted)

    def _read(self) -> dict[str, Any] | None:
        if is_free(self.folder):
            return None
        fits = [one.name for one in self.folder.glob("*.ckpt")] if self.folder.is_dir() else []
        try:
            found: dict[str, Any] = read_json(self.folder / _OF)
        except (FileNotFoundError, NotADirectoryError, Damaged) as error:
            if fits or isinstance(error, Damaged):
                raise InputError(
                    f"{self.folder / _OF} is {'damaged' if isinstance(error, Damaged) else 'missing'}: it says which training the "
                    "fits beside it belong to",
                    where="checkpoint_dir",
                    expected="the folder of a training as it was written",
                    remedy=f"remove {_OF} and all .ckpt files there to begin anew; features that are kept there stay",
                ) from error
            if self._holds_features_alone():
                return None
            raise InputError(
                f"{self.folder} exists and holds no training",
                where="checkpoint_dir",
                expected="a new or empty folder, or that of a training to resume",
                remedy="choose another folder",
            ) from error
        return found

    def _holds_features_alone(self) -> bool:
        kept = foreign_files(self.features, ()) if self.features.is_dir() else []
        return bool(kept) and all(map(_KEPT.fullmatch, kept)) and not foreign_files(self.folder, (_FEATURES,))

    @property
    def features(self) -> Path:
        """The folder of frozen features."""
        return self.folder / _FEATURES

    def of_fit(self, label: str) -> FitCheckpoint:
        """The file of one fit."""
        return FitCheckpoint(self.folder / f"{re.sub(r'[^a-z0-9]+', '_', label)}.ckpt", of=f"{label} of {self._of}")


def what_is_kept(folder: Path | None) -> str:
    """Of a training that was broken off: what is in its folder, and how to go on."""
    if folder is None:
        return (
            "No new model was made, and nothing of the training is kept; checkpoint_dir (--checkpoints) would keep it"
        )
    if not (folder / _OF).is_file():
        return f"No new model was made, and nothing is kept in {folder} yet"
    blocks, fits = len(list(folder.glob(f"{_FEATURES}/*/*.npy"))), sorted(one.stem for one in folder.glob("*.ckpt"))
    kept = [f"{blocks} blocks of features"] * bool(blocks) + [f"the fits {', '.join(fits)} as they stood"] * bool(fits)
    return (
        f"No new model was made; kept in {folder}: {' and '.join(kept) or 'what it was begun with'}. "
        "The same call with resume=True (--resume) goes on from there"
    )


def _flat(settings: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Settings within settings by one name: ``recipe.fit.learning_rate``."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{within}{name}.") if isinstance(value, dict) else {within + name: value}
    return flat


def _changed(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Settings that differ, with their values; hashes are left out, since they tell a reader nothing."""

    def told(name: str) -> str:
        old, new = found.get(name), wanted.get(name)
        short = max(len(repr(old)), len(repr(new))) < 40 and not name.startswith("section")
        return f"{name} ({old!r}, now {new!r})" if short else name

    return [told(name) for name in {**wanted, **found} if wanted.get(name) != found.get(name)]


class FitCheckpoint:
    """One fit as it stood before one of its batches, or at its end; tensors and plain values.

    Parameters
    ----------
    path
        Its file.
    of
        Which fit of which training it is: the file of another one is not taken for it.
    """

    def __init__(self, path: Path, *, of: str) -> None:
        self._path, self._of = path, of

    def load(self) -> dict[str, Any] | None:
        """The state that was kept last; ``None`` if there is none, or it is damaged or another's: the fit is then run anew."""
        if not self._path.exists():
            return None
        try:
            check_sealed(self._path, of=self._of)
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except (Damaged, OSError):
            logger.warning("%s is damaged, or of another fit; this one is run anew", self._path)
            return None
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state that was kept before; of several processes, only the first writes.

        If there is no room for it, a warning says so once, and the fit goes on.
        """
        if rank_and_size()[0]:
            return
        with going_on_unkept("the training", self._path.parent), replacing_file(self._path) as file:
            with file.open("wb") as opened:  # by Python, which says why it cannot write
                torch.save(state, opened)
            seal_file(file, of=self._of)


class KeepState(lightning.Callback):
    """Keeps a fit before the first batch of an epoch and every five minutes, and takes it up where it was broken off.

    Random numbers are kept as they stand before that batch is trained on, after Lightning drew its own.

    Parameters
    ----------
    checkpoint
        Where it is kept.
    found
        The state to go on from.
    """

    def __init__(self, checkpoint: FitCheckpoint, found: dict[str, Any] | None) -> None:
        self._checkpoint, self._found = checkpoint, found
        self._kept_at = time.monotonic()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Restore the fit at its first batch, and keep it when that is due."""
        if self._found is not None:
            _restore(trainer, self._found)
            self._found = None
        elif (batch_idx == 0 and pl_module.records) or time.monotonic() - self._kept_at > _EVERY_SECONDS:
            pl_module.check_losses()  # what is no longer a number is not kept
            self._checkpoint.save({**pl_module.progress(), **_state(trainer), "batch": batch_idx})
            self._kept_at = time.monotonic()


def _state(trainer: Any) -> dict[str, Any]:
    stopping = trainer.early_stopping_callback
    return {
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedules": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "precision": trainer.precision_plugin.state_dict(),
        "stopping": None if stopping is None else stopping.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore(trainer: Any, state: dict[str, Any]) -> None:
    for optimizer, kept in zip(trainer.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    for config, kept in zip(trainer.lr_scheduler_configs, state["schedules"], strict=True):
        config.scheduler.load_state_dict(kept)
    trainer.precision_plugin.load_state_dict(state["precision"])
    if state["stopping"] is not None:
        trainer.early_stopping_callback.load_state_dict(state["stopping"])
    torch.set_rng_state(state["random"])
    if state["random_cuda"]:
        torch.cuda.set_rng_state_all(state["random_cuda"])
