"""The anatomy of a synthetic section: its outline, its regions and where every cell lies, in micrometers.

Owns geometry only, as plain arrays. Knows nothing of stains and pixels (``_stain``), of genes (``_program``) or of SpatialData.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from st_predict.datasets._traits import Traits

CELL_TYPES = ("tumor", "lymphocyte", "fibroblast", "macrophage", "epithelial", "adipocyte")
REGIONS = ("background", "stroma", "tumor", "immune", "fat", "duct", "lumen")
BACKGROUND, STROMA, TUMOR, IMMUNE, FAT, DUCT, LUMEN = range(len(REGIONS))

GRID_UM = 3.0  # side of one cell of the coarse maps: finer than a nucleus, coarse enough to be cheap
FAT_WALL_UM = 3.5  # how far from the border between two fat cells their nuclei may lie

# Cells per square mm, regions (rows) by cell types (columns); the order is that of REGIONS and CELL_TYPES.
_DENSITY = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 250, 1500, 550, 0, 0],
        [5200, 250, 150, 300, 0, 0],
        [150, 12000, 500, 450, 0, 0],
        [0, 60, 40, 60, 0, 2600],
        [0, 150, 100, 100, 13000, 0],
        [0, 0, 0, 0, 0, 0],
    ],
    dtype=np.float64,
)
# Distance kept between two neighbors of one type: it sets how tightly that type can be packed.
_SPACING_UM = np.array([10.5, 6.6, 11.0, 14.0, 8.2, 14.0])
_RADIUS_UM = np.array([4.6, 2.9, 3.2, 3.8, 3.6, 2.6])
_TUMOR_CELL, _LYMPHOCYTE = CELL_TYPES.index("tumor"), CELL_TYPES.index("lymphocyte")


@dataclass(frozen=True)
class Tissue:
    """Coarse maps of one section, all ``(h, w)`` with square cells of `GRID_UM`.

    Parameters
    ----------
    region
        Index into `REGIONS`.
    along_um, across_um
        Coordinates along and across the collagen fibers.
    wall_um
        Distance to the wall between two fat cells; large outside fat.
    traits
        The subject's, which it was grown by.
    """

    region: NDArray[np.uint8]
    along_um: NDArray[np.float32]
    across_um: NDArray[np.float32]
    wall_um: NDArray[np.float32]
    traits: Traits


@dataclass(frozen=True)
class Cells:
    """Cells of one section: centers ``(n, 2)`` as x, y in um, index into `CELL_TYPES` ``(n,)``, fiber angle ``(n,)`` in radians."""

    centers_um: NDArray[np.float64]
    kind: NDArray[np.intp]
    angle: NDArray[np.float64]


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> NDArray[np.float32]:
    """Return a random field ``shape`` with mean 0 and deviation 1 that varies over about ``scale`` cells of the coarse map."""
    from PIL import Image

    height, width = shape
    knots = rng.standard_normal((int(height / scale) + 4, int(width / scale) + 4)).astype(np.float32)
    size = (int(knots.shape[1] * scale), int(knots.shape[0] * scale))
    field = np.asarray(Image.fromarray(knots).resize(size, Image.Resampling.BICUBIC))
    margin = int(scale)
    field = field[margin : margin + height, margin : margin + width]
    return (field - field.mean()) / field.std()


def grow_tissue(rng: np.random.Generator, size_um: float, traits: Traits) -> Tissue:
    """Grow the regions of one section.

    Parameters
    ----------
    rng
        Source of the shapes.
    size_um
        Side of the square that the section lies in.
    traits
        The subject's anatomy.
    """
    n = int(np.ceil(size_um / GRID_UM))
    shape = (n, n)
    y_um, x_um = (np.indices(shape, dtype=np.float32) + 0.5) * GRID_UM
    tissue = _outline(rng, x_um, y_um, size_um)
    heading = rng.uniform(0, 2 * np.pi)
    gradient = ((x_um - size_um / 2) * np.cos(heading) + (y_um - size_um / 2) * np.sin(heading)) / (0.3 * size_um)
    toward_tumor = gradient + 0.6 * smooth_field(rng, shape, 350 / GRID_UM)

    region = np.where(tissue, STROMA, BACKGROUND).astype(np.uint8)
    nests = smooth_field(rng, shape, traits.nest_um / GRID_UM) + traits.cohesion * toward_tumor
    _claim(region, TUMOR, nests, traits.tumor, tissue)
    infiltrate = smooth_field(rng, shape, 65 / GRID_UM) + 0.5 * toward_tumor
    _claim(region, IMMUNE, infiltrate, traits.immune, tissue & (region == STROMA))
    fatty = 0.5 * smooth_field(rng, shape, 90 / GRID_UM) - 1.5 * toward_tumor
    _claim(region, FAT, fatty, traits.fat, tissue & (region == STROMA))
    _carve_ducts(rng, region, x_um, y_um, tries=traits.ducts)
    clefts = smooth_field(rng, shape, 60 / GRID_UM) + 0.4 * smooth_field(rng, shape, 12 / GRID_UM)
    region[(clefts > 2.5) & tissue & (region != DUCT)] = BACKGROUND

    turn = rng.uniform(0, np.pi)
    along = x_um * np.cos(turn) + y_um * np.sin(turn) + 45 * smooth_field(rng, shape, 160 / GRID_UM)
    across = y_um * np.cos(turn) - x_um * np.sin(turn) + 55 * smooth_field(rng, shape, 130 / GRID_UM)
    return Tissue(region, along, across, _fat_walls(rng, region, x_um, y_um, size_um), traits)


def _outline(
    rng: np.random.Generator, x_um: NDArray[np.float32], y_um: NDArray[np.float32], size_um: float
) -> NDArray[np.bool_]:
    dx, dy = x_um - size_um * rng.uniform(0.47, 0.53), y_um - size_um * rng.uniform(0.47, 0.53)
    theta = np.arctan2(dy, dx)
    reach = np.full_like(theta, 0.42)
    for k in range(1, 6):
        reach += rng.uniform(0.015, 0.06) / k**0.4 * np.cos(k * theta + rng.uniform(0, 2 * np.pi), dtype=np.float32)
    ragged = 14 * smooth_field(rng, x_um.shape, 35 / GRID_UM) + 3 * smooth_field(rng, x_um.shape, 10 / GRID_UM)
    border_um = np.minimum(np.minimum(x_um, size_um - x_um), np.minimum(y_um, size_um - y_um))
    return (np.minimum(reach * size_um - np.hypot(dx, dy), border_um - 40) + ragged) > 0


def _claim(
    region: NDArray[np.uint8], label: int, score: NDArray[np.float32], share: float, allowed: NDArray[np.bool_]
) -> None:
    """Give the highest-scoring allowed cells to ``label`` until it holds ``share`` of the tissue."""
    wanted = share * int(np.count_nonzero(region)) / max(int(np.count_nonzero(allowed)), 1)
    threshold = np.quantile(score[allowed], max(1.0 - wanted, 0.0))
    region[allowed & (score > threshold)] = label


def _carve_ducts(
    rng: np.random.Generator,
    region: NDArray[np.uint8],
    x_um: NDArray[np.float32],
    y_um: NDArray[np.float32],
    *,
    tries: int,
) -> None:
    """Place ducts and acini (a ring of epithelium around a lumen) in lobules of the stroma."""
    wobble = smooth_field(rng, region.shape, 30 / GRID_UM)
    lobules = smooth_field(rng, region.shape, 170 / GRID_UM)
    free = np.argwhere((region == STROMA) & (lobules > 0.1))
    if len(free) == 0:
        return
    placed: list[tuple[float, float, float]] = []
    for row, col in free[rng.integers(len(free), size=tries)]:
        x0, y0, radius = x_um[row, col], y_um[row, col], rng.uniform(26, 52)
        if all(np.hypot(x0 - x, y0 - y) > radius + r + 8 for x, y, r in placed):
            placed.append((x0, y0, radius))
    for x0, y0, radius in placed:
        reach = int(radius * 1.5 / GRID_UM)
        row, col = int(y0 / GRID_UM), int(x0 / GRID_UM)
        window = (slice(max(row - reach, 0), row + reach), slice(max(col - reach, 0), col + reach))
        squash, tilt = rng.uniform(0.65, 1.0), rng.uniform(0, np.pi)
        dx, dy = x_um[window] - x0, y_um[window] - y0
        u, v = dx * np.cos(tilt) + dy * np.sin(tilt), dy * np.cos(tilt) - dx * np.sin(tilt)
        distance = np.hypot(u, v / squash) + 4 * wobble[window]
        room = np.isin(region[window], (STROMA, FAT, IMMUNE))
        region[window][room & (distance < radius)] = DUCT
        region[window][room & (distance < radius - 15)] = LUMEN


def _fat_walls(
    rng: np.random.Generator,
    region: NDArray[np.uint8],
    x_um: NDArray[np.float32],
    y_um: NDArray[np.float32],
    size_um: float,
) -> NDArray[np.float32]:
    """Distance to the nearest wall between fat cells (half the gap between the two nearest cell centers)."""
    from scipy.spatial import cKDTree

    seeds = _jittered_grid(rng, size_um, 46.0, jitter=0.28)
    wall = np.full(region.shape, 1e3, dtype=np.float32)
    fat = region == FAT
    if fat.any():
        nearest, _ = cKDTree(seeds).query(np.column_stack([x_um[fat], y_um[fat]]), k=2)
        wall[fat] = (nearest[:, 1] - nearest[:, 0]) / 2
    return wall


def _jittered_grid(
    rng: np.random.Generator, size_um: float, spacing_um: float, *, jitter: float
) -> NDArray[np.float64]:
    rows = np.arange(0, size_um, spacing_um * np.sqrt(3) / 2)
    cols = np.arange(0, size_um, spacing_um)
    y, x = np.meshgrid(rows, cols, indexing="ij")
    x = x + np.where(np.arange(len(rows)) % 2, spacing_um / 2, 0.0)[:, None]
    points = np.column_stack([x.ravel(), y.ravel()])
    return points + rng.normal(scale=jitter * spacing_um, size=points.shape)


def place_cells(rng: np.random.Generator, tissue: Tissue, size_um: float) -> Cells:
    """Fill the regions with cells of each type at that type's density; no two cells overlap.

    Parameters
    ----------
    rng
        Source of the places.
    tissue
        The regions.
    size_um
        Side of the square that the section lies in.
    """
    shape = tissue.region.shape
    density_of, radius_um = _DENSITY.copy(), _RADIUS_UM.copy()
    density_of[TUMOR, _TUMOR_CELL] *= tissue.traits.cellularity
    density_of[np.arange(len(REGIONS)) != IMMUNE, _LYMPHOCYTE] *= tissue.traits.lymphocytes
    radius_um[_TUMOR_CELL] *= tissue.traits.nuclear_size
    centers, kinds = [], []
    for kind, spacing in enumerate(_SPACING_UM):
        density = density_of[tissue.region, kind] * np.exp(0.35 * smooth_field(rng, shape, 110 / GRID_UM))
        if CELL_TYPES[kind] == "adipocyte":
            density = density * (tissue.wall_um < FAT_WALL_UM)
        points = _jittered_grid(rng, size_um, spacing, jitter=0.2)
        points = points[((points > 0) & (points < size_um)).all(axis=1)]
        row, col = _cell_of(points, shape)
        full = 1e6 / (spacing**2 * np.sqrt(3) / 2)
        points = points[rng.random(len(points)) < density[row, col] / full]
        centers.append(points)
        kinds.append(np.full(len(points), kind, dtype=np.intp))
    centers_um, kind_of = _without_overlaps(rng, np.concatenate(centers), np.concatenate(kinds), radius_um)
    gradient_y, gradient_x = np.gradient(tissue.across_um, axis=0), np.gradient(tissue.across_um, axis=1)
    row, col = _cell_of(centers_um, shape)
    angle = np.arctan2(gradient_x[row, col], -gradient_y[row, col])  # fibers run where `across` stays the same
    return Cells(centers_um, kind_of, angle.astype(np.float64))


def _without_overlaps(
    rng: np.random.Generator, centers: NDArray[np.float64], kinds: NDArray[np.intp], radius_um: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Drop the later one of every two cells that would lie on each other, in random order."""
    from scipy.spatial import cKDTree

    order = rng.permutation(len(centers))
    centers, kinds = centers[order], kinds[order]
    pairs = cKDTree(centers).query_pairs(2 * radius_um.max(), output_type="ndarray")
    gap = np.linalg.norm(centers[pairs[:, 0]] - centers[pairs[:, 1]], axis=1)
    touching = pairs[gap < 0.85 * (radius_um[kinds[pairs[:, 0]]] + radius_um[kinds[pairs[:, 1]]])]
    keep = np.ones(len(centers), dtype=bool)
    keep[touching.max(axis=1)] = False
    return centers[keep], kinds[keep]


