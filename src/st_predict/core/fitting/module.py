"""The Lightning side of a fit: what is done in a step, how whole sections are scored, and what is kept of every epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import lightning.pytorch as lightning
import torch
from torch import Tensor

from st_predict.core.errors import InputError
from st_predict.core.metrics import pearson
from st_predict.core.model.predict import fit_reference, predict_spots
from st_predict.core.model.reliability import sampled_rows

if TYPE_CHECKING:
    from st_predict.core.inputs.kinds import Inputs
    from st_predict.core.inputs.spots import SpotSet
    from st_predict.core.methods.interface import Batch, Method
    from st_predict.core.methods.recipe import FitConfig


class Score(NamedTuple):
    """What a network made of one held-out section, after one epoch."""

    pcc: Tensor
    """Of every gene over its spots ``(G,)``."""
    mse: float
    rows: Tensor
    """Some of its spots ``(k,)``, see :func:`~st_predict.core.model.reliability.sampled_rows`."""
    predicted: Tensor
    """Of those ``(k, G)``."""

    @classmethod
    def of(cls, predicted: Tensor, truth: Tensor, n_sections: int) -> Score:
        """Of a prediction ``(n, G)`` of one of so many held-out sections."""
        rows = sampled_rows(len(predicted), predicted.shape[1], n_sections)
        return cls(pearson(predicted, truth), float((predicted - truth).square().mean()), rows, predicted[rows])

    @property
    def mean_pcc(self) -> float:
        """Over genes."""
        return float(self.pcc.mean())


class EpochRecord(NamedTuple):
    """One epoch of one fit."""

    epoch: int
    losses: dict[str, float]
    held_out: dict[int, Score]
    """By held-out section."""


class FitModule(lightning.LightningModule):
    """The Lightning side of a fit.

    Parameters
    ----------
    method
        A method trained by gradient.
    inputs
        What it is fed.
    config
        Optimizer settings.
    spots
        Training spots, for what a method keeps of them.
    n_held_out
        Sections that are scored after every epoch.
    """

    def __init__(self, method: Method, inputs: Inputs, config: FitConfig, spots: SpotSet, n_held_out: int = 0) -> None:
        super().__init__()
        self.spots = spots
        self.method: Any = method
        self.inputs = inputs
        self.encoder = inputs.encoder  # its weights are among this module's
        self.config = config
        self.records: list[EpochRecord] = []
        self._n_held_out = n_held_out
        self._held_out: dict[int, Score] = {}
        self._losses: list[dict[str, Tensor]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step on the targets of a batch."""
        rows = self.inputs.training_rows(batch.tiles, len(batch.places), self.config, self.all_gather)
        terms = self.method.loss(batch._replace(tiles=rows))
        self._losses.append({name: term.detach() for name, term in terms.items()})
        total: Tensor = torch.stack(list(terms.values())).sum()
        return total

    def on_validation_start(self) -> None:
        """Let a method that keeps what it predicts from do so as it stands now."""
        if not self.method.is_fitted_after:
            return
        spots = self.spots.each(lambda values: values.to(self.device))
        self.method.after_fit(fit_reference(self.method, self.inputs, spots))

    def validation_step(self, spots: SpotSet, batch_idx: int) -> None:
        """Score one whole held-out section."""
        tiles = self.inputs.shared_rows(spots.tiles, self.all_gather)
        predicted, truth = predict_spots(self.method, spots.with_tiles(tiles)).cpu(), spots.expression.cpu()
        score = self._held_out[int(spots.sections[0])] = Score.of(predicted, truth, self._n_held_out)
        self.log("held_out_pcc", score.mean_pcc, batch_size=1)

    def check_losses(self) -> None:
        """Refuse to go on where a loss is no longer finite; such a network would predict no differences, and score 0.

        Raises
        ------
        InputError
            With the first step whose losses are not finite.
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
            "records": [
                [r.epoch, r.losses, {n: tuple(score) for n, score in r.held_out.items()}] for r in self.records
            ],
            "losses": [dict(step) for step in self._losses],
        }

    def go_on(self, progress: dict[str, Any]) -> None:
        """Take up what :meth:`progress` gave."""
        self.load_state_dict(progress["module"])
        self.records = [
            EpochRecord(epoch, losses, {number: Score(*score) for number, score in held_out.items()})
            for epoch, losses, held_out in progress["records"]
        ]
        self._losses = progress["losses"]

    def configure_optimizers(self) -> Any:
        """AdamW with a stepped or a cosine learning rate."""
        groups = [{"params": self.method.parameters(), "lr": self.config.learning_rate}]
        groups += self.inputs.parameter_groups(self.config)
        optimizer = torch.optim.AdamW(groups, weight_decay=self.config.weight_decay, fused=True)
        schedule: torch.optim.lr_scheduler.LRScheduler
        if self.config.schedule == "cosine":
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
                optimizer, self.config.max_epochs, self.config.final_learning_rate
            )
        else:
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, self.config.decay_every, self.config.decay)
        return {"optimizer": optimizer, "lr_scheduler": schedule}
