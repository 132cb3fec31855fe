"""How the default and tuned ridge carry over to subjects that training has not seen, and what they expected of themselves.

python benchmarks/new_subjects.py [FOLDER] [--method nh2st] [--draw 1] [--subjects 6]

Drawn patients (``synthetic_tissue(subjects="patients")``; the rules for slides unlike training were chosen on draw 0): a model of
each of six patients alone, tried on the five others; and a model of a section of each five, tried on the sixth. als, with mice that share
an image held out together. ``expected`` and ``lowered`` are the mean PCC that the model expected by its held-out sections, and
on that slide.
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

    Sections = dict[str, SpatialData]


def subject_of(sdata: SpatialData) -> str:
    return str(sdata.tables["table"].obs["subject"].iloc[0])


def splits(folder: str | None, draw: int, n: int) -> Iterator[tuple[str, Sections, Sections]]:
    """What is asked, training sections and sections of other subjects."""
    drawn = stp.datasets.synthetic_tissue(n_sections=18, n_subjects=6, subjects="patients", seed=draw)
    subjects = sorted({subject_of(sdata) for sdata in drawn.values()})
    first = {subject: next(n for n, s in drawn.items() if subject_of(s) == subject) for subject in subjects}
    for subject in subjects[:n]:
        own = {name: sdata for name, sdata in drawn.items() if subject_of(sdata) == subject}
        yield (
            "patients, trained on one",
            own,
            {first[other]: drawn[first[other]] for other in subjects if other != subject},
        )
    for subject in subjects[:n]:
        others = {n: s for n, s in drawn.items() if subject_of(s) != subject and int(n[1:]) <= 6}
        yield "patients, trained on five", others, {n: s for n, s in drawn.items() if subject_of(s) == subject}
    als = stp.datasets.als(folder)
    shared = {name for name in als if name.startswith("CN5")}
    for held in (shared, set(als) - shared):
        yield "als, images parted", {n: s for n, s in als.items() if n not in held}, {n: als[n] for n in sorted(held)}


def scores_of(train: Sections, others: Sections, method: str) -> Iterator[dict[str, Any]]:
    models = {name: stp.tl.train(train, method=name) for name in (method, "ridge")}
    for section, sdata in others.items():
        row: dict[str, Any] = {"section": section}
        for name, model in models.items():
            stp.tl.predict(sdata, model, key_added=name)
            found = stp.tl.evaluate(sdata, key=name)
            row[name] = found["pcc"].mean()
        record = sdata.tables["table"].uns[method]
        row |= {"shift": record["slide_shift"], "ground": models[method].ground}
        if models[method].reliability is not None:
            row |= {
                "expected": models[method].genes["expected_pcc"].mean(),
                "lowered": pd.Series(record["expected_pcc"]).mean(),
            }
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--method", default="nh2st")
    parser.add_argument("--draw", type=int, default=1)
    parser.add_argument("--subjects", type=int, default=6, help="so many of the six patients in turn")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("st_predict").setLevel(logging.ERROR)
    rows = [
        {"set": name, **row}
        for name, train, others in splits(arguments.folder, arguments.draw, arguments.subjects)
        for row in scores_of(train, others, arguments.method)
    ]
    table = pd.DataFrame(rows)
    means = table.groupby("set", sort=False)[[arguments.method, "ridge", "expected", "lowered", "shift"]].mean()
    means.insert(0, "slides", table.groupby("set").size())
    means.loc["all sets"] = means.mean()
    print(table.to_string(index=False, float_format="{:.3f}".format))
    print("\nMeans over slides; the last row is the mean over sets\n")
    print(means.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
