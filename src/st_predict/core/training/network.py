"""A method with its optional trainable encoder: encode what a batch holds, train on it, predict whole sections."""

from __future__ import annotations

import logging
import math
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader

from st_predict.core.errors import InputError
from st_predict.core.methods.interface import SECTION_SPOTS, Method
from st_predict.core.metrics import mean_pearson
from st_predict.core.progress import progress_bar
from st_predict.core.training.augment import augment
from st_predict.core.training.encode import encode_rows
from st_predict.core.training.loader import training_batches
from st_predict.core.training.spots import BlockSampler, HeldOutSections, SpotSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from st_predict.core.encoders.encoder import Encoder
    from st_predict.core.methods.interface import Batch, Reference
    from st_predict.core.methods.recipe import FitConfig


class Hardware(NamedTuple):
    """Where Lightning runs the fit."""

    accelerator: str = "auto"
    devices: int | list[int] = 1


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
        self._spots = spots
        self.method: Any = method
        self.encoder = encoder
        self.config = config
        self.records: list[EpochRecord] = []
        self._held_out: dict[int, tuple[float, float]] = {}
        self._losses: list[dict[str, Tensor]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step on the targets of a batch."""
        tiles = batch.tiles if self.encoder is None else augment(batch.tiles, self.config)
        terms = self.method.loss(batch._replace(tiles=encode_rows(self.encoder, tiles)))
        self._losses.append({name: term.detach() for name, term in terms.items()})
        total: Tensor = torch.stack(list(terms.values())).sum()
        return total

    def on_validation_start(self) -> None:
        """Let a method that keeps what it predicts from do so as it stands now."""
        if type(self.method).after_fit is Method.after_fit:
            return
        spots = self._spots.each(lambda values: values.to(self.device))
        self.method.after_fit(fit_reference(self.method, self.encoder, spots))

    def validation_step(self, spots: SpotSet, batch_idx: int) -> None:
        """Score one whole held-out section."""
        predicted = predict_spots(self.method, spots.with_tiles(encode_rows(self.encoder, spots.tiles, batch_size=64)))
        predicted, truth = predicted.cpu(), spots.expression.cpu()
        pcc, mse = mean_pearson(predicted, truth), float((predicted - truth).square().mean())
        self._held_out[int(spots.sections[0])] = (pcc, mse)
        self.log("held_out_pcc", pcc, batch_size=1)

    def on_train_epoch_end(self) -> None:
        """Keep the epoch's losses beside the held-out scores (validation runs before this hook).

        Raises
        ------
        InputError
            If a loss is no longer a number; a network like that would predict nothing, and score 0 in silence.
        """
        names = self._losses[0]
        losses = {name: float(torch.stack([step[name] for step in self._losses]).mean()) for name in names}
        if not all(math.isfinite(loss) for loss in losses.values()):
            raise InputError(
                f"training diverged in epoch {self.current_epoch + 1}: the losses are "
                + ", ".join(f"{name} {loss:.3g}" for name, loss in losses.items()),
                where="learning_rate",
                expected="losses that stay finite",
                remedy=f"use a learning_rate below {self.config.learning_rate:g}, and check the counts for odd values",
            )
        self.records.append(EpochRecord(self.current_epoch + 1, losses, self._held_out))
        self._losses, self._held_out = [], {}

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
    """One bar over the epochs of one fit."""

    def __init__(self, label: str, epochs: int) -> None:
        self._bar = progress_bar(epochs, label, unit="epoch")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._bar.update(1)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._bar.close()


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

    Returns
    -------
    One record an epoch.
    """
    module = FitModule(method, encoder, config, spots)
    # The encoder stays in evaluation mode, also where it is trained: batch statistics of tiles that lie beside each
    # other are not those of a slide.
    module.method.train()
    callbacks: list[lightning.Callback] = [_Progress(label, epochs)]
    if held_out:
        callbacks.append(EarlyStopping("held_out_pcc", mode="max", patience=config.patience))
    if method.needs.section:
        # What a whole section's tiles take to train an encoder on would not fit in memory; a batch of them does.
        sampler = BlockSampler(
            spots.blocks(SECTION_SPOTS if encoder is None else config.batch_size), batch_size=None, seed=seed
        )
    else:
        block = 1 if encoder is None else min(config.block_size, config.batch_size)
        sampler = BlockSampler(spots.blocks(block), batch_size=config.batch_size, seed=seed)
    with _quiet_lightning(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trainer = lightning.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            max_epochs=epochs,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            inference_mode=False,  # what a method keeps while it is scored may take part in the next epoch
        )
        trainer.fit(
            module,
            training_batches(spots, sampler, trainer.strategy.root_device),
            DataLoader(HeldOutSections(held_out), batch_size=None) if held_out else None,
        )
    module.cpu().eval()
    return module.records


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


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's remarks on hardware and workers are about settings that were made on purpose here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