def _cell_of(points_um: NDArray[np.float64], shape: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    index = (points_um / GRID_UM).astype(np.intp)
    return np.clip(index[:, 1], 0, shape[0] - 1), np.clip(index[:, 0], 0, shape[1] - 1)


def regions_at(
    tissue: Tissue, centers_um: NDArray[np.float64], radius_um: float
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Find what lies under circles, such as spots.

    Parameters
    ----------
    tissue
        The regions.
    centers_um
        Centers of the circles ``(n, 2)``, x then y.
    radius_um
        Their radius.

    Returns
    -------
    The share of each circle that lies on tissue ``(n,)``, and its most frequent region ``(n,)``, an index into
    `REGIONS`.
    """
    steps = np.arange(-radius_um, radius_um + 1, GRID_UM)
    dx, dy = (grid.ravel() for grid in np.meshgrid(steps, steps))
    inside = np.hypot(dx, dy) <= radius_um
    offsets = np.column_stack([dx[inside], dy[inside]])
    points = (centers_um[:, None, :] + offsets[None]).reshape(-1, 2)
    labels = tissue.region[_cell_of(points, tissue.region.shape)].reshape(len(centers_um), -1)
    shares = np.stack([(labels == label).mean(axis=1) for label in range(len(REGIONS))], axis=1)
    return 1.0 - shares[:, BACKGROUND], shares[:, 1:].argmax(axis=1) + 1


def radii_um(cells: Cells) -> NDArray[np.float64]:
    """Typical radius of each cell's nucleus ``(n,)``."""
    found: NDArray[np.float64] = _RADIUS_UM[cells.kind]
    return found
