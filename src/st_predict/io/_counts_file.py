"""Spots-by-genes count tables: text or a data frame in, sparse raw counts out, refused where they are not counts."""

from __future__ import annotations

import csv
import itertools
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.checks import check_counts
from st_predict.core.errors import InputError
from st_predict.core.gene_names import clean_name
from st_predict.core.text import TEXT, check_points, check_text, compression, open_text, separator
from st_predict.io._checks import check_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from scipy.sparse import csr_matrix

# Rows parsed at once: dense numbers of 256 spots x 30,000 genes are 60 MB, whatever the number of spots.
_ROWS = 256


def read_counts(counts: str | Path | pd.DataFrame, *, where: str = "counts") -> tuple[csr_matrix, list[str], list[str]]:
    """Read raw counts, spots in rows.

    Parameters
    ----------
    counts
        Text table (separated by tabs, commas or semicolons; ``.gz`` as well) with spot ids in
        the first column and genes in the header, or a data frame with spot ids as index and genes as columns.
    where
        The argument it was given as, for errors.

    Returns
    -------
    Counts ``(n_spots, n_genes)`` float32, spot ids, gene names.

    Raises
    ------
    InputError
        Spots or genes come twice, or values are not raw counts.
    """
    from scipy.sparse import csr_matrix, vstack

    blocks: Iterable[pd.DataFrame]
    if isinstance(counts, (str, Path)):
        path = Path(counts)
        check_file(path, where=where)
        check_text(path, where=where)
        genes, blocks = _text_blocks(path, where)
    else:
        genes, blocks = [clean_name(gene) for gene in counts.columns], [counts]
    if not genes:
        raise InputError(
            "there are no genes", where=where, expected="spots in rows, genes in columns", remedy="give the whole table"
        )
    _check_unique(genes, "genes", where)
    spots: list[str] = []
    parts = []
    for block in blocks:
        spots.extend(map(clean_name, block.index))
        values = _numbers(block, genes, where)
        check_counts(values, where=where)
        parts.append(csr_matrix(values.astype(np.float32)))
    _check_unique(spots, "spot ids", where)
    return vstack(parts, format="csr"), spots, genes


def _text_blocks(path: Path, where: str) -> tuple[list[str], Iterable[pd.DataFrame]]:
    try:
        sep = separator(path)
        # The header is read as data: as a header, pandas would rename a second "A" to "A.1".
        with open_text(path) as file:
            lines = list(itertools.islice(csv.reader(file, delimiter=sep), 2))
    except (UnicodeDecodeError, EOFError, OSError, csv.Error, zlib.error) as error:
        raise _not_a_table(path, error, where) from error
    if len(lines) < 2:
        raise _not_a_table(path, f"it has {len(lines)} lines", where)
    header, width = [clean_name(name) for name in _without_end(lines[0])], len(_without_end(lines[1]))
    if width < len(header) == len(lines[1]):  # the last count of the first spot is missing
        width = len(header)
    # R writes a header without a name over the spot ids.
    genes = header if len(header) == width - 1 else header[1:]
    if len(genes) != width - 1 or not genes:
        raise _not_a_table(path, f"its header has {len(header)} names, its first row {width} values", where)
    return genes, _parsed_blocks(path, sep, width, where)


def _without_end(cells: list[str]) -> list[str]:
    """Cells of a line without the empty one behind a separator that ends it."""
    return cells[:-1] if len(cells) > 1 and not cells[-1].strip() else cells


