"""``legacy_st``: sections of the first spatial-transcriptomics arrays (100 um spots), from their three files.

Knows the file conventions and the layout of the result; nothing of tiles or models.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.arguments.checked import checked
from st_predict.core.checks import check_positive, check_spots_on_image, check_um_per_px
from st_predict.core.errors import InputError
from st_predict.core.scale import array_steps, say_array
from st_predict.core.text import check_points, check_text, compression, separator
from st_predict.io._assemble import circles, neighbor_px
from st_predict.io._checks import check_file, check_section
from st_predict.io._counts_file import read_counts
from st_predict.io._images import image_element, open_image
from st_predict.io._legacy_ids import id_of, is_id, join

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix
    from spatialdata import SpatialData

logger = logging.getLogger("st_predict")

_SELECTED = {"1": True, "1.0": True, "true": True, "t": True, "yes": True,
             "0": False, "0.0": False, "false": False, "f": False, "no": False}  # fmt: skip
_NAMED = 8
_COLUMNS = ("x", "y", "pixel_x", "pixel_y")
_DIAMETER_UM, _PITCH_UM = 100.0, 200.0  # of the first arrays
_OFF = 0.1  # of the pitch: less comes from how it was measured


@checked
def legacy_st(
    counts: str | Path | pd.DataFrame,
    image: str | Path,
    spots: str | Path | pd.DataFrame,
    *,
    section: str,
    subject: str | None = None,
    um_per_px: float | None = None,
    spot_diameter_um: float = 100.0,
) -> SpatialData:
    """Read a legacy Spatial Transcriptomics section: H&E image, counts and spot positions.

    Spots and counts are joined on the id ``XxY``, by its two numbers: ``10x21``, ``10.0x21.0``, ``10X21`` and ``10_21`` are
    one spot. Spots with ``selected`` 0, and spots that only one of the two files has, are left out; the log says how many.

    Parameters
    ----------
    counts
        Raw counts, spots in rows: a text table (``.tsv``, ``.csv``, also ``.gz``) whose first column holds ids ``XxY``
        (``10x21``, ``5.907x2.103``), or a data frame with these ids as index and genes as columns.
    image
        The H&E image that the pixel positions refer to: JPEG, PNG or TIFF, 8-bit RGB. Flat formats are decoded once,
        into a temporary file that lives as long as the image is in use; tiled TIFFs stay on disk.
    spots
        Positions, one row for each spot: columns ``x``, ``y`` (array position, as in the ids), ``pixel_x``, ``pixel_y``
        (center on the image, px) and, if present, ``selected`` (1 or TRUE: under tissue). A text table or a data frame.
    section
        Name of the section. It names the elements and is written to ``obs["section"]``.
    subject
        Patient or animal, for splits by subject; left out of ``obs`` if unknown.
    um_per_px
        Width of a pixel of the image in um. If it is unknown, the result holds no scale: it is never guessed.
    spot_diameter_um
        Diameter of a spot on the array in um.

    Returns
    -------
    SpatialData with ``images["{section}_image"]`` (c, y, x), ``shapes[section]`` (circles in px) and
    ``tables["table"]`` (raw counts ``(n_spots, n_genes)``, CSR float32, centers as x, y in ``obsm["spatial"]``) in the
    coordinate system ``"global"``. The scale is in ``attrs["st_predict"]["um_per_px"]``. If the scale is unknown, the
    circles' radius is a quarter of the median distance between neighboring spots, and is only good for drawing.

    Raises
    ------
    InputError
        A file is missing, empty, truncated or corrupt; counts are not raw counts; spots or genes come twice; columns
        are missing; counts and spots share no id, or far more with x and y exchanged; spots lie off the image or have x
        and y swapped; or no image of a section has such a scale.

    Examples
    --------
    >>> sdata = stp.io.legacy_st(
    ...     "C2/counts.tsv.gz", "C2/image.jpg", "C2/spots.tsv", section="C2", subject="patient_C", um_per_px=0.75
    ... )
    >>> sdata.tables["table"].shape
    (41, 60)
    """
    from spatialdata import SpatialData
    from spatialdata.transformations import Identity

    check_section(section)
    check_positive(spot_diameter_um, where="spot_diameter_um")
    if um_per_px is not None:
        check_um_per_px(um_per_px, where="um_per_px")
    check_file(Path(image), where="image")
    positions = _read_spots(spots)
    matrix, spot_ids, genes = read_counts(counts)
    joined, kept = join(matrix, spot_ids, positions)
    _say_array(positions, um_per_px, spot_diameter_um, section)
    matrix, positions = joined, kept
    pixels = open_image(image)
    centers_px = positions[["pixel_x", "pixel_y"]].to_numpy(dtype=float)
    check_spots_on_image(centers_px, width=pixels.shape[2], height=pixels.shape[1], where="image")

    if um_per_px is None:
        radius_px = neighbor_px(centers_px, where="spots") / 4
    else:
        radius_px = spot_diameter_um / um_per_px / 2
    image_key = f"{section}_image"
    return SpatialData(
        images={image_key: image_element(pixels, {"global": Identity()})},
        shapes={section: circles(centers_px, radius_px)},
        tables={"table": _table(matrix, genes, positions, section, subject)},
        attrs={"st_predict": {"um_per_px": {} if um_per_px is None else {image_key: float(um_per_px)}}},
    )


def _read_spots(spots: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Columns x, y, pixel_x, pixel_y as floats, ids ``XxY`` as index, selected spots only."""
    import pandas as pd

    if isinstance(spots, (str, Path)):
        path = Path(spots)
        check_file(path, where="spots")
        check_text(path, where="spots")
        try:
            frame = pd.read_csv(path, sep=separator(path), dtype=str, compression=compression(path))
        except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError, EOFError, OSError) as error:
            raise _bad_spots(f"{path.name} cannot be read as a table: {error}") from error
        if frame.index.nlevels > 1:  # pandas takes what is too many for names of rows
            raise _bad_spots(
                f"{path.name} has {frame.shape[1]} columns, and {frame.index.nlevels} more values in its rows"
            )
    else:
        frame = spots
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        if len(missing) == len(_COLUMNS) and _holds_counts(frame):
            raise InputError(
                "spots holds a table of counts, with a row for each id XxY: counts and spots look exchanged",
                where="spots",
                expected=f"columns {', '.join(_COLUMNS)}",
                remedy="legacy_st(counts, image, spots, section=...), in this order",
            )
        found, more = [str(name) for name in frame.columns[:_NAMED]], len(frame.columns) - _NAMED
        raise _bad_spots(f"columns {missing} are missing; found {found}" + (f" and {more} more" if more > 0 else ""))
    double = [name for name in (*_COLUMNS, "selected") if list(frame.columns).count(name) > 1]
    if double:
        raise _bad_spots(f"column {double[0]!r} is there more than once")
    columns = [*_COLUMNS]
    try:
        numbers = frame[columns].astype(float)
    except (ValueError, TypeError) as error:
        check_points(frame[columns].to_numpy().ravel(), "the table of spots", where="spots")
        raise _bad_spots(f"a position is not a number: {error}") from error
    if not np.isfinite(numbers.to_numpy()).all():
        raise _bad_spots("positions are missing, NaN or infinite")
    ids = [id_of(x, y) for x, y in zip(numbers["x"], numbers["y"], strict=True)]
    numbers.index = pd.Index(ids, name=None)
    if "selected" in frame.columns:
        numbers = numbers[_selected(frame["selected"])]
        logger.info("%d of %d spots are not selected and left out", len(ids) - len(numbers), len(ids))
    double = numbers.index[numbers.index.duplicated()]
    if len(double):
        raise _bad_spots(f"{len(double)} spot ids come more than once, e.g. {double[0]!r}")
    if numbers.empty:
        raise _bad_spots("no spot is selected" if len(ids) else "there are no spots")
    return numbers


