"""What opening a sample of HEST costs whose slide has 10^9 pixels. Every figure stands beside its goal.

python benchmarks/doors.py [--side-px 32768] [--folder FOLDER]

The slide is made here: a pyramid of JPEG tiles in the layout of HEST-1k, drawn tissue in the middle and glass around it. A
process of its own imports everything, then opens the sample; memory is the peak of what is resident over
what was resident before, as the kernel counts it (Linux).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tifffile
from anndata import AnnData
from scipy.sparse import random as random_matrix

import st_predict as stp

UM_PER_PX, TILE_PX, PITCH_UM, N_GENES = 0.5, 512, 100.0, 18_000
GOAL_S, GOAL_MB = 2.0, 300.0


def write_slide(path: Path, side_px: int) -> None:
    """Drawn tissue in the middle, glass around it; levels of 1, 2, 4, ... as HEST has them."""
    drawn = stp.datasets.synthetic_tissue(n_sections=1, size_um=2000, um_per_px=UM_PER_PX)["S1"]
    tissue = np.ascontiguousarray(np.moveaxis(np.asarray(drawn.images["S1_image"].data), 0, -1))
    n_levels = max(1, int(np.log2(side_px / 1024)) + 1)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(n_levels):
            size, small = side_px >> level, tissue[:: 2**level, :: 2**level]
            resolution = 1e4 / UM_PER_PX / 2**level
            file.write(
                tiles(size, small), shape=(size, size, 3), dtype=np.uint8, photometric="rgb", tile=(TILE_PX, TILE_PX),
                compression="jpeg", subifds=n_levels - 1 if level == 0 else None, subfiletype=1 if level else 0,
                resolution=(resolution, resolution), resolutionunit="CENTIMETER",
            )  # fmt: skip


def tiles(size: int, tissue: np.ndarray) -> Iterator[np.ndarray]:
    """Tiles in storage order, the tissue in the middle."""
    glass = np.full((TILE_PX, TILE_PX, 3), 242, np.uint8)
    start = (size - len(tissue)) // 2 // TILE_PX * TILE_PX
    for top in range(0, size, TILE_PX):
        for left in range(0, size, TILE_PX):
            y, x = top - start, left - start
            part = tissue[max(y, 0) : max(y + TILE_PX, 0), max(x, 0) : max(x + TILE_PX, 0)]
            tile = glass
            if part.size:
                tile = glass.copy()
                tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def write_sample(folder: Path, side_px: int) -> None:
    for name in ("st", "wsis", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_slide(folder / "wsis" / "big.tif", side_px)
    pitch_px, n = PITCH_UM / UM_PER_PX, 64
    row, col = np.divmod(np.arange(n * n), n)
    centers = np.column_stack([2 * col + row % 2, row]) * [pitch_px / 2, pitch_px * np.sqrt(3) / 2]
    centers += side_px / 2 - centers.mean(axis=0)
    counts = random_matrix(n * n, N_GENES, density=0.1, format="csr", dtype=np.float32, random_state=0)
    counts.data = np.ceil(counts.data * 5)
    adata = AnnData(counts, obsm={"spatial": centers})
    adata.obs["in_tissue"] = 1
    adata.write_h5ad(folder / "st" / "big.h5ad")
    facts = {"pixel_size_um_estimated": UM_PER_PX, "patient": "P1", "spot_diameter": 55.0, "inter_spot_dist": PITCH_UM,
             "fullres_px_width": side_px, "fullres_px_height": side_px, "st_technology": "Visium"}  # fmt: skip
    (folder / "metadata" / "big.json").write_text(json.dumps(facts))


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def opened(folder: Path) -> tuple[float, float, tuple[int, ...], tuple[int, ...]]:
    """Seconds (median of three) and MB that the sample takes, once everything is imported by a small one."""
    with tempfile.TemporaryDirectory() as small:
        drawn = stp.datasets.synthetic_tissue(n_sections=1, n_genes=20, size_um=600)
        stp.datasets.write_hest(drawn, small)
        stp.io.hest(small, "S1")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, seconds, peaks = peak_mb(), [], []
    for _ in range(3):
        start = time.perf_counter()
        sdata = stp.io.hest(folder, "big")
        seconds.append(time.perf_counter() - start)
        peaks.append(peak_mb() - before)  # of later times it holds the section before as well
    finest = sdata.images["big_image"]["scale0"]["image"]
    return sorted(seconds)[1], peaks[0], finest.shape, sdata.tables["table"].shape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side-px", type=int, default=32_768)
    parser.add_argument("--folder", type=Path, help="where the sample is kept for another run; made if it is not there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        if not (folder / "metadata" / "big.json").is_file():
            write_sample(folder, arguments.side_px)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seconds, mb, image, table = pool.submit(opened, folder).result()
    print(f"slide of {image[1]:,} x {image[2]:,} px ({image[1] * image[2] / 1e9:.2f} x 10^9), table of {table}")
    print(f"opened in {seconds:.2f} s (goal {GOAL_S:g} s), {mb:.0f} MB more than before (goal {GOAL_MB:g} MB)")


if __name__ == "__main__":
    main()
