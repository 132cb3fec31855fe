"""Many slides: what fails costs itself, what is done is not done again, and a kill loses nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import spatialdata
import tifffile
import zarr
from click.testing import CliRunner
from PIL import Image

import st_predict as stp
from st_predict.cli import main
from st_predict.core.encoders import kept as kept_module
from st_predict.core.errors import InputError
from st_predict.core.grid import array_layout
from st_predict.core.model.model import Model
from st_predict.tl import _cohort, _session
from st_predict.tl._cohort_store import slide_state

UM = 2.0


def draw(path: Path, seed: int, size: int = 700) -> Path:
    """A square slide with a round piece of tissue."""
    y, x = np.mgrid[:size, :size].astype(float)
    stain = 0.5 + 0.25 * np.sin(x / 60 + seed) + 0.25 * np.cos(y / 50 - seed)
    tissue = np.stack([225 - 90 * stain, 150 - 80 * stain, 190 - 40 * stain], axis=-1)
    inside = ((x - size / 2) ** 2 + (y - size / 2) ** 2 < (0.4 * size) ** 2)[..., None]
    Image.fromarray(np.where(inside, tissue, 244).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("slides")
    return [draw(folder / f"case {i}.png", i) for i in range(3)]


def values(out: Path) -> dict[str, np.ndarray]:
    return {p.stem: spatialdata.read_zarr(p)["predicted"].X for p in sorted(out.glob("*.zarr"))}


def run(slides: list[Path], model: Model, out: Path, **settings: Any) -> pd.DataFrame:
    return stp.tl.predict_cohort(slides, model, out, um_per_px=UM, n_jobs=1, **settings)


@pytest.mark.one_python
def test_the_session_keeps_its_own_model(
    slides: list[Path], quick_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cohort reads a model of its own, in this very process, and does not make it the one that is predicted with next."""
    other = object()
    monkeypatch.setattr(_session, "_last", [other])
    run(slides[:1], quick_model, tmp_path / "out")
    assert _session.last_model() is other


def test_a_store_a_slide_and_a_manifest(slides: list[Path], quick_model: Model, tmp_path: Path) -> None:
    manifest = run(slides, quick_model, tmp_path / "out")
    assert manifest["slide"].tolist() == ["case_0", "case_1", "case_2"] and set(manifest["status"]) == {"done"}
    written = pd.read_csv(tmp_path / "out" / "manifest.csv")
    assert list(written) == list(manifest) and written["n_spots"].tolist() == manifest["n_spots"].tolist()
    for row in manifest.itertuples():
        sdata = spatialdata.read_zarr(row.store)
        assert sdata["predicted"].n_obs == row.n_spots == len(sdata.shapes["spots"])
        one = stp.io.slide(row.path, um_per_px=UM)
        stp.tl.predict(one, quick_model)
        np.testing.assert_array_equal(sdata["predicted"].X, one["predicted"].X)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "case_0.zarr", "case_1.zarr", "case_2.zarr", "manifest.csv", "model"
    ]  # fmt: skip
    assert sdata.attrs["st_predict"]["um_per_px"] == {"case_2_image": UM}
    axes = stp.pl.spatial_expression(sdata, quick_model.panel[0], show=False)
    assert axes.shape == (1, 2), "the small copy of the slide lies under the spots"


@pytest.mark.one_python
def test_what_is_done_is_skipped_and_what_changed_is_not(
    slides: list[Path], quick_model: Model, tmp_path: Path, tile_count: SimpleNamespace
) -> None:
    mine = [draw(tmp_path / path.name, 5 + i) for i, path in enumerate(slides)]
    first = run(mine, quick_model, tmp_path / "out")
    before, tile_count.tiles = values(tmp_path / "out"), 0
    again = run(mine, quick_model, tmp_path / "out")
    assert set(again["status"]) == {"skipped"} and tile_count.tiles == 0
    known = ["slide", "n_spots", "unlike_training", "slide_shift"]
    assert again[known].equals(first[known]) and first["n_spots"].min() > 0, "a manifest can be sorted after any run"
    draw(mine[1], 9)
    half_written = tmp_path / "out" / ".case_0.zarr.st-predict-x1y2" / "new"
    half_written.mkdir(parents=True)  # what a run leaves that is killed while it writes
    again = run(mine, quick_model, tmp_path / "out")
    assert not half_written.parent.exists()
    assert again["status"].tolist() == ["skipped", "done", "skipped"]
    after = values(tmp_path / "out")
    assert np.array_equal(after["case_0"], before["case_0"]) and not np.array_equal(after["case_1"], before["case_1"])
    again = run(mine, quick_model, tmp_path / "out", pitch_um=150.0)
    assert set(again["status"]) == {"done"}, "another grid is another prediction"
    centers = spatialdata.read_zarr(tmp_path / "out" / "case_0.zarr")["predicted"].obsm["spatial"]
    assert array_layout(centers) == quick_model.layout == "square"


