"""Stores that would run code when they are decoded are refused: real pickles, which leave a file behind if they are."""

from __future__ import annotations

import json
import pickle
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from packaging.requirements import Requirement
from spatialdata import SpatialData
from zarr import registry
from zarr.codecs.numcodecs import Zlib

import st_predict as stp
from st_predict._spatialdata import stored
from st_predict.core.codecs import check_codecs
from st_predict.core.errors import InputError

MakeTrap = Callable[[Path], object]
PICKLE = {2: {"id": "pickle", "protocol": 5}, 3: {"name": "numcodecs.pickle", "configuration": {}}}
ANY_FAILURE = (TypeError, ValueError, AttributeError)  # what is unpickled is no chunk, but then it is too late


@pytest.fixture
def unpickling(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Codecs as they were before numcodecs and zarr refused to unpickle, in format 3 too, where the codec stays known."""

    class Pickle(Zlib, codec_name="pickle"):  # type: ignore[call-arg]
        pass

    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True)
    registry.register_codec("numcodecs.pickle", Pickle)
    with zarr.config.set({"array.allow_unsafe_pickle_decode": True}):
        yield


pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")


def poison(store: Path, array: str, trap: object) -> None:
    """Make every chunk of an array of format 3 a trap, in its own metadata and in consolidated ones."""
    own = store / array / "zarr.json"
    described = json.loads(own.read_text())
    described["codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}, PICKLE[3]]
    own.write_text(json.dumps(described))
    for folder in own.parents[1 : 2 + array.count("/")]:
        group = json.loads((folder / "zarr.json").read_text())
        place = own.parent.relative_to(folder).as_posix()
        if group.get("consolidated_metadata"):
            group["consolidated_metadata"]["metadata"][place] = described
            (folder / "zarr.json").write_text(json.dumps(group))
    for chunk in (store / array / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(pickle.dumps(trap))


@pytest.fixture
def section(make_section: Callable[..., SpatialData], tmp_path: Path) -> Path:
    """A section on disk."""
    make_section("A", 0).write(tmp_path / "A.zarr")
    return tmp_path / "A.zarr"


ARRAYS = ["tables/table/X/indptr", "tables/table/X/data", "tables/table/obsm/spatial"]


@pytest.mark.parametrize("array", ARRAYS)
def test_a_section_is_refused_before_it_is_decoded(
    section: Path, tmp_path: Path, unpickling: None, make_trap: MakeTrap, monkeypatch: pytest.MonkeyPatch, array: str
) -> None:
    poison(section, array, make_trap(tmp_path / "ran"))
    with pytest.raises(InputError, match="reading it would run whatever code its author put there") as error:
        stp.tl.train(section)
    assert f"names the codec 'numcodecs.pickle' in {array}/zarr.json" in error.value.what or (
        "names the codec 'numcodecs.pickle' in zarr.json" in error.value.what  # what is consolidated comes first
    )
    assert error.value.remedy == "ask for a copy that was written with other codecs"
    assert not (tmp_path / "ran").exists()
    monkeypatch.setattr(stored, "check_codecs", lambda *_, **__: None)
    with pytest.raises(ANY_FAILURE):  # the trap is a real one
        stored.open_store(section)
    assert (tmp_path / "ran").exists()


def test_counts_are_refused_where_they_are_read_again(
    section: Path, tmp_path: Path, unpickling: None, make_trap: MakeTrap
) -> None:
    counts = stored.read_stored_section(section)[0].counts
    poison(section, "tables/table/X/data", make_trap(tmp_path / "ran"))
    with pytest.raises(InputError, match="numcodecs.pickle"):
        counts.sum(axis=0)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("version", [2, 3])
def test_an_image_is_refused(tmp_path: Path, unpickling: None, make_trap: MakeTrap, version: int) -> None:
    path, marker = tmp_path / "slide.zarr", tmp_path / "ran"
    group = zarr.open_group(str(path), mode="w", zarr_format=version)
    axes = [{"name": name, "type": "space"} for name in "cyx"]
    image = {"version": "0.4", "axes": axes, "datasets": [{"path": "deep/down/0"}]}
    group.attrs["multiscales"] = [image]
    group.create_array("deep/down/0", data=np.ones((3, 64, 64), np.uint8), chunks=(3, 64, 64))
    if version == 3:
        poison(path, "deep/down/0", make_trap(marker))
    else:
        array = path / "deep" / "down" / "0"
        described = json.loads((array / ".zarray").read_text())
        # The first of the codecs for objects tells the type, and the last of all decodes first.
        described |= {"dtype": "|O", "filters": [{"id": "vlen-utf8"}], "compressor": PICKLE[2], "fill_value": ""}
        (array / ".zarray").write_text(json.dumps(described))
        for chunk in array.glob("0.*"):
            chunk.write_bytes(pickle.dumps(make_trap(marker)))
    with pytest.raises(InputError, match=r"pickle' in deep/down/0/(zarr\.json|\.zarray)"):
        stp.io.slide(path)
    assert not marker.exists()
    with pytest.raises(ANY_FAILURE):  # the trap is a real one
        zarr.open_group(str(path), mode="r")["deep/down/0"][:]
    assert marker.exists()


V3 = {"zarr_format": 3, "node_type": "array"}
HIDDEN = {
    "a filter": (".zarray", {"zarr_format": 2, "compressor": None, "filters": [{"id": "vlen-utf8"}, PICKLE[2]]}),
    "consolidated, format 2": (".zmetadata", {"metadata": {"x/y/.zarray": {"compressor": PICKLE[2]}}}),
    "consolidated, format 3": (
        "zarr.json",
        {"zarr_format": 3, "consolidated_metadata": {"metadata": {"attributes": {**V3, "codecs": [PICKLE[3]]}}}},
    ),
    "within a shard": (
        "zarr.json",
        {**V3, "codecs": [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "bytes"}, PICKLE[3]]}}]},
    ),
    "a name alone": ("zarr.json", {**V3, "codecs": ["bytes", "numcodecs.pickle"]}),
    "escaped": (".zarray", '{"compressor": {"id": "p\\u0069ckle"}}'),
    "another package's": ("zarr.json", {**V3, "codecs": [{"name": "my.CloudPickle"}]}),
    "in capitals": ("ZARR.JSON", {**V3, "codecs": [PICKLE[3]]}),
}


@pytest.mark.parametrize("how", HIDDEN)
@pytest.mark.parametrize("place", ["", "tables/t/obs", "images/i/0/c/0/1"])
def test_none_is_hidden_well_enough(tmp_path: Path, how: str, place: str) -> None:
    name, metadata = HIDDEN[how]
    folder = tmp_path / "s.zarr" / place
    folder.mkdir(parents=True)
    (folder / name).write_text(metadata if isinstance(metadata, str) else json.dumps(metadata))
    with pytest.raises(InputError, match=r"(?i)names the codec '[a-z.]*pickle'") as error:
        check_codecs(tmp_path / "s.zarr", where="sections")
    assert error.value.where == "sections"


def test_a_link_is_followed_once(section: Path, tmp_path: Path) -> None:
    shutil.move(section / "tables", tmp_path / "elsewhere")
    (section / "tables").symlink_to(tmp_path / "elsewhere")
    (section / "loop").symlink_to(section)
    check_codecs(section, where="sections")

    file = tmp_path / "elsewhere" / "table" / "X" / "data" / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "codecs": [PICKLE[3]]}))
    with pytest.raises(InputError, match="names the codec"):
        check_codecs(section, where="sections")


def test_a_pickle_that_is_no_codec_is_none(section: Path) -> None:
    """An attribute may say what it likes."""
    group = zarr.open_group(str(section), mode="r+", use_consolidated=False)
    group.attrs["filters"] = [{"id": "pickle"}]
    check_codecs(section, where="sections")
    assert list(stored.open_store(section).tables) == ["table"]


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\xff"])
def test_metadata_that_cannot_be_read_are_refused(section: Path, text: str) -> None:
    (section / "tables" / "table" / "zarr.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"tables/table/zarr\.json is cut or not JSON"):
        stored.open_store(section)


def test_versions_that_unpickle_are_not_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (bound,) = (wanted for line in project["dependencies"] if (wanted := Requirement(line)).name == "numcodecs")
    assert [v for v in ("0.15.1", "0.16.1", "0.16.5", "0.16.6", "0.17.0", "0.17.1") if v in bound.specifier] == [
        "0.16.6",
        "0.17.1",
    ]
