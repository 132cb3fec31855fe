"""What a bare slide costs as it grows: memory, opening, workers, spots. Every figure stands beside its goal.

python benchmarks/slide_scale.py memory [--sizes 60000x60000 60000x120000]
python benchmarks/slide_scale.py open SLIDE...
python benchmarks/slide_scale.py workers SLIDE [--copies 8] [--pitch-um 25]
python benchmarks/slide_scale.py spots [--most 1000000]

The large slides are made here: a drawn section of 2 mm, repeated on glass, as a JPEG TIFF with levels of 1, 4 and 16 as
scanners write them, 0.5 um a px. Models are trained on small drawn sections. What is measured runs in a process of its
own that has imported everything and loaded model and encoder; memory is the peak of what is resident over what was
resident then, as the kernel counts it (Linux).
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import imagecodecs
import numpy as np
import pandas as pd
import tifffile
import torch
from PIL import Image
from tqdm import tqdm

import st_predict as stp
from st_predict.core.encoders.embed import tile_encoder
from st_predict.core.encoders.encoder import Encoder
from st_predict.core.encoders.registry import ENCODERS, build_encoder
from st_predict.core.tiles.geometry import DEFAULT_TILE_UM
from st_predict.tl._processes import n_cores

UM_PER_PX, STEPS, BLOCK_PX, PATCH_PX = 0.5, (1, 4, 16), 256, 4096
SIZES = ["60000x60000", "60000x120000"]
PITCH_UM = {"stand_in": 100.0, "efficientnet_lite0": 600.0}
"""A whole array where the encoder costs nothing, and as many spots as the default one sees in minutes."""
GENES, ALONE_SECONDS = 50, 20


def _stand_in(name: str, weights: str | None, pretrained: bool) -> Encoder:
    """Tiles and features of the default encoder without its network: average colors through a random projection."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 1280).requires_grad_(False)
    )
    return Encoder(name, network, dim=1280, tile_px=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


ENCODERS["stand_in"] = _stand_in


# Slides and models to measure with


@cache
def _patch() -> Image.Image:
    drawn = stp.datasets.synthetic_tissue(n_sections=1, size_um=PATCH_PX * UM_PER_PX, um_per_px=UM_PER_PX)["S1"]
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(np.asarray(drawn.images["S1_image"].data), 0, -1)))


