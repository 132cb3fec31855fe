"""The table of a comparison: an ordinary DataFrame that carries the gene-level table and what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

COLUMNS = [
    "method", "fold", "section", "gene_set", "metric", "value",
    "n_spots", "n_spots_left_out", "networks", "inputs", "stopping", "epochs", "seconds", "seed", "version", "split",
]  # fmt: skip
_FIT = ("networks", "inputs", "stopping", "epochs", "seconds", "seed", "version")
_FAILED = ["method", "fold", "seed", "error"]


class ScoreTable(pd.DataFrame):
    """What :func:`st_predict.tl.cross_validate` returns; selecting from it gives plain DataFrames.

    Attributes
    ----------
    genes
        One row a method, fold, seed, section and gene.
    failures
        Folds that failed: ``method``, ``fold``, ``seed`` and ``error``.
    """

    _metadata: ClassVar[list[str]] = ["genes", "failures"]
    genes: pd.DataFrame
    failures: pd.DataFrame


def assemble(results: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]], *, split: str) -> ScoreTable:
    """One table from the results of all folds, see :func:`st_predict.core.protocol.fold.run_fold`."""
    rows, genes = [], []
    for result in results:
        shared = {"method": result["label"], "fold": result["fold"]}
        fit = {name: result[name] for name in _FIT}
        rows += [{**shared, **row, **fit, "split": split} for row in result["scores"]]
        genes.append(pd.DataFrame({**shared, "seed": result["seed"], **result["genes"]}))
    table = ScoreTable(pd.DataFrame(rows, columns=COLUMNS))
    table.genes = (
        pd.concat(genes, ignore_index=True) if genes else pd.DataFrame(columns=["method", "fold", "seed", "gene"])
    )
    table.failures = pd.DataFrame(failures, columns=_FAILED)
    return table
