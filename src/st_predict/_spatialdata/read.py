"""A SpatialData to a Section: checked counts, centers in image px through one composed affine, scale, subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from st_predict._spatialdata.columns import check_comparable, column_name
from st_predict._spatialdata.counts import read_counts
from st_predict._spatialdata.image import image_source, reduced_sources, say_what_is_lost
from st_predict._spatialdata.kept import (
    check_distinct,
    check_named,
    gene_names,
    logger,
    other_names,
    own_genes,
    own_spots,
    say_left_out,
)
from st_predict._spatialdata.keys import Elements, Placed, check_region, place
from st_predict._spatialdata.matrices import check_matrices
from st_predict._spatialdata.one_section import check_one_section
from st_predict._spatialdata.scale import find_scale
from st_predict._spatialdata.shapes import circle_radii, own_shapes, shape_centers
from st_predict._spatialdata.systems import shapes_to_image
from st_predict.core.checks import check_places, check_spots_on_image
from st_predict.core.errors import InputError
from st_predict.core.gene_names import clean_name
from st_predict.core.section import Section

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from st_predict.core.section import ImageSource


def read_section(sdata: SpatialData, elements: Elements = Elements(), *, need_counts: bool) -> tuple[Section, Placed]:
    """Read one section; pixels stay where they are.

    Spots that ``obs["in_tissue"]`` says lie on glass are left out, and features that are no genes (antibodies, control
    probes); both are said. Rows of the section are those of the table that :func:`own_spots` keeps.

    Parameters
    ----------
    sdata
        One section.
    elements
        The user's choice of elements.
    need_counts
        Whether counts are used. Where they are not, they are neither read nor checked.

    Raises
    ------
    InputError
        If an element is missing or ambiguous, spots lie off the image or share a shape, none is in tissue, they are of
        several sections, coordinate systems contradict each other, or the counts are not counts, or not those of genes.
    """
    placed = place(sdata, elements, need_table=need_counts)
    table = None if placed.table is None else _rows(sdata, placed)
    centers_px = _centers_px(sdata, placed)
    if not len(centers_px):
        raise InputError(
            f"there are no spots in {placed.shapes!r}", where="sdata", expected="at least one spot", remedy="add spots"
        )
    check_places(centers_px, where=f"sdata.shapes[{placed.shapes!r}]")
    check_one_section(sdata, placed, centers_px)
    image = image_source(sdata, placed.image)
    say_what_is_lost(sdata, placed.image)
    check_spots_on_image(
        centers_px,
        width=int(image.col_edges[-1]),
        height=int(image.row_edges[-1]),
        where=f"sdata.shapes[{placed.shapes!r}] on sdata.images[{placed.image!r}]",
    )
    _check_radii(sdata, placed, image)
    name = _single(table, "section") or (placed.image.removesuffix("_image") if table is None else placed.shapes)
    if table is not None:
        say_left_out(table, name, features=need_counts)
    return Section(
        name=name,
        image=image,
        centers_px=centers_px,
        um_per_px=find_scale(sdata, placed, centers_px, shapes_to_image(sdata, placed)),
        subject=_single(table, "subject"),
        counts=read_counts(table, placed) if table is not None and need_counts else None,
        gene_names=np.empty(0, np.str_) if table is None else gene_names(table)[own_genes(table)],
        other_names={} if table is None else {k: v[own_genes(table)] for k, v in other_names(table).items()},
        reduced=reduced_sources(sdata, placed.image),
    ), placed


def _rows(sdata: SpatialData, placed: Placed) -> AnnData:
    """The table, all of whose rows must annotate the section's shapes."""
    import pandas as pd

    table = sdata.tables[placed.table]
    own = f"sdata.tables[{placed.table!r}]"
    check_named(table, own)
    check_matrices(table, own)
    check_region(sdata, placed)
    check_distinct(table.obs_names, "obs_names", own)
    check_distinct(pd.Index(gene_names(table)[own_genes(table)]), "var_names", own)
    return table


def _centers_px(sdata: SpatialData, placed: Placed) -> NDArray[np.float64]:
    """Spot centers in the order of the table's own rows, in px of the image."""
    affine = shapes_to_image(sdata, placed)
    return shape_centers(own_shapes(sdata, placed)) @ affine[:2, :2].T + affine[:2, 2]


def _check_radii(sdata: SpatialData, placed: Placed, image: ImageSource) -> None:
    """Refuse circles that have no size, or are larger than the image."""
    if "radius" not in sdata.shapes[placed.shapes]:
        return
    shapes = own_shapes(sdata, placed)
    if not (shapes.geom_type == "Point").all():
        return
    scale = np.sqrt(abs(np.linalg.det(shapes_to_image(sdata, placed)[:2, :2])))
    widest_px = 2 * float(circle_radii(shapes, placed.shapes).max() * scale)
    width, height = int(image.col_edges[-1]), int(image.row_edges[-1])
    if widest_px > max(width, height):
        raise InputError(
            f"a circle of shapes {placed.shapes!r} is {widest_px:g} px wide, on an image of {width} x {height} px",
            where=f"sdata.shapes[{placed.shapes!r}]['radius']",
            expected="circles smaller than the image",
            remedy="correct the radius, which is in the units of the coordinates",
        )


def spot_diameter_px(sdata: SpatialData, placed: Placed) -> float:
    """Median diameter of the circles in px of the image.

    Raises
    ------
    InputError
        If the shapes are not circles.
    """
    shapes = sdata.shapes[placed.shapes]
    if "radius" not in shapes:
        raise InputError(
            f"shapes {placed.shapes!r} are not circles",
            where=f"sdata.shapes[{placed.shapes!r}]",
            expected="circles with a radius",
            remedy="give um_per_px or pitch_um instead",
        )
    scale = np.sqrt(abs(np.linalg.det(shapes_to_image(sdata, placed)[:2, :2])))
    return float(2 * np.median(circle_radii(shapes, placed.shapes)) * scale)


def _single(table: AnnData | None, column: str) -> str | None:
    """The one value of an obs column that must be the same for all spots of a section; it is said where some lack it."""
    named = [] if table is None else [own for own in table.obs.columns if column_name(own) == column]
    if table is None or not named:
        return None
    own = column if column in named else named[0]
    check_comparable(table.obs[own])
    names = table.obs[own].dropna().unique()
    if len(names) > 1:
        raise InputError(
            f"obs[{own!r}] has several values: {', '.join(map(str, names[:5]))}",
            where=f"obs[{own!r}]",
            expected=f"one {column} in a section",
            remedy="make one SpatialData for each section",
        )
    if not len(names):
        return None
    spots = own_spots(table)
    if n_missing := int(table.obs[own].isna().to_numpy()[spots].sum()):
        logger.warning(
            "obs[%r] has no value in %d of %d spots: they are taken to be of %s %r, as the others are. Fill it in, or leave "
            "these spots out if they are of another %s",
            own, n_missing, spots.sum(), column, str(names[0]), column,
        )  # fmt: skip
    name = clean_name(told := str(names[0]))
    if told.strip() and not name:
        raise InputError(
            f"obs[{own!r}] is {told!r}",
            where=f"obs[{own!r}]",
            expected=f"the name of a {column}, as text that files can hold",
            remedy="correct it, or drop the column",
        )
    return name or None
