"""``visium``: Space Ranger outputs of Visium and Visium HD as SpatialData, in spatialdata-io's layout and names.

The layout is built here, so that the positions of every version are read by one parser. What spatialdata-io leaves out
is added: a full-resolution image that is lazy, the scale, and in-tissue spots only.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.arguments.checked import checked
from st_predict.core.checks import check_counts
from st_predict.core.errors import InputError
from st_predict.io._checks import check_file, check_section
from st_predict.io._images import image_element
from st_predict.io._matrix_file import read_matrix
from st_predict.io._positions import read_positions
from st_predict.io._space_ranger import POSITIONS, Outs, find_outs, um_per_px
from st_predict.io._thumbnails import THUMBNAILS, check_images, open_images

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from geopandas import GeoDataFrame
    from spatialdata import SpatialData

logger = logging.getLogger("st_predict")


@dataclass(frozen=True)
class _Names:
    """Element names and keys, as spatialdata-io gives them."""

    section: str
    shapes: str
    table: str
    instance: str

    @classmethod
    def of(cls, outs: Outs, section: str) -> _Names:
        if outs.bin_name is None:
            return cls(section, section, "table", "spot_id")
        return cls(section, f"{section}_{outs.bin_name}", outs.bin_name, "location_id")


@checked
def visium(path: str | Path, *, image: str | Path | None = None, section: str | None = None) -> SpatialData:
    """Read a Space Ranger output: Visium (version 1 and later) or one bin size of Visium HD.

    Only in-tissue spots of the filtered matrix are kept. Barcodes without a position are left out, with a warning.

    Parameters
    ----------
    path
        An ``outs`` folder, or for Visium HD a ``square_XXXum`` folder (or a parent that holds one bin size only). The
        matrix may be an ``.h5`` file or a folder with ``matrix.mtx.gz``; nothing is written to the folder.
    image
        The full-resolution image that was given to Space Ranger: TIFF, OME-TIFF, JPEG or PNG, 8-bit RGB. A tiled TIFF
        stays on disk and is read tile by tile; other files are decoded once into a temporary file, which lives as long
        as the image is in use. Without ``image`` the result has only the hires and lowres images.
    section
        Name of the section. It names the elements and is written to ``obs["section"]``. Default: the prefix of the
        matrix file, else the name of the folder above ``outs``.

    Returns
    -------
    SpatialData with the names of spatialdata-io:

    - images ``{section}_full_image`` (if given; single-scale), ``{section}_hires_image`` and ``{section}_lowres_image``
      (c, y, x);
    - circles ``{section}``, for HD ``{section}_square_XXXum``, in the coordinate system ``{section}`` (full-resolution
      px), with the radius that Space Ranger gives;
    - a table ``"table"``, for HD ``"square_XXXum"``, of raw counts ``(n_spots, n_genes)``, CSR float32.

    ``attrs["st_predict"]["um_per_px"]`` holds the scale of each image. Visium HD states it. For Visium it follows from
    the 100 um between neighboring spots of a row (Space Ranger's spot diameter stands for 65 um in some versions, and
    for 55 in others).

    Raises
    ------
    InputError
        Files are missing, truncated or corrupt; a part of the matrix, a position or a scale factor cannot be right; there
        are several bin sizes; ``image`` is not the image the spots were placed on, or the thumbnails are not; counts are
        not raw, or all 0; no spot is in tissue.

    Examples
    --------
    >>> sdata = stp.io.visium("A1/outs", image="A1/tissue.tif")
    >>> sorted(sdata.images)
    ['A1_full_image', 'A1_hires_image', 'A1_lowres_image']
    >>> round(sdata.attrs["st_predict"]["um_per_px"]["A1_full_image"], 3)
    0.75
    """
    from spatialdata import SpatialData

    if image is not None:
        check_file(Path(image), where="image")
    outs = find_outs(path)
    section = outs.section if section is None else section
    check_section(section)
    names = _Names.of(outs, section)
    positions = read_positions(outs.positions)
    _say_others(outs, positions)
    scale = um_per_px(outs, positions)
    pixels = open_images(outs, image)
    table, circles = _in_tissue(*_table_and_circles(outs, names, positions), names, positions)
    check_images(pixels, outs, table.obsm["spatial"])
    table.obs["section"] = section
    table.obs["section"] = table.obs["section"].astype("category")

    factors = {"full": 1.0, **{name: outs.scalefactors[f"tissue_{name}_scalef"] for name in pixels if name != "full"}}
    known = {} if scale is None else {f"{section}_{name}_image": scale / factors[name] for name in pixels}
    return SpatialData(
        images={
            f"{section}_{name}_image": image_element(array, _image_systems(section, name, factors[name]))
            for name, array in pixels.items()
        },
        shapes={names.shapes: circles},
        tables={names.table: table},
        attrs={"st_predict": {"um_per_px": known}},
    )


def _say_others(outs: Outs, used: pd.DataFrame) -> None:
    """Say which file of positions is used where another beside it holds other values."""
    for path in (outs.positions.with_name(name) for name in POSITIONS):
        if path == outs.positions or not path.is_file():
            continue
        try:
            other = read_positions(path).reindex(used.index)
        except InputError:
            other = None
        if other is None or not np.array_equal(other.to_numpy(float), used.to_numpy(float)):
            logger.warning("%s is used; %s beside it holds other values, and is not", outs.positions.name, path.name)


def _image_systems(section: str, name: str, factor: float) -> dict[str, Any]:
    from spatialdata.transformations import Identity, Scale

    if name == "full":
        return {section: Identity()}
    return {
        f"{section}_downscaled_{name}": Identity(),
        section: Scale(np.array([factor, factor]), axes=("y", "x")).inverse(),
    }


def _table_and_circles(outs: Outs, names: _Names, positions: pd.DataFrame) -> tuple[AnnData, GeoDataFrame]:
    """All spots of the filtered matrix; those without a position hold NaN there."""
    with warnings.catch_warnings():
        # Mended by the reader right after it warns.
        warnings.filterwarnings("ignore", message="Converting `region_key", category=UserWarning)
        return _build(outs, names, positions)


def _build(outs: Outs, names: _Names, positions: pd.DataFrame) -> tuple[AnnData, GeoDataFrame]:
    from spatialdata.models import ShapesModel, TableModel
    from spatialdata.transformations import Identity, Scale

    table = _genes(read_matrix(outs.counts), outs.counts)
    placed = positions.reindex(table.obs_names)
    n_lost = int(placed["in_tissue"].isna().sum())
    if 0 < n_lost < len(placed):
        logger.warning(
            "%d of %d barcodes of %s have no position in %s and are left out: a whole file lists every barcode of the slide, "
            "so it was cut, or is of another slide",
            n_lost, len(placed), outs.counts.name, outs.positions.name,
        )  # fmt: skip
    table.obsm["spatial"] = placed[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    table.obs[["in_tissue", "array_row", "array_col"]] = placed[["in_tissue", "array_row", "array_col"]].to_numpy()
    table.obs[names.instance] = np.arange(table.n_obs)
    table.obs["region"] = names.shapes
    table.obs["region"] = table.obs["region"].astype("category")
    systems: dict[str, Any] = {names.section: Identity()}
    for name in THUMBNAILS:
        if (factor := outs.scalefactors.get(f"tissue_{name}_scalef")) is not None:
            systems[f"{names.section}_downscaled_{name}"] = Scale(np.array([factor, factor]), axes=("y", "x"))
    circles = ShapesModel.parse(
        table.obsm["spatial"],
        geometry=0,
        radius=outs.scalefactors["spot_diameter_fullres"] / 2,
        index=table.obs[names.instance].copy(),
        transformations=systems,
    )
    table = TableModel.parse(table, region=names.shapes, region_key="region", instance_key=names.instance)
    return table, circles


def _genes(table: AnnData, counts: Path) -> AnnData:
    """The features of the filtered matrix that are genes, which those of early versions all are; others are counted."""
    import pandas as pd

    types = table.var.get("feature_types", pd.Series("Gene Expression", table.var_names))
    others = types[types != "Gene Expression"]
    said = (
        f"{len(others)} of the {len(types)} features of {counts.name} are not genes ({', '.join(sorted(set(others)))})"
    )
    if len(others) == len(types):
        raise InputError(
            said if len(types) else f"{counts.name} has no features",
            where=str(counts),
            expected="features of the type Gene Expression",
            remedy="give the matrix that holds gene expression",
        )
    if others.empty:
        return table
    logger.warning("%s and are left out", said)
    return table[:, types == "Gene Expression"].copy()


def _in_tissue(
    table: AnnData, circles: GeoDataFrame, names: _Names, positions: pd.DataFrame
) -> tuple[AnnData, GeoDataFrame]:
    """Spots with a position under tissue, types as in the files; counts checked."""
    from scipy.sparse import csr_matrix

    placed = table.obs["in_tissue"].notna().to_numpy()
    keep = (table.obs["in_tissue"] == 1).to_numpy()
    logger.info(
        "%d of %d spots of the filtered matrix are kept; left out: %d without a position, %d not in tissue",
        keep.sum(),
        len(keep),
        (~placed).sum(),
        (placed & ~keep).sum(),
    )
    if not keep.any():
        seen = f"the matrix has {table.obs_names[0]!r}, the positions have {positions.index[0]!r}"
        raise InputError(
            f"none of the {len(keep)} barcodes of the filtered matrix is in tissue ({(~placed).sum()} have no position)"
            + ("" if placed.any() else f": {seen}"),
            where="path",
            expected="barcodes of the matrix in the tissue positions, spelled as there, with in_tissue 1",
            remedy="set in_tissue to 1 for the spots under tissue: the positions say of none that it is"
            if placed.any()
            else "give matrix and positions of the same section; if they are, spell the barcodes alike in both",
        )
    table = table[keep].copy()
    table.X = csr_matrix(table.X, dtype=np.float32)
    check_counts(table.X.data, where="the filtered matrix")
    if not table.X.count_nonzero():
        raise InputError(
            f"all counts of the {table.n_obs} spots in tissue are 0",
            where="the filtered matrix",
            expected="raw counts of genes",
            remedy="give the matrix of a section that was sequenced",
        )
    for column in ("in_tissue", "array_row", "array_col"):
        table.obs[column] = table.obs[column].astype(np.int64)
    table.obsm["spatial"] = np.asarray(table.obsm["spatial"], dtype=np.float64)
    return table, circles[circles.index.isin(table.obs[names.instance])]
