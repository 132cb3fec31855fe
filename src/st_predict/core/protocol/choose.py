"""Which of several methods to train: each is fitted without, and scored on, groups of the training sections.

The folds here choose neither when a network stops nor a penalty: those are found anew on what each fold trains on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from st_predict.core.errors import InputError
from st_predict.core.expression import known_targets, section_expression
from st_predict.core.fitting.plan import check_fit, usable_spots
from st_predict.core.metrics import mean_pearson
from st_predict.core.progress import hidden_progress, progress_bar
from st_predict.core.splits import held_out_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from st_predict.core.model.model import Model
    from st_predict.core.protocol.study import Candidate, Study
    from st_predict.core.section import Section


class Choice(NamedTuple):
    """What was chosen, and what by."""

    chosen: Candidate
    pcc: dict[str, list[float]]
    """By candidate, the mean PCC over genes of every group while it was held out, averaged over its sections; empty
    where there is one group only, and the first candidate is taken."""

    def told(self, groups: str) -> str:
        """In words, what was chosen and by how much."""
        if not self.pcc:
            return f"{self.chosen.label}: there is one {groups} only, so that nothing could be held out to choose by"
        own = np.array(self.pcc[self.chosen.label])
        apart = [
            f"{label} by {(own - np.array(pcc)).mean():.3f} (s.d. {(own - np.array(pcc)).std(ddof=1):.3f})"
            for label, pcc in self.pcc.items()
            if label != self.chosen.label
        ]
        return f"{self.chosen.label}: mean PCC {own.mean():.3f} over {len(own)} held-out {groups}s, above " + ", ".join(
            apart
        )


def choose(study: Study, among: Sequence[Candidate], fit: Callable[[Study, Candidate], Model]) -> Choice:
    """Hold out each group of the study's sections in turn, and take the candidate with the best mean PCC.

    Parameters
    ----------
    study
        Training sections with their frozen features, and no others.
    among
        The candidates; the first is taken where there is nothing to choose by.
    fit
        Trains a candidate on a study.
    """
    names = held_out_groups(study.sections)[1]
    groups = list(dict.fromkeys(names))
    if len(groups) < 2:
        return Choice(among[0], {})
    pcc: dict[str, list[float]] = {candidate.label: [] for candidate in among}
    with progress_bar(len(groups) * len(among), "choose a method", unit="fit") as bar, hidden_progress():
        for group in groups:
            train, held = ([i for i, name in enumerate(names) if (name == group) is out] for out in (False, True))
            for candidate in among:
                model = fit(study.only(train), candidate)
                pcc[candidate.label].append(float(np.mean([_scored(study, candidate, model, i) for i in held])))
                bar.update(1)
    return Choice(max(among, key=lambda candidate: np.mean(pcc[candidate.label])), pcc)


def check_choice(sections: Sequence[Section], among: Sequence[Candidate]) -> None:
    """Refuse sections that no method could be chosen on, before any tile is encoded.

    Raises
    ------
    InputError
        As :func:`~st_predict.core.fitting.plan.check_fit`, of the sections that are left while a group is held out.
    """
    names = held_out_groups(sections)[1]
    groups = list(dict.fromkeys(names))
    for candidate in among:
        check_fit(sections, candidate.plan)
        for group in groups if len(groups) > 1 and len(among) > 1 else []:
            rest = [section for section, name in zip(sections, names, strict=True) if name != group]
            held = ", ".join(section.name for section, name in zip(sections, names, strict=True) if name == group)
            try:
                check_fit(rest, candidate.plan)
            except InputError as error:
                raise InputError(
                    f"method 'auto' chooses by holding sections out, and without {held}: {error.what}",
                    where=error.where, expected=error.expected, remedy=f"{error.remedy}; or name the method",
                ) from error  # fmt: skip


def _scored(study: Study, candidate: Candidate, model: Model, number: int) -> float:
    """Mean PCC over genes on one section."""
    section, features = study.sections[number], study.tiles_of(candidate).values[number]
    used, known = usable_spots(section, candidate.plan.min_counts), known_targets(section, model.panel)
    genes = [gene for gene, has in zip(model.panel, known, strict=True) if has]
    predicted = model.predict_features(features, section.centers_px)[used][:, known]
    truth = section_expression(section.keep(used), genes)
    return mean_pearson(torch.from_numpy(predicted), torch.from_numpy(truth))
