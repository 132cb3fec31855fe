"""Public data: the local folder, and downloads by checksum from a server on this machine that speaks the raw formats."""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import http.server
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from st_predict import datasets
from st_predict.core.errors import InputError
from st_predict.datasets import _download
from st_predict.datasets._download import Source, read_sources

WIDTH, HEIGHT = 96, 68


def jpeg() -> bytes:
    """An image whose upper left corner is dark."""
    pixels = np.full((HEIGHT, WIDTH, 3), 230, dtype=np.uint8)
    pixels[:20, :30] = 40
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=95)
    return stream.getvalue()


def table(rows: list[list[object]]) -> bytes:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()


# Every set in its upstream's own form; the last value of a counts row tells which spot it is.
HER2ST_COUNTS = table([["", "A1", "B2"], ["10x21", 3, 7], ["11x21", 0, 9]])
HER2ST_SPOTS = table(
    [
        ["x", "y", "new_x", "new_y", "pixel_x", "pixel_y", "selected"],
        [11, 21, 10.9, 21.0, 60.5, 30.25, 1],
        [10, 21, 9.8, 21.0, 20.5, 31.5, 1],
    ]
)
MOB_COUNTS = table([["", "ENSMUSG01.1", "ENSMUSG02.16"], ["12x28", 1, 5], ["1x1", 2, 6], ["12x30", 3, 8]])
MOB_SPOTS = table(
    [
        ["x", "y", "new_x", "new_y", "pixel_x", "pixel_y", "selected"],
        [1, 1, 1, 0.97, 5.5, 6.5, 0],
        [12, 28, 12, 27.9, 40.25, 20.5, 1],
        [12, 30, 12, 29.9, 40.5, 30.5, 1],
    ]
)
ALS_COUNTS = table(
    [
        ["", "Nefl", "__ambiguous.Dst.AC123072.1", "Hba.a1"],
        ["5.000x3.000", 4, 50, 6],
        ["17.500x18.000", 1, 50, 9],
    ]
)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    requests: list[str] = []

    def log_message(self, format: str, *args: object) -> None:
        self.requests.append(self.path)


