"""Where a fit runs: what Lightning is told of devices. Knows no method."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import lightning.pytorch as lightning
import torch
from torch import nn

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Hardware(NamedTuple):
    """Where Lightning runs a fit; values are those of ``lightning.pytorch.Trainer``, and a precision of ``"auto"``."""

    accelerator: str = "auto"
    devices: int | list[int] | Literal["auto"] = 1
    num_nodes: int = 1
    strategy: Any = "auto"
    precision: Any = "auto"

    @property
    def several(self) -> bool:
        """Whether more than one device may be used."""
        one = self.devices == 1 or (isinstance(self.devices, list) and len(self.devices) == 1)
        return self.num_nodes > 1 or not one


def new_trainer(hardware: Hardware, *, encoder: nn.Module | None = None, **settings: Any) -> lightning.Trainer:
    """A Lightning Trainer that leaves checkpoints, bars and the sharing of batches to us; ``encoder`` is to be trained."""
    on = hardware._asdict()
    if hardware.precision == "auto":
        on["precision"] = _precision(hardware.accelerator, encoder)
    if hardware.several and hardware.strategy == "auto":  # parts of a method may lie idle in a step
        on["strategy"] = "ddp_find_unused_parameters_true"
    with quiet_lightning():
        return lightning.Trainer(
            **on,
            **{"logger": False, **settings},
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            inference_mode=False,  # what a method keeps while it is scored may take part in the next epoch
            use_distributed_sampler=False,  # processes share the tiles of a batch, see gathered
        )


def _precision(accelerator: str, encoder: nn.Module | None) -> str:
    """What ``"auto"`` is.

    bfloat16 for an encoder in training where the device multiplies it in hardware: several times as fast, with the
    losses of single precision, in which weights and optimizer stay. NVIDIA GPUs do so since Ampere. CPUs with AMX do for
    products of matrices, which depthwise convolutions are not: a network of those is slower in bfloat16.
    """
    if encoder is None:
        return "32-true"
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        pays = torch.cuda.get_device_capability() >= (8, 0)
    else:
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        depthwise = any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in encoder.modules())
        pays = accelerator in ("auto", "cpu") and capabilities.get("amx_bf16", False) and not depthwise
    return "bf16-mixed" if pays else "32-true"


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide Lightning's remarks on hardware and workers: these settings were made on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def find_hardware(
    accelerator: str,
    devices: int | Sequence[int] | Literal["auto"] = 1,
    *,
    num_nodes: int = 1,
    strategy: Any = "auto",
    precision: Any = "auto",
) -> tuple[Hardware, str]:
    """Where Lightning runs, and the torch device of frozen encoding.

    Raises
    ------
    InputError
        If devices or a precision make no sense, or an accelerator was asked for that is not there.
    """
    chosen: Any = devices if isinstance(devices, int | str) else list(devices)
    counts = {
        "devices": 1 if chosen == "auto" else chosen if isinstance(chosen, int) else len(chosen),
        "num_nodes": num_nodes,
    }
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise InputError(
                f"{name} is {devices if name == 'devices' else num_nodes!r}", where=name,
                expected="how many, at least 1" + (", 'auto', or a list of device numbers" if name == "devices" else ""),
                remedy=f"correct {name}",
            )  # fmt: skip
    hardware = Hardware(accelerator, chosen, num_nodes, strategy, precision)
    device = _encoder_device(accelerator, hardware)
    _check_trainer(hardware)
    return hardware, device


def _check_trainer(hardware: Hardware) -> None:
    """Have Lightning refuse unknown settings now, and not after the tiles were encoded."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        new_trainer(hardware)
    except InputError:
        raise
    except (MisconfigurationException, ValueError, RuntimeError, TypeError) as error:
        raise InputError(
            " ".join(str(error).split()),
            where="accelerator, devices, num_nodes, strategy, precision",
            expected="what lightning.pytorch.Trainer takes on this machine",
            remedy="correct the one that is named",
        ) from error


def _encoder_device(accelerator: str, hardware: Hardware) -> str:
    """The torch device of frozen encoding: Lightning's accelerator, and of several devices this process's own."""
    from lightning.fabric.accelerators import ACCELERATOR_REGISTRY

    known = ["auto", "gpu", *ACCELERATOR_REGISTRY.available_accelerators()]
    if accelerator not in known:
        raise InputError(
            f"accelerator is {accelerator!r}", where="accelerator", expected=", ".join(known), remedy="choose one"
        )
    if accelerator == "cpu":
        return accelerator
    if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda"):
        local = int(os.environ.get("LOCAL_RANK", 0))
        return f"cuda:{hardware.devices[local] if isinstance(hardware.devices, list) else local}"
    if accelerator == "auto":
        return accelerator
    if accelerator in ("gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    raise InputError(
        f"there is no {accelerator} on this machine",
        where="accelerator",
        expected="an accelerator this machine has",
        remedy="accelerator='auto' takes what there is",
    )
