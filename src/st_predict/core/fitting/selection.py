"""How long to train: groups of training sections are held out in turn, and scored beside mean and ridge.

Nothing outside the training sections is seen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from st_predict.core.encoders.frozen import torch_device
from st_predict.core.fitting.control import shuffled_pcc
from st_predict.core.fitting.module import EpochRecord, Score
from st_predict.core.fitting.network import Run, fit_network, new_network
from st_predict.core.inputs.kinds import Fed
from st_predict.core.methods.registry import METHODS, build_method, build_network
from st_predict.core.model.predict import fit_reference, predict_spots
from st_predict.core.model.reliability import HeldOut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from st_predict.core.encoders.encoder import Encoder
    from st_predict.core.inputs.kinds import Inputs
    from st_predict.core.inputs.spots import SpotSet
    from st_predict.core.methods.recipe import InputConfig, Recipe
    from st_predict.core.splits import Fold


def center_targets(spots: SpotSet, config: InputConfig) -> tuple[SpotSet, Tensor]:
    """Targets as differences to their section's mean, and the mean over sections, which is added to predictions."""
    if not config.center_targets:
        return spots, torch.zeros(spots.expression.shape[1])
    expression = spots.expression.clone()
    means = []
    for section in spots.sections.unique():
        rows = spots.sections == section
        means.append(expression[rows].mean(dim=0))
        expression[rows] -= means[-1]
    return spots.with_expression(expression), torch.stack(means).mean(dim=0)


@dataclass(frozen=True)
class Fitting:
    """How one fit is made, in inner folds and at the end; only the final fit has loggers and callbacks."""

    recipe: Recipe
    seed: int
    run: Run

    def fit(
        self, spots: SpotSet, inputs: Inputs, epochs: int, held_out: Mapping[int, SpotSet], label: str
    ) -> tuple[Any, Encoder | None, list[EpochRecord]]:
        """Train a fresh network (and a copy of the encoder, where there is one to train) on centered targets."""
        inputs = inputs.fresh(spots, torch_device("cpu" if self.run.hardware.accelerator == "cpu" else "auto"))
        sizes = inputs.n_inputs(spots), spots.expression.shape[1]
        network: Any = new_network(lambda: build_network(self.recipe, *sizes), self.seed)
        records: list[EpochRecord] = []
        network.before_fit(fit_reference(network, inputs, spots))
        if network.needs.gradient:
            records = fit_network(
                network,
                inputs,
                spots,
                self.recipe.fit,
                epochs=epochs,
                held_out=held_out,
                seed=self.seed,
                run=self.run.of_fit(label, watched=not held_out),
            )
        if not held_out:  # what an inner fold fitted is scored while it trains, and then dropped
            with torch.no_grad():
                network.eval().after_fit(fit_reference(network, inputs, spots))
        return network, inputs.encoder, records


class Held(NamedTuple):
    """A section while it was held out, and what one method made of it."""

    section: int
    method: str
    fold: int
    score: Score
    """Of targets and predictions that are differences to the mean over the sections trained on."""


class Selection(NamedTuple):
    """What the inner folds found."""

    epochs: int
    folds: list[list[EpochRecord]]
    held: list[Held]
    """By section, then method."""
    centers: list[Tensor]
    """By fold, what targets are differences to ``(G,)``."""
    shuffled: list[Tensor] = []
    """By held-out section, the PCC that shuffled images reach ``(P, S, G)``; empty where that was not asked for."""

    def history_rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Epochs of all folds, a row each."""
        return [row for i, records in enumerate(self.folds) for row in history_rows(f"fold {i + 1}", records, names)]

    def held_out_rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Scores with section names."""
        return [
            {"section": names[one.section], "method": one.method, "pcc": one.score.mean_pcc, "mse": one.score.mse}
            for one in self.held
        ]

    def held_out(self, method: str, spots: SpotSet) -> list[HeldOut]:
        """What a method made of each section, beside what was measured there; ``spots`` are all that is trained on."""
        found = []
        alone = len(self.centers) == 1  # one fold: its sections then stand for the groups
        for one in self.held:
            if one.method == method:
                measured = spots.expression[spots.sections == one.section][one.score.rows]
                predicted = one.score.predicted + self.centers[one.fold]
                found.append(HeldOut(one.section if alone else one.fold, one.score.pcc, predicted, measured))
        return found


