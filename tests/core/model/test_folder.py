"""Models on disk: the same predictions to the bit, and no half of a model."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from st_predict.core.errors import InputError
from st_predict.core.full import NotWritten
from st_predict.core.model import folder as store
from st_predict.core.model import load
from st_predict.core.model.load import load_model
from st_predict.core.model.model import Model


def predicted(model: Model, make_section: Callable[..., Any]) -> np.ndarray:
    from st_predict.tl import predict

    sdata = make_section("new", 7)
    predict(sdata, model)
    return sdata.tables["table"].obsm["predicted"].to_numpy()


@pytest.fixture
def folder(quick_model: Model, tmp_path: Path) -> Path:
    return quick_model.save(tmp_path / "model")


def edit(folder: Path, **changes: Any) -> None:
    """Change entries of a model's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("method", ["nh2st", "ridge", "mean"])
def test_loaded_model_predicts_the_same_to_the_bit(
    method: str, make_section: Callable[..., Any], quick: dict[str, Any], tmp_path: Path
) -> None:
    from st_predict.tl import train

    model = train([make_section("A", 0), make_section("B", 1)], **quick, method=method)
    loaded = load_model(model.save(tmp_path / "model"))
    assert np.array_equal(predicted(loaded, make_section), predicted(model, make_section))
    assert loaded.id == model.id and repr(loaded) == repr(model)
    assert loaded.history.equals(model.history) and loaded.held_out.equals(model.held_out)
    for name in (
        "recipe",
        "panel",
        "encoder_identity",
        "tiles",
        "um_per_px",
        "pitch_um",
        "layout",
        "min_counts",
        "seed",
        "sections",
        "epochs",
    ):
        assert getattr(loaded, name) == getattr(model, name), name
    assert loaded.provenance() == model.provenance()


def test_trained_encoder_comes_back_to_the_bit(
    make_section: Callable[..., Any], quick: dict[str, Any], tmp_path: Path
) -> None:
    from st_predict.tl import train

    model = train([make_section("A", 0), make_section("B", 1)], **quick, trainable_encoder=True)
    loaded = load_model(model.save(tmp_path / "model"))
    assert loaded.encoder is not None and model.encoder is not None
    assert loaded.encoder.fingerprint() == model.encoder.fingerprint() != model.encoder_identity.fingerprint
    assert np.array_equal(predicted(loaded, make_section), predicted(model, make_section))