def several_files(folder: Path, kind: str) -> tuple[Path, Path]:
    """A slide of several files as it is named, and one of the others; as far as its files are looked for."""
    named, other = folder / f"case{kind.removeprefix('linked ')}", folder / "kept" / "other"
    other.parent.mkdir()
    if kind == ".ome.tif":
        other = folder / "other.ome.tif"
        planes = '<TiffData><UUID FileName="other.ome.tif">urn:uuid:1</UUID></TiffData>'
        xml = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels>{planes}</Pixels></Image></OME>'
        tifffile.imwrite(named, np.zeros((16, 16), np.uint8), description=xml, metadata=None)
    elif kind == "linked .mrxs":
        other = folder / "kept" / "case" / "Data0000.dat"
        other.parent.mkdir()
        (folder / "kept" / "case.mrxs").write_bytes(b"index")
        named.symlink_to(folder / "kept" / "case.mrxs")
    elif kind == ".vms":
        other = folder / "tile, 1.jpg"
        named.write_text("[Virtual Microscope Specimen]\nImageFile=tile, 1.jpg\n")
    elif kind == ".dcm":
        other = folder / "2.dcm"
        named.write_bytes(bytes(128) + b"DICM")
    else:
        named = other.parent
        described = {"axes": ["c", "y", "x"], "datasets": [{"path": "other"}]}
        zarr.open_group(str(named), mode="w", zarr_format=2).attrs["multiscales"] = [described]
    other.write_bytes(bytes(128) + b"DICM" if kind == ".dcm" else b"pixels")
    return named, other


@pytest.mark.parametrize("kind", [".ome.tif", "linked .mrxs", ".vms", ".dcm", "folder"])
def test_a_slide_is_another_where_any_of_its_files_is(kind: str, tmp_path: Path) -> None:
    named, other = several_files(tmp_path, kind)
    (tmp_path / "beside").write_bytes(b"another's")
    before, time = slide_state(named), other.stat().st_mtime_ns
    (tmp_path / "beside").write_bytes(b"another's, changed")
    assert slide_state(named) == before
    os.utime(other, ns=(time, time - 10**9))  # exported anew, and as it was then dated
    assert slide_state(named) != before


def spoiled(folder: Path) -> dict[str, tuple[Path, str]]:
    """Slides that cannot be predicted, and what is said of them."""
    text, empty, cut, blank, dark = (folder / f"{n}.png" for n in ("text", "empty", "cut", "blank", "dark"))
    text.write_text("no slide")
    empty.write_bytes(b"")
    whole = draw(folder / "whole.png", 0).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (600, 600), (244, 244, 244)).save(blank)
    Image.new("RGB", (600, 600), (4, 9, 4)).save(dark)
    gray = folder / "gray.png"
    Image.new("L", (600, 600), 200).save(gray)
    return {
        "text": (text, "is not a slide"), "empty": (empty, "is empty"), "cut": (cut, "truncated or corrupt"),
        "blank": (blank, "no tissue was found"), "dark": (dark, "dark background"), "gray": (gray, "not an 8-bit RGB"),
        "gone": (folder / "gone.svs", "no such file"),
    }  # fmt: skip


