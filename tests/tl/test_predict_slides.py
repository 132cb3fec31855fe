"""Predictions on bare slides: a grid of their own, the same numbers whatever the format."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import spatialdata
import tifffile
import zarr
from PIL import Image
from spatialdata import SpatialData

import st_predict as stp
from st_predict.core.errors import InputError
from st_predict.core.grid import array_layout
from st_predict.core.methods.interface import Needs
from st_predict.core.model.model import Model
from st_predict.tl._remarks import compare_layout

UM, HEIGHT, WIDTH = 2.0, 900, 1200


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A round piece of tissue of smoothly changing stain on glass."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    stain = 0.5 + 0.25 * np.sin(x / 90) + 0.25 * np.cos(y / 70)
    tissue = np.stack([225 - 90 * stain, 150 - 80 * stain, 190 - 40 * stain], axis=-1)
    inside = ((x - 620) ** 2 / 1.4 + (y - 450) ** 2 < 340**2)[..., None]
    noise = np.random.default_rng(0).normal(0, 2, (HEIGHT, WIDTH, 3))
    return np.clip(np.where(inside, tissue, 244) + noise, 0, 255).astype(np.uint8)


def halved(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)


def written(kind: str, folder: Path, pixels: np.ndarray) -> SpatialData:
    path = folder / f"slide.{kind}"
    if kind == "png":
        Image.fromarray(pixels).save(path)
    elif kind == "jpg":
        Image.fromarray(pixels).save(path, quality=97, subsampling=0)
    elif kind in ("tif", "ome.tif"):
        tiled = {"tile": (128, 128), "compression": "zlib", "photometric": "rgb"}
        with tifffile.TiffWriter(path, ome=kind == "ome.tif") as file:
            file.write(pixels, subifds=1, **tiled)
            file.write(halved(pixels), subfiletype=1, **tiled)
    else:
        group = zarr.open_group(str(path), mode="w")
        for i, level in enumerate((pixels, halved(pixels))):
            values = np.ascontiguousarray(level.transpose(2, 0, 1))
            group.create_array(str(i), data=values, chunks=(3, 200, 300))
        axes = [{"name": name} for name in "cyx"]
        datasets: list[dict[str, Any]] = [{"path": str(i), "coordinateTransformations": []} for i in range(2)]
        group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    return stp.io.slide(path, um_per_px=UM)


def test_a_bare_slide_gets_a_grid_at_the_pitch_of_training(
    pixels: np.ndarray, tmp_path: Path, quick_model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    assert quick_model.pitch_um == pytest.approx(96.0)
    sdata = written("tif", tmp_path, pixels)
    stp.tl.predict(sdata, quick_model)
    spots, table = sdata.shapes["spots"], sdata.tables["predicted"]
    centers = np.column_stack([spots.geometry.x, spots.geometry.y])
    apart = np.linalg.norm(centers[:, None] - centers, axis=2)
    assert np.median(np.sort(apart, axis=1)[:, 1]) * UM == pytest.approx(96.0)
    assert "lie on the tissue, 96 um apart" in caplog.text and "surroundings" not in caplog.text
    assert table.n_obs == len(spots) > 50 and list(table.var_names) == quick_model.panel
    np.testing.assert_allclose(table.obsm["spatial"], centers)
    assert table.uns["predicted"]["um_per_px"] == UM
    assert np.isfinite(table.X).all() and table.X.std(axis=0).max() > 0


@pytest.mark.one_python
@pytest.mark.parametrize(("known", "laid"), [("square", "square"), ("hex", "hex"), (None, "hex")])
def test_a_laid_grid_has_the_layout_of_training(
    known: str | None,
    laid: str,
    pixels: np.ndarray,
    tmp_path: Path,
    quick_model: Model,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A model that does not know it, as of sections of both, takes a Visium array."""
    assert quick_model.layout == "square"
    sdata = written("tif", tmp_path, pixels)
    stp.tl.predict(sdata, dataclasses.replace(quick_model, layout=known))
    spots = sdata.shapes["spots"]
    assert array_layout(np.column_stack([spots.geometry.x, spots.geometry.y])) == laid
    assert f"96 um apart (layout {laid!r})" in caplog.text and "surroundings" not in caplog.text


