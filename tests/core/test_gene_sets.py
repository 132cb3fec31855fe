"""Gene sets as a user gives them: what is kept, what is said, and what is refused."""

from __future__ import annotations

import gzip
import logging
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from st_predict.core.errors import InputError
from st_predict.core.gene_sets import read_gmt, with_gene_sets
from st_predict.core.section import Section
from st_predict.core.tiles.sources import ArraySource


def section(name: str, genes: str) -> Section:
    image, counts = ArraySource(np.zeros((4, 4, 3), np.uint8)), np.ones((2, len(genes.split())))
    return Section(name, image, np.zeros((2, 2)), 1.0, counts=counts, gene_names=np.array(genes.split()))


@pytest.fixture
def sections() -> list[Section]:
    return [section("A", "a b c d/e"), section("B", "c b x a d/e")]


def test_every_section_knows_the_sets_in_the_order_given(sections: list[Section]) -> None:
    given = {"T": ["c", "a", "c"], "B": np.array(["b"]), "S": {"c", "b", "a"}}
    found = with_gene_sets(sections, given)
    expected = {"T": ("c", "a"), "B": ("b",), "S": ("a", "b", "c")}
    assert [list(s.gene_sets.items()) for s in found] == [list(expected.items())] * 2
    assert all(type(gene) is str for genes in found[0].gene_sets.values() for gene in genes)
    assert [s.name for s in found] == ["A", "B"] and found[1].counts is sections[1].counts


@pytest.mark.parametrize("none", [None, {}])
def test_no_sets(sections: list[Section], none: Any) -> None:
    assert [s.gene_sets for s in with_gene_sets(sections, none)] == [{}, {}]


def test_genes_that_a_section_lacks_are_left_out_and_named(
    sections: list[Section], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "st_predict"):
        found = with_gene_sets(sections, {"T": ["a", "x", "zz", "b"], "whole": ["c"]})
    assert found[0].gene_sets == found[1].gene_sets == {"T": ("a", "b"), "whole": ("c",)}
    assert [record.getMessage() for record in caplog.records] == [
        "gene set 'T' is the mean of 2 of its 4 genes; left out: x (not in A), zz (not in A, B)"
    ]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["a", "b"], "gene_sets is of type list"),
        ("sets.gmt", "gene_sets is of type str"),
        ({"T": "abc"}, "gene set 'T' is 'abc'"),
        ({"T": {"a": 1}}, "gene set 'T' is {'a': 1}"),
        ({"T": 3}, "gene set 'T' is 3"),
        ({"T": ["a", 3]}, "gene set 'T' holds 3"),
        ({"T": ["a", None]}, "gene set 'T' holds None"),
        ({3: ["a"]}, "a gene set is named 3"),
        ({" ": ["a"]}, "a gene set is named ' '"),
        ({"T": ["a"], "B": []}, "gene set 'B' is empty"),
        ({"T": ["zz", "x"]}, "gene set 'T' has no gene that all 2 sections have (zz (not in A, B), x (not in A))"),
        ({"x": ["a"]}, "gene set 'x' is named like gene 'x' of 'B'"),
        ({"d_e": ["a"]}, "gene set 'd_e' is named like gene 'd/e' of 'B'"),
        ({"T/B": ["a"], "T_B": ["b"]}, "gene set 'T_B' is named like gene set 'T/B'"),
    ],
)
def test_what_is_refused(sections: list[Section], given: Any, what: str) -> None:
    with pytest.raises(InputError) as error:
        with_gene_sets(sections, given)
    assert (error.value.what, error.value.where) == (what, "gene_sets")
    assert error.value.expected and error.value.remedy


def test_gmt(tmp_path: Path) -> None:
    path = tmp_path / "sets.gmt"
    path.write_text("T cells\thttp://x.example\tCD3D\tCD3E \t\r\n\nB\t\tMS4A1\n")
    assert read_gmt(path) == {"T cells": ("CD3D", "CD3E"), "B": ("MS4A1",)}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("T\tabout\ta\nB\tabout\n", "line 2 of {path} has no genes"),
        ("T,about,a\n", "line 1 of {path} has no genes"),
        ("\tabout\ta\n", "line 1 of {path} has no name"),
        ("T\tabout\ta\nT\tabout\tb\n", "line 2 of {path} names 'T' again"),
        ("\n", "{path} is empty"),
    ],
)
def test_gmt_that_is_none(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "sets.gmt"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_gmt(path)
    assert error.value.what == what.format(path=path)
    assert error.value.expected.startswith("a GMT file")


def test_gmt_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none.gmt cannot be read \\(FileNotFoundError\\)"):
        read_gmt(tmp_path / "none.gmt")


@pytest.mark.parametrize(
    ("content", "what", "remedy"),
    [
        (gzip.compress(b"T\tabout\ta\n"), "sets.gmt is compressed with gzip, and its name does not say so", "mv sets.gmt sets.gmt.gz"),
        ("T\tabout\ta\n".encode("utf-16"), "sets.gmt is text in UTF-16", "iconv -f UTF-16 -t UTF-8 sets.gmt > sets_utf8.gmt"),
        ("T\tä\ta\n".encode("latin-1"), "sets.gmt is no text in UTF-8: it holds", "iconv -f LATIN1 -t UTF-8 sets.gmt > sets_utf8.gmt"),
    ],
    ids=["gzip", "UTF-16", "Latin-1"],
)  # fmt: skip
def test_gmt_in_another_form_is_refused_with_the_way_to_one(
    content: bytes, what: str, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / "sets.gmt"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_gmt(path)
    assert error.value.what.startswith(what) and error.value.remedy.endswith(remedy)
    subprocess.run(remedy, shell=True, cwd=tmp_path, check=True)
    (made,) = (file for file in tmp_path.iterdir() if file.name != "sets.gmt")
    assert read_gmt(made) == {"T": ("a",)}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_gmt_lines_end_where_lines_end(end: str, tmp_path: Path) -> None:
    path = tmp_path / "sets.gmt"
    path.write_bytes(f"T\tfrom\x0cPubMed\x85 \u2028\ta\tb{end}B\t\tc".encode())
    assert read_gmt(path) == {"T": ("a", "b"), "B": ("c",)}
