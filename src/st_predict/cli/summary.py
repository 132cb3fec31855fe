"""The summary of a comparison: one row for each method, and whether it differs from ridge by more than noise.

Tables here are what ``st_predict.tl.cross_validate`` returned, with the folds that failed in ``.failures``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.protocol.verdict import judge

if TYPE_CHECKING:
    import pandas as pd

CONTROLS = {"mean": "training mean", "shuffled": "shuffled images", "ridge": "tuned ridge"}
"""Rows that are in every table, and what readers see; the last is what a deep method has to beat."""
REFERENCE = "ridge"
CEILING = "noise ceiling"
_METRICS = (
    "pcc_of_ceiling", "spearman", "mse", "relative_variance", "gene_correlation", "morans_i", "constant",
    "expected_rank_correlation", "covered90",
)  # fmt: skip
_VARIABLE = "hvg50"
_TEXTS = ("verdict", "networks", "inputs", "stopping")
TERMS = {"inputs": "inputs", "stopping": "chosen on held-out training sections"}
"""Columns that may be the same for all methods."""
DIGITS = {"constant": 0, "epochs": 0, "seconds": 1}
"""Decimals of columns that are no scores."""
COLUMNS = {
    "method": "method",
    "pcc": "PCC",
    "pcc_sd": "s.d.",
    "vs_ridge": "vs ridge",
    "vs_ridge_margin": "+/-",
    "verdict": "verdict",
    f"pcc_{_VARIABLE}": "50 HVG",
    "pcc_of_ceiling": "of ceiling",
    "spearman": "Spearman",
    "mse": "MSE",
    "relative_variance": "rel. var.",
    "gene_correlation": "gene-gene",
    "morans_i": "Moran's I",
    "expected_rank_correlation": "foreseen",
    "covered90": "within 90 %",
    "constant": "const.",
    "networks": "networks",
    "epochs": "epochs",
    "seconds": "seconds",
    "folds": "folds",
    **TERMS,
}
"""Columns of the summary, and their headings."""


def panel_of(table: pd.DataFrame) -> str:
    """The gene set of the scores, if no other is named."""
    return str(table["gene_set"].iloc[0]) if len(table) else ""


def by_seed(table: pd.DataFrame, metric: str, gene_set: str | None = None) -> pd.DataFrame:
    """Means over the sections of each fold.

    Returns
    -------
    Methods and folds x seeds, in the order of the table; NaN where a fold failed with any seed or has no such value.
    """
    import pandas as pd

    gene_set = panel_of(table) if gene_set is None else gene_set
    methods, folds = (list(dict.fromkeys([*table[c], *table.failures[c]])) for c in ("method", "fold"))
    rows = table[(table["metric"] == metric) & (table["gene_set"] == gene_set)]
    means = rows.groupby(["method", "fold", "seed"])["value"].mean().unstack("seed")
    found = means.reindex(pd.MultiIndex.from_product([methods, folds], names=["method", "fold"])).astype(np.float64)
    # A mean over the seeds that went well is another number than one over all.
    torn = table.failures[["method", "fold"]].itertuples(index=False, name=None)
    found.loc[found.index.isin(list(torn))] = np.nan
    return found


def by_fold(table: pd.DataFrame, metric: str, gene_set: str | None = None) -> pd.DataFrame:
    """Means over the sections, then the seeds, of each fold.

    Returns
    -------
    Methods x folds, both in the order of the table; NaN as in :func:`by_seed`.
    """
    means = by_seed(table, metric, gene_set).mean(axis=1)
    methods, folds = (list(dict.fromkeys(means.index.get_level_values(level))) for level in ("method", "fold"))
    return means.unstack("fold").reindex(index=methods, columns=folds)


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each method: best PCC first, methods with failed folds after the others, the noise ceiling last.

    Parameters
    ----------
    table
        What ``st_predict.tl.cross_validate`` returned.

    Returns
    -------
    A table with these columns. Scores are averaged over sections, then over seeds, then over folds: ``pcc`` with its s.d.
    over folds, ``pcc_hvg50``, ``pcc_of_ceiling``, ``spearman``, ``mse``, ``relative_variance``, ``gene_correlation`` and
    ``morans_i`` (both: agreement with the measured), ``expected_rank_correlation``, ``covered90``, ``constant`` (genes).
    ``vs_ridge`` is the difference of PCC in each fold, averaged over folds, and ``vs_ridge_margin`` half the width of its
    interval; for the ``verdict`` see :func:`st_predict.core.protocol.verdict.judge`. Further columns tell how each
    method was fitted: ``networks``, ``epochs``, ``seconds`` of a fit, ``inputs`` and ``stopping``; ``seeds`` and
    ``folds`` that were done, and ``folds_failed``. The attribute ``compared`` holds what :func:`counted` gives,
    ``failures`` the fits that failed.
    """
    import pandas as pd

    pcc = by_fold(table, "pcc")
    failed = table.failures.drop_duplicates(["method", "fold"])["method"].value_counts()
    columns = {
        "pcc": pcc.mean(axis=1),
        "pcc_sd": pcc.std(axis=1),
        **_against_ridge(by_seed(table, "pcc"), _had(table)["networks"]),
        f"pcc_{_VARIABLE}": by_fold(table, "pcc", _VARIABLE).mean(axis=1),
        **{metric: by_fold(table, metric).mean(axis=1) for metric in _METRICS},
        **_had(table),
        "folds": pcc.notna().sum(axis=1),
        "folds_failed": failed.reindex(pcc.index, fill_value=0),
    }
    rows = pd.DataFrame(columns)
    # A mean over other folds is another number: whoever failed in a hard fold would come out on top.
    rows = rows.sort_values("pcc", ascending=False, kind="stable", na_position="last")
    rows = rows.sort_values("folds", ascending=False, kind="stable")
    rows = pd.concat([rows, pd.DataFrame(_ceiling(table), index=[CEILING])])
    rows = rows.astype({"folds": int, "folds_failed": int}).fillna(dict.fromkeys(_TEXTS, ""))
    rows = rows.rename_axis("method").reset_index()
    rows.attrs = {"compared": counted(table), "failures": table.failures.to_dict("records")}
    return rows


