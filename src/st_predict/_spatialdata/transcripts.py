"""Transcripts counted in spots, a block of them at a time, whatever the size of the section."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict._spatialdata.columns import check_marks, comparable, marked
from st_predict._spatialdata.feature_types import kinds_of
from st_predict._spatialdata.kept import names_gene
from st_predict._spatialdata.transcript_columns import Columns, no_gene_column
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
_BLOCK = 2_000_000  # transcripts at a time, some 300 MB
_FEW = 100  # transcripts, each of which may be of a gene of its own
_AS_TEXT = {"<NA>", "None", "nan"}  # what spatialdata makes of a missing name where it makes a column text
_ONE_IN, _FEW_SEEN = 64, 20  # transcripts that are looked at, to see whether all are there twice


class Counted(NamedTuple):
    """Counts of genes in spots."""

    counts: csr_matrix
    """``(n_spots, n_genes)``."""
    genes: NDArray[np.str_]


class _Features:
    """Numbers of feature names, given out as they come; the same name has one number in all blocks."""

    def __init__(self, points: str) -> None:
        self.points = points
        self.numbers: dict[str, int] = {}
        self.no_genes: set[int] = set()
        self.typed: set[tuple[int, object]] = set()
        self.n_named = 0

    def of(self, values: pd.Series) -> NDArray[np.int64]:
        """A number for every transcript ``(n,)``; -1 where its feature is missing.

        Raises
        ------
        InputError
            If a feature has no name, or each transcript one of its own.
        """
        codes, names = values.factorize()
        told = [
            clean_name(name.decode(errors="backslashreplace") if isinstance(name, bytes) else name) for name in names
        ]
        if not all(told):
            nameless = names[told.index("")]
            raise no_gene_column(self.points, values.name, f"a transcript is of the gene {nameless!r}")
        given = [-1 if name in _AS_TEXT else self.numbers.setdefault(name, len(self.numbers)) for name in told]
        numbers = np.array([*given, -1], np.int64)[codes]
        self.n_named += int((numbers >= 0).sum())
        if len(self.numbers) == self.n_named >= _FEW:
            raise no_gene_column(self.points, values.name, f"it names each of {self.n_named:,} transcripts otherwise")
        return numbers

    def tell(self, block: pd.DataFrame, numbers: NDArray[np.int64], columns: Columns) -> None:
        """Take in what columns say of the features of transcripts: whether they are genes, and their types.

        Raises
        ------
        InputError
            If it is neither yes nor no whether one is a gene.
        """
        if columns.is_gene is not None:
            where = f"sdata.points[{self.points!r}][{columns.is_gene!r}]"
            check_marks(block[columns.is_gene], where, of="transcripts of genes", meant="is_gene of 10x")
            self.no_genes.update(numbers[marked(block[columns.is_gene], yes=False)].tolist())
        if columns.type is not None:
            told = comparable(block[columns.type]).to_frame().assign(number=numbers).dropna().drop_duplicates()
            self.typed.update(zip(told["number"].tolist(), told[columns.type].tolist(), strict=True))

    def are_genes(self, type_column: str | None) -> NDArray[np.bool_]:
        """Which features are genes, by their names and what columns say of them ``(n_features,)``."""
        import pandas as pd

        numbers, types = zip(*self.typed, strict=True) if self.typed else ((), ())
        kinds = kinds_of(pd.Series(types, name=type_column, dtype=object))
        no_genes = self.no_genes.union(np.array(numbers, np.int64)[kinds != ""].tolist())
        return np.array([number not in no_genes and names_gene(name) for name, number in self.numbers.items()], bool)


class _Twins:
    """Whether all transcripts are there more than once, by some of them: those whose digest ends in zeros."""

    def __init__(self) -> None:
        self.seen: list[NDArray[np.uint64]] = []

    def add(self, block: pd.DataFrame, features: NDArray[np.int64]) -> None:
        from pandas.util import hash_array

        columns = block["x"].to_numpy(np.float64), block["y"].to_numpy(np.float64), features
        digest = np.zeros(len(block), np.uint64)
        for values in columns:
            digest = digest * np.uint64(31) + hash_array(values)
        self.seen.append(digest[digest % np.uint64(_ONE_IN) == 0])

    def check(self, points: str) -> None:
        """Refuse transcripts of which each is there more than once."""
        _, times = np.unique(np.concatenate(self.seen), return_counts=True)
        if len(times) >= _FEW_SEEN and times.min() > 1:
            raise InputError(
                f"each transcript of points {points!r} is there {times.min()} times, with one place and one gene",
                where=f"sdata.points[{points!r}]",
                expected="each transcript once",
                remedy="leave out what is there twice: it looks as if a table was put together with itself",
            )


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

    features, twins, total = _Features(key), _Twins(), csr_matrix((lattice.n_spots, 0), dtype=np.int64)
    n = n_good = n_on = 0
    for block in _blocks(points, columns.all(), key):
        n += len(block)
        for name, least in columns.quality.items():
            block = block[block[name] >= least]
        n_good += len(block)
        numbers = features.of(block[columns.feature])
        twins.add(block, numbers)
        features.tell(block, numbers, columns)
        at = block[["x", "y"]].to_numpy(np.float64) @ to_image[:2, :2].T + to_image[:2, 2]
        on = (at >= 0).all(axis=1) & (at < size_px).all(axis=1)
        n_on += int(on.sum())
        spots = np.where(on, lattice.spots_of(at), -1)
        total.resize(lattice.n_spots, len(features.numbers))
        total = total + count_points(spots, numbers, n_spots=lattice.n_spots, n_features=len(features.numbers))
    _check_all(key, n=n, n_good=n_good, n_on=n_on, size_px=size_px, quality=columns.quality)
    twins.check(key)
    if features.n_named < n_good:
        logger.warning(
            "%s of %s transcripts name no feature and are left out: the name is missing, or one of the texts %s",
            f"{n_good - features.n_named:,}", f"{n_good:,}", ", ".join(sorted(_AS_TEXT)),
        )  # fmt: skip
    return _genes(total, features, features.are_genes(columns.type), key, n_good=n_good)


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


def _genes(counts: csr_matrix, features: _Features, genes: NDArray[np.bool_], key: str, *, n_good: int) -> Counted:
    """The counts of genes alone, by name; says how many transcripts are in spots, and which features are no genes."""
    names = np.array(list(features.numbers), np.str_)
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
    _say_case(names[genes])
    order = np.flatnonzero(genes)[np.argsort(names[genes])]
    logger.info(
        "%s of %s transcripts lie in spots: %s of genes, %s of controls",
        f"{counts.sum():,}", f"{n_good:,}", f"{counts[:, order].sum():,}", f"{counts[:, ~genes].sum():,}",
    )  # fmt: skip
    return Counted(counts[:, order], names[order])


def _say_case(names: NDArray[np.str_]) -> None:
    """Say which genes have names that differ from another one's by case alone."""
    alike: dict[str, str] = {}
    twins = [(alike[low], name) for name in names.tolist() if alike.setdefault(low := name.casefold(), name) != name]
    if twins:
        logger.warning(
            "%d genes have names that differ from others by upper and lower case only, and are counted apart: %s and %s",
            len(twins), *twins[0],
        )  # fmt: skip


def _blocks(points: Any, columns: list[str], key: str) -> Iterator[pd.DataFrame]:
    """The transcripts, a part of the Dask table at a time, and of a large part a block at a time."""
    with progress_bar(points.npartitions, f"pool {key}", unit="part") as bar:
        for number in range(points.npartitions):
            part = points.get_partition(number)[columns].compute(scheduler="synchronous")
            for start in range(0, len(part), _BLOCK):
                yield part.iloc[start : start + _BLOCK]
            bar.update()
