"""Gene-gene structure: both maps, their order and their agreement against correlations known beforehand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import st_predict as stp

subsets = pytest.mark.filterwarnings("ignore:The 'mode.chained_assignment' option is deprecated")


def log_normalized(counts: np.ndarray) -> np.ndarray:
    return np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)


def predict_as(section: SimpleNamespace, names: list[str], values: np.ndarray) -> None:
    """Replace a section's prediction, spots in the order of its table."""
    table = section.sdata["table"]
    table.layers.pop("predicted", None)
    table.obsm["predicted"] = pd.DataFrame(values.astype(np.float32), index=table.obs_names, columns=names)
    table.uns["predicted"]["panel"] = names


def shown(ax: plt.Axes) -> np.ndarray:
    (image,) = ax.get_images()
    return np.asarray(image.get_array())


def names(ax: plt.Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def pairs(ax: plt.Axes) -> np.ndarray:
    (found,) = ax.collections
    return np.asarray(found.get_offsets())


def test_maps_hold_the_correlations_in_one_order(made: SimpleNamespace) -> None:
    one = made.section()
    enough = np.arange(20) != one.few
    axes = stp.pl.gene_correlation(one.sdata)
    assert axes.shape == (3,)
    order = names(axes[0])
    assert sorted(order) == sorted(made.panel)
    in_table, in_panel = ([where.index(gene) for gene in order] for where in (made.genes, made.panel))
    measured = np.corrcoef(log_normalized(one.counts)[enough][:, in_table], rowvar=False)
    predicted = np.corrcoef(one.predicted[enough][:, in_panel], rowvar=False)
    np.testing.assert_allclose(shown(axes[0]), measured, atol=1e-5)
    np.testing.assert_allclose(shown(axes[1]), predicted, atol=1e-5)
    assert names(axes[1]) == []
    upper = np.triu_indices(3, 1)
    np.testing.assert_allclose(pairs(axes[2]), np.column_stack([measured[upper], predicted[upper]]), atol=1e-5)
    agreement = np.corrcoef(measured[upper], predicted[upper])[0, 1]
    assert axes[2].get_title() == f"3 pairs, agreement {agreement:.2f}"
    assert [ax.get_images()[0].get_clim() for ax in axes[:2]] == [(-1, 1)] * 2
    assert axes[0].figure.get_suptitle() == "P: ridge on tiny, 19 spots"


def test_agreement_of_made_up_predictions(made: SimpleNamespace) -> None:
    one = made.section()
    truth = log_normalized(one.counts)
    predict_as(one, made.genes, 3 + 0.1 * truth)
    assert stp.pl.gene_correlation(one.sdata)[2].get_title() == "6 pairs, agreement 1.00", "no scale or offset matters"
    # Turned genes: correlations of the pairs among {0, 1} and {2, 3} stay, those between the two change sign.
    enough = np.arange(20) != one.few
    predict_as(one, made.genes, truth * [1, 1, -1, -1])
    found = pairs(stp.pl.gene_correlation(one.sdata)[2])
    correlation = np.corrcoef(truth[enough], rowvar=False)
    turned = correlation * np.outer([1, 1, -1, -1], [1, 1, -1, -1])
    upper = np.triu_indices(4, 1)
    agreement = np.corrcoef(correlation[upper], turned[upper])[0, 1]
    assert agreement < 0.9
    np.testing.assert_allclose(np.corrcoef(found.T)[0, 1], agreement, atol=1e-5)


def test_genes_that_go_together_are_neighbors() -> None:
    from st_predict.pl._gene_correlation import _cluster

    group = np.array([0, 1, 0, 1, 2, 0, 2, 1])
    order = _cluster(np.where(group[:, None] == group, 0.9, -0.1) + 0.1 * np.eye(8))
    assert (np.diff(group[order]) != 0).sum() == 2


def test_spots_of_few_counts_are_left_out(made: SimpleNamespace) -> None:
    one = made.section()
    axes = stp.pl.gene_correlation(one.sdata, min_counts=1)
    assert axes[0].figure.get_suptitle() == "P: ridge on tiny, 20 spots"
    columns = [made.genes.index(gene) for gene in names(axes[0])]
    np.testing.assert_allclose(
        shown(axes[0]), np.corrcoef(log_normalized(one.counts)[:, columns], rowvar=False), atol=1e-5
    )


def test_constant_gene_correlates_with_none(made: SimpleNamespace) -> None:
    one = made.section()
    values = log_normalized(one.counts)
    values[:, 2] = 1.5
    predict_as(one, made.genes, values)
    axes = stp.pl.gene_correlation(one.sdata, genes=[*made.genes, "Actb"])
    assert sorted(names(axes[0])) == sorted(made.genes), "each once"
    flat = names(axes[0]).index("Gapdh")
    assert (shown(axes[1])[flat] == 0).all() and (shown(axes[1])[:, flat] == 0).all()
    np.testing.assert_allclose(np.delete(np.delete(shown(axes[0]) - shown(axes[1]), flat, 0), flat, 1), 0, atol=1e-5)
    assert [ax.get_title() for ax in axes[:2]] == ["measured correlation", "predicted correlation (1 gene constant)"]
    predict_as(one, made.genes, np.ones((20, 4)))
    axes = stp.pl.gene_correlation(one.sdata)
    assert axes[2].get_title() == "6 pairs, agreement 0.00"


def test_agreement_is_that_of_cross_validate(made: SimpleNamespace) -> None:
    from st_predict.core.metrics import structure_agreement

    one = made.section()
    values = log_normalized(one.counts)
    guess = np.random.default_rng(1).normal(values, 0.3)
    guess[:, 1] = 0.0
    predict_as(one, made.genes, guess)
    enough = np.arange(20) != one.few
    expected = structure_agreement(guess[enough], values[enough])
    assert stp.pl.gene_correlation(one.sdata)[2].get_title() == f"6 pairs, agreement {expected:.2f}"


@subsets
def test_genes_the_section_lacks_are_left_out(made: SimpleNamespace) -> None:
    one = made.section()
    predict_as(one, made.genes, log_normalized(one.counts))
    table = one.sdata["table"][:, ["Mbp", "Gapdh", "Snap25"]].copy()
    del one.sdata.tables["table"]
    one.sdata["table"] = table
    axes = stp.pl.gene_correlation(one.sdata, genes=[*made.genes, "Actb"])
    assert sorted(names(axes[0])) == ["Gapdh", "Mbp", "Snap25"]
    assert axes[0].figure.get_suptitle().endswith("left out: Actb)")


def many_genes(make_section: object) -> tuple[object, np.ndarray]:
    """A section with 70 genes, all predicted as measured."""
    from st_predict._spatialdata.keys import PROVENANCE_KIND

    sdata = make_section(n_genes=70, depth=30.0)
    table = sdata["table"]
    values = log_normalized(table.X.toarray())
    panel = list(table.var_names)
    table.obsm["predicted"] = pd.DataFrame(values.astype(np.float32), index=table.obs_names, columns=panel)
    table.uns["predicted"] = {
        PROVENANCE_KIND: "prediction", "panel": panel, "min_counts": 0.0, "method": "ridge", "encoder": "tiny"
    }  # fmt: skip
    return sdata, values


def test_the_most_variable_genes_unless_named(make_section: object) -> None:
    sdata, values = many_genes(make_section)
    axes = stp.pl.gene_correlation(sdata)
    best = np.argsort(-values.std(axis=0))[:60]
    assert sorted(names(axes[0])) == sorted(f"g{i}" for i in best)
    assert axes[2].get_title() == "1,770 pairs, agreement 1.00"
    axes = stp.pl.gene_correlation(sdata, genes=[f"g{i}" for i in range(70)])
    assert shown(axes[0]).shape == (70, 70)
    assert names(axes[0]) == [], "so many could not be read"


def test_axes_show_and_save(made: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shows = []
    monkeypatch.setattr(plt, "show", lambda: shows.append(True))
    figure, given = plt.subplots(1, 3)
    axes = stp.pl.gene_correlation(made.section().sdata, axes=given, show=True, save=tmp_path / "genes.png")
    assert (axes == given).all() and shows == [True]
    assert plt.get_fignums() == [figure.number] and figure.get_suptitle() == ""
    assert (tmp_path / "genes.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"key": "other"}, "there is no prediction under 'other'"),
        ({"genes": ["Actb", "Snap2", "Mbp"]}, r"not predicted: Snap2\n(.*\n)*.*Snap2: Snap25"),
        ({"genes": []}, r"^genes is \[\] \(list\), which is empty"),
        ({"genes": "Actb"}, "19 of 20 spots have enough counts, and 1 of 1 genes were measured"),
        ({"min_counts": 1e9}, "none of 20 spots has 1e[+]09 counts"),
        ({"layer": "raw"}, "has no layer 'raw'"),
        ({"axes": [None]}, r"^axes\[0\] is None"),
        ({"save": "genes.xyz"}, "'genes.xyz': .xyz is no format"),
    ],
)
def test_what_cannot_be_drawn(made: SimpleNamespace, options: dict, said: str) -> None:
    with pytest.raises(stp.InputError, match=said):
        stp.pl.gene_correlation(made.section().sdata, **options)
    assert plt.get_fignums() == []


def test_names_in_another_case(made: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    one = made.section()
    one.sdata["table"].var_names = one.sdata["table"].var_names.str.lower()
    with pytest.raises(stp.InputError, match="0 of 3 genes were measured") as error:
        stp.pl.gene_correlation(one.sdata)
    assert "map the names of this table" in error.value.remedy
    assert "they differ only by upper and lower case" in error.value.remedy
    assert "P has 0 of the 3 predicted genes and lacks " in caplog.text  # other plots show what was predicted alone


def test_too_few_spots(made: SimpleNamespace) -> None:
    one = made.section()
    totals = np.sort(one.counts.sum(axis=1))
    with pytest.raises(stp.InputError, match="2 of 20 spots have enough counts"):
        stp.pl.gene_correlation(one.sdata, min_counts=float(totals[-2]))


def test_section_without_measurement(made: SimpleNamespace) -> None:
    with pytest.raises(stp.InputError, match="section 'P' has no measured expression"):
        stp.pl.gene_correlation(made.section(measured=False).sdata)
