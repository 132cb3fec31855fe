"""Text files as spreadsheets, R and pandas write them: every gene keeps its name and its column."""

from __future__ import annotations

import codecs
import gzip
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from st_predict.core.errors import InputError
from st_predict.io._counts_file import read_counts
from st_predict.io._legacy_st import _read_spots
from st_predict.io._positions import read_positions

PLAIN = "id,CD3D,CD8A,ACTB\n1x2,1,0,3\n1x3,0,5,6\n"
BOM = codecs.BOM_UTF8.decode()
QUIRKS = {
    "plain": PLAIN,
    "byte-order mark": BOM + PLAIN,
    "R": PLAIN.removeprefix("id,"),
    "R, byte-order mark": BOM + PLAIN.removeprefix("id,"),
    "quotes": '"id","CD3D","CD8A","ACTB"\n"1x2",1,0,3\n"1x3",0,5,6\n',
    "R, quotes, byte-order mark": BOM + '"CD3D","CD8A","ACTB"\n"1x2",1,0,3\n"1x3",0,5,6\n',
    "pandas": PLAIN.removeprefix("id"),
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "R, CRLF, byte-order mark": BOM + PLAIN.removeprefix("id,").replace("\n", "\r\n"),
    "separator at the ends": PLAIN.replace("\n", ",\n"),
    "separator at the ends of rows": PLAIN.replace("2,1,0,3", "2,1,0,3,").replace("5,6", "5,6,"),
    "separator at the end of the header": PLAIN.replace("ACTB", "ACTB,"),
    "R, separator at the ends": PLAIN.removeprefix("id,").replace("\n", ",\n"),
    "blanks": "id, CD3D, CD8A, ACTB\n1x2, 1, 0, 3\n1x3, 0, 5, 6\n",
    "no line end": PLAIN.rstrip(),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("quirk", QUIRKS)
def test_every_gene_keeps_its_name_and_its_column(tmp_path: Path, quirk: str, zipped: bool) -> None:
    raw = QUIRKS[quirk].encode()
    path = tmp_path / ("counts.csv.gz" if zipped else "counts.csv")
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    counts, spots, genes = read_counts(path)
    assert genes == ["CD3D", "CD8A", "ACTB"] and spots == ["1x2", "1x3"]
    assert counts.toarray().tolist() == [[1, 0, 3], [0, 5, 6]]


@pytest.mark.parametrize("name", ["c.csv", "c.CSV", "c.tsv", "c.txt", "c", "c.TSV.GZ", "c.csv.gz"])
@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_the_separator_is_the_one_in_the_file(tmp_path: Path, sep: str, name: str) -> None:
    raw = PLAIN.replace(",", sep).encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.lower().endswith(".gz") else raw)
    counts, spots, genes = read_counts(tmp_path / name)
    assert genes == ["CD3D", "CD8A", "ACTB"] and spots == ["1x2", "1x3"]
    assert counts.toarray().tolist() == [[1, 0, 3], [0, 5, 6]]


def test_a_separator_within_a_name(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text('id,"A;1;2;3","B"\n1x2,1,2\n')
    (tmp_path / "c.tsv").write_text("id\tA,1,2,3\tB\n1x2\t1\t2\n")
    assert read_counts(tmp_path / "c.csv")[2] == ["A;1;2;3", "B"]
    assert read_counts(tmp_path / "c.tsv")[2] == ["A,1,2,3", "B"]


def test_ids_that_look_like_numbers_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "counts.tsv").write_text("id\tA\n007\t1\n7\t2\n1e3\t3\nnull\t4\n None \t5\n")
    counts, spots, _ = read_counts(tmp_path / "counts.tsv")
    assert spots == ["007", "7", "1e3", "null", "None"] and np.array_equal(counts.toarray()[:, 0], [1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,A,B\n1x2,1,2\n1x3,4,\n", "^counts.csv: line 3 has no count in column 3\n"),
        ("id,A,B\n1x2,1,2\n1x3,4,5,6\n", "cannot be read as a table"),
        ("id A B\n1x2 1 2\n", "cannot be read as a table: its header has 1 names, its first row 1 values"),
        ("id,A,B\n1x2,1,\n1x3,4,5\n", "^counts.csv: line 2 has no count in column 3\n"),
        ("id,A,A \n1x2,1,2\n", "1 genes come more than once, e.g. 'A'"),
        ('id,A," ",B\n1x2,1,2,3\n', "the name of number 2 of the genes is empty"),
        ("id,A,B\n1x2,1,2\n ,3,4\n", "the name of number 2 of the spot ids is empty"),
        ("id,A,B\n1x2,TRUE,2\n1x3,FALSE,4\n", "column 'A' holds True or False, e.g. 'True'"),
    ],
    ids=[
        "a value missing",
        "a value too many",
        "other separator",
        "the first row's last missing",
        "twice but for a blank",
        "a gene without a name",
        "a spot without one",
        "truth",
    ],
)
def test_what_would_move_columns_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "counts.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_counts(tmp_path / "counts.csv")


