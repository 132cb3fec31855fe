"""A section as an AnnData: what scanpy and squidpy look for is there, and it reads back to the same section."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from anndata import AnnData
from spatialdata import SpatialData
from spatialdata.transformations import Scale, set_transformation

import st_predict as stp
from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.read import read_section
from st_predict.core.errors import InputError
from st_predict.core.model.model import Model

PLOTS = """
import sys
import matplotlib
matplotlib.use("agg")
import anndata, scanpy as sc, squidpy as sq
from matplotlib import pyplot as plt
adata = anndata.read_h5ad(sys.argv[1])
gene = adata.var_names[0]
sq.pl.spatial_scatter(adata, color=gene, layer="predicted", library_id="A")
shown = plt.gca().images[0].get_array().shape
axes, = sc.pl.spatial(adata, color=gene, layer="predicted", show=False)
print()
print(*shown[:2], *axes.images[0].get_array().shape[:2])
"""


def test_it_reads_back_to_the_same_section(make_section: Callable[..., SpatialData]) -> None:
    sdata = make_section("A", subject="P1")
    adata = stp.to_anndata(sdata)
    back = stp.io.anndata(adata)
    (before, _), (after, _) = (read_section(one, Elements(), need_counts=True) for one in (sdata, back))
    assert (after.name, after.subject, after.um_per_px) == (before.name, before.subject, before.um_per_px)
    np.testing.assert_allclose(after.centers_px, before.centers_px)
    np.testing.assert_array_equal(after.counts.toarray(), before.counts.toarray())
    np.testing.assert_array_equal(back.images["A_image"].to_numpy(), sdata.images["A_image"].to_numpy())
    np.testing.assert_allclose(back.shapes["A"].radius, sdata.shapes["A"].radius)
    assert "library_id" not in sdata.tables["table"].obs, "the section given is changed"


def test_images_are_reduced_and_say_by_how_much(tmp_path: Path, make_section: Callable[..., SpatialData]) -> None:
    pixels = np.zeros((900, 4500, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, 4500).astype(np.uint8)
    tifffile.imwrite(tmp_path / "wide.tif", pixels, photometric="rgb", tile=(256, 256), compression="zlib")
    sdata = make_section("A")
    sdata.images["A_image"] = stp.io.slide(tmp_path / "wide.tif").images["wide_image"]
    adata = stp.to_anndata(sdata)
    found = adata.uns["spatial"]["A"]
    assert found["images"]["hires"].shape == (450, 2250, 3) and found["scalefactors"]["tissue_hires_scalef"] == 0.5
    assert found["images"]["lowres"].shape == (129, 643, 3)
    assert found["scalefactors"]["tissue_lowres_scalef"] == pytest.approx(1 / 7)
    np.testing.assert_allclose(found["images"]["lowres"][0, :, 0], pixels[0, 3:4501:7, 0], atol=1)


def test_positions_are_those_on_the_image(make_section: Callable[..., SpatialData]) -> None:
    sdata = make_section("A")
    places = sdata.tables["table"].obsm["spatial"].copy()
    set_transformation(sdata.shapes["A"], Scale([0.5, 0.5], axes=("x", "y")))
    adata = stp.to_anndata(sdata)
    np.testing.assert_allclose(adata.obsm["spatial"], places / 2)
    assert adata.uns["spatial"]["A"]["scalefactors"]["spot_diameter_fullres"] == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda table: table.obs.__setitem__("library_id", "mine"), "obs['library_id']"),
        (lambda table: table.uns.__setitem__("spatial", {"mine": 1}), "uns['spatial']"),
        (lambda table: table.obsm.__setitem__("spatial", table.obsm["spatial"] * 2), "obsm['spatial']"),
    ],
    ids=["column", "images", "places"],
)
def test_what_is_replaced_is_said(
    make_section: Callable[..., SpatialData],
    caplog: pytest.LogCaptureFixture,
    change: Callable[[AnnData], None],
    place: str,
) -> None:
    sdata = make_section("A")
    stp.to_anndata(sdata)
    sdata.tables["table"].obs["library_id"] = "A"
    stp.to_anndata(sdata)
    assert not caplog.text
    change(sdata.tables["table"])
    stp.to_anndata(sdata)
    assert f"{place} of table 'table' hold other values in the copy, those of section 'A'" in caplog.text


def test_spots_of_one_name_or_no_size_are_refused(make_section: Callable[..., SpatialData]) -> None:
    sdata = make_section("A")
    sdata.tables["table"].obs_names = ["a"] * sdata.tables["table"].n_obs
    with pytest.raises(InputError, match="1 spot ids occur twice, for example 'a'"):
        stp.to_anndata(sdata)
    sdata = make_section("A")
    sdata.shapes["A"]["radius"] = np.nan
    with pytest.raises(InputError, match="a circle of shapes 'A' has the radius"):
        stp.to_anndata(sdata)


def test_spots_on_glass_stay(make_section: Callable[..., SpatialData]) -> None:
    sdata = make_section("A")
    table = sdata.tables["table"]
    table.obs["in_tissue"] = np.arange(table.n_obs) > 3
    adata = stp.to_anndata(sdata)
    assert adata.n_obs == table.n_obs
    assert stp.io.anndata(adata).tables["table"].n_obs == table.n_obs - 4


def test_squidpy_and_scanpy_draw_a_prediction(
    tmp_path: Path, make_section: Callable[..., SpatialData], quick_model: Model
) -> None:
    """In a process of their own: they warn when they are imported."""
    sdata = make_section("A")
    stp.tl.predict(sdata, quick_model)
    adata = stp.to_anndata(sdata)
    np.testing.assert_array_equal(adata.obsm["predicted"], sdata.tables["table"].obsm["predicted"])
    adata.write_h5ad(tmp_path / "a.h5ad")
    command = [sys.executable, "-W", "ignore", "-c", PLOTS, str(tmp_path / "a.h5ad")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    height, width = sdata.images["A_image"].shape[1:]
    assert done.stdout.splitlines()[-1] == f"{height} {width} {height} {width}"


def test_a_prediction_on_a_bare_slide(make_section: Callable[..., SpatialData], quick_model: Model) -> None:
    sdata = make_section("A", table=False)
    with pytest.raises(InputError, match="there are 0 predictions and no measured table") as caught:
        stp.to_anndata(sdata)
    assert "st_predict.tl.predict(sdata)" in caught.value.remedy
    stp.tl.predict(sdata, quick_model)
    adata = stp.to_anndata(sdata)
    assert list(adata.var_names) == list(quick_model.panel) and list(adata.uns["spatial"]) == ["A"]
    stp.tl.predict(sdata, quick_model, key_added="again")
    with pytest.raises(InputError, match="there are 2 predictions and no measured table: predicted, again"):
        stp.to_anndata(sdata)
    assert stp.to_anndata(sdata, table_key="again").uns["again"]
