"""``hest``: a sample of HEST-1k, STP-Bench or HEST-Benchmark as SpatialData, or a list of all in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from st_predict._spatialdata.kept import check_distinct
from st_predict._spatialdata.scale import say_places
from st_predict.core.arguments.checked import checked
from st_predict.core.arguments.kinds import shown
from st_predict.core.checks import check_spots_on_image, check_um_per_px
from st_predict.core.errors import InputError
from st_predict.core.gene_names import clean_name
from st_predict.core.scale import say_pitch
from st_predict.core.tiles.geometry import DEFAULT_TILE_UM
from st_predict.io._assemble import circles, linked_table, neighbor_px
from st_predict.io._checks import check_section, logger
from st_predict.io._h5ad import read_h5ad, spot_places, with_counts
from st_predict.io._hest_folder import SCALE, Sample, find_sample, list_samples
from st_predict.io._images import image_element, lazy_array
from st_predict.io._library import positive
from st_predict.io._patches import PATCH_UM_PER_PX, Patches, PatchImage, covered_share, read_patches, side_on_slide
from st_predict.io._slide import slide

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

_APART = 0.1  # of the pitch, by which a spot may be wider


@overload
def hest(folder: str | Path, sample: None = None, *, um_per_px: None = None) -> pd.DataFrame: ...
@overload
def hest(folder: str | Path, sample: str, *, um_per_px: float | None = None) -> SpatialData: ...
@checked
def hest(
    folder: str | Path, sample: str | None = None, *, um_per_px: float | None = None
) -> SpatialData | pd.DataFrame:
    """Read a sample of HEST-1k, or of a folder in its layout such as STP-Bench; without a name, list all samples.

    The layout is ``st/ID.h5ad``, ``wsis/ID.tif``, ``metadata/ID.json``, ``patches/ID.h5``. A task of HEST-Benchmark
    (``adata/ID.h5ad``, ``patches/ID.h5``, ``splits/``, ``var_50genes.json``) is read too. Only spots in tissue are kept.

    Parameters
    ----------
    folder
        The folder that holds these folders.
    sample
        The sample's name, such as ``"TENX99"``. ``None``: list all samples.
    um_per_px
        Width of a pixel of the slide in um. ``None``: ``pixel_size_um_estimated`` of the metadata, which HEST measured
        by the spots.

    Returns
    -------
    For a sample, SpatialData with the image ``"{sample}_image"``, circles ``sample`` and a table ``"table"`` of raw counts
    (CSR float32; ``obs`` has ``section`` and, if the metadata name a patient, ``subject``). All lie in ``"global"``, in px
    of the slide. The slide stays on disk. If there is no slide, the patches are put together to an image, each in its
    place. Places that no patch shows are white, and a warning says how much of a wide tile is so.

    Without a sample, a DataFrame with a row for each sample: ``technology``, ``species``, ``organ``, ``patient``,
    ``dataset``, ``spots`` and ``um_per_px`` as far as the metadata tell, and whether ``expression``, ``slide`` and
    ``patches`` are there. A task of HEST-Benchmark also has ``fold``, in which the sample is tested, and its panel in
    ``.attrs["genes"]``.

    Raises
    ------
    InputError
        There is no such folder or sample; a file is missing or cut short; there are no raw counts; spots lie off the
        slide; patches were not cut at their spots; or the size of a pixel is missing or absurd.

    Examples
    --------
    >>> stp.io.hest("hest")[["technology", "patient", "spots", "um_per_px"]]
           technology patient  spots  um_per_px
    sample
    S1         Visium      P1     41       0.75
    S2         Visium      P2     ...
    >>> sdata = stp.io.hest("hest", "S1")
    >>> sdata.tables["table"].shape
    (41, 60)
    """
    folder = Path(folder)
    if sample is None:
        return list_samples(folder)
    if um_per_px is not None:
        check_um_per_px(um_per_px, where="um_per_px")
    found = find_sample(folder, sample)
    check_section(found.name, where="sample")
    facts = found.facts()
    scale = _scale(found, facts) if um_per_px is None else um_per_px
    where = str(found.expression)
    assert found.expression is not None  # or the sample would have been refused
    table = with_counts(read_h5ad(found.expression, where=where), None, where=where)
    check_distinct(table.obs_names, "obs_names", where)
    if found.slide is not None:
        image, known = _of_slide(found.slide, scale)
        _check_places(image, spot_places(table, where=where), found.slide, facts)
        um = scale
    else:
        assert found.patches is not None
        table, image, known, um = _of_patches(table, found.patches, facts, scale)
    return _assemble(found, facts, table, image, known, um)


def _scale(sample: Sample, facts: dict[str, Any]) -> float | None:
    """Scale of the slide; ``None`` where there is no slide and no metadata, as in the benchmark.

    Raises
    ------
    InputError
        If the metadata of a slide state none, or one that cannot be.
    """
    where = str(sample.metadata or f"metadata/{sample.name}.json")
    if SCALE not in facts:
        if sample.slide is None:
            return None
        raise InputError(
            f"sample {sample.name!r} has no {SCALE}" + ("" if sample.metadata else ", and no metadata at all"),
            where=where,
            expected="the width of a pixel of the slide in um",
            remedy="download the metadata, or give the scale: hest(folder, sample, um_per_px=...)",
        )
    stated = positive(facts[SCALE])
    if stated is None:
        raise InputError(
            f"{SCALE} is {facts[SCALE]!r}",
            where=where,
            expected="the width of a pixel of the slide in um",
            remedy="give the scale: hest(folder, sample, um_per_px=...)",
        )
    check_um_per_px(stated, where=f"{SCALE} in {where}")
    return stated


def _patient(sample: Sample, facts: dict[str, Any]) -> str | None:
    """Name of the patient, if the metadata tell one.

    Raises
    ------
    InputError
        If it is no name.
    """
    found = facts.get("patient")
    if found is None or (isinstance(found, (str, int, float)) and not isinstance(found, bool) and clean_name(found)):
        return None if found is None else str(found)
    raise InputError(
        f"patient is {shown(found)}",
        where=str(sample.metadata),
        expected="the name or the number of one patient",
        remedy=f"correct it, or take it out of {sample.name}.json",
    )


def _of_slide(path: Path, um_per_px: float | None) -> tuple[Any, float | None]:
    opened = slide(path, um_per_px=um_per_px)
    ((key, element),) = opened.images.items()
    return element, opened.attrs["st_predict"]["um_per_px"].get(key)


def _check_places(element: Any, centers_px: NDArray[np.float64], path: Path, facts: dict[str, Any]) -> None:
    level = element["scale0"]["image"] if getattr(element, "children", None) else element
    height, width = int(level.sizes["y"]), int(level.sizes["x"])
    stated = [positive(facts.get(f"fullres_px_{side}")) for side in ("width", "height")]
    if None not in stated and sorted(map(float, filter(None, stated))) != sorted((width, height)):
        logger.warning(
            "%s has %d x %d px, but its metadata say %g x %g (width x height)", path.name, width, height, *stated
        )
    check_spots_on_image(centers_px, width=width, height=height, where=str(path))


def _of_patches(
    table: AnnData, path: Path, facts: dict[str, Any], um_per_px: float | None
) -> tuple[AnnData, Any, float, float]:
    """Spots that have a patch, the patches as an image, its scale and that of the slide."""
    patches = read_patches(path)
    row_of = {barcode: row for row, barcode in enumerate(patches.barcodes)}
    rows = np.array([row_of.get(str(name), -1) for name in table.obs_names])
    if not (rows >= 0).any():
        raise InputError(
            f"no spot has a patch: spots are {list(table.obs_names[:2])}, patches {patches.barcodes[:2]}",
            where=str(path),
            expected="patches with the barcodes of the counts",
            remedy="download counts and patches of one sample, of one version",
        )
    kept = rows >= 0
    logger.info(
        "%d spots have a patch; left out: %d spots without one, %d patches without a spot",
        kept.sum(), (~kept).sum(), len(row_of) - kept.sum(),
    )  # fmt: skip
    table, rows = table[kept].copy(), rows[kept]
    centers_px = spot_places(table, where=str(path))
    side = side_on_slide(patches, rows, centers_px, um_per_px)
    factor = patches.side_px / side
    if um_per_px is None:
        um_per_px = PATCH_UM_PER_PX * factor
        logger.info(
            "patches of %s are taken to have %g um a pixel, as all HEST patches have", path.name, PATCH_UM_PER_PX
        )
    for um, what in ((um_per_px, "the slide"), (um_per_px / factor, "the patches")):
        check_um_per_px(um, where=f"the scale of {what}, by {path}")
    _say_cover(path, centers_px, side, um_per_px)
    image = _patch_image(patches, rows, centers_px * factor, facts, factor)
    return table, image, um_per_px / factor, um_per_px


def _say_cover(path: Path, centers_px: NDArray[np.float64], side: float, um_per_px: float) -> None:
    widest = max(DEFAULT_TILE_UM)
    logger.warning(
        "there is no slide: the image is made of the %d patches of %s, each %.0f um wide. They cover %.0f %% of a tile of "
        "%.0f um around a spot, and the rest is white; with tile_um=%.0f each tile is one patch",
        len(centers_px), path.name, side * um_per_px, 100 * covered_share(centers_px, side, widest / um_per_px), widest,
        side * um_per_px,
    )  # fmt: skip


def _patch_image(
    patches: Patches, rows: NDArray[np.intp], centers_px: NDArray[np.float64], facts: dict[str, Any], factor: float
) -> Any:
    """An element in px of the patches, of the size of the slide where that is known."""
    from spatialdata.transformations import Scale

    stated = [positive(facts.get(f"fullres_px_{side}")) for side in ("width", "height")]
    reach = np.ceil(centers_px.max(axis=0) + patches.side_px / 2)
    width, height = (int(max(r, (size or 0) * factor)) for r, size in zip(reach, stated, strict=True))
    source = PatchImage(patches.path, patches.key, rows, centers_px, patches.side_px, height, width)
    placed = Scale(np.array([factor, factor]), axes=("y", "x")).inverse()
    return image_element(lazy_array(source), {"global": placed})


def _assemble(
    sample: Sample, facts: dict[str, Any], table: AnnData, image: Any, known: float | None, um_per_px: float | None
) -> SpatialData:
    from spatialdata import SpatialData

    patient = _patient(sample, facts)
    centers_px = spot_places(table, where=str(sample.expression))
    table.uns.pop("spatial", None)
    table.obsm["spatial"] = centers_px
    pitch_px = neighbor_px(centers_px, where=str(sample.expression))
    pitch_um = positive(facts.get("inter_spot_dist"))
    if pitch_um is not None and um_per_px is not None:
        say_pitch(sample.name, pitch_px, um_per_px, pitch_um)
    say_places(table.obs, centers_px, um_per_px if pitch_um is None else None, name=sample.name)
    diameter = positive(facts.get("spot_diameter"))
    fits = diameter is not None and um_per_px is not None and diameter <= (1 + _APART) * pitch_px * um_per_px
    radius_px = diameter / um_per_px / 2 if fits and diameter and um_per_px else pitch_px / 4
    return SpatialData(
        images={f"{sample.name}_image": image},
        shapes={sample.name: circles(centers_px, radius_px)},
        tables={"table": linked_table(table, sample.name, patient)},
        attrs={"st_predict": {"um_per_px": {} if known is None else {f"{sample.name}_image": float(known)}}},
    )
