"""Which features are no genes: antibodies, hashtags, guides, spike-ins and controls, as tables of all makers name them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from st_predict._spatialdata.columns import column_name, comparable, plain_word, yes_or_no

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

# As scanpy, muon, 10x's matrices and Bioconductor name it; such a column may as well hold biotypes, which say nothing here.
_TYPE_COLUMNS = re.compile(
    r"(feature|var|gene|probe|library|data|code|codeword|target)?(types?|class(es)?|category|modality|biotype)|mod|assay"
)
_FLAGS = re.compile(
    r"iscontrol|(is)?(antibody|antibodies|adt|hto|hashtag|negativecontrol|controlprobe|negprobe|spikein)"
)
_EXPRESSION, _ENDOGENOUS = "gene expression", "endogenous"
_GENES = {
    _EXPRESSION, "gene", "genes", "rna", "mrna", "gex", "expression", "transcript", "transcriptome", _ENDOGENOUS,
    "housekeeping",
}  # fmt: skip
# These mean one thing in any column that holds a few words, whatever is said of them besides.
_CERTAIN = re.compile(
    r"\b((antibody|antigen|crispr guide|multiplexing) capture|negative control (probe|codeword)|"
    r"(unassigned|blank|deprecated) codeword)\b"
)
_NO_GENES = re.compile(rf"{_CERTAIN.pattern}|\b(genomic control|protein expression|spike in)\b")
# These may mean something else, but not where every word of the column is known.
_OR_ELSE = {
    "peaks", "protein", "proteins", "prot", "adt", "hto", "antibody", "antibodies", "hashtag", "guide",
    "atac", "negative control", "control probe", "control", "blank",
}  # fmt: skip
_REMARK = re.compile(r" ?\(.*\)$")
_FEW = 20  # kinds of features; a column with more describes them


def no_genes(table: AnnData) -> NDArray[np.str_]:
    """What every feature is that is no gene, in words ``(n_vars,)``; ``""`` where it is one, or no column tells.

    A column tells if one of its words is certain, or if it is named as one of types and all its words are known; so does
    one of marks that is named after what is no gene. Features without a type are no genes beside "gene expression", and
    genes beside what is none.
    """
    out = np.full(table.n_vars, "", object)
    for column in table.var.columns:
        for kinds in (kinds_of(table.var[column]), _flagged(table.var[column])):
            out = np.where(out == "", kinds, out)
    return out.astype(np.str_)


def names_types(name: object) -> bool:
    """Whether a column is named as one of types of features."""
    return _TYPE_COLUMNS.fullmatch(column_name(name)) is not None


def kinds_of(values: pd.Series) -> NDArray[np.object_]:
    """What features are that are no genes, by a column of types; ``""`` for all where it is none."""
    nothing = np.full(len(values), "", object)
    if values.dtype.kind in "biuf" or comparable(values).nunique() > _FEW:
        return nothing
    words = values.astype(object).where(values.notna(), "").map(plain_word)
    found = set(words)
    none = {word for word in found if _NO_GENES.search(word)}
    named = names_types(values.name)
    panel = _ENDOGENOUS in found and any(word.startswith(("negative", "positive")) for word in found)  # of NanoString
    known = named and (none or _EXPRESSION in found or found <= {"", *_GENES, *_OR_ELSE})
    alone = any(_CERTAIN.fullmatch(_REMARK.sub("", word)) for word in none)  # and no word of a sentence
    if not (known or panel or alone):
        return nothing
    gene = words.isin(_GENES) if _EXPRESSION in found or panel else ~words.isin(none | _OR_ELSE)
    return np.where(gene.to_numpy(bool), "", words.where(words != "", "no type"))


def _flagged(values: pd.Series) -> NDArray[np.object_]:
    """The name of a column of marks for what is no gene, where it marks some features and not others."""
    name, nothing = column_name(values.name), np.full(len(values), "", object)
    if not _FLAGS.fullmatch(name) or {yes_or_no(value) for value in comparable(values).unique()} - {None} != {
        True,
        False,
    }:
        return nothing
    return np.where(values.map(yes_or_no).eq(True).to_numpy(bool), name.removeprefix("is"), nothing)