Upload = Callable[..., Source]


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upload]:
    """A server in place of GitHub and a list of sources in place of the packaged one; returns how to add a file."""
    root = tmp_path / "server"
    root.mkdir()
    sources: list[Source] = []
    _Quiet.requests = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.delenv("ST_PREDICT_DATA", raising=False)
    monkeypatch.setattr(_download, "_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(_download, "_cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("st_predict.datasets._public.read_sources", lambda: sources)

    def upload(
        dataset: str, section: str, kind: str, content: bytes, *, um_per_px: str = "2.5", path: str | None = None
    ) -> Source:
        suffix = {"counts": ".tsv", "image": ".jpg", "spots": ".tsv"}[kind]
        if dataset == "her2st" and kind == "counts":
            suffix, content = ".tsv.gz", gzip.compress(content, mtime=0)
        path = path or f"data/{kind}/{section}{suffix}"
        file = root / "someone" / "study" / "abc" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        source = Source(
            dataset, section, "mouse", um_per_px, kind, "someone/study", "abc", path, str(len(content)), sha256
        )
        sources.append(source)
        return source

    yield upload
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def her2st_upstream(upstream: Upload) -> Upload:
    for kind, content in {"counts": HER2ST_COUNTS, "image": jpeg(), "spots": HER2ST_SPOTS}.items():
        upstream("her2st", "C9", kind, content)
    return upstream


def test_sources_name_every_file_once() -> None:
    sources = read_sources()
    assert {s.dataset for s in sources} == {"her2st", "als", "mob"}
    assert len({(s.dataset, s.section, s.kind) for s in sources}) == len(sources) == 33
    for dataset, kinds in {
        "her2st": {"counts", "image", "spots"},
        "mob": {"counts", "image", "spots"},
        "als": {"counts", "image"},
    }.items():
        sections = {s.section for s in sources if s.dataset == dataset}
        assert all({s.kind for s in sources if s.section == one} == kinds for one in sections)
    for source in sources:
        assert len(source.sha256) == 64 and len(source.commit) == 40 and int(source.bytes) > 0
        assert (source.um_per_px == "") == (source.dataset == "mob"), "that source states no scale"
    by_image: dict[str, set[str]] = {}
    for source in sources:
        if source.kind == "image":
            by_image.setdefault(source.sha256, set()).add(source.section)
    assert {"CN51_C2_1", "CN51_C2_2"} in by_image.values(), "two mice on one image"


def test_her2st_as_it_is(her2st_upstream: Upload) -> None:
    sdata = datasets.her2st()["C9"]
    spots = sdata["table"]
    assert list(spots.obs_names) == ["10x21", "11x21"] and list(spots.var_names) == ["A1", "B2"]
    np.testing.assert_array_equal(spots.X.toarray(), [[3, 7], [0, 9]])
    np.testing.assert_array_equal(spots.obsm["spatial"], [[20.5, 31.5], [60.5, 30.25]])
    assert set(spots.obs["subject"]) == {"mouse"}
    assert sdata.attrs["st_predict"]["um_per_px"] == {"C9_image": 2.5}
    image = sdata.images["C9_image"].to_numpy()
    assert image.shape == (3, HEIGHT, WIDTH) and image[:, :15, :25].max() < 80 < image[:, :15, 40:].min()


def test_mob_keeps_selected_spots_and_plain_ids(upstream: Upload) -> None:
    for kind, content in {"counts": MOB_COUNTS, "image": jpeg(), "spots": MOB_SPOTS}.items():
        upstream("mob", "M1", kind, content, um_per_px="")
    sdata = datasets.mob()["M1"]
    spots = sdata["table"]
    assert list(spots.var_names) == ["ENSMUSG01", "ENSMUSG02"]
    assert list(spots.obs_names) == ["12x28", "12x30"]
    np.testing.assert_array_equal(spots.X.toarray(), [[1, 5], [3, 8]])
    np.testing.assert_array_equal(spots.obsm["spatial"], [[40.25, 20.5], [40.5, 30.5]])
    assert sdata.attrs["st_predict"]["um_per_px"] == {}, "never guessed"


def test_mob_names_no_animal() -> None:
    """The source names none, and a section's own name is none."""
    assert {s.subject for s in read_sources() if s.dataset == "mob"} == {""}
    assert all(s.subject not in ("", s.section) for s in read_sources() if s.dataset != "mob")


def test_als_drops_ambiguous_genes_and_places_spots(upstream: Upload) -> None:
    for section in ("N1", "N2"):
        upstream("als", section, "counts", ALS_COUNTS)
        upstream("als", section, "image", jpeg(), path="data/shared.jpg")
    sections = datasets.als()
    assert list(sections) == ["N1", "N2"]
    spots = sections["N2"]["table"]
    assert list(spots.var_names) == ["Nefl", "Hba.a1"]
    assert list(spots.obs_names) == ["5.000x3.000", "17.500x18.000"]
    np.testing.assert_array_equal(spots.X.toarray(), [[4, 6], [1, 9]])
    # the array of 32 x 34 spans the image of 96 x 68 px: 3 px a column, 2 px a row, first position at 0
    np.testing.assert_allclose(spots.obsm["spatial"], [[12.0, 4.0], [49.5, 34.0]])
    assert sum("shared.jpg" in path for path in _Quiet.requests) == 1, "one image, fetched once"


def test_second_load_needs_no_network(her2st_upstream: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    first = datasets.her2st()["C9"]["table"]
    monkeypatch.setattr(_download, "_BASE_URL", "http://127.0.0.1:9")
    again = datasets.her2st()["C9"]["table"]
    np.testing.assert_array_equal(first.X.toarray(), again.X.toarray())


def test_other_content_than_known_is_refused(her2st_upstream: Upload, tmp_path: Path) -> None:
    (tmp_path / "server/someone/study/abc/data/spots/C9.tsv").write_bytes(HER2ST_SPOTS.replace(b"60.5", b"61.5"))
    with pytest.raises(InputError, match="the downloaded file is not the known one") as caught:
        datasets.her2st()
    assert caught.value.where.endswith("/someone/study/abc/data/spots/C9.tsv")
    assert "ST_PREDICT_DATA" in caught.value.remedy
    assert not list((tmp_path / "cache").rglob("*-C9.tsv")), "a wrong file is not kept"


def test_no_network(her2st_upstream: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_download, "_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(
        ConnectionError, match=r"cannot be downloaded(.|\n)*local folder as path= or in ST_PREDICT_DATA"
    ):
        datasets.her2st()


def test_file_gone_upstream(her2st_upstream: Upload, tmp_path: Path) -> None:
    (tmp_path / "server/someone/study/abc/data/image/C9.jpg").unlink()
    with pytest.raises(ConnectionError, match=r"data/image/C9\.jpg cannot be downloaded: 404"):
        datasets.her2st()


def test_unknown_section_offers_the_known_before_any_download(her2st_upstream: Upload) -> None:
    with pytest.raises(InputError, match="her2st has no section 'C1'") as caught:
        datasets.her2st(sections=["C9", "C1"])
    assert caught.value.expected == "names among C9"
    with pytest.raises(InputError, match="sections is .*empty"):
        datasets.her2st(sections=[])
    assert _Quiet.requests == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A local folder of two sections, the second without a scale or a subject."""
    rows = [["dataset", "section", "subject", "um_per_px"], ["her2st", "C1", "p", "2.5"], ["her2st", "C2", "", ""]]
    with (tmp_path / "sections.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    for section in ("C1", "C2"):
        place = tmp_path / "her2st" / section
        place.mkdir(parents=True)
        (place / "counts.tsv.gz").write_bytes(gzip.compress(HER2ST_COUNTS))
        (place / "spots.tsv").write_bytes(HER2ST_SPOTS)
        (place / "image.jpg").write_bytes(jpeg())
    return tmp_path


def test_local_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ST_PREDICT_DATA", raising=False)
    sections = datasets.her2st(folder)
    assert list(sections) == ["C1", "C2"]
    np.testing.assert_array_equal(sections["C1"]["table"].X.toarray(), [[3, 7], [0, 9]])
    assert set(sections["C1"]["table"].obs["subject"]) == {"p"}
    assert "subject" not in sections["C2"]["table"].obs
    assert sections["C2"].attrs["st_predict"]["um_per_px"] == {}
    monkeypatch.setenv("ST_PREDICT_DATA", str(folder))
    assert list(datasets.her2st(sections="C2")) == ["C2"]


def test_the_name_of_a_section_is_no_subject(folder: Path) -> None:
    listing = folder / "sections.csv"
    listing.write_text(listing.read_text().replace("her2st,C2,,", "her2st,C2,C2,"))
    sections = datasets.her2st(folder)
    assert "subject" not in sections["C2"]["table"].obs and set(sections["C1"]["table"].obs["subject"]) == {"p"}


def test_argument_beats_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_PREDICT_DATA", str(folder / "nowhere"))
    assert list(datasets.her2st(str(folder), sections=["C1"])) == ["C1"]


def test_local_folder_without_the_set(folder: Path) -> None:
    with pytest.raises(InputError, match=r"mob does not exist") as caught:
        datasets.mob(folder)
    assert "mob/<section>/{counts.tsv.gz,image.jpg,spots.tsv}" in caught.value.expected
    (folder / "sections.csv").unlink()
    with pytest.raises(InputError, match=r"sections\.csv does not exist"):
        datasets.her2st(folder)


def test_local_folder_with_missing_files_says_which(folder: Path) -> None:
    (folder / "her2st/C1/spots.tsv").unlink()
    (folder / "her2st/C2/image.jpg").unlink()
    with pytest.raises(InputError, match=r"2 missing: .*C1.spots\.tsv, .*C2.image\.jpg"):
        datasets.her2st(folder)


def test_local_listing_without_a_column(folder: Path) -> None:
    (folder / "sections.csv").write_text("dataset,section\nher2st,C1\n")
    with pytest.raises(InputError, match="columns subject, um_per_px are missing"):
        datasets.her2st(folder)


def test_local_unknown_section(folder: Path) -> None:
    with pytest.raises(InputError, match="her2st has no section 'D1'") as caught:
        datasets.her2st(folder, sections="D1")
    assert caught.value.expected == "names among C1, C2"


def real_data() -> Path:
    named = os.environ.get("ST_PREDICT_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("load", "section", "n_spots", "n_genes"),
    [(datasets.als, "CN51_C2_1", 40, 12416), (datasets.mob, "MOB1", 379, 1000)],
)
def test_real_sections(load: Callable, section: str, n_spots: int, n_genes: int) -> None:
    if not (real_data() / "sections.csv").is_file():
        pytest.skip(f"no real sections in {real_data()}; name their folder in ST_PREDICT_DATA")
    spots = load(real_data(), sections=section)[section]["table"]
    assert spots.shape == (n_spots, n_genes)
