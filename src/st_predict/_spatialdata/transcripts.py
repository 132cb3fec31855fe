"""Transcripts counted in spots, a block of them at a time, whatever the size of the section."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict._spatialdata.columns import column_name
from st_predict._spatialdata.kept import names_gene
from st_predict.core.errors import InputError
from st_predict.core.gene_names import clean_name
from st_predict.core.pooling import count_points
from st_predict.core.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from st_predict.core.pooling import Lattice

logger = logging.getLogger("st_predict")
_FEATURE = ("featurename", "gene", "target", "geneid", "genename", "feature")  # as :func:`column_name` has them
_IS_GENE = "isgene"
_QUALITY = {"qv": 20.0}
"""Phred score below which 10x leaves transcripts out of its own matrices of Xenium."""
_BLOCK = 2_000_000  # transcripts at a time, some 300 MB


class Counted(NamedTuple):
    """Counts of genes in spots."""

    counts: csr_matrix
    """``(n_spots, n_genes)``."""
    genes: NDArray[np.str_]


class Columns(NamedTuple):
    """Columns of a table of transcripts."""

    feature: str
    is_gene: str | None
    quality: dict[str, float]

    def all(self) -> list[str]:
        return list(dict.fromkeys(["x", "y", self.feature, *([self.is_gene] if self.is_gene else []), *self.quality]))


class _Features:
    """Numbers of feature names, given out as they come; the same name has one number in all blocks."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.no_genes: set[str] = set()

    def of(self, values: pd.Series) -> NDArray[np.int64]:
        """A number for every transcript ``(n,)``; -1 where its feature is missing."""
        codes, names = values.factorize()
        told = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
        given = np.array([self.numbers.setdefault(clean_name(name), len(self.numbers)) for name in told], np.int64)
        return np.append(given, -1)[codes]


def count_transcripts(
    points: Any,
    key: str,
    columns: Columns,
    to_image: NDArray[np.float64],
    lattice: Lattice,
    *,
    size_px: tuple[int, int],
) -> Counted:
    """Count transcripts in spots; says how many are left out, and why.

    Parameters
    ----------
    points
        A Dask table with ``x``, ``y`` and a column of features.
    key
        Its name, for messages.
    columns
        Which of its columns are read.
    to_image
        Affine ``(3, 3)`` from its coordinates to px of the image.
    lattice
        The spots.
    size_px
        Width and height of the image.

    Raises
    ------
    InputError
        If there are no transcripts, none is of a gene, or most of them lie off the image.
    """
    from scipy.sparse import csr_matrix

    features, total = _Features(), csr_matrix((lattice.n_spots, 0), dtype=np.int64)
    n = n_good = n_on = 0
    for block in _blocks(points, columns.all(), key):
        n += len(block)
        block = _good(block, columns.quality, key)
        n_good += len(block)
        numbers = features.of(block[columns.feature])
        if columns.is_gene is not None:
            features.no_genes |= set(block.loc[~block[columns.is_gene].astype(bool), columns.feature].unique())
        at = block[["x", "y"]].to_numpy(np.float64) @ to_image[:2, :2].T + to_image[:2, 2]
        on = (at >= 0).all(axis=1) & (at < size_px).all(axis=1)
        n_on += int(on.sum())
        spots = np.where(on, lattice.spots_of(at), -1)
        total.resize(lattice.n_spots, len(features.numbers))
        total = total + count_points(spots, numbers, n_spots=lattice.n_spots, n_features=len(features.numbers))
    _check_all(key, n=n, n_good=n_good, n_on=n_on, size_px=size_px, quality=columns.quality)
    return _genes(total, features, key, n_good=n_good)


