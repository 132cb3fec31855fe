"""What every reader of tables ends with: circles for the spots, and a table that annotates them. Opens no file."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.columns import check_comparable
from st_predict.core.checks import check_apart

if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray

logger = logging.getLogger("st_predict")


def neighbor_px(centers_px: NDArray[np.floating], *, where: str) -> float:
    """Median distance to the nearest other spot in px; 4 for a lone spot, which has none.

    Raises
    ------
    InputError
        If most spots lie on top of one another.
    """
    from scipy.spatial import KDTree

    check_apart(centers_px, where=where)
    if len(centers_px) < 2:
        return 4.0
    distances_px, _ = KDTree(centers_px).query(centers_px, k=2)
    return float(np.median(distances_px[:, 1]))


def circles(centers_px: NDArray[np.floating], radius_px: float) -> GeoDataFrame:
    """Spots as circles in the coordinate system ``"global"``, numbered from 0."""
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    return ShapesModel.parse(
        centers_px,
        geometry=0,
        radius=radius_px,
        index=np.arange(len(centers_px)),
        transformations={"global": Identity()},
    )


def linked_table(adata: AnnData, section: str, subject: str | None) -> AnnData:
    """Make a table whose rows are those of :func:`circles`, which are named after the section.

    Parameters
    ----------
    adata
        Counts, spots in rows; it is changed. Columns of the user's stay, also where they have the names of ours.
    section
        Name of the section; a column ``section`` that is there already stays.
    subject
        Patient or animal; ``None`` leaves a column ``subject`` as it is.

    Raises
    ------
    InputError
        If a column of spots holds lists or the like, which SpatialData does not take.
    """
    import pandas as pd
    from spatialdata.models import TableModel

    for _, values in adata.obs.items():
        check_comparable(values)
    earlier: Any = adata.uns.pop(TableModel.ATTRS_KEY, {})
    region_key = _free(adata, "region", earlier.get("region_key"))
    instance_key = _free(adata, "instance_id", earlier.get("instance_key"))
    adata.obs[region_key] = pd.Categorical([section] * adata.n_obs)
    adata.obs[instance_key] = np.arange(adata.n_obs)
    if "section" not in adata.obs:
        adata.obs["section"] = pd.Categorical([section] * adata.n_obs)
    if subject is not None:
        adata.obs["subject"] = pd.Categorical([str(subject)] * adata.n_obs)
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()]
        logger.warning("%d gene names come more than once and are numbered, e.g. %s", len(twice), twice[0])
        adata.var_names_make_unique()
    return TableModel.parse(adata, region=section, region_key=region_key, instance_key=instance_key)


def _free(adata: AnnData, column: str, earlier: object) -> str:
    """A name for a column of ours under which the user has nothing."""
    return f"st_predict_{column}" if column in adata.obs and column != earlier else column