def select_epochs(
    fitting: Fitting,
    spots: SpotSet,
    inputs: Inputs,
    folds: Sequence[Fold],
    *,
    compare: bool = True,
) -> Selection:
    """Train on each fold, stopped early on what it holds out, and score it beside mean and ridge.

    The epochs of the final fit are the median over folds of the best epoch. Every score is taken at that epoch, the
    same for all folds. Scaling and components are fitted anew on what each fold trains on. Where the encoder is
    trained, ridge sees the features of the encoder as it was before.

    Parameters
    ----------
    fitting
        How fits are made.
    spots
        All training spots, section after section.
    inputs
        What the method is fed of them.
    folds
        The inner folds.
    compare
        Whether to score mean, ridge, shuffled images and other closed-form methods; without it only what finds the
        epochs is done.
    """
    config = fitting.recipe.fit
    method, gradient = fitting.recipe.method, fitting.recipe.needs.gradient
    folds = folds if gradient or compare else []
    all_records: list[list[EpochRecord]] = []
    held_out: list[Held] = []
    centers: list[Tensor] = []
    shuffled: list[Tensor] = []
    for i, fold in enumerate(folds):
        train, center = center_targets(spots.of_sections(fold.train), fitting.recipe.inputs)
        centers.append(center)
        held = _held_out(spots, fold, center)
        fed, compared = inputs.of_fold(fold, Fed(train, held), compare=compare)
        if compare:
            held_out += _closed_form(fitting, i, compared.train, compared.held_out)
            shuffled += shuffled_pcc(compared.train, compared.held_out, seed=fitting.seed).values()
        if gradient:
            label = f"inner fold {i + 1}/{len(folds)}"
            all_records.append(fitting.fit(fed.train, inputs, config.max_epochs, fed.held_out, label)[2])
    best = [max(records, key=_mean_held_out).epoch for records in all_records]
    epochs = int(np.median(best)) if best else config.max_epochs
    for i, records in enumerate(all_records):
        reached = records[min(epochs, len(records)) - 1].held_out
        held_out += [Held(number, method, i, score) for number, score in reached.items()]
    order = {name: i for i, name in enumerate(dict.fromkeys(["mean", "ridge", method]))}
    held_out.sort(key=lambda one: (one.section, order[one.method]))
    return Selection(epochs, all_records, held_out, centers, shuffled)


def _held_out(spots: SpotSet, fold: Fold, center: Tensor) -> dict[int, SpotSet]:
    sections = {number: spots.of_sections([number]) for number in fold.held_out}
    return {number: s.with_expression(s.expression - center) for number, s in sections.items()}


def _mean_held_out(record: EpochRecord) -> float:
    return float(np.mean([score.mean_pcc for score in record.held_out.values()]))


def _closed_form(fitting: Fitting, fold: int, train: SpotSet, held_out: Mapping[int, SpotSet]) -> list[Held]:
    found = []
    recipe = fitting.recipe
    for name in dict.fromkeys(["mean", "ridge", *([] if recipe.needs.gradient else [recipe.method])]):
        settings = recipe.settings if name == recipe.method else METHODS[name].presets["default"].settings
        network: Any = build_method(name, settings, train.tiles.shape[1], train.expression.shape[1])
        network.after_fit(train.reference())
        for number, spots in held_out.items():
            score = Score.of(predict_spots(network, spots), spots.expression, len(held_out))
            found.append(Held(number, name, fold, score))
    return found


def history_rows(fit: str, records: Sequence[EpochRecord], names: Sequence[str]) -> list[dict[str, Any]]:
    """One flat row an epoch: the fit, its losses, and PCC and MSE averaged over what it held out."""
    rows = []
    for record in records:
        row: dict[str, Any] = {"fit": fit, "epoch": record.epoch, "loss": sum(record.losses.values()), **record.losses}
        if record.held_out:
            row["held_out"] = ", ".join(names[number] for number in record.held_out)
            row["held_out_pcc"] = _mean_held_out(record)
            row["held_out_mse"] = float(np.mean([score.mse for score in record.held_out.values()]))
        rows.append(row)
    return rows
