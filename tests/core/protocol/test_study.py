"""What is held out together, and what a training study holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.errors import InputError
from st_predict.core.protocol.study import Candidate, Study
from st_predict.core.splits import outer_folds
from st_predict.core.tiles.geometry import TileSpec


def named(folds: list) -> dict[str, tuple[list[int], list[int]]]:
    return {fold.name: (fold.train, fold.held_out) for fold in folds}


def of_one_subject(study: Study, subject: str | None) -> list:
    return [dataclasses.replace(section, subject=subject) for section in study.sections]


def test_sections_of_a_subject_are_held_out_together(study: Study) -> None:
    for groups in (None, "subject"):
        split, folds = outer_folds(study.sections, groups)
        assert split == "leave one subject out"
        assert named(folds) == {"A": ([2, 3], [0, 1]), "B": ([0, 1, 3], [2]), "C": ([0, 1, 2], [3])}


def test_one_subject_is_split_by_section_and_said_so(study: Study) -> None:
    split, folds = outer_folds(of_one_subject(study, "A"), None)
    assert split == "leave one section out, within one subject"
    assert [fold.name for fold in folds] == ["A1", "A2", "B1", "C1"]
    assert outer_folds(of_one_subject(study, None), None)[0] == "leave one section out, subjects unknown"


@pytest.mark.parametrize(("subject", "text"), [("A", "all are of 'A'"), (None, "A1, A2, B1, C1 have no subject")])
def test_one_subject_is_refused_where_subjects_were_asked_for(study: Study, subject: str | None, text: str) -> None:
    with pytest.raises(InputError, match="cannot be split by subject") as error:
        outer_folds(of_one_subject(study, subject), "subject")
    assert text in error.value.what and "within one subject" in error.value.remedy


def test_groups_by_name(study: Study) -> None:
    split, folds = outer_folds(study.sections, np.array(["x", "x", "y", "y"]))
    assert split == "leave one group out" and named(folds) == {"x": ([2, 3], [0, 1]), "y": ([0, 1], [2, 3])}
    split, folds = outer_folds(study.sections, ["x", "y", "x", "y"])
    assert split == "leave one group out, sections of one subject on both sides"
    assert named(folds) == {"x": ([1, 3], [0, 2]), "y": ([0, 2], [1, 3])}


def test_groups_by_the_names_of_sections(study: Study) -> None:
    by_name = {"C1": "y", "A1": "x", "B1": "y", "A2": "x"}
    assert outer_folds(study.sections, by_name) == outer_folds(study.sections, ["x", "x", "y", "y"])
    for wrong, told in (({"A1": "x"}, "no group for section 'A2'"), ({**by_name, "D": "z"}, "not there: 'D'")):
        with pytest.raises(InputError, match=told):
            outer_folds(study.sections, wrong)


def test_a_split_that_parts_a_subject_says_so(study: Study) -> None:
    split, _ = outer_folds(study.sections, "section")
    assert split == "leave one section out, sections of one subject on both sides"
    assert outer_folds(study.sections[1:], "section")[0] == "leave one section out"
    assert outer_folds(of_one_subject(study, "A"), list("xyxy"))[0] == "leave one group out, within one subject"


@pytest.mark.parametrize("groups", ["subjects", ["x", "y"]])
def test_groups_that_make_no_sense(study: Study, groups: object) -> None:
    with pytest.raises(InputError, match="groups is") as error:
        outer_folds(study.sections, groups)
    assert "4 names" in error.value.expected


def test_one_section_cannot_be_held_out(study: Study) -> None:
    with pytest.raises(InputError, match="nothing to hold out") as error:
        outer_folds(study.sections[:1], None)
    assert "would leak" in error.value.remedy


def test_a_part_of_a_study_holds_nothing_of_the_rest(study: Study) -> None:
    part = study.only([2, 0])
    assert [s.name for s in part.sections] == ["B1", "A1"]
    assert part.frozen is not None and study.frozen is not None and len(part.frozen.values) == 2
    assert part.frozen.values[0] is study.frozen.values[2] and part.trainable is None


def test_digest_follows_everything_a_fold_depends_on(study: Study, candidate: Callable[..., Candidate]) -> None:
    ridge, trained = candidate("ridge"), candidate("stnet", trainable_encoder=True)
    digests = {study.digest(ridge)}
    first = study.sections[1]
    for field, value in {"counts": first.counts + 1, "centers_px": first.centers_px + 1, "name": "another",
                         "subject": "another", "gene_names": first.gene_names[::-1]}.items():  # fmt: skip
        changed = [*study.sections]
        changed[1] = dataclasses.replace(changed[1], **{field: value})
        digests.add(dataclasses.replace(study, sections=changed).digest(ridge))
    tiles = study.frozen
    assert tiles is not None
    other_encoder = tiles._replace(identity=EncoderIdentity("tiny", None, "other weights"))
    for frozen in (
        tiles._replace(values=[np.zeros_like(v) for v in tiles.values]),
        tiles._replace(spec=TileSpec((50.0,))),
        other_encoder,
    ):
        digests.add(dataclasses.replace(study, frozen=frozen).digest(ridge))
    assert len(digests) == 9
    both = dataclasses.replace(study, trainable=tiles)
    assert both.digest(ridge) in digests, "tiles of another kind of candidate do not matter"
    swapped = dataclasses.replace(study, trainable=other_encoder)
    assert both.digest(trained) != swapped.digest(trained), "where the encoder is trained, it matters which it was"
