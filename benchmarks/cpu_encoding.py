"""Ways of running an encoder on a CPU, in one run: torch as it is, folded, traced and compiled, and ONNX Runtime.

python benchmarks/cpu_encoding.py [--threads 1 2] [--rounds 5] [--compile]

Batches of 32 tiles of 224 px; each figure is the median of rounds in which all take their turn. ``folded`` has its batch
norms inside its convolutions and takes 4 tiles at a time, ``traced`` is frozen and optimized by ``torch.jit``, ``at once``
is ONNX Runtime given all 32. ``--compile`` adds ``torch.compile``, which needs a C++ compiler and minutes.
"""

from __future__ import annotations

import argparse
import copy
import io
import time
import warnings
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from st_predict.core.encoders.embed import tile_encoder
from st_predict.core.encoders.encoder import Encoder
from st_predict.core.encoders.registry import build_encoder

Run = Callable[[torch.Tensor], torch.Tensor]
TILES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (32, 224, 224, 3), np.uint8))


def as_it_is(encoder: Encoder) -> Run:
    return encoder


def folded(encoder: Encoder) -> Run:
    encoder = copy.deepcopy(encoder)
    for module in list(encoder.modules()):
        before = None
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                statistics = (child.running_mean, child.running_var, child.eps, child.weight, child.bias)
                before.weight, before.bias = fuse_conv_bn_weights(before.weight, before.bias, *statistics)
                setattr(module, name, getattr(child, "act", nn.Identity()))
            before = child
    return lambda tiles: torch.cat([encoder(part) for part in tiles.split(4)])


def traced(encoder: Encoder) -> Run:
    with torch.no_grad():
        return torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(encoder, TILES)))


def compiled(encoder: Encoder) -> Run:
    return torch.compile(encoder)


def at_once(encoder: Encoder) -> Run:
    graph = io.BytesIO()
    torch.onnx.export(encoder, (TILES,), graph, input_names=["tiles"], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda tiles: torch.from_numpy(session.run(None, {"tiles": tiles.numpy()})[0])


def st_predict(encoder: Encoder) -> Run:
    encode = tile_encoder(encoder, "cpu")
    return lambda tiles: torch.from_numpy(encode(tiles.numpy()))


WAYS = {"torch": as_it_is, "torch, folded": folded, "torch, traced": traced, "torch, compiled": compiled,
        "ONNX Runtime, at once": at_once, "st-predict": st_predict}  # fmt: skip


def measure(name: str, ways: dict[str, Callable[[Encoder], Run]], rounds: int) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name, pretrained=name == "efficientnet_lite0")
    print(f"\n{name}, {torch.get_num_threads()} threads")
    runs, ready = {}, {}
    for way, make in ways.items():
        begin = time.perf_counter()
        runs[way] = make(encoder)
        with torch.inference_mode():
            runs[way](TILES)  # what is prepared at the first use is prepared now
        ready[way] = time.perf_counter() - begin
    seconds = np.empty((rounds, len(runs)))
    with torch.inference_mode():
        expected = encoder(TILES)
        apart = [float((run(TILES) - expected).abs().max()) for run in runs.values()]
        for round_, (i, run) in ((r, pair) for r in range(rounds) for pair in enumerate(runs.values())):
            begin = time.perf_counter()
            run(TILES)
            seconds[round_, i] = time.perf_counter() - begin
    for way, taken, off in zip(runs, np.median(seconds, axis=0), apart, strict=True):
        print(f"  {way:<22}{len(TILES) / taken:7.1f} tiles/s   ready in {ready[way]:5.1f} s   off torch by {off:.0e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    ways = {way: make for way, make in WAYS.items() if make is not compiled or arguments.compile}
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for name in ("efficientnet_lite0", "resnet18", "vit_tiny_patch16_224"):
            measure(name, ways, arguments.rounds)


if __name__ == "__main__":
    main()
