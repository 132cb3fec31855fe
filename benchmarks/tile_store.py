"""What training an encoder holds in memory as sections are added, and what its tile store costs in time.

python benchmarks/tile_store.py [--sections 2 8] [--spots 1000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from st_predict.core.section import Section

TILE_PX, SIZE_PX, N_GENES = 224, 4096, 50


class RawFile:
    """Pixels in a file, which are read and not held, as those of a slide."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.row_edges = self.col_edges = np.array([0, SIZE_PX])

    def read_chunk(self, row: int, col: int) -> np.ndarray:
        return np.fromfile(self._path, np.uint8).reshape(SIZE_PX, SIZE_PX, 3)


def _sections(n: int, n_spots: int, folder: Path) -> list[Section]:
    """Sections on images that are files."""
    from st_predict.core.section import Section

    sections = []
    for i in range(n):
        rng = np.random.default_rng(i)
        path = folder / f"{i}.rgb"
        if not path.exists():
            rng.integers(0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8).tofile(path)
        image = RawFile(path)
        centers = rng.uniform(TILE_PX, SIZE_PX - TILE_PX, (n_spots, 2))
        counts = rng.poisson(20.0, (n_spots, N_GENES)).astype(np.float32)
        sections.append(
            Section(f"S{i}", image, centers, 0.5, f"P{i}", counts, np.array([f"g{g}" for g in range(N_GENES)]))
        )
    return sections


def _peak_mb() -> float:
    """The most this process ever held (VmHWM: a forked process inherits the maximum of getrusage)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def _train(n: int, n_spots: int, store: str, folder: Path) -> None:
    """Train an encoder for an epoch, in this process, from a store or from tiles in memory; print what it took."""
    import dataclasses

    from st_predict.core.encoders.frozen import EncoderIdentity
    from st_predict.core.encoders.registry import build_encoder
    from st_predict.core.fitting.fit import train_model
    from st_predict.core.fitting.hardware import Hardware
    from st_predict.core.fitting.network import Run
    from st_predict.core.fitting.plan import Plan, check_plan
    from st_predict.core.inputs.encoded import EncodedTiles
    from st_predict.core.methods.recipe import FitConfig, InputConfig
    from st_predict.core.methods.registry import find_recipe
    from st_predict.core.tiles.geometry import TileSpec
    from st_predict.core.tiles.store import TileStore

    sections = _sections(n, n_spots, folder)
    encoder = build_encoder("tiny")  # little arithmetic, and no weights to load
    encoder.tile_px = TILE_PX
    recipe = dataclasses.replace(
        find_recipe("stnet", "default", None),
        inputs=InputConfig((), "none", None),
        fit=FitConfig(max_epochs=1, inner_folds=1, trainable_encoder=True).settled(gradient=True),
    )
    plan, spec = Plan(recipe, 20, "heg", 1, 0), TileSpec((112.0,))
    plan = check_plan(sections, plan)
    begin = time.perf_counter()
    tiles = TileStore(None if store == "memory" else store, limit_gb=1000).tiles(sections, spec, TILE_PX)
    cut = time.perf_counter() - begin
    begin = time.perf_counter()
    values = [one[:] for one in tiles] if store == "memory" else tiles
    encoded = EncodedTiles(values, spec, EncoderIdentity("tiny", None, ""), encoder)
    train_model(sections, encoded, plan, Run(Hardware("cpu", 1)), compare=False)
    fit = time.perf_counter() - begin
    print(json.dumps({"peak_mb": _peak_mb(), "cut_s": cut, "fit_s": fit}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--spots", type=int, default=400, help="of a section")
    parser.add_argument("--folder", type=Path, help="where images and stores are written; default: a temporary one")
    parser.add_argument("--train", nargs=2, metavar=("N", "STORE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        _train(int(given.train[0]), given.spots, given.train[1], given.folder)
        return
    gb = TILE_PX**2 * 3 * given.spots / 1e9
    print(
        f"{given.spots} spots a section, {gb:.2f} GB of tiles each; tiny encoder, {TILE_PX} px, an epoch of a fold and of all"
    )
    print(f"{'':<30}{'peak MB':>10}{'tiles s':>10}{'fit s':>10}")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for n in given.sections:
            for name, store in (
                ("new store", f"{folder}/tiles-{n}"),
                ("store", f"{folder}/tiles-{n}"),
                ("memory", "memory"),
            ):
                options = ["--spots", str(given.spots), "--folder", folder, "--train", str(n), store]
                done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"{n:>3} sections, {name:<16}{found['peak_mb']:>10.0f}{found['cut_s']:>10.2f}{found['fit_s']:>10.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
