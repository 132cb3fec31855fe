"""Training beside the naive form that encodes every tile anew, and beside the bare encoder, in one run.

python benchmarks/training.py trainable [--encoder resnet18] [--batch-size 160] [--block-size 80]
python benchmarks/training.py frozen [--spots 10000]
python benchmarks/training.py memory [--encoder efficientnet_lite0] [--tiles 256]

``trainable``: NH2ST with K = 8 on drawn tissue, the encoder trained with it. The naive form encodes ten tiles for every
target at every step (the target, and the nine nodes of its neighborhood), in torch's default memory format, as released
code does, eight targets at a time, and in single precision; loss, optimizer, order of targets and first weights are the
same, so that the losses must be; so are those of a section held out, which shows how long each form takes to reach one.
Ours runs in single precision too, which shows what encoding each tile once brings, and in the precision that ``train``
takes on this machine. The bare encoder is its forward and backward pass on random tiles of one batch. ``frozen``: an
epoch on features that were encoded once, beside the encoding that the naive form repeats in every epoch. ``memory``: an
encoder's forward and backward pass on the tiles of a batch, on the CPU, with the activations kept of all, of as many as
``train`` would keep here, and of none; each in a process of its own. ``trainable`` and ``frozen`` run on a GPU where
there is one.
"""

from __future__ import annotations

import argparse
import copy
import resource
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from slide_scale import fresh
from torch import Tensor
from tqdm import tqdm

import st_predict as stp
from st_predict._spatialdata.read import read_section
from st_predict.core.encoders.embed import tile_encoder
from st_predict.core.encoders.registry import build_encoder
from st_predict.core.fitting.hardware import Hardware, new_trainer
from st_predict.core.fitting.module import FitModule
from st_predict.core.fitting.network import Run, fit_network
from st_predict.core.inputs.encode import ActivationRoom, encode_rows
from st_predict.core.inputs.kinds import FeatureInputs, PixelInputs
from st_predict.core.inputs.spots import BlockSampler, SpotSet
from st_predict.core.methods.interface import Batch
from st_predict.core.methods.recipe import FitConfig, InputConfig, Recipe
from st_predict.core.methods.registry import build_method, build_network, find_recipe
from st_predict.core.methods.settle import settle_method
from st_predict.core.neighbors import array_places, nearest_spots
from st_predict.core.tiles.cut import cut_section
from st_predict.core.tiles.geometry import TileSpec

K, GENES, NAIVE_PART = 8, 250, 80
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def drawn_spots(encoder_px: int, n_sections: int, size_um: float, seed: int) -> SpotSet:
    """Drawn sections with their tiles as pixels."""
    parts, centers = [], []
    sections = stp.datasets.synthetic_tissue(n_sections=n_sections, n_subjects=n_sections, size_um=size_um, seed=seed)
    for number, one in enumerate(sections.values()):
        section, _ = read_section(one, need_counts=True)
        tiles = np.empty((section.n_spots, 1, encoder_px, encoder_px, 3), np.uint8)
        cut_section(section, TileSpec.of(112, None), tiles)
        counts = section.counts.toarray()[:, :GENES].astype(np.float32)
        parts.append(
            SpotSet(
                torch.from_numpy(tiles), torch.log1p(torch.from_numpy(counts)), torch.full((len(tiles),), number),
                torch.empty(len(tiles), 0), torch.from_numpy(array_places(section.centers_px)).float(),
            )
        )  # fmt: skip
        centers.append(section.centers_px)
    spots = SpotSet(*(torch.cat(values) for values in zip(*(p[:5] for p in parts), strict=True)))
    return spots.with_neighbors(nearest_spots(np.concatenate(centers), K, spots.sections.numpy()))


def naive_batch(spots: SpotSet, targets: Tensor) -> Batch:
    """Ten tiles a target, more where neighbors are equally far: its own, and again those of its neighborhood."""
    rows = torch.cat([targets[:, None], targets[:, None], spots.neighbors[targets]], dim=1)
    places = torch.arange(rows.numel()).view_as(rows)
    flat = rows.flatten()
    batch = Batch(spots.tiles[flat], places[:, 0], places[:, 2:], spots.places[flat], spots.expression[flat])
    return batch._replace(neighbor_weights=spots.batch(targets).neighbor_weights)


