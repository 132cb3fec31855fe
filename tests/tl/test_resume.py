"""A training that is killed at any moment and resumed gives the model of one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from spatialdata import SpatialData

import st_predict as stp
from st_predict.core.errors import InputError

SCRIPT = """
import os
import sys
import threading

import lightning.pytorch
import timm

import st_predict as stp
from st_predict.core.fitting import checkpoints, fit

checkpoints._EVERY_SECONDS = 0.05
sections = stp.datasets.synthetic_tissue(n_sections=2, n_subjects=2, size_um=700)
assert threading.active_count() == 1, "a fork would lack the other threads"
for line in sys.stdin:
    folder, out, kind = line.split()
    child = os.fork()
    if child == 0:
        model = stp.tl.train(
            sections, encoder="tiny", genes=20, max_epochs=4, batch_size=8, inner_folds=2, members=2,
            trainable_encoder=kind == "trainable", accelerator="cpu", checkpoint_dir=folder, resume=True,
        )
        model.save(out)
        sys.exit()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Trainer(NamedTuple):
    """A process that has imported and drawn all there is to it, and trains in a fork of itself as often as asked."""

    process: subprocess.Popen[str]
    messages: Path

    def start(self, folder: Path, kind: str) -> int:
        """A training that begins now; the fork it runs in."""
        assert self.process.stdin is not None
        print(folder, folder.parent / f"model-{folder.name}", kind, file=self.process.stdin, flush=True)
        return self._told()

    def ended(self) -> int:
        """Waits for the training; its exit code, or minus the signal that ended it."""
        return self._told()

    def _told(self) -> int:
        assert self.process.stdout is not None
        too_long = threading.Timer(300, os.killpg, (self.process.pid, signal.SIGKILL))
        too_long.start()
        line = self.process.stdout.readline()
        too_long.cancel()
        assert line, self.messages.read_text()
        return int(line)


@pytest.fixture(scope="module")
def trainers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Trainer]]:
    """Two of them: nothing that holds in one process alone, as the order of a set, may be what a resumed training needs."""
    folder = tmp_path_factory.mktemp("trainers")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    with ExitStack() as running:
        found = []
        for name in ("one", "other"):
            messages = folder / f"{name}.txt"
            process = subprocess.Popen(
                [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=running.enter_context(messages.open("w")), text=True, start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            found.append(Trainer(running.enter_context(process), messages))
        yield found


@pytest.mark.one_python
@pytest.mark.parametrize("kind", ["frozen", "trainable"])
def test_killed_three_times_and_resumed_is_as_if_never_killed(
    kind: str, trainers: list[Trainer], tmp_path: Path
) -> None:
    one, other = trainers
    one.start(tmp_path / "unbroken", kind)
    begin = time.monotonic()
    assert one.ended() == 0, one.messages.read_text()
    seconds = time.monotonic() - begin
    killed = 0
    for trainer in (other, one, other):
        training = trainer.start(tmp_path / "killed", kind)
        time.sleep(random.uniform(0.2, 0.8) * seconds)  # a run that goes on from another one ends sooner
        with suppress(ProcessLookupError):  # it was done before
            os.kill(training, signal.SIGKILL)
        killed += trainer.ended() == -signal.SIGKILL
    other.start(tmp_path / "killed", kind)
    assert other.ended() == 0, other.messages.read_text()
    assert killed >= 1
    models = [stp.load_model(tmp_path / f"model-{name}") for name in ("unbroken", "killed")]
    assert models[0].id == models[1].id
    assert models[0].history.equals(models[1].history) and models[0].held_out.equals(models[1].held_out)


@pytest.mark.one_python
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
    other_order = [make_section("B", 1), make_section("A", 0)]
    with pytest.raises(InputError, match=r"other values of order of sections \(\['A', 'B'\], now \['B', 'A'\]\)\n"):
        stp.tl.train(other_order, **quick, checkpoint_dir=tmp_path / "run", resume=True)


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


@pytest.mark.one_python
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
