"""``predict_cohort``: expression of many slides, each into a store of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from st_predict.core.arguments.checked import checked
from st_predict.core.ending import ended_by_signals
from st_predict.core.outputs import check_places
from st_predict.tl._cohort import run_cohort
from st_predict.tl._prediction import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from st_predict.core.model.model import Model


@checked
@ended_by_signals()
def predict_cohort(
    paths: Sequence[str | Path],
    model: Model,
    out_dir: str | Path,
    *,
    client: Any = None,
    key_added: str = "predicted",
    um_per_px: float | None = None,
    pitch_um: float | None = None,
    n_jobs: int | None = None,
    device: str = "auto",
    interval: float | None = None,
    min_reliability: float | None = None,
    series: int | Literal["all"] | None = None,
) -> pd.DataFrame:
    """Predict bare slides, several at a time; a slide that fails does not stop the others.

    You can give the same call again: slides that are done are skipped, and a slide that a killed run left in the middle
    goes on from the tiles that were encoded. The numbers do not depend on how slides are spread over processes.

    Parameters
    ----------
    paths
        Slides that :func:`st_predict.io.slide` reads; their file names name the stores.
    model
        A trained model.
    out_dir
        Folder for the stores, the manifest and the model: a new or empty folder, or that of an earlier run.
    client
        A ``dask.distributed.Client`` whose workers see ``paths`` and ``out_dir``; ``None``: processes on this machine.
    key_added
        Name of the prediction.
    um_per_px
        Scale of all slides; ``None``: the scale that each slide states.
    pitch_um
        Pitch of the grid; ``None``: that of the training spots. The layout is always that of the training spots.
    n_jobs
        How many slides to predict at a time; ``None``: one for each core, or for each worker of the client.
    device
        Torch device of the encoder; ``"auto"``: a GPU if there is one.
    interval, min_reliability
        As in :func:`st_predict.tl.predict`.
    series
        Which slide to predict if a file holds several (see :func:`st_predict.io.slide`). ``"all"``: all of them, each
        as ``<file>_series<number>``; ``None``: the largest.

    Returns
    -------
    The manifest, which is also written as ``out_dir/manifest.csv`` after every slide: ``slide``, ``status`` (``done``,
    ``skipped``, ``failed``), ``reason``, ``n_spots``, ``unlike_training`` and ``slide_shift`` (see
    :func:`st_predict.tl.predict`), ``seconds``, ``path``, ``store``, ``series`` (the number of the slide in a file of
    several) and ``remarks`` (all warnings). A store is a SpatialData with the table ``key_added`` on its spots, the
    outlines of the tissue, and a small copy of the slide to look at.

    Raises
    ------
    InputError
        If two slides have the same name; the model is not as sure as is asked; ``out_dir`` holds something else, lies
        within a slide or cannot be written to; a store there that would be replaced is not an earlier prediction, or
        was changed since; or another run is at work there. What is wrong with a single slide is in the manifest.

    Examples
    --------
    >>> manifest = stp.tl.predict_cohort(["slides/one.tif", "slides/two.tif"], model, "predicted", n_jobs=1)
    >>> manifest[["slide", "status", "n_spots"]]
      slide status  n_spots
    0   one   done       41
    1   two   done       41
    >>> import spatialdata
    >>> spatialdata.read_zarr(manifest["store"][0]).tables["predicted"].n_vars
    20
    """
    check_places(out_dir=out_dir)
    if isinstance(paths, (str, Path)):
        paths = [paths]
    request = Request(key_added, interval, min_reliability, pitch_um, device=device)
    return run_cohort(
        paths,
        model,
        Path(out_dir).resolve(),
        request=request,
        um_per_px=um_per_px,
        n_jobs=n_jobs,
        client=client,
        series=series,
    )
