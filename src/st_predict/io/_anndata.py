"""``anndata``: a section as scanpy and squidpy users have it, as SpatialData."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.kept import check_distinct, check_named
from st_predict._spatialdata.matrices import check_matrices
from st_predict.core.arguments.checked import checked
from st_predict.core.checks import check_spots_on_image, check_um_per_px
from st_predict.core.errors import InputError
from st_predict.io._assemble import circles, linked_table, neighbor_px
from st_predict.io._checks import check_file, check_image_size, check_section, logger
from st_predict.io._h5ad import read_h5ad, spot_places, with_counts
from st_predict.io._images import image_element
from st_predict.io._library import Library, find_library, finest_image, positive, told_um_per_px
from st_predict.io._slide import slide

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

_WHERE = "adata"
_COARSE = 2.0  # um a px at which a nucleus is three pixels wide


@checked
def anndata(
    adata: AnnData | str | Path,
    *,
    image: str | Path | None = None,
    library: str | None = None,
    section: str | None = None,
    subject: str | None = None,
    layer: str | None = None,
    um_per_px: float | None = None,
) -> SpatialData:
    """Read one section from an AnnData with ``obsm["spatial"]`` and ``uns["spatial"]``, as scanpy and squidpy make it.

    Spots with ``obs["in_tissue"]`` 0 are left out. The given AnnData is not changed.

    Parameters
    ----------
    adata
        The AnnData, or the path of an ``.h5ad`` file.
    image
        The slide that the positions refer to, in full resolution, of any format that :func:`~st_predict.io.slide`
        opens. Without it, the finest image in ``uns["spatial"][library]["images"]`` that has a scale factor is taken.
        Mostly this is ``"hires"`` of 2,000 px, in which a nucleus is a pixel or two. A warning says how coarse it is.
    library
        Which library to read if the AnnData holds several. Its spots are found by ``obs["library_id"]``, or by a column
        that holds only names of libraries.
    section
        Name of the section. It names the elements. It is also written to ``obs["section"]`` if there is no such column
        yet. Default: the library, else the name of the file.
    subject
        Patient or animal, for splits by subject. ``None``: as a column ``obs["subject"]`` says, if there is one.
    layer
        Where the raw counts are: ``None`` is ``X``, ``"raw"`` is ``adata.raw``, anything else a layer.
    um_per_px
        Width of a pixel of the full-resolution image in um. ``None``: it is taken from ``microns_per_pixel`` in the
        scale factors, or from the array of Visium (100 um between spots), or from the metadata of ``image``. If none of
        them tells it, the result holds no scale: it is never guessed.

    Returns
    -------
    SpatialData with one image ``"{section}_image"``, circles ``section`` with the diameter ``spot_diameter_fullres``
    (if there is none, half the distance between spots, which is only good for drawing), and a table ``"table"`` of raw
    counts, CSR float32. All lie in ``"global"``, in px of the full-resolution image. The scale of the image is in
    ``attrs["st_predict"]["um_per_px"]``. Other columns, layers and ``obsm`` of the AnnData are kept.

    Raises
    ------
    InputError
        The file cannot be read; there are several libraries and none is chosen; there is no image, or it is not an RGB
        image; the chosen counts are not raw counts (the error names a layer that has them); positions are missing or
        lie off the image; or the scale cannot be right.

    Examples
    --------
    >>> adata = stp.to_anndata(sections["S1"])
    >>> sdata = stp.io.anndata(adata)
    >>> sdata.tables["table"].shape, sdata.attrs["st_predict"]["um_per_px"]
    ((41, 60), {'S1_image': 0.75})
    """
    from spatialdata import SpatialData

    if um_per_px is not None:
        check_um_per_px(um_per_px, where="um_per_px")
    if image is not None and not Path(image).is_dir():
        check_file(Path(image), where="image")
    given = Path(adata) if isinstance(adata, (str, Path)) else None
    whole: AnnData = read_h5ad(given, where=_WHERE) if given else adata
    _check_anndata(whole)
    check_named(whole, _WHERE)
    check_matrices(whole, _WHERE)
    found, rows = find_library(whole, library, where=_WHERE)
    name = _section_name(section, found, given)
    chosen = whole if rows.all() else whole[rows]
    table = with_counts(chosen.to_memory() if whole.isbacked else chosen, layer, where=_WHERE)
    check_distinct(table.obs_names, "obs_names", _WHERE)
    table.uns.pop("spatial", None)
    centers_px = spot_places(table, where=_WHERE)
    scale = told_um_per_px(found, table.obs, centers_px, um_per_px, where=_WHERE)
    if image is None:
        element, factor = _reduced_image(found, scale)
    else:
        element, scale = _full_image(Path(image), found, scale)
        factor = 1.0
    height, width = _sizes(element)
    check_spots_on_image(
        centers_px,
        width=round(width / factor),
        height=round(height / factor),
        where=f"{_WHERE}.obsm['spatial']" if image is None else "image",
    )
    diameter_px = positive(found.factors.get("spot_diameter_fullres"))
    radius_px = diameter_px / 2 if diameter_px else neighbor_px(centers_px, where=f"{_WHERE}.obsm['spatial']") / 4
    table.obsm["spatial"] = centers_px
    known = {} if scale is None else {f"{name}_image": float(scale / factor)}
    return SpatialData(
        images={f"{name}_image": element},
        shapes={name: circles(centers_px, radius_px)},
        tables={"table": linked_table(table, name, subject)},
        attrs={"st_predict": {"um_per_px": known}},
    )


def _check_anndata(adata: Any) -> None:
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        raise InputError(
            f"a {type(adata).__name__} was given",
            where=_WHERE,
            expected="an AnnData, or the path of an .h5ad file",
            remedy="anndata.read_h5ad(path); a SpatialData is used as it is",
        )
    places = adata.obsm["spatial"] if "spatial" in adata.obsm else None
    if isinstance(places, np.ma.MaskedArray) and np.ma.is_masked(
        places
    ):  # to be seen here alone: rows of an AnnData are given without the mask
        raise InputError(
            f"{np.ma.getmaskarray(places).any(axis=-1).sum()} of {adata.n_obs} spots have their position behind a mask",
            where=f"{_WHERE}.obsm['spatial']",
            expected="a position for each spot",
            remedy="leave these spots out: adata[~np.ma.getmaskarray(adata.obsm['spatial']).any(axis=1)]",
        )


def _section_name(section: str | None, library: Library, path: Path | None) -> str:
    """The name asked for, or one made of the library's or the file's, which may hold blanks and other signs."""
    if section is not None:
        check_section(section)
        return section
    told = library.name or (path.stem if path else "")
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", told).strip("_.") or "section"


def _full_image(path: Path, library: Library, um_per_px: float | None) -> tuple[Any, float | None]:
    """The slide's element, and its scale: as told, else as its metadata state."""
    opened = slide(path, um_per_px=um_per_px)
    ((key, element),) = opened.images.items()
    height, width = _sizes(element)
    for name, small in library.images.items():
        factor = positive(library.factors.get(f"tissue_{name}_scalef"))
        if factor is not None and np.ndim(small) == 3 and np.size(small):
            implied = (small.shape[1] / factor, small.shape[0] / factor)
            check_image_size((width, height), implied, thumbnail=f"image {name!r} of the AnnData", where="image")
            break
    return element, opened.attrs["st_predict"]["um_per_px"].get(key)


def _reduced_image(library: Library, um_per_px: float | None) -> tuple[Any, float]:
    """The finest image of the AnnData as an element in px of the full one, and its scale factor."""
    from spatialdata.transformations import Scale

    name, pixels, factor = finest_image(library, where=_WHERE)
    element = image_element(pixels, {"global": Scale(np.array([factor, factor]), axes=("y", "x")).inverse()})
    coarse = None if um_per_px is None else um_per_px / factor
    if factor < 1 and (coarse is None or coarse > _COARSE):
        logger.warning(
            "image %r has %d x %d px%s: it is too coarse to show nuclei, and predictions from it are poor. Give the "
            "full-resolution slide with image=",
            name, pixels.shape[2], pixels.shape[1], "" if coarse is None else f", {coarse:.3g} um a pixel",
        )  # fmt: skip
    return element, factor


def _sizes(element: Any) -> tuple[int, int]:
    """Height and width of an image of one level or several."""
    if getattr(element, "children", None):
        element = element["scale0"]["image"]
    return int(element.sizes["y"]), int(element.sizes["x"])