class Form:
    """One way to train: its own copy of the encoder and the method, and an optimizer."""

    def __init__(self, spots: SpotSet, encoder: Any, method: Any, config: FitConfig, precision: str) -> None:
        self.module = FitModule(
            copy.deepcopy(method), PixelInputs(InputConfig(), copy.deepcopy(encoder), []), config, spots
        ).to(DEVICE)
        self.module.method.train()
        self.optimizer = self.module.configure_optimizers()["optimizer"]
        self.precision, self.encoded, self.targets, self.seconds = precision, 0, 0, 0.0
        self.losses: list[float] = []
        self.held_out: list[tuple[float, float]] = []

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Seconds of what is done within."""
        begin = time.perf_counter()
        with in_precision(self.precision):
            yield
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - begin

    def step(self, batch: Batch) -> None:
        batch = on_device(batch)
        self.optimizer.zero_grad()
        with self.counted():
            loss = self.module.training_step(batch, 0)
            loss.backward()
            self.optimizer.step()
        self._note(batch, loss)

    def step_in_parts(self, batch: Batch, size: int) -> None:
        """The same step where the tiles do not fit in memory together: they are encoded once more without a gradient,
        which is not counted, for the gradient of their features."""
        batch = on_device(batch)
        encoder: Any = self.module.encoder
        parts = [part.flatten(0, 1) for part in batch.tiles.split(size)]
        self.optimizer.zero_grad()
        with torch.no_grad(), in_precision(self.precision):
            features = torch.cat([encoder(part) for part in parts]).requires_grad_()
        with self.counted():
            loss = torch.stack(list(self.module.method.loss(batch._replace(tiles=features)).values())).sum()
            loss.backward()
            for part, gradient in zip(parts, features.grad.split(size), strict=True):
                encoder(part).backward(gradient)
            self.optimizer.step()
        self._note(batch, loss)

    def _note(self, batch: Batch, loss: Tensor) -> None:
        self.losses.append(loss.item())
        if len(self.losses) == 1:  # what is set up once is not counted
            self.seconds = 0.0
            return
        self.encoded, self.targets = self.encoded + len(batch.tiles), self.targets + len(batch.targets)

    def validate(self, spots: SpotSet) -> None:
        """Note the loss on spots held out, beside the seconds of training until now."""
        encoder: Any = self.module.encoder
        with torch.no_grad(), in_precision(self.precision):
            features = encode_rows(encoder, spots.tiles.to(DEVICE), batch_size=NAIVE_PART)
            predicted = self.module.method.predict(
                on_device(spots.with_tiles(features).images(torch.arange(len(spots.tiles))))
            )
        loss = (predicted.float().cpu() - spots.expression).square().mean()
        self.held_out.append((self.seconds, float(loss)))

    def seconds_to(self, loss: float) -> float:
        """Of training until the loss on spots held out was that of another form, or lower, to three digits."""
        return next((seconds for seconds, own in self.held_out if own <= 1.001 * loss), float("nan"))


def on_device(batch: Batch) -> Batch:
    return Batch(*(None if values is None else values.to(DEVICE) for values in batch))


def trainable(arguments: argparse.Namespace) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(arguments.encoder, pretrained=False).eval()
    spots = drawn_spots(encoder.tile_px, n_sections=2, size_um=3000, seed=0)
    held_out = drawn_spots(encoder.tile_px, n_sections=1, size_um=1400, seed=1)
    config = FitConfig(
        batch_size=arguments.batch_size, block_size=arguments.block_size, trainable_encoder=True, augment=False
    ).settled(gradient=True)
    recipe = find_recipe("nh2st", "default", {"neighbors": K, "dropout": 0.0, "gene_dropout": 0.0, "input_noise": 0.0})
    method: Any = build_method("nh2st", recipe.settings, encoder.dim, GENES)
    method.before_fit(spots.reference())
    own = new_trainer(Hardware(), encoder=encoder).precision
    ours = {precision: Form(spots, encoder, method, config, precision) for precision in {own: 0, "32-true": 0}}
    naive = Form(spots, encoder, method, config, "32-true")
    naive.module.encoder.network.to(memory_format=torch.contiguous_format)  # type: ignore[union-attr]
    for rows in tqdm(_targets(spots, config, arguments.steps), total=arguments.steps, unit="step", leave=False):
        for form in ours.values():
            form.step(spots.batch(rows))
        naive.step_in_parts(naive_batch(spots, rows), NAIVE_PART)
        for form in (*ours.values(), naive):
            form.validate(held_out)
    print(
        f"\n{arguments.encoder}, K = {K}, {DEVICE}, {torch.get_num_threads()} threads, "
        f"batches of {config.batch_size} in blocks of {config.block_size}, {len(spots.tiles)} spots"
    )
    print(f"  {'':<18}{'tiles':>9}{'targets/s':>11}{'times':>7}{'tiles/s':>9}{'of bare':>9}{'loss':>9}{'apart':>9}"
          f"{'held out':>10}{'s to it':>9}")  # fmt: skip
    slowest, reached = naive.targets / naive.seconds, min(loss for _, loss in naive.held_out)
    for name, form in {f"ours, {own}": ours[own], "ours, 32-true": ours["32-true"], "naive, 32-true": naive}.items():
        rate, tiles = form.targets / form.seconds, form.encoded / form.seconds
        bare = bare_rate(form.module.encoder, max(8, round(ours[own].encoded / (arguments.steps - 1))), form.precision)
        apart = max(abs(a - b) for a, b in zip(form.losses, naive.losses, strict=True))
        print(f"  {name:<18}{form.encoded / form.targets:9.2f}{rate:11.2f}{rate / slowest:7.1f}{tiles:9.1f}"
              f"{tiles / bare:9.2f}{form.losses[-1]:9.4f}{apart:9.1e}"
              f"{form.held_out[-1][1]:10.4f}{form.seconds_to(reached):9.1f}")  # fmt: skip
    print("  tiles: encoded a target, wanted at most 1.6; times: the naive form, wanted at least 9; "
          "of bare: the bare encoder's forward and backward pass; apart: the losses' largest distance; "
          "s to it: seconds of training to the naive form's lowest loss on spots held out")  # fmt: skip


@contextmanager
def in_precision(precision: str) -> Iterator[None]:
    with torch.autocast(DEVICE, torch.bfloat16, enabled=precision != "32-true"):
        yield


def bare_rate(encoder: Any, n: int, precision: str) -> float:
    """Tiles a second of the encoder's forward and backward pass on one batch of random tiles."""
    network = copy.deepcopy(encoder).to(DEVICE)
    tiles = torch.randint(0, 256, (n, encoder.tile_px, encoder.tile_px, 3), dtype=torch.uint8, device=DEVICE)
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        with in_precision(precision):
            network(tiles).float().sum().backward()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return n / min(seconds[1:])


