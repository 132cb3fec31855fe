"""An encoder on a CPU: converted for ONNX Runtime, which encodes faster than torch. Knows tiles as arrays, no slides."""

from __future__ import annotations

import io
import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from st_predict.core.encoders.encoder import Encoder

logger = logging.getLogger("st_predict")
# Beyond, converting takes seconds and as much memory again, for nothing: networks of that size are transformers, which
# torch runs as fast (ViT-B, 343 MB). A graph could not hold more than 2 GB.
_LARGEST_BYTES = 200_000_000
_TOLERANCE = 1e-3  # of the features' spread; rounding is a hundred times less, a wrong conversion far more


class _Converted(NamedTuple):
    fingerprint: str
    """Fingerprint of the weights that were converted."""
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None
    """Encodes one tile in the thread that calls it; ``None`` where the network could not be converted."""


# Beside the encoders and not in them: a session can be neither copied nor pickled.
_converted: WeakKeyDictionary[Encoder, _Converted] = WeakKeyDictionary()


def encode_on_cpu(encoder: Encoder) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None:
    """Make a function that encodes tiles ``(B, H, W, 3)`` uint8 to ``(B, dim)`` float32 with the encoder's present weights.

    Each tile is encoded by itself, in one of several threads, as many as torch is set to use. So its features depend
    neither on the other tiles nor on the number of threads. They are the same as torch's, to rounding. An encoder is
    converted once in a process, and again when its weights have changed.

    Parameters
    ----------
    encoder
        The encoder, on the CPU and in evaluation mode.

    Returns
    -------
    The function, or ``None`` where torch has to run the encoder: ONNX Runtime is not installed, cannot run it, or would
    not be faster. The log says so once.
    """
    fingerprint = encoder.fingerprint()
    found = _converted.get(encoder)
    if found is None or found.fingerprint != fingerprint:
        found = _converted[encoder] = _Converted(fingerprint, _convert(encoder))
    if found.run is None:
        return None
    run, threads = found.run, ThreadPoolExecutor(torch.get_num_threads())

    def encode(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.concatenate(list(threads.map(run, np.split(tiles, len(tiles)))))

    return encode


def _convert(encoder: Encoder) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None:
    """Make what encodes one tile; ``None``, with a message, where that fails."""
    try:
        run = _session(encoder)
        _compare(encoder, run)
    except Exception as error:  # noqa: BLE001 - whatever an unusual network fails with, torch can run it
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        logger.info("%s is encoded by torch, not by ONNX Runtime: %s", encoder.name, reason)
        return None
    return run


def _session(encoder: Encoder) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    n_bytes = sum(value.nbytes for value in encoder.state_dict().values())
    if n_bytes > _LARGEST_BYTES:
        raise ValueError(f"it has {n_bytes / 1e6:.0f} MB of weights, and torch is as fast for large networks")
    import onnxruntime

    graph = io.BytesIO()
    tile = torch.zeros(1, encoder.tile_px, encoder.tile_px, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # That this exporter is the older one, and what a trace took for constant: the result is compared instead.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            encoder,
            (tile,),
            graph,  # type: ignore[arg-type]  # its annotation forgets that it writes to any file
            input_names=["tiles"],
            output_names=["features"],
            dynamo=False,  # as fast when it runs, and converts in a second where the newer exporter takes twenty
        )
    options = onnxruntime.SessionOptions()
    # Threads are over tiles: none wait for others within a layer, and none is there to be lost in a fork.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])

    def run(tile: NDArray[np.uint8]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = session.run(None, {"tiles": tile})[0]
        return features

    return run


def _compare(encoder: Encoder, run: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> None:
    """Refuse a conversion whose features differ from those of torch."""
    tile = np.random.default_rng(0).integers(0, 256, (1, encoder.tile_px, encoder.tile_px, 3), np.uint8)
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(tile)).numpy()
    if not np.allclose(run(tile), expected, rtol=0, atol=_TOLERANCE * expected.std()):
        raise ValueError("the converted network gives other features")
