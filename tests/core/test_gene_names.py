"""What is said of genes that are not common to all, and why their names may not match."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from st_predict import tl
from st_predict._spatialdata.sections import read_sections
from st_predict.core.errors import InputError
from st_predict.core.gene_names import clean_name, say_common, why_lost
from st_predict.core.gene_sets import read_gmt
from st_predict.core.section import Section
from st_predict.core.tiles.sources import ArraySource

IDS = [f"ENSG000001{i:05d}" for i in range(60)]


def section(name: str, genes: list[str]) -> Section:
    return Section(name, ArraySource(np.zeros((4, 4, 3), np.uint8)), np.zeros((1, 2)), 1.0, gene_names=np.array(genes))


def versioned(version: int, same: int = 5) -> list[str]:
    return [f"{gene}.{1 if i < same else version}" for i, gene in enumerate(IDS)]


@pytest.mark.parametrize(
    ("lost", "known", "said"),
    [
        (["A.1"], ["A.2", "B.1"], "they differ only by their version suffix (A.1 and A.2)"),
        (["A.1"], ["A"], "they differ only by their version suffix (A.1 and A)"),
        (["Cd3d", "Foxj1"], ["CD3D"], "1 of them differ only by upper and lower case (Cd3d and CD3D)"),
        (["GRCh38_CD3D"], ["CD3D"], "they differ only by the genome before them (GRCh38_CD3D and CD3D)"),
        (["hg38__T_01"], ["A_01", "T_01"], "they differ only by the genome before them (hg38__T_01 and T_01)"),
        (["GRCh38_CD3D"], ["hg19:CD3D"], "they differ only by the genome before them (GRCh38_CD3D and hg19:CD3D)"),
        (["ADIPOCYTE_01"], ["hg38__TUMOR_01", "TUMOR_01"], ""),  # one number, two genes
        (["mine_CD3D"], ["CD3D"], "they differ only by a prefix (mine_CD3D and CD3D)"),
        (["CD3D"], ["gene:CD3D"], "they differ only by a prefix (CD3D and gene:CD3D)"),
        (["CD3D-201"], ["CD3D"], "they differ only by the number of their transcript (CD3D-201 and CD3D)"),
        (["HLA-A"], ["HLA.A"], "they differ only by dots, dashes and underscores (HLA-A and HLA.A)"),
        (["T_01"], ["T-01"], "they differ only by dots, dashes and underscores (T_01 and T-01)"),
        (['"CD3D"'], ["CD3D"], 'they differ only by quotation marks ("CD3D" and CD3D)'),
        (["CD3D (ENSG1)"], ["CD3D"], "they differ only by the text after an id (CD3D (ENSG1) and CD3D)"),
        (["cd3d.3"], ["CD3D"], "they differ only by their version suffix and upper and lower case (cd3d.3 and CD3D)"),
        (
            ["grch38_cd3d"],
            ["CD3D"],
            "they differ only by upper and lower case and the genome before them (grch38_cd3d and CD3D)",
        ),
        (
            ["mm10_Cd3d.2"],
            ["Cd3d"],
            "they differ only by their version suffix and the genome before them (mm10_Cd3d.2 and Cd3d)",
        ),
        (["A"], ["B"], ""),
        (["AL1.1", *(f"X{i}" for i in range(20))], ["AL1.2"], ""),  # one of many is chance
    ],
)
def test_why_names_do_not_match(lost: list[str], known: list[str], said: str) -> None:
    assert why_lost(lost, known) == said


@pytest.mark.parametrize(
    ("genes", "level", "said"),
    [
        (
            versioned(2),
            logging.WARNING,
            "5 of 60 genes are common to all 2 sections (A has 60, B has 60); the others are left out, 55 of A among them: "
            "they differ only by their version suffix",
        ),
        (versioned(1)[:20], logging.INFO, "20 of 60 genes are common to all 2 sections (A has 60, B has 20)"),
        (
            versioned(1)[:5] + [f"other{i}" for i in range(30)],
            logging.WARNING,
            "5 of 60 genes are common to all 2 sections (A has 60, B has 35); the others are left out",
        ),
    ],
    ids=["versions", "fewer", "others"],
)
def test_genes_lost_are_said(genes: list[str], level: int, said: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "st_predict")
    say_common([section("A", versioned(1)), section("B", genes)])
    (record,) = caplog.records
    assert said in record.getMessage() and record.levelno == level


def test_nothing_lost_nothing_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "st_predict")
    say_common([section("A", IDS), section("B", IDS[::-1])])
    say_common([section("A", IDS)])
    assert not caplog.records


@pytest.fixture
def mixed(make_section: Callable[..., Any]) -> list[Any]:
    """Two sections of 24 genes, 12 of them of another version in the second."""
    names = [[f"{gene}.{1 + (s and i >= 12)}" for i, gene in enumerate(IDS[:24])] for s in range(2)]
    return [make_section(name, seed, gene_names=names[seed]) for seed, name in enumerate("AB")]


def test_several_sections_say_it_once(
    mixed: list[Any], quick: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "st_predict")
    read_sections(mixed)  # as training, cross-validation and comparisons do
    assert caplog.text.count("12 of 24 genes are common to all 2 sections") == 1
    with pytest.raises(InputError, match="the gene list cannot be used: B lacks") as error:
        tl.train(mixed, **{**quick, "genes": [f"{IDS[20]}.1"]})
    assert f"they differ only by their version suffix ({IDS[20]}.1 and {IDS[20]}.2)" in error.value.remedy


@pytest.mark.parametrize("genes", [["G0", "G1"], ["g1", "G1"]])
def test_a_list_in_another_case(make_section: Callable[..., Any], quick: dict[str, Any], genes: list[str]) -> None:
    with pytest.raises(InputError, match="the gene list cannot be used: A lacks G") as error:
        tl.train(make_section("A"), **{**quick, "genes": genes})
    assert error.value.remedy.startswith(
        "write each name once, as the tables have it, or drop it: they differ only by upper"
    )


def test_prediction_and_scores_say_it(
    mixed: list[Any], quick: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    model = tl.train(mixed[0], **{**quick, "method": "mean", "genes": 24})
    tl.predict(mixed[1], model)
    assert "the table of B has 12 of the 24 predicted genes and lacks " in caplog.text
    assert "those are in obsm, and not in the layer (they differ only by their version suffix" in caplog.text
    assert len(tl.evaluate(mixed[1], min_counts=1)) == 12
    assert "B has 12 of the 24 predicted genes and lacks" in caplog.text and "those are not scored" in caplog.text


def test_lists_and_sets_from_a_spreadsheet(tmp_path: Path) -> None:
    from st_predict.cli.options import genes_or_number

    (tmp_path / "genes.txt").write_text("CD3D\nACTB\n", encoding="utf-8-sig")
    (tmp_path / "sets.gmt").write_text("T cells\t-\tCD3D\tCD3E\n", encoding="utf-8-sig")
    assert genes_or_number(None, None, str(tmp_path / "genes.txt")) == ["CD3D", "ACTB"]  # type: ignore[arg-type]
    assert read_gmt(tmp_path / "sets.gmt") == {"T cells": ("CD3D", "CD3E")}
    assert clean_name("\ufeff ACTB\r") == clean_name("\xa0ACTB\u2009") == "ACTB"
    assert clean_name("ACTB\udcff") == clean_name("ACTB\0") == "", "no file can hold it"
