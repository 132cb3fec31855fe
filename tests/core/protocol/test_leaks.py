"""Nothing that is fitted in a fold depends on what is held out, to the last bit; and these tests would see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.encoders.registry import build_encoder
from st_predict.core.fitting import fit as fit_module
from st_predict.core.inputs.encoded import EncodedTiles
from st_predict.core.inputs.rows import SectionRows
from st_predict.core.inputs.transform import InputTransform
from st_predict.core.methods.recipe import InputConfig
from st_predict.core.methods.registry import METHODS
from st_predict.core.model.model import Model
from st_predict.core.protocol import fold as fold_module
from st_predict.core.protocol.fold import fit_fold, run_fold
from st_predict.core.protocol.study import Candidate, Study
from st_predict.core.splits import OuterFold, outer_folds
from st_predict.core.tiles.geometry import TileSpec

MakeCandidate = Callable[..., Candidate]


def fold_of(study: Study) -> OuterFold:
    """Subject A, of two sections, held out."""
    return outer_folds(study.sections, "subject")[1][0]


def with_held_out(study: Study, change: Callable[[Any, np.ndarray], tuple[Any, np.ndarray]]) -> Study:
    """The study with other held-out sections: ``change`` takes and gives a section and its features."""
    sections, features = list(study.sections), list(study.frozen.values)
    for i in fold_of(study).held_out:
        sections[i], features[i] = change(sections[i], features[i])
    return dataclasses.replace(study, sections=sections, frozen=study.frozen._replace(values=features))


def other_expression(section: Any, features: np.ndarray) -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(5)
    return dataclasses.replace(section, counts=rng.poisson(200, section.counts.shape).astype(np.float32)), features


def other_images(section: Any, features: np.ndarray) -> tuple[Any, np.ndarray]:
    return section, np.random.default_rng(6).normal(3, 2, features.shape).astype(np.float32)


def other_gene_order(section: Any, features: np.ndarray) -> tuple[Any, np.ndarray]:
    order = np.random.default_rng(7).permutation(section.counts.shape[1])
    return dataclasses.replace(section, counts=section.counts[:, order], gene_names=section.gene_names[order]), features


def other_spot_order(section: Any, features: np.ndarray) -> tuple[Any, np.ndarray]:
    order = np.random.default_rng(8).permutation(section.n_spots)
    return section.keep(order), features[order]


def fewer_genes(section: Any, features: np.ndarray) -> tuple[Any, np.ndarray]:
    return dataclasses.replace(section, counts=section.counts[:, 3:], gene_names=section.gene_names[3:]), features


CHANGES = [other_expression, other_images, other_gene_order, other_spot_order, fewer_genes]


def assert_nothing_moves(before: Model, after: Model) -> None:
    assert (before.panel, before.epochs, before.sections) == (after.panel, after.epochs, after.sections)
    assert (before.history_rows, before.held_out_rows) == (after.history_rows, after.held_out_rows)
    tensors = before.tensors(), after.tensors()
    assert tensors[0].keys() == tensors[1].keys() and len(tensors[0]) > 0
    torch.testing.assert_close(*tensors, rtol=0, atol=0, equal_nan=True)


@pytest.fixture(scope="module")
def unchanged() -> dict[str, Model]:
    """What each method fitted where nothing was changed; every change is compared with it."""
    return {}


@pytest.mark.one_python
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("method", list(METHODS))
def test_nothing_that_is_fitted_depends_on_what_is_held_out(
    study: Study, candidate: MakeCandidate, unchanged: dict[str, Model], method: str, change: Callable[..., Any]
) -> None:
    if method not in unchanged:
        unchanged[method] = fit_fold(study, candidate(method), fold_of(study))
    other = with_held_out(study, change)
    assert_nothing_moves(unchanged[method], fit_fold(other, candidate(method), fold_of(other)))


@pytest.mark.parametrize("method", ["ridge", "nh2st"])
def test_a_prediction_does_not_depend_on_the_held_out_truth(
    study: Study, candidate: MakeCandidate, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Scores of the same prediction against two truths: what is scored must be the same array."""
    seen: list[np.ndarray] = []
    score = fold_module.score_genes

    def noted(section: Any, predicted: np.ndarray, *rest: Any, **options: Any) -> Any:
        seen.append(predicted)
        return score(section, predicted, *rest, **options)

    monkeypatch.setattr(fold_module, "score_genes", noted)
    fold = fold_of(study)
    results = [run_fold(s, candidate(method), fold) for s in (study, with_held_out(study, other_expression))]
    assert len(seen) == 4 and all(np.array_equal(seen[i], seen[i + 2]) for i in range(2))
    assert results[0]["scores"] != results[1]["scores"]


