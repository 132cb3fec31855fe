"""The filtered matrix of Space Ranger, ``.h5`` or a folder of text: what it says of itself is checked, then scanpy reads it.

Knows no positions and no image.
"""

from __future__ import annotations

import csv
import re
import warnings
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError
from st_predict.core.sparse import indices_fault, indptr_fault
from st_predict.core.text import check_text, open_bytes, open_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import h5py
    from anndata import AnnData

_NUMBERS = {"shape": "iu", "indptr": "iu", "indices": "iu", "data": "iuf"}  # by the kinds of NumPy they may be
_FEATURES = ("id", "name", "feature_type")
_MOST_PACKED = 1100  # bytes in one byte of a file; deflate packs 1,032
_DAMAGE = (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, csv.Error,
           zlib.error)  # fmt: skip
_BLOCK = 2**22
_WHOLE, _REAL = rb"[-+]?\d++", rb"[-+]?(?:\d++\.?\d*+(?:[eE][-+]?\d++)?|nan|NaN|inf|Inf)"
_LINES = {field: re.compile(rb"(?:\s*+\d++[ \t]++\d++[ \t]++%b[ \t\r]*+\n)*+\s*+" % value)
          for field, value in (("integer", _WHOLE), ("unsigned-integer", _WHOLE), ("real", _REAL))}  # fmt: skip
_HEAP, _HEAP_ENTRY = b"GCOL\x01\0\0\0", 16


def read_matrix(path: Path) -> AnnData:
    """Read every barcode and feature; features of one name are told apart by a number.

    Raises
    ------
    InputError
        If a part is missing, is not what it should be, or contradicts another; it names the part.
    """
    import scanpy as sc

    check, read = (_check_h5, sc.read_10x_h5) if path.suffix == ".h5" else (_check_folder, sc.read_10x_mtx)
    with _reading(path), warnings.catch_warnings():
        # Usual in every output, and mended below.
        warnings.filterwarnings("ignore", message="Variable names are not unique", category=UserWarning)
        n_values = check(path)
        table = read(path, gex_only=False)  # which takes no columns, and so trusts no index
    table.var_names_make_unique()
    _check_indices(path, table.X, n_values)
    return table


def _check_indices(path: Path, matrix: Any, n_values: int) -> None:
    """Refuse places outside the matrix, and one place twice, which the reader of text has summed."""
    n, part = matrix.shape[1 if matrix.format == "csr" else 0], "indices"
    if why := indices_fault(matrix.indices, n, "features"):
        raise _damaged(path, part, why)
    if not matrix.has_canonical_format:  # unsorted, or twice
        matrix = matrix.copy()
        matrix.sum_duplicates()
    if matrix.nnz != n_values:
        raise _damaged(path, part, f"name {n_values - matrix.nnz} features twice in one barcode")


def _check_h5(path: Path) -> int:
    """The number of values, of a file whose parts are there, of their kinds, and of lengths that fit together."""
    import h5py

    with h5py.File(path) as file:
        parts = _parts(path, file.get("matrix"))
        if any(_is_text(part) and h5py.check_string_dtype(part.dtype).length is None for part in parts.values()):
            _check_heaps(path)
        shape = parts["shape"][:].tolist()
        if len(shape) != 2 or min(shape) < 0:
            raise _damaged(path, "shape", f"is {shape}")
        lengths = {"barcodes": shape[1], "indices": len(parts["data"])}
        lengths |= {name: shape[0] for name in parts if name.startswith("features/")}
        for name, length in lengths.items():
            if len(parts[name]) != length:
                raise _damaged(path, name, f"has length {len(parts[name])} in place of {length}")
        n_values = len(parts["data"])
        if why := indptr_fault(parts["indptr"][:], shape[1], n_values):
            raise _damaged(path, "indptr", why)
        texts = {name: part[:] for name, part in parts.items() if _is_text(part)}
    for name, values in texts.items():
        if foreign := next((value for value in values if not value.isascii()), None):
            raise _damaged(path, name, f"holds {bytes(foreign)!r}, which is not plain text")
    _check_barcodes(path, "barcodes", texts["barcodes"].tolist())
    return n_values


def _parts(path: Path, matrix: Any) -> dict[str, h5py.Dataset]:
    """The parts of a matrix by name, each a list of numbers or of text that the file has room for."""
    import h5py

    features = matrix.get("features") if isinstance(matrix, h5py.Group) else None
    if not isinstance(features, h5py.Group):
        raise _damaged(path, "", "has no group 'matrix' with 'features'")
    found = {name: matrix.get(name) for name in (*_NUMBERS, "barcodes")}
    named = {*_FEATURES, *features} - {"_all_tag_keys", "target_sets"}  # which are no lists of features
    found |= {f"features/{name}": features.get(name) for name in sorted(named)}
    for name, part in found.items():
        if not isinstance(part, h5py.Dataset):
            raise _damaged(path, name, "is missing, or cannot be read")
        texts = name == "barcodes" or name.removeprefix("features/") in _FEATURES
        if part.ndim != 1 or (not _is_text(part) if texts else part.dtype.kind not in _NUMBERS.get(name, "iufbSO")):
            raise _damaged(path, name, f"holds {part.dtype} of {part.ndim} dimensions")
        if part.nbytes > _MOST_PACKED * path.stat().st_size:
            raise _damaged(path, name, f"claims {part.nbytes:,} bytes, and the file has {path.stat().st_size:,}")
    return found


