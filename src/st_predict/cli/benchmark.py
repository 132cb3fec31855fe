"""The benchmark: methods compared on one or several data sets, with tables, pictures and a page to show around.

It uses the public functions, as a notebook would.
"""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import st_predict as stp
from st_predict._spatialdata.stored import is_store
from st_predict.cli.benchmark_checks import (
    ELEMENTS,
    check_elements,
    check_methods,
    check_out,
    check_study,
    check_tiles,
)
from st_predict.cli.data_sets import OWN, find_studies
from st_predict.cli.page import Compared, build_page
from st_predict.cli.pictures import draw_compared, draw_together
from st_predict.cli.summary import best_method, summarize
from st_predict.core.arguments.checked import check_arguments
from st_predict.core.files import replacing_file
from st_predict.core.lock import alone_in
from st_predict.core.log import be_heard, logger
from st_predict.core.outputs import check_apart, sign
from st_predict.core.technology import LEAST_COUNTS, LEAST_COUNTS_OF_CELLS
from st_predict.core.tiles.geometry import DEFAULT_TILE_UM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from st_predict.cli.data_sets import Study

SEEDS = 3
NETWORKS = 1
"""How many networks each row has: methods are compared here, and more networks cost all of them more time."""
_TOLD = (
    "encoder",
    "encoder_weights",
    "genes",
    "gene_sets",
    "gene_ranking",
    "min_counts",
    "tile_um",
    "tile_px",
    "layer",
)


def run_benchmark(
    data: Sequence[str | Path],
    *,
    methods: str | Sequence[str] = "all",
    parts: bool = True,
    networks: int = NETWORKS,
    out: Path,
    settings: Mapping[str, Any] | None = None,
    command: str = "",
) -> pd.DataFrame:
    """Cross-validate methods on every data set and write a folder; folds that are finished there are not run again.

    Parameters
    ----------
    data
        Zarr stores (one study together), names of public sets, folders that hold public sets.
    methods
        Names of methods or of ``benchmark_checks.PARTS``, or ``"all"``.
    parts
        Whether ``"all"`` includes these parts.
    networks
        How many networks every method predicts the mean of. Controls have none, and a part may say otherwise.
    out
        The folder. Tables and page are written again after every data set.
    settings
        Arguments of :func:`st_predict.tl.cross_validate`. They take precedence over the settings of a public set, and
        over :data:`SEEDS` seeds. Keys of elements and the layer are those of the stores.
    command
        The command that the page says it was made by.

    Returns
    -------
    The summary of :func:`st_predict.cli.summary.summarize`, with a column ``dataset``, and its attributes by data set.

    Raises
    ------
    InputError
        If a method or a data set is unknown, elements are named but only public sets are given, or ``out`` holds
        something else or cannot be written to. This is found before anything is read. Also if methods cannot be compared
        on a data set. This is found before any tile is encoded.
    """
    settings = check_arguments("cross_validate", settings or {})
    named = check_methods(methods, parts=parts, networks=networks)
    studies = find_studies(data)
    check_tiles(studies, settings)
    check_elements(studies, settings)
    check_apart(out, [path for path in map(Path, data) if is_store(path)], where="out")
    check_out(out, studies)
    asked = {study.name: _settings(study, named, settings) for study in studies}
    if len(studies) > 1:  # else a mistake in the last set would be found after hours on the first
        for study in studies:
            check_study(study, asked[study.name])
    done: list[Compared] = []
    with alone_in(out, where="out"):
        for study in studies:
            done.append(_compare(study, out / study.name, asked[study.name]))
            summary = _write(out, done, command, waiting=[later.name for later in studies[len(done) :]])
    return summary


def _settings(study: Study, methods: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``cross_validate`` for one data set: its own, and over them what was given."""
    known = {name: value for name, value in given.items() if study.name == OWN or name not in ELEMENTS}
    return {"methods": methods, "seeds": SEEDS, **study.settings, **known}


def _compare(study: Study, folder: Path, settings: Mapping[str, Any]) -> Compared:
    """Cross-validate on one data set; its tables, folds and pictures lie in a folder of their own."""
    be_heard()
    logger.info("%s: reading", study.name)
    table = stp.tl.cross_validate(study.read(), out=folder, **settings)
    summary = summarize(table)
    return Compared(study.name, table, summary, _told(settings), draw_compared(table, best_method(summary), folder))


def _told(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that a reader needs to repeat the benchmark, defaults included."""
    known = signature(stp.tl.cross_validate).parameters
    found = {name: settings.get(name, known[name].default) for name in _TOLD}
    if not found["tile_um"] and not found["tile_px"]:
        found["tile_um"] = DEFAULT_TILE_UM
    if found["min_counts"] is None:
        found["min_counts"] = f"{LEAST_COUNTS:g} ({LEAST_COUNTS_OF_CELLS:g} for cells and fine bins)"
    if not isinstance(found["genes"], int):
        found["genes"] = f"{len(found['genes'])} given by name"
    if found["gene_sets"]:
        found["gene_sets"] = ", ".join(found["gene_sets"])
    told = {}
    for name, value in found.items():
        if value is not None:
            told[name] = " / ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else str(value)
    return told


def _write(out: Path, parts: Sequence[Compared], command: str, *, waiting: Sequence[str]) -> pd.DataFrame:
    """Tables of all data sets and the page, each whole or not at all."""
    summary = _joined({part.name: part.summary for part in parts})
    tables = {
        "summary": summary,
        "scores": _joined({part.name: part.table for part in parts}),
        "gene_scores": _joined({part.name: part.table.genes for part in parts}),
    }
    for name, table in tables.items():
        with replacing_file(out / f"{name}.csv") as file:
            table.to_csv(file, index=False)
    draw_together(tables["scores"], out / "scores.png")
    with replacing_file(out / "index.html") as file:
        file.write_text(build_page(parts, command=command, waiting=waiting), encoding="utf-8")
        sign(file)
    summary.attrs = {part.name: part.summary.attrs for part in parts}
    return summary


def _joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One below the other, ``dataset`` first."""
    import pandas as pd

    plain = [pd.DataFrame({"dataset": name, **table}) for name, table in tables.items()]
    return pd.concat(plain, ignore_index=True)
