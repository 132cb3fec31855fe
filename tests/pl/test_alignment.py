"""Spots over the image: their outlines where the spots are, the title, and the enlarged part."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

import st_predict as stp


@pytest.mark.parametrize("measured", [True, False])
def test_outlines_lie_where_the_spots_are(made: SimpleNamespace, measured: bool) -> None:
    one = made.section(measured=measured)
    axes = stp.pl.alignment(one.sdata)
    assert axes.shape == (2,)
    for ax in axes:
        (outlines,) = ax.collections
        np.testing.assert_allclose(outlines.get_offsets(), one.centers_px)
        np.testing.assert_allclose(outlines.get_heights(), 2 * made.radius_px)
        assert outlines.get_facecolor().size == 0
        assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert axes[0].get_title() == "P: 20 spots, 2 µm/px"


def test_drawn_circles_have_their_true_size(made: SimpleNamespace) -> None:
    one = made.section()
    ax = stp.pl.alignment(one.sdata)[1]
    ax.figure.canvas.draw()
    (outlines,) = ax.collections
    unit_to_screen = outlines.get_transforms()[0] @ np.diag([1, 1, 0]) @ np.array([1, 0, 0])
    radius = outlines.get_transform().transform(unit_to_screen[:2]) - outlines.get_transform().transform((0, 0))
    expected = ax.transData.transform((made.radius_px, 0)) - ax.transData.transform((0, 0))
    np.testing.assert_allclose(radius, expected, atol=1e-9)


def test_rectangle_marks_the_enlarged_part(made: SimpleNamespace) -> None:
    axes = stp.pl.alignment(made.section().sdata)
    (frame,) = [patch for patch in axes[0].patches if isinstance(patch, Rectangle)]
    (left, right), (bottom, top) = axes[1].get_xlim(), axes[1].get_ylim()
    np.testing.assert_allclose(frame.get_bbox().extents, (left, top, right, bottom))
    (x0, x1), (y1, y0) = axes[0].get_xlim(), axes[0].get_ylim()
    assert x0 <= left < right <= x1 and y0 <= top < bottom <= y1
    for ax in axes:
        image = ax.get_images()[0]
        west, east, south, north = image.get_extent()
        (x0, x1), (y1, y0) = ax.get_xlim(), ax.get_ylim()
        assert west <= x0 < x1 <= east and north <= y0 < y1 <= south


def test_unknown_scale_is_said(made: SimpleNamespace) -> None:
    axes = stp.pl.alignment(made.section(um_per_px=None).sdata)
    assert axes[0].get_title() == "P: 20 spots, scale unknown"
    bars = [artist.txt_label.get_text() for ax in axes for artist in ax.artists if isinstance(artist, AnchoredSizeBar)]
    assert [label.split()[1] for label in bars] == ["px", "px"]


def test_counts_are_not_needed(made: SimpleNamespace) -> None:
    one = made.section()
    one.sdata["table"].X.data[:] = -1.5
    assert len(stp.pl.alignment(one.sdata)) == 2


def test_axes_of_the_user_are_drawn_on(made: SimpleNamespace) -> None:
    figure, given = plt.subplots(2, 1)
    axes = stp.pl.alignment(made.section().sdata, axes=given)
    assert list(axes) == list(given)
    assert plt.get_fignums() == [figure.number]


def test_what_cannot_be_drawn(made: SimpleNamespace) -> None:
    with pytest.raises(stp.InputError, match="there is no image 'he'"):
        stp.pl.alignment(made.section().sdata, image_key="he")
    with pytest.raises(stp.InputError, match="sdata is {"):
        stp.pl.alignment({})
    figure, ax = plt.subplots()
    with pytest.raises(stp.InputError, match="1 axes were given for 2 panels"):
        stp.pl.alignment(made.section().sdata, axes=ax)
    plt.close(figure)
    assert plt.get_fignums() == []


def on_several_figures() -> list[Any]:
    return [plt.figure().add_subplot(), plt.figure().add_subplot()]


def one_removed() -> list[Any]:
    axes = plt.subplots(1, 2)[1]
    axes[1].remove()
    return list(axes)


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (lambda: [plt.figure().add_subplot()] * 2, "the same axes were given for several panels"),
        (lambda: [plt.figure().add_subplot(projection="3d")] * 2, "axes[0] has the projection '3d'"),
        (lambda: plt.subplots(1, 2, subplot_kw={"projection": "polar"})[1], "axes[0] has the projection 'polar'"),
        (one_removed, "axes[1] was removed from its figure"),
        (on_several_figures, "the axes lie on several figures, of which one would be saved"),
    ],
)
def test_axes_that_cannot_be_drawn_on(made: SimpleNamespace, axes: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(stp.InputError) as error:
        stp.pl.alignment(made.section().sdata, axes=axes(), save=tmp_path / "a.png")
    assert str(error.value) == (
        f"{said}\n  where:    axes\n  expected: 1 row of 2\n"
        "  remedy:   fig, axes = matplotlib.pyplot.subplots(1, 2), or leave axes out"
    )
    assert list(tmp_path.iterdir()) == []


def test_axes_on_several_figures_are_drawn_on_where_none_is_saved(made: SimpleNamespace) -> None:
    given = on_several_figures()
    assert list(stp.pl.alignment(made.section().sdata, axes=given)) == given