def _check_all(
    key: str, *, n: int, n_good: int, n_on: int, size_px: tuple[int, int], quality: Mapping[str, float]
) -> None:
    """Refuse transcripts that are none, or lie off the image; say how many are left out."""
    where = f"sdata.points[{key!r}]"
    least = ", ".join(f"{name} < {value:g}" for name, value in quality.items())
    if not n_good:
        raise InputError(
            f"points {key!r} hold {n:,} transcripts" + (f", all with {least}" if n else ""),
            where=where,
            expected="transcripts of sufficient quality",
            remedy="pass a lower min_quality, or min_quality={} for none"
            if n
            else "give the points of the transcripts",
        )
    if n_on < n_good / 2:
        raise InputError(
            f"{n_good - n_on:,} of {n_good:,} transcripts lie off the image of {size_px[0]} x {size_px[1]} px",
            where=where,
            expected="transcripts that lie on the H&E image",
            remedy="give the H&E image of this section, and its transformation: spatialdata.transformations."
            "set_transformation(image, affine, to_coordinate_system='global')",
        )
    if n_good < n:
        logger.info("%s of %s transcripts are left out: %s", f"{n - n_good:,}", f"{n:,}", least)
    if n_on < n_good:
        logger.warning(
            "%s of %s transcripts lie off the image, and are in no spot", f"{n_good - n_on:,}", f"{n_good:,}"
        )


def _genes(counts: csr_matrix, features: _Features, key: str, *, n_good: int) -> Counted:
    """The counts of genes alone, by name; says how many transcripts are in spots, and which features are no genes."""
    names = np.array(list(features.numbers), np.str_)
    genes = np.array([name not in features.no_genes and names_gene(name) for name in names], bool)
    if not genes.any():
        raise InputError(
            f"none of the {len(names)} features of points {key!r} is a gene, for example {names[:1].tolist()}",
            where=f"sdata.points[{key!r}]",
            expected="transcripts of genes",
            remedy="name the column of genes: feature_key=...",
        )
    if not genes.all():
        left = np.sort(names[~genes])
        logger.info(
            "%d of %d features are not genes and are left out: %s%s",
            len(left), len(names), ", ".join(left[:3]), ", ..." if len(left) > 3 else "",
        )  # fmt: skip
    order = np.flatnonzero(genes)[np.argsort(names[genes])]
    logger.info(
        "%s of %s transcripts lie in spots: %s of genes, %s of controls",
        f"{counts.sum():,}", f"{n_good:,}", f"{counts[:, order].sum():,}", f"{counts[:, ~genes].sum():,}",
    )  # fmt: skip
    return Counted(counts[:, order], names[order])


def find_columns(points: Any, key: str, feature_key: str | None, min_quality: Mapping[str, float] | None) -> Columns:
    """Settle the columns of a table of transcripts.

    Parameters
    ----------
    points, key
        A Dask table and its name, for messages.
    feature_key
        Column of features; ``None``: the one that spatialdata notes, or one that is named like it.
    min_quality
        Least value by column; ``None``: 20 for ``qv``, where there is such a column.

    Raises
    ------
    InputError
        If a column is missing.
    """
    known = {str(name): column_name(name) for name in points.columns}
    noted = (points.attrs.get("spatialdata_attrs") or {}).get("feature_key")
    feature = feature_key or noted or next((own for word in _FEATURE for own in known if known[own] == word), None)
    quality = {name: least for name, least in _QUALITY.items() if name in known} if min_quality is None else min_quality
    for where, name in (("feature_key", feature), *(("min_quality", name) for name in quality)):
        if name not in known:
            raise InputError(
                f"points {key!r} have no column " + (repr(name) if name else "of genes with a known name"),
                where=where,
                expected=f"one of {', '.join(known)}",
                remedy=f"correct {where}" if name else "name the column of genes: feature_key=...",
            )
    return Columns(str(feature), next((own for own in known if known[own] == _IS_GENE), None), dict(quality))


def _blocks(points: Any, columns: list[str], key: str) -> Iterator[pd.DataFrame]:
    """The transcripts, a part of the Dask table at a time, and of a large part a block at a time."""
    with progress_bar(points.npartitions, f"pool {key}", unit="part") as bar:
        for number in range(points.npartitions):
            part = points.get_partition(number)[columns].compute(scheduler="synchronous")
            for start in range(0, len(part), _BLOCK):
                yield part.iloc[start : start + _BLOCK]
            bar.update()


def _good(block: pd.DataFrame, quality: Mapping[str, float], key: str) -> pd.DataFrame:
    """The transcripts whose quality is sufficient."""
    for name, least in quality.items():
        if block[name].dtype.kind not in "iuf":
            raise InputError(
                f"column {name!r} of points {key!r} holds no numbers",
                where="min_quality",
                expected="names of columns of numbers",
                remedy="correct min_quality, or min_quality={} for none",
            )
        block = block[block[name] >= least]
    return block
