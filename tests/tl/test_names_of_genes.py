"""Sections whose genes are named in two ways, as long as one table has both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from spatialdata import SpatialData

import st_predict as stp


def ids_of(symbols: list[str], version: int | None = None) -> list[str]:
    """Ensembl ids, in the order of the symbols."""
    ending = "" if version is None else f".{version}"
    return [f"ENSG{int(symbol.removeprefix('g')):011d}{ending}" for symbol in symbols]


def by_ids(sdata: SpatialData, *, version: int | None = None, symbols: bool = True) -> SpatialData:
    """The same section with ids in ``var_names``, and symbols in ``var`` or nowhere."""
    table = sdata.tables["table"]
    names = list(table.var_names)
    table.var_names = ids_of(names, version)
    if symbols:
        table.var["gene_symbols"] = names
    return sdata


@pytest.fixture
def two(make_section: Callable[..., SpatialData]) -> dict[str, SpatialData]:
    return {"A": make_section("A", 0), "B": make_section("B", 1)}


def trained(sections: Any, quick: dict[str, Any]) -> stp.Model:
    return stp.tl.train(sections, **{**quick, "method": "ridge"})


@pytest.mark.parametrize("first", [True, False])
def test_ids_and_symbols_train_as_symbols_alone(
    first: bool, two: dict[str, SpatialData], quick: dict[str, Any], make_section: Callable[..., SpatialData],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    expected = trained(two, quick)
    name, seed = ("A", 0) if first else ("B", 1)
    mixed = {**two, name: by_ids(make_section(name, seed))}
    caplog.clear()
    found = trained(mixed, quick)
    assert list(found.genes.index) == list(expected.genes.index)
    assert f"the genes of {name} are named as those of the other sections" in caplog.text
    stp.tl.predict(mixed[name], found, key_added="found")
    stp.tl.predict(two[name], expected, key_added="found")
    for of in ("layers", "obsm"):
        values = [np.asarray(getattr(one[name].tables["table"], of)["found"]) for one in (mixed, two)]
        np.testing.assert_array_equal(*values)
    scores = [stp.tl.evaluate(one[name], key="found") for one in (mixed, two)]
    assert scores[0].equals(scores[1])
    marks = [one[name].tables["table"].var["found_expected_pcc"].to_numpy() for one in (mixed, two)]
    np.testing.assert_array_equal(*marks)


def test_ids_match_whatever_their_version(
    two: dict[str, SpatialData], quick: dict[str, Any], make_section: Callable[..., SpatialData]
) -> None:
    expected = trained({name: by_ids(one, version=3) for name, one in two.items()}, quick)
    found = trained(
        {"A": by_ids(make_section("A", 0), version=3), "B": by_ids(make_section("B", 1), version=7, symbols=False)},
        quick,
    )
    assert list(found.genes.index) == list(expected.genes.index)


def test_a_section_without_the_other_names_is_refused(two: dict[str, SpatialData], quick: dict[str, Any]) -> None:
    with pytest.raises(stp.InputError, match="no gene is common to all 2 sections"):
        trained({"A": two["A"], "B": by_ids(two["B"], symbols=False)}, quick)


def test_a_symbol_of_two_ids_finds_neither(two: dict[str, SpatialData], quick: dict[str, Any]) -> None:
    other = by_ids(two["B"])
    symbols = other.tables["table"].var["gene_symbols"].tolist()
    other.tables["table"].var["gene_symbols"] = [symbols[0], symbols[0], *symbols[2:]]
    model = trained({"A": two["A"], "B": other}, {**quick, "genes": 22})
    assert set(model.genes.index) == set(symbols[2:])


def test_names_that_match_are_left_alone(two: dict[str, SpatialData], quick: dict[str, Any]) -> None:
    expected = trained(two, quick)
    for one in two.values():
        table = one.tables["table"]
        table.var["reversed"] = list(table.var_names)[::-1]
    assert trained(two, quick).id == expected.id
