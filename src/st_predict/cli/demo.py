"""The demo: the whole job on drawn tissue. It uses the public functions, as a notebook would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import st_predict as stp
from st_predict.cli.scores import means_over_genes
from st_predict.core.files import replacing_folder
from st_predict.core.outputs import check_output, is_sealed, seal

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

METHODS = ("mean", "ridge", "nh2st")
_FILES = {
    "maps.png": "H&E, measured and predicted expression of four genes",
    "alignment.png": "spots over H&E",
    "history.png": "loss and held-out scores while training",
    "scores.csv": "the table above",
    "gene_scores.csv": "scores of every gene, all methods",
    "model": "the trained nh2st model: stp.load_model('model')",
    "predicted.zarr": "the predicted section: spatialdata.read_zarr('predicted.zarr')",
}


def run_demo(out: Path, *, seed: int) -> pd.DataFrame:
    """Draw tissue of four subjects, train on three, predict and score the fourth, write a folder.

    Parameters
    ----------
    out
        The folder; an earlier demo there is replaced.
    seed
        Seed of the tissue and of training.

    Returns
    -------
    The summary, one row a method; ``attrs["files"]`` says what was written.

    Raises
    ------
    InputError
        If ``out`` holds something else.
    """
    import pandas as pd

    _check_out(out)
    tissue = stp.datasets.synthetic_tissue(n_sections=4, n_subjects=4, seed=seed)
    *training, last = tissue
    unseen, scores = tissue[last], {}
    for method in METHODS:
        model = stp.tl.train({name: tissue[name] for name in training}, method=method, seed=seed)
        key = "predicted" if method == METHODS[-1] else f"predicted_{method}"
        stp.tl.predict(unseen, model, key_added=key)
        scores[method] = stp.tl.evaluate(unseen, key=key)
    summary = means_over_genes(scores, "method")
    best = scores[METHODS[-1]].sort_values("pcc", ascending=False).index
    # The best, two from the middle and the worst: what to expect, not only what to show.
    shown = [best[0], best[len(best) // 4], best[len(best) // 2], best[-1]]
    with replacing_folder(out, _check_out) as folder:
        folder.mkdir()
        stp.pl.spatial_expression(unseen, shown, save=folder / "maps.png", show=False)
        stp.pl.alignment(unseen, save=folder / "alignment.png", show=False)
        stp.pl.history(model, save=folder / "history.png", show=False)
        summary.to_csv(folder / "scores.csv")
        pd.concat(scores, names=["method"]).to_csv(folder / "gene_scores.csv")
        model.save(folder / "model")
        unseen.write(folder / "predicted.zarr")
        seal(folder, "demo")
    summary.attrs = {"genes": len(model.panel), "files": _FILES}
    return summary[["PCC", "Spearman", "MSE", "relative variance", "noise ceiling"]]


def _check_out(out: Path) -> None:
    check_output(out, lambda path: is_sealed(path, "demo"), what="an earlier demo", where="--out")
