"""Whether as much is reached on subjects that training has not seen as was expected of them.

python benchmarks/honesty.py [FOLDER] [--draws 1 2 3 4 5] [--method ridge] [--tile-um 112]

Drawn patients (``synthetic_tissue(subjects="patients")``): a model of three sections of each of six patients alone, tried on a section
of each other one; and als, with mice that share an image held out together. How much less is expected of a slide unlike
training was fitted on draw 0; that a slide of another subject never keeps more than half, on draw 2 and als.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd

import st_predict as stp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spatialdata import SpatialData


def subject_of(sdata: SpatialData) -> str:
    return str(sdata.tables["table"].obs["subject"].iloc[0])


def tried(model: stp.Model, sdata: SpatialData) -> dict[str, float]:
    """Mean PCC over genes that the model expects of sections like its own, and of this one, and what it reaches."""
    stp.tl.predict(sdata, model)
    record = sdata.tables["table"].uns["predicted"]
    return {
        "shift": record["slide_shift"],
        "by its own sections": model.genes["expected_pcc"].mean(),
        "expected": pd.Series(record["expected_pcc"]).mean(),
        "reached": stp.tl.evaluate(sdata)["pcc"].mean(),
    }


def of_patients(draw: int, **settings: Any) -> Iterator[dict[str, float]]:
    drawn = stp.datasets.synthetic_tissue(n_sections=18, n_subjects=6, subjects="patients", seed=draw)
    of: dict[str, list[str]] = {}
    for name, sdata in drawn.items():
        of.setdefault(subject_of(sdata), []).append(name)
    for subject, own in of.items():
        model = stp.tl.train({name: drawn[name] for name in own}, **settings)
        for other, (first, *_) in of.items():
            if other != subject:
                yield tried(model, drawn[first])


def of_als(folder: str | None, **settings: Any) -> Iterator[dict[str, float]]:
    sections = stp.datasets.als(folder)
    images = {name: name.startswith("CN5") for name in sections}  # mice 765 and 794 share theirs
    for held in (True, False):
        model = stp.tl.train({name: sdata for name, sdata in sections.items() if images[name] != held}, **settings)
        for name, sdata in sections.items():
            if images[name] == held:
                yield tried(model, sdata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--draws", nargs="*", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--method", default="ridge")
    parser.add_argument("--tile-um", nargs="+", type=float, default=[112.0])
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("st_predict").setLevel(logging.ERROR)
    settings = {"method": asked.method, "tile_um": asked.tile_um}
    found = {f"patients, draw {draw}": pd.DataFrame(of_patients(draw, **settings)) for draw in asked.draws}
    found["als, images parted"] = pd.DataFrame(of_als(asked.folder, **settings))
    table = pd.DataFrame({name: {"slides": len(rows), **rows.mean()} for name, rows in found.items()}).T
    table.loc["mean"] = table.mean()
    table["apart"] = table["expected"] - table["reached"]
    print(f"Mean per-gene PCC of {asked.method}, means over slides\n")
    print(table.astype({"slides": int}).to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
