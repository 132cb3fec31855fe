"""Which columns of a table of transcripts are read: that of the gene, and those of quality. Reads no transcript."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict._spatialdata.columns import column_name
from st_predict._spatialdata.feature_types import names_types
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FEATURE = ("featurename", "gene", "target", "geneid", "genename", "feature")  # as :func:`column_name` has them
_IS_GENE = "isgene"
_QUALITY = {"qv": 20.0}
"""Phred score below which 10x leaves transcripts out of its own matrices of Xenium."""
_IDS, _NUMBERS = ("cellid", "transcriptid"), "biufcmM"


class Columns(NamedTuple):
    """Columns of a table of transcripts."""

    feature: str
    is_gene: str | None
    """Marks of what is a gene, if there are any."""
    type: str | None
    """Types of features, if there are any."""
    quality: dict[str, float]

    def all(self) -> list[str]:
        told = [name for name in (self.is_gene, self.type) if name is not None]
        return list(dict.fromkeys(["x", "y", self.feature, *told, *self.quality]))


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
        If a column is missing, that of features holds numbers or ids of cells, or one of quality holds no numbers.
    """
    known = {str(name): column_name(name) for name in points.columns}
    noted = points.attrs.get("spatialdata_attrs") or {}
    feature = (
        feature_key
        or noted.get("feature_key")
        or next((own for word in _FEATURE for own in known if known[own] == word), None)
    )
    quality = {name: least for name, least in _QUALITY.items() if name in known} if min_quality is None else min_quality
    for where, name in (("feature_key", feature), *(("min_quality", name) for name in quality)):
        if name not in known:
            raise InputError(
                f"points {key!r} have no column " + (repr(name) if name else "of genes with a known name"),
                where=where,
                expected=f"one of {', '.join(known)}",
                remedy=f"correct {where}" if name else "name the column of genes: feature_key=...",
            )
    for name in quality:
        if points[name].dtype.kind not in "iuf":
            raise InputError(
                f"column {name!r} of points {key!r} holds no numbers",
                where="min_quality",
                expected="names of columns of numbers",
                remedy="correct min_quality, or min_quality={} for none",
            )
    held = points[feature].dtype
    if getattr(held, "categories", np.empty(0, object)).dtype.kind in _NUMBERS or held.kind in _NUMBERS:
        raise no_gene_column(key, feature, "it holds numbers")
    if feature == noted.get("instance_key") or known[str(feature)] in _IDS:
        raise no_gene_column(key, feature, "it names cells or transcripts")
    is_gene = next((own for own in known if known[own] == _IS_GENE), None)
    words = (own for own in known if own != feature and points[own].dtype.kind not in _NUMBERS)
    types = next((own for own in words if names_types(own)), None)
    return Columns(str(feature), is_gene, types, dict(quality))


def no_gene_column(points: str, column: object, why: str) -> InputError:
    """Make the error for a column that names no genes; ``why`` ends the sentence."""
    return InputError(
        f"column {column!r} of points {points!r} names no genes: {why}",
        where="feature_key",
        expected="a column with the name of the gene of each transcript, as text",
        remedy="name the column of genes, feature_key=...; leave out transcripts without a name; make ids of genes text",
    )