def with_pixels(study: Study) -> Study:
    """The study with tiles of an encoder that is trained."""
    values = [np.random.default_rng(i).integers(0, 255, (30, 1, 32, 32, 3), dtype=np.uint8) for i in range(4)]
    encoder = build_encoder("tiny")
    tiles = EncodedTiles(values, TileSpec((100.0,)), EncoderIdentity("tiny", None, "0"), encoder)
    return dataclasses.replace(study, trainable=tiles)


def test_nothing_depends_on_what_is_held_out_where_the_encoder_is_trained(
    study: Study, candidate: MakeCandidate
) -> None:
    study, fold = with_pixels(study), fold_of(study)
    tiles = list(study.trainable.values)
    for i in fold.held_out:
        tiles[i] = 255 - tiles[i]
    other = with_held_out(study, other_expression)
    other = dataclasses.replace(other, trainable=study.trainable._replace(values=tiles))
    trained = candidate("stnet", trainable_encoder=True, inner_folds=1, max_epochs=1)
    before, after = (fit_fold(s, trained, fold) for s in (study, other))
    assert before.history_rows == after.history_rows and before.panel == after.panel
    assert before.encoder is not None
    # What is expected of one fold alone has no deviation: NaN on both sides is the same.
    torch.testing.assert_close(before.tensors(), after.tensors(), rtol=0, atol=0, equal_nan=True)


# Leaks, planted one at a time: the fitted step they touch is given what is held out.


def leak_sections(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Study, "only", lambda self, wanted: self)


def leak_panel(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    check = fold_module.check_plan
    monkeypatch.setattr(fold_module, "check_plan", lambda sections, plan: check(study_now(study, sections), plan))


def leak_scaling(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = InputTransform.fit.__func__

    def leaky(cls: type[InputTransform], config: InputConfig, sections: list[SectionRows]) -> InputTransform:
        held_out = [(study.frozen.values[i], study.sections[i].centers_px) for i in fold_of(study).held_out]
        return fit(cls, config, [*sections, *(SectionRows(config, *section) for section in held_out)])

    monkeypatch.setattr(InputTransform, "fit", classmethod(leaky))


def leak_center(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    center = fit_module.center_targets

    def leaky(spots: Any, config: Any) -> Any:
        centered, mean = center(spots, config)
        truth = [study.sections[i].counts.mean() for i in fold_of(study).held_out]
        return centered, mean + float(np.mean(truth))

    monkeypatch.setattr(fit_module, "center_targets", leaky)


def leak_stopping(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    select = fit_module.select_epochs

    def leaky(*arguments: Any, **options: Any) -> Any:
        truth = sum(study.sections[i].counts.mean() for i in fold_of(study).held_out)
        return select(*arguments, **options)._replace(epochs=1 if truth < 100 else 2)

    monkeypatch.setattr(fit_module, "select_epochs", leaky)


def study_now(study: Study, sections: Any) -> list[Any]:
    return [*sections, *(study.sections[i] for i in fold_of(study).held_out)]


LEAKS = {
    leak_sections: other_expression,
    leak_panel: other_expression,
    leak_scaling: other_images,
    leak_center: other_expression,
    leak_stopping: other_expression,
}


@pytest.mark.parametrize("method", ["ridge", "nh2st"])
@pytest.mark.parametrize("leak", list(LEAKS))
def test_a_planted_leak_is_seen(
    study: Study, candidate: MakeCandidate, monkeypatch: pytest.MonkeyPatch, leak: Callable[..., None], method: str
) -> None:
    change, fitted = LEAKS[leak], []
    for current in (study, with_held_out(study, change)):
        with monkeypatch.context() as patch:
            leak(current, patch)
            fitted.append(fit_fold(current, candidate(method), fold_of(current)))
    with pytest.raises(AssertionError):
        assert_nothing_moves(*fitted)