def _targets(spots: SpotSet, config: FitConfig, steps: int) -> Iterator[Tensor]:
    sampler = BlockSampler(spots.blocks(config.block_size), batch_size=config.batch_size, seed=0)
    while True:
        for rows in sampler:
            if steps == 0:
                return
            steps -= 1
            yield torch.from_numpy(rows)


def frozen(arguments: argparse.Namespace) -> None:
    """An epoch of fitting on features, and what the naive form would encode in it."""
    generator = torch.Generator().manual_seed(0)
    side = int(np.ceil(np.sqrt(arguments.spots)))
    centers = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)[: arguments.spots] * 100.0
    n = len(centers)
    spots = SpotSet(
        torch.randn(n, 256, generator=generator), torch.randn(n, GENES, generator=generator),
        torch.zeros(n, dtype=torch.long), torch.empty(n, 0), torch.from_numpy(array_places(centers)).float(),
    ).with_neighbors(nearest_spots(centers, K))  # fmt: skip
    recipe = settle_method("nh2st", params={"neighbors": K})
    one, default = (seconds_an_epoch(replace(recipe, fit=replace(recipe.fit, members=n)), spots)
                    for n in (1, recipe.fit.members))  # fmt: skip
    encoder = build_encoder(arguments.encoder, pretrained=False)
    encode = tile_encoder(encoder, DEVICE)
    tiles = np.random.default_rng(0).integers(0, 256, (64, encoder.tile_px, encoder.tile_px, 3), np.uint8)
    encode(tiles)
    begin = time.perf_counter()
    encode(tiles)
    rate = len(tiles) / (time.perf_counter() - begin)
    naive = one + (2 + K) * n / rate
    print(f"\nfrozen features, NH2ST, K = {K}, {n} spots, {DEVICE}, {torch.get_num_threads()} threads")
    print(f"  one network      {one:8.2f} s an epoch   wanted: at most 5 s for 10,000 spots")
    print(f"  {recipe.fit.members}, the default   {default:8.2f} s an epoch")
    print(f"  naive, one       {naive:8.0f} s an epoch   ({2 + K} tiles a target at the {rate:.0f} tiles/s of {arguments.encoder}): "
          f"{naive / one:.0f} times, wanted: at least 100")  # fmt: skip


