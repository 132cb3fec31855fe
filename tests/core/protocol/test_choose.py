"""The choice of a method: by groups of training sections that no part of any candidate has seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from st_predict.core.errors import InputError
from st_predict.core.fitting.fit import _spot_set
from st_predict.core.fitting.plan import usable_spots
from st_predict.core.methods.interface import Needs
from st_predict.core.model.model import Model
from st_predict.core.protocol.choose import check_choice, choose
from st_predict.core.protocol.fold import fit_fold, fit_study, run_fold
from st_predict.core.protocol.study import Candidate, Study
from st_predict.core.splits import OuterFold

MakeCandidate = Callable[..., Candidate]


def test_each_group_is_held_out_of_all_candidates(study: Study, candidate: MakeCandidate) -> None:
    seen: list[tuple[str, list[str]]] = []

    def fit(training: Study, one: Candidate) -> Model:
        seen.append((one.label, [section.name for section in training.sections]))
        return fit_study(training, one)

    choice = choose(study, [candidate("mean"), candidate("ridge")], fit)
    assert seen == [(label, names) for names in (["B1", "C1"], ["A1", "A2", "C1"], ["A1", "A2", "B1"])
                    for label in ("mean", "ridge")]  # fmt: skip
    assert choice.chosen.label == "ridge" and choice.pcc["mean"] == [0, 0, 0]
    assert len(choice.pcc["ridge"]) == 3 and min(choice.pcc["ridge"]) > 0
    mean = sum(choice.pcc["ridge"]) / 3
    assert choice.told("subject").startswith(
        f"ridge: mean PCC {mean:.3f} over 3 held-out subjects, above mean by {mean:.3f}"
    )


def test_of_equals_the_first_is_taken(study: Study, candidate: MakeCandidate) -> None:
    twins = [candidate("ridge", label="one"), candidate("ridge", label="two")]
    assert choose(study, twins, fit_study).chosen.label == "one"


def test_one_group_leaves_nothing_to_choose_by(study: Study, candidate: MakeCandidate) -> None:
    choice = choose(study.only([2]), [candidate("mean"), candidate("ridge")], fit_study)
    assert choice.chosen.label == "mean" and not choice.pcc
    assert "one section only" in choice.told("section")


def test_a_fold_chooses_on_its_training_sections_alone(study: Study, candidate: MakeCandidate) -> None:
    """What is held out of the fold has other expression in one of two studies; the choice and the model are the same."""
    among = (candidate("mean"), candidate("ridge"))
    auto = dataclasses.replace(among[0], label="auto", among=among)
    fold = OuterFold("C", [0, 1, 2], [3])
    other = dataclasses.replace(study.sections[3], counts=study.sections[3].counts[::-1].copy())
    changed = dataclasses.replace(study, sections=[*study.sections[:3], other])
    models = [fit_fold(one, auto, fold) for one in (study, changed)]
    assert models[0].method == models[1].method == "ridge"
    assert models[0].id == models[1].id == fit_fold(study, among[1], fold).id


def test_ridge_is_tuned_over_the_groups_that_stop_networks(study: Study) -> None:
    """Two sections of subject A are one group, not two."""
    sections = study.sections[:3]
    usable = [usable_spots(section, 1) for section in sections]
    stored = [torch.zeros(section.n_spots, 2) for section in sections]
    spots = _spot_set(sections, stored, usable, list(sections[0].gene_names[:5]), Needs())
    assert [spots.folds()[spots.sections == i].unique().tolist() for i in range(3)] == [[0], [0], [1]]
    alone = spots.of_sections([0, 1])
    groups = [alone.folds()[alone.sections == i].unique().tolist() for i in (0, 1)]
    assert groups == [[0], [1]], "sections, where all are of one subject"


def test_what_no_fold_could_be_fitted_without_is_refused_first(study: Study, candidate: MakeCandidate) -> None:
    """Each section has 30 spots: without B or C 90 are left, without A's two 60."""
    among = [candidate("ridge"), candidate("nh2st", batch_size=70)]
    with pytest.raises(
        InputError, match="method 'auto' chooses by holding sections out, and without A1, A2: 60 usable"
    ) as error:
        check_choice(study.sections, among)
    assert error.value.where == "batch_size" and "or name the method" in error.value.remedy
    check_choice(study.sections, among[1:])


def test_a_row_says_what_was_chosen_in_each_fold(study: Study, candidate: MakeCandidate) -> None:
    among = (candidate("mean"), candidate("ridge"))
    auto = dataclasses.replace(among[0], label="auto", among=among)
    result = run_fold(study, auto, OuterFold("C", [0, 1, 2], [3]))
    assert result["stopping"].startswith("ridge: mean PCC 0.") and "above mean by 0." in result["stopping"]