@pytest.mark.one_python
def test_each_bad_slide_costs_itself_alone(slides: list[Path], quick_model: Model, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    bad = spoiled(tmp_path / "bad")
    paths = [slides[0], *(path for path, _ in bad.values()), slides[1]]
    manifest = run(paths, quick_model, tmp_path / "out").set_index("slide")
    assert manifest.loc[["case_0", "case_1"], "status"].tolist() == ["done", "done"]
    for name, (_, said) in bad.items():
        assert manifest.loc[name, "status"] == "failed" and said in manifest.loc[name, "reason"], name
        assert not (tmp_path / "out" / f"{name}.zarr").exists()
    again = run(paths, quick_model, tmp_path / "out").set_index("slide")
    assert again.loc["case_0", "status"] == "skipped" and again.loc["text", "status"] == "failed"


@pytest.mark.one_python
def test_the_numbers_do_not_depend_on_how_slides_are_spread(
    slides: list[Path], quick_model: Model, tmp_path: Path
) -> None:
    from distributed import Client, LocalCluster

    run(slides, quick_model, tmp_path / "alone")
    stp.tl.predict_cohort(slides[::-1], quick_model, tmp_path / "two", um_per_px=UM, n_jobs=2)
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        manifest = stp.tl.predict_cohort(slides, quick_model, tmp_path / "client", um_per_px=UM, client=client)
    assert set(manifest["status"]) == {"done"}, manifest["reason"].tolist()
    alone, two, given = (values(tmp_path / name) for name in ("alone", "two", "client"))
    assert len(alone) == 3
    for name, expected in alone.items():
        np.testing.assert_array_equal(two[name], expected)
        np.testing.assert_array_equal(given[name], expected)


KILLED = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
import st_predict as stp
from st_predict.core.encoders import kept
from st_predict.core.encoders.kept import KeptFeatures
kept.BLOCK_SPOTS = 16
note, calls = KeptFeatures.note, []
def killing(self, *arguments):
    note(self, *arguments)
    calls.append(1)
    if len(calls) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
KeptFeatures.note = killing
stp.tl.predict_cohort(sys.argv[4:], stp.load_model(sys.argv[2]), sys.argv[3], um_per_px=2.0, n_jobs=1)
"""


@pytest.mark.one_python
@pytest.mark.parametrize("after", [2, 7])
def test_a_run_that_was_killed_goes_on_and_ends_the_same(
    slides: list[Path], quick_model: Model, tmp_path: Path, after: int, tile_count: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run(slides, quick_model, tmp_path / "whole")
    tiles, tile_count.tiles = tile_count.tiles, 0
    quick_model.save(tmp_path / "model")
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(after), str(tmp_path / "model"), str(out), *map(str, slides)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert (out / ".running").exists() and list(out.glob(".*.part/*/spots-*.npy"))
    monkeypatch.setattr(kept_module, "BLOCK_SPOTS", 16)
    manifest = run(slides, quick_model, out)
    assert set(manifest["status"]) <= {"done", "skipped"} and 0 < tile_count.tiles < tiles
    assert not list(out.glob(".*")), "neither lock nor parts are left"
    for name, expected in values(tmp_path / "whole").items():
        np.testing.assert_array_equal(values(out)[name], expected)


@pytest.mark.one_python
def test_an_earlier_store_stays_whole_until_the_new_one_is(
    slides: list[Path], quick_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(slides[:1], quick_model, tmp_path / "out")
    before = values(tmp_path / "out")["case_0"]
    write = spatialdata.SpatialData.write

    def full_disk(self: Any, folder: Path, *rest: Any, **options: Any) -> None:
        write(self, folder, *rest, **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spatialdata.SpatialData, "write", full_disk)
    manifest = run(slides[:1], quick_model, tmp_path / "out", pitch_um=150.0)
    assert manifest["status"].tolist() == ["failed"]
    assert "case_0.zarr was not written: there is no room left" in manifest["reason"][0]
    np.testing.assert_array_equal(values(tmp_path / "out")["case_0"], before)


@pytest.mark.one_python
def test_a_worker_that_dies_is_given_its_slide_again(
    slides: list[Path], quick_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = _cohort.predict_slide
    mark = str(tmp_path / "died")

    def dying(shared: Any, job: Any) -> Any:
        import os
        from pathlib import Path

        if job.name == "case_1" and not Path(mark).exists():
            Path(mark).touch()
            os._exit(9)  # as the system ends a process that takes too much memory
        return predict(shared, job)

    monkeypatch.setattr(_cohort, "predict_slide", dying)
    manifest = stp.tl.predict_cohort(slides, quick_model, tmp_path / "out", um_per_px=UM, n_jobs=2)
    assert set(manifest["status"]) == {"done"} and Path(mark).exists()


@pytest.mark.one_python
def test_a_worker_of_a_client_that_is_killed_costs_its_slide_only(
    slides: list[Path], quick_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask
    from distributed import Client, LocalCluster

    predict = _cohort.predict_slide

    def killed(shared: Any, job: Any) -> Any:
        import os
        import signal

        if job.name == "case_1":
            os.kill(os.getpid(), signal.SIGKILL)
        return predict(shared, job)

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),  # of four, each of which starts a process anew
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        with monkeypatch.context() as patched:
            patched.setattr(_cohort, "predict_slide", killed)
            manifest = stp.tl.predict_cohort(slides, quick_model, tmp_path / "out", um_per_px=UM, client=client)
        assert manifest.set_index("slide")["status"].to_dict() == {
            "case_0": "done",
            "case_1": "failed",
            "case_2": "done",
        }
        assert "process" in manifest.set_index("slide")["reason"]["case_1"]
        assert not (tmp_path / "out" / "case_1.zarr").exists()
        again = stp.tl.predict_cohort(slides, quick_model, tmp_path / "out", um_per_px=UM, client=client)
    assert sorted(again["status"]) == ["done", "skipped", "skipped"]
    assert not list((tmp_path / "out").glob(".*")), "neither lock nor parts are left"


@pytest.mark.one_python
def test_two_runs_into_one_folder(slides: list[Path], quick_model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    lock = out / ".running"
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        lock.write_text(json.dumps({"host": os.uname().nodename, "pid": other.pid}))
        with pytest.raises(InputError, match=f"another run is at work in .* \\(process {other.pid}"):
            run(slides[:1], quick_model, out)
        assert lock.exists()
    finally:
        other.kill()
        other.wait()
    time.sleep(0.1)
    assert run(slides[:1], quick_model, out)["status"].tolist() == ["done"], "what a dead run left is taken over"
    lock.write_text("")  # cut when it was killed
    assert run(slides[:1], quick_model, out)["status"].tolist() == ["skipped"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda slides, out: {"paths": []}, "paths is .*empty"),
        (lambda slides, out: {"paths": [slides[0], slides[0]]}, "stores of the same name"),
        (lambda slides, out: {"um_per_px": 90.0}, "um_per_px is 90"),
        (lambda slides, out: {"pitch_um": 0.0}, "pitch_um is 0"),
        (lambda slides, out: {"n_jobs": -1}, "n_jobs is -1"),
        (lambda slides, out: {"out_dir": slides[0]}, "is a file"),
        (lambda slides, out: {"out_dir": slides[0].parent}, "holds no cohort"),
        (lambda slides, out: {"out_dir": slides[0] / "below"}, "cannot be written"),
    ],
)
def test_bad_calls_are_refused_before_anything_is_read(
    slides: list[Path], quick_model: Model, tmp_path: Path, change: Callable[..., dict[str, Any]], said: str
) -> None:
    given = {"paths": slides, "out_dir": tmp_path / "out", **change(slides, tmp_path)}
    with pytest.raises(InputError, match=said):
        stp.tl.predict_cohort(given.pop("paths"), quick_model, given.pop("out_dir"), **given)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.zarr"))


@pytest.mark.one_python
@pytest.mark.parametrize("seam", ["st_predict.tl._cohort._write_manifest", "st_predict.core.model.model.Model.save"])
@pytest.mark.parametrize("after", [False, True])
def test_a_run_that_ended_before_its_first_slide_goes_on(
    seam: str, after: bool, slides: list[Path], quick_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off just before or just after it wrote the manifest, or the copy of the model."""
    done = _cohort._write_manifest if seam.endswith("manifest") else Model.save

    def broken_off(*given: Any, **named: Any) -> None:
        if after:
            done(*given, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(seam, broken_off)
        with pytest.raises(KeyboardInterrupt):
            stp.tl.predict_cohort(slides[:1], quick_model, tmp_path / "out", um_per_px=UM, n_jobs=1)
    manifest = stp.tl.predict_cohort(slides[:1], quick_model, tmp_path / "out", um_per_px=UM, n_jobs=1)
    assert manifest["status"].tolist() == ["done"]


def listed(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.one_python
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("case_0.zarr/zarr.json", "{}", "case_0.zarr exists and is not an earlier prediction"),
        ("case_0.zarr/st_predict.json", '{"kind": "prediction", "files": {}}', "case_0.zarr exists and is not an"),
        ("manifest.csv", "patient,consent\n1,yes\n", "holds no cohort"),
        ("model/config.json", '{"mine": 1}', "model exists and is not a model"),
    ],
)
def test_what_is_not_ours_in_the_folder_of_a_cohort_is_left_alone(
    slides: list[Path], quick_model: Model, tmp_path: Path, tile_count: SimpleNamespace, name: str, content: str, said: str
) -> None:  # fmt: skip
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    pd.DataFrame(columns=_cohort.COLUMNS).to_csv(out / "manifest.csv", index=False)
    (out / name).write_text(content)
    (out / ".case_0.zarr.backup").mkdir()
    (out / ".case_0.zarr.backup" / "mine").write_text("years of work")
    before = listed(out)
    with pytest.raises(InputError, match=said):
        run(slides, quick_model, out)
    assert listed(out) == before and tile_count.tiles == 0


def test_a_prediction_that_was_worked_on_is_left_alone(slides: list[Path], quick_model: Model, tmp_path: Path) -> None:
    run(slides[:1], quick_model, tmp_path / "out")
    (tmp_path / "out" / "case_0.zarr" / "annotations.csv").write_text("years of work")
    assert run(slides[:1], quick_model, tmp_path / "out")["status"].tolist() == ["skipped"]
    with pytest.raises(InputError, match="is not an earlier prediction of st_predict, as it was written"):
        run(slides[:1], quick_model, tmp_path / "out", pitch_um=150.0)
    assert (tmp_path / "out" / "case_0.zarr" / "annotations.csv").read_text() == "years of work"


def test_a_slide_that_is_a_folder_is_not_written_into(quick_model: Model, tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "1.dcm").write_text("")
    with pytest.raises(InputError, match="out lies within .*case, which is read"):
        run([tmp_path / "case"], quick_model, tmp_path / "case" / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["case", "1.dcm"]


def test_the_pixels_of_a_slide_are_not_written_into(quick_model: Model, tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "Slidedat.ini").write_text("[GENERAL]")
    (tmp_path / "case.mrxs").write_text("")
    with pytest.raises(InputError, match="case is the folder of a slide, and what is written there"):
        run([tmp_path / "case.mrxs"], quick_model, tmp_path / "case" / "results")
    assert [p.name for p in (tmp_path / "case").iterdir()] == ["Slidedat.ini"]


def test_on_the_command_line(slides: list[Path], quick_model: Model, tmp_path: Path) -> None:
    quick_model.save(tmp_path / "model")
    (tmp_path / "text.png").write_text("no slide")
    arguments = ["--model", str(tmp_path / "model"), "--out", str(tmp_path / "out"), "--um-per-px", "2", "--jobs", "1"]
    done = CliRunner().invoke(main, ["predict", *map(str, slides[:2]), *arguments])
    assert done.exit_code == 0 and "2 done" in done.output, done.output
    again = CliRunner().invoke(main, ["predict", *map(str, slides[:2]), str(tmp_path / "text.png"), *arguments])
    assert again.exit_code == 1 and "2 skipped" in again.output and "text: text.png is not a slide" in again.output
    store = tmp_path / "out" / "case_0.zarr"
    mixed = CliRunner().invoke(main, ["predict", str(slides[0]), str(store), *arguments])
    assert mixed.exit_code == 2 and "either bare slides or stores" in mixed.output


@pytest.mark.one_python
def test_another_model_is_another_prediction(
    slides: list[Path], quick_model: Model, make_section: Any, quick: dict[str, Any], tmp_path: Path
) -> None:
    other = stp.tl.train([make_section("A", 3), make_section("B", 4)], **quick)
    run(slides[:1], quick_model, tmp_path / "out")
    manifest = run(slides[:1], other, tmp_path / "out")
    assert manifest["status"].tolist() == ["done"]
    found = spatialdata.read_zarr(manifest["store"][0])["predicted"]
    assert found.uns["predicted"]["model"] == other.id
    one = stp.io.slide(slides[0], um_per_px=UM)
    stp.tl.predict(one, other)
    np.testing.assert_array_equal(found.X, one["predicted"].X)


def test_a_client_that_grows_is_used() -> None:
    from st_predict.tl._processes import _side_by_side

    room, seen = [1], []

    class Future:
        def __init__(self, i: int) -> None:
            self.key = i

        def exception(self) -> None:
            return None

        def result(self) -> int:
            return self.key

    import distributed

    class Ended(list):
        def __iter__(self) -> Any:
            while self:
                seen.append(len(self))
                room[0] = 3
                yield self.pop(0)

        def update(self, more: list[Any]) -> None:
            self.extend(more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "as_completed", Ended)
        found = list(_side_by_side(Future, range(7), lambda: room[0]))
    assert sorted(result for _, result, _ in found) == list(range(7)) and max(seen) == 3 and seen[0] == 1


@pytest.mark.one_python
def test_intervals_and_genes_left_out_in_a_cohort(
    slides: list[Path], three_sections: dict[str, Any], quick: dict[str, Any], tmp_path: Path
) -> None:
    model = stp.tl.train(three_sections, **quick)
    least = model.genes["expected_pcc"].median()  # a NumPy scalar
    asked = {"interval": np.float64(0.9), "min_reliability": least}
    assert set(run(slides[:1], model, tmp_path / "out", **asked)["status"]) == {"done"}
    assert set(run(slides[:1], model, tmp_path / "out", **asked)["status"]) == {"skipped"}
    found = spatialdata.read_zarr(tmp_path / "out" / "case_0.zarr")["predicted"]
    assert found.var_names.tolist() == model.genes.index[model.genes["expected_pcc"] >= least].tolist()
    lower, upper = (found.layers[f"predicted_{end}"] for end in ("lower", "upper"))
    assert (lower <= upper).all() and (upper > found.X).mean() > 0.9
    with pytest.raises(InputError, match="min_reliability is 2"):
        run(slides, model, tmp_path / "none", min_reliability=2)
    with pytest.raises(InputError, match="min_reliability is 'high'"):
        run(slides, model, tmp_path / "none", min_reliability="high")
    assert not (tmp_path / "none").exists()


@pytest.mark.one_python
def test_every_scene_of_a_file_is_predicted(quick_model: Model, tmp_path: Path) -> None:
    import tifffile

    path = tmp_path / "case.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for number, size in enumerate((500, 600, 550)):
            pixels = np.asarray(Image.open(draw(tmp_path / "one.png", number, size)))
            file.write(pixels, tile=(128, 128), photometric="rgb", metadata={"axes": "YXS", "Name": f"scene {number}"})
    one = run([path], quick_model, tmp_path / "one").iloc[0]
    assert (one["slide"], one["status"], one["series"]) == ("case", "done", 1)
    assert "case.ome.tif holds 3 scenes, of which series 1 is read" in one["remarks"]
    again = run([path], quick_model, tmp_path / "one").iloc[0]
    assert (again["status"], again["series"], again["remarks"]) == ("skipped", 1, one["remarks"])
    every = run([path], quick_model, tmp_path / "all", series="all")
    assert every["slide"].tolist() == ["case_series0", "case_series1", "case_series2"]
    assert every["series"].tolist() == [0, 1, 2] and set(every["status"]) == {"done"}
    assert not every["remarks"].str.contains("scenes").any()
    for number in (every.loc[1, "series"], np.int64(1)):
        of_manifest = run([path], quick_model, tmp_path / "all", series=number)
        assert of_manifest["slide"].tolist() == ["case_series1"] and set(of_manifest["status"]) == {"skipped"}
    of_all, of_one = values(tmp_path / "all"), values(tmp_path / "one")
    np.testing.assert_array_equal(of_all["case_series1"], of_one["case"])
    assert len({len(found) for found in of_all.values()}) == 3, "three sections, three sizes"
    for wrong in ("last", 1.0, True, np.bool_(True)):
        with pytest.raises(InputError, match=f"series is {re.escape(repr(wrong))}"):
            run([path], quick_model, tmp_path / "other", series=wrong)
    missing = run([path], quick_model, tmp_path / "missing", series=7).iloc[0]
    assert missing["status"] == "failed" and "case.ome.tif has no series 7" in missing["reason"]
