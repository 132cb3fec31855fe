"""Whether spots and image are of one section: spots of several over one image are read from the wrong pixels.

What says that there are several: columns that name samples, barcodes and places of the array that are there twice,
spots that lie on one another's places, and coordinate systems that tie the spots to another image than the one chosen.
"""

from __future__ import annotations

import re
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from st_predict._spatialdata.kept import own_spots, plain_name
from st_predict._spatialdata.overlaid import Nearest
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed

# Names of columns as :func:`plain_name` has them; `section` and `subject` are read, and refused, with the section.
_NAMED = "(ids?|names?|no|nr|num|number|label|key|code|uuid)"
_SAMPLES = re.compile(
    f"(tissue|visium)?(samples?|sections?|capturearea){_NAMED}?|(visium)?(library|libraries|slide|slice){_NAMED}|origident"
)
# These name parts of one section as well: they count where the parts lie over one another, if only between the spots.
_MAYBE = re.compile(
    "(tissue|visium)?(library|libraries|slides?|slices?|batch|datasets?|specimens?|donors?|patients?|subjects?|mouse|mice|"
    f"animals?|individuals?|replicates?|images?|fov|pucks?|gemgroup|gemwell|arrays?|region|roi|block){_NAMED}?"
)
# Of the pitch; two square arrays leave 0.71 at most, and so does every other spot of one.
_CLOSER, _FAR_CLOSER = 0.8, 0.6
_STRAY = 0.1  # of the spot ids may be of another kind
_FEW = 0.02  # of the spots: a slip in a column, and no section
_BARCODE = re.compile(r"[ACGT]{12,}|[acgt]{12,}|s_\d{3}um_\d+_\d+")  # of Visium and Visium HD, each once in a section
_PLACE = re.compile(r"\d+(?:\.\d+)?x\d+(?:\.\d+)?")  # of the first arrays: 10x21, 5.907x2.103
_WELL = re.compile(r".*\.\.\.-\d+(-\d+)?")  # what Cell Ranger numbers libraries by
_ARRAY = (("arrayrow", "arraycol"), ("arrayx", "arrayy"))
_TWICE = 0.1  # of the spots at places that are taken twice
_ANYWHERE = {"global", "pixel", "pixels", "px", "micron", "microns", "um"}  # names that are those of no section


def check_one_section(
    sdata: SpatialData, placed: Placed, table: AnnData | None, centers_px: NDArray[np.float64]
) -> None:
    """Refuse spots of several sections over one image.

    Columns that name a library, sample, section, slide or capture area must hold one value. By any other column, the
    spot ids or the order of the rows, spots are of several sections if those of one part lie on, or between, the places
    of another: marks within one section do not part the spots so.

    Raises
    ------
    InputError
        With what says that there are several.
    """
    _check_systems(sdata, placed)
    if table is None:
        return
    obs = table.obs[own_spots(table)]
    for column in obs.columns:
        if _SAMPLES.fullmatch(plain_name(column)) and obs[column].dtype.kind != "f" and _several(obs[column]):
            otherwise = f"; where all spots do lie on this image, rename the column (to {column + '_note'!r}, say)"
            raise _refusal(placed, _values(obs[column]), _rows(obs[column]), otherwise)
    nearest = Nearest.of(centers_px)
    named = [column for column in obs.columns if _MAYBE.fullmatch(plain_name(column))]
    _check_columns(obs[named], nearest, placed, closer=_CLOSER)
    _check_barcodes(obs, placed)
    _check_places(obs, placed)
    _check_columns(obs.drop(columns=named), nearest, placed, closer=_FAR_CLOSER)
    _check_rows(obs, nearest, placed)


def _values(values: pd.Series) -> str:
    return f"obs[{values.name!r}] has several values: {', '.join(map(str, values.dropna().unique()[:5]))}"


def _rows(values: pd.Series) -> str:
    return f"table[table.obs[{values.name!r}] == {values.dropna().unique().tolist()[0]!r}]"


def _refusal(placed: Placed, what: str, rows: str = "table[...]", otherwise: str = "") -> InputError:
    return InputError(
        f"{what}: spots of several sections over the one image {placed.image!r}",
        where=f"sdata.tables[{placed.table!r}].obs",
        expected="the spots of one section, on its own image",
        remedy=f"give one SpatialData a section: sdata.tables[{placed.table!r}] = {rows}.copy(), with the image_key of "
        f"that section{otherwise}",
    )


def _several(values: pd.Series) -> bool:
    """Whether a column parts the spots into groups; one that names each spot does not, nor does a slip."""
    sizes = values.value_counts().to_numpy()
    sizes = sizes[sizes > 0]
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
        otherwise="; where all spots do lie on this image, give the spots ids of one kind (table.obs_names = ...)",
    )  # fmt: skip


def _check_places(obs: pd.DataFrame, placed: Placed) -> None:
    """Places of the array are taken once."""
    columns = {plain_name(column): column for column in reversed(obs.columns)}
    for names in _ARRAY:
        if not set(names) <= set(columns):
            continue
        places = obs[[columns[name] for name in names]].dropna()
        twice = places.duplicated(keep=False)
        if (places.nunique() > 1).all() and twice.mean() > _TWICE:  # one value tells no place
            values = (f"{v:g}" if isinstance(v, Real) else str(v) for v in places[twice].iloc[0])
            place = ", ".join(f"{column} {value}" for column, value in zip(places.columns, values, strict=True))
            raise _refusal(placed, f"{twice.sum()} of {len(obs)} spots share a place of the array ({place})")


def _check_columns(obs: pd.DataFrame, nearest: Nearest, placed: Placed, *, closer: float) -> None:
    for column in obs.columns:
        parts = _codes(obs[column])
        if parts is not None and nearest.overlaid(parts, closer=closer):
            what = f"{_values(obs[column])}, and their spots lie on one another's places"
            raise _refusal(placed, what, _rows(obs[column]))


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
            placed, f"spots before and after row {', '.join(map(str, starts[:5]))} of the table lie on one another's places",
            f"table[:{starts[0]}]",
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
                f"spots {placed.shapes!r} lie with image {name!r} in the coordinate system {min(spots & other)!r}, and image "
                f"{placed.image!r} lies in {min(chosen)!r}: these are two sections",
                where="coordinate systems",
                expected="spots of one section, on its own image",
                remedy=f"give the image of these spots as image_key; or the spots of one section alone; or, if both images "
                f"show one section, place {name!r} in {min(chosen)!r} too (spatialdata.transformations.set_transformation)",
            )
