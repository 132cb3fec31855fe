"""What the package keeps for itself is damaged: it is named and made again where it can be, and results are the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from spatialdata import SpatialData

import st_predict as stp
from st_predict._spatialdata.stored import open_store
from st_predict.core.errors import InputError
from st_predict.core.model.model import Model

pytestmark = pytest.mark.one_python


def flip(path: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace(path: Path) -> None:
    path.write_text(json.dumps({"kept": [1, 2], "sha256": "0"}))


DAMAGE = [flip, cut, empty, replace, Path.unlink]


@pytest.fixture
def train(make_section: Callable[..., SpatialData], quick: dict[str, Any]) -> Callable[..., Model]:
    return lambda **settings: stp.tl.train([make_section("A", 0), make_section("B", 1)], **quick, **settings)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_training(damage: Any, train: Callable[..., Model], tmp_path: Path, caplog: Any, tile_count: Any) -> None:
    folder = tmp_path / "kept"
    known, encoded = train(checkpoint_dir=folder).id, tile_count.tiles
    damaged = [sorted(folder.glob("*.ckpt"))[0], sorted(folder.glob("features/*/*.npy"))[0]]
    for path in damaged:
        damage(path)
    caplog.clear()
    assert train(checkpoint_dir=folder, resume=True).id == known
    said = [message for message in caplog.messages if "is damaged, or of" in message]
    assert len(said) == (0 if damage is Path.unlink else 2) and encoded < tile_count.tiles < 2 * encoded
    damage(folder / "training.json")
    with pytest.raises(
        InputError, match=r"training.json is (damaged|missing): it says which training the fits"
    ) as error:
        train(checkpoint_dir=folder, resume=True)
    assert error.value.remedy.startswith("remove training.json and all .ckpt files there")
    for path in (folder / "training.json", *folder.glob("*.ckpt")):
        path.unlink(missing_ok=True)
    tile_count.tiles = 0
    assert train(checkpoint_dir=folder, resume=True).id == known and tile_count.tiles == 0


def test_a_fit_of_another_training_is_not_gone_on_with(
    train: Callable[..., Model], tmp_path: Path, caplog: Any
) -> None:
    """Nor one of the same training: each file is its own fit's alone."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    known = train(checkpoint_dir=ours).id
    assert train(checkpoint_dir=other, seed=7).id != known
    fits = sorted(ours.glob("*.ckpt"))
    for theirs in (other / fits[-1].name, fits[0]):
        fits[-1].write_bytes(theirs.read_bytes())
        caplog.clear()
        assert train(checkpoint_dir=ours, resume=True).id == known
        assert f"{fits[-1]} is damaged, or of another fit; this one is run anew" in caplog.messages


