"""Whether a model knew how sure it was: dots and lines against the table they were drawn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import st_predict as stp
from st_predict.core.errors import InputError

SHARES = {"covered50": 0.5, "covered80": 0.7, "covered90": 0.92, "covered95": 0.96}


def genes(sections: tuple[str, ...] = ("A", "B"), n: int = 12) -> pd.DataFrame:
    """Reached as expected in their order on the first section, in the opposite order on the others."""
    rows = []
    for number, section in enumerate(sections):
        expected = np.linspace(0.0, 0.6, n)
        one = pd.DataFrame({"gene": [f"g{i}" for i in range(n)], "expected_pcc": expected})
        one["pcc"] = (expected if number == 0 else expected[::-1]) + 0.05
        rows.append(one.assign(section=section, method="nh2st", **{k: v + 0.01 * number for k, v in SHARES.items()}))
    unsure = rows[0].assign(method="ridge", expected_pcc=np.nan, **dict.fromkeys(SHARES, np.nan))
    return pd.concat([*rows, unsure], ignore_index=True)


def test_a_dot_a_gene_and_section() -> None:
    ax, _ = stp.pl.reliability(genes())
    first, second = ax.collections
    np.testing.assert_allclose(first.get_offsets()[:, 1], first.get_offsets()[:, 0] + 0.05)
    assert len(second.get_offsets()) == 12
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["A: 1.00", "B: -1.00"] and ax.get_title() == "Genes: rank correlation 0.00"


def test_seeds_are_averaged() -> None:
    ax, _ = stp.pl.reliability(pd.concat([genes().assign(seed=0), genes().assign(seed=1, pcc=genes()["pcc"] + 0.1)]))
    np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 1], np.linspace(0.1, 0.7, 12))


def test_a_line_a_section_of_what_was_covered() -> None:
    _, ax = stp.pl.reliability(genes())
    lines = {line.get_label(): line.get_xydata() for line in ax.lines[1:]}
    np.testing.assert_allclose(lines["A"], [[0.5, 0.5], [0.8, 0.7], [0.9, 0.92], [0.95, 0.96]])
    np.testing.assert_allclose(lines["B"][:, 1], [0.51, 0.71, 0.93, 0.97])
    assert ax.get_title() == "Intervals: 92% within those for 90%"


def test_shares_that_are_far_too_small_are_still_seen() -> None:
    _, ax = stp.pl.reliability(genes().assign(covered50=0.2))
    assert ax.get_ylim()[0] < 0.2 and ax.get_xlim() == ax.get_ylim()


def test_many_sections_have_no_legend() -> None:
    ax, _ = stp.pl.reliability(genes(tuple("ABCDEFGH")))
    assert ax.get_legend() is None and len(ax.collections) == 8


def test_written_where_it_is_asked(tmp_path: Path) -> None:
    stp.pl.reliability(genes(), save=tmp_path / "sure.png")
    assert (tmp_path / "sure.png").stat().st_size > 10_000


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ridge expected nothing of its genes") as error:
        stp.pl.reliability(genes(), method="ridge")
    assert error.value.remedy == "choose another method: nh2st"
    with pytest.raises(InputError, match="ridge expected nothing of its genes: nothing was held out") as error:
        stp.pl.reliability(genes().drop(columns=["expected_pcc", *SHARES]), method="ridge")
    assert error.value.where == "table" and "of two sections, each fold trains on one" in error.value.expected
    assert "three sections or more and a method that is trained by gradient" in error.value.remedy
    with pytest.raises(InputError, match="the table has no method 'nh3st'") as error:
        stp.pl.reliability(genes(), method="nh3st")
    assert "nh2st" in error.value.remedy
    with pytest.raises(InputError, match="the table has no column 'expected_pcc'"):
        stp.pl.reliability(genes().drop(columns="expected_pcc"))
    with pytest.raises(InputError, match="^a value of column 'covered90' is 'x' \\(text\\), and no finite number\n"):
        stp.pl.reliability(genes().assign(covered90="x"))
    with pytest.raises(InputError, match="^a value of column 'section' is nan, and no name\n"):
        stp.pl.reliability(genes().assign(section=np.nan))
    with pytest.raises(InputError, match="no folder"):
        stp.pl.reliability(genes(), save=tmp_path / "none" / "sure.png")