def _is_text(part: h5py.Dataset) -> bool:
    import h5py

    return h5py.check_string_dtype(part.dtype) is not None


def _check_heaps(path: Path) -> None:
    """Refuse lists of texts of any length that would be walked for ever: HDF5 goes from one to the next by its length."""
    content = path.read_bytes()
    start = content.find(_HEAP)
    while start >= 0:
        end = start + int.from_bytes(content[start + 8 : start + 16], "little")
        at = start + _HEAP_ENTRY
        while at + _HEAP_ENTRY <= end:
            number, length = content[at : at + 2], int.from_bytes(content[at + 8 : at + 16], "little")
            at += _HEAP_ENTRY + -(-length // 8) * 8 if any(number) else max(length, _HEAP_ENTRY)
            if at > min(end, len(content)):
                raise _damaged(path, "", f"is damaged at byte {start}: a text is longer than the list it is in")
        start = content.find(_HEAP, start + 1)


def _check_folder(folder: Path) -> int:
    """The number of values, of a folder in which features and barcodes are as many as the matrix says."""
    from scipy.io import mminfo

    early = (folder / "genes.tsv").is_file()
    genes, zipped, width = ("genes", "", 2) if early else ("features", ".gz", 3)
    matrix, features, barcodes = f"matrix.mtx{zipped}", f"{genes}.tsv{zipped}", f"barcodes.tsv{zipped}"
    with _reading(folder, matrix):
        n_features, n_barcodes, n_values, form, field, symmetry = mminfo(folder / matrix)
        if (form, symmetry) != ("coordinate", "general") or field not in _LINES:
            raise _damaged(folder, matrix, f"is {form}, {field} and {symmetry}")
        _check_lines(folder, matrix, field, n_values)
    for name, length, least in ((features, n_features, width), (barcodes, n_barcodes, 1)):
        check_text(folder / name, where=str(folder / name))
        with _reading(folder, name), open_text(folder / name) as file:
            rows = [row for row in csv.reader(file, delimiter="\t") if row]
        if len(rows) != length:
            raise _damaged(folder, name, f"has {len(rows)} rows, and {matrix} says {length}")
        if short := next((row for row in rows if len(row) < least), None):
            raise _damaged(folder, name, f"has a row of {len(short)} columns in place of {least}: {short}")
    _check_barcodes(folder, barcodes, [row[0] for row in rows])
    return int(n_values)


def _check_lines(folder: Path, part: str, field: str, n_values: int) -> None:
    """Refuse lines that are not two numbers and a value: their reader takes what a line begins with, 2 of 2.5.

    There are as many as the matrix says, for which room is made before they are read.
    """
    n = 0
    with open_bytes(folder / part) as file:
        line = file.readline()
        while line.startswith(b"%") or (line and not line.strip()):
            line = file.readline()
        while block := file.read(_BLOCK) + file.readline():
            last = block[block.rfind(b"\n") + 1 :]  # without an end
            if last.strip() and last[-1:].isspace():  # behind which the reader runs on, beyond the file
                raise _damaged(folder, part, f"ends in {last.decode('latin-1')!r:.60}, without the end of a line")
            block += b"\n" if last else b""
            if odds := _LINES[field].sub(b"", block, count=1):
                odd = odds.split(b"\n", 1)[0].decode("latin-1").strip()
                raise _damaged(folder, part, f"says that its values are {field}, and holds the line {odd!r:.60}")
            n += block.count(b"\n")
    if n < n_values:
        raise _damaged(folder, part, f"says that it holds {n_values:,} values, and has {n:,} lines of them")


def _check_barcodes(path: Path, part: str, barcodes: list[Any]) -> None:
    if not all(barcodes) or len(set(barcodes)) != len(barcodes):
        raise _damaged(
            path, part, f"holds {len(barcodes)} names, of which {len(set(barcodes) - {'', b''})} are distinct"
        )


@contextmanager
def _reading(path: Path, part: str = "") -> Iterator[None]:
    """Name the file, and the part if it is known, where the libraries behind it stumble."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, part, f"cannot be read: {error}") from error


def _damaged(path: Path, part: str, why: str) -> InputError:
    """Make the error for a matrix that is not whole; ``why`` ends the sentence."""
    return InputError(
        f"{f'{part} of ' if part else ''}{path.name} {why}",
        where=str(path),
        expected="a filtered matrix as Space Ranger writes it",
        remedy="copy it from the Space Ranger output again",
    )
