"""Which rows and columns of a table are the section's: spots on tissue, and genes; whoever wrote the table.

Everything that reads or writes rows or columns of a table goes by these masks, so that both stay in line.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict._spatialdata.columns import (
    check_columns,
    check_marks,
    empty_tissue_column,
    is_choice,
    marked,
    tissue_columns,
    yes_or_no,
)
from st_predict._spatialdata.feature_types import no_genes
from st_predict.core.checks import unmasked
from st_predict.core.errors import InputError
from st_predict.core.gene_names import clean_name, names_like

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

logger = logging.getLogger("st_predict")

# Control probes of panels, spike-ins, hashtags and what counters add, where no column tells them: no gene has such a name.
_CONTROL = re.compile(
    r"(NegControl(Probe|Codeword)|UnassignedCodeword|DeprecatedCodeword|DEPRECATED_|antisense_|Intergenic_Region|"
    r"(BLANK|Blank|blank)[-_]|NegPrb|NegProbe|SystemControl|FalseCode|Neg(ative)?[-_ ]?(Control[-_ ]?)?\d+$|"
    r"ERCC-\d{5}$|[Hh]ash[Tt]ag[-_]?\d|\w+_TotalSeq|__(ambiguous|no_feature|not_aligned|too_low_aQual|alignment_not_unique)$|"
    r"N_(unmapped|multimapping|noFeature|ambiguous)$)"
)
_NAMED = 3


def own_spots(table: AnnData) -> NDArray[np.bool_]:
    """Rows that are spots on tissue ``(n_obs,)``: all, unless ``obs["in_tissue"]`` says otherwise, or one named like it.

    Raises
    ------
    InputError
        If the column cannot be understood, or no spot is in tissue.
    """
    return spots_in_tissue(table.obs, "obs")


def spots_in_tissue(frame: pd.DataFrame, where: str) -> NDArray[np.bool_]:
    """Rows of a table of spots that are on tissue ``(n,)``, by the first column that tells, see :func:`own_spots`."""
    columns = tissue_columns(frame)
    if not columns:
        return np.ones(len(frame), bool)
    column, positive = columns[0]
    check_marks(frame[column], f"{where}[{column!r}]", of="spots in tissue", meant="Space Ranger's in_tissue")
    kept = marked(frame[column], yes=positive)
    if not kept.any():
        raise InputError(
            f"none of the {len(kept)} spots is in tissue",
            where=f"{where}[{column!r}]",
            expected="1 or True for the spots in tissue",
            remedy="give positions and counts of the same section, or drop the column if it is wrong",
        )
    return kept


def own_genes(table: AnnData) -> NDArray[np.bool_]:
    """Columns that are genes ``(n_vars,)``: neither antibodies, hashtags and guides, nor control probes."""
    kept = np.array([names_gene(name) for name in gene_names(table)], bool)
    return kept & (no_genes(table) == "")


def names_gene(name: str) -> bool:
    """Whether a feature may be a gene by its name: no control probe, spike-in or hashtag has such a one."""
    return _CONTROL.match(name) is None


def check_genes(table: AnnData) -> None:
    """Refuse a table without a single gene.

    Raises
    ------
    InputError
        With the types of its features.
    """
    if not table.n_vars:
        raise InputError(
            "the table has no genes",
            where="var",
            expected="a table of gene expression",
            remedy="give the table of gene expression",
        )
    if not own_genes(table).any():
        types = sorted(set(no_genes(table)) - {""})
        found = f"feature types: {', '.join(types[:5])}" if types else "all are control probes"
        raise InputError(
            f"none of the {table.n_vars} features is a gene ({found})",
            where="var",
            expected="a table of gene expression",
            remedy="give the table of gene expression",
        )


def check_named(table: AnnData, own: str) -> None:
    """Refuse a table with a spot or a gene that has no name, or columns of one name; ``own`` is what the user calls it.

    Raises
    ------
    InputError
        With how many have none, and the first of them.
    """
    check_columns(table.obs, f"{own}.obs")
    check_columns(table.var, f"{own}.var")
    genes = gene_names(table)[own_genes(table)]
    for axis, what, names in (("obs_names", "spot ids", table.obs_names), ("var_names", "genes", genes)):
        nameless = [number for number, name in enumerate(names, start=1) if not clean_name(name)]
        if nameless:
            raise InputError(
                f"{len(nameless)} of {len(names)} {what} have no name, for example number {nameless[0]}",
                where=f"{own}.{axis}",
                expected="a name for each, as text that files can hold",
                remedy=f"name them, {own}.{axis} = [...], or leave them out",
            )


def check_distinct(names: pd.Index, axis: str, own: str) -> None:
    """Refuse names of rows (``"obs_names"``) or columns that come twice; ``own`` is what the user calls the table."""
    twice = names[names.duplicated()].unique()
    if len(twice):
        raise InputError(
            f"{len(twice)} {'spot ids' if axis == 'obs_names' else 'genes'} occur twice, for example {twice[0]!r}",
            where=f"{own}.{axis}",
            expected="distinct names",
            remedy=f"make them distinct, {own}.{axis}_make_unique(), or sum the duplicates",
        )


def gene_names(table: AnnData) -> NDArray[np.str_]:
    """Names of all columns ``(n_vars,)``, without the byte-order mark and blanks that text files leave around them."""
    names: NDArray[np.str_] = np.array([clean_name(name) for name in table.var_names], np.str_)
    return names


def other_names(table: AnnData) -> dict[str, NDArray[np.str_]]:
    """Text of ``var``, by column, that may name genes ``(n_vars,)``: ids beside symbols, or the other way round."""
    from pandas.api.types import is_numeric_dtype

    columns = {str(name): values for name, values in table.var.items() if not is_numeric_dtype(values.dtype)}
    found = {f"var[{name!r}]": [clean_name(one) for one in values] for name, values in columns.items()}
    return {place: np.array(names, np.str_) for place, names in found.items() if len(set(names)) > len(names) / 2}


def names_of_genes(table: AnnData, wanted: Iterable[str]) -> NDArray[np.str_]:
    """Names of all columns ``(n_vars,)`` by those of ``var_names`` and ``var`` that find most of the genes wanted."""
    return names_like({"var_names": gene_names(table), **other_names(table)}, wanted)[1]


def gene_columns(table: AnnData, genes: Sequence[str | None]) -> NDArray[np.intp]:
    """Column of every gene, -1 where the table does not have it; a feature of the same name that is no gene is not it."""
    places = np.flatnonzero(own_genes(table))
    names = names_of_genes(table, [gene for gene in genes if gene is not None])
    found = {str(name): place for name, place in zip(names[places], places, strict=True)}
    return np.array([-1 if gene is None else found.get(gene, -1) for gene in genes], np.intp)


def in_memory(matrix: Any) -> Any:
    """A matrix as NumPy or SciPy has it."""
    if hasattr(matrix, "compute"):  # of dask, whose blocks may be sparse
        matrix = matrix.compute()
    if hasattr(matrix, "to_memory"):  # of a table that is backed by a file
        matrix = matrix.to_memory()
    return matrix


def own_counts(counts: Any, spots: NDArray[np.bool_], genes: NDArray[np.bool_]) -> Any:
    """The section's part of a matrix ``(n_obs, n_vars)``, CSR or dense, in a type that counts can be added up in."""
    counts = widened(counts.tocsr() if hasattr(counts, "tocsr") else counts)
    if not spots.all():
        counts = counts[spots]
    return counts if genes.all() else counts[:, genes]


