"""A synthetic section as Xenium and Visium HD would give it, in the elements that spatialdata-io's readers make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict.core.pooling import count_points
from st_predict.datasets._tissue import BACKGROUND, GRID_UM, radii_um

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict.datasets._synthetic import Ground
    from st_predict.datasets._transcripts import Transcripts

_XENIUM_UM_PER_PX = 0.2125  # of its morphology images, whose px its "global" system is in
_QUALITY = 20.0  # of the transcripts that its own table of cells counts
_BINS_UM = (8, 16)
_HIRES_PX = 600


class Placing(NamedTuple):
    """How the H&E image lies against the transcripts: it was scanned on another machine."""

    turn: float
    """Radians."""
    shift_um: NDArray[np.float64]

    def to_run_um(self, at_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places on the image ``(n, 2)`` in um as places in the run."""
        return at_um @ self.rotation.T + self.shift_um

    @property
    def rotation(self) -> NDArray[np.float64]:
        """``(2, 2)``."""
        return np.array([[np.cos(self.turn), -np.sin(self.turn)], [np.sin(self.turn), np.cos(self.turn)]])


def draw_placing(rng: np.random.Generator, size_um: float) -> Placing:
    """Draw how an image was laid: up to 12 degrees aslant, upside down or not, somewhere else."""
    turn = np.deg2rad(rng.uniform(-12, 12)) + np.pi * rng.integers(2)
    return Placing(float(turn), size_um + rng.uniform(0, 0.3 * size_um, size=2))


def as_xenium(
    ground: Ground, drawn: Transcripts, placing: Placing, *, subject: str, section: str, um_per_px: float
) -> SpatialData:
    """``points["transcripts"]`` and ``shapes["cell_circles"]`` in um, a table of cells, the H&E image placed by an affine."""
    import pandas as pd
    from geopandas import GeoDataFrame, points_from_xy
    from spatialdata import SpatialData
    from spatialdata.models import PointsModel, ShapesModel
    from spatialdata.transformations import Affine, Scale

    ids = np.array([f"c{number:06d}-1" for number in range(len(ground.cells.kind))])
    at = placing.to_run_um(drawn.at_um)
    points = pd.DataFrame(
        {
            "x": at[:, 0],
            "y": at[:, 1],
            "feature_name": pd.Categorical.from_codes(drawn.feature, categories=drawn.features),
            "cell_id": pd.Categorical(np.append(ids, "UNASSIGNED")[drawn.cell]),
            "qv": drawn.quality,
        }
    )
    in_um = {"global": Scale([1 / _XENIUM_UM_PER_PX] * 2, axes=("x", "y"))}
    matrix = np.eye(3)
    matrix[:2, :2] = placing.rotation * um_per_px / _XENIUM_UM_PER_PX
    matrix[:2, 2] = placing.shift_um / _XENIUM_UM_PER_PX
    centers = placing.to_run_um(ground.cells.centers_um)
    circles = GeoDataFrame({"radius": radii_um(ground.cells)}, geometry=points_from_xy(*centers.T), index=pd.Index(ids))
    good = (drawn.cell >= 0) & (drawn.quality >= _QUALITY)
    counts = _count(drawn.cell[good], drawn, good, len(ids))
    obs = pd.DataFrame({"cell_id": ids}, index=ids)
    return SpatialData(
        images={"he_image": _image(ground.image, {"global": Affine(matrix, input_axes=("x", "y"), output_axes=("x", "y"))})},
        points={
            "transcripts": PointsModel.parse(
                points, coordinates={"x": "x", "y": "y"}, feature_key="feature_name", instance_key="cell_id",
                transformations=in_um,
            )
        },
        shapes={"cell_circles": ShapesModel.parse(circles, transformations=in_um)},
        tables={"table": _table(counts, drawn, obs, centers, "cell_circles", "cell_id", section, subject)},
        attrs={"st_predict": {"um_per_px": {"he_image": um_per_px}}},
    )  # fmt: skip


