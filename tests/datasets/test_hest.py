"""HEST-1k from its hub: files in the cache are read without a network, and what is not to be had is said plainly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from spatialdata import SpatialData

import st_predict as stp
from st_predict.core.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(make_section: Callable[..., SpatialData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with sample A, and no network. Its folder of files."""
    repository = tmp_path / "hub" / "datasets--MahmoodLab--hest"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    stp.datasets.write_hest({"A": make_section("A", subject="P1")}, snapshot)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_samples_in_the_cache_need_no_network(cache: Path) -> None:
    samples = stp.datasets.hest("A")
    assert list(samples) == ["A"] and samples["A"].tables["table"].n_obs == 42
    assert samples["A"].attrs["st_predict"]["um_per_px"] == {"A_image": 4.0}
    (cache / "wsis" / "A.tif").unlink()
    patches = stp.datasets.hest(["A"], slides=False)
    assert patches["A"].attrs["st_predict"]["um_per_px"] == {"A_image": pytest.approx(0.5)}


def test_samples_that_are_not_there_are_named(cache: Path) -> None:
    with pytest.raises((InputError, ConnectionError), match="MahmoodLab/hest"):
        stp.datasets.hest(["A", "B"])


def test_a_download_that_was_broken_off_is_said(cache: Path) -> None:
    (cache / "wsis" / "A.tif").unlink()
    with pytest.raises((InputError, ConnectionError), match="wsis/A.tif|cannot be downloaded"):
        stp.datasets.hest("A")


def test_an_empty_cache_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="MahmoodLab/hest cannot be downloaded") as caught:
        stp.datasets.hest("A")
    assert "HF_HUB_OFFLINE" in str(caught.value) and "st_predict.io.hest(folder, sample)" in str(caught.value)


ANSWER: Any = SimpleNamespace(headers={}, request=None)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (errors.GatedRepoError("no", response=ANSWER), "accept the terms, then run: hf auth login"),
        (errors.RepositoryNotFoundError("no", response=ANSWER), "set HF_TOKEN to a token of yours"),
        (errors.RevisionNotFoundError("no", response=ANSWER), "has no version 'v0'"),
    ],
)
def test_a_hub_that_refuses(error: Exception, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(InputError) as caught:
        stp.datasets.hest("A", revision="v0")
    assert says in str(caught.value) and "huggingface.co/datasets/MahmoodLab/hest" in caught.value.remedy


def test_a_hub_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise errors.HfHubHTTPError("500 server error", response=ANSWER)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ConnectionError, match="500 server error"):
        stp.datasets.hest("A")


def test_only_what_is_needed_is_asked_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def give(*_: Any, allow_patterns: list[str], **__: Any) -> str:
        asked.extend(allow_patterns)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", give)
    stp.datasets.hest("A")
    assert asked == ["st/A.h5ad", "metadata/A.json", "wsis/A.tif"]
    with pytest.raises(InputError, match="MahmoodLab/hest has no sample B"):
        stp.datasets.hest(["A", "B"])


@pytest.mark.parametrize("ids", [[], ["*"], ["../A"], ""])
def test_what_names_no_sample_is_refused_before_the_hub_is_asked(ids: Any) -> None:
    with pytest.raises(InputError, match="no sample|no names of samples|which is empty"):
        stp.datasets.hest(ids)