@pytest.mark.parametrize(
    "text",
    [
        b"\n\n" + PLAIN.encode(),
        b"sep=;\nid;A;B\n1x1;1;2\n",
        b"# by R\n" + PLAIN.encode(),
    ],
)
def test_what_stands_in_the_way_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "counts.csv").write_bytes(text)
    with pytest.raises(InputError, match="cannot be read as a table") as error:
        read_counts(tmp_path / "counts.csv")
    assert (
        "delete everything before the header (comments, sep=;, blank lines), and save it as UTF-8" in error.value.remedy
    )


@pytest.mark.parametrize("name", [np.nan, None, "", ("a", "b")])
@pytest.mark.parametrize(("axis", "said"), [("columns", "genes"), ("index", "spot ids")])
def test_names_of_a_frame_that_are_none(name: Any, axis: str, said: str) -> None:
    frame = pd.DataFrame([[1, 2], [3, 4]], index=["1x1", "1x2"], columns=["A", "B"])
    names = pd.Index(["A"], dtype=object).append(pd.Index([name], dtype=object, tupleize_cols=False))
    with pytest.raises(InputError, match=f"^the name of number 2 of the {said} is empty\n  where:    counts\n"):
        read_counts(frame.set_axis(names, axis=axis))


def test_a_frame_without_genes() -> None:
    with pytest.raises(InputError, match="^there are no genes\n  where:    counts\n"):
        read_counts(pd.DataFrame(index=["1x1"]))


def test_a_gap_in_whole_numbers_is_a_count_that_is_missing() -> None:
    frame = pd.DataFrame({"A": pd.array([1, None], dtype="Int64"), "B": [1, 2]}, index=["1x2", "1x3"])
    with pytest.raises(InputError, match="1 counts are missing"):
        read_counts(frame)
    whole = frame.assign(A=pd.array([1, 3], dtype="Int64"))
    assert np.array_equal(read_counts(whole)[0].toarray(), [[1, 1], [3, 2]])


LONG = "id,A,B\n" + "".join(f"1x{i},{i},0\n" for i in range(400))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LONG[:-5], "line 401 holds 2 of 3 values, and is the last one: the file was cut"),
        (LONG.replace("1x300,300,0", "1x300,300"), "line 302 holds 2 of 3 values"),
        (LONG.replace("1x300,300,0", "1x300"), "line 302 holds 1 of 3 values"),
        (LONG.replace("1x300,300,0", "\n1x300,,0"), "line 303 has no count in column 2"),
        (LONG.replace("1x300,300,0", "1x300,NaN,0"), "1 counts are missing, NaN or infinite"),
        (LONG.replace("1x300,300,0", "1x300,1_000,0"), "column 'A' holds text, e.g. '1_000'"),
        (
            LONG.replace("id,A,B\n", "").replace("1x0,0,0", "1x0,1,1"),
            "all 2 genes have numbers for names, and some come",
        ),
    ],
    ids=["cut", "short", "shorter", "empty", "NaN", "underscore", "no header"],
)
def test_a_row_that_is_damaged_is_named(tmp_path: Path, text: str, said: str) -> None:
    for name in ("counts.csv", "counts.csv.gz"):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        with pytest.raises(InputError) as error:
            read_counts(tmp_path / name)
        assert error.value.what.removeprefix(f"{name}: ").startswith(said)


