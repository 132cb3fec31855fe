"""Tissue positions of every Space Ranger version as one table, each number in it checked.

Knows no matrix and no image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.arguments.kinds import shown
from st_predict.core.checks import check_apart
from st_predict.core.errors import InputError
from st_predict.core.text import check_points, check_text, separator
from st_predict.io._checks import check_file

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

_MEANT = {
    "in_tissue": "0 or 1",
    "array_row": "a whole number from 0",
    "array_col": "a whole number from 0",
    "pxl_row_in_fullres": "a finite number",
    "pxl_col_in_fullres": "a finite number",
}
_COLUMNS = ["barcode", *_MEANT]


def read_positions(path: Path) -> pd.DataFrame:
    """Positions of all spots, in tissue or not, barcodes as index.

    Returns
    -------
    Columns ``in_tissue``, ``array_row``, ``array_col``, ``pxl_row_in_fullres`` (y) and ``pxl_col_in_fullres`` (x).

    Raises
    ------
    InputError
        If the file is no such table, a number is not what it should be (the error names its row), a barcode comes twice,
        or spots in tissue lie where no image is.
    """
    check_file(path, where=str(path))
    frame = _table(path)
    if frame.empty:
        raise _bad_positions(path, "has no rows")
    numbers = _numbers(frame, path)
    if twice := frame.index[frame.index.duplicated()].tolist():
        rows = (np.flatnonzero(frame.index == twice[0]) + 1).tolist()
        raise _bad_positions(
            path, f"names barcode {twice[0]!r} in rows {rows[0]} and {rows[1]}, {len(twice)} such rows"
        )
    pixels = numbers.loc[numbers["in_tissue"] == 1, ["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(float)
    check_apart(pixels, where=str(path))
    n_negative = int((pixels < 0).any(axis=1).sum())
    if n_negative > len(pixels) / 2:
        raise _bad_positions(
            path, f"puts {n_negative} of {len(pixels)} spots at negative px, which lie off every image"
        )
    return numbers


def _table(path: Path) -> pd.DataFrame:
    """The columns by their usual names, whatever is in them."""
    import pandas as pd

    if path.suffix != ".parquet":
        check_text(path, where=str(path))
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            frame = frame if "barcode" in frame.columns else frame.reset_index()
        else:
            # Version 1 writes no header; version 2 does, and some version 1 files were given one.
            with path.open(encoding="utf-8-sig") as file:
                first = file.readline()
            if len(first.split()) >= len(_COLUMNS) and not any(sep in first for sep in "\t,;"):
                raise _bad_positions(
                    path,
                    "is separated by spaces",
                    f"pandas.read_csv({str(path)!r}, sep=r'\\s+', "
                    f"header={0 if 'in_tissue' in first.lower() else None}).to_csv({str(path)!r}, index=False, "
                    f"header={'in_tissue' in first.lower()})",
                )
            header = 0 if "in_tissue" in first.lower() else None
            frame = pd.read_csv(path, sep=separator(path), header=header, names=None if header == 0 else _COLUMNS)
    except InputError:
        raise
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise _bad_positions(path, f"cannot be read: {error}") from error
    if frame.index.nlevels > 1:  # pandas takes what is too many for names of rows
        raise _bad_positions(path, f"has {frame.shape[1]} columns, and {frame.index.nlevels} more values in its rows")
    frame.columns = [_meant(name) for name in frame.columns]
    if "barcode" not in frame.columns:  # the first column, which R leaves without a name
        frame = frame.rename(columns={frame.columns[0]: "barcode"})
    if lost := [name for name in _COLUMNS if name not in frame.columns]:
        raise _bad_positions(path, f"lacks {', '.join(lost)}")
    return frame[_COLUMNS].set_index("barcode")


def _meant(name: object) -> str:
    """The column that is meant: ``In_Tissue`` is ``in_tissue``, and ``Pxl_Row`` the row in full resolution."""
    plain = str(name).strip().lower()
    return next((column for column in _COLUMNS if plain in (column, column.removesuffix("_in_fullres"))), str(name))


def _numbers(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table as numbers; the first that is none, or none that can be there, is named by its row and barcode."""
    import pandas as pd

    numbers = frame.apply(pd.to_numeric, errors="coerce")
    values = numbers.to_numpy(dtype=float, na_value=np.nan)
    fits = np.isfinite(values)
    fits[:, 0] &= np.isin(values[:, 0], (0, 1))
    fits[:, 1:3] &= (values[:, 1:3] >= 0) & (values[:, 1:3] == np.floor(values[:, 1:3]))
    if fits.all():
        return numbers
    check_points(frame.to_numpy()[~fits], path.name, where=str(path))
    row, column = np.argwhere(~fits)[0]
    name = frame.columns[column]
    raise _bad_positions(
        path,
        f"holds {shown(frame.iat[row, column])} for {name} in row {row + 1} (barcode {frame.index[row]!r}), which is not "
        f"{_MEANT[name]}; {(~fits).any(axis=1).sum()} of {len(fits)} rows are wrong",
    )


def _bad_positions(
    path: Path, why: str, remedy: str = "copy the file from the Space Ranger output again"
) -> InputError:
    return InputError(
        f"{path.name} {why}",
        where=str(path),
        expected=f"columns {', '.join(_COLUMNS)}, one row a barcode",
        remedy=remedy,
    )
