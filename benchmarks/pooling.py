"""What pooling transcripts to spots costs, beside spatialdata's own aggregation. Every figure stands beside its goal.

python benchmarks/pooling.py [--transcripts 10000000 100000000] [--genes 500] [--folder FOLDER]

A section of 10 x 10 mm is drawn: an image in whose middle all is tissue, and transcripts anywhere on it, written to a Zarr
store as spatialdata writes them. A process of its own opens the store and pools; memory is the peak of what is resident
over what was resident before, as the kernel counts it (Linux). spatialdata.aggregate is given the same spots and a tenth of
the transcripts of the first store. Sums are compared with those of the points as they were drawn.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import spatialdata
from geopandas import GeoDataFrame
from shapely import box
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, PointsModel, ShapesModel
from spatialdata.transformations import Identity

import st_predict as stp

SIDE_UM, UM_PER_PX, PITCH_UM = 10_000.0, 2.0, 100.0
PART = 2_000_000
GOAL_S, GOAL_MB = 10.0, 1_000.0


def drawn_part(number: int, n: int, genes: int) -> pd.DataFrame:
    """Transcripts of one part, the same whenever it is drawn."""
    rng = np.random.default_rng(number)
    feature = np.minimum((rng.random(n) ** 2 * genes).astype(int), genes - 1)
    return pd.DataFrame(
        {
            "x": rng.uniform(0, SIDE_UM, n),
            "y": rng.uniform(0, SIDE_UM, n),
            "feature_name": pd.Categorical.from_codes(feature, categories=[f"G{i:04d}" for i in range(genes)]),
            "qv": rng.uniform(15, 40, n).astype(np.float32),
        }
    )


def write_section(path: Path, n: int, genes: int) -> None:
    parts = [(number, min(PART, n - start)) for number, start in enumerate(range(0, n, PART))]
    points = dd.from_map(lambda part: drawn_part(*part, genes), parts, meta=drawn_part(0, 1, genes))
    size = round(SIDE_UM / UM_PER_PX)
    pixels = np.full((3, size, size), 240, np.uint8)
    identity: dict[str, Any] = {"global": Identity()}
    sdata = SpatialData(
        images={
            "he": Image2DModel.parse(pixels, dims=("c", "y", "x"), c_coords=["r", "g", "b"], transformations=_scaled())
        },
        points={"transcripts": PointsModel.parse(points, feature_key="feature_name", transformations=identity)},
        shapes={"tissue": ShapesModel.parse(GeoDataFrame(geometry=[box(0, 0, size, size)]), transformations=_scaled())},
        attrs={"st_predict": {"um_per_px": {"he": UM_PER_PX}}},
    )
    sdata.write(path)


def _scaled() -> dict[str, Any]:
    from spatialdata.transformations import Scale

    return {"global": Scale([UM_PER_PX] * 2, axes=("x", "y"))}


def peak_mb() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def pooled(path: Path, warm: Path) -> tuple[float, float, int]:
    """Seconds, MB and the sum of all counts, once everything is imported by a small section."""
    stp.pp.pool_spots(spatialdata.read_zarr(warm), image_key="he", pitch_um=PITCH_UM)
    sdata = spatialdata.read_zarr(path)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, start = peak_mb(), time.perf_counter()
    stp.pp.pool_spots(sdata, image_key="he", pitch_um=PITCH_UM, min_quality={"qv": 20})
    return time.perf_counter() - start, peak_mb() - before, int(sdata.tables["spots_counts"].X.sum())


def aggregated(path: Path, warm: Path) -> tuple[float, float, int]:
    """The same of spatialdata.aggregate, with the same spots and transcripts of the same quality."""
    sdata = spatialdata.read_zarr(path)
    stp.pp.pool_spots(spatialdata.read_zarr(warm), image_key="he", pitch_um=PITCH_UM)
    stp.pp.pool_spots(sdata, image_key="he", pitch_um=PITCH_UM)
    Path("/proc/self/clear_refs").write_text("5")
    before, start = peak_mb(), time.perf_counter()
    sdata.points["good"] = PointsModel.parse(
        sdata.points["transcripts"][sdata.points["transcripts"]["qv"] >= 20], feature_key="feature_name",
        coordinates={"x": "x", "y": "y"},
    )  # fmt: skip
    found = sdata.aggregate(
        values="good", by="spots", value_key="feature_name", agg_func="count", target_coordinate_system="global"
    )
    return time.perf_counter() - start, peak_mb() - before, int(found.tables["table"].X.sum())


def alone(work: Any, *given: Any) -> Any:
    """What a function returns, from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transcripts", type=int, nargs="+", default=[10_000_000, 100_000_000])
    parser.add_argument("--genes", type=int, default=500)
    parser.add_argument(
        "--folder", type=Path, help="where the sections are kept for another run; made if it is not there"
    )
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    dask.config.set(scheduler="synchronous")
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        tenth = asked.transcripts[0] // 10
        stores = {n: folder / f"{n}.zarr" for n in (1000, tenth, *asked.transcripts)}
        for n, path in stores.items():
            if not path.exists():
                write_section(path, n, asked.genes)
        for n in asked.transcripts:
            seconds, mb, total = alone(pooled, stores[n], stores[1000])
            parts = [(number, min(PART, n - start)) for number, start in enumerate(range(0, n, PART))]
            exact = sum(int((drawn_part(*part, asked.genes)["qv"] >= 20).sum()) for part in parts)
            goal = f"(goal {GOAL_S:g} s, {GOAL_MB:g} MB)" if n == 10_000_000 else ""
            print(
                f"pool_spots, {n:>11,} transcripts: {seconds:5.1f} s, {mb:5.0f} MB more than before {goal}; "
                f"{total:,} counted of {exact:,}", flush=True,
            )  # fmt: skip
        ours, theirs = (alone(work, stores[tenth], stores[1000]) for work in (pooled, aggregated))
        print(f"both, {tenth:,} transcripts: pool_spots {ours[0]:.2f} s, spatialdata.aggregate {theirs[0]:.2f} s: "
              f"{theirs[0] / ours[0]:.1f} times as long; {ours[2]:,} and {theirs[2]:,} counted")  # fmt: skip


if __name__ == "__main__":
    main()
