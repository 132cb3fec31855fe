"""Two real processes share the tiles of every batch, and train as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from st_predict.core import processes
from st_predict.core.fitting.hardware import Hardware, new_trainer
from st_predict.core.model.load import load_model
from st_predict.core.processes import gathered, share

SCRIPT = """
import sys
from pathlib import Path

import lightning.pytorch as lightning
import torch

import st_predict as stp
from st_predict.core.encoders.encoder import Encoder
from st_predict.core.processes import rank_and_size

out, devices, kinds = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
seen, forward = [], Encoder.forward


def counted(self, tiles):
    if torch.is_grad_enabled():
        seen.append(len(tiles))
    return forward(self, tiles)


class Gradients(lightning.Callback):
    def __init__(self):
        self.kept = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.kept.append({n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None})


Encoder.forward = counted
sections = stp.datasets.synthetic_tissue(n_sections=2, n_subjects=2, size_um=900)
for kind in kinds:
    seen.clear()
    gradients = Gradients()
    # Hyperedges join the most similar nodes: of two that are nearly as similar the rounding of other batches picks another.
    model = stp.tl.train(
        sections, encoder="tiny", genes=20, max_epochs=2, batch_size=13, trainable_encoder=kind == "trainable",
        inner_folds=1, accelerator="cpu", devices=devices, precision="32-true", callbacks=[gradients],
        params={"hypergraphs": "none"},
    )
    rank, size = rank_and_size()
    found = {
        "gradients": gradients.kept, "tensors": model.tensors(), "held_out": model.held_out_rows, "seen": sum(seen),
    }
    torch.save(found, out / f"{kind}-{rank}.pt")
    model.save(out / f"{kind}-model")
"""
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29517")


def run(folder: Path, devices: int, *kinds: str, by: tuple[str, ...] = ()) -> Path:
    """The folder in which each process leaves what it found, of each kind of encoder in turn."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, *by, str(script), str(folder), str(devices), *kinds],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("one"), 1, "trainable", "frozen")


def found_in(folder: Path, kind: str, rank: int) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / f"{kind}-{rank}.pt", weights_only=True)
    return found


def far_apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Largest difference, relative to the largest value."""
    assert one.keys() == other.keys()
    one, other = ({name: values.nan_to_num(-1.0) for name, values in found.items()} for found in (one, other))
    largest = max(float(values.abs().max()) for values in one.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / largest


@pytest.mark.one_python
@pytest.mark.parametrize(("by", "kinds"), [((), ("trainable", "frozen")), (TORCHRUN, ("trainable",))])
def test_two_processes_train_as_one_does(
    by: tuple[str, ...], kinds: tuple[str, ...], by_one: Path, tmp_path: Path
) -> None:
    run(tmp_path, 2, *kinds, by=by)
    for kind in kinds:
        alone, together = found_in(by_one, kind, 0), [found_in(tmp_path, kind, rank) for rank in range(2)]
        assert len(alone["gradients"]) == len(together[0]["gradients"]) > 4
        for one, other in zip(alone["gradients"], together[0]["gradients"], strict=True):
            assert far_apart(one, other) < 1e-4
        assert far_apart(alone["tensors"], together[0]["tensors"]) < 1e-4
        for name, values in together[0]["tensors"].items():
            other = together[1]["tensors"][name]
            assert torch.equal(values.nan_to_num(-1.0), other.nan_to_num(-1.0)), f"the processes have parted: {name}"
        for one, other in zip(alone["held_out"], together[1]["held_out"], strict=True):
            assert one["pcc"] == pytest.approx(other["pcc"], abs=1e-4)
        assert load_model(tmp_path / f"{kind}-model").sections == ["S1", "S2"]
        if kind == "trainable":
            halves = [found["seen"] for found in together]
            assert sum(halves) == alone["seen"], "each tile is encoded once, by one of them"
            assert abs(halves[0] - halves[1]) <= 0.1 * alone["seen"]


@pytest.mark.parametrize("n", [1, 2, 7, 12])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_all_tiles_once_and_in_order(monkeypatch: pytest.MonkeyPatch, n: int, size: int) -> None:
    found = []
    for rank in range(size):
        monkeypatch.setattr(processes, "rank_and_size", lambda rank=rank: (rank, size))
        found += range(n)[share(n)]
    assert found == list(range(n))


def test_rows_of_all_come_back_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.arange(14.0).view(7, 2)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(processes, "rank_and_size", lambda rank=rank: (rank, 3))
        gathered(rows[share(7)], 7, lambda padded, sync_grads: parts.append(padded) or padded[None])
    found = gathered(rows[:3], 7, lambda *_, **__: torch.stack(parts))
    assert torch.equal(found, rows)


def test_idle_parts_of_a_method_are_allowed_for() -> None:
    assert Hardware("cpu", 2).several and Hardware("cpu", 1, 2).several and Hardware("cpu", "auto").several
    assert not Hardware("cpu", [1]).several and not Hardware("cpu", 1).several
    trainer = new_trainer(Hardware("cpu", 2))
    assert trainer.strategy._ddp_kwargs["find_unused_parameters"]


@pytest.mark.parametrize("amx", [True, False])
def test_an_encoder_is_trained_in_bfloat16_where_that_is_faster(monkeypatch: pytest.MonkeyPatch, amx: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx}, raising=False)
    dense, depthwise = nn.Sequential(nn.Conv2d(8, 8, 3)), nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))
    assert new_trainer(Hardware("cpu"), encoder=dense).precision == ("bf16-mixed" if amx else "32-true")
    assert new_trainer(Hardware("cpu"), encoder=depthwise).precision == "32-true"
    assert new_trainer(Hardware("cpu")).precision == "32-true"
    assert new_trainer(Hardware("cpu", precision="64-true"), encoder=dense).precision == "64-true"