def widened(counts: Any) -> Any:
    """Counts as they are, but those of a byte or two as float32: half floats end at 65,504, and SciPy knows none.

    Numbers that are objects become float64, and those behind a mask NaN; what is no number stays, as True and False do,
    and is refused as a count.
    """
    if not hasattr(counts, "toarray"):
        counts = unmasked(counts)
    if counts.dtype.kind == "b":
        return counts
    if counts.dtype.kind == "O":
        values = counts.data if hasattr(counts, "toarray") else counts.ravel()
        if any(isinstance(value, (bool, np.bool_)) for value in values):
            return counts
        try:
            return counts.astype(np.float64)
        except (TypeError, ValueError):
            return counts
    return counts.astype(np.float32) if counts.dtype.itemsize < np.dtype(np.float32).itemsize else counts


def on_all_rows(table: AnnData, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of a section's own spots ``(n, ...)`` on all rows of its table ``(n_obs, ...)``, NaN in those left out."""
    spots = own_spots(table)
    if spots.all():
        return values
    out = np.full((len(spots), *values.shape[1:]), np.nan, values.dtype)
    out[spots] = values
    return out


def say_left_out(table: AnnData, name: str, *, features: bool) -> None:
    """Say which spots and, where counts are used, which features of a section are left out."""
    columns = tissue_columns(table.obs)
    if empty := empty_tissue_column(table.obs):
        logger.warning("obs[%r] of %s has no value: all %d spots are taken to be in tissue", empty, name, table.n_obs)
    if not (spots := own_spots(table)).all():
        column = columns[0][0]
        unknown = sum(yes_or_no(value) is None for value in table.obs[column])
        logger.warning(
            "%d of the %d spots of %s are left out: %d not in tissue%s (obs[%r])",
            (~spots).sum(), len(spots), name, (~spots).sum() - unknown,
            f", {unknown} without a value" if unknown else "", column,
        )  # fmt: skip
    for other, positive in columns[1:]:
        if not is_choice(other) and (off := marked(table.obs[other], yes=positive) != spots).any():
            logger.warning(
                "obs[%r] and obs[%r] of %s contradict each other on %d of %d spots; the first is used. Drop the wrong one",
                columns[0][0], other, name, off.sum(), len(spots),
            )  # fmt: skip
    if features and not (genes := own_genes(table)).all():
        lost, kinds = gene_names(table)[~genes], sorted(set(no_genes(table)) - {""})
        logger.warning(
            "%d of the %d features of %s are not genes (%s) and are left out everywhere: %s%s",
            len(lost), len(genes), name, ", ".join(kinds[:_NAMED]) or "control probes",
            ", ".join(lost[:_NAMED]), ", ..." if len(lost) > _NAMED else "",
        )  # fmt: skip
