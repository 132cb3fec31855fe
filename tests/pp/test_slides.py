"""Tissue and grids on bare slides whose tissue is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import tifffile
from shapely import Point, Polygon
from spatialdata import SpatialData, read_zarr
from spatialdata.models import Image2DModel, ShapesModel
from spatialdata.transformations import Scale, get_transformation, set_transformation

import st_predict as stp
from st_predict.core.errors import InputError

UM = 4.0
HEIGHT, WIDTH = 1000, 1400  # 4 x 5.6 mm
GLASS, PINK, PURPLE = (243, 240, 244), (226, 150, 190), (120, 80, 150)


def glass() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(np.array(GLASS) + rng.normal(0, 2, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def disk(center: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2


def drawn(*, hole: float = 80, dust: bool = True) -> np.ndarray:
    """A large piece with a hole, a pale small one, dust, and four strokes of markers on glass."""
    pixels = glass()
    pixels[disk((450, 500), 300)] = PINK
    pixels[disk((380, 420), 60)] = PURPLE
    pixels[disk((520, 560), hole)] = GLASS
    pixels[disk((1100, 300), 110)] = (232, 204, 222)
    if dust:
        pixels[disk((1200, 800), 8)] = PURPLE
    for row, ink in zip((900, 930, 960), ((30, 120, 60), (30, 60, 180), (20, 20, 22)), strict=True):
        pixels[row : row + 20, 900:1300] = ink
    return pixels


def slide_of(pixels: np.ndarray, um_per_px: float | None = UM) -> SpatialData:
    image = Image2DModel.parse(pixels.transpose(2, 0, 1), dims=("c", "y", "x"), c_coords=["r", "g", "b"])
    return SpatialData(
        images={"slide": image}, attrs={"st_predict": {"um_per_px": {} if um_per_px is None else {"slide": um_per_px}}}
    )


@pytest.fixture
def slide() -> SpatialData:
    return slide_of(drawn())


@pytest.mark.parametrize("um_per_px", [UM, None])
def test_tissue_is_what_was_drawn(um_per_px: float | None) -> None:
    sdata = slide_of(drawn(), um_per_px)
    stp.pp.find_tissue(sdata)
    large, pale = sdata.shapes["tissue"].geometry
    for found, true in (
        (large, Point(450, 500).buffer(300).difference(Point(520, 560).buffer(80))),
        (pale, Point(1100, 300).buffer(110)),
    ):
        assert found.intersection(true).area / found.union(true).area > 0.93
    assert len(large.interiors) == 1 and not pale.interiors
    assert sdata.shapes["tissue"]["area_px"].tolist() == pytest.approx([large.area, pale.area])


def test_small_holes_are_filled_and_small_pieces_left_out() -> None:
    sdata = slide_of(drawn(hole=12))
    stp.pp.find_tissue(sdata)
    assert [len(p.interiors) for p in sdata.shapes["tissue"].geometry] == [0, 0]
    stp.pp.find_tissue(sdata, min_area_um2=np.pi * (150 * UM) ** 2)
    assert len(sdata.shapes["tissue"]) == 1, "an earlier result is replaced"


def test_outlines_lie_where_the_image_lies(slide: SpatialData) -> None:
    set_transformation(slide.images["slide"], Scale([UM, UM], axes=("y", "x")), "um")
    stp.pp.find_tissue(slide)
    stp.pp.spot_grid(slide)
    for name in ("tissue", "spots"):
        placed = get_transformation(slide.shapes[name], get_all=True)
        assert set(placed) == {"global", "um"} and isinstance(placed["um"], Scale)


def test_pyramids_give_the_same_outlines_as_their_finest_level(tmp_path: Path) -> None:
    pixels = drawn()
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        tiled = {"tile": (128, 128), "compression": "zlib", "photometric": "rgb"}
        file.write(pixels, subifds=1, **tiled)
        file.write(pixels.reshape(500, 2, 700, 2, 3).mean(axis=(1, 3)).astype(np.uint8), subfiletype=1, **tiled)
    pyramid, flat = stp.io.slide(tmp_path / "slide.tif", um_per_px=UM), slide_of(pixels)
    for sdata in (pyramid, flat):
        stp.pp.find_tissue(sdata)
    a, b = (list(sdata.shapes["tissue"].geometry) for sdata in (pyramid, flat))
    assert len(a) == len(b) == 2
    assert all(p.intersection(q).area / p.union(q).area > 0.97 for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (glass(), "no tissue was found"),
        (np.full((500, 500, 3), 255, np.uint8), "no tissue was found"),
        (np.where(disk((450, 500), 200)[..., None], (40, 200, 60), 8).astype(np.uint8), "has a dark background"),
    ],
)
def test_slides_without_tissue_are_refused(pixels: np.ndarray, said: str) -> None:
    sdata = slide_of(pixels)
    with pytest.raises(InputError, match=said):
        stp.pp.find_tissue(sdata)
    assert not list(sdata.shapes)


@pytest.mark.parametrize(("layout", "neighbors"), [("hex", 6), ("square", 4)])
def test_a_grid_has_its_pitch_and_lies_on_tissue(slide: SpatialData, layout: Any, neighbors: int) -> None:
    stp.pp.spot_grid(slide, pitch_um=80, diameter_um=40, layout=layout)
    spots, tissue = slide.shapes["spots"], slide.shapes["tissue"].union_all()
    assert (spots["radius"] == 40 / UM / 2).all()
    assert spots.geometry.within(tissue).all()
    area = np.sqrt(3) / 2 if layout == "hex" else 1.0
    assert len(spots) == pytest.approx(tissue.area / (area * (80 / UM) ** 2), rel=0.05)
    x, y = spots.geometry.x.to_numpy(), spots.geometry.y.to_numpy()
    inner = np.argmin((x - 300) ** 2 + (y - 600) ** 2)
    apart = np.sort(np.hypot(x - x[inner], y - y[inner]))
    np.testing.assert_allclose(apart[1 : neighbors + 1], 80 / UM)
    assert apart[neighbors + 1] > 1.3 * 80 / UM
    assert not spots.duplicated(["array_row", "array_col"]).any()


def test_a_grid_tells_its_scale_as_visium_does(slide: SpatialData) -> None:
    from st_predict.core.scale import row_pitch_um_per_px

    stp.pp.spot_grid(slide)
    spots = slide.shapes["spots"]
    centers = np.column_stack([spots.geometry.x, spots.geometry.y])
    row, col = spots["array_row"].to_numpy(float), spots["array_col"].to_numpy(float)
    assert row_pitch_um_per_px(row, col, centers) == pytest.approx(UM)
    assert ((spots["array_row"] + spots["array_col"]) % 2 == 0).all()


def test_own_outlines_are_taken(slide: SpatialData) -> None:
    mine = geopandas.GeoDataFrame(geometry=[Polygon([(100, 100), (500, 100), (500, 300), (100, 300)])])
    slide.shapes["lesion"] = ShapesModel.parse(mine)
    stp.pp.spot_grid(slide, tissue_key="lesion")
    assert slide.shapes["spots"].geometry.within(mine.geometry[0]).all() and "tissue" not in slide.shapes


def test_the_users_elements_are_not_overwritten(slide: SpatialData) -> None:
    stp.pp.spot_grid(slide)
    stp.pp.spot_grid(slide, pitch_um=200)  # its own may be replaced
    mine = geopandas.GeoDataFrame({"radius": [1.0]}, geometry=[Point(5, 5)])
    slide.shapes["mine"] = ShapesModel.parse(mine)
    for call in (stp.pp.find_tissue, stp.pp.spot_grid):
        with pytest.raises(InputError, match=r"sdata\['mine'\] is there already"):
            call(slide, key_added="mine")
        with pytest.raises(InputError, match="key_added is 'a/b'"):
            call(slide, key_added="a/b")
    assert len(slide.shapes["mine"]) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pitch_um": 0}, "pitch_um is 0"),
        ({"diameter_um": float("nan")}, "diameter_um is nan"),
        ({"layout": "round"}, "layout is 'round'"),
        ({"pitch_um": 50_000}, "a grid of 50000 um has no place on this slide, which is 5600 x 4000 um wide"),
        ({"image_key": "gone"}, "there is no image 'gone'"),
    ],
)
def test_bad_grids(slide: SpatialData, change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        stp.pp.spot_grid(slide, **change)
    assert "spots" not in slide.shapes


def test_a_grid_needs_a_scale() -> None:
    sdata = slide_of(drawn(), None)
    with pytest.raises(InputError, match="scale of image 'slide' is unknown") as error:
        stp.pp.spot_grid(sdata)
    assert "um_per_px" in error.value.remedy
    stp.pp.set_scale(sdata, um_per_px=UM)
    stp.pp.spot_grid(sdata)
    assert len(sdata.shapes["spots"]) > 100


def test_it_is_remembered_on_disk(slide: SpatialData, tmp_path: Path) -> None:
    stp.pp.spot_grid(slide)
    slide.write(tmp_path / "slide.zarr")
    again = read_zarr(tmp_path / "slide.zarr")
    stp.pp.spot_grid(again, pitch_um=300)
    assert len(again.shapes["spots"]) < len(slide.shapes["spots"])


def test_outlines_are_taken_from_where_they_were_drawn(slide: SpatialData) -> None:
    """On a thumbnail a tenth the size, or in um; crossing lines are mended."""
    square = Polygon([(20, 20), (60, 20), (60, 60), (20, 60)])
    bow = Polygon([(70, 20), (90, 40), (90, 20), (70, 40)])
    drawn_small = geopandas.GeoDataFrame(geometry=[square, bow])
    slide.shapes["lesion"] = ShapesModel.parse(
        drawn_small, transformations={"global": Scale([10, 10], axes=("y", "x"))}
    )
    stp.pp.spot_grid(slide, tissue_key="lesion")
    x, y = slide.shapes["spots"].geometry.x, slide.shapes["spots"].geometry.y
    assert ((x > 200) & (x < 900) & (y > 200) & (y < 600)).all() and len(x) > 100


def test_a_mistyped_tissue_is_not_found_anew(slide: SpatialData) -> None:
    stp.pp.find_tissue(slide)
    with pytest.raises(InputError, match="there are no shapes 'lesoin'") as error:
        stp.pp.spot_grid(slide, tissue_key="lesoin")
    assert "tissue" in error.value.expected and "lesoin" not in slide.shapes