def _parsed_blocks(path: Path, sep: str, width: int, where: str) -> Iterable[pd.DataFrame]:
    import pandas as pd

    try:
        # 007 is no 7, and null is a name as good as any: pandas takes it for missing in text, and not in bytes.
        ids = {0: lambda name: clean_name(name).encode()}
        with pd.read_csv(
            path,
            sep=sep,
            header=None,
            skiprows=1,
            converters=ids,
            encoding=TEXT,
            chunksize=_ROWS,
            compression=compression(path),
        ) as blocks:
            for part in blocks:
                block = part.set_index(0)
                block.index = pd.Index([name.decode() for name in block.index], dtype=object)
                if block.iloc[:, : width - 1].isna().any(axis=None):
                    _check_rows(path, sep, width, where)
                if block.iloc[:, width - 1 :].notna().any(axis=None):
                    raise _not_a_table(path, f"a row has {block.shape[1] + 1} values, the first row {width}", where)
                yield block.iloc[:, : width - 1]
    except (pd.errors.ParserError, UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
        raise _not_a_table(path, error, where) from error


def _check_rows(path: Path, sep: str, width: int, where: str) -> None:
    """Refuse the first row that ends early, or has an empty cell: either is read as a missing number."""
    fault, cut = "", False
    with open_text(path) as file:
        rows = csv.reader(file, delimiter=sep)
        next(rows)
        for row in filter(None, rows):
            if fault:  # there is a row behind it
                cut = False
                break
            cells = [cell.strip() for cell in row[:width]]
            if len(cells) < width:
                fault = f"line {rows.line_num} holds {len(cells)} of {width} values"
            elif "" in cells[1:]:
                fault = f"line {rows.line_num} has no count in column {cells.index('', 1) + 1}"
            cut = len(cells) < width
    if fault:
        raise InputError(
            f"{path.name}: {fault}{', and is the last one: the file was cut' if cut else ''}",
            where=where,
            expected="a spot id, and a count for every gene, in each row",
            remedy="fetch or export the file again" if cut else "correct the row; write 0 where there is no count",
        )


def _not_a_table(path: Path, why: object, where: str) -> InputError:
    return InputError(
        f"{path.name} cannot be read as a table: {why}",
        where=where,
        expected="a header of gene names, then one row a spot: id and counts, separated by tabs, commas or semicolons",
        remedy="fetch the file again; or check its separator and the length of its first two lines, delete everything before "
        "the header (comments, sep=;, blank lines), and save it as UTF-8",
    )


def _numbers(block: pd.DataFrame, genes: list[str], where: str) -> np.ndarray:
    values = block.to_numpy()
    if values.dtype.kind in "iuf":
        return values
    if values.dtype.kind in "cmM":  # complex, spans and dates, which would be made numbers without a word
        check_counts(values, where=where)
    for gene, column in zip(genes, values.T, strict=True):
        texts = [value for value in column if isinstance(value, (str, bool, np.bool_))]
        texts.sort(key=_is_number)  # of a column of text, the one that is the reason
        if texts:
            check_points(texts, f"column {gene!r}", where=where)
            raise InputError(
                f"column {gene!r} holds {'text' if isinstance(texts[0], str) else 'True or False'}, e.g. {str(texts[0])!r}",
                where=where,
                expected="numbers only, after the first column of spot ids",
                remedy="remove annotation columns from the table",
            )
    return block.to_numpy(np.float64, na_value=np.nan)


def _is_number(value: object) -> bool:
    try:
        # Python reads 1_000 as a number, and nobody else does.
        return isinstance(value, str) and "_" not in value and float(value) == float(value)
    except ValueError:
        return False


def _check_unique(names: list[str], what: str, where: str) -> None:
    if "" in names:
        raise InputError(
            f"the name of number {names.index('') + 1} of the {what} is empty",
            where=where,
            expected=f"a name for each of the {what}, as text",
            remedy="name it, or drop it",
        )
    if len(set(names)) == len(names):
        return
    if what == "genes" and all(map(_is_number, names)):
        raise InputError(
            f"all {len(names)} genes have numbers for names, and some come more than once: the header is missing",
            where=where,
            expected="a header of gene names, then one row a spot",
            remedy="put the names of the genes before the first spot",
        )
    seen: set[str] = set()
    twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    raise InputError(
        f"{len(names) - len(set(names))} {what} come more than once, e.g. {twice!r}",
        where=where,
        expected=f"unique {what}",
        remedy="sum or rename the duplicates before reading",
    )
