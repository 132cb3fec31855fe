"""One fold of one candidate: what is scored, over which genes, and that the values are those of a direct way."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from st_predict.core import paper_style
from st_predict.core.expression import section_expression
from st_predict.core.fitting.fit import with_domain
from st_predict.core.metrics import gene_scores, structure_agreement
from st_predict.core.protocol import fold as fold_module
from st_predict.core.protocol.fold import fit_fold, gene_sets, run_fold
from st_predict.core.protocol.keep import KeptFolds, make_comparison_folder
from st_predict.core.protocol.scores import score_sets
from st_predict.core.protocol.study import Candidate, Study
from st_predict.core.section import Section
from st_predict.core.splits import outer_folds

MakeCandidate = Callable[..., Candidate]


def values_of(result: dict, section: str, gene_set: str) -> dict[str, float]:
    return {
        row["metric"]: row["value"]
        for row in result["scores"]
        if (row["section"], row["gene_set"]) == (section, gene_set)
    }


def test_values_are_those_of_a_direct_computation(study: Study, candidate: MakeCandidate) -> None:
    fold = outer_folds(study.sections, "subject")[1][0]
    ridge = candidate("ridge", label="linear")
    result, model = run_fold(study, ridge, fold), fit_fold(study, ridge, fold)
    assert (result["label"], result["fold"], result["sections"], result["seed"]) == ("linear", "A", ["A1", "A2"], 0)
    for i in fold.held_out:
        section = study.sections[i]
        predicted = model.predict_features(study.frozen.values[i], section.centers_px)
        truth = section_expression(section, model.panel)
        found, expected = values_of(result, section.name, "heg10"), gene_scores(predicted, truth)
        for metric in ("pcc", "spearman", "mse", "mae", "r2", "relative_variance"):
            assert found[metric] == pytest.approx(expected[metric].mean()), metric
        assert found["gene_correlation"] == pytest.approx(structure_agreement(predicted, truth))
        assert found["pcc_of_ceiling"] == pytest.approx(found["pcc"] / found["ceiling"])
        assert (found["n_genes"], found["constant"]) == (10, 0)
        assert found["pcc"] > 0.5
        mine = np.array(result["genes"]["section"]) == section.name
        assert np.array(result["genes"]["pcc"])[mine] == pytest.approx(expected["pcc"])
        assert np.array(result["genes"]["gene"])[mine].tolist() == model.panel
    assert json.loads(json.dumps(result)) == result


def test_paper_style_scores_have_names_that_say_so(study: Study, candidate: MakeCandidate) -> None:
    result = run_fold(study, candidate("ridge"), outer_folds(study.sections, "subject")[1][0])
    names = {row["metric"]: row["section"] for row in result["scores"]}
    assert {"pcc_h_testselected", "pcc_hvg_from_test_truth", "pcc_pooled_slides"} <= set(names)
    assert names["pcc_pooled_slides"] == "A1, A2"


SETS = {"low": ("g1", "g3", "g5"), "one": ("g7",)}


def with_sets(study: Study, sets: dict[str, tuple[str, ...]] = SETS) -> Study:
    return dataclasses.replace(study, sections=[dataclasses.replace(s, gene_sets=sets) for s in study.sections])


def test_gene_sets_are_targets_that_are_scored_apart(study: Study, candidate: MakeCandidate) -> None:
    fold = outer_folds(study.sections, "subject")[1][0]
    ridge, given = candidate("ridge"), with_sets(study)
    result, model = run_fold(given, ridge, fold), fit_fold(given, ridge, fold)
    assert model.panel[10:] == ["low", "one"] and model.gene_sets == SETS
    section = given.sections[0]
    predicted = model.predict_features(study.frozen.values[0], section.centers_px)
    truth = section_expression(section, model.panel)
    assert truth[:, 10] == pytest.approx(section_expression(study.sections[0], SETS["low"]).mean(axis=1))
    expected = gene_scores(predicted, truth)
    for name, part in {"heg10": slice(10), "gene_sets": slice(10, 12)}.items():
        found = values_of(result, "A1", name)
        assert found["pcc"] == pytest.approx(expected["pcc"][part].mean()), name
        assert found["n_genes"] == truth[:, part].shape[1]
    assert expected["pcc"][10] > 0.5
    assert result["genes"]["gene"][:12] == model.panel
    of_genes = predicted[:, :10], truth[:, :10]
    panel = values_of(result, "A1", "heg10")
    assert panel["pcc_h_testselected"] == pytest.approx(paper_style.pcc_h_testselected(expected["pcc"][:10]))
    assert panel["pcc_hvg_from_test_truth"] == pytest.approx(paper_style.pcc_hvg_from_test_truth(*of_genes))
    assert "pcc_pooled_slides" in metrics_of(result)


def test_the_panels_scores_are_of_its_genes_alone(study: Study, candidate: MakeCandidate) -> None:
    """The training mean of a gene does not depend on other targets, so that nothing of its scores may."""
    fold = outer_folds(study.sections, "subject")[1][0]
    plain, beside = (run_fold(s, candidate("mean"), fold) for s in (study, with_sets(study)))
    rows = [row for row in beside["scores"] if row["gene_set"] != "gene_sets"]
    assert len(rows) < len(beside["scores"]) and rows == [*plain["scores"]]
    of_genes = np.array([gene not in SETS for gene in beside["genes"]["gene"]])
    for name, values in plain["genes"].items():
        assert np.array(beside["genes"][name])[of_genes].tolist() == values, name


def test_kept_folds_notice_changed_gene_sets(study: Study, candidate: MakeCandidate, tmp_path: Path) -> None:
    ridge, fold = candidate("ridge"), outer_folds(study.sections, "subject")[1][0]
    make_comparison_folder(tmp_path / "out")
    KeptFolds(tmp_path / "out", with_sets(study)).keep(ridge, fold, {"kept": 1})
    assert KeptFolds(tmp_path / "out", with_sets(study)).find(ridge, fold) == {"kept": 1}
    for other in (study, with_sets(study, {**SETS, "one": ("g8",)}), with_sets(study, dict(reversed(SETS.items())))):
        assert KeptFolds(tmp_path / "out", other).find(ridge, fold) is None


def without(section: Section, gene: str) -> Section:
    kept = section.gene_names != gene
    return dataclasses.replace(section, counts=section.counts[:, kept], gene_names=section.gene_names[kept])


def metrics_of(result: dict) -> set[str]:
    return {row["metric"] for row in result["scores"]}


def test_sections_are_pooled_only_where_several_have_the_same_genes(study: Study, candidate: MakeCandidate) -> None:
    both, alone = outer_folds(study.sections, "subject")[1][:2]
    ridge = candidate("ridge")
    assert "pcc_pooled_slides" not in metrics_of(run_fold(study, ridge, alone)), "there is nothing to pool"
    panel = fit_fold(study, ridge, both).panel
    torn = dataclasses.replace(
        study, sections=[without(study.sections[i], panel[i]) for i in (0, 1)] + study.sections[2:]
    )
    result = run_fold(torn, ridge, both)
    assert result["scores"] and "pcc_pooled_slides" not in metrics_of(result), "columns are of different genes"


def test_a_gene_set_is_named_by_what_was_asked_for(study: Study, candidate: MakeCandidate) -> None:
    fold = outer_folds(study.sections, "subject")[1][0]
    few = dataclasses.replace(study, sections=[*study.sections[:2], *(without(s, "g0") for s in study.sections[2:])])
    for current in (study, few):
        result = run_fold(current, candidate("ridge", genes=np.int64(16)), fold)
        assert {row["gene_set"] for row in result["scores"]} == {"heg16"}
    assert values_of(result, "A1", "heg16")["n_genes"] == 15


def test_the_mean_is_constant_and_counts_zero(study: Study, candidate: MakeCandidate) -> None:
    found = values_of(run_fold(study, candidate("mean"), outer_folds(study.sections, None)[1][1]), "B1", "heg10")
    assert (found["pcc"], found["constant"], found["gene_correlation"], found["morans_i"]) == (0, 10, 0, 0)
    assert found["mse"] > 0 and 0 < found["ceiling"] < 1


def test_a_gene_constant_in_the_held_out_section_counts_zero_and_is_counted(
    study: Study, candidate: MakeCandidate
) -> None:
    fold = outer_folds(study.sections, None)[1][1]
    panel = fit_fold(study, candidate("ridge"), fold).panel
    sections = list(study.sections)
    counts = sections[2].counts.copy()
    counts[:, list(sections[2].gene_names).index(panel[0])] = 0
    sections[2] = dataclasses.replace(sections[2], counts=counts)
    result = run_fold(dataclasses.replace(study, sections=sections), candidate("ridge"), fold)
    assert values_of(result, "B1", "heg10")["constant"] == 1
    assert result["genes"]["pcc"][0] == 0 and result["genes"]["constant"][0] is True


def test_a_panel_gene_that_the_held_out_section_lacks_is_left_out_and_counted(
    study: Study, candidate: MakeCandidate
) -> None:
    fold = outer_folds(study.sections, None)[1][1]
    panel = fit_fold(study, candidate("ridge"), fold).panel
    sections = list(study.sections)
    kept = sections[2].gene_names != panel[3]
    sections[2] = dataclasses.replace(
        sections[2], counts=sections[2].counts[:, kept], gene_names=sections[2].gene_names[kept]
    )
    result = run_fold(dataclasses.replace(study, sections=sections), candidate("ridge"), fold)
    assert values_of(result, "B1", "heg10")["n_genes"] == 9
    assert result["genes"]["gene"] == [gene for gene in panel if gene != panel[3]]


def test_spots_with_few_counts_are_predicted_but_not_scored(study: Study, candidate: MakeCandidate) -> None:
    fold = outer_folds(study.sections, None)[1][1]
    sections = list(study.sections)
    counts = sections[2].counts.copy()
    counts[:4] = 0
    sections[2] = dataclasses.replace(sections[2], counts=counts)
    result = run_fold(dataclasses.replace(study, sections=sections), candidate("ridge"), fold)
    row = next(row for row in result["scores"] if row["metric"] == "pcc")
    assert (row["n_spots"], row["n_spots_left_out"]) == (26, 4)


def test_the_variable_genes_are_chosen_on_training_sections(
    study: Study, candidate: MakeCandidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_module, "N_VARIABLE", 3)
    ridge = candidate("ridge")
    panel = [f"g{i}" for i in range(10)]
    sets = gene_sets(study.sections[2:], panel, ridge)
    values = np.concatenate([section_expression(s, panel) for s in study.sections[2:]])
    assert sets == {"heg10": panel, "hvg3": [panel[i] for i in np.argsort(-values.var(axis=0))[:3]]}
    listed = candidate("ridge", genes=panel)
    assert list(gene_sets(study.sections, panel, listed)) == ["listed", "hvg3"]


def test_a_set_of_which_a_section_has_no_gene_is_left_out() -> None:
    zeros = np.zeros((4, 1), np.float32)
    scores = {m: np.zeros(1) for m in ("pcc", "spearman", "mse", "mae", "r2", "relative_variance", "ceiling", "ceiling_sd",
                                       "morans_i", "morans_i_measured", "constant")}  # fmt: skip
    assert {row["gene_set"] for row in score_sets(zeros, zeros, ["a"], scores, {"has": ["a"], "lacks": ["b"]})} == {
        "has"
    }


def test_kept_folds_are_found_by_all_they_depend_on(study: Study, candidate: MakeCandidate, tmp_path) -> None:
    folds = outer_folds(study.sections, "subject")[1]
    make_comparison_folder(tmp_path)
    kept, ridge = KeptFolds(tmp_path, study), candidate("ridge")
    assert kept.find(ridge, folds[0]) is None
    kept.keep(ridge, folds[0], {"value": [1.5, float("nan")]})
    assert kept.find(candidate("ridge", label="another name"), folds[0])["value"][0] == 1.5
    assert kept.find(ridge, folds[1]) is None
    assert kept.find(candidate("ridge", seed=1), folds[0]) is None
    assert kept.find(candidate("ridge", genes=9), folds[0]) is None
    assert kept.find(candidate("nh2st"), folds[0]) is None
    other = dataclasses.replace(study, sections=[dataclasses.replace(study.sections[0], centers_px=study.sections[0].centers_px + 1), *study.sections[1:]])  # fmt: skip
    assert KeptFolds(tmp_path, other).find(ridge, folds[0]) is None


def test_a_cut_file_is_run_again(study: Study, candidate: MakeCandidate, tmp_path, caplog) -> None:
    fold = outer_folds(study.sections, "subject")[1][0]
    make_comparison_folder(tmp_path)
    kept, ridge = KeptFolds(tmp_path, study), candidate("ridge")
    kept.keep(ridge, fold, {"value": 1})
    (file,) = (tmp_path / "folds").glob("ridge-*.json")
    file.write_text(file.read_text()[:5])
    assert kept.find(ridge, fold) is None and "is run again" in caplog.text


def test_what_a_model_expected_stands_beside_what_it_reached(study: Study, candidate: MakeCandidate) -> None:
    """From its inner folds, which know nothing of the held-out section; closed-form methods run none."""
    fold = outer_folds(study.sections, "section")[1][0]
    result, model = run_fold(study, candidate("stnet"), fold), fit_fold(study, candidate("stnet"), fold)
    genes = result["genes"]
    found = {row["metric"]: row["value"] for row in result["scores"] if row["section"] == result["sections"][0]}
    expected = [model.genes_on(values_of(result, name, "heg10")["slide_shift"]) for name in result["sections"]]
    assert genes["expected_pcc"] == pytest.approx(np.concatenate([one["expected_pcc"] for one in expected]).tolist())
    assert found["covered90"] == pytest.approx(np.mean(genes["covered90"][: len(model.panel)]))
    assert np.mean(genes["covered50"]) < np.mean(genes["covered95"])
    assert -1 <= found["expected_rank_correlation"] <= 1
    plain = run_fold(study, candidate("ridge"), fold)
    assert "expected_pcc" not in plain["genes"] and "covered90" not in {row["metric"] for row in plain["scores"]}


def test_how_unlike_training_a_section_looks_is_told_alike_for_every_method(
    study: Study, candidate: MakeCandidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sections of the same make lie within the limit; one whose tiles are all shifted lies beyond it."""
    domains: list[object] = []
    monkeypatch.setattr(fold_module, "with_domain", lambda *parts: domains.append(parts) or with_domain(*parts))
    fold = outer_folds(study.sections, "subject")[1][1]
    assert study.sections[fold.held_out[0]].name == "B1"
    alike = [values_of(run_fold(study, candidate(method), fold), "B1", "heg10") for method in ("mean", "ridge")]
    assert len(domains) == 1, "fitted once a fold, not once a method"
    assert alike[0]["slide_shift"] == alike[1]["slide_shift"] < 1 and alike[0]["unlike_training"] < 0.2
    shifted = [v + 5 if s.name == "B1" else v for v, s in zip(study.frozen.values, study.sections, strict=True)]
    stained = dataclasses.replace(study, frozen=study.frozen._replace(values=shifted))
    found = values_of(run_fold(stained, candidate("mean"), fold), "B1", "heg10")
    assert found["slide_shift"] > 1 and found["unlike_training"] == 1
    model = with_domain(fit_fold(study, candidate("ridge"), fold), *domains[0][1:])
    assert found["slide_shift"] == pytest.approx(model.shift(shifted[fold.held_out[0]]))
