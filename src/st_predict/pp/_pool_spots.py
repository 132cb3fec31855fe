"""``pool_spots``: transcripts, cells or fine bins as spots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from st_predict._spatialdata.keys import Elements, find_image
from st_predict._spatialdata.own import all_or_nothing
from st_predict._spatialdata.pooled import Array, find_points, pool_points, pool_table
from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spatialdata import SpatialData


@checked
def pool_spots(
    sdata: SpatialData,
    *,
    pitch_um: float = 100.0,
    diameter_um: float = 100.0,
    layout: Literal["square", "hex"] = "square",
    points_key: str | None = None,
    table_key: str | None = None,
    image_key: str | None = None,
    shapes_key: str | None = None,
    layer: str | None = None,
    tissue_key: str | None = None,
    feature_key: str | None = None,
    min_quality: Mapping[str, float] | None = None,
    key_added: str = "spots",
) -> None:
    """Pool transcripts, cells or fine bins to spots of an array on the tissue.

    After this, a section of Xenium, MERFISH, CosMx or Visium HD is trained on like one of Visium:
    ``stp.tl.train(sdata, table_key="spots_counts")``. Every transcript, cell or bin is counted in one spot at most: the one
    whose square or disk it lies in, cells and bins by their center. The defaults are squares of 100 um without gaps, as
    HEST pools them (Jaume et al. 2024).

    Transcripts are read a part of the Dask table at a time, so that memory does not grow with their number.

    Parameters
    ----------
    sdata
        A section with an H&E image of known scale. The image is placed by its transformation, so it may be shifted, turned
        or mirrored against the transcripts.
    pitch_um
        Distance between neighboring spots.
    diameter_um
        Side of a square spot, diameter of a round one; at most the pitch.
    layout
        ``"square"``: square spots in rows and columns; ``"hex"``: round spots, every other row half a pitch aside.
    points_key
        Transcripts in ``sdata.points``; ``None``: the only points, if no ``table_key`` is given.
    table_key
        Table of cells or bins, pooled in place of transcripts; ``None``: the only one, where there are no points.
    image_key
        The H&E image, where there are several.
    shapes_key, layer
        Shapes of the cells or bins, and the layer of their raw counts, where there are several.
    tissue_key
        Outlines of tissue in ``sdata.shapes``; ``None``: as for :func:`spot_grid`.
    feature_key
        Column of the points that names the gene, as text; ``None``: the one that spatialdata notes, or one named
        ``feature_name``, ``gene`` or ``target``.
    min_quality
        Least value of columns of the points: transcripts below are left out. ``None``: ``{"qv": 20}`` where there is such a
        column, as 10x counts; ``{}``: all transcripts.
    key_added
        Where to write.

    Returns
    -------
    ``None``. Writes ``sdata.shapes[key_added]``, the spots in px of the image with ``array_row`` and ``array_col``, and
    ``sdata.tables[f"{key_added}_counts"]``: int32 counts ``(n_spots, n_genes)`` that annotate them. ``section`` and
    ``subject`` are taken over from the tables that are there. Places that hold no count get no spot. Control probes and
    other features that are no genes, by their names or by a column such as ``is_gene`` or ``codeword_category``, are left
    out, as are transcripts without a gene. What is left out is said. The scale of the image is written down where
    the bins of Visium HD tell it.

    Raises
    ------
    InputError
        If the scale is unknown, spots would overlap, there is nothing to pool or several things, most of it lies off the
        image, a column is missing, that of the genes names none, every transcript is there twice, an argument is of the
        other kind of source, or ``key_added`` is taken. ``sdata`` is then as it was.

    Examples
    --------
    Transcripts of drawn tissue:

    >>> xenium = stp.datasets.synthetic_tissue(n_sections=1, n_genes=60, size_um=800, technology="xenium")["S1"]
    >>> stp.pp.pool_spots(xenium)
    >>> xenium.tables["spots_counts"].shape
    (36, 60)
    """
    if diameter_um > pitch_um:
        raise InputError(
            f"spots of {diameter_um:g} um would overlap at a pitch of {pitch_um:g} um",
            where="diameter_um",
            expected="at most pitch_um, so that nothing is counted twice",
            remedy=f"pass diameter_um={pitch_um:g}, or a wider pitch",
        )
    image, array = find_image(sdata, image_key), Array(pitch_um, diameter_um, layout, tissue_key)
    points = find_points(sdata, points_key, table_key)
    of_points, of_tables = (
        {"feature_key": feature_key, "min_quality": min_quality},
        {"shapes_key": shapes_key, "layer": layer},
    )
    if vain := [name for name, value in (of_points if points is None else of_tables).items() if value is not None]:
        pooled = "a table" if points is None else f"points {points!r}"
        raise InputError(
            f"{vain[0]} is of {'points' if points is None else 'a table'}, and {pooled} would be pooled",
            where=vain[0],
            expected=f"{vain[0]} only where {'points' if points is None else 'a table'} is pooled",
            remedy=f"leave {vain[0]} out, or name {'the points: points_key' if points is None else 'the table: table_key'}=...",
        )
    with all_or_nothing(sdata):
        if points is None:
            pool_table(sdata, key_added, array, Elements(image, shapes_key, table_key, layer))
        else:
            pool_points(sdata, image, points, key_added, array, feature_key=feature_key, min_quality=min_quality)
