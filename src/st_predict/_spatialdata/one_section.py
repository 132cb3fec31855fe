"""Whether spots and image are of one section: spots of several over one image are read from the wrong pixels.

What says that there are several: columns that name samples, barcodes and places of the array that are there twice,
spots that lie on one another's places, and coordinate systems that tie the spots to another image than the one chosen.
"""

from __future__ import annotations

import logging
import re
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from st_predict._spatialdata.columns import (
    column_name,
    comparable,
    names_parts,
    names_persons,
    names_samples,
    plain_name,
)
from st_predict._spatialdata.kept import own_spots
from st_predict._spatialdata.overlaid import Nearest
from st_predict._spatialdata.shapes import own_shapes
from st_predict._spatialdata.systems import check_agreement
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed

logger = logging.getLogger("st_predict")

# Of the pitch; two square arrays leave 0.71 at most, and so does every other spot of one.
_CLOSER, _FAR_CLOSER = 0.8, 0.6
_STRAY = 0.1  # of the spot ids may be of another kind
_FEW = 0.02  # of the spots: a slip in a column, and no section
_BARCODE = re.compile(r"[ACGT]{12,}|[acgt]{12,}|s_\d{3}um_\d+_\d+")  # of Visium and Visium HD, each once in a section
_PLACE = re.compile(r"\d+(?:\.\d+)?x\d+(?:\.\d+)?")  # of the first arrays: 10x21, 5.907x2.103
_WELL = re.compile(r".*\.\.\.-\d+(-\d+)?")  # what Cell Ranger numbers libraries by
ARRAY_PLACES = (("arrayrow", "arraycol"), ("arrayx", "arrayy"))
"""Columns of places in the array, as :func:`plain_name` has them."""
_TWICE = 0.1  # of the spots at places that are taken twice
_ANYWHERE = {"global", "pixel", "pixels", "px", "micron", "microns", "um"}  # names that are those of no section


def check_one_section(sdata: SpatialData, placed: Placed, centers_px: NDArray[np.float64]) -> None:
    """Refuse spots of several sections over one image, or of one whose place on it is not one.

    Columns that name a library, sample, section, image or capture area must hold one value, those of the shapes too. By
    any other column, the spot ids or the order of the rows, spots are of several sections if those of one part lie on, or
    between, the places of another: marks within one section do not part the spots so. Donors that lie apart are said.

    Raises
    ------
    InputError
        With what says that there are several.
    """
    _check_systems(sdata, placed)
    check_agreement(sdata, placed, centers_px)
    shapes = own_shapes(sdata, placed)
    notes = shapes.drop(columns=shapes.geometry.name)
    _check_samples(notes, placed._replace(table=None))
    parting = [column for column in notes.columns if names_parts(column)]
    if placed.table is None and not parting:
        return
    nearest = Nearest.of(centers_px)
    _check_columns(notes[parting], nearest, placed._replace(table=None), closer=_CLOSER)
    if placed.table is None:
        return
    table = sdata.tables[placed.table]
    obs = table.obs[own_spots(table)]
    _check_samples(obs, placed)
    named = [column for column in obs.columns if names_parts(column)]
    _check_columns(obs[named], nearest, placed, closer=_CLOSER)
    _check_barcodes(obs, placed)
    _check_places(obs, placed)
    if not nearest.is_one_array:  # of which a column may hold every third spot, as folds and parts of spots do
        _check_columns(obs.drop(columns=named), nearest, placed, closer=_FAR_CLOSER)
    _check_rows(obs, nearest, placed)
    for column in named:
        if names_persons(column) and column_name(column) != "subject" and _several(obs[column]):
            logger.warning("%s; all spots are taken to lie on image %r", _values(obs[column], placed), placed.image)


def _check_samples(frame: pd.DataFrame, placed: Placed) -> None:
    """Columns of the table, or of the shapes where there is none, that name samples hold one value."""
    for column in frame.columns:
        if names_samples(frame[column]) and _several(frame[column]):
            otherwise = f"; if all spots do lie on this image, rename the column, for example to {column + '_note'!r}"
            raise _refusal(placed, _values(frame[column], placed), _rows(frame[column], placed), otherwise)


def _spots(placed: Placed) -> str:
    """What holds the spots and their columns."""
    return f"sdata.shapes[{placed.shapes!r}]" if placed.table is None else f"sdata.tables[{placed.table!r}]"


def _values(values: pd.Series, placed: Placed) -> str:
    where = _spots(placed) if placed.table is None else "obs"
    return f"{where}[{values.name!r}] has several values: {', '.join(map(str, values.dropna().unique()[:5]))}"


def _rows(values: pd.Series, placed: Placed) -> str:
    first = values.dropna().unique().tolist()[0]
    own = _spots(placed)
    return f"{own}[{own}{'' if placed.table is None else '.obs'}[{values.name!r}] == {first!r}]"


def _refusal(placed: Placed, what: str, rows: str = "", otherwise: str = "") -> InputError:
    of_one = f": {_spots(placed)} = {rows}.copy()" if rows else ""
    return InputError(
        f"{what}: these are spots of several sections on one image, {placed.image!r}",
        where=_spots(placed) + ("" if placed.table is None else ".obs"),
        expected="the spots of one section, on its own image",
        remedy=f"make one SpatialData for each section{of_one}, with the image_key of that section{otherwise}",
    )