def as_visium_hd(ground: Ground, drawn: Transcripts, *, subject: str, section: str, um_per_px: float) -> SpatialData:
    """Square bins of 8 and of 16 um on tissue, a table each, the H&E image in full and reduced."""
    import pandas as pd
    from geopandas import GeoDataFrame
    from PIL import Image
    from shapely import box
    from spatialdata import SpatialData
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity, Scale

    full, hires = f"{section}_full_image", f"{section}_hires_image"
    size_px = len(ground.image)
    share = min(1.0, _HIRES_PX / size_px)
    reduced = np.asarray(Image.fromarray(ground.image).resize((round(size_px * share),) * 2))
    systems = {section: Identity(), f"{section}_downscaled_hires": Scale([share] * 2, axes=("x", "y"))}
    back = {section: Scale([size_px / len(reduced)] * 2, axes=("x", "y")), f"{section}_downscaled_hires": Identity()}
    shapes, tables = {}, {}
    for side_um in _BINS_UM:
        name, region = f"square_{side_um:03d}um", f"{section}_square_{side_um:03d}um"
        rows, cols, number = _bins(drawn, side_um, size_px * um_per_px, ground)
        corner = np.column_stack([cols, rows]) * side_um / um_per_px
        squares = box(*corner.T, *(corner + side_um / um_per_px).T)
        shapes[region] = ShapesModel.parse(GeoDataFrame(geometry=squares), transformations=systems)
        obs = pd.DataFrame(
            {"in_tissue": 1, "array_row": rows, "array_col": cols, "location_id": np.arange(len(rows))},
            index=[f"s_{side_um:03d}um_{row:05d}_{col:05d}-1" for row, col in zip(rows, cols, strict=True)],
        )  # fmt: skip
        counts = _count(number, drawn, np.ones(len(number), bool), len(rows))
        at = corner + side_um / um_per_px / 2
        tables[name] = _table(counts, drawn, obs, at, region, "location_id", section, subject)
    images = {full: _image(ground.image, systems), hires: _image(reduced, back)}
    return SpatialData(images=images, shapes=shapes, tables=tables)


def _bins(
    drawn: Transcripts, side_um: int, size_um: float, ground: Ground
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the bins on tissue ``(n_bins,)``, and the bin of each transcript ``(n,)``; -1 where in none."""
    n_side = int(size_um // side_um)
    middle = ((np.arange(n_side) + 0.5) * side_um / GRID_UM).astype(int)
    tissue = ground.tissue.region[np.ix_(middle, middle)] != BACKGROUND
    numbers = np.full(tissue.shape, -1)
    numbers[tissue] = np.arange(tissue.sum())
    col, row = (np.floor(drawn.at_um / side_um)).astype(np.int64).T
    within = (row >= 0) & (row < n_side) & (col >= 0) & (col < n_side)
    number = np.where(within, numbers[np.where(within, row, 0), np.where(within, col, 0)], -1)
    rows, cols = np.nonzero(tissue)
    return rows, cols, number


def _count(number: NDArray[np.int64], drawn: Transcripts, kept: NDArray[np.bool_], n: int) -> Any:
    return count_points(number, drawn.feature[kept], n_spots=n, n_features=len(drawn.features))


def _table(
    counts: Any,
    drawn: Transcripts,
    obs: pd.DataFrame,
    at: NDArray[np.float64],
    region: str,
    instance: str,
    section: str,
    subject: str,
) -> Any:
    """Counts of genes as float32, as 10x's matrices are read."""
    import pandas as pd
    from anndata import AnnData
    from spatialdata.models import TableModel

    obs["region"] = pd.Categorical([region] * len(obs))
    obs["section"], obs["subject"] = pd.Categorical([section] * len(obs)), pd.Categorical([subject] * len(obs))
    n_genes = sum(not name.startswith(("Neg", "Unassigned")) for name in drawn.features)
    table = AnnData(
        counts[:, :n_genes].astype(np.float32), obs=obs, var=pd.DataFrame(index=drawn.features[:n_genes].astype(object)),
        obsm={"spatial": at},
    )  # fmt: skip
    return TableModel.parse(table, region=region, region_key="region", instance_key=instance)


def _image(pixels: NDArray[np.uint8], systems: dict[str, Any]) -> Any:
    from spatialdata.models import Image2DModel

    return Image2DModel.parse(
        np.moveaxis(pixels, -1, 0), dims=("c", "y", "x"), c_coords=["r", "g", "b"], transformations=systems
    )
