"""A method with its optional trainable encoder: encode what a batch holds, train on it, predict whole sections.

Several processes share the encoding of every batch, and each computes the loss on all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader

from st_predict.core.errors import InputError
from st_predict.core.methods.interface import SECTION_SPOTS, Method
from st_predict.core.metrics import mean_pearson
from st_predict.core.progress import progress_bar
from st_predict.core.training.augment import augment
from st_predict.core.training.checkpoints import KeepState
from st_predict.core.training.encode import encode_rows
from st_predict.core.training.hardware import gathered, new_trainer, quiet_lightning, share
from st_predict.core.training.loader import training_batches
from st_predict.core.training.pixels import read
from st_predict.core.training.spots import BlockSampler, HeldOutSections, SpotSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from st_predict.core.encoders.encoder import Encoder
    from st_predict.core.methods.interface import Batch, Reference
    from st_predict.core.methods.recipe import FitConfig
    from st_predict.core.training.checkpoints import FitCheckpoint
    from st_predict.core.training.hardware import Hardware

_CPU_PART = 16  # spots encoded at a time: their activations stay closer to the core


class EpochRecord(NamedTuple):
    """One epoch of one fit."""

    epoch: int
    losses: dict[str, float]
    held_out: dict[int, tuple[float, float]]
    """PCC and MSE by held-out section."""


class FitModule(lightning.LightningModule):
    """The Lightning side of a fit.

    Parameters
    ----------
    method
        A method trained by gradient.
    encoder
        Encoder to train with it, or ``None`` where tiles arrive as features.
    config
        Optimizer settings.
    spots
        Training spots, for what a method keeps of them.
    """

    def __init__(self, method: Method, encoder: Encoder | None, config: FitConfig, spots: SpotSet) -> None:
        super().__init__()
        self.spots = spots
        self.method: Any = method
        self.encoder = encoder
        self.config = config
        self.records: list[EpochRecord] = []
        self._held_out: dict[int, tuple[float, float]] = {}
        self._losses: list[dict[str, Tensor]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step on the targets of a batch."""
        tiles, n = batch.tiles, len(batch.places)
        if self.encoder is not None:
            changed = augment(tiles, self.config, of=n)
            part = _CPU_PART if self.device.type == "cpu" else None
            tiles = gathered(encode_rows(self.encoder, changed, batch_size=part), n, self.all_gather)
        terms = self.method.loss(batch._replace(tiles=tiles))
        self._losses.append({name: term.detach() for name, term in terms.items()})
        total: Tensor = torch.stack(list(terms.values())).sum()
        return total

    def on_validation_start(self) -> None:
        """Let a method that keeps what it predicts from do so as it stands now."""
        if type(self.method).after_fit is Method.after_fit:
            return
        spots = self.spots.each(lambda values: values.to(self.device))
        self.method.after_fit(fit_reference(self.method, self.encoder, spots))

    def validation_step(self, spots: SpotSet, batch_idx: int) -> None:
        """Score one whole held-out section."""
        tiles, n = spots.tiles, len(spots.tiles)
        if self.encoder is not None:
            own = tiles[torch.arange(n)[share(n)]]
            tiles = gathered(encode_rows(self.encoder, own, batch_size=64), n, self.all_gather)
        predicted, truth = predict_spots(self.method, spots.with_tiles(tiles)).cpu(), spots.expression.cpu()
        pcc, mse = mean_pearson(predicted, truth), float((predicted - truth).square().mean())
        self._held_out[int(spots.sections[0])] = (pcc, mse)
        self.log("held_out_pcc", pcc, batch_size=1)

    def check_losses(self) -> None:
        """Refuse to go on where a loss is no longer a number; a network like that would predict nothing, and score 0.

        Raises
        ------
        InputError
            With the first step whose losses are none.
        """
        if not self._losses:
            return
        names = list(self._losses[0])
        steps = torch.stack([torch.stack([step[name].float() for name in names]) for step in self._losses]).cpu()
        bad = (~steps.isfinite()).any(dim=1)
        if not bad.any():
            return
        first = int(bad.int().argmax())
        raise InputError(
            f"training diverged in epoch {len(self.records) + 1}, step {first + 1} of {len(steps)} run: the losses are "
            + ", ".join(f"{name} {loss:.3g}" for name, loss in zip(names, steps[first].tolist(), strict=True)),
            where="learning_rate",
            expected="losses that stay finite",
            remedy=f"use a learning_rate below {self.config.learning_rate:g}, and check the counts for odd values",
        )

    def on_train_epoch_end(self) -> None:
        """Keep the epoch's losses beside the held-out scores (validation runs before this hook)."""
        self.check_losses()
        losses = {name: float(torch.stack([step[name] for step in self._losses]).mean()) for name in self._losses[0]}
        self.records.append(EpochRecord(len(self.records) + 1, losses, self._held_out))
        self.log_dict({f"loss_{name}": loss for name, loss in losses.items()})
        self._losses, self._held_out = [], {}

    def progress(self) -> dict[str, Any]:
        """Weights and records as they stand, as tensors and plain values."""
        return {
            "module": self.state_dict(),
            "records": [list(record) for record in self.records],
            "losses": [dict(step) for step in self._losses],
        }

    def go_on(self, progress: dict[str, Any]) -> None:
        """Take up what :meth:`progress` gave."""
        self.load_state_dict(progress["module"])
        self.records = [EpochRecord(*record) for record in progress["records"]]
        self._losses = progress["losses"]

    def configure_optimizers(self) -> Any:
        """AdamW with a stepped or a cosine learning rate."""
        groups = [{"params": self.method.parameters(), "lr": self.config.learning_rate}]
        if self.encoder is not None:
            groups.append({"params": self.encoder.parameters(), "lr": self.config.encoder_learning_rate})
        optimizer = torch.optim.AdamW(groups, weight_decay=self.config.weight_decay)
        schedule: torch.optim.lr_scheduler.LRScheduler
        if self.config.schedule == "cosine":
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
                optimizer, self.config.max_epochs, self.config.final_learning_rate
            )
        else:
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, self.config.decay_every, self.config.decay)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


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


