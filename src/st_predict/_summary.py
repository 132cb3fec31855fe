"""What a comparison comes to: a row a method, and whether it differs from ridge by more than noise.

Tables here are what ``st_predict.tl.cross_validate`` returned, with the folds that failed in ``.failures``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

CONTROLS = {"mean": "training mean", "shuffled": "shuffled images", "ridge": "tuned ridge"}
"""Rows that are in every table, and what readers see; the last is what a deep method has to beat."""
REFERENCE = "ridge"
CEILING = "noise ceiling"
NOISE_PCC = ((4, 0.01), (1, 0.02))
"""From so many folds on, differences of the mean PCC up to this are called the same, as are those whose sign is not that of
every fold. Chance moves a fold by much more (ridge on shuffled images, which hold nothing, by 0.05 and up), but methods that
are scored on the same spots share most of it."""
_METRICS = (
    "pcc_of_ceiling", "spearman", "mse", "relative_variance", "gene_correlation", "morans_i", "constant",
    "expected_rank_correlation", "covered90",
)  # fmt: skip
_VARIABLE = "hvg50"
COLUMNS = {
    "method": "method",
    "pcc": "PCC",
    "pcc_sd": "s.d.",
    "vs_ridge": "vs ridge",
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
    "folds": "folds",
}
"""Columns of the summary, and what readers see above them."""


def panel_of(table: pd.DataFrame) -> str:
    """The gene set that scores are of, where nothing else is said."""
    return str(table["gene_set"].iloc[0]) if len(table) else ""


def by_fold(table: pd.DataFrame, metric: str, gene_set: str | None = None) -> pd.DataFrame:
    """Means over the sections of each fold.

    Returns
    -------
    Methods x folds, both in the order of the table; NaN where a fold failed or has no such value.
    """
    gene_set = panel_of(table) if gene_set is None else gene_set
    methods, folds = (list(dict.fromkeys([*table[c], *table.failures[c]])) for c in ("method", "fold"))
    rows = table[(table["metric"] == metric) & (table["gene_set"] == gene_set)]
    means = rows.groupby(["method", "fold"])["value"].mean().unstack("fold")
    found: pd.DataFrame = means.reindex(index=methods, columns=folds).astype(np.float64)
    return found


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """One row a method, best PCC first, those with folds that failed after the others, the noise ceiling last.

    Parameters
    ----------
    table
        What ``st_predict.tl.cross_validate`` returned.

    Returns
    -------
    Means over folds, of the means over the sections of each: ``pcc`` with its s.d. over folds (population),
    ``pcc_hvg50``, ``pcc_of_ceiling``, ``spearman``, ``mse``, ``relative_variance``, ``gene_correlation`` and
    ``morans_i`` (both: agreement with the measured), ``expected_rank_correlation``, ``covered90``, ``constant`` (genes); ``folds`` that were done, and
    ``folds_failed``; ``vs_ridge``, the mean over folds of the difference of PCC, fold by fold, and the ``verdict``:
    ``better`` or ``worse`` in every fold and by more than :func:`noise_of` them in the mean, else ``same``. The attribute
    ``compared`` holds what :func:`counted` gives, ``failures`` the folds that failed.
    """
    import pandas as pd

    pcc = by_fold(table, "pcc")
    columns = {
        "pcc": pcc.mean(axis=1),
        "pcc_sd": pcc.std(axis=1, ddof=0),
        **_against_ridge(pcc),
        f"pcc_{_VARIABLE}": by_fold(table, "pcc", _VARIABLE).mean(axis=1),
        **{metric: by_fold(table, metric).mean(axis=1) for metric in _METRICS},
        "folds": pcc.notna().sum(axis=1),
        "folds_failed": table.failures["method"].value_counts().reindex(pcc.index, fill_value=0),
    }
    rows = pd.DataFrame(columns)
    # A mean over other folds is another number: whoever failed in a hard fold would come out on top.
    rows = rows.sort_values("pcc", ascending=False, kind="stable", na_position="last")
    rows = rows.sort_values("folds", ascending=False, kind="stable")
    rows = pd.concat([rows, pd.DataFrame(_ceiling(table), index=[CEILING])])
    rows = rows.astype({"folds": int, "folds_failed": int}).fillna({"verdict": ""}).rename_axis("method").reset_index()
    rows.attrs = {"compared": counted(table), "failures": table.failures.to_dict("records")}
    return rows


def noise_of(n_folds: int) -> float:
    """The difference of mean PCC that so many folds cannot tell from none."""
    return next(noise for least, noise in NOISE_PCC if n_folds >= least)


def _against_ridge(pcc: pd.DataFrame) -> pd.DataFrame:
    """Paired over the folds that both have."""
    import pandas as pd

    if REFERENCE not in pcc.index:
        return pd.DataFrame({"vs_ridge": np.nan, "verdict": ""}, index=pcc.index)
    found = {}
    for method, apart in pcc.sub(pcc.loc[REFERENCE]).iterrows():
        paired = apart.dropna()
        if method != REFERENCE and len(paired):
            found[method] = paired.mean(), _verdict(paired)
    rows = pd.DataFrame.from_dict(found, orient="index", columns=["vs_ridge", "verdict"])
    return rows.reindex(pcc.index)


def _verdict(differences: pd.Series) -> str:
    mean, noise = differences.mean(), noise_of(len(differences))
    if mean > noise and (differences > 0).all():
        return "better"
    return "worse" if mean < -noise and (differences < 0).all() else "same"


def _ceiling(table: pd.DataFrame) -> dict[str, Any]:
    """What no predictor can pass: from counts alone, so the same whatever the method."""
    of_folds = by_fold(table, "ceiling").mean()
    return {
        "pcc": of_folds.mean(),
        "pcc_sd": of_folds.std(ddof=0),
        f"pcc_{_VARIABLE}": by_fold(table, "ceiling", _VARIABLE).mean().mean(),
        "pcc_of_ceiling": 1.0,
        "folds": of_folds.notna().sum(),
        "folds_failed": 0,
    }


def comparable(summary: pd.DataFrame) -> pd.DataFrame:
    """Rows of methods whose means are over the same, that is all, folds."""
    methods = summary[summary["method"] != CEILING]
    return methods[methods["folds"] == methods["folds"].max()]


def counted(table: pd.DataFrame) -> dict[str, Any]:
    """How much was compared: ``sections``, ``spots``, ``left_out`` (spots), ``folds``, ``genes`` and the ``split``."""
    sections = table[table["n_spots"].notna()].drop_duplicates("section")
    genes = table.loc[(table["metric"] == "n_genes") & (table["gene_set"] == panel_of(table)), "value"].unique()
    return {
        "sections": len(sections),
        "spots": int(sections["n_spots"].sum()),
        "left_out": int(sections["n_spots_left_out"].sum()),
        "folds": by_fold(table, "pcc").shape[1],
        "genes": " to ".join(dict.fromkeys(f"{n:.0f}" for n in (genes.min(), genes.max()))) if len(genes) else "",
        "split": ", ".join(table["split"].dropna().unique()),
    }


def best_method(summary: pd.DataFrame) -> str | None:
    """The best of those that are no controls, and have a score in every fold if any has."""
    scored = summary[summary["pcc"].notna() & ~summary["method"].isin([*CONTROLS, CEILING])]
    return str(scored["method"].iloc[0]) if len(scored) else None