def _several(values: pd.Series) -> bool:
    """Whether a column parts the spots into groups; one that names each spot does not, nor does a slip."""
    import pandas as pd

    found = [value.strip() if isinstance(value, str) else value for value in values]
    try:
        codes, _ = pd.Series(found, dtype=object).factorize()  # text of Arrow holds no halves of letters
    except TypeError:  # lists and the like
        return False
    sizes = np.bincount(codes[codes >= 0], minlength=1)
    return 1 < len(sizes) <= len(values) / 2 and sizes.sum() - sizes.max() > _FEW * len(values)


def _check_barcodes(obs: pd.DataFrame, placed: Placed) -> None:
    """Concatenation puts something before or behind the barcodes, or some of them are there twice."""
    for pattern in (_BARCODE, _PLACE):
        names = [name for name in map(str, obs.index) if pattern.search(name)]
        if not names or len(names) < (1 - _STRAY) * len(obs):
            continue
        barcodes = ["|".join(pattern.findall(name)) for name in names]
        around = [pattern.sub("...", name) for name in names]
        kinds, twice = set(around), len(set(barcodes)) < len(barcodes)
        few = 1 < len(kinds) <= len(around) / 2
        if (twice and (few or pattern is _BARCODE)) or (few and all(map(_WELL.fullmatch, kinds))):
            first = dict(zip(reversed(around), reversed(names), strict=True))
            raise _id_refusal(placed, list(first.values()))


def _id_refusal(placed: Placed, examples: list[str]) -> InputError:
    return _refusal(
        placed, f"spot ids are of {len(examples)} kinds, for example {', '.join(examples[:3])}",
        otherwise="; if all spots do lie on this image, give the spots ids of one kind (table.obs_names = ...)",
    )  # fmt: skip


def _check_places(obs: pd.DataFrame, placed: Placed) -> None:
    """Places of the array are taken once."""
    columns = {plain_name(column): column for column in reversed(obs.columns)}
    for names in ARRAY_PLACES:
        if not set(names) <= set(columns):
            continue
        places = obs[[columns[name] for name in names]].apply(comparable).dropna()
        twice = places.duplicated(keep=False)
        if (places.nunique() > 1).all() and twice.mean() > _TWICE:  # one value tells no place
            values = (f"{v:g}" if isinstance(v, Real) else str(v) for v in places[twice].iloc[0])
            place = ", ".join(f"{column} {value}" for column, value in zip(places.columns, values, strict=True))
            raise _refusal(placed, f"{twice.sum()} of {len(obs)} spots share an array position with another ({place})")


def _check_columns(obs: pd.DataFrame, nearest: Nearest, placed: Placed, *, closer: float) -> None:
    for column in obs.columns:
        parts = _codes(obs[column])
        if parts is not None and nearest.overlaid(parts, closer=closer):
            what = f"{_values(obs[column], placed)}, and their spots overlap on the image"
            raise _refusal(placed, what, _rows(obs[column], placed))


def _check_rows(obs: pd.DataFrame, nearest: Nearest, placed: Placed) -> None:
    """Rows of several sections follow one another, or have ids that begin or end with the section."""
    for ends in _ends_of_ids(obs):
        parts = _codes(ends)
        if parts is not None and nearest.overlaid(parts, closer=_FAR_CLOSER):
            raise _id_refusal(placed, [str(name) for name in obs.index[~ends.duplicated()]])
    parts = nearest.concatenated()
    if nearest.overlaid(parts, closer=_FAR_CLOSER):
        starts = np.flatnonzero(np.diff(parts)) + 1
        raise _refusal(
            placed, f"spots before and after row {', '.join(map(str, starts[:5]))} of the table overlap on the image",
            f"{_spots(placed)}[:{starts[0]}]",
        )  # fmt: skip


def _codes(values: pd.Series) -> NDArray[np.intp] | None:
    """The part of every spot ``(n,)``, a missing value being one; ``None`` where there are no parts."""
    try:
        codes, found = values.factorize()
    except TypeError:  # lists and the like
        return None
    return codes if 1 < len(found) + (codes < 0).any() <= len(values) / 2 else None


def _ends_of_ids(obs: pd.DataFrame) -> Iterator[pd.Series]:
    """What spot ids begin with, and what they end with: of ``A_5_7`` and ``spot1-B``, A and B."""
    ids = obs.index.astype(str).to_series()
    yield ids.str.replace(r"[-_.:#|].*", "", regex=True)
    yield ids.str.replace(r".*[-_.:#|]", "", regex=True)


def _check_systems(sdata: SpatialData, placed: Placed) -> None:
    """Spots may not be tied to an image that has nothing to do with the one chosen."""
    from spatialdata.transformations import get_transformation

    def systems(element: object) -> set[str]:
        names = get_transformation(element, get_all=True)
        return {name for name in names if name.lower() not in _ANYWHERE and "downscaled" not in name}

    spots, chosen = systems(sdata.shapes[placed.shapes]), systems(sdata.images[placed.image])
    for name, image in sdata.images.items():
        other = systems(image)
        if spots & other and chosen and not chosen & other:
            raise InputError(
                f"spots {placed.shapes!r} and image {name!r} share the coordinate system {min(spots & other)!r}, but image "
                f"{placed.image!r} lies in {min(chosen)!r}: these are two sections",
                where="coordinate systems",
                expected="spots of one section, on its own image",
                remedy=f"give the image of these spots as image_key; or the spots of one section alone; or, if both images "
                f"show one section, place {name!r} in {min(chosen)!r} too (spatialdata.transformations.set_transformation)",
            )