def fit_network(
    method: Method,
    encoder: Encoder | None,
    spots: SpotSet,
    config: FitConfig,
    *,
    epochs: int,
    held_out: Mapping[int, SpotSet],
    seed: int,
    hardware: Hardware,
    label: str,
    watch: Watch = Watch(),
) -> list[EpochRecord]:
    """Train in place.

    Parameters
    ----------
    method, encoder
        What is trained; the encoder only where it is trainable.
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
    hardware
        Where to run.
    label
        What the progress bar calls this fit.
    watch
        What looks on. With a checkpoint a fit that was broken off goes on from it, and ends as if it had not been.

    Returns
    -------
    One record an epoch.

    Raises
    ------
    InputError
        If training diverges, or a batch does not fit in the memory of the GPU.
    """
    module = FitModule(method, encoder, config, spots)
    # The encoder stays in evaluation mode, also where it is trained: batch statistics of tiles that lie beside each
    # other are not those of a slide.
    module.method.train()
    found = None if watch.checkpoint is None else watch.checkpoint.load()
    if found:
        module.go_on(found)
    if not found or found["batch"] is not None:
        _run(module, epochs, held_out, seed, hardware, label, watch, found)
        if watch.checkpoint:
            watch.checkpoint.save({**module.progress(), "batch": None})
    module.cpu().eval()
    return module.records


def _run(
    module: FitModule,
    epochs: int,
    held_out: Mapping[int, SpotSet],
    seed: int,
    hardware: Hardware,
    label: str,
    watch: Watch,
    found: dict[str, Any] | None,
) -> None:
    """Run the epochs that are left with Lightning."""
    done = len(module.records)
    callbacks: list[lightning.Callback] = [_Progress(label, epochs, done), *watch.callbacks]
    if held_out:
        callbacks.append(EarlyStopping("held_out_pcc", mode="max", patience=module.config.patience))
    if watch.checkpoint:
        callbacks.append(KeepState(watch.checkpoint, found))
    sampler = _sampler(module, seed)
    sampler.start(done, found["batch"] if found else 0)
    with quiet_lightning(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trainer = new_trainer(
            hardware, encoder=module.encoder, max_epochs=epochs - done, callbacks=callbacks, logger=watch.logger
        )
        try:
            trainer.fit(
                module,
                training_batches(module.spots, sampler, trainer.strategy.root_device),
                DataLoader(HeldOutSections(held_out), batch_size=None) if held_out else None,
            )
        except torch.OutOfMemoryError as error:
            raise _too_large(module, trainer.strategy.root_device) from error
    if trainer.interrupted:
        raise KeyboardInterrupt


def _sampler(module: FitModule, seed: int) -> BlockSampler:
    """Whole sections where the method asks for them; blocks of neighbors where an encoder sees what they share."""
    config, spots, alone = module.config, module.spots, module.encoder is None
    if module.method.needs.section:
        # What a whole section's tiles take to train an encoder on would not fit in memory; a batch of them does.
        return BlockSampler(spots.blocks(SECTION_SPOTS if alone else config.batch_size), batch_size=None, seed=seed)
    block = 1 if alone else max(1, min(config.block_size, config.batch_size // 2))
    return BlockSampler(spots.blocks(block), batch_size=config.batch_size, seed=seed)


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


def fit_reference(method: Method, encoder: Encoder | None, spots: SpotSet) -> Reference:
    """What a method may see of the training set before and after a fit; encoded only where it looks at tiles."""
    reference = spots.reference()
    if encoder is None or not method.needs.bank:
        return reference
    with torch.no_grad():
        return reference._replace(tiles=encode_rows(encoder, spots.tiles, batch_size=64))


def predict_spots(method: Method, spots: SpotSet, *, batch_size: int = 4096) -> Tensor:
    """Predict every spot from images alone, ``(n, G)``; see :func:`predicted_parts`."""
    predicted = spots.tiles.new_empty(0)
    for rows, values in predicted_parts(method, spots, batch_size=batch_size):
        if not len(predicted):
            predicted = values.new_empty(len(spots.tiles), values.shape[1])
        predicted[rows] = values
    return predicted


def predicted_parts(method: Method, spots: SpotSet, *, batch_size: int = 4096) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows ``(b,)`` and their predictions ``(b, G)``, part by part: a section at a time where the method asks for that."""
    for block in spots.blocks(SECTION_SPOTS if method.needs.section else batch_size):
        rows = torch.from_numpy(block).to(spots.tiles.device)
        with torch.inference_mode():
            predicted = method.predict(spots.images(rows))
        yield rows, predicted


def new_network(build: Any, seed: int) -> nn.Module:
    """Build a network whose initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = build()
    return network