def test_folder_holds_two_plain_files(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "weights.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    assert config["format"] == "st-predict model 2" and len(config["panel"]) == 10


def test_paths_as_text_and_in_new_folders(quick_model: Model, tmp_path: Path) -> None:
    written = quick_model.save(str(tmp_path / "a" / "b" / "model"))
    assert load_model(str(written)).id == quick_model.id


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_folder_in_place_of_a_file(folder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / name).unlink()
    (copy / name).mkdir()
    with pytest.raises(InputError, match="^.*copy cannot be read as a model: one of its files is a folder\n"):
        load_model(copy)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no model folder") as error:
        load_model(tmp_path / "nothing")
    assert "Model.save" in error.value.remedy


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_cut_weights(folder: Path, keep: float) -> None:
    weights = folder / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    with pytest.raises(InputError, match="weights.safetensors is cut or was changed"):
        load_model(folder)


def test_one_changed_bit(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="is cut or was changed"):
        load_model(folder)


@pytest.mark.parametrize("content", [b"", b'{"format": "st-pre', b"\xff\xfe\x00"], ids=["empty", "cut", "binary"])
def test_cut_config(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(InputError, match="config.json is cut or not JSON"):
        load_model(folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"architectures": ["ResNet"]}'])
def test_foreign_config(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match="config.json is not an st-predict model's"):
        load_model(folder)


@pytest.mark.parametrize("change", [{"format": "st-predict model 3"}, {"method": "oracle"}])
def test_newer_format_or_method(folder: Path, change: dict[str, str]) -> None:
    edit(folder, **change)
    with pytest.raises(InputError, match="it has format") as error:
        load_model(folder)
    assert repr(*change.values()) in error.value.what


def test_an_older_model_is_named_as_such_and_may_be_replaced(folder: Path, quick_model: Model) -> None:
    edit(folder, format="st-predict model 1", package_version="0.0.9")
    with pytest.raises(InputError, match="was saved by st-predict 0.0.9 in an older format") as error:
        load_model(folder)
    assert error.value.remedy.startswith("train the model again")
    assert load_model(quick_model.save(folder)).id == quick_model.id


@pytest.mark.parametrize("entry", ["recipe", "encoder", "tiles", "panel", "n_inputs", "history", "encoder_trained"])
def test_config_without_an_entry(folder: Path, entry: str) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config[entry]
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="its parts do not fit together"):
        load_model(folder)


@pytest.mark.parametrize("change", [{"panel": ["g0"]}, {"n_inputs": 7}, {"recipe": None}, {"encoder_trained": True}])
def test_config_of_another_model(folder: Path, change: dict[str, Any]) -> None:
    edit(folder, **change)
    with pytest.raises(InputError, match="its parts do not fit together"):
        load_model(folder)


def test_reordered_panel(folder: Path) -> None:
    """The same weights under other gene names would predict, and wrongly."""
    config = json.loads((folder / "config.json").read_text())
    edit(folder, panel=config["panel"][::-1])
    with pytest.raises(InputError, match="config.json was changed"):
        load_model(folder)


@pytest.mark.parametrize(
    "change",
    [{"recipe": {"method": None, "inputs": {}, "fit": {}}}, {"tiles": {"widths_um": ["wide"], "widths_px": []}}],
    ids=["recipe", "tiles"],
)
def test_values_of_the_wrong_type(folder: Path, change: dict[str, Any]) -> None:
    edit(folder, **change)
    with pytest.raises(InputError, match="its parts do not fit together"):
        load_model(folder)


def test_an_empty_folder_is_free(quick_model: Model, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    assert load_model(quick_model.save(tmp_path / "made")).id == quick_model.id


@pytest.mark.parametrize("place", [".", "./", "{here}", "/"])
def test_the_working_folder_is_no_place_for_a_model(
    place: str, quick_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is the working folder, and a model takes the place of a whole folder"):
        quick_model.save(place.format(here=tmp_path))


def test_weights_of_another_model(folder: Path) -> None:
    """Files whose checksum is right but which do not belong together."""
    weights = folder / "weights.safetensors"
    tensors = load_file(weights)
    save_file({key: value for key, value in tensors.items() if "translator" not in key}, weights)
    edit(folder, weights_sha256=store._sha256(weights))
    with pytest.raises(InputError, match="its parts do not fit together"):
        load_model(folder)


@pytest.fixture(params=["file", "folder of data"])
def something_else(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "results"
    if request.param == "file":
        place.write_text("precious")
        yield place
        assert place.read_text() == "precious"
        return
    place.mkdir()
    (place / "config.json").write_text('{"mine": 1}')
    yield place
    assert (place / "config.json").read_text() == '{"mine": 1}'
    assert len(list(place.iterdir())) == 1


def test_saving_over_something_else_is_refused(quick_model: Model, something_else: Path) -> None:
    with pytest.raises(InputError, match="exists and is not a model") as error:
        quick_model.save(something_else)
    assert error.value.remedy == "choose another path, or move away what is there"
    assert list(something_else.parent.iterdir()) == [something_else]


@pytest.fixture(scope="module")
def other_model(make_section: Callable[..., Any], quick: dict[str, Any]) -> Model:
    from st_predict.tl import train

    return train([make_section("A", 3), make_section("B", 4)], **{**quick, "genes": 4})


def test_an_earlier_model_is_replaced_whole(folder: Path, other_model: Model) -> None:
    other_model.save(folder)
    assert load_model(folder).id == other_model.id
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "weights.safetensors"]
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["notes.txt", "figures", ".git"])
def test_files_of_the_user_beside_a_model_are_never_removed(folder: Path, other_model: Model, name: str) -> None:
    mine = folder / name
    mine.write_text("years of work") if name == "notes.txt" else mine.mkdir()
    with pytest.raises(InputError, match=f"holds more than an earlier model: {re.escape(name)}") as error:
        other_model.save(folder)
    assert error.value.remedy == "choose another path, or move these files away"
    assert mine.exists() and list(folder.parent.iterdir()) == [folder]


def test_what_file_browsers_leave_in_a_model_is_nobodys(folder: Path, other_model: Model) -> None:
    (folder / ".DS_Store").write_bytes(b"\0")
    assert load_model(other_model.save(folder)).id == other_model.id


def test_a_link_to_a_model_stays_a_link(folder: Path, other_model: Model, tmp_path: Path) -> None:
    link, nowhere = tmp_path / "latest", tmp_path / "nowhere"
    link.symlink_to(folder)
    other_model.save(link)
    assert link.is_symlink() and load_model(folder).id == load_model(link).id == other_model.id
    nowhere.symlink_to(tmp_path / "not there")
    with pytest.raises(InputError, match="is a link to .*not there, which does not exist"):
        other_model.save(nowhere)
    assert nowhere.is_symlink() and not (tmp_path / "not there").exists()


def test_below_a_file_nothing_can_be_saved(quick_model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="file is not a folder"):
        store.check_model_path(tmp_path / "file" / "a" / "model")


@pytest.mark.one_python
@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be replaced on Windows")
def test_two_writers_and_a_reader_of_one_model(
    folder: Path, quick_model: Model, other_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 loads while two threads save over it: every one is one of the two models, whole."""
    done = threading.Event()
    # The networks, whose building takes most of a load, are built of what was read and checked by then.
    monkeypatch.setattr(load, "_build", lambda config, _: SimpleNamespace(id=config["id"]))

    def save(model: Model) -> int:
        n = 0
        while not done.wait(0.01):  # or threads of one process wait for each other most of the time
            model.save(folder)
            n += 1
        return n

    with ThreadPoolExecutor(2) as pool:
        saved = [pool.submit(save, model) for model in (quick_model, other_model)]
        try:
            loaded = [load_model(folder).id for _ in range(300)]
        finally:
            done.set()
    assert set(loaded) == {quick_model.id, other_model.id} and min(one.result() for one in saved) > 10
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("failing", ["weights", "config"])
def test_a_failing_save_leaves_the_earlier_model_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, folder: Path, quick_model: Model, other_model: Model, failing: str
) -> None:
    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((store, "save_file") if failing == "weights" else (Path, "write_text")), full_disk)
    with pytest.raises(NotWritten, match=r"model was not written: there is no room left"):
        other_model.save(folder)
    monkeypatch.undo()
    assert load_model(folder).id == quick_model.id
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failing_first_save_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, quick_model: Model, tmp_path: Path
) -> None:
    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "save_file", full_disk)
    with pytest.raises(NotWritten, match=r"model was not written: there is no room left"):
        quick_model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_others_may_read_a_saved_model(folder: Path, tmp_path: Path) -> None:
    """A model on a shared disk is for colleagues too: as readable as any folder made there."""
    (tmp_path / "plain").mkdir()
    assert folder.stat().st_mode == (tmp_path / "plain").stat().st_mode
    shutil.rmtree(tmp_path / "plain")
