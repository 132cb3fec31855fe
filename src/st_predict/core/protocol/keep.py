"""Finished folds on disk, so that an interrupted comparison goes on where it stopped. One JSON file a fold."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError
from st_predict.core.files import replacing_file
from st_predict.core.full import going_on_unkept
from st_predict.core.methods.registry import AUTO
from st_predict.core.outputs import check_holder, foreign_files, has_columns, has_mark, is_free, is_marked, mark
from st_predict.core.protocol.scores import EXPECTED, GENE_SCORES
from st_predict.core.sealed import Damaged, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from st_predict.core.protocol.study import Candidate, Study
    from st_predict.core.splits import OuterFold

logger = logging.getLogger("st_predict")
_FOLDS = "folds"
_KIND = "comparison"
_KEPT = re.compile(r".+-[0-9a-f]{16}\.json")
TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "scores.csv": (
        ("method", "fold", "section", "gene_set", "metric", "value"),
        (
            "n_spots",
            "n_spots_left_out",
            "networks",
            "inputs",
            "stopping",
            "epochs",
            "seconds",
            "seed",
            "version",
            "split",
        ),
    ),
    "gene_scores.csv": (("method", "fold", "seed"), ("section", "gene", *GENE_SCORES, *EXPECTED)),
    "failures.csv": (("method", "fold", "seed", "error"), ()),
}
"""Tables of a comparison: the columns they begin with, and all others that they may have."""
_PICTURES = ("scores.png", "gene_scores.png", "reliability.png")
_FORMAT = 4  # another where results hold more or other things than before: folds that were kept are then run again


def check_comparison_folder(folder: Path) -> None:
    """Refuse to write a comparison into a folder that holds something else.

    Raises
    ------
    InputError
        If it is neither new, nor empty, nor that of an earlier comparison; or one of the files that will be written there
        is somebody else's.
    """
    check_holder(folder, where="out")
    if not is_free(folder) and not is_comparison(folder):
        raise InputError(
            f"{folder} exists and is not an earlier comparison",
            where="out",
            expected="a new or empty folder, or that of an earlier comparison",
            remedy="choose another out",
        )
    check_own_files(folder, TABLES, _PICTURES)


def is_comparison(folder: Path) -> bool:
    """Whether a folder was made for a comparison; a folder named as that of its folds does not tell."""
    folds = folder / _FOLDS
    if not folds.is_dir():
        return False
    if is_free(folds):  # broken off before it was marked
        return not foreign_files(folder, (_FOLDS,))
    return is_marked(folds, _KIND) or any(_KEPT.fullmatch(one.name) for one in folds.iterdir())


def check_own_files(
    folder: Path, tables: Mapping[str, tuple[Sequence[str], Sequence[str]]], marked: Sequence[str]
) -> None:
    """Refuse to write over tables and pictures in a folder that are not of an earlier run.

    Parameters
    ----------
    folder
        The folder.
    tables
        Names of the tables that will be written, the columns they begin with, and the others they may have.
    marked
        Names of the pages and pictures.

    Raises
    ------
    InputError
        Naming the first file that is somebody else's.
    """
    foreign = [name for name, columns in tables.items() if not has_columns(folder / name, *columns)]
    foreign += [name for name in marked if not has_mark(folder / name)]
    there = [name for name in foreign if os.path.lexists(folder / name)]
    if there:
        raise InputError(
            f"{folder / there[0]} would be overwritten, and is not of an earlier run",
            where="out",
            expected="a folder in which the names of our files are free",
            remedy="move the file away, or choose another out",
        )


def make_comparison_folder(folder: Path) -> None:
    """Make the folder of a comparison, marked as one, before any work is done for it.

    Raises
    ------
    InputError
        If it cannot be made or written to.
    """
    try:
        (folder / _FOLDS).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        mark(folder / _FOLDS, _KIND)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written to ({error.strerror})",
            where="out",
            expected="a folder that can be made or written to",
            remedy="choose another out",
        ) from error


class KeptFolds:
    """Results of folds in a folder, found again by everything they depend on.

    Parameters
    ----------
    folder
        Folder of the comparison, see :func:`make_comparison_folder`; ``None``: nothing is kept.
    study
        The study the results are of.
    """

    def __init__(self, folder: Path | None, study: Study) -> None:
        self._folder = None if folder is None else folder / _FOLDS
        self._study = study
        self._digests: dict[bool, str] = {}

    def find(self, candidate: Candidate, fold: OuterFold) -> dict[str, Any] | None:
        """The kept result, if there is one."""
        path = self._path(candidate, fold)
        if path is None or not path.is_file():
            return None
        try:
            found: dict[str, Any] = read_json(path, of=path.name)
        except Damaged:
            logger.warning("%s is damaged, or of another fold; this fold is run again", path)
            return None
        return found

    def keep(self, candidate: Candidate, fold: OuterFold, result: dict[str, Any]) -> None:
        """Write a result beside, then rename."""
        path = self._path(candidate, fold)
        if path is None:
            return
        with going_on_unkept("the comparison", path.parent), replacing_file(path) as file:
            write_json(file, result, of=path.name)

    def _path(self, candidate: Candidate, fold: OuterFold) -> Path | None:
        if self._folder is None:
            return None
        trainable = candidate.plan.recipe.fit.trainable_encoder
        if trainable not in self._digests:
            self._digests[trainable] = self._study.digest(candidate)
        # The label is left out: what a row is called changes nothing.
        settings = [
            _FORMAT,
            self._digests[trainable],
            version("st-predict"),
            str(self._study.hardware),
            *_asked(candidate),
            [_named(one) for one in candidate.among],
            fold,
        ]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
        readable = "".join(c if c.isalnum() else "-" for c in f"{_method(candidate)}-{fold.name}")[:60]
        return self._folder / f"{readable}-{digest}.json"


def _method(candidate: Candidate) -> str:
    return AUTO if candidate.among else candidate.plan.recipe.method


def _asked(candidate: Candidate) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a fold depends on, in the form that finished folds are found by: it stays as it is."""
    plan = candidate.plan
    own = {name: value for name, value in plan.to_dict().items() if name != "recipe"}
    return plan.recipe.to_dict(), {**own, "method": _method(candidate)}


def _named(candidate: Candidate) -> dict[str, Any]:
    recipe, task = _asked(candidate)
    return {"label": candidate.label, "recipe": recipe, "task": task, "among": []}
