"""Counts to targets and panels, against plain computations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from st_predict.core.errors import InputError
from st_predict.core.expression import (
    choose_panel,
    common_genes,
    count_genes,
    describe_panel,
    gene_columns,
    known_targets,
    log_normalize,
    section_expression,
    target_counts,
    total_counts,
)
from st_predict.core.section import Section
from st_predict.core.tiles.sources import ArraySource

COUNTS = np.array([[1, 0, 3, 6], [0, 0, 0, 0], [5, 5, 0, 90]], np.float32)


def section(name: str, counts: object, genes: list[str]) -> Section:
    image = ArraySource(np.zeros((4, 4, 3), np.uint8))
    return Section(name, image, np.zeros((counts.shape[0], 2)), 1.0, counts=counts, gene_names=np.array(genes))


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix, csc_matrix])
def test_log1p_of_counts_per_10000_of_all_genes(kind: type) -> None:
    found = log_normalize(kind(COUNTS), np.array([2, 0]))
    expected = np.log1p(np.array([[3 / 10, 1 / 10], [0, 0], [0, 5 / 100]]) * 1e4)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, rtol=1e-6)


def test_a_missing_gene_is_nan_and_the_others_are_not() -> None:
    found = log_normalize(COUNTS, np.array([-1, 3]))
    assert np.isnan(found[:, 0]).all()
    assert np.allclose(found[:, 1], np.log1p([6000, 0, 9000]))


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix])
def test_totals(kind: type) -> None:
    totals = total_counts(kind(COUNTS))
    assert totals.shape == (3,) and totals.dtype == np.float64
    assert totals.tolist() == [10, 0, 100]


def test_columns_by_name() -> None:
    assert gene_columns(np.array(["b", "a", "c"]), ["a", "x", "b"]).tolist() == [1, -1, 0]


def test_section_expression_follows_names_not_positions() -> None:
    one = section("A", csr_matrix(COUNTS), ["w", "x", "y", "z"])
    other = section("B", csr_matrix(COUNTS[:, ::-1]), ["z", "y", "x", "w"])
    assert np.array_equal(section_expression(one, ["y", "w"]), section_expression(other, ["y", "w"]))


def test_section_without_counts_has_no_expression() -> None:
    bare = Section("H", ArraySource(np.zeros((4, 4, 3), np.uint8)), np.zeros((1, 2)), 1.0)
    with pytest.raises(ValueError, match="section 'H' carries no expression"):
        section_expression(bare, ["a"])


def with_sets(kind: type, genes: str = "wxyz") -> Section:
    """A section of three spots with a set it has, one it has a gene of, and one named like a gene of its own."""
    sets = {"both": ("z", "w"), "part": ("x", "other"), "y": ("x",)}
    return dataclasses.replace(section("A", kind(COUNTS), list(genes)), gene_sets=sets)


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix, csc_matrix])
def test_a_set_is_the_mean_of_log1p_of_its_genes(kind: type) -> None:
    found = section_expression(with_sets(kind), ["both", "x", "part", "w"])
    w, x = np.log1p([1e3, 0, 500]), np.log1p([0, 0, 500])
    z = np.log1p([6e3, 0, 9e3])
    assert found.dtype == np.float32
    assert np.allclose(found[:, [0, 1, 3]], np.column_stack([(w + z) / 2, x, w]), rtol=1e-6)
    assert np.isnan(found[:, 2]).all(), "a set of which a gene is missing is missing"


def test_a_set_follows_names_not_positions() -> None:
    one = with_sets(csr_matrix)
    other = dataclasses.replace(
        section("B", csr_matrix(COUNTS[:, ::-1]), ["z", "y", "x", "w"]), gene_sets=one.gene_sets
    )
    assert np.array_equal(section_expression(one, ["w", "both"]), section_expression(other, ["w", "both"]))


def test_a_set_goes_before_a_gene_of_its_name() -> None:
    """A section that is predicted may have a gene that is named like a set of the model."""
    found = with_sets(np.asarray)
    assert np.allclose(section_expression(found, ["y"])[:, 0], np.log1p([0, 0, 500]))
    assert target_counts(found, ["y"]).tolist() == [[0], [0], [5]]
    assert known_targets(with_sets(np.asarray, "waby"), ["y"]).tolist() == [False], "and is not taken for it"
    assert np.isnan(section_expression(with_sets(np.asarray, "waby"), ["y"])).all()


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix, csc_matrix])
def test_counts_of_a_set_are_summed(kind: type) -> None:
    found = target_counts(with_sets(kind), ["x", "both", "z"])
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 7, 6], [0, 0, 0], [5, 95, 90]]


def test_known_are_genes_and_whole_sets() -> None:
    targets = ["w", "other", "both", "part"]
    assert known_targets(with_sets(csr_matrix), targets).tolist() == [True, False, True, False]
    assert known_targets(section("A", COUNTS, list("wxyz")), targets).tolist() == [True, False, False, False]


def test_a_panel_is_counted_without_its_sets() -> None:
    sets = {"s": ("a", "b"), "t": ("c",)}
    assert count_genes(["a", "b", "c", "s", "t"], sets) == 3
    assert describe_panel(["a", "b", "c", "s", "t"], sets) == "3 genes and 2 gene sets"
    assert describe_panel(["a", "b", "t"], {"t": ("c",)}) == "2 genes and 1 gene set"
    assert describe_panel(["a", "b"], {}) == "2 genes"


@pytest.fixture(scope="module")
def pair() -> list[Section]:
    """Two sections with other gene sets in another order, eight genes in common."""
    rng = np.random.default_rng(0)
    rates = rng.uniform(0.2, 20, 12)
    names = np.array([f"g{i}" for i in range(12)])
    first, second = np.arange(10), np.array([11, 9, 8, 7, 10, 6, 5, 4, 3, 2])
    made = [rng.poisson(rates[chosen] * rng.uniform(0.2, 3, (40, 1))).astype(np.float32) for chosen in (first, second)]
    return [
        section("A", csr_matrix(made[0]), list(names[first])),
        section("B", csr_matrix(made[1]), list(names[second])),
    ]


def plain_values(sections: list[Section], transform: bool) -> dict[str, np.ndarray]:
    """All spots' values of each gene the sections share, the slow way."""
    values: dict[str, list[float]] = {}
    for gene in sections[0].gene_names:
        if all(gene in s.gene_names for s in sections):
            values[str(gene)] = []
            for s in sections:
                dense = s.counts.toarray().astype(np.float64)
                column = dense[:, list(s.gene_names).index(gene)]
                values[str(gene)] += list(np.log1p(1e4 * column / dense.sum(axis=1)) if transform else column)
    return {gene: np.array(v) for gene, v in values.items()}


