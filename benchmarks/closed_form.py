"""What training on frozen features costs as spots grow: inputs, ridge, retrieval, each beside the form that holds everything.

python benchmarks/closed_form.py [--sizes 10000 20000 50000 100000] [--naive 20000] [--parts inputs ridge retrieval train]

Features are drawn (4 x 1724 a spot, sections of 2,000 spots, in a file beyond 256 MB), expression follows them. Every
figure is of a process of its own; memory is the peak of what is resident over what was resident with the data drawn and,
where it lies in a file, let go of (Linux). The naive forms are written here: plain torch on whole matrices.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from slide_scale import Peak, fresh
from tqdm import tqdm

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.fitting.fit import train_model, with_domain
from st_predict.core.fitting.hardware import Hardware
from st_predict.core.fitting.network import Run
from st_predict.core.fitting.plan import Plan
from st_predict.core.inputs.encoded import EncodedTiles
from st_predict.core.inputs.rows import SectionRows
from st_predict.core.inputs.transform import InputTransform
from st_predict.core.methods.interface import Reference
from st_predict.core.methods.recipe import InputConfig
from st_predict.core.methods.registry import build_method
from st_predict.core.methods.retrieval import RetrievalBank
from st_predict.core.methods.ridge import RidgeConfig
from st_predict.core.methods.settle import settle_method
from st_predict.core.metrics import mean_pearson
from st_predict.core.neighbors import Nearest, nearest_spots
from st_predict.core.room import give_back, room_for
from st_predict.core.section import Section
from st_predict.core.tiles.geometry import TileSpec
from st_predict.core.tiles.sources import ArraySource

SCALES, WIDTH, PROGRAMS, SECTION, GENES, REDUCED = 4, 1724, 100, 2000, 250, 256
QUERIES, RETRIEVED = 2048, 50
CONFIG = InputConfig()


class Drawn(NamedTuple):
    """Sections of one size."""

    features: list[np.ndarray]
    centers_px: np.ndarray


def draw_features(n: int) -> Drawn:
    """Features with many directions of falling strength, smooth over each section."""
    rng = np.random.default_rng(0)
    loading = rng.standard_normal((PROGRAMS, SCALES * WIDTH), np.float32) / np.arange(1, PROGRAMS + 1)[:, None] ** 0.5
    row, col = (v.ravel() for v in np.mgrid[: SECTION // 50, :50])
    centers = np.column_stack([col + 0.5 * (row % 2), row * np.sqrt(3) / 2]) * 100
    room, features = room_for("features", (n, SCALES, WIDTH)), []
    for begin in range(0, n, SECTION):
        waves = np.sin(centers @ rng.normal(0, 3e-3, (2, PROGRAMS)) + rng.uniform(0, 6, PROGRAMS))
        rows = waves.astype(np.float32) @ loading.astype(np.float32)
        rows += 0.5 * rng.standard_normal(rows.shape, np.float32)
        room[begin : begin + SECTION] = rows.reshape(-1, SCALES, WIDTH)
        features.append(room[begin : begin + SECTION])
        give_back(room)
    return Drawn(features, centers)


def draw_reference(n: int) -> Reference:
    """Reduced rows with expression that follows them."""
    generator = torch.Generator().manual_seed(0)
    tiles = torch.randn(n, REDUCED, generator=generator) / torch.arange(1, REDUCED + 1) ** 0.5
    expression = torch.randn(n, GENES, generator=generator)
    expression.addmm_(tiles, torch.randn(REDUCED, GENES, generator=torch.Generator().manual_seed(1)))
    return Reference(tiles, expression, torch.arange(n) // SECTION, [], torch.empty(n, 2))


# The forms beside each other: what they are given, and a few values to compare them by


def ours_inputs(drawn: Drawn) -> torch.Tensor:
    rows = [SectionRows(CONFIG, part, drawn.centers_px) for part in drawn.features]
    return InputTransform.fit(CONFIG, rows).of_sections(rows)[::SECTION]


def naive_inputs(drawn: Drawn) -> torch.Tensor:
    """Every expanded row held, scored as a copy, decomposed."""
    expanded = []
    nearest = [nearest_spots(drawn.centers_px, k) for k in CONFIG.context]
    for part in drawn.features:
        rows = torch.from_numpy(part).flatten(1)
        rows = (rows - rows.mean(dim=0)) / (rows.std(dim=0, correction=0) + 1e-6)
        expanded.append(torch.cat([rows, *(_means(rows, found) for found in nearest)], dim=1))
    rows = torch.cat(expanded)
    del expanded
    mean, scale = rows.mean(dim=0), rows.std(dim=0, correction=0)
    rows = (rows - mean) / scale
    torch.manual_seed(0)
    _, values, axes = torch.svd_lowrank(rows, q=REDUCED + 16, niter=4)
    axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    return (rows @ (axes[:, :REDUCED] / (values[:REDUCED].square().mean() / len(rows)).sqrt()))[::SECTION]


def _means(rows: torch.Tensor, nearest: Nearest) -> torch.Tensor:
    total = torch.zeros_like(rows)
    weights = np.ones(nearest.rows.shape, np.float32) if nearest.weights is None else nearest.weights
    for column, weight in zip(nearest.rows.T, torch.from_numpy(weights).T, strict=True):
        total += rows[column] * weight[:, None]
    return total / weights[0].sum()


def ours_ridge(reference: Reference) -> torch.Tensor:
    method = build_method("ridge", RidgeConfig(), REDUCED, GENES)
    method.after_fit(reference)
    return method.weight


def naive_ridge(reference: Reference) -> torch.Tensor:
    """All rows in double, copied for every fold, and every held-out spot predicted for every choice."""
    config = RidgeConfig()
    tiles, expression = reference.tiles.double(), reference.expression.double()
    choices = [(penalty, rank) for penalty in config.penalties for rank in config.ranks]
    scores = torch.zeros(len(choices))
    for fold in reference.folds.unique():
        held = reference.folds == fold
        x, y = tiles[~held], expression[~held]
        solve = _naive_path(x, y)
        for i, choice in enumerate(choices):
            predicted = (tiles[held] - x.mean(dim=0)) @ solve(*choice) + y.mean(dim=0)
            scores[i] += mean_pearson(predicted, expression[held])
    return _naive_path(tiles, expression)(*choices[int(scores.argmax())]).float()


def _naive_path(x: torch.Tensor, y: torch.Tensor) -> Callable[[float, int | None], torch.Tensor]:
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    values, vectors = torch.linalg.eigh(x.T @ x)
    projected, components = vectors.T @ (x.T @ y), torch.linalg.eigh(y.T @ y).eigenvectors.flip(1)

    def weight(penalty: float, rank: int | None) -> torch.Tensor:
        found = vectors @ (projected / (values + penalty * values.mean())[:, None])
        return found if rank is None else found @ components[:, :rank] @ components[:, :rank].T

    return weight


def ours_retrieval(reference: Reference) -> torch.Tensor:
    bank = RetrievalBank()
    bank.fill(reference.tiles, reference.expression)
    return bank.retrieve(_queries(), RETRIEVED)


def naive_retrieval(reference: Reference) -> torch.Tensor:
    """All similarities at once."""
    keys = torch.nn.functional.normalize(reference.tiles, dim=1)
    found = (torch.nn.functional.normalize(_queries(), dim=1) @ keys.T).topk(RETRIEVED, dim=1).indices
    return reference.expression[found].mean(dim=1)


def _queries() -> torch.Tensor:
    return torch.randn(QUERIES, REDUCED, generator=torch.Generator().manual_seed(2))


def ours_train(drawn: Drawn) -> torch.Tensor:
    """Ridge from features to a model that knows its domain, as ``stp.tl.train`` makes it but for the inner folds."""
    rng, recipe = np.random.default_rng(1), settle_method("ridge")
    genes, pixels = np.array([f"g{i}" for i in range(GENES)]), ArraySource(np.zeros((1, 1, 3), np.uint8))
    counts = [rng.poisson(5, (SECTION, GENES)).astype(np.float32) for _ in drawn.features]
    sections = [Section(f"S{i}", pixels, drawn.centers_px, 1.0, None, c, genes) for i, c in enumerate(counts)]
    encoded = EncodedTiles(drawn.features, TileSpec((100.0,)), EncoderIdentity("drawn", None, "x"), None)
    plan = Plan(recipe, list(genes), "heg", 1, 0)
    model = train_model(sections, encoded, plan, Run(Hardware("cpu", 1)), compare=False)
    return with_domain(model, sections, drawn.features).network.weight


PARTS: dict[str, tuple[Callable[[int], Any], Callable[[Any], torch.Tensor], Callable[[Any], torch.Tensor] | None]] = {
    "inputs": (draw_features, ours_inputs, naive_inputs),
    "ridge": (draw_reference, ours_ridge, naive_ridge),
    "retrieval": (draw_reference, ours_retrieval, naive_retrieval),
    "train": (draw_features, ours_train, None),
}


def measure(part: str, n: int, naive: bool) -> tuple[float, float, np.ndarray]:
    """Seconds, MB and what was found."""
    torch.set_num_threads(1)
    draw, *forms = PARTS[part]
    form = forms[naive]
    form(draw(SECTION * 2))  # libraries load and allocate on their first use
    data = draw(n)
    begin, peak = time.perf_counter(), Peak()
    found = form(data)
    return time.perf_counter() - begin, peak.growth, found.detach().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 20_000, 50_000, 100_000])
    parser.add_argument("--naive", type=int, default=20_000, help="most spots of the naive forms")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    for part in arguments.parts:
        rows = {}
        for n in tqdm(arguments.sizes, part, unit="size", leave=False):
            seconds, mb, found = fresh(measure, part, n, False)
            rows[n] = {"s": seconds, "MB": mb}
            if PARTS[part][2] is not None and n <= arguments.naive:
                seconds, mb, expected = fresh(measure, part, n, True)
                apart = np.abs(found - expected).max() / np.abs(expected).max()
                rows[n] |= {"naive s": seconds, "naive MB": mb, "apart": apart}
        table = pd.DataFrame(rows).T.rename_axis("spots")
        print(f"\n{part}, one thread")
        print(table.to_string(na_rep="", float_format=lambda value: f"{value:.1f}" if value >= 0.1 else f"{value:.0e}"))


if __name__ == "__main__":
    main()