def _selected(column: pd.Series) -> NDArray[np.bool_]:
    """Which spots are under tissue, by a column of 1 and 0 or of words for them."""
    told = [_SELECTED.get(str(value).strip().lower()) for value in column]
    others = sorted({str(value) for value, known in zip(column, told, strict=True) if known is None})
    if others:
        named = ", ".join(others[:_NAMED]) + (", ..." if len(others) > _NAMED else "")
        raise InputError(
            f"column selected holds {named} for {told.count(None)} of {len(told)} spots",
            where="spots",
            expected="1 (or TRUE, yes) for a spot under tissue, 0 (or FALSE, no) for any other",
            remedy="correct the column, or leave it out if all spots are under tissue",
        )
    return np.array(told, bool)


def _holds_counts(frame: pd.DataFrame) -> bool:
    """Whether a table has ids of spots in its first column, or as names of its rows, as counts have."""
    ids = frame.iloc[:, 0] if len(frame.columns) and frame.index.dtype.kind in "iu" else frame.index
    return len(ids) > 0 and all(is_id(name) for name in ids)


def _say_array(positions: pd.DataFrame, um_per_px: float | None, spot_diameter_um: float, section: str) -> None:
    """Say so where places on the array contradict those on the image, or the scale."""
    x, y = positions["x"].to_numpy(), positions["y"].to_numpy()
    centers_px = positions[["pixel_x", "pixel_y"]].to_numpy()
    pitch_um = _PITCH_UM if spot_diameter_um == _DIAMETER_UM else None
    say_array(y, x, centers_px, um_per_px, name=section, pitch_um=pitch_um)
    steps = array_steps(y, x, centers_px)
    if um_per_px is None or steps is None:
        return
    widest_um = np.linalg.norm(steps, axis=1).max() * um_per_px
    if spot_diameter_um > widest_um * (1 + _OFF):
        logger.warning("spots of %g um lie %.0f um apart: they overlap", spot_diameter_um, widest_um)


def _bad_spots(what: str) -> InputError:
    return InputError(
        what,
        where="spots",
        expected="one row a spot, columns x, y, pixel_x, pixel_y and, if known, selected (1: under tissue), tab-separated",
        remedy="check the file against the spot file of the section",
    )


def _table(matrix: csr_matrix, genes: list[str], positions: pd.DataFrame, section: str, subject: str | None) -> AnnData:
    import pandas as pd
    from anndata import AnnData
    from spatialdata.models import TableModel

    n = len(positions)
    obs = pd.DataFrame(
        {
            "region": pd.Categorical([section] * n),
            "instance_id": np.arange(n),
            "section": pd.Categorical([section] * n),
            "array_x": positions["x"].to_numpy(),
            "array_y": positions["y"].to_numpy(),
        },
        index=positions.index,
    )
    if subject is not None:
        obs["subject"] = pd.Categorical([str(subject)] * n)
    table = AnnData(X=matrix, obs=obs, var=pd.DataFrame(index=pd.Index(genes)))
    table.obsm["spatial"] = positions[["pixel_x", "pixel_y"]].to_numpy()
    return TableModel.parse(table, region=section, region_key="region", instance_key="instance_id")