def seconds_an_epoch(recipe: Recipe, spots: SpotSet) -> float:
    """Of fitting to features."""
    network: Any = build_network(recipe, spots.tiles.shape[1], GENES)
    network.before_fit(spots.reference())
    seconds = []
    for epochs in (1, 4):  # what starting takes is in both
        begin = time.perf_counter()
        fit_network(
            network,
            FeatureInputs(InputConfig(), []),
            spots,
            recipe.fit,
            epochs=epochs,
            held_out={},
            seed=0,
            run=Run(Hardware()),
        )
        seconds.append(time.perf_counter() - begin)
    return (seconds[1] - seconds[0]) / 3


def measured_steps(
    encoder_name: str, n_tiles: int, kept: int | None, steps: int = 4
) -> tuple[int, float, float, float]:
    """Tiles whose activations were kept, seconds of the fastest step but the first, peak memory in GB, and a gradient."""
    encoder = (
        build_encoder(encoder_name, pretrained=False) if encoder_name == "resnet18" else build_encoder(encoder_name)
    )
    tiles = torch.randint(
        0, 256, (n_tiles, 1, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    room, seconds = ActivationRoom(kept), []
    for _ in range(steps):
        encoder.zero_grad()
        begin = time.perf_counter()
        encode_rows(encoder, tiles, batch_size=16, room=room).square().mean().backward()
        seconds.append(time.perf_counter() - begin)
    gradient = sum(float(p.grad.double().abs().sum()) for p in encoder.parameters() if p.grad is not None)
    return room.kept or 0, min(seconds[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, gradient


def memory(arguments: argparse.Namespace) -> None:
    """What keeping fewer activations saves, and costs."""
    n = arguments.tiles
    rows = [fresh(measured_steps, arguments.encoder, n, kept) for kept in tqdm((n, None, 0), unit="run", leave=False)]
    print(f"{arguments.encoder} in training, {n} tiles a step, cpu, {torch.get_num_threads()} threads")
    print("  kept   a step, s   peak GB   gradient")
    for (kept, seconds, peak, gradient), name in zip(rows, ("", "as train does", ""), strict=True):
        same = "the same" if gradient == rows[0][3] else f"{gradient / rows[0][3] - 1:.0e} off"
        print(f"{min(kept, n):6d}{seconds:12.1f}{peak:10.1f}   {same}  {name}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    parsers = {name: commands.add_parser(name) for name in ("trainable", "frozen", "memory")}
    parsers["trainable"].set_defaults(command=trainable)
    parsers["frozen"].set_defaults(command=frozen)
    parsers["memory"].set_defaults(command=memory)
    parsers["memory"].add_argument("--encoder", default="efficientnet_lite0")
    parsers["memory"].add_argument("--tiles", type=int, default=256, help="of a batch of 160 targets, with their rim")
    parsers["trainable"].add_argument("--encoder", default="resnet18")
    parsers["trainable"].add_argument("--batch-size", type=int, default=160)
    parsers["trainable"].add_argument("--block-size", type=int, default=80)
    parsers["trainable"].add_argument("--steps", type=int, default=4, help="the first is not counted")
    parsers["frozen"].add_argument("--encoder", default="efficientnet_lite0")
    parsers["frozen"].add_argument("--spots", type=int, default=10_000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    arguments.command(arguments)


if __name__ == "__main__":
    main()
