"""A section whose spots, rows, px and coordinates are all in different orders and frames, with a known prediction."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

WIDTH, HEIGHT = 900, 600
GENES = ["Actb", "Mbp", "Gapdh", "Snap25"]
PANEL = ["Snap25", "Actb", "Mbp"]  # not in the order of the table, and not all of it
UM_PER_PX = 2.0
RADIUS_PX = 14.0


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    """Start without figures, whatever ran before in this process, and leave none behind."""
    from matplotlib import pyplot as plt

    plt.close("all")
    yield
    plt.close("all")


def pixels() -> np.ndarray:
    """``(3, height, width)``: red grows to the right, green downward."""
    image = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    image[0] = np.linspace(0, 255, WIDTH).astype(np.uint8)[None, :]
    image[1] = np.linspace(0, 255, HEIGHT).astype(np.uint8)[:, None]
    return image


def make_section(
    *,
    measured: bool = True,
    um_per_px: float | None = UM_PER_PX,
    bins: bool = False,
    scale_factors: list[int] | None = None,
    seed: int = 0,
) -> SimpleNamespace:
    """A section of 5 x 4 spots, right of and below the middle of its image, and the truth it was made from.

    Shapes lie in a frame of half the image's resolution, and the table names them in another order.
    """
    import dask.array as da
    import geopandas as gpd
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix
    from shapely import box
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    from st_predict._spatialdata.keys import Placed
    from st_predict._spatialdata.prediction import Prediction
    from st_predict._spatialdata.write import write_prediction

    rng = np.random.default_rng(seed)
    centers = np.array([(400.0 + 90 * x, 260.0 + 80 * y) for y in range(4) for x in range(5)])
    order = rng.permutation(len(centers))
    index = 100 + np.arange(len(centers))
    to_image = {"global": Scale([2.0, 2.0], axes=("x", "y"))}
    if bins:
        corners = np.hstack([centers - RADIUS_PX, centers + RADIUS_PX]) / 2
        frame = gpd.GeoDataFrame({"geometry": [box(*corner) for corner in corners]}, index=index)
        shapes = ShapesModel.parse(frame, transformations=to_image)
    else:
        shapes = ShapesModel.parse(centers / 2, geometry=0, radius=RADIUS_PX / 2, index=index, transformations=to_image)
    image = Image2DModel.parse(
        da.from_array(pixels(), chunks=(3, 256, 256)),
        dims=("c", "y", "x"),
        c_coords=["r", "g", "b"],
        transformations={"global": Identity()},
        scale_factors=scale_factors,
    )
    counts = rng.poisson([[40.0, 5.0, 900.0, 15.0]] * len(centers)).astype(np.float32)
    counts[3] = [1, 0, 2, 0]  # a spot with next to nothing
    sdata = SpatialData(images={"P_image": image}, shapes={"P": shapes})
    if um_per_px is not None:
        sdata.attrs["st_predict"] = {"um_per_px": {"P_image": um_per_px}}
    rows = order if measured else np.arange(len(centers))
    if measured:
        obs = pd.DataFrame(
            {"region": pd.Categorical(["P"] * len(order)), "instance_id": index[order]}, index=[f"s{i}" for i in order]
        )
        table = AnnData(csr_matrix(counts[order]), obs=obs, var=pd.DataFrame(index=GENES))
        sdata["table"] = TableModel.parse(table, region="P", region_key="region", instance_key="instance_id")
    predicted = rng.normal(3, 0.5, (len(centers), len(PANEL))).astype(np.float32)[rows]
    provenance = {"panel": PANEL, "min_counts": 500.0, "method": "ridge", "encoder": "tiny"}
    placed = Placed("P_image", "P", "table" if measured else None)
    unknown = pd.DataFrame(
        np.nan, PANEL, ["expected_pcc", "pcc_sd", "ceiling", "chance", "predictable", "expected_for"]
    )
    made = Prediction(predicted, predicted[:, 0], None, provenance)
    write_prediction(sdata, placed, "predicted", made, unknown, centers[rows])
    return SimpleNamespace(
        sdata=sdata, centers_px=centers[rows], counts=counts[rows], predicted=predicted, few=int(np.argmax(rows == 3))
    )


@pytest.fixture
def made() -> SimpleNamespace:
    """The maker of sections and what it makes them from."""
    return SimpleNamespace(
        section=make_section, genes=GENES, panel=PANEL, um_per_px=UM_PER_PX, radius_px=RADIUS_PX, pixels=pixels()
    )
