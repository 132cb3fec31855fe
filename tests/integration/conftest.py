"""Real sections and slides, and the honest protocol: what a reader of the benchmarks is promised."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from spatialdata import SpatialData

import st_predict as stp

logger = logging.getLogger("st_predict.tests")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real sections and slides, or a skip."""
    found = Path(os.environ.get("ST_PREDICT_DATA", ROOT.parent / "shared" / "data"))
    if not ((found / "sections.csv").is_file() and (found / "slides").is_dir()):
        pytest.skip(f"no real sections and slides in {found}: set ST_PREDICT_DATA")
    return found


def held_out_pcc(sections: Mapping[str, SpatialData], held_out: list[list[str]], method: str, **settings: Any) -> float:
    """Mean PCC over genes, sections and folds of one network that one inner fold stops; more is the benchmarks' to try."""
    folds = []
    for fold in held_out:
        training = {name: section for name, section in sections.items() if name not in fold}
        model = stp.tl.train(training, method=method, members=1, inner_folds=1, **settings)
        scores = []
        for name in fold:
            stp.tl.predict(sections[name], model)
            scores.append(stp.tl.evaluate(sections[name])["pcc"].mean())
        folds.append(sum(scores) / len(scores))
    mean = sum(folds) / len(folds)
    logger.warning("%s: mean PCC %.3f (folds %s)", method, mean, ", ".join(f"{pcc:.3f}" for pcc in folds))
    return mean


@pytest.fixture(scope="session")
def mean_pcc() -> Callable[..., float]:
    return held_out_pcc
