"""Readers of whole slides beside ours, and prediction beside the encoder alone, in one run.

python benchmarks/slide_reading.py SLIDE... [--predict]

Every reader decodes each chunk of the finest level once, in storage order; opening is counted for OpenSlide only, whose
cache would hold the pass before (5 ms). ``tifffile`` is its own segments, one after the other; ``zarr`` its Zarr view;
``openslide`` regions of 1024 px. With ``--predict`` the tiles of a grid as of an array are encoded from the slide and,
to compare, from memory, by the default encoder. Each figure is the median of rounds in which all take their turn.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import openslide
import tifffile
import zarr
from tqdm import tqdm

import st_predict as stp
from st_predict._spatialdata.image import image_source
from st_predict._spatialdata.read import read_section
from st_predict.core.encoders.embed import embed_section, tile_encoder
from st_predict.core.encoders.registry import build_encoder
from st_predict.core.tiles.geometry import TileSpec
from st_predict.core.tiles.stream import stream_tiles


def by_tifffile(path: Path) -> Callable[[], None]:
    page = tifffile.TiffFile(path).series[0].levels[0].keyframe

    def read() -> None:
        for _ in page.segments(maxworkers=1):
            pass

    return read


def by_zarr(path: Path) -> Callable[[], None]:
    array = zarr.open_array(tifffile.TiffFile(path).series[0].aszarr(level=0), mode="r")
    step_y, step_x = (4 * chunk for chunk in array.chunks[:2])

    def read() -> None:
        for y in range(0, array.shape[0], step_y):
            for x in range(0, array.shape[1], step_x):
                np.asarray(array[y : y + step_y, x : x + step_x])

    return read


def by_openslide(path: Path) -> Callable[[], None]:
    def read() -> None:
        with openslide.OpenSlide(path) as slide:  # opened each time: its cache holds what the pass before read
            width, height = slide.dimensions
            for y in range(0, height, 1024):
                for x in range(0, width, 1024):
                    np.asarray(slide.read_region((x, y), 0, (min(1024, width - x), min(1024, height - y))))

    return read


def by_st_predict(path: Path) -> Callable[[], None]:
    sdata = stp.io.slide(path)
    source = image_source(sdata, next(iter(sdata.images)))

    def read() -> None:
        for row in range(len(source.row_edges) - 1):
            for col in range(len(source.col_edges) - 1):
                source.read_chunk(row, col)

    return read


READERS: dict[str, Callable[[Path], Callable[[], None]]] = {
    "tifffile": by_tifffile, "zarr": by_zarr, "openslide": by_openslide, "st-predict": by_st_predict,
}  # fmt: skip


def median_seconds(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Of each call, in turn, so that a busy moment of the machine is not one's alone; the first round is not counted."""
    found = np.empty((repeats + 1, len(calls)))
    for round_, i in tqdm(list(np.ndindex(found.shape)), unit="call", leave=False):
        begin = time.perf_counter()
        calls[i]()
        found[round_, i] = time.perf_counter() - begin
    return np.median(found[1:], axis=0).tolist()


def compare_prediction(path: Path) -> None:
    sdata = stp.io.slide(path, um_per_px=0.5)
    stp.pp.spot_grid(sdata)
    section, _ = read_section(sdata, need_counts=False)
    encoder, spec = build_encoder("efficientnet_lite0"), TileSpec.of(None, None)
    sides = spec.sides_px(section)
    batches = [
        batch.pixels
        for batch in stream_tiles(
            section.image, section.centers_px, sides, out_px=encoder.tile_px, batch_size=32, reduced=section.reduced
        )
    ]

    def encode() -> None:
        run = tile_encoder(encoder, "cpu")
        for pixels in batches:
            run(pixels)

    alone, together = median_seconds([encode, lambda: embed_section(section, encoder, spec)], 3)
    n = sum(map(len, batches))
    print(f"\n{path.name}: {n} tiles around {section.n_spots} spots")
    print(f"  encoder, tiles in memory  {n / alone:7.1f} tiles/s")
    print(f"  from the slide            {n / together:7.1f} tiles/s   {alone / together:.2f} of the encoder alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slides", nargs="+", type=Path)
    parser.add_argument("--predict", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for path in arguments.slides:
        with tifffile.TiffFile(path) as file:
            level = file.series[0].levels[0]
            megapixels = level.shape[0] * level.shape[1] / 1e6
            print(f"\n{path.name}: {megapixels:.1f} megapixels, {level.keyframe.compression.name}")
        readers = [open_slide(path) for open_slide in READERS.values()]
        seconds = dict(zip(READERS, median_seconds(readers, 9), strict=True))
        for name, taken in seconds.items():
            print(f"  {name:<12}{megapixels / taken:7.1f} megapixels/s   {seconds['tifffile'] / taken:5.2f} x tifffile")
    if arguments.predict:
        for path in arguments.slides:
            compare_prediction(path)


if __name__ == "__main__":
    main()