@cache
def _encoded_patch(step: int) -> dict[tuple[int, int], bytes]:
    """JPEG tiles of the drawn section, reduced by ``step``, by row and column."""
    side = PATCH_PX // step
    reduced = np.asarray(_patch().resize((side, side), Image.Resampling.BOX))
    return {
        (row, col): imagecodecs.jpeg8_encode(
            np.ascontiguousarray(reduced[row * BLOCK_PX :, col * BLOCK_PX :][:BLOCK_PX, :BLOCK_PX]),
            level=80, colorspace="rgb", outcolorspace="ycbcr", subsampling="420",
        )
        for row, col in np.ndindex(side // BLOCK_PX, side // BLOCK_PX)
    }  # fmt: skip


def _tiles(width: int, height: int, step: int) -> Iterator[bytes]:
    patch = _encoded_patch(step)
    n = PATCH_PX // step // BLOCK_PX
    for row in tqdm(range(-(-height // BLOCK_PX)), f"write {width} x {height}", unit="row", leave=False):
        for col in range(-(-width // BLOCK_PX)):
            yield patch[row % n, col % n]


def write_slide(folder: Path, size: str) -> Path:
    """A pyramid of ``size`` (width x height), its tiles copied into the file as they are encoded."""
    path = folder / f"{size}.tif"
    width, height = map(int, size.split("x"))
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for step in STEPS:
            shape = -(-height // step), -(-width // step)
            file.write(
                _tiles(shape[1], shape[0], step), shape=(*shape, 3), dtype=np.uint8, tile=(BLOCK_PX, BLOCK_PX),
                photometric="ycbcr", subsampling=(2, 2), compression="jpeg", metadata=None,
                subifds=len(STEPS) - 1 if step == 1 else None, subfiletype=int(step > 1),
                resolution=(1e4 / UM_PER_PX / step,) * 2, resolutionunit="CENTIMETER",
            )  # fmt: skip
    return path


def train_model(folder: Path, *, encoder: str, method: str = "nh2st", size_um: float = 700.0) -> Path:
    """A model of two drawn sections, in a folder of its own."""
    sections = stp.datasets.synthetic_tissue(n_sections=2, n_subjects=2, size_um=size_um)
    model = stp.tl.train(
        sections, method=method, encoder=encoder, genes=GENES, inner_folds=0, max_epochs=2, batch_size=16
    )
    return model.save(folder / f"{method}-{encoder}")


# What is measured


def fresh(measure: Callable[..., Any], *arguments: Any, cores: int | None = None) -> Any:
    """The result of a function in a process that has done nothing else, on some of the cores or all."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(mine)[:cores])
    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(measure, *arguments).result()
    finally:
        os.sched_setaffinity(0, mine)


def _be_quiet() -> None:
    """A coarse grid and models of two epochs are meant."""
    warnings.simplefilter("ignore")
    logging.getLogger("st_predict").setLevel(logging.ERROR)


def _import_all() -> None:
    """Have every library imported that is imported where it is first needed."""
    section = stp.datasets.synthetic_tissue(n_sections=1, size_um=600.0)["S1"]
    stp.pp.spot_grid(section)
    with tempfile.TemporaryDirectory() as folder:
        tifffile.imwrite(Path(folder) / "s.tif", np.zeros((512, 512, 3), np.uint8), tile=(256, 256), compression="jpeg")
        stp.io.slide(Path(folder) / "s.tif")


def _resident(which: str = "VmRSS") -> float:
    """Resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1e3


class Peak:
    """Growth of resident memory at its peak, in MB."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the kernel's peak begins anew
        self._before = _resident()

    @property
    def growth(self) -> float:
        return _resident("VmHWM") - self._before


def predict_slide(path: Path, model_path: Path, pitch_um: float) -> dict[str, float]:
    """Open, lay a grid, predict: seconds, spots, MB."""
    _be_quiet()
    _import_all()
    model = stp.load_model(model_path)
    encoder = build_encoder(model.encoder_identity.name)
    times, peak = [time.perf_counter()], Peak()
    slide = stp.io.slide(path, um_per_px=UM_PER_PX)
    times.append(time.perf_counter())
    stp.pp.spot_grid(slide, pitch_um=pitch_um)
    times.append(time.perf_counter())
    grid_growth = peak.growth
    stp.tl.predict(slide, model)
    times.append(time.perf_counter())
    n = slide.tables["predicted"].n_obs
    opened, grid, predicted = np.diff(times)
    return {
        "spots": n, "open s": opened, "tissue and grid s": grid, "predict s": predicted,
        "MB till the grid": grid_growth, "MB": peak.growth,
        "MB of features": n * model.tiles.n_scales * encoder.dim * 4 / 1e6,
    }  # fmt: skip


def open_slide(path: Path) -> tuple[float, float]:
    """Seconds of opening once, and the median of five times more."""
    _be_quiet()
    _import_all()
    seconds = []
    for _ in range(6):
        begin = time.perf_counter()
        stp.io.slide(path, um_per_px=UM_PER_PX)
        seconds.append(time.perf_counter() - begin)
    return seconds[0], float(np.median(seconds[1:]))


def predict_cohort(paths: list[Path], model_path: Path, out: Path, n_jobs: int, pitch_um: float) -> tuple[float, float]:
    """Wall seconds of a cohort, and the sum over its slides."""
    _be_quiet()
    model = stp.load_model(model_path)
    begin = time.perf_counter()
    manifest = stp.tl.predict_cohort(paths, model, out, um_per_px=UM_PER_PX, pitch_um=pitch_um, n_jobs=n_jobs)
    seconds = time.perf_counter() - begin
    assert (manifest["status"] == "done").all(), manifest
    return seconds, float(manifest["seconds"].sum())


def encode_alone(barrier: Any, threads: int) -> float:
    """Tiles a second of the default encoder on tiles in memory, begun when the other processes begin."""
    torch.set_num_threads(threads)
    encoder = build_encoder("efficientnet_lite0")
    encode = tile_encoder(encoder, "cpu")
    tiles = np.zeros((32, encoder.tile_px, encoder.tile_px, 3), np.uint8)
    n = 0
    encode(tiles)
    barrier.wait()
    begin = time.perf_counter()
    while (taken := time.perf_counter() - begin) < ALONE_SECONDS:
        encode(tiles)
        n += len(tiles)
    return n / taken


def predict_spots(n: int, model_path: Path) -> dict[str, float]:
    """Grid, prediction and store of a slide with about ``n`` spots whose features are drawn: seconds, MB."""
    _be_quiet()
    _import_all()
    model = stp.load_model(model_path)
    slide, peak, seconds = _all_tissue(n, model.pitch_um), Peak(), {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - begin

    with step("grid"):
        stp.pp.spot_grid(slide, pitch_um=model.pitch_um, tissue_key="all")
    shape = len(slide.shapes["spots"]), model.tiles.n_scales, build_encoder(model.encoder_identity.name).dim
    features = np.random.default_rng(0).standard_normal(shape, np.float32)
    with step("predict"), patch("st_predict.tl._prediction._features", lambda *_: features):
        stp.tl.predict(slide, model, shapes_key="spots")
    with step("store"), tempfile.TemporaryDirectory() as folder:
        slide.subset(["spots", "predicted"]).write(Path(folder) / "s.zarr")
    return {"spots": shape[0], **seconds, "seconds": sum(seconds.values()), "MB": peak.growth}


def _all_tissue(n: int, pitch_um: float) -> Any:
    """A slide of 1 um a px whose outline holds ``n`` spots and whose pixels nobody reads."""
    import dask.array as da
    from geopandas import GeoDataFrame
    from shapely import box
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel

    side = round(pitch_um * np.sqrt(n * np.sqrt(3) / 2))
    pixels = da.zeros((3, side, side), dtype=np.uint8, chunks=(3, 4096, 4096))
    return SpatialData(
        images={"image": Image2DModel.parse(pixels, dims=("c", "y", "x"), c_coords=["r", "g", "b"])},
        shapes={"all": ShapesModel.parse(GeoDataFrame(geometry=[box(0, 0, side, side)]))},
        attrs={"st_predict": {"um_per_px": {"image": 1.0}}},
    )


# What is printed


def memory(folder: Path, arguments: argparse.Namespace) -> None:
    for encoder, pitch_um in PITCH_UM.items():
        model = train_model(folder, encoder=encoder)
        rows = {}
        for size in arguments.sizes:
            path = write_slide(folder, size)
            rows[size] = fresh(predict_slide, path, model, pitch_um)
            path.unlink()
        table = pd.DataFrame(rows).T
        table["of the first"] = table["MB"] / table["MB"].iloc[0]
        print(f"\n{encoder}, a spot every {pitch_um:g} um, tiles of {', '.join(map(str, DEFAULT_TILE_UM))} um")
        print("wanted: at most 1500 MB; at twice the area at most 1.10 of the first; opened in at most 1 s")
        print(_text(table))


def opening(folder: Path, arguments: argparse.Namespace) -> None:
    slides = [*arguments.slides, *(write_slide(folder, size) for size in arguments.sizes)]
    rows = {path.name: dict(zip(("once s", "again s"), fresh(open_slide, path), strict=True)) for path in slides}
    print("\nopening, wanted: at most 1 s")
    print(_text(pd.DataFrame(rows).T))


def workers(folder: Path, arguments: argparse.Namespace) -> None:
    model = train_model(folder, encoder="efficientnet_lite0")
    slide = arguments.slide
    paths = [Path(shutil.copy(slide, folder / f"{i}{slide.suffix}")) for i in range(arguments.copies)]
    rows = {}
    for name, n_jobs, cores in (("one, on one core", 1, 1), ("one, on all cores", 1, n_cores()), ("two", 2, n_cores())):
        wall, slides = fresh(predict_cohort, paths, model, folder / name, n_jobs, arguments.pitch_um, cores=cores)
        alone = encode_together(2 if n_jobs == 2 else 1, 1 if "all" not in name else n_cores())
        rows[name] = {"wall s": wall, "sum of slides s": slides, "encoder alone tiles/s": alone}
    table = pd.DataFrame(rows).T
    for column, order in (("wall s", -1), ("encoder alone tiles/s", 1)):
        table[f"two against it, by {column.rsplit(' ', 1)[0]}"] = (table.loc["two", column] / table[column]) ** order
    print(
        f"\n{arguments.copies} copies of {slide.name}, a spot every {arguments.pitch_um:g} um, workers; wanted: two at least 1.7 times as fast as one"
    )
    print(_text(table))


def encode_together(n: int, threads: int) -> float:
    """Tiles a second of ``n`` processes with so many threads each."""
    with get_context("spawn").Manager() as manager, ProcessPoolExecutor(n, get_context("spawn")) as pool:
        return sum(pool.map(encode_alone, [manager.Barrier(n)] * n, [threads] * n))


def spots(folder: Path, arguments: argparse.Namespace) -> None:
    for method in ("nh2st", "ridge"):
        model = train_model(folder, encoder="tiny", method=method)
        sizes = [arguments.most // 2**i for i in range(4, -1, -1)]
        table = pd.DataFrame([fresh(predict_spots, n, model) for n in tqdm(sizes, method, unit="slide")])
        table["of the last"] = table["seconds"] / table["seconds"].shift()
        print(f"\n{method}, 3 x 24 drawn features a spot, {GENES} genes; seconds")
        print("wanted: twice the spots, twice the time; `of the last` is seconds over those of half the spots")
        print(_text(table.astype({"spots": int}).set_index("spots")))


def _text(table: pd.DataFrame) -> str:
    return table.to_string(float_format=lambda value: f"{value:.2f}" if value < 100 else f"{value:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    measured = {"memory": memory, "open": opening, "workers": workers, "spots": spots}
    parsers = {name: commands.add_parser(name) for name in measured}
    for name, command in measured.items():
        parsers[name].set_defaults(command=command)
    for name in ("memory", "open"):
        parsers[name].add_argument("--sizes", nargs="+", default=SIZES, help="slides made here, width x height in px")
    parsers["open"].add_argument("slides", nargs="*", type=Path)
    parsers["workers"].add_argument("slide", type=Path)
    parsers["workers"].add_argument("--copies", type=int, default=8)
    parsers["workers"].add_argument("--pitch-um", type=float, default=25.0, help="small: so that slides take a while")
    parsers["spots"].add_argument("--most", type=int, default=1_000_000)
    arguments = parser.parse_args()
    _be_quiet()
    with tempfile.TemporaryDirectory() as folder:
        arguments.command(Path(folder), arguments)


if __name__ == "__main__":
    main()
