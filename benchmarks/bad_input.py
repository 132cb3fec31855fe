"""Wrong calls over the whole public surface, and what comes of them: an error of ours, another's, or an answer.

python benchmarks/bad_input.py [--share 0.1] [--seed 0] [--only tl.train]

Every argument of every public function is given values that are wrong for it; sections, files, models and command lines
that are wrong follow. Drawn tissue, the smallest encoder and ridge are used, so that a call that is taken is fast. It
ends with status 1 if a call was taken though wrong, ended in an error that is not ours, or took too long, or if a file of
the user's was changed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import functools
import hashlib
import inspect
import io
import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

# Before anything of them is loaded: one thread, no bars, no network.
os.environ |= {
    "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "ST_PREDICT_PROGRESS": "0", "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE", "ST_PREDICT_DATA": "user/data",
}  # fmt: skip

import numpy as np
import pandas as pd
from bad_input_commands import command_lines
from bad_input_values import (
    Kind,
    Made,
    choice,
    counts_list,
    flag,
    names,
    new_name,
    number,
    of_class,
    picture,
    readable,
    whole,
    widths,
    writable,
)

import st_predict as stp

SECONDS = 20
MEMORY = 24 * 2**30
OWN, PYTHON, FOREIGN, TAKEN, SLOW, CHANGED = (
    "error of ours", "Python's TypeError", "another's error", "taken", "too slow", "file changed",
)  # fmt: skip
OUTCOMES = (OWN, PYTHON, FOREIGN, TAKEN, SLOW, CHANGED)
FINE = (OWN, PYTHON)
ARGUMENT_LIST = "unknown or missing argument"
"""The one kind of call that Python itself refuses: its TypeError names the argument, and editors know it."""


class Call(NamedTuple):
    """One wrong call."""

    verb: str
    kind: str
    said: str
    run: Callable[[Desk], Any]


class Desk:
    """A folder with files of a user, and sections and models in memory; what a call may have changed is made anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        drawn = stp.datasets.synthetic_tissue(n_sections=2, n_genes=30, size_um=800, um_per_px=2.0)
        self.sections = dict(zip("AB", drawn.values(), strict=True))
        self.model = stp.tl.train(self.fresh(), **QUICK)
        self.with_prediction = copied(self.sections["A"])
        stp.tl.predict(self.with_prediction, self.model)
        self.network = stp.tl.train(
            self.fresh(), **{**QUICK, "method": "nh2st"}, max_epochs=1, members=1, batch_size=8, inner_folds=0
        )
        with contextlib.chdir(folder):
            write_files(self)
        self.scores = stp.tl.cross_validate(self.fresh(), methods=["ridge"], n_jobs=1, **CUT)
        self.digest = digest(folder / "user")

    def fresh(self) -> dict[str, Any]:
        """The sections, free to be changed."""
        return {name: copied(section) for name, section in self.sections.items()}

    def predicted(self) -> Any:
        """A section with a prediction."""
        return copied(self.with_prediction)

    def bare(self) -> Any:
        """A slide without spots."""
        from spatialdata import SpatialData

        one = self.sections["A"]
        return SpatialData(images=dict(one.images), attrs=copy.deepcopy(one.attrs))

    def objects(self) -> dict[str, Callable[[], Any]]:
        """What is no section, no model, no table, as the case may be; each is made when it is called."""
        from matplotlib import pyplot as plt
        from spatialdata import SpatialData

        def section() -> Any:
            return copied(self.sections["A"])

        return {
            "AnnData": lambda: section().tables["table"],
            "SpatialData": section,
            "empty SpatialData": SpatialData,
            "SpatialData without table": self.bare,
            "class SpatialData": lambda: SpatialData,
            "list of SpatialData": lambda: [section()],
            "dict of SpatialData": self.fresh,
            "generator of SpatialData": lambda: (one for one in self.fresh().values()),
            "the same section twice": lambda: [self.sections["A"], self.sections["A"]],
            "list with None": lambda: [section(), None],
            "list with AnnData": lambda: [section().tables["table"]],
            "dict with None": lambda: {"A": None},
            "dict with a number": lambda: {5: 5},
            "dict with a list": lambda: {"A": [section()]},
            "list of a list": lambda: [[section()]],
            "Model": lambda: self.model,
            "class Model": lambda: stp.Model,
            "list of Model": lambda: [self.model],
            "config of a model": lambda: json.loads(Path("user/model/config.json").read_text()),
            "DataFrame": lambda: pd.DataFrame({"a": [1, 2]}),
            "Series": lambda: pd.Series([1.0, 2.0]),
            "array": lambda: np.ones((3, 3)),
            "figure": plt.figure,
            "list of None": lambda: [None, None],
            "axes, too many": lambda: [plt.figure().add_subplot() for _ in range(13)],
        }


QUICK: dict[str, Any] = {"method": "ridge", "encoder": "tiny", "genes": 5, "min_counts": 1}
CUT = {name: value for name, value in QUICK.items() if name != "method"}


def copied(section: Any) -> Any:
    """A section whose tables and notes are its own."""
    from spatialdata import SpatialData

    return SpatialData(
        images=dict(section.images), shapes={key: shapes.copy() for key, shapes in section.shapes.items()},
        tables={key: table.copy() for key, table in section.tables.items()}, attrs=copy.deepcopy(section.attrs),
    )  # fmt: skip


