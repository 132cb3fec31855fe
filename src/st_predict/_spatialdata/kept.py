"""Which rows and columns of a table are the section's: spots on tissue, and genes; whoever wrote the table.

Everything that reads or writes rows or columns of a table goes by these masks, so that both stay in line.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.errors import InputError
from st_predict.core.gene_names import clean_name

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

logger = logging.getLogger("st_predict")

IN_TISSUE = "in_tissue"
_TISSUE = ("intissue", "ontissue", "undertissue", "istissue")  # as :func:`plain_name` has them
_MAYBE_TISSUE = ("tissue", "selected")
_TRUE, _FALSE = {"true", "t", "yes", "y"}, {"false", "f", "no", "n"}

# As scanpy, muon, 10x's matrices and Bioconductor name it; such a column may as well hold biotypes, which say nothing here.
_TYPE_COLUMNS = re.compile(r"(feature|var)?(types?|category|modality|biotype)")
_EXPRESSION = "gene expression"
_GENES = {_EXPRESSION, "gene", "genes", "rna", "mrna", "gex", "expression", "transcript", "endogenous"}
_NO_GENES = {
    "antibody capture", "antigen capture", "crispr guide capture", "multiplexing capture", "negative control probe",
    "negative control codeword", "unassigned codeword", "blank codeword", "deprecated codeword", "genomic control",
    "protein expression", "spike in",
}  # fmt: skip
# These may mean something else, but not where every word of the column is known.
_OR_ELSE = {
    "custom", "peaks", "protein", "proteins", "prot", "adt", "hto", "antibody", "antibodies", "hashtag", "guide",
    "atac", "negative control", "control probe", "control", "blank",
}  # fmt: skip
# Control probes of panels, where no column tells them: no gene has such a name.
_CONTROL = re.compile(
    r"(NegControl(Probe|Codeword)|UnassignedCodeword|DeprecatedCodeword|DEPRECATED_|antisense_|Intergenic_Region|"
    r"BLANK[-_]|Blank[-_]|NegPrb|NegProbe|SystemControl|FalseCode)"
)
_NAMED = 3


def own_spots(table: AnnData) -> NDArray[np.bool_]:
    """Rows that are spots on tissue ``(n_obs,)``: all, unless ``obs["in_tissue"]`` says otherwise, or one named like it.

    Raises
    ------
    InputError
        If the column cannot be understood, or no spot is in tissue.
    """
    column = tissue_column(table)
    if column is None:
        return np.ones(table.n_obs, bool)
    codes, values = table.obs[column].factorize()  # -1: missing, as of a barcode without a position
    meant = [_meaning(value) for value in values]
    if None in meant:
        raise InputError(
            f"obs[{column!r}] holds {str(values[meant.index(None)])!r}",
            where=f"obs[{column!r}]",
            expected="1 or True for spots in tissue, 0 or False for the others",
            remedy=f"correct the column, or rename it if it means something else than Space Ranger's {IN_TISSUE}",
        )
    kept = np.array([*meant, False], bool)[codes]
    if not kept.any():
        raise InputError(
            f"none of the {len(kept)} spots is in tissue",
            where=f"obs[{column!r}]",
            expected="1 or True for the spots in tissue",
            remedy="give positions and counts of the same section, or drop the column if it is wrong",
        )
    return kept


def tissue_column(table: AnnData) -> str | None:
    """The column that tells which spots are in tissue; ``None`` where there is none, or it is empty.

    ``tissue`` and ``selected`` hold names or a user's own choice as well: they count if they are of both marks alone.
    """
    named: dict[str, str] = {}
    for column in table.obs.columns:
        named.setdefault(plain_name(column), column)
    columns = [c for c in (IN_TISSUE, *(named.get(name) for name in _TISSUE)) if c in table.obs]
    for column in columns:
        if not table.obs[column].isna().all():
            return str(column)
    for name in _MAYBE_TISSUE:
        if name in named and {_meaning(value) for value in table.obs[named[name]].dropna().unique()} == {True, False}:
            return str(named[name])
    return None


def _meaning(value: object) -> bool | None:
    """Yes or no, however it is written; ``None`` for anything else."""
    word = (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip().lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    try:
        return {0.0: False, 1.0: True}.get(float(word))
    except ValueError:
        return None


def own_genes(table: AnnData) -> NDArray[np.bool_]:
    """Columns that are genes ``(n_vars,)``: neither antibodies, hashtags and guides, nor control probes."""
    kept = np.array([_CONTROL.match(name) is None for name in gene_names(table)], bool)
    return kept & (_no_genes(table) == "")


def check_genes(table: AnnData) -> None:
    """Refuse a table without a single gene.

    Raises
    ------
    InputError
        With the types of its features.
    """
    if table.n_vars and not own_genes(table).any():
        types = sorted(set(_no_genes(table)) - {""})
        found = f"feature types: {', '.join(types[:5])}" if types else "all are control probes"
        raise InputError(
            f"none of the {table.n_vars} features is a gene ({found})",
            where="var",
            expected="a table of gene expression",
            remedy="give the table of gene expression",
        )


def gene_names(table: AnnData) -> NDArray[np.str_]:
    """Names of all columns ``(n_vars,)``, without the byte-order mark and blanks that text files leave around them."""
    names: NDArray[np.str_] = np.array([clean_name(name) for name in table.var_names], np.str_)
    return names


def own_counts(counts: Any, spots: NDArray[np.bool_], genes: NDArray[np.bool_]) -> Any:
    """The section's part of a matrix ``(n_obs, n_vars)``, CSR or dense, in a type that counts can be added up in."""
    if hasattr(counts, "compute"):  # of dask, whose blocks may be sparse
        counts = counts.compute()
    counts = widened(counts.tocsr() if hasattr(counts, "tocsr") else np.asarray(counts))
    if not spots.all():
        counts = counts[spots]
    return counts if genes.all() else counts[:, genes]