@pytest.mark.one_python
def test_another_layout_is_said_where_it_matters(
    pixels: np.ndarray, tmp_path: Path, quick_model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    sdata = written("tif", tmp_path, pixels)
    stp.pp.spot_grid(sdata, pitch_um=96, layout="hex")
    stp.tl.predict(sdata, quick_model)
    assert (
        "spots lie in a hexagonal array, in training in a square one: the surroundings that nh2st looks at are not those "
        "it was trained on; lay a grid with layout='square'" in caplog.text
    )
    caplog.clear()
    inputs = dataclasses.replace(quick_model.recipe.inputs, context=())
    section = SimpleNamespace(centers_px=np.array([[p.x, p.y] for p in sdata.shapes["spots"].geometry]))
    for model in (
        dataclasses.replace(quick_model, layout=None),
        dataclasses.replace(
            quick_model,
            transform=SimpleNamespace(config=inputs, arrays={}),
            network=SimpleNamespace(needs=Needs(neighbors=0)),
        ),
    ):
        compare_layout(model, section)
    assert caplog.text == ""


@pytest.mark.parametrize("kind", ["jpg", "tif", "ome.tif", "ome.zarr"])
def test_every_format_gives_the_same_prediction(
    kind: str, pixels: np.ndarray, tmp_path: Path, quick_model: Model
) -> None:
    slides = [written(name, tmp_path, pixels) for name in ("png", kind)]
    stp.pp.spot_grid(slides[0], pitch_um=96)
    slides[1].shapes["spots"] = slides[0].shapes["spots"]
    expected, found = (predicted(sdata, quick_model) for sdata in slides)
    assert np.abs(found - expected).max() < 0.1 * expected.std()


def predicted(sdata: SpatialData, model: Model) -> np.ndarray:
    stp.tl.predict(sdata, model)
    return sdata.tables["predicted"].X


def test_a_slide_is_predicted_as_the_section_it_is(make_section: Any, tmp_path: Path, quick_model: Model) -> None:
    section = make_section("C", 2)
    stp.tl.predict(section, quick_model)
    image = section.images["C_image"].transpose("y", "x", "c").to_numpy()
    Image.fromarray(image).save(tmp_path / "C.png")
    slide = stp.io.slide(tmp_path / "C.png", um_per_px=4.0)
    slide.shapes["spots"] = section.shapes["C"]
    np.testing.assert_array_equal(predicted(slide, quick_model), section["table"].obsm["predicted"].to_numpy())


@pytest.mark.one_python
def test_another_pitch_is_said_where_it_matters(
    pixels: np.ndarray, tmp_path: Path, quick_model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    sdata = written("tif", tmp_path, pixels)
    stp.pp.spot_grid(sdata, pitch_um=70)
    stp.tl.predict(sdata, quick_model)
    assert "spots lie 70 um apart, in training 96 um" in caplog.text
    caplog.clear()
    inputs = dataclasses.replace(quick_model.transform.config, context=())
    network = SimpleNamespace(needs=Needs())
    alone = dataclasses.replace(quick_model, transform=SimpleNamespace(config=inputs, arrays={}), network=network)
    assert quick_model.looks_around and not alone.looks_around


@pytest.mark.one_python
def test_the_default_sees_nothing_around_a_spot(
    pixels: np.ndarray, tmp_path: Path, make_section: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its neighbors are for training, so that the pitch of a grid changes nothing, and nothing is said of it."""
    model = stp.tl.train(
        [make_section("A", 0), make_section("B", 1)], encoder="tiny", genes=10, max_epochs=1, batch_size=16
    )
    assert model.network.needs.neighbors == 8 and not model.looks_around and model.reach == 0
    sdata = written("tif", tmp_path, pixels)
    stp.pp.spot_grid(sdata, pitch_um=70)
    stp.tl.predict(sdata, model)
    assert "apart, in training" not in caplog.text
    around = dataclasses.replace(model, network=SimpleNamespace(needs=Needs(neighbors=8)))
    assert around.looks_around and around.reach == 8


def test_cells_of_a_geojson_or_a_table_are_predicted_in_their_places(
    pixels: np.ndarray, tmp_path: Path, quick_model: Model
) -> None:
    import geopandas
    import shapely
    from spatialdata.models import ShapesModel

    centers = np.random.default_rng(0).uniform([420, 300], [800, 600], (40, 2))
    cells = [
        {"type": "Feature", "geometry": shapely.geometry.mapping(shapely.Point(*xy).buffer(5)), "properties": {}}
        for xy in centers
    ]
    (tmp_path / "cells.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": cells}))
    outlined, listed = written("tif", tmp_path, pixels), written("tif", tmp_path, pixels)
    outlined.shapes["cells"] = ShapesModel.parse(geopandas.read_file(tmp_path / "cells.geojson"))
    listed.shapes["cells"] = ShapesModel.parse(centers, geometry=0, radius=5.0)
    found = []
    for slide in (outlined, listed):
        stp.tl.predict(slide, quick_model, shapes_key="cells")
        found.append(slide.tables["predicted"])
        np.testing.assert_allclose(found[-1].obsm["spatial"], centers, atol=1e-6)
    np.testing.assert_allclose(found[0].X, found[1].X, atol=1e-5)


@pytest.mark.one_python
@pytest.mark.parametrize("layout", ["hex", "square"])
def test_a_finer_grid_is_predicted_by_the_surroundings_of_training(
    pixels: np.ndarray, tmp_path: Path, make_section: Any, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    sections = [make_section("A", 0), make_section("B", 1)]
    # How much of a prediction is ridge's follows from the slide's mean, which a finer grid changes a little.
    model = stp.tl.train(
        sections,
        encoder="tiny",
        genes=10,
        max_epochs=2,
        batch_size=16,
        standardize="training",
        context=(8, 24),
        anchor=False,
    )
    caplog.clear()
    fine = written("tif", tmp_path, pixels)
    stp.pp.spot_grid(fine, pitch_um=48, layout=layout)
    stp.tl.predict(fine, model)
    assert "the grid is 2 times finer" in caplog.text and "apart, in training" not in caplog.text
    spots, values = fine.shapes["spots"], fine.tables["predicted"].to_df().to_numpy()
    col, row = spots["array_col"], spots["array_row"]
    mine = ((row % 2 == 1) & ((col - row) // 2 % 2 == 0)) if layout == "hex" else ((row % 2 == 1) & (col % 2 == 0))
    coarse = written("tif", tmp_path, pixels)
    coarse.shapes["spots"] = spots[mine.to_numpy()]
    stp.tl.predict(coarse, model)
    np.testing.assert_allclose(coarse.tables["predicted"].X, values[mine.to_numpy()], atol=1e-5)


def test_a_slide_without_scale_or_tissue_is_refused_before_any_tile(
    pixels: np.ndarray, tmp_path: Path, quick_model: Model, tile_count: SimpleNamespace
) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="the scale of image 'a_image' is unknown") as error:
        stp.tl.predict(stp.io.slide(tmp_path / "a.png"), quick_model)
    assert "um_per_px" in error.value.remedy
    Image.new("RGB", (900, 800), (244, 242, 245)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match="no tissue was found"):
        stp.tl.predict(stp.io.slide(tmp_path / "b.png", um_per_px=UM), quick_model)
    assert tile_count.tiles == 0


def test_a_predicted_slide_is_written_and_read(pixels: np.ndarray, tmp_path: Path, quick_model: Model) -> None:
    sdata = written("tif", tmp_path, pixels)
    stp.tl.predict(sdata, quick_model)
    sdata.write(tmp_path / "slide.zarr")
    again = spatialdata.read_zarr(tmp_path / "slide.zarr")
    np.testing.assert_array_equal(again["predicted"].X, sdata["predicted"].X)
    del again.tables["predicted"]
    found = predicted(again, quick_model)
    assert np.abs(found - sdata["predicted"].X).max() < 0.05 * found.std(), "its pyramid came back, and its spots"


def test_outlines_alone_are_no_spots(pixels: np.ndarray, tmp_path: Path, quick_model: Model, caplog: Any) -> None:
    sdata = written("tif", tmp_path, pixels)
    stp.pp.find_tissue(sdata)
    with caplog.at_level(logging.INFO, "st_predict"):
        stp.tl.predict(sdata, quick_model)
    assert len(sdata.tables["predicted"]) == len(sdata.shapes["spots"]) > len(sdata.shapes["tissue"])


def test_outlines_of_the_user_are_no_spots(pixels: np.ndarray, tmp_path: Path, quick_model: Model) -> None:
    import geopandas
    from shapely import Polygon
    from spatialdata.models import ShapesModel

    sdata = written("tif", tmp_path, pixels)
    lesion = geopandas.GeoDataFrame(geometry=[Polygon([(400, 300), (800, 300), (800, 600), (400, 600)])])
    sdata.shapes["lesion"] = ShapesModel.parse(lesion)
    stp.tl.predict(sdata, quick_model)
    assert sdata["predicted"].n_obs == len(sdata.shapes["spots"]) > 50
    assert set(sdata["predicted"].obs["region"]) == {"spots"}


@pytest.mark.one_python
def test_a_grid_of_another_scale_is_said(
    pixels: np.ndarray, tmp_path: Path, quick_model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    sdata = written("tif", tmp_path, pixels)
    stp.tl.predict(sdata, quick_model)
    assert "the spots of the grid were laid" not in caplog.text
    stp.pp.set_scale(sdata, um_per_px=3.0, image_key="slide_image")
    stp.tl.predict(sdata, quick_model)
    assert (
        "the spots of the grid were laid 96 um apart, but by the present scale of the image they are 144 um apart"
        in caplog.text
    )


SCVERSE = """
import sys
import numpy as np, scanpy as sc, spatialdata, squidpy as sq
table = spatialdata.read_zarr(sys.argv[1]).tables["predicted"]
sq.gr.spatial_neighbors(table, coord_type="grid", n_neighs=6)
inner = np.median(np.asarray(table.obsp["spatial_connectivities"].sum(axis=1)))
sq.gr.spatial_autocorr(table, mode="moran", genes=list(table.var_names))
sc.pp.neighbors(table, use_rep="X")
sc.tl.leiden(table, flavor="igraph", n_iterations=2, directed=False)
print()
print(inner, table.uns["moranI"]["I"].max(), table.obs["leiden"].nunique())
"""


def test_squidpy_and_scanpy_run_on_the_result(pixels: np.ndarray, tmp_path: Path, quick_model: Model) -> None:
    """In a process of their own: what they load changes the last bits of what is computed after them."""
    sdata = written("tif", tmp_path, pixels)
    stp.pp.spot_grid(sdata, pitch_um=96, layout="hex")
    stp.tl.predict(sdata, quick_model)
    sdata.write(tmp_path / "predicted.zarr")
    command = [sys.executable, "-W", "ignore", "-c", SCVERSE, str(tmp_path / "predicted.zarr")]
    interpreted = {**os.environ, "NUMBA_DISABLE_JIT": "1"}  # compiling takes half a minute, and few spots no time
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=interpreted)
    inner, moran, n_clusters = map(float, done.stdout.splitlines()[-1].split())
    assert inner == 6, "spots lie on hexagons"
    assert moran > 0.5, "what is predicted from smooth stain is smooth"
    assert n_clusters > 1


@pytest.mark.parametrize(
    ("um_per_px", "said"), [(0.4, "10.0 times finer"), (0.25, "16.0 times finer"), (13.0, "3.2 times coarser")]
)
def test_a_scale_far_from_training_is_said_before_any_work(
    um_per_px: float, said: str, pixels: np.ndarray, quick_model: Model, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from st_predict._spatialdata import slide as slide_module

    class Begun(Exception):
        pass

    def work(*_: Any, **__: Any) -> None:
        raise Begun

    monkeypatch.setattr(slide_module, "add_tissue", work)
    sdata = slide_of(pixels, um_per_px)
    with pytest.raises(Begun):
        stp.tl.predict(sdata, quick_model)
    assert (
        f"slide has {um_per_px:.2g} um/px by its file or by your setting, {said} than the 4 of training" in caplog.text
    )


@pytest.mark.parametrize("um_per_px", [1.5, 4.0, 5.5])
def test_a_scale_near_that_of_training_is_not_said(
    um_per_px: float, pixels: np.ndarray, quick_model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    from st_predict.tl._prediction import check_bare

    check_bare(slide_of(pixels, um_per_px), quick_model, None)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("um_per_px", "said"), [(0.05, "would be 2240 px wide, the image is 1200 x 900 px"), (45.0, "would be 2 px wide")]
)
def test_tile_sides_are_checked_before_a_grid_is_laid(
    um_per_px: float, said: str, pixels: np.ndarray, quick_model: Model
) -> None:
    sdata = slide_of(pixels, um_per_px)
    with pytest.raises(InputError, match=said):
        stp.tl.predict(sdata, quick_model)
    assert not list(sdata.shapes), "nothing was looked for"


def slide_of(pixels: np.ndarray, um_per_px: float) -> SpatialData:
    from spatialdata.models import Image2DModel

    image = Image2DModel.parse(pixels.transpose(2, 0, 1), dims=("c", "y", "x"))
    return SpatialData(images={"slide_image": image}, attrs={"st_predict": {"um_per_px": {"slide_image": um_per_px}}})
