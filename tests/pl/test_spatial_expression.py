"""Maps of expression: what is drawn where, in which color, against the data it was drawn from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import EllipseCollection, PolyCollection
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

import st_predict as stp

# What anndata 0.13 makes pandas 3 say when a table is subset.
subsets = pytest.mark.filterwarnings("ignore:The 'mode.chained_assignment' option is deprecated")


def measured(counts: np.ndarray, column: int) -> np.ndarray:
    return np.log1p(counts[:, column] / counts.sum(axis=1) * 1e4)


def colored(ax: plt.Axes) -> EllipseCollection:
    (found,) = [c for c in ax.collections if c.get_array() is not None]
    return found


def hollow(ax: plt.Axes) -> list:
    return [c for c in ax.collections if c.get_array() is None]


def test_values_and_places_follow_the_table(made: SimpleNamespace) -> None:
    one = made.section()
    axes = stp.pl.spatial_expression(one.sdata, ["Mbp", "Snap25"])
    assert axes.shape == (2, 3)
    enough = np.arange(20) != one.few
    for row, (gene, in_table, in_panel) in enumerate([("Mbp", 1, 2), ("Snap25", 3, 0)]):
        truth, guess = colored(axes[row, 1]), colored(axes[row, 2])
        np.testing.assert_allclose(truth.get_offsets(), one.centers_px[enough])
        np.testing.assert_allclose(truth.get_array(), measured(one.counts, in_table)[enough], rtol=1e-5)
        np.testing.assert_allclose(guess.get_offsets(), one.centers_px)
        np.testing.assert_allclose(guess.get_array(), one.predicted[:, in_panel])
        np.testing.assert_allclose(guess.get_widths(), 2 * made.radius_px)
        assert axes[row, 0].get_ylabel() == gene
        assert [ax.get_title() for ax in axes[row, :2]] == ["H&E", "measured"]


def test_spots_of_few_counts_are_hollow_and_move_no_color(made: SimpleNamespace) -> None:
    one = made.section()
    (axes,) = stp.pl.spatial_expression(one.sdata, "Actb")
    (left_out,) = hollow(axes[1])
    np.testing.assert_allclose(left_out.get_offsets(), one.centers_px[[one.few]])
    assert left_out.get_facecolor().size == 0
    assert hollow(axes[2]) == []
    values = np.concatenate([np.delete(measured(one.counts, 0), one.few), one.predicted[:, 1]])
    np.testing.assert_allclose(colored(axes[1]).get_clim(), np.percentile(values, [1, 99]), rtol=1e-5)
    assert axes[0].figure.get_suptitle() == "P: ridge on tiny, 20 spots (1 hollow: under 500 counts)"
    (axes,) = stp.pl.spatial_expression(one.sdata, "Actb", min_counts=1)
    assert hollow(axes[1]) == []


def test_scale_is_shared_unless_it_is_not(made: SimpleNamespace) -> None:
    one = made.section()
    (axes,) = stp.pl.spatial_expression(one.sdata, "Actb")
    assert colored(axes[1]).norm is colored(axes[2]).norm
    bars = [child.get_ylabel() for ax in axes for child in ax.child_axes]
    assert bars == ["log1p CP10k"]
    (axes,) = stp.pl.spatial_expression(one.sdata, "Actb", shared_scale=False)
    np.testing.assert_allclose(colored(axes[2]).get_clim(), np.percentile(one.predicted[:, 1], [1, 99]))
    assert colored(axes[1]).get_clim() != colored(axes[2]).get_clim()
    assert [len(ax.child_axes) for ax in axes] == [0, 1, 1]


def test_pcc_is_that_of_evaluate(made: SimpleNamespace) -> None:
    one = made.section()
    del one.sdata["table"].layers["predicted"]
    one.sdata["table"].obsm["predicted"]["Actb"] = measured(one.counts, 0) + one.predicted[:, 0]
    for min_counts in (None, 1):
        scores = stp.tl.evaluate(one.sdata, min_counts=min_counts)
        axes = stp.pl.spatial_expression(one.sdata, made.panel, min_counts=min_counts)
        assert [ax.get_title() for ax in axes[:, 2]] == [f"predicted, PCC {scores.pcc[g]:.2f}" for g in made.panel]


def test_gene_that_the_model_cannot_predict_is_flagged(made: SimpleNamespace) -> None:
    sdata = made.section().sdata
    record = sdata.tables["table"].uns["predicted"]
    record["expected_pcc"] = np.where(np.array(made.panel) == made.panel[1], 0.14, 0.3)
    axes = stp.pl.spatial_expression(sdata, made.panel[:2], show=False)
    assert not any("unpredictable" in ax.get_title() for ax in axes[:, 2]), "what chance reaches is not known"
    record["chance"] = np.full(len(made.panel), 0.2)
    axes = stp.pl.spatial_expression(sdata, made.panel[:2], show=False)
    titles = [ax.get_title() for ax in axes[:, 2]]
    assert "unpredictable" not in titles[0] and titles[1].endswith("\nunpredictable")


def test_image_lies_under_the_spots_y_downward(made: SimpleNamespace) -> None:
    one = made.section()
    (axes,) = stp.pl.spatial_expression(one.sdata, "Actb")
    (shown,) = axes[0].get_images()
    left, right, bottom, top = shown.get_extent()
    pixels = shown.get_array()
    assert 0 < left < 386 and 0 < top < 246, "cropped to the spots"
    for x, y in one.centers_px:
        row = int((y - top) / (bottom - top) * pixels.shape[0])
        col = int((x - left) / (right - left) * pixels.shape[1])
        assert np.abs(pixels[row, col].astype(int) - made.pixels[:, int(y), int(x)]).max() <= 2
    for ax in axes:
        assert ax.get_ylim()[0] > ax.get_ylim()[1] and ax.get_xlim()[0] < ax.get_xlim()[1]
        assert (ax.get_xlim(), ax.get_ylim()) == (axes[0].get_xlim(), axes[0].get_ylim())
        assert ax.get_aspect() == 1
    low, high = one.centers_px.min(axis=0) - made.radius_px, one.centers_px.max(axis=0) + made.radius_px
    (x0, x1), (y1, y0) = axes[0].get_xlim(), axes[0].get_ylim()
    assert x0 < low[0] and y0 < low[1] and x1 > high[0] and y1 > high[1], "no spot is cut"
    assert left <= x0 and right >= x1 and top <= y0 and bottom >= y1


@pytest.mark.parametrize(
    ("um_per_px", "label", "length_px"), [(2.0, "100 µm", 50), (40.0, "2 mm", 50), (None, "50 px", 50)]
)
def test_scale_bar_has_the_length_it_says(
    made: SimpleNamespace, um_per_px: float | None, label: str, length_px: float
) -> None:
    (axes,) = stp.pl.spatial_expression(made.section(um_per_px=um_per_px).sdata, "Actb")
    (bar,) = [artist for artist in axes[0].artists if isinstance(artist, AnchoredSizeBar)]
    assert bar.txt_label.get_text() == label
    assert bar.size_bar.get_children()[0].get_width() == length_px


def test_section_without_measurement_has_two_columns(made: SimpleNamespace) -> None:
    one = made.section(measured=False)
    axes = stp.pl.spatial_expression(one.sdata, ["Actb"])
    assert axes.shape == (1, 2)
    assert [ax.get_title() for ax in axes[0]] == ["H&E", "predicted"]
    np.testing.assert_allclose(colored(axes[0, 1]).get_array(), one.predicted[:, 1])
    np.testing.assert_allclose(colored(axes[0, 1]).get_offsets(), one.centers_px)


@subsets
def test_own_table_may_be_reordered(made: SimpleNamespace) -> None:
    one = made.section(measured=False)
    back = one.sdata["predicted"][::-1].copy()
    del one.sdata.tables["predicted"]
    one.sdata["predicted"] = back
    (axes,) = stp.pl.spatial_expression(one.sdata, "Mbp")
    np.testing.assert_allclose(colored(axes[1]).get_array(), one.predicted[::-1, 2])
    np.testing.assert_allclose(colored(axes[1]).get_offsets(), one.centers_px[::-1])


@subsets
def test_gene_that_was_predicted_but_not_measured(made: SimpleNamespace) -> None:
    one = made.section()
    table = one.sdata["table"][:, ["Mbp", "Gapdh", "Snap25"]].copy()
    del one.sdata.tables["table"]
    one.sdata["table"] = table
    (axes,) = stp.pl.spatial_expression(one.sdata, "Actb")
    assert [ax.get_title() for ax in axes] == ["H&E", "not measured", "predicted"]
    assert axes[1].collections[0].get_array() is None
    np.testing.assert_allclose(colored(axes[2]).get_clim(), np.percentile(one.predicted[:, 1], [1, 99]))
    (axes,) = stp.pl.spatial_expression(one.sdata, "Actb", shared_scale=False)
    assert [len(ax.child_axes) for ax in axes] == [0, 0, 1], "a color bar of nothing says nothing"


def test_bins_are_drawn_as_squares(made: SimpleNamespace) -> None:
    one = made.section(bins=True)
    (axes,) = stp.pl.spatial_expression(one.sdata, "Actb")
    bins = colored(axes[2])
    assert isinstance(bins, PolyCollection)
    corners = np.array([path.vertices[:4] for path in bins.get_paths()])
    np.testing.assert_allclose(corners.min(axis=1), one.centers_px - made.radius_px)
    np.testing.assert_allclose(corners.max(axis=1), one.centers_px + made.radius_px)
    assert len(colored(axes[1]).get_paths()) == 19


def test_constant_prediction_is_drawn(made: SimpleNamespace) -> None:
    one = made.section(measured=False)
    one.sdata["predicted"].layers["predicted"][:] = 2.0
    (axes,) = stp.pl.spatial_expression(one.sdata, "Actb")
    assert colored(axes[1]).get_clim() == (1.5, 2.5)


def test_reduced_copies_of_the_image_are_used(made: SimpleNamespace) -> None:
    from st_predict._spatialdata.read import read_section

    sdata = made.section(scale_factors=[2, 2]).sdata
    section, _ = read_section(sdata, need_counts=False)
    heights = [int(level.row_edges[-1]) for level in [section.image, *section.reduced]]
    assert heights == [600, 300, 150]


def test_axes_of_the_user_are_drawn_on(made: SimpleNamespace) -> None:
    one = made.section()
    figure, given = plt.subplots(2, 3)
    axes = stp.pl.spatial_expression(one.sdata, ["Actb", "Mbp"], axes=given)
    assert (axes == given).all()
    assert plt.get_fignums() == [figure.number]
    assert figure.get_suptitle() == ""


def test_show_and_save(made: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    one = made.section()
    stp.pl.spatial_expression(one.sdata, "Actb", save=tmp_path / "map.png")
    assert plt.imread(tmp_path / "map.png").shape[1] > 1500
    assert shown == [] and len(plt.get_fignums()) == 1
    stp.pl.spatial_expression(one.sdata, "Actb", show=True)
    assert shown == [True]


@pytest.mark.parametrize(
    ("genes", "options", "said"),
    [
        ("ACTB1", {}, "not predicted: ACTB1"),
        ("ACTB1", {}, "names near those: ACTB1: Actb"),
        (["Actb", "Gapdh"], {}, r"not predicted: Gapdh \(measured, but not in the model's panel: Gapdh\)"),
        ("zzz", {}, r"train with genes=\[...\] to have them predicted"),
        ([], {}, r"^genes is \[\] \(list\), which is empty"),
        ("Actb", {"key": "other"}, "there is no prediction under 'other'"),
        ("Actb", {"layer": "raw"}, "has no layer 'raw'"),
        ("Actb", {"image_key": "he"}, "there is no image 'he'"),
        ("Actb", {"min_counts": 1e9}, "none of 20 spots has 1e[+]09 counts"),
        ("Actb", {"cmap": "verdis"}, "there is no color map 'verdis'"),
        ("Actb", {"save": "picture.xyz"}, "'picture.xyz': .xyz is no format"),
        ("Actb", {"save": "nowhere/picture.png"}, "there is no folder 'nowhere'"),
    ],
)
def test_what_cannot_be_drawn(made: SimpleNamespace, genes: object, options: dict, said: str) -> None:
    with pytest.raises(stp.InputError, match=said):
        stp.pl.spatial_expression(made.section().sdata, genes, **options)
    assert plt.get_fignums() == []


def test_missing_prediction_on_a_bare_section(made: SimpleNamespace) -> None:
    sdata = made.section(measured=False).sdata
    with pytest.raises(stp.InputError, match="there is no prediction under 'other'"):
        stp.pl.spatial_expression(sdata, "Actb", key="other")
    del sdata.tables["predicted"]
    with pytest.raises(stp.InputError, match="there is no prediction under 'predicted'"):
        stp.pl.spatial_expression(sdata, "Actb")


def test_axes_that_do_not_fit(made: SimpleNamespace) -> None:
    _, given = plt.subplots(1, 2)
    with pytest.raises(stp.InputError, match="2 axes were given for 3 panels"):
        stp.pl.spatial_expression(made.section().sdata, "Actb", axes=given)
