"""The scores that ``demo`` and ``evaluate`` show: means over genes, one row for each section or method."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


def means_over_genes(scores: Mapping[str, pd.DataFrame], name: str) -> pd.DataFrame:
    """Means over genes of :func:`st_predict.tl.evaluate` tables, a row each.

    Parameters
    ----------
    scores
        Tables by label.
    name
        What the labels are.
    """
    import pandas as pd

    rows = {
        label: {
            "PCC": table["pcc"].mean(),
            "Spearman": table["spearman"].mean(),
            "MSE": table["mse"].mean(),
            "relative variance": table["relative_variance"].mean(),
            "noise ceiling": table["ceiling"].mean(),
            "genes": len(table),
            "spots": table.attrs["n_spots"],
        }
        for label, table in scores.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(name)