@pytest.mark.parametrize("n", [1, 3, 8])
def test_heg_is_the_highest_mean_raw_count(pair: list[Section], n: int) -> None:
    means = {gene: v.mean() for gene, v in plain_values(pair, transform=False).items()}
    assert choose_panel(pair, n, "heg") == sorted(means, key=means.get, reverse=True)[:n]


@pytest.mark.parametrize("n", [1, 3, 8])
def test_hvg_is_the_highest_variance_after_log1p(pair: list[Section], n: int) -> None:
    variances = {gene: v.var() for gene, v in plain_values(pair, transform=True).items()}
    assert choose_panel(pair, n, "hvg") == sorted(variances, key=variances.get, reverse=True)[:n]
    assert choose_panel(pair, n, "hvg") != choose_panel(pair, n, "heg")[:n] or n == 8


def test_hvg_is_the_same_in_blocks_of_genes() -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(rng.uniform(0.1, 3, 2100) * rng.uniform(0.5, 2, (20, 1))).astype(np.float32)
    many = section("A", counts, [f"g{i}" for i in range(2100)])
    logs = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    best = np.argsort(-logs.var(axis=0), kind="stable")[:50]
    assert choose_panel([many], 50, "hvg") == [f"g{i}" for i in best]


def test_common_genes_in_the_order_of_the_first(pair: list[Section]) -> None:
    assert common_genes(pair) == [f"g{i}" for i in range(2, 10)]


def test_more_genes_than_there_are_gives_all(pair: list[Section]) -> None:
    assert len(choose_panel(pair, 250, "heg")) == 8


def test_dense_and_sparse_choose_alike(pair: list[Section]) -> None:
    dense = [section(s.name, s.counts.toarray(), list(s.gene_names)) for s in pair]
    for ranking in ("heg", "hvg"):
        assert choose_panel(dense, 5, ranking) == choose_panel(pair, 5, ranking)


def test_no_gene_in_common_names_the_remedy() -> None:
    sections = [section("A", COUNTS, ["A1", "A2", "A3", "A4"]), section("B", COUNTS, ["E1", "E2", "E3", "E4"])]
    with pytest.raises(InputError, match="no gene is common to all 2 sections") as error:
        choose_panel(sections, 3, "heg")
    assert "A: A1, A2, A3" in error.value.what and "B: E1, E2, E3" in error.value.what
    assert "Ensembl ids to symbols" in error.value.remedy


def test_users_list_is_taken_as_it_is(pair: list[Section]) -> None:
    assert choose_panel(pair, ["g7", "g2"], "heg") == ["g7", "g2"]
    assert choose_panel(pair, np.array(["g7", "g2"]), "hvg") == ["g7", "g2"]


@pytest.mark.parametrize(
    ("genes", "text"),
    [
        (["g7", "g0", "zz"], "A lacks zz; B lacks g0, zz"),
        (["g7", "g7", "g2"], "listed twice: g7"),
        ([], "it is empty"),
    ],
)
def test_users_list_that_cannot_be_used(pair: list[Section], genes: list[str], text: str) -> None:
    with pytest.raises(InputError, match="the gene list cannot be used") as error:
        choose_panel(pair, genes, "heg")
    assert text in error.value.what
    assert error.value.where == "genes"


@pytest.mark.parametrize("genes", [0, -5, True, 1.5, None])
def test_numbers_that_are_no_number_of_genes(pair: list[Section], genes: object) -> None:
    with pytest.raises(InputError, match=f"genes is {genes!r}") as error:
        choose_panel(pair, genes, "heg")
    assert error.value.expected == "how many genes, at least 1, or their names"


def test_numpy_numbers_and_one_name(pair: list[Section]) -> None:
    assert choose_panel(pair, np.int64(3), "heg") == choose_panel(pair, 3, "heg")
    assert choose_panel(pair, "g7", "heg") == ["g7"]


def test_unknown_ranking(pair: list[Section]) -> None:
    with pytest.raises(InputError, match="gene_ranking is 'best'") as error:
        choose_panel(pair, 3, "best")
    assert error.value.expected == "'heg' or 'hvg'"
