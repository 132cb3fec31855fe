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
_WORDS = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}

# As scanpy, 10x's matrices and Bioconductor name it; such a column may as well hold biotypes, which say nothing here.
_TYPE_COLUMNS = ("feature_types", "feature_type", "Type", "type")
_EXPRESSION = "gene expression"
_OTHER_TYPES = {
    "antibody capture", "antigen capture", "crispr guide capture", "multiplexing capture", "custom", "peaks",
    "negative control probe", "negative control codeword", "unassigned codeword", "blank codeword",
    "deprecated codeword", "genomic control",
}  # fmt: skip
# Control probes of panels, where no column tells them: no gene has such a name.
_CONTROL = re.compile(
    r"(NegControl(Probe|Codeword)|UnassignedCodeword|DeprecatedCodeword|DEPRECATED_|antisense_|Intergenic_Region|"
    r"BLANK[-_]|Blank[-_]|NegPrb|NegProbe|SystemControl|FalseCode)"
)
_NAMED = 3


def own_spots(table: AnnData) -> NDArray[np.bool_]:
    """Rows that are spots on tissue ``(n_obs,)``: all, unless ``obs["in_tissue"]`` says otherwise.

    Raises
    ------
    InputError
        If the column cannot be understood, or no spot is in tissue.
    """
    if IN_TISSUE not in table.obs or table.obs[IN_TISSUE].isna().all():
        return np.ones(table.n_obs, bool)
    codes, values = table.obs[IN_TISSUE].factorize()  # -1: missing, as of a barcode without a position
    meant = [_WORDS.get(str(value).strip().lower()) for value in values]
    if None in meant:
        raise InputError(
            f"obs[{IN_TISSUE!r}] holds {str(values[meant.index(None)])!r}",
            where=f"obs[{IN_TISSUE!r}]",
            expected="1 or True for spots in tissue, 0 or False for the others",
            remedy=f"correct the column, or rename it if it means something else than Space Ranger's {IN_TISSUE}",
        )
    kept = np.array([*meant, False], bool)[codes]
    if not kept.any():
        raise InputError(
            f"none of the {len(kept)} spots is in tissue",
            where=f"obs[{IN_TISSUE!r}]",
            expected="1 or True for the spots in tissue",
            remedy="give positions and counts of the same section, or drop the column if it is wrong",
        )
    return kept


def own_genes(table: AnnData) -> NDArray[np.bool_]:
    """Columns that are genes ``(n_vars,)``: neither antibodies, hashtags and guides, nor control probes."""
    types, names = _feature_types(table), gene_names(table)
    kept = np.array([_CONTROL.match(name) is None for name in names], bool)
    return kept if types is None else kept & (types == _EXPRESSION)


def check_genes(table: AnnData) -> None:
    """Refuse a table without a single gene.

    Raises
    ------
    InputError
        With the types of its features.
    """
    if table.n_vars and not own_genes(table).any():
        types = _feature_types(table)
        found = "all are control probes" if types is None else f"feature types: {', '.join(np.unique(types)[:5])}"
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
    counts = widened(counts.tocsr() if hasattr(counts, "tocsr") else np.asarray(counts))
    if not spots.all():
        counts = counts[spots]
    return counts if genes.all() else counts[:, genes]


def widened(counts: Any) -> Any:
    """Counts as they are, but those of a byte or two as float32: half floats end at 65,504, and SciPy knows none."""
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
        unknown = int(table.obs[IN_TISSUE].isna().sum()) if IN_TISSUE in table.obs else 0
        logger.warning(
            "%d of the %d spots of %s are left out: %d not in tissue%s (obs[%r])",
            (~spots).sum(), len(spots), name, (~spots).sum() - unknown,
            f", {unknown} without a value" if unknown else "", IN_TISSUE,
        )  # fmt: skip
    if features and not (genes := own_genes(table)).all():
        lost, types = gene_names(table)[~genes], _feature_types(table)
        kinds = [] if types is None else sorted({kind or "no type" for kind in types[~genes]} - {_EXPRESSION})
        logger.warning(
            "%d of the %d features of %s are left out of everything, as they are no genes (%s): %s%s",
            len(lost), len(genes), name, ", ".join(kinds[:_NAMED]) or "control probes",
            ", ".join(lost[:_NAMED]), ", ..." if len(lost) > _NAMED else "",
        )  # fmt: skip


def _feature_types(table: AnnData) -> NDArray[np.str_] | None:
    """Type of every feature in lower case ``(n_vars,)``, ``""`` where it is missing; ``None`` where no column tells."""
    for column in _TYPE_COLUMNS:
        if column in table.var:
            values: pd.Series = table.var[column].astype(object)
            words = values.where(values.notna(), "").astype(str).str.strip().str.lower().str.replace("_", " ")
            if _EXPRESSION in set(words) or set(words) <= _OTHER_TYPES:
                return words.to_numpy(np.str_)
    return None
