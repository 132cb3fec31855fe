"""A method with its optional trainable encoder, trained by Lightning.

Several processes share the encoding of every batch, and each computes the loss on all of it.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn
from torch.utils.data import DataLoader

from st_predict.core.ending import Terminated
from st_predict.core.errors import InputError
from st_predict.core.fitting.checkpoints import KeepState
from st_predict.core.fitting.hardware import new_trainer, quiet_lightning
from st_predict.core.fitting.module import EpochRecord, FitModule
from st_predict.core.inputs.loader import training_batches
from st_predict.core.inputs.pixels import read
from st_predict.core.inputs.spots import BlockSampler, HeldOutSections, SpotSet
from st_predict.core.methods.interface import Method
from st_predict.core.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from st_predict.core.fitting.checkpoints import Checkpoints, FitCheckpoint
    from st_predict.core.fitting.hardware import Hardware
    from st_predict.core.inputs.kinds import Inputs
    from st_predict.core.methods.recipe import FitConfig


class _Progress(lightning.Callback):
    """One bar over the epochs of one fit, some of which may have been run earlier."""

    def __init__(self, label: str, epochs: int, done: int) -> None:
        self._bar = progress_bar(epochs, label, unit="epoch")
        self._bar.update(done)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._bar.update(1)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._bar.close()


class Watch(NamedTuple):
    """What looks on while a fit runs: Lightning's ``logger`` and ``callbacks``, and where its state is kept."""

    logger: Any = False
    callbacks: Sequence[lightning.Callback] = ()
    checkpoint: FitCheckpoint | None = None
    label: str = "fit"
    """What the progress bar calls this fit."""


class Run(NamedTuple):
    """Where fits run, who looks on, and what is kept of them."""

    hardware: Hardware
    watch: Watch = Watch()
    """Of the fit on all sections; inner folds run unseen."""
    checkpoints: Checkpoints | None = None
    """Where all fits are kept as they go; ``None``: nowhere."""

    def of_fit(self, label: str, *, watched: bool) -> Run:
        """The same for one fit."""
        watch = (self.watch if watched else Watch())._replace(label=label)
        if self.checkpoints is not None:
            watch = watch._replace(checkpoint=self.checkpoints.of_fit(label))
        return self._replace(watch=watch)


def fit_network(
    method: Method,
    inputs: Inputs,
    spots: SpotSet,
    config: FitConfig,
    *,
    epochs: int,
    held_out: Mapping[int, SpotSet],
    seed: int,
    run: Run,
) -> list[EpochRecord]:
    """Train in place.

    Parameters
    ----------
    method
        What is trained.
    inputs
        What it is fed; an encoder of theirs is trained along.
    spots
        Training spots.
    config
        Settings.
    epochs
        Epochs at most.
    held_out
        Sections that decide when to stop, by number; empty: all epochs are run.
    seed
        Seed of dropout and of the order of spots.
    run
        Where to run, and who looks on. With a checkpoint a fit that was broken off goes on from it, and ends as if it had
        not been.

    Returns
    -------
    One record an epoch.

    Raises
    ------
    InputError
        If training diverges, or a batch does not fit in the memory of the GPU.
    """
    module = FitModule(method, inputs, config, spots, len(held_out))
    # The encoder stays in evaluation mode, also where it is trained: batch statistics of tiles that lie beside each
    # other are not those of a slide.
    module.method.train()
    checkpoint = run.watch.checkpoint
    found = None if checkpoint is None else checkpoint.load()
    if found:
        module.go_on(found)
    if not found or found["batch"] is not None:
        _run(module, epochs, held_out, seed, run, found)
        if checkpoint:
            checkpoint.save({**module.progress(), "batch": None})
    module.cpu().eval()
    return module.records


def _run(
    module: FitModule,
    epochs: int,
    held_out: Mapping[int, SpotSet],
    seed: int,
    run: Run,
    found: dict[str, Any] | None,
) -> None:
    """Run the epochs that are left with Lightning."""
    done, watch = len(module.records), run.watch
    callbacks: list[lightning.Callback] = [_Progress(watch.label, epochs, done), *watch.callbacks]
    if held_out:
        callbacks.append(EarlyStopping("held_out_pcc", mode="max", patience=module.config.patience))
    if watch.checkpoint:
        callbacks.append(KeepState(watch.checkpoint, found))
    sampler = _sampler(module, seed)
    sampler.start(done, found["batch"] if found else 0)
    with quiet_lightning(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trainer = new_trainer(
            run.hardware, encoder=module.encoder, max_epochs=epochs - done, callbacks=callbacks, logger=watch.logger
        )
        try:
            trainer.fit(
                module,
                training_batches(module.spots, sampler, trainer.strategy.root_device),
                DataLoader(HeldOutSections(held_out), batch_size=None) if held_out else None,
            )
        except torch.OutOfMemoryError as error:
            raise _too_large(module, trainer.strategy.root_device) from error
        except SIGTERMException as error:  # an exit that would pass for one that went well
            raise Terminated(signal.SIGTERM) from error
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # which Lightning makes an exit of
                raise KeyboardInterrupt from error
            raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def _sampler(module: FitModule, seed: int) -> BlockSampler:
    """Whole sections where the method asks for them; blocks of neighbors where an encoder sees what they share."""
    config, whole = module.config, module.method.needs.section
    blocks = module.spots.blocks(module.inputs.together(config, whole_sections=whole))
    return BlockSampler(blocks, batch_size=None if whole else config.batch_size, seed=seed)


def _too_large(module: FitModule, device: torch.device) -> InputError:
    """The error for a batch that does not fit, with one that was tried and does."""
    asked = module.config.batch_size
    fits, order = asked // 2, torch.from_numpy(np.concatenate(module.spots.blocks(module.config.block_size)))
    module.to(device)
    while fits >= 2:
        try:
            batch = module.spots.batch(order[:fits])
            batch = move_data_to_device(batch._replace(tiles=read(batch.tiles)), device)
            module.training_step(batch, 0).backward()
            break
        except torch.OutOfMemoryError:
            fits //= 2
    module.zero_grad()
    module.cpu()
    return InputError(
        f"a batch of {asked} spots does not fit in the memory of {device}",
        where="batch_size",
        expected=f"at most about {fits}, which was tried and fits" if fits >= 2 else "a smaller encoder",
        remedy=f"batch_size={fits}" if fits >= 2 else "use a smaller encoder or the CPU",
    )


def new_network(build: Any, seed: int) -> nn.Module:
    """Build a network whose initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = build()
    return network