@pytest.mark.parametrize("name", ["my counts.csv", "counts.csv.gz"])
def test_latin_1_is_named_and_the_remedy_works(tmp_path: Path, name: str) -> None:
    data = (PLAIN.replace("ACTB", "\u00b5B") + "\n" * 2**20).encode("latin-1")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(InputError) as error:
        read_counts(tmp_path / name)
    assert error.value.what == f"{name} is no text in UTF-8: it holds the byte 0xb5, in Latin-1 '\u00b5'"
    command = error.value.remedy.partition(": ")[2]
    assert subprocess.run(command, shell=True, cwd=tmp_path, check=False).returncode == 0
    assert "\u00b5B" in read_counts(tmp_path / shlex.split(command)[-1])[2]


SPOTS = "x\ty\tpixel_x\tpixel_y\n1\t2\t10.5\t20.5\n1\t3\t11.5\t33.25\n"
POSITIONS = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres\nAA-1,1,0,0,10.5,20\nAC-1,1,0,2,11,21\n"
READERS = {
    "counts.csv": (read_counts, PLAIN),
    "spots.tsv": (_read_spots, SPOTS),
    "places.csv": (read_positions, POSITIONS),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.encode("utf-16"), "{name} is text in UTF-16"),
        (lambda text: text.encode("utf-16-be"), "{name} is text in UTF-16BE"),
        (lambda text: text.encode("utf-16-le"), "{name} is text in UTF-16LE"),
        (
            lambda text: text.encode() + bytes(9),
            "byte {end} of {name} is zero: it is not a text file, or it is incomplete",
        ),
        (
            lambda text: text[:4].encode() + b"\0" + text[4:].encode(),
            "byte 4 of {name} is zero: it is not a text file, or it is incomplete",
        ),
    ],
)
def test_what_is_no_plain_text_is_named(damage: Callable[[str], bytes], said: str, name: str, tmp_path: Path) -> None:
    read, text = READERS[name]
    (tmp_path / name).write_bytes(damage(text))
    with pytest.raises(InputError) as error:
        read(tmp_path / name)
    assert error.value.what == said.format(name=name, end=len(text))
    if "UTF" in said:
        command = error.value.remedy.partition(": ")[2]
        made = tmp_path / command.split(" > ")[1]
        assert subprocess.run(command, shell=True, cwd=tmp_path, check=False).returncode == 0
        read(made)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("counts.csv", "column 'CD3D' holds numbers with a comma, e.g. '1,0'"),
        ("spots.tsv", "the table of spots holds numbers with a comma, e.g. '10,5'"),
        ("places.csv", "places.csv holds numbers with a comma, e.g. '10,5'"),
    ],
)
def test_decimal_commas_are_told_as_such(name: str, said: str, tmp_path: Path) -> None:
    read, text = READERS[name]
    text = text.replace("\t", ";").replace(",", ";").replace(".", ",").replace("1x2;1;", "1x2;1,0;")
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        read(tmp_path / name)
    assert error.value.what == said
    code = error.value.remedy.partition("decimals: ")[2]
    exec(code, {"pandas": pd, "path": tmp_path / name, "new_path": tmp_path / f"new_{name}"})
    read(tmp_path / f"new_{name}")


def test_decimal_commas_between_commas_are_not_taken_for_names_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "spots.csv"
    path.write_text(SPOTS.replace("\t", ",").replace("10.5,20.5", "10,5,20,5").replace("11.5,33.25", "11,5,33,25"))
    with pytest.raises(InputError, match=r"^spots\.csv has 4 columns, and 2 more values in its rows\n"):
        _read_spots(path)


def test_positions_may_have_semicolons(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(POSITIONS)
    (tmp_path / "b.csv").write_text(POSITIONS.replace(",", ";"))
    pd.testing.assert_frame_equal(read_positions(tmp_path / "a.csv"), read_positions(tmp_path / "b.csv"))