def test_features_of_the_users_own_are_no_training(train: Callable[..., Model], tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "mine.txt").touch()
    with pytest.raises(InputError, match="exists and holds no training"):
        train(checkpoint_dir=tmp_path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_folds(damage: Any, three_sections: dict[str, SpatialData], quick: dict[str, Any], tmp_path: Path) -> None:
    def compare() -> Any:
        settings = {name: quick[name] for name in ("encoder", "genes")}
        table = stp.tl.cross_validate(three_sections, methods="mean", out=tmp_path, n_jobs=1, **settings)
        return table.drop(columns="seconds")

    known = compare()
    first, *_, last = sorted((tmp_path / "folds").glob("mean-*.json"))
    damage(first)
    damage(tmp_path / "folds" / "st_predict.json")
    assert compare().equals(known)
    last.write_bytes(first.read_bytes())
    assert compare().equals(known), "the file of another fold is not taken"


def test_features_in_a_table(make_section: Callable[..., SpatialData], caplog: Any, tile_count: Any) -> None:
    sdata = make_section()
    key = stp.pp.embed(sdata, encoder="tiny")
    table = sdata.tables["table"]
    known, encoded = table.obsm[key].copy(), tile_count.tiles
    stp.pp.embed(sdata, encoder="tiny")
    assert tile_count.tiles == encoded
    table.obsm[key][3, 2] = np.nextafter(table.obsm[key][3, 2], np.float32(9))
    stp.pp.embed(sdata, encoder="tiny")
    assert tile_count.tiles == 2 * encoded and np.array_equal(table.obsm[key], known)
    assert f"features in obsm[{key!r}] were changed since st_predict wrote them; they are made again" in caplog.messages
    del table.uns[key]["values"]  # as an earlier version kept them
    stp.pp.embed(sdata, encoder="tiny")
    assert tile_count.tiles == 2 * encoded


def draw(folder: Path, make_section: Callable[..., SpatialData], n: int) -> list[Path]:
    """Slides in a format that states no scale."""
    paths = [folder / f"case_{i}.png" for i in range(n)]
    for i, path in enumerate(paths):
        pixels = np.asarray(make_section("A", i).images["A_image"].data)
        Image.fromarray(np.moveaxis(pixels, 0, -1)).save(path)
    return paths


def test_a_cohort(
    make_section: Callable[..., SpatialData], quick_model: Model, tmp_path: Path, caplog: Any, tile_count: Any
) -> None:
    slides, out = draw(tmp_path, make_section, 2), tmp_path / "out"

    def run() -> Any:
        return stp.tl.predict_cohort(slides, quick_model, out, um_per_px=4.0, n_jobs=1)

    known = run()
    assert set(known["status"]) == {"done"}, known["reason"].tolist()
    tile_count.tiles = 0
    for damage in (cut, empty, Path.unlink):
        damage(out / "manifest.csv")
        again = run()
        assert set(again["status"]) == {"skipped"} and again["n_spots"].equals(known["n_spots"])
    (out / "manifest.csv").write_text("patient,age\n1,70\n")
    with pytest.raises(InputError, match=r"manifest.csv is not the table of a cohort") as error:
        run()
    assert "move manifest.csv away" in error.value.remedy
    (out / "manifest.csv").unlink()
    assert set(run()["status"]) == {"skipped"} and tile_count.tiles == 0
    (out / "manifest.csv").unlink()
    stp.tl.train(make_section("A", 5), method="ridge", encoder="tiny", genes=5).save(out / "model")
    with pytest.raises(InputError, match="exists and holds no cohort"):
        run()  # which would replace somebody's model
    quick_model.save(out / "model")
    run()
    cut(out / "model" / "config.json")
    with pytest.raises(InputError, match=r"out/model cannot be read as a model: config.json is cut") as error:
        run()
    assert error.value.where == "out_dir" and f"move {out / 'model'} away" in error.value.remedy
    (out / "model").rename(tmp_path / "away")
    assert set(run()["status"]) == {"skipped"}
    flip(out / "case_0.zarr" / "st_predict.json")
    with pytest.raises(InputError, match=r"case_0.zarr exists and is not an earlier prediction"):
        run()


def drop_chunks(store: Path) -> None:
    for place in ("X", "layers/predicted"):
        for path in (store / "tables" / "predicted" / place).rglob("*"):
            if path.is_file() and path.name != "zarr.json":
                path.unlink()


def test_a_store_of_a_cohort_that_has_lost_chunks(
    make_section: Callable[..., SpatialData], quick_model: Model, tmp_path: Path, caplog: Any
) -> None:
    """Zarr reads zeros there: it is named and made again, and its neighbor is not."""
    slides, out = draw(tmp_path, make_section, 2), tmp_path / "out"

    def run() -> Any:
        found = stp.tl.predict_cohort(slides, quick_model, out, um_per_px=4.0, n_jobs=1)
        return found["status"].tolist(), [
            open_store(out / f"case_{i}.zarr")["predicted"].layers["predicted"] for i in (0, 1)
        ]

    _, known = run()
    drop_chunks(out / "case_0.zarr")
    with pytest.raises(InputError, match="chunks are lost of tables/predicted/"):
        open_store(out / "case_0.zarr")
    status, again = run()
    assert status == ["done", "skipped"] and all(map(np.array_equal, again, known))
    assert "case_0.zarr is damaged: " in caplog.text and "its slide is predicted again" in caplog.text
    (out / "case_1.zarr" / "shapes").rename(tmp_path / "shapes")
    assert run()[0] == ["skipped", "done"]


def test_a_store_that_was_worked_on_and_has_lost_chunks(
    make_section: Callable[..., SpatialData], quick_model: Model, tmp_path: Path
) -> None:
    slides, out = draw(tmp_path, make_section, 1), tmp_path / "out"
    stp.tl.predict_cohort(slides, quick_model, out, um_per_px=4.0, n_jobs=1)
    drop_chunks(out / "case_0.zarr")
    (out / "case_0.zarr" / "notes.txt").write_text("years of work")
    with pytest.raises(InputError, match="case_0.zarr is damaged: chunks are lost of tables/predicted/") as error:
        stp.tl.predict_cohort(slides, quick_model, out, um_per_px=4.0, n_jobs=1)
    assert "move it away" in error.value.remedy
    (out / "case_0.zarr").rename(tmp_path / "away")
    found = stp.tl.predict_cohort(slides, quick_model, out, um_per_px=4.0, n_jobs=1)
    assert found["status"].tolist() == ["done"]
