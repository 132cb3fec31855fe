"""Small sections whose counts follow the color of their image, for every room above the readers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from st_predict.core.model.model import Model

# Small matrices on few cores: threads cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ST_PREDICT_PROGRESS"] = "0"

UM_PER_PX = 4.0
PITCH_PX = 24
QUICK = {"encoder": "tiny", "genes": 10, "max_epochs": 2, "batch_size": 16}
"""Arguments of a training that takes a fraction of a second."""
START_FIRST = ("test_kills.py", "test_bad_input.py", "integration", "test_examples.py", "tl", "cli")
"""Folders and files of tests that train, and so take longest; the two sweeps first of all, side by side."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first: processes that share the files then end together, none waits for one long file."""
    place = dict(zip(START_FIRST, range(-len(START_FIRST), 0), strict=True))
    folder = Path(__file__).parent
    items.sort(key=lambda item: place.get(item.path.relative_to(folder).parts[0], 0))


def colorful_pixels(height: int, width: int, seed: int) -> np.ndarray:
    """``(height, width, 3)`` uint8; smooth colors in which no axis is like another, with a little noise."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 31 + seed), np.cos(y / 23 + 2 * seed), np.sin((x + y) / 41 + seed)], axis=-1)
    noise = np.random.default_rng(seed).normal(0, 5, waves.shape)
    return (128 + 100 * waves + noise).clip(0, 255).astype(np.uint8)


def build_section(
    name: str = "A",
    seed: int = 0,
    *,
    subject: str | None = None,
    um_per_px: float | None = UM_PER_PX,
    grid: tuple[int, int] = (6, 7),
    n_genes: int = 24,
    depth: float = 60.0,
    chunks: int | None = 64,
    multiscale: bool = False,
    table: bool = True,
    gene_names: list[str] | None = None,
) -> SpatialData:
    """A section of ``grid`` rows and columns of spots; gene ``i`` follows the color at the spot."""
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel, TableModel

    rows, cols = grid
    pixels = colorful_pixels(rows * PITCH_PX + 20, cols * PITCH_PX + 30, seed)
    row, col = (v.ravel() for v in np.mgrid[:rows, :cols])
    centers = np.column_stack([col * PITCH_PX + 22.0, row * PITCH_PX + 17.0])
    color = pixels[centers[:, 1].astype(int), centers[:, 0].astype(int)] / 255.0
    loading = np.random.default_rng(99).normal(0, 1.5, (3, n_genes))
    rate = np.exp(color @ loading)
    counts = np.random.default_rng(seed + 100).poisson(depth * rate / rate.mean()).astype(np.float32)
    elements: dict[str, Any] = {
        "images": {
            f"{name}_image": Image2DModel.parse(
                np.moveaxis(pixels, -1, 0),
                dims=("c", "y", "x"),
                c_coords=["r", "g", "b"],
                **({"chunks": chunks} if chunks else {}),
                **({"scale_factors": [2]} if multiscale else {}),
            )
        },
        "shapes": {name: ShapesModel.parse(centers, geometry=0, radius=8.0)},
    }
    if table:
        n = len(centers)
        obs = pd.DataFrame(
            {"region": pd.Categorical([name] * n), "instance_id": np.arange(n), "section": pd.Categorical([name] * n)},
            index=[f"{name}_{i}" for i in range(n)],
        )
        if subject is not None:
            obs["subject"] = pd.Categorical([subject] * n)
        names = gene_names or [f"g{i}" for i in range(n_genes)]
        measured = AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=names), obsm={"spatial": centers})
        elements["tables"] = {
            "table": TableModel.parse(measured, region=name, region_key="region", instance_key="instance_id")
        }
    sdata = SpatialData(**elements)
    if um_per_px is not None:
        sdata.attrs["st_predict"] = {"um_per_px": {f"{name}_image": um_per_px}}
    return sdata


@pytest.fixture(scope="session")
def make_section() -> Callable[..., SpatialData]:
    """Build a fresh section; see :func:`build_section`."""
    return build_section


@pytest.fixture(scope="session")
def quick() -> dict[str, Any]:
    """Arguments of a training that takes a fraction of a second."""
    return dict(QUICK)


@pytest.fixture
def three_sections() -> dict[str, SpatialData]:
    """Fresh sections A, B and C of three subjects."""
    return {name: build_section(name, seed, subject=f"P{seed}") for seed, name in enumerate("ABC")}


@pytest.fixture(scope="session")
def quick_model() -> Model:
    """A model trained on two sections; not to be changed."""
    from st_predict.tl import train

    # Its predictions depend on what lies around a spot, which the default's do not.
    return train([build_section("A", 0), build_section("B", 1)], **QUICK, context=(8, 24), anchor=False)


class _Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture(scope="session")
def make_trap() -> Callable[[Path], object]:
    """An object whose pickle leaves the given file behind where it is unpickled."""
    return _Trap


@pytest.fixture
def tile_count(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Counts the tiles every encoder is given, from now on; those it is converted with are none of anybody's."""
    from st_predict.core.encoders import embed
    from st_predict.core.encoders.encoder import Encoder

    seen = SimpleNamespace(tiles=0)
    forward, encoder_of = Encoder.forward, embed.tile_encoder

    def counted(self: Any, tiles: Any) -> Any:
        seen.tiles += len(tiles)
        return forward(self, tiles)

    def counted_encoder(*arguments: Any) -> Any:
        before = seen.tiles
        encode = encoder_of(*arguments)
        seen.tiles = before

        def run(tiles: Any) -> Any:
            before = seen.tiles
            features = encode(tiles)
            seen.tiles = before + len(tiles)
            return features

        return run

    monkeypatch.setattr(Encoder, "forward", counted)
    monkeypatch.setattr(embed, "tile_encoder", counted_encoder)
    return seen


@pytest.fixture
def forget_models() -> Iterator[None]:
    """A session in which nothing was trained or loaded yet."""
    from st_predict.tl import _session

    earlier = list(_session._last)
    _session._last.clear()
    yield
    _session._last[:] = earlier
