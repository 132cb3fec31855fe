"""Whether spots and image are of one section: spots of several over one image are read from the wrong pixels.

What says that there are several: columns that name samples, what stands around the barcodes of spot ids, places of the
array that are taken twice, and coordinate systems that tie the spots to another image than the one chosen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from st_predict._spatialdata.kept import own_spots
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Keys

# In lower case, with "_" for what else parts words; `section` and `subject` are read, and refused, with the section.
_SAMPLES = {
    "library", "library_id", "sample", "sample_id", "sample_name", "section_id", "section_name", "slice", "slice_id",
    "slide", "slide_id", "capture_area", "dataset", "dataset_id", "orig_ident",
}  # fmt: skip
_BATCH = {"batch", "batch_id"}
_BARCODE = re.compile(r"[ACGT]{12,}|s_\d{3}um_\d+_\d+")  # of Visium and Visium HD, each there once in a section
_PLACE = re.compile(r"\d+(?:\.\d+)?x\d+(?:\.\d+)?")  # of the first arrays: 10x21, 5.907x2.103
_TWICE = 0.1  # of the spots at places that are taken twice
_SAME_PITCH, _MIXED = 0.8, 0.5
_ANYWHERE = {"global", "pixel", "pixels", "px", "micron", "microns", "um"}  # names that are those of no section


def check_one_section(sdata: SpatialData, keys: Keys, table: AnnData | None, centers_px: NDArray[np.float64]) -> None:
    """Refuse spots of several sections over one image.

    Columns that name a library, sample, slide or capture area must hold one value. A column of batches may hold several
    if their spots lie mixed on one array, which those of two sections cannot. Columns that name every spot name no sample.

    Raises
    ------
    InputError
        With what says that there are several.
    """
    _check_systems(sdata, keys)
    if table is None:
        return
    obs = table.obs[own_spots(table)]
    for column in obs.columns:
        name = re.sub(r"\W+", "_", str(column)).lower()
        values = obs[column]
        if name in _SAMPLES | _BATCH and _several(values):
            if name in _BATCH and _on_one_array(centers_px, values.astype(str).to_numpy()):
                continue
            raise _refusal(
                keys, f"obs[{column!r}] has several values: {', '.join(map(str, values.dropna().unique()[:5]))}",
                f"table[table.obs[{column!r}] == {values.dropna().iloc[0]!r}]",
                f"; where all spots do lie on this image, rename the column (to {column + '_note'!r}, say)",
            )  # fmt: skip
    _check_barcodes(obs, keys)
    _check_places(obs, keys)


def _refusal(keys: Keys, what: str, rows: str = "table[...]", otherwise: str = "") -> InputError:
    return InputError(
        f"{what}: spots of several sections over the one image {keys.image!r}",
        where=f"sdata.tables[{keys.table!r}].obs",
        expected="the spots of one section, on its own image",
        remedy=f"give one SpatialData a section: sdata.tables[{keys.table!r}] = {rows}.copy(), with the image_key of "
        f"that section{otherwise}",
    )


def _several(values: pd.Series) -> bool:
    """Whether a column parts the spots into groups; one that names each spot does not."""
    return 1 < values.nunique() <= len(values) / 2


def _on_one_array(centers_px: NDArray[np.float64], groups: NDArray[np.str_]) -> bool:
    """Whether groups of spots lie mixed on one array: side by side, and no closer than the spots of one group."""
    from scipy.spatial import KDTree

    near_px, rows = KDTree(centers_px).query(centers_px, k=min(7, len(centers_px)))
    mixed = (groups[rows] != groups[:, None]).any(axis=1).mean()
    own_px = []
    for group in np.unique(groups):
        own = centers_px[groups == group]
        if len(own) > 1:
            own_px.append(np.median(KDTree(own).query(own, k=2)[0][:, 1]))
    return bool(mixed >= _MIXED and own_px and np.median(near_px[:, 1]) >= _SAME_PITCH * max(own_px))


def _check_barcodes(obs: pd.DataFrame, keys: Keys) -> None:
    """Concatenation puts something before or behind the barcodes, and some of them are there twice."""
    for pattern in (_BARCODE, _PLACE):
        found = [match for match in (pattern.search(str(name)) for name in obs.index) if match]
        if len(found) < len(obs):
            continue
        around = [f"{match.string[: match.start()]}...{match.string[match.end() :]}" for match in found]
        twice = pattern is _BARCODE and len({match[0] for match in found}) < len(found)
        if not (twice or 1 < len(set(around)) <= len(around) / 2):
            continue
        first = {kind: str(name) for kind, name in zip(reversed(around), reversed(list(obs.index)), strict=True)}
        raise _refusal(keys, f"spot ids are of {len(first)} kinds, for example {', '.join(list(first.values())[:3])}")


def _check_places(obs: pd.DataFrame, keys: Keys) -> None:
    """Places of the array are taken once."""
    if not {"array_row", "array_col"} <= set(obs.columns):
        return
    places = obs[["array_row", "array_col"]].dropna()
    if (places.nunique() < 2).any():  # they tell no place
        return
    twice = places.duplicated(keep=False)
    if twice.mean() > _TWICE:
        row, col = places[twice].iloc[0]
        raise _refusal(
            keys, f"{twice.sum()} of {len(obs)} spots share a place of the array (array_row {row:g}, array_col {col:g})"
        )


def _check_systems(sdata: SpatialData, keys: Keys) -> None:
    """Spots may not be tied to an image that has nothing to do with the one chosen."""
    from spatialdata.transformations import get_transformation

    def systems(element: object) -> set[str]:
        names = get_transformation(element, get_all=True)
        return {name for name in names if name.lower() not in _ANYWHERE and "downscaled" not in name}

    spots, chosen = systems(sdata.shapes[keys.shapes]), systems(sdata.images[keys.image])
    for name, image in sdata.images.items():
        other = systems(image)
        if spots & other and chosen and not chosen & other:
            raise InputError(
                f"spots {keys.shapes!r} lie with image {name!r} in the coordinate system {min(spots & other)!r}, and image "
                f"{keys.image!r} lies in {min(chosen)!r}: these are two sections",
                where="coordinate systems",
                expected="spots of one section, on its own image",
                remedy=f"give the image of these spots as image_key; or the spots of one section alone; or, if both images "
                f"show one section, place {name!r} in {min(chosen)!r} too (spatialdata.transformations.set_transformation)",
            )
