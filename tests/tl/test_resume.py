"""A training that is killed at any moment and resumed gives the model of one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spatialdata import SpatialData

import st_predict as stp
from st_predict.core.errors import InputError

SCRIPT = """
import sys
from pathlib import Path

import st_predict as stp
from st_predict.core.training import checkpoints

checkpoints._EVERY_SECONDS = 0.05
folder, out, trainable = sys.argv[1:4]
sections = stp.datasets.synthetic_tissue(n_sections=3, n_subjects=3, size_um=1200)
(Path(out).parent / "begun").touch()
model = stp.tl.train(
    sections, encoder="tiny", genes=20, max_epochs=8, batch_size=8, inner_folds=2,
    trainable_encoder=trainable == "trainable", accelerator="cpu", checkpoint_dir=folder, resume=True,
)
model.save(out)
"""


def start(folder: Path, kind: str, tmp_path: Path) -> subprocess.Popen[str]:
    """A training in a process of its own, which has just begun."""
    script, begun = tmp_path / "script.py", tmp_path / "begun"
    script.write_text(SCRIPT)
    begun.unlink(missing_ok=True)
    with (tmp_path / "messages.txt").open("w") as messages:
        process = subprocess.Popen(
            [sys.executable, str(script), str(folder), str(tmp_path / f"model-{folder.name}"), kind],
            stderr=messages, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    while not begun.exists():
        assert process.poll() is None, (tmp_path / "messages.txt").read_text()
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("kind", ["frozen", "trainable"])
def test_killed_three_times_and_resumed_is_as_if_never_killed(kind: str, tmp_path: Path) -> None:
    unbroken = start(tmp_path / "unbroken", kind, tmp_path)
    begin = time.monotonic()
    assert unbroken.wait(timeout=300) == 0, (tmp_path / "messages.txt").read_text()
    seconds = time.monotonic() - begin
    killed = 0
    for _ in range(3):
        process = start(tmp_path / "killed", kind, tmp_path)
        time.sleep(random.uniform(0.2, 0.8) * seconds)  # a run that goes on from another one ends sooner
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    last = start(tmp_path / "killed", kind, tmp_path)
    assert last.wait(timeout=300) == 0, (tmp_path / "messages.txt").read_text()
    assert killed >= 1
    models = [stp.load_model(tmp_path / f"model-{name}") for name in ("unbroken", "killed")]
    assert models[0].id == models[1].id
    assert models[0].history.equals(models[1].history) and models[0].held_out.equals(models[1].held_out)


def test_tiles_are_not_encoded_again(
    make_section: Callable[..., SpatialData], quick: dict[str, Any], tmp_path: Path, tile_count: Any
) -> None:
    def train(**settings: Any) -> str:
        sections = [make_section("A", 0), make_section("B", 1)]
        return stp.tl.train(sections, **quick, checkpoint_dir=tmp_path / "run", **settings).id

    first = train()
    seen = tile_count.tiles
    assert seen >= 2 * 3 * 42
    assert train(resume=True) == first and tile_count.tiles == seen
    with pytest.raises(InputError, match="holds a training"):
        train()
    with pytest.raises(InputError, match=r"other values of (panel, )?section B\n"):
        stp.tl.train(
            [make_section("A", 0), make_section("B", 2)], **quick, checkpoint_dir=tmp_path / "run", resume=True
        )
    with pytest.raises(InputError, match=r"other values of seed \(0, now 1\)"):
        train(resume=True, seed=1)


def test_nothing_is_resumed_from_nowhere(make_section: Callable[..., SpatialData], quick: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="without a folder"):
        stp.tl.train(make_section(), **quick, resume=True)


@pytest.mark.parametrize(
    ("settings", "where"),
    [({"devices": 0}, "devices"), ({"num_nodes": 0}, "num_nodes"), ({"strategy": "nonsense"}, "strategy"),
     ({"precision": "11-bit"}, "precision"), ({"devices": "many"}, "devices")],
)  # fmt: skip
def test_hardware_that_makes_no_sense_is_refused_before_tiles_are_encoded(
    make_section: Callable[..., SpatialData],
    quick: dict[str, Any],
    settings: dict[str, Any],
    where: str,
    tile_count: Any,
) -> None:
    with pytest.raises(InputError) as error:
        stp.tl.train(make_section(), **quick, **settings)
    assert where in error.value.where and tile_count.tiles == 0


def test_loggers_and_callbacks_see_the_fit_on_all_sections(
    three_sections: dict[str, SpatialData], quick: dict[str, Any], tmp_path: Path
) -> None:
    import pandas as pd
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import CSVLogger

    class Ends(Callback):
        fits = 0

        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            self.fits += 1

    ends = Ends()
    model = stp.tl.train(three_sections, **quick, logger=CSVLogger(tmp_path), callbacks=[ends], precision="bf16-mixed")
    assert ends.fits == 1
    logged = pd.read_csv(next(tmp_path.rglob("metrics.csv")))
    final = model.history[model.history["fit"] == "final"]
    assert logged["loss_mse"].tolist() == pytest.approx(final["mse"].tolist(), rel=1e-5)
