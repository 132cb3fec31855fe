"""Tiles a second: our stream beside SpatialData's own tile dataset, on the same tiles of the same decoded image.

python benchmarks/tile_reading.py [--spots 400] [--repeats 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from spatialdata import SpatialData

TILE_PX, SIZE_PX = 224, 8192


def _section(folder: Path, n_spots: int) -> SpatialData:
    """A JPEG of 8192 x 8192 px of smooth noise with a table, read (and so decoded) by our reader."""
    import pandas as pd
    from PIL import Image

    import st_predict as stp

    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (512, 512, 3), dtype=np.uint8))
    small.resize((SIZE_PX, SIZE_PX)).save(folder / "image.jpg")
    centers = rng.integers(TILE_PX, SIZE_PX - TILE_PX, (n_spots, 2))
    names = [f"{i}x0" for i in range(n_spots)]
    spots = pd.DataFrame({"x": range(n_spots), "y": 0, "pixel_x": centers[:, 0], "pixel_y": centers[:, 1]})
    counts = pd.DataFrame(rng.poisson(2.0, (n_spots, 100)), index=names, columns=[f"G{i}" for i in range(100)])
    return stp.io.legacy_st(counts, folder / "image.jpg", spots, section="S", um_per_px=0.7)


def _ours(sdata: SpatialData, out_px: int) -> np.ndarray:
    from st_predict._spatialdata.read import read_section
    from st_predict.core.tiles.stream import stream_tiles

    section, _ = read_section(sdata, need_counts=False)
    tiles = np.empty((section.n_spots, out_px, out_px, 3), np.uint8)
    for batch in stream_tiles(section.image, section.centers_px, [TILE_PX], out_px=out_px):
        tiles[batch.spots] = batch.pixels
    return tiles


def _theirs(sdata: SpatialData, **options: Any) -> np.ndarray:
    from spatialdata.dataloader import ImageTilesDataset

    dataset = ImageTilesDataset(
        sdata, regions_to_images={"S": "S_image"}, regions_to_coordinate_systems={"S": "global"},
        tile_dim_in_units=TILE_PX, **options,
    )  # fmt: skip
    tiles = (dataset[i] for i in range(len(dataset)))
    images = (tile[0] if isinstance(tile, tuple) else next(iter(tile.images.values())) for tile in tiles)
    return np.stack([np.asarray(getattr(image, "data", image)).transpose(1, 2, 0) for image in images])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spots", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    readers = {
        "ImageTilesDataset, tile and table row": lambda s: _theirs(s, table_name="table"),
        "ImageTilesDataset, tile and one column": lambda s: _theirs(
            s, table_name="table", return_annotations="array_x"
        ),
        "ImageTilesDataset, tile alone": _theirs,
        "st-predict": lambda s: _ours(s, TILE_PX),
        "st-predict, resampled to 256 px": lambda s: _ours(s, 256),
    }
    runs: dict[str, list[float]] = {name: [] for name in readers}
    with tempfile.TemporaryDirectory() as folder:
        sdata = _section(Path(folder), arguments.spots)
        tiles = {}
        for name in list(readers) * arguments.repeats:
            begin = time.perf_counter()
            tiles[name] = readers[name](sdata)
            runs[name].append(time.perf_counter() - begin)
    assert np.array_equal(tiles["st-predict"], tiles["ImageTilesDataset, tile alone"]), "both must read the same pixels"
    ours = np.median(runs["st-predict"])
    print(
        f"{arguments.spots} tiles of {TILE_PX} px of a decoded {SIZE_PX} x {SIZE_PX} JPEG, median of {arguments.repeats}"
    )
    for name, seconds in runs.items():
        median = np.median(seconds)
        print(f"  {name:<42}{1000 * median / arguments.spots:8.3f} ms/tile   {median / ours:7.1f} x st-predict")


if __name__ == "__main__":
    main()