def widened(counts: Any) -> Any:
    """Counts as they are, but those of a byte or two as float32: half floats end at 65,504, and SciPy knows none.

    Numbers that are objects become float64; what is no number stays, and is refused as a count.
    """
    if counts.dtype.kind == "O":
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
    if not (spots := own_spots(table)).all():
        column = tissue_column(table)
        unknown = int(table.obs[column].isna().sum())
        logger.warning(
            "%d of the %d spots of %s are left out: %d not in tissue%s (obs[%r])",
            (~spots).sum(), len(spots), name, (~spots).sum() - unknown,
            f", {unknown} without a value" if unknown else "", column,
        )  # fmt: skip
    if features and not (genes := own_genes(table)).all():
        lost, kinds = gene_names(table)[~genes], sorted(set(_no_genes(table)) - {""})
        logger.warning(
            "%d of the %d features of %s are left out of everything, as they are no genes (%s): %s%s",
            len(lost), len(genes), name, ", ".join(kinds[:_NAMED]) or "control probes",
            ", ".join(lost[:_NAMED]), ", ..." if len(lost) > _NAMED else "",
        )  # fmt: skip


def plain_name(name: object) -> str:
    """Name of a column without case and what parts its words: ``sampleID``, ``Sample.Id`` and ``sample_id`` are one."""
    return re.sub(r"[\W_]+", "", str(name)).lower()


def _words(values: pd.Series) -> pd.Series:
    """Values as words in lower case, ``""`` where they are missing."""
    values = values.astype(object)
    texts = values.where(values.notna(), "").map(
        lambda v: v.decode(errors="replace") if isinstance(v, bytes) else str(v)
    )
    return texts.str.lower().str.replace(r"[-_\s]+", " ", regex=True).str.strip()


def _no_genes(table: AnnData) -> NDArray[np.str_]:
    """What every feature is that is no gene, in words ``(n_vars,)``; ``""`` where it is one, or no column tells.

    A column tells if one of its words is certain, or if all are known. Features without a type are no genes beside
    "gene expression", and genes beside what is none.
    """
    out = np.full(table.n_vars, "", object)
    for column in table.var.columns:
        if not _TYPE_COLUMNS.fullmatch(plain_name(column)):
            continue
        words = _words(table.var[column])
        found = set(words)
        if not (found & {_EXPRESSION, *_NO_GENES} or found <= {"", *_GENES, *_OR_ELSE}):
            continue
        gene = words.isin(_GENES) if _EXPRESSION in found else ~words.isin(_NO_GENES | _OR_ELSE)
        out = np.where((out == "") & ~gene.to_numpy(bool), words.where(words != "", "no type"), out)
    return out.astype(np.str_)
