"""What is written is for whom the user's umask says: neither its owner's alone nor for everybody."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pooch
import pytest
from PIL import Image
from spatialdata import SpatialData

import st_predict as stp
from st_predict.core.files import follow_umask
from st_predict.core.model.model import Model
from st_predict.datasets import _download

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")


@pytest.fixture(params=[0o002, 0o027, 0o077], ids=["002", "027", "077"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def others_than(umask: int, folder: Path) -> dict[str, str]:
    """Files and folders whose permissions are not those of new ones."""
    modes = {path: path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    assert modes
    return {
        str(path.relative_to(folder)): oct(mode)
        for path, mode in modes.items()
        if mode != (0o777 if path.is_dir() else 0o666) & ~umask
    }


def test_a_file_of_its_owner_alone_gets_them(umask: int, tmp_path: Path) -> None:
    handle, name = tempfile.mkstemp(dir=tmp_path)
    os.close(handle)
    assert Path(name).stat().st_mode & 0o777 == 0o600
    follow_umask(Path(name))
    assert not others_than(umask, tmp_path) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.one_python
def test_a_cohort_its_model_and_what_it_writes_while_at_work(
    umask: int, quick_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(60, 200, (160, 180, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "slide.png")
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(
        stp.io, "slide", watched(stp.io.slide, lambda: seen.append(others_than(umask, tmp_path / "out")))
    )
    table = stp.tl.predict_cohort([tmp_path / "slide.png"], quick_model, tmp_path / "out", um_per_px=4.0, n_jobs=1)
    assert list(table["status"]) == ["done"] and seen == [{}]  # the lock too
    assert not others_than(umask, tmp_path / "out")


def watched(read: Callable[..., SpatialData], look: Callable[[], object]) -> Callable[..., SpatialData]:
    def slide(*arguments: Any, **settings: Any) -> SpatialData:
        look()
        return read(*arguments, **settings)

    return slide


def test_a_download(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the cache, which a laboratory may share."""
    content = tmp_path / "upstream" / "owner" / "study" / "abc" / "counts.tsv"
    content.parent.mkdir(parents=True)
    content.write_text("counts")
    monkeypatch.setattr(_download, "_cache_folder", lambda: tmp_path / "cache")

    plain = pooch.retrieve
    monkeypatch.setattr(
        pooch,
        "retrieve",
        lambda url, known, fname, path: plain(
            url, known, fname=fname, path=path, downloader=lambda _, to, __: Path(to).write_bytes(content.read_bytes())
        ),
    )
    source = SimpleNamespace(
        dataset="set", repository="owner/study", commit="abc", path="counts.tsv",
        sha256=hashlib.sha256(b"counts").hexdigest(),
    )  # fmt: skip
    assert _download._fetch(source).read_text() == "counts"  # type: ignore[arg-type]
    assert not others_than(umask, tmp_path / "cache")
