"""The filtered matrix: each part that is missing, damaged or at odds with another is named, whoever would have read it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from st_predict.core.errors import InputError
from st_predict.io._matrix_file import read_matrix


@pytest.fixture
def outs(tmp_path, files) -> Path:
    return files.write_outs(tmp_path / "outs", files.asymmetric_pixels(200, 300))


def change_part(path: Path, name: str, change: Callable | None) -> None:
    """Put something else in the place of one part of an .h5, or nothing."""
    with h5py.File(path, "a") as file:
        values = file[f"matrix/{name}"][:]
        del file[f"matrix/{name}"]
        if change is not None:
            file[f"matrix/{name}"] = change(values)


def other_first(values: np.ndarray, first: bytes) -> np.ndarray:
    return np.array([first, *values[1:].tolist()])


@pytest.mark.parametrize("name", ["data", "indptr", "shape", "barcodes", "features/name", "features/feature_type"])
def test_a_missing_part_is_named(outs, name):
    path = outs / "filtered_feature_bc_matrix.h5"
    change_part(path, name, None)
    with pytest.raises(InputError, match=f"^{name} of filtered_feature_bc_matrix.h5 is missing, or cannot be read"):
        read_matrix(path)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("indices", lambda found: found - 50, r"indices of .* are -50 to -47, and there are 4 features"),
        ("indices", lambda found: found + np.int64(2**40), r"indices of .* are \d+ to \d+, and there are 4 features"),
        ("indices", lambda found: found * 0, r"indices of .* name \d+ features twice in one barcode"),
        ("indices", lambda found: found[:-1], r"indices of .* has length \d+ in place of"),
        ("data", lambda found: found[:-1], r"indices of .* has length \d+ in place of"),
        ("data", lambda found: found.astype("S8"), r"data of .* holds \|S8"),
        ("data", lambda found: found[None], r"data of .* of 2 dimensions"),
        ("indptr", lambda found: found[::-1], r"indptr of .* does not rise from 0"),
        ("indptr", lambda found: found[[0, 2, 1, *range(3, len(found))]], r"indptr of .* does not rise from 0"),
        ("indptr", lambda found: found[:-1], r"indptr of .* has length 10 in place of 11"),
        ("shape", lambda found: found[::-1], r"barcodes of .* has length 10 in place of 4"),
        ("shape", lambda found: found * 10**8, r"barcodes of .* has length 10 in place of 1000000000"),
        ("shape", lambda found: found[:1], r"shape of .* is \[4\]"),
        ("barcodes", lambda found: found[[0, 0, *range(2, 10)]], r"barcodes of .* 10 names, of which 9 are distinct"),
        ("features/id", lambda found: found[:-1], r"features/id of .* has length 3 in place of 4"),
        ("features/genome", lambda found: found[:-1], r"features/genome of .* has length 3 in place of 4"),
        ("features/name", lambda found: other_first(found, b"A\xe9"), r"features/name of .* which is not plain text"),
        ("features/name", lambda found: np.arange(4), r"features/name of .* holds int64"),
    ],
)
def test_parts_that_contradict_one_another_are_named(outs, name, change, said):
    path = outs / "filtered_feature_bc_matrix.h5"
    change_part(path, name, change)
    with pytest.raises(InputError, match=f"^{said}"):
        read_matrix(path)


def test_features_in_any_order_within_a_barcode_are_taken(outs, files):
    path = outs / "filtered_feature_bc_matrix.h5"
    with h5py.File(path) as file:
        starts = file["matrix/indptr"][:]
    ends = [slice(start, stop) for start, stop in zip(starts[:-1], starts[1:], strict=True)]
    for name in ("indices", "data"):
        change_part(path, name, lambda found: np.concatenate([found[part][::-1] for part in ends]))
    np.testing.assert_array_equal(read_matrix(path).X.toarray(), files.counts)


def test_a_size_that_the_file_has_no_room_for_is_not_read(outs):
    path = outs / "filtered_feature_bc_matrix.h5"
    with h5py.File(path, "a") as file:
        for name in ("data", "indices"):
            del file[f"matrix/{name}"]
            file["matrix"].create_dataset(name, (10**12,), np.int32, chunks=(10**6,), compression="gzip")
    with pytest.raises(InputError, match=r"^(indices|data) of .* claims 4,000,000,000,000 bytes, and the file has"):
        read_matrix(path)


@pytest.mark.parametrize("length", [2**64 - 19, 0x12 + 2**20])
def test_texts_whose_length_was_changed_do_not_hang_the_reader(outs, files, length):
    """Texts of any length lie in a list; HDF5 adds the length of one to find the next, and 2**64 leads nowhere."""
    path = outs / "filtered_feature_bc_matrix.h5"
    change_part(path, "barcodes", lambda found: found.astype(object))
    np.testing.assert_array_equal(read_matrix(path).X.toarray(), files.counts)
    content = bytearray(path.read_bytes())
    at = content.rindex(files.barcodes[3].encode()) - 8
    content[at : at + 8] = length.to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged at byte .* a text is longer than the list it is in"):
        read_matrix(path)


def test_another_file_of_the_same_kind_is_refused(tmp_path):
    import anndata

    path = tmp_path / "filtered_feature_bc_matrix.h5"
    anndata.AnnData(np.ones((3, 3), "float32")).write_h5ad(path)
    with pytest.raises(InputError, match="has no group 'matrix' with 'features'"):
        read_matrix(path)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("matrix", lambda text: "", "matrix.mtx.gz of .* cannot be read"),
        (
            "matrix",
            lambda text: text[: text.rindex("\n", 0, -1)],
            r"matrix.mtx.gz of .* says that it holds \d+ values, and",
        ),
        ("matrix", lambda text: text.replace("\n1 1 ", "\n9 1 ").replace("\n2 1 ", "\n9 1 "), "cannot be read: "),
        ("matrix", lambda text: text.replace("\n3 1 ", "\n2 1 "), "indices of .* name 1 features twice in one barcode"),
        ("matrix", lambda text: text.replace("coordinate", "array"), "matrix.mtx.gz of .* is array|cannot be read"),
        ("features", lambda text: "", "features.tsv.gz of .* has 0 rows, and matrix.mtx.gz says 4"),
        ("features", lambda text: text.replace("\tGene Expression", ""), "features.tsv.gz of .* a row of 2 columns"),
        (
            "barcodes",
            lambda text: text[: len(text) // 2],
            "barcodes.tsv.gz of .* has 5 rows, and matrix.mtx.gz says 10",
        ),
        ("barcodes", lambda text: text.replace("CC", "CA"), "barcodes.tsv.gz of .* 10 names, of which"),
    ],
)
def test_a_folder_of_text_that_is_not_whole_is_refused(outs, files, name, change, said):
    folder = files.to_mtx(outs)
    (path,) = folder.glob(f"{name}.*")
    with gzip.open(path, "rt") as file:
        text = file.read()
    with gzip.open(path, "wt") as file:
        file.write(change(text))
    assert change(text) != text
    with pytest.raises(InputError, match=f"^.*{said}"):
        read_matrix(folder)


@pytest.mark.parametrize(
    ("header", "last", "said"),
    [
        ("integer", "3 1 2.5", "says that its values are integer, and holds the line '3 1 2.5'"),
        ("integer", "3 1 1e3", "says that its values are integer, and holds the line '3 1 1e3'"),
        ("unsigned-integer", "3 1 3,5", "says that its values are unsigned-integer, and holds the line '3 1 3,5'"),
        ("real", "3 1.5", "says that its values are real, and holds the line '3 1.5'"),
        ("real", "3 1 5 2", "says that its values are real, and holds the line '3 1 5 2'"),
        ("pattern", "3 1 5", "is coordinate, pattern and general"),
        ("complex", "3 1 5 0", "is coordinate, complex and general"),
        ("integer", "3 1 5\r", r"ends in '3 1 5\r', without the end of a line"),
        ("integer", "3 1 5 ", "ends in '3 1 5 ', without the end of a line"),
        ("integer", f"3 1 {10**23}", "cannot be read: Line 5: Integer out of range."),
    ],
)
def test_a_line_that_would_be_read_as_something_else_is_refused(outs, files, header, last, said):
    """The reader takes what a line begins with, and 1 for every value of a pattern; the last line may end the process."""
    folder = files.to_mtx(outs)
    lines = [f"%%MatrixMarket matrix coordinate {header} general", "%", "4 10 2", "1 1 3", last]
    (folder / "matrix.mtx.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(InputError) as error:
        read_matrix(folder)
    assert error.value.what.removeprefix("matrix.mtx.gz of ") == f"filtered_feature_bc_matrix {said}"


def test_a_last_line_without_its_end_is_read(outs, files):
    folder = files.to_mtx(outs)
    text = gzip.decompress((folder / "matrix.mtx.gz").read_bytes())
    (folder / "matrix.mtx.gz").write_bytes(gzip.compress(text.rstrip()))
    np.testing.assert_array_equal(read_matrix(folder).X.toarray(), files.counts)


def test_room_is_made_for_no_more_values_than_there_are(outs, files):
    folder = files.to_mtx(outs)
    text = f"%%MatrixMarket matrix coordinate real general\n4 10 {10**12}\n1 1 3.0\n\n2 1 4e0\n"
    (folder / "matrix.mtx.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(
        InputError, match=r"^matrix\.mtx\.gz of .* says that it holds 1,000,000,000,000 values, and has 3 "
    ):
        read_matrix(folder)


@pytest.mark.parametrize("name", ["matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz"])
def test_a_file_cut_in_its_compression_is_named(outs, files, name):
    path = files.to_mtx(outs) / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        InputError, match="of filtered_feature_bc_matrix cannot be read|^filtered_feature_bc_matrix cannot"
    ):
        read_matrix(path.parent)