def _had(table: pd.DataFrame) -> pd.DataFrame:
    """What each method had to work with, over all its fits."""
    import pandas as pd

    fits = table.drop_duplicates(["method", "fold", "seed"])
    methods = list(dict.fromkeys([*table["method"], *table.failures["method"]]))
    fits = fits.groupby("method")
    found = {
        **{name: fits[name].mean() for name in ("epochs", "seconds")},
        **{name: fits[name].agg(_each) for name in ("networks", *TERMS)},
        "seeds": fits["seed"].nunique(),
    }
    return pd.DataFrame(found).reindex(index=methods, columns=["networks", "epochs", "seconds", "seeds", *TERMS])


def _each(values: pd.Series) -> str:
    """All values that occur, each once."""
    return " or ".join(dict.fromkeys(str(value) for value in values))


def in_common(summary: pd.DataFrame) -> dict[str, str]:
    """Which of :data:`TERMS` are the same for all methods, or for all networks and for all methods in closed form."""
    found = {}
    methods = summary[(summary["method"] != CEILING) & summary["pcc"].notna()]
    for name in TERMS:
        closed = methods["networks"] == "0"
        kinds = methods[~closed], methods[closed]
        of_kinds = [list(dict.fromkeys(value for value in kind[name] if value)) for kind in kinds]
        if all(len(of_kind) <= 1 for of_kind in of_kinds):
            found[name] = "; in closed form: ".join(dict.fromkeys(of_kind[0] for of_kind in of_kinds if of_kind))
    return found


def shown_columns(summary: pd.DataFrame) -> list[str]:
    """Columns worth showing: those with a value, except those that a line above the table gives for all methods."""
    said = in_common(summary)
    return [c for c in COLUMNS if c not in said and (summary[c].notna() & (summary[c] != "")).any()]


def _against_ridge(pcc: pd.DataFrame, networks: pd.Series) -> pd.DataFrame:
    """Paired over the folds that both have; scores are methods and folds x seeds."""
    import pandas as pd

    methods = list(dict.fromkeys(pcc.index.get_level_values("method")))
    found = {}
    if REFERENCE in methods:
        ridge = pcc.loc[REFERENCE].mean(axis=1)
        for method in methods:
            if method != REFERENCE and pcc.loc[method].notna().any(axis=None):
                drawn = networks[method] != "0"
                found[method] = judge(pcc.loc[method].to_numpy(), ridge.to_numpy(), drawn=drawn)
    names = ["vs_ridge", "vs_ridge_margin", "verdict"]
    return pd.DataFrame.from_dict(found, orient="index", columns=names).reindex(methods)


def _ceiling(table: pd.DataFrame) -> dict[str, Any]:
    """The noise ceiling: an estimate, from counts alone, of what the true rates would reach.

    Its s.d. is that of the estimate for one gene if that is known, else the s.d. over folds.
    """
    of_folds, uncertain = by_fold(table, "ceiling").mean(), by_fold(table, "ceiling_sd").mean()
    return {
        "pcc": of_folds.mean(),
        "pcc_sd": uncertain.mean() if uncertain.notna().any() else of_folds.std(),
        f"pcc_{_VARIABLE}": by_fold(table, "ceiling", _VARIABLE).mean().mean(),
        "pcc_of_ceiling": 1.0,
        "folds": of_folds.notna().sum(),
        "folds_failed": 0,
    }


def slide_shift(table: pd.DataFrame) -> pd.Series:
    """How far, in each fold, the farthest held-out slide lies off the training sections, by images alone."""
    rows = table[(table["metric"] == "slide_shift") & (table["gene_set"] == panel_of(table))]
    found: pd.Series = rows.groupby("fold")["value"].max()
    return found


def comparable(summary: pd.DataFrame) -> pd.DataFrame:
    """Rows of the methods whose means are over all folds."""
    methods = summary[summary["method"] != CEILING]
    return methods[methods["folds"] == methods["folds"].max()]


def counted(table: pd.DataFrame) -> dict[str, Any]:
    """How much was compared: ``sections``, ``spots``, ``left_out`` (spots), ``folds``, ``seeds``, ``genes`` and the ``split``."""
    sections = table[table["n_spots"].notna()].drop_duplicates("section")
    genes = table.loc[(table["metric"] == "n_genes") & (table["gene_set"] == panel_of(table)), "value"].unique()
    return {
        "sections": len(sections),
        "spots": int(sections["n_spots"].sum()),
        "left_out": int(sections["n_spots_left_out"].sum()),
        "folds": by_fold(table, "pcc").shape[1],
        "seeds": table["seed"].nunique(),
        "genes": " to ".join(dict.fromkeys(f"{n:.0f}" for n in (genes.min(), genes.max()))) if len(genes) else "",
        "split": ", ".join(table["split"].dropna().unique()),
    }


def best_method(summary: pd.DataFrame) -> str | None:
    """The best method that is not a control, among those with a score in every fold if there are any."""
    scored = summary[summary["pcc"].notna() & ~summary["method"].isin([*CONTROLS, CEILING])]
    return str(scored["method"].iloc[0]) if len(scored) else None