def write_files(desk: Desk) -> None:
    """What a user may have in a folder, good and bad."""
    import tifffile
    from PIL import Image

    user = Path("user")
    (user / "full").mkdir(parents=True)
    (user / "full" / "work.csv").write_text("a,b\n1,2\n")
    (user / "notes.txt").write_text("Not to be lost.\n")
    (user / "random.bin").write_bytes(random.Random(0).randbytes(4000))
    (user / "empty.tif").touch()
    (user / "broken_link").symlink_to("nowhere")
    section = desk.sections["A"]
    pixels = section.images["S1_image"].transpose("y", "x", "c").to_numpy()
    Image.fromarray(pixels[:99, :99]).save(user / "photo.png")
    Image.fromarray(pixels[:99, :99, 0]).save(user / "gray.png")
    for name in ("slide", "cohort"):
        tifffile.imwrite(
            user / f"{name}.tif", pixels, photometric="rgb", tile=(256, 256), compression="zlib",
            resolution=(5000, 5000), resolutionunit="CENTIMETER",
        )  # fmt: skip
    whole_file = (user / "slide.tif").read_bytes()
    (user / "cut.tif").write_bytes(whole_file[: len(whole_file) // 2])
    for name, one in desk.fresh().items():
        one.write(user / f"{name}.zarr")
    desk.model.save(user / "model")
    predicted = desk.predicted()
    predicted.write(user / "predicted.zarr")
    for name in ("cut", "edited"):
        shutil.copytree(user / "model", user / f"{name}_model")
    weights = user / "cut_model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    (user / "edited_model" / "config.json").write_text('{"method": 5}')
    (user / "sets.gmt").write_text("T cells\tfrom here\tTUMOR_01\n")
    (user / "bad.gmt").write_text("no genes at all\n")
    (user / "genes.txt").write_text("TUMOR_01\nTUMOR_01\n")
    write_legacy(user / "data" / "her2st" / "C2", section, pixels)
    (user / "data" / "sections.csv").write_text("dataset,section,subject,um_per_px\nher2st,C2,one,2.0\n")
    shutil.copytree(user / "data" / "her2st" / "C2", user / "C2")
    write_outs(user / "outs", section, pixels)


def write_legacy(folder: Path, section: Any, pixels: Any) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    table = section.tables["table"]
    table.to_df().astype(int).to_csv(folder / "counts.tsv.gz", sep="\t")
    x, y = table.obsm["spatial"].T
    places = {"x": table.obs["array_x"].astype(int), "y": table.obs["array_y"].astype(int), "pixel_x": x, "pixel_y": y}
    pd.DataFrame(places).to_csv(folder / "spots.tsv", sep="\t", index=False)
    Image.fromarray(pixels).save(folder / "image.jpg")


def write_outs(folder: Path, section: Any, pixels: Any) -> None:
    import gzip

    import scipy.io
    from PIL import Image

    table, matrix = section.tables["table"], folder / "filtered_feature_bc_matrix"
    matrix.mkdir(parents=True)
    (folder / "spatial").mkdir()
    with gzip.open(matrix / "matrix.mtx.gz", "wb") as file:
        scipy.io.mmwrite(file, table.X.T.astype(int))
    features = "".join(f"{gene}\t{gene}\tGene Expression\n" for gene in table.var_names)
    (matrix / "features.tsv.gz").write_bytes(gzip.compress(features.encode()))
    (matrix / "barcodes.tsv.gz").write_bytes(gzip.compress("\n".join(table.obs_names).encode()))
    x, y = table.obsm["spatial"].T
    positions = {"in_tissue": 1, "array_row": table.obs["array_y"].astype(int)}
    positions |= {"array_col": table.obs["array_x"].astype(int), "pxl_row_in_fullres": y, "pxl_col_in_fullres": x}
    frame = pd.DataFrame(positions, index=table.obs_names.rename("barcode"))
    frame.to_csv(folder / "spatial" / "tissue_positions.csv")
    factors = {"spot_diameter_fullres": 27.5, "tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1}
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    image = Image.fromarray(pixels)
    for name in ("hires", "lowres"):
        side = round(image.width * factors[f"tissue_{name}_scalef"])
        image.resize((side, side)).save(folder / "spatial" / f"tissue_{name}_image.png")


def digest(folder: Path) -> str:
    """Of all that is in a folder: names, sizes, and when each was last changed."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        found.update(f"{path} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}".encode())
    return found.hexdigest()


# The surface: what a good call is given, and what each argument is.

NOT_A_SECTION = (
    "AnnData", "class SpatialData", "list of SpatialData", "dict of SpatialData", "generator of SpatialData", "Model",
    "DataFrame", "array", "empty SpatialData",
)  # fmt: skip
NOT_SECTIONS = (
    "AnnData", "class SpatialData", "generator of SpatialData", "the same section twice", "list with None", "Model",
    "list with AnnData", "dict with None", "dict with a number", "dict with a list", "list of a list", "DataFrame",
    "array", "empty SpatialData", "SpatialData without table",
)  # fmt: skip
NOT_A_MODEL = ("AnnData", "SpatialData", "class Model", "list of Model", "config of a model", "DataFrame", "array")
NOT_A_TABLE = ("AnnData", "SpatialData", "Model", "DataFrame", "Series", "array")
NOT_AXES = ("figure", "list of None", "axes, too many", "Model", "DataFrame", "array")

section = of_class(also=NOT_A_SECTION)
sections = of_class(also=NOT_SECTIONS, several=True)
a_model = of_class(also=NOT_A_MODEL)
a_table = of_class(also=NOT_A_TABLE)
key = choice("S1_image").or_none()
device = choice("cuda:77", absent="gpu0")
widths_or_none = widths().or_none()
element_keys = {"image_key": key, "shapes_key": key, "table_key": key}
drawing = {"axes": of_class(also=NOT_AXES).or_none(), "show": flag().or_none(), "save": picture().or_none()}
weights = readable(wrong=("user/A.zarr", "user/slide.tif")).or_none()
min_counts = number(0, 1e12, below=-1)
um_per_px = number(0, 1e6).or_none()


def gene_sets() -> Kind:
    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        yield "wrong type", rng.randint(1, 9)
        yield "wrong type", "T cells"
        yield "bool for a name", True
        yield "NaN or infinite", float("nan")
        yield "wrong container", ["TUMOR_01"]
        yield "wrong container", [("T", ["TUMOR_01"])]
        yield "wrong container", pd.DataFrame({"T": ["TUMOR_01"]})
        yield "empty", {"T": []}
        yield "empty", {"": ["TUMOR_01"]}
        yield "empty", {"T": [""]}
        yield "None", {"T": None}
        yield "None", {None: ["TUMOR_01"]}
        yield "number for a name", {5: ["TUMOR_01"]}
        yield "number for a name", {"T": [5]}
        yield "number for a name", {"T": 5}
        yield "text for a list", {"T": "TUMOR_01"}
        yield "unknown name", {"T": ["nosuch"]}
        yield "wrong container", {"T": {"TUMOR_01": 1}}
        yield "duplicates in a list", {"TUMOR_01": ["TUMOR_02"]}
        yield "duplicates in a list", {"a/b": ["TUMOR_01"], "a_b": ["TUMOR_02"]}
        for name in ("a\0b", " "):
            yield "unusable name", {name: ["TUMOR_01"]}

    return Kind(values, optional=True)


def params() -> Kind:
    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        for value in (
            rng.randint(1, 9),
            "penalties",
            True,
            float("nan"),
            [1],
            ["penalties"],
            [("penalties", 1)],
            object(),
        ):
            yield "wrong container", value
        yield "unknown name", {"nosuch": 1}
        yield "number for a name", {5: 1}
        yield "None", {"penalties": None}
        yield "text for a number", {"penalties": "1"}
        yield "text for a number", {"penalties": ["1"]}
        yield "wrong container", {"penalties": 1.0}
        yield "empty", {"penalties": []}
        yield "NaN or infinite", {"penalties": [float("nan")]}
        yield "too small", {"penalties": [-1.0]}
        yield "bool for a number", {"ranks": [True]}
        yield "too small", {"ranks": [0]}
        yield "fraction for a whole number", {"ranks": [1.5]}

    return Kind(values, optional=True)


def methods() -> Kind:
    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        yield from names("ridge").values(rng)
        yield "empty", {}
        yield "unknown name", {"mine": {"method": "nosuch"}}
        yield "unknown name", {"nosuch": {}}
        yield "unknown name", {"mine": {"method": "ridge", "nosuch": 1}}
        yield "wrong container", {"mine": rng.randint(1, 9)}
        yield "wrong container", {"mine": ["ridge"]}
        yield "None", {"mine": None}
        yield "None", {"mine": {"method": None}}
        yield "number for a name", {5: {"method": "ridge"}}
        yield "number for a name", {"mine": {"method": 5}}
        yield "empty", {"": {"method": "ridge"}}
        yield "text for a number", {"mine": {"method": "ridge", "max_epochs": "5"}}
        yield "bool for a number", {"mine": {"method": "ridge", "members": True}}
        yield "NaN or infinite", {"mine": {"method": "ridge", "learning_rate": float("nan")}}
        yield "text for a switch", {"mine": {"method": "ridge", "trainable_encoder": "no"}}
        yield "absurdly large", {"mine": {"method": "ridge", "max_epochs": 10**12}}
        yield "unknown name", {"ridge": {"members": 1}}

    return Kind(values)


def groups() -> Kind:
    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        yield from choice("subject").values(rng)
        yield "wrong container", ["one"]
        yield "wrong container", ["one", "two", "three"]
        yield "None", [None, "one"]
        yield "empty", []
        yield "empty", ["", "one"]
        yield "NaN or infinite", [float("nan"), "one"]

    return Kind(values, optional=True)


def trainers() -> dict[str, Kind]:
    """What Lightning is told."""

    def devices(rng: random.Random) -> Iterator[tuple[str, Any]]:
        for kind, value in whole(1, absurd=10**9, several=True).values(rng):
            if kind != "text for a number" or value in ("many", b"3"):
                yield kind, value
        yield "duplicates in a list", [0, 0]
        yield "text for a number", ["0"]
        yield "too small", [-1]

    def strategy(rng: random.Random) -> Iterator[tuple[str, Any]]:
        yield from choice("nosuch_ddp").values(rng)

    def precision(rng: random.Random) -> Iterator[tuple[str, Any]]:
        yield from choice("33-true").values(rng)
        yield "unknown name", rng.choice([7, 33, 0, -16])

    def callbacks(rng: random.Random) -> Iterator[tuple[str, Any]]:
        for value in (rng.randint(1, 9), "text", True, float("nan"), object(), [5], ["text"], [None], {}, {"a": 1}):
            yield "wrong object", value

    def logger(rng: random.Random) -> Iterator[tuple[str, Any]]:
        for value in (rng.randint(2, 9), "text", 0.5, float("nan"), object(), [5], ["text"], [None], {"a": 1}):
            yield "wrong object", value

    return {
        "accelerator": choice("quantum"), "devices": Kind(devices), "num_nodes": whole(1, absurd=10**9),
        "strategy": Kind(strategy), "precision": Kind(precision), "logger": Kind(logger), "callbacks": Kind(callbacks),
    }  # fmt: skip


def several_paths() -> Kind:
    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        yield from ((kind, value) for kind, value in readable().values(rng) if kind.endswith("for a path"))
        yield "empty", ""
        yield "empty", []
        yield "empty", {}
        yield "empty", ["user/slide.tif", ""]
        yield "None", ["user/slide.tif", None]
        yield "number for a path", ["user/slide.tif", rng.randint(1, 9)]
        yield "wrong type", [b"user/slide.tif"]
        yield "duplicates in a list", ["user/slide.tif", "user/slide.tif"]
        yield "duplicates in a list", ["user/slide.tif", Path("elsewhere/slide.svs")]
        yield "wrong container", {"user/slide.tif"}
        yield "wrong container", {"a": "user/slide.tif"}
        yield "wrong container", pd.DataFrame({"a": ["user/slide.tif"]})
        yield "wrong container", [["user/slide.tif"]]
        yield "wrong type", object()

    return Kind(values)


def a_client() -> Kind:
    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        for value in (rng.randint(1, 9), "tcp://127.0.0.1:1", "", True, object(), [], {}, float("nan")):
            yield "wrong object", value

    return Kind(values, optional=True)


def series() -> Kind:
    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        yield from whole(0, absurd=10**9).values(rng)
        yield "unknown name", rng.randint(7, 99)

    return Kind(values, optional=True)


def share() -> Kind:
    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        yield from number(0, 90).values(rng)
        yield "unknown name", 0.77

    return Kind(values, optional=True)


def features(*, wide: bool = True) -> Kind:
    """Encoded tiles ``(n, S, d)``."""

    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        n = rng.randint(3, 9)
        yield "wrong type", "features"
        yield "wrong type", n
        yield "wrong type", object()
        yield "empty", []
        yield "empty", np.zeros((0, 4, 12), np.float32)
        yield "wrong container", np.ones(n, np.float32)
        yield "wrong container", np.ones((n, 5), np.float32)
        yield "wrong container", np.ones((n, 3, 7), np.float32)
        yield "wrong container", {"a": 1}
        yield "wrong container", pd.DataFrame({"a": ["x"]})
        yield "text for a number", np.full((n, 4, 12), "x")

    return Kind(values)


def arrays_of(kind: str) -> Kind:
    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        for value in (
            "text",
            rng.randint(1, 9),
            object(),
            {},
            np.ones(3),
            np.ones((3, 3)),
            np.array(["a"] * 41),
            [None] * 41,
        ):
            yield kind, value
        yield "NaN or infinite", np.full((41, 2), np.nan)

    return Kind(values)


def shapes_of(desk: Desk) -> tuple[Any, Any]:
    """Features and centers that fit the model."""
    table = desk.with_prediction.tables["table"]
    return table.obsm["X_tiny"].reshape(table.n_obs, 4, -1), table.obsm["spatial"]


def surface() -> dict[str, tuple[Callable[[Desk], dict[str, Any]], dict[str, Kind]]]:
    """Of every public function: what a good call is given, and what each of its arguments is."""
    fit = {
        "encoder": choice("nosuch_net"), "genes": names("TUMOR_01", count=True), "gene_sets": gene_sets(),
        "gene_ranking": choice("heg"), "min_counts": min_counts, "tile_um": widths_or_none, "tile_px": widths_or_none,
        "encoder_weights": weights, "tile_store": writable().or_none(), "tile_store_gb": number(0, 1e12),
        "layer": key, "seed": whole(0), **element_keys,
    }  # fmt: skip
    recipe = {
        "method": choice("nosuch"), "preset": choice("nosuch"), "params": params(), "context": counts_list().or_none(),
        "standardize": choice("slide_").or_none(), "trainable_encoder": flag().or_none(), "anchor": flag().or_none(),
        "max_epochs": whole(1).or_none(), "batch_size": whole(2).or_none(), "inner_folds": whole(0).or_none(),
        "members": whole(1, absurd=10**6).or_none(), "learning_rate": number(0, 1e9).or_none(),
        "encoder_learning_rate": number(0, 1e9).or_none(), "stain_jitter": number(0, 1.0, below=-0.1).or_none(),
    }  # fmt: skip
    public = {"path": readable(folder=True).or_none(), "sections": names("C2").or_none()}
    gene = {"key": choice("nosuch"), "min_counts": min_counts.or_none(), "layer": key, **element_keys}
    return {
        "io.slide": (lambda _: {"path": "user/slide.tif"}, {
            "path": readable(folder=True, wrong=("user/cut.tif", "user/gray.png", "user/A.zarr", "user/model")),
            "um_per_px": um_per_px, "series": series()}),
        "io.slide_series": (lambda _: {"path": "user/slide.tif"}, {"path": readable(folder=True)}),
        "io.visium": (lambda _: {"path": "user/outs"}, {
            "path": readable(folder=True, wrong=("user/A.zarr", "user/slide.tif")),
            "image": readable(wrong=("user/gray.png", "user/cut.tif", "user/photo.png")).or_none(),
            "section": new_name().or_none()}),
        "io.legacy_st": (
            lambda _: {
                "counts": "user/C2/counts.tsv.gz", "image": "user/C2/image.jpg", "spots": "user/C2/spots.tsv",
                "section": "C2"},
            {
                "counts": readable(frame=True, wrong=("user/C2/image.jpg", "user/C2/spots.tsv")),
                "image": readable(wrong=("user/gray.png", "user/C2/spots.tsv", "user/photo.png")),
                "spots": readable(frame=True, wrong=("user/C2/image.jpg", "user/C2/counts.tsv.gz")),
                "section": new_name(), "um_per_px": um_per_px, "spot_diameter_um": number(0, 1e9),
                "subject": Kind(lambda rng: iter([
                    ("number for a name", rng.random()), ("bool for a name", True), ("empty", ""),
                    ("wrong type", b"P1"), ("wrong container", ["P1"]), ("NaN or infinite", float("nan")),
                    ("wrong type", object())]), optional=True)}),
        "pp.find_tissue": (lambda d: {"sdata": d.bare()}, {
            "sdata": section, "image_key": key, "key_added": new_name(),
            "min_area_um2": number(0, 1e15), "min_hole_um2": number(0, 1e15)}),
        "pp.spot_grid": (lambda d: {"sdata": d.bare()}, {
            "sdata": section, "pitch_um": number(0, 1e9), "diameter_um": number(0, 1e9), "layout": choice("hex"),
            "key_added": new_name(), "image_key": key, "tissue_key": key}),
        "pp.set_scale": (lambda d: {"sdata": d.fresh()["A"], "um_per_px": 2.0}, {"sdata": section, "um_per_px": um_per_px, "image_key": key}),
        "pp.set_scale by pitch": (lambda d: {"sdata": d.fresh()["A"], "pitch_um": 100}, {
            "pitch_um": number(0, 1e9).or_none(), "shapes_key": key, "table_key": key}),
        "pp.set_scale by diameter": (lambda d: {"sdata": d.fresh()["A"], "spot_diameter_um": 55}, {
            "spot_diameter_um": number(0, 1e9).or_none()}),
        "pp.embed": (lambda d: {"sdata": d.fresh()["A"], "encoder": "tiny"}, {
            "sdata": section, "encoder": choice("nosuch_net"), "encoder_weights": weights, "tile_um": widths_or_none,
            "tile_px": widths_or_none, "key_added": new_name().or_none(), "device": device, "batch_size": whole(1),
            **element_keys}),
        "tl.train": (lambda d: {"sdata": d.fresh(), **QUICK}, {
            "sdata": sections, **fit, **recipe, **trainers(), "checkpoint_dir": writable().or_none(), "resume": flag()}),
        "tl.predict": (lambda d: {"sdata": d.fresh()["A"], "model": d.model}, {
            "sdata": section, "model": a_model.or_none(), "key_added": new_name(), **element_keys,
            "encoder_weights": weights, "device": device, "interval": share(),
            "min_reliability": number(-2, 1e6, below=-50).or_none()}),
        "tl.predict_cohort": (
            lambda d: {"paths": ["user/slide.tif"], "model": d.model, "out_dir": "out", "n_jobs": 1}, {
            "paths": several_paths(), "model": a_model, "out_dir": writable(), "client": a_client(),
            "key_added": new_name(), "um_per_px": um_per_px, "pitch_um": number(0, 1e9).or_none(),
            "n_jobs": whole(1).or_none(), "device": device, "interval": share(),
            "min_reliability": number(-2, 1e6, below=-50).or_none(), "series": series()}),
        "tl.cross_validate": (lambda d: {"sections": d.fresh(), "methods": ["ridge"], "n_jobs": 1, **CUT}, {
            "sections": sections, "methods": methods(), "groups": groups(), **fit, "out": writable().or_none(),
            "n_jobs": whole(1).or_none(), "accelerator": choice("quantum"), "seeds": whole(1, absurd=10**9)}),
        "tl.evaluate": (lambda d: {"sdata": d.predicted()}, {"sdata": section, "seed": whole(0), **gene}),
        "tl.load_model": (lambda _: {"path": "user/model"}, {
            "path": readable(folder=True, wrong=("user/cut_model", "user/edited_model", "user/A.zarr"))}),
        "pl.alignment": (lambda d: {"sdata": d.fresh()["A"]}, {"sdata": section, **element_keys, **drawing}),
        "pl.spatial_expression": (lambda d: {"sdata": d.predicted(), "genes": d.model.panel[:1]}, {
            "sdata": section, "genes": names("TUMOR_01"), "shared_scale": flag(), "cmap": choice("nosuch"), **gene,
            **drawing}),
        "pl.gene_correlation": (lambda d: {"sdata": d.predicted()}, {
            "sdata": section, "genes": names("TUMOR_01", one=False).or_none(), **gene, **drawing}),
        "pl.gene_scores": (lambda d: {"table": d.scores.genes}, {
            "table": a_table, "method": names("ridge").or_none(), "n_labels": whole(0), **drawing}),
        "pl.history": (lambda d: {"model": d.network}, {"model": a_model, **drawing}),
        "pl.reliability": (lambda d: {"table": d.scores.genes, "method": "ridge"}, {
            "table": a_table, "method": choice("nosuch"), **drawing}),
        "pl.scores": (lambda d: {"table": d.scores}, {
            "table": a_table, "metric": choice("nosuch"), "gene_set": choice("nosuch").or_none(), **drawing}),
        "datasets.synthetic_tissue": (lambda _: {"n_sections": 1, "n_genes": 20, "size_um": 600, "um_per_px": 2.0}, {
            "n_sections": whole(1, absurd=10**9), "n_subjects": whole(1), "subjects": choice("alike"),
            "n_genes": whole(20), "size_um": number(599, 1e9), "um_per_px": number(0.1, 1e6), "seed": whole(0)}),
        **{f"datasets.{name}": (lambda _: {}, public) for name in ("als", "her2st", "mob")},
        "Model.save": (lambda d: {"self": d.model, "path": "out"}, {"path": writable(read=())}),
        "Model.genes_on": (lambda d: {"self": d.model, "shift": 0.5}, {
            "shift": Kind(lambda rng: (one for one in number(-1, 1e9).values(rng) if one[0] in (
                "text for a number", "bool for a number", "wrong container", "wrong type", "empty"))),
            "of_another": flag()}),
        "Model.is_of_another": (lambda d: {"self": d.model, "subject": "P1"}, {
            "subject": Kind(lambda rng: iter([
                ("number for a name", rng.random()), ("bool for a name", True), ("wrong container", ["P1"]),
                ("wrong type", object()), ("wrong type", b"P1")]), optional=True)}),
        "Model.provenance": (
            lambda d: {"self": d.model},
            {"panel": names("TUMOR_01", one=False, known_only=False).or_none()},
        ),
        "Model.distance": (lambda d: {"self": d.model, "features": shapes_of(d)[0]}, {"features": features()}),
        "Model.shift": (lambda d: {"self": d.model, "features": shapes_of(d)[0]}, {"features": features()}),
        "Model.anchored": (lambda d: {"self": d.network, "features": shapes_of(d)[0]}, {"features": features()}),
        "Model.predict_features": (
            lambda d: {"self": d.model, **dict(zip(("features", "centers_px"), shapes_of(d), strict=True))}, {
            "features": features(), "centers_px": arrays_of("wrong container"),
            "arrays": arrays_of("wrong container").or_none(), "genes": arrays_of("wrong container").or_none()}),
    }  # fmt: skip


def function(verb: str) -> Callable[..., Any]:
    """The function behind a name such as ``tl.train``."""
    found: Any = stp
    for part in verb.split(" ")[0].split("."):
        found = getattr(found, part)
    return found


def check_surface(known: dict[str, Any]) -> None:
    """Every argument of every public function must be here: none is left out of the sweep."""
    asked = collections.defaultdict(set)
    for verb, (_, arguments) in known.items():
        asked[verb.split(" ")[0]] |= arguments.keys()
    rooms = {f"{room}.{name}" for room in ("io", "pp", "tl", "pl", "datasets") for name in getattr(stp, room).__all__}
    for verb in rooms | {verb for verb in asked if verb.startswith("Model.")}:
        there = set(inspect.signature(function(verb)).parameters) - {"self"}
        if missing := there ^ asked[verb]:
            sys.exit(f"{verb}: the sweep and the function differ in {', '.join(sorted(missing))}")


def call_with(verb: str, good: Callable[[Desk], dict[str, Any]], changes: dict[str, Any], desk: Desk) -> Any:
    """A good call with one argument that is wrong."""
    given = {
        name: value.make(desk) if isinstance(value, Made) else copied_value(value) for name, value in changes.items()
    }
    return function(verb)(**{**good(desk), **given})


def copied_value(value: Any) -> Any:
    return copy.copy(value) if isinstance(value, list | dict | set) else value


def left_out(verb: str, good: Callable[[Desk], dict[str, Any]], name: str, desk: Desk) -> Any:
    return function(verb)(**{other: value for other, value in good(desk).items() if other != name})


def calls_of_arguments(rng: random.Random) -> Iterator[Call]:
    known = surface()
    check_surface(known)
    for verb, (good, arguments) in known.items():
        for name, kind in arguments.items():
            for wrong in kind.wrong(rng):
                run = functools.partial(call_with, verb, good, {name: wrong.value})
                yield Call(verb, wrong.kind, f"{name} = {wrong.said}", run)
        yield Call(verb, ARGUMENT_LIST, "nosuch=1", functools.partial(call_with, verb, good, {"nosuch": 1}))
        for name, parameter in inspect.signature(function(verb)).parameters.items():
            if parameter.default is parameter.empty and name != "self":
                yield Call(verb, ARGUMENT_LIST, f"no {name}", functools.partial(left_out, verb, good, name))


# Sections that cannot be used.


def _with_counts(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def changed(one: Any) -> Any:
        table = one.tables["table"]
        table.X = change(table.X.toarray().astype(float))
        return one

    return changed


def _nothing_in_common(one: Any) -> Any:
    one.tables["table"].var_names = [f"other{i}" for i in range(one.tables["table"].n_vars)]
    return one


def _twice(one: Any) -> Any:
    table = one.tables["table"]
    table.var_names = ["same"] * table.n_vars
    return one


def _without(kind: str) -> Callable[[Any], Any]:
    def changed(one: Any) -> Any:
        held = getattr(one, kind)
        for name in list(held):
            del held[name]
        return one

    return changed


def _two_images(one: Any) -> Any:
    one.images["second"] = one.images["S1_image"]
    return one


def _gray(one: Any) -> Any:
    from spatialdata.models import Image2DModel

    one.images["S1_image"] = Image2DModel.parse(one.images["S1_image"].to_numpy()[:1], dims=("c", "y", "x"))
    return one


def _floats(one: Any) -> Any:
    from spatialdata.models import Image2DModel

    one.images["S1_image"] = Image2DModel.parse(one.images["S1_image"].to_numpy() / 255.0, dims=("c", "y", "x"))
    return one


def _unlinked(one: Any) -> Any:
    del one.tables["table"].uns["spatialdata_attrs"]
    return one


def _far_off(one: Any) -> Any:
    one.shapes["S1"].geometry = one.shapes["S1"].translate(1e6, 1e6)
    return one


def _named(*genes: str) -> Callable[[Any], Any]:
    def changed(one: Any) -> Any:
        table = one.tables["table"]
        table.var_names = [*genes, *table.var_names[len(genes) :]]
        return one

    return changed


def _train(genes: Any = 5) -> Callable[[Any], Any]:
    return lambda one: stp.tl.train(one, **{**QUICK, "genes": genes})


def _predict(desk: Desk) -> Callable[[Any], Any]:
    return lambda one: stp.tl.predict(one, desk.model)


def calls_of_sections() -> Iterator[Call]:
    counts = {
        "negative counts": lambda x: x - 5, "NaN in counts": lambda x: np.where(x > 2, np.nan, x),
        "log counts": np.log1p, "infinite counts": lambda x: np.where(x > 2, np.inf, x), "no counts": np.zeros_like,
        "text as counts": lambda x: x.astype(int).astype(str).astype(object), "truth values as counts": lambda x: x > 2,
    }  # fmt: skip
    read = {
        "tl.train": lambda d: lambda one: stp.tl.train(one, **QUICK),
        "tl.cross_validate": lambda d: lambda one: stp.tl.cross_validate([one, d.fresh()["B"]], n_jobs=1, methods=["ridge"], **CUT),
    }  # fmt: skip
    images = {
        **read, "tl.predict": _predict, "pp.embed": lambda d: lambda one: stp.pp.embed(one, encoder="tiny"),
        "pp.find_tissue": lambda d: stp.pp.find_tissue, "pp.spot_grid": lambda d: stp.pp.spot_grid,
        "pl.alignment": lambda d: stp.pl.alignment,
    }  # fmt: skip
    spots = {name: images[name] for name in ("tl.train", "tl.cross_validate", "tl.predict", "pp.embed", "pl.alignment")}
    unpredicted = {
        "tl.evaluate": lambda d: stp.tl.evaluate, "pl.gene_correlation": lambda d: stp.pl.gene_correlation,
        "pl.spatial_expression": lambda d: lambda one: stp.pl.spatial_expression(one, "TUMOR_01"),
    }  # fmt: skip
    odd: list[tuple[str, Callable[[Any], Any], dict[str, Any]]] = [
        *((said, _with_counts(change), read) for said, change in counts.items()),
        ("genes of one name", _twice, read),
        ("no gene in common", _nothing_in_common, {"tl.cross_validate": read["tl.cross_validate"]}),
        ("no image", _without("images"), images),
        ("no shapes", _without("shapes"), {**spots, **unpredicted}),
        ("two images", _two_images, images),
        ("gray image", _gray, images),
        ("image of fractions", _floats, images),
        ("table without its link", _unlinked, {name: spots[name] for name in ("tl.train", "tl.cross_validate")}),
        ("spots far off the image", _far_off, spots),
        ("no prediction", lambda one: one, unpredicted),
    ]
    for said, change, verbs in odd:
        for verb, work in verbs.items():

            def run(desk: Desk, change: Any = change, work: Any = work) -> Any:
                return work(desk)(change(desk.fresh()["A"]))

            yield Call(verb, "section that cannot be used", said, run)


# Odd, and right: these must work, or what is refused is more than what is wrong.


def calls_that_are_right() -> Iterator[Call]:
    def trained(**changes: Any) -> Callable[[Desk], Any]:
        return lambda desk: stp.tl.train(desk.fresh(), **{**QUICK, **changes})

    right: dict[str, Callable[[Desk], Any]] = {
        "train, numbers of NumPy": trained(seed=np.int64(3), genes=np.int32(4), min_counts=np.float32(2), inner_folds=np.uint8(2)),
        "train, an array of names": trained(genes=np.array(["TUMOR_01", "TUMOR_02"])),
        "train, an Index of names": lambda d: stp.tl.train(d.fresh(), **{**QUICK, "genes": d.sections["A"].tables["table"].var_names[:4]}),
        "train, a tuple of sections": lambda d: stp.tl.train(tuple(d.fresh().values()), **QUICK),
        "train, paths": lambda d: stp.tl.train(["user/A.zarr", Path("user/B.zarr")], **QUICK),
        "train, widths": trained(tile_um=(112, np.float64(200))),
        "train, folders": trained(checkpoint_dir=Path("out"), tile_store="store"),
        "train, a gene twice as a set": trained(gene_sets={"肿瘤": {"TUMOR_01", "TUMOR_02"}}),
        "predict, a key in any script": lambda d: stp.tl.predict(d.fresh()["A"], d.model, key_added="预测"),
        "legacy_st, a name in any script": lambda d: stp.io.legacy_st(
            "user/C2/counts.tsv.gz", Path("user/C2/image.jpg"), "user/C2/spots.tsv", section="肺癌_1"),
        "cohort, names in any script": _cohort_of_scripts,
        "spatial_expression, a gene with dollars": _dollars,
        "train, predict and write, a/b beside a_b": _slashes,
        "alignment, a file in any script": lambda d: stp.pl.alignment(d.fresh()["A"], save="图.png", show=np.False_),
    }  # fmt: skip
    for gene in (".", "..", "x" * 300, "__gene", "a\\b"):
        right[f"train, predict and write, a gene {gene[:9]!r}"] = functools.partial(_gene, gene)
    for said, run in right.items():
        yield Call("right", "right, if odd", said, run)


def _cohort_of_scripts(desk: Desk) -> None:
    for name in ("肺癌", "胃癌"):
        shutil.copy("user/slide.tif", f"{name}.tif")
    manifest = stp.tl.predict_cohort(["肺癌.tif", "胃癌.tif"], desk.model, "out", n_jobs=1)
    if manifest["store"].nunique() != 2 or not manifest["status"].eq("done").all():
        raise RuntimeError(f"not two slides that are done:\n{manifest}")


def _dollars(desk: Desk) -> None:
    genes = ["$\\frac{", "$a_b^c$", "cost $5"]
    one = _named(*genes)(desk.fresh()["A"])
    stp.tl.predict(one, stp.tl.train(one, **{**QUICK, "genes": genes}))
    stp.pl.spatial_expression(one, genes, save="out.png")
    stp.pl.gene_correlation(one, save="out2.png")
    stp.pl.gene_scores(stp.tl.evaluate(one), save="out3.png")


def _gene(gene: str, desk: Desk) -> None:
    import spatialdata

    one = _named(gene)(desk.fresh()["A"])
    stp.tl.predict(one, stp.tl.train(one, **{**QUICK, "genes": [gene, "TUMOR_02"]}))
    scores = stp.tl.evaluate(one)
    one.write("out.zarr")
    again = stp.tl.evaluate(spatialdata.read_zarr("out.zarr"))
    if not scores.equals(again):
        raise RuntimeError("scores differ once it was written and read back")


def _slashes(desk: Desk) -> None:
    import spatialdata

    both = [_named("a/b", "a_b")(one) for one in desk.fresh().values()]
    stp.tl.predict(both[0], stp.tl.train(both, **{**QUICK, "genes": ["a/b", "a_b"]}))
    both[0].write("out.zarr")
    found = spatialdata.read_zarr("out.zarr").tables["table"].obsm["predicted"]
    if found.shape[1] != 2:
        raise RuntimeError(f"columns {list(found)}")


# Running them.


class TooSlow(BaseException):
    """A call that took too long; no ``except Exception`` catches it."""


def _ring(_number: int, _frame: Any) -> None:
    raise TooSlow


def outcome(call: Call, desk: Desk, place: Path) -> tuple[str, str]:
    """What came of a call, and what it said; it works in an empty folder with a link to the user's files."""
    place.mkdir()
    (place / "user").symlink_to(desk.folder / "user")
    said = io.StringIO()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of this process's own time: others may keep the machine busy
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    try:
        with contextlib.chdir(place), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            call.run(desk)
        found = TAKEN, ""
    except TooSlow:
        found = SLOW, f"over {SECONDS} s"
    except stp.InputError as error:
        parts = error.what, error.where, error.expected, error.remedy
        found = (OWN if all(map(str.strip, parts)) else FOREIGN), str(error)
    except SystemExit as error:
        found = TAKEN, f"exit {error.code}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
        python = call.kind == ARGUMENT_LIST and isinstance(error, TypeError) and "argument" in str(error)
        last = traceback.extract_tb(error.__traceback__)[-1]
        found = (
            PYTHON if python else FOREIGN,
            f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {' '.join(str(error).split())[:110]}",
        )
    finally:
        for clock in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(clock, 0)
        from matplotlib import pyplot as plt

        plt.close("all")
        shutil.rmtree(place, ignore_errors=True)
    if digest(desk.folder / "user") != desk.digest:
        desk.digest = digest(desk.folder / "user")
        return CHANGED, found[1]
    return found


def all_calls(seed: int) -> list[Call]:
    rng = random.Random(seed)
    lines = [
        Call(line.split()[0], "command line", line, functools.partial(_command, line)) for line in command_lines(rng)
    ]
    return [*calls_of_arguments(rng), *calls_of_sections(), *lines, *calls_that_are_right()]


def _command(line: str, _desk: Desk) -> None:
    """A command line; an exit status of 1 or 2 with a word about it is the command's own error."""
    import shlex

    from click.testing import CliRunner

    from st_predict.cli import main

    result = CliRunner().invoke(main, shlex.split(line))
    if isinstance(result.exception, Exception):
        raise result.exception
    if result.exit_code in (1, 2) and result.output.strip():
        raise stp.InputError(result.output, where="line", expected="another", remedy="correct it")


def fine(call: Call, found: str) -> bool:
    return found == TAKEN if call.verb == "right" else found in FINE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="run this share of the calls, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="calls whose name begins so")
    parser.add_argument("--list", action="store_true", help="print every call with what it said")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for number_ in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number_, _ring)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    calls = [call for call in all_calls(options.seed) if call.verb.startswith(options.only or "")]
    if options.share < 1:
        calls = random.Random(options.seed).sample(calls, round(options.share * len(calls)))
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    bad, begin = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder).resolve())
        for number_, call in enumerate(calls):
            found, said = outcome(call, desk, desk.folder / f"call{number_}")
            table[call.kind][found] += 1
            if not fine(call, found):
                bad.append(call)
                print(f"{found}: {call.verb}({call.said}) {said}", flush=True)
            elif options.list:
                print(f"{found}: {call.verb}({call.said})\n{said}\n", flush=True)
    tell(table, len(calls), len(bad), time.perf_counter() - begin)
    sys.exit(bool(bad))


def tell(table: dict[str, collections.Counter[str]], n: int, n_bad: int, seconds: float) -> None:
    """The table, kinds of calls by outcome, as Markdown."""
    print(f"\n| what is wrong | calls | {' | '.join(OUTCOMES)} |")
    print("| --- " + "| ---: " * (len(OUTCOMES) + 1) + "|")
    total: collections.Counter[str] = collections.Counter()
    for kind in sorted(table, key=lambda kind: (kind.startswith("right"), kind)):
        total += table[kind]
        print(f"| {kind} | {table[kind].total()} | {' | '.join(str(table[kind][one] or '') for one in OUTCOMES)} |")
    print(f"| all | {n} | {' | '.join(str(total[one]) for one in OUTCOMES)} |")
    print(f"\n{n} calls in {seconds:.0f} s; {n_bad} not as they should be.")


if __name__ == "__main__":
    main()
