"""Round trips: one drawn tissue through every door gives the same spots, counts, pixels and scale, hence one prediction."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spatialdata import SpatialData

import st_predict as stp
from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.read import read_section
from st_predict.core.errors import InputError
from st_predict.core.model.model import Model


@pytest.fixture(scope="module")
def tissue() -> dict[str, SpatialData]:
    return stp.datasets.synthetic_tissue(n_sections=2, n_genes=40, size_um=700)


@pytest.fixture(scope="module")
def model(tissue: dict[str, SpatialData]) -> Model:
    return stp.tl.train(tissue, method="ridge", encoder="tiny", genes=15, tile_um=112)


def predicted(sdata: SpatialData, model: Model) -> np.ndarray:
    stp.tl.predict(sdata, model)
    return sdata.tables["table"].obsm["predicted"].to_numpy()


@pytest.fixture(params=["object", "file", "hest"])
def through(request: pytest.FixtureRequest, tissue: dict[str, SpatialData], tmp_path: Path) -> SpatialData:
    """Section S1, out and in again."""
    if request.param == "hest":
        stp.datasets.write_hest(tissue, tmp_path / "hest")
        return stp.io.hest(tmp_path / "hest", "S1")
    adata = stp.to_anndata(tissue["S1"])
    if request.param == "object":
        return stp.io.anndata(adata)
    adata.write_h5ad(tmp_path / "S1.h5ad")
    return stp.io.anndata(tmp_path / "S1.h5ad")


def test_every_door_gives_the_same_section(tissue: dict[str, SpatialData], through: SpatialData, model: Model) -> None:
    (before, _), (after, _) = (read_section(one, Elements(), need_counts=True) for one in (tissue["S1"], through))
    assert (after.name, after.subject, after.um_per_px) == (before.name, before.subject, before.um_per_px)
    assert list(after.gene_names) == list(before.gene_names)
    np.testing.assert_array_equal(after.centers_px, before.centers_px)
    np.testing.assert_array_equal(after.counts.toarray(), before.counts.toarray())
    image = through.images["S1_image"]
    finest = image["scale0"]["image"] if hasattr(image, "children") else image
    np.testing.assert_array_equal(finest.to_numpy(), tissue["S1"].images["S1_image"].to_numpy())
    # Tiles of a pyramid come in another order, and so to the encoder in other batches.
    np.testing.assert_allclose(predicted(through, model), predicted(tissue["S1"], model), atol=1e-3)


def test_patches_alone_give_nearly_the_same_prediction(
    tissue: dict[str, SpatialData], model: Model, tmp_path: Path
) -> None:
    stp.datasets.write_hest(tissue, tmp_path, slides=False)
    patches = predicted(stp.io.hest(tmp_path, "S1"), model)
    whole = predicted(tissue["S1"], model)
    assert np.corrcoef(patches.ravel(), whole.ravel())[0, 1] > 0.98
    assert np.abs(patches - whole).mean() < 0.2 * whole.std()


def test_nothing_is_written_over_nor_without_a_scale(tissue: dict[str, SpatialData], tmp_path: Path) -> None:
    stp.datasets.write_hest({"S1": tissue["S1"]}, tmp_path)
    with pytest.raises(InputError, match="S1.h5ad is there already"):
        stp.datasets.write_hest(tissue, tmp_path)
    assert not (tmp_path / "st" / "S2.h5ad").exists()
    bare = SpatialData(
        images=dict(tissue["S2"].images), shapes=dict(tissue["S2"].shapes), tables=dict(tissue["S2"].tables)
    )
    with pytest.raises(InputError, match="the scale of section 'bare' is unknown"):
        stp.datasets.write_hest({"bare": bare}, tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(InputError, match="holds other files, and none in the layout of HEST-1k"):
        stp.datasets.write_hest({"S1": tissue["S1"]}, tmp_path / "mine")


@pytest.mark.parametrize("names", [("a", "A"), ("S\N{LATIN SMALL LETTER SHARP S}", "SSS")], ids=["case", "folded"])
def test_names_that_are_one_file_on_some_disks_are_refused(
    tissue: dict[str, SpatialData], tmp_path: Path, names: tuple[str, str]
) -> None:
    with pytest.raises(InputError, match="differ by upper and lower case only"):
        stp.datasets.write_hest(dict.fromkeys(names, tissue["S1"]), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("part", ["_write_patches", "_write_slide"])
def test_a_sample_that_fails_midway_leaves_nothing_and_the_others_whole(
    part: str, tissue: dict[str, SpatialData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stp.datasets.write_hest({"S1": tissue["S1"]}, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def broken(path: Path, *_: Any) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("broken off")

    with monkeypatch.context() as patched:
        patched.setattr(f"st_predict.datasets._write_hest.{part}", broken)
        with pytest.raises(RuntimeError, match="^broken off$"):
            stp.datasets.write_hest({"S2": tissue["S2"]}, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    stp.datasets.write_hest({"S2": tissue["S2"]}, tmp_path)


def test_training_takes_what_the_doors_give(
    tissue: dict[str, SpatialData], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stp.datasets.write_hest(tissue, tmp_path)
    table = stp.io.hest(tmp_path)
    with caplog.at_level(logging.WARNING):
        sections = {name: stp.io.hest(tmp_path, name) for name in table.index}
        found = stp.tl.train(sections, method="mean", encoder="tiny", genes=5)
    assert table["patient"].tolist() == ["P1", "P2"] and len(found.panel) == 5
    assert not caplog.records


KILLED = """
import os, sys
from pathlib import Path
import st_predict as stp
replace, left = Path.replace, [int(sys.argv[2])]
def killing(self, target):
    if not left[0]:
        os._exit(9)
    left[0] -= 1
    return replace(self, target)
Path.replace = killing
stp.datasets.write_hest(stp.datasets.synthetic_tissue(n_sections=1, n_subjects=1, n_genes=40, size_um=700), sys.argv[1])
"""


@pytest.mark.one_python
@pytest.mark.parametrize("n_files", [1, 3])
def test_a_sample_that_a_kill_left_unfinished_is_named(n_files: int, tmp_path: Path) -> None:
    """By its reader, and by the next run that would write it."""
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(n_files)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 9
    (name,) = stp.io.hest(tmp_path).index
    assert not stp.io.hest(tmp_path).loc[name, "expression"]
    with pytest.raises(InputError, match=rf"^sample '{name}' lacks st/{name}\.h5ad \(counts\)"):
        stp.io.hest(tmp_path, name)
    tissue = stp.datasets.synthetic_tissue(n_sections=1, n_subjects=1, n_genes=40, size_um=700)
    with pytest.raises(InputError, match="is there already, of a sample without counts") as error:
        stp.datasets.write_hest(tissue, tmp_path)
    assert error.value.remedy == "give another folder, or remove what a killed run left of it"
