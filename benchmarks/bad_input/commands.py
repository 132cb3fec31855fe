"""Command lines that are wrong, for this sweep; ``user`` is a folder with the files it writes."""

from __future__ import annotations

import random
from collections.abc import Iterator

TRAIN = "train user/A.zarr user/B.zarr --out out --method ridge --encoder tiny --genes 5 --min-counts 1"
STORES = "predict user/A.zarr --model user/model --out out"
SLIDES = "predict user/slide.tif --model user/model --out out --jobs 1"
EVALUATE = "evaluate user/predicted.zarr"
BENCHMARK = (
    "benchmark user/A.zarr user/B.zarr --out out --methods ridge --encoder tiny --genes 5 --min-counts 1 "
    "--seeds 1 --jobs 1"
)
NO_NUMBER = ("x", "nan", "inf", "-1", "1e400", "''", "True", "[1]")
NO_COUNT = ("x", "0", "-3", "1.5", "nan", "''", "99999999999999999999")
NO_FOLDER = (
    "user/notes.txt",
    "user/notes.txt/out",
    "user/full",
    "user/A.zarr",
    "user/A.zarr/out",
    "user/model/out",
    "''",
    "/proc/out",
)
NO_FILE = ("nosuch.txt", "user", "''", "user/random.bin", "user/empty.tif")
NO_NAME = ("nosuch", "''", "a/b", "..")

OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    TRAIN: {
        "--out": NO_FOLDER,
        "--method": NO_NAME,
        "--preset": NO_NAME[:2],
        "--max-epochs": NO_COUNT,
        "--batch-size": NO_COUNT,
        "--members": NO_COUNT,
        "--inner-folds": ("x", "-3", "1.5", "99999999999999999999"),
        "--devices": ("0", "-1", "many", "1.5", "99999999999"),
        "--num-nodes": ("0", "-1", "x", "99999999999"),
        "--strategy": NO_NAME[:2],
        "--precision": ("nosuch", "33", "''"),
        "--checkpoints": (*NO_FOLDER, "out", "out/kept", "."),
        "--tile-store": (*(one for one in NO_FOLDER if one != "user/full"), "out", "out/tiles"),
        "--encoder": NO_NAME[:2],
        "--encoder-weights": NO_FILE,
        "--genes": ("nosuch.txt", "0", "-5", "user/genes.txt", "user/empty.tif", "user/random.bin", "user", "''"),
        "--gene-sets": (*NO_FILE, "user/bad.gmt"),
        "--gene-ranking": NO_NAME[:2],
        "--min-counts": NO_NUMBER,
        "--tile-um": ("x", "0", "-1", "nan", "1e9", "inf"),
        "--tile-px": ("x", "0", "-1", "nan", "1e9"),
        "--accelerator": ("quantum", "''"),
        "--layer": NO_NAME[:2],
        "--image-key": NO_NAME[:2],
        "--table-key": NO_NAME[:2],
        "--seed": ("x", "-1", "1.5", "99999999999999999999"),
        "--nosuch": ("1",),
    },
    STORES: {
        "--model": ("nosuch", "user/notes.txt", "user/A.zarr", "user/cut_model", "user/edited_model", "''"),
        "--out": (
            *(one for one in NO_FOLDER if one != "user/full"),
            "user",
            "user/model",
        ),  # a store beside other files is right
        "--key-added": ("..", "a/b", "''", "__x", "x" * 300, "spatial"),
        "--interval": ("x", "nan", "90", "0", "0.77", "-1"),
        "--min-reliability": ("x", "nan", "5", "inf"),
        "--image-key": NO_NAME[:2],
        "--table-key": NO_NAME[:2],
        "--um-per-px": ("1",),
        "--series": ("0",),
    },
    SLIDES: {
        "--um-per-px": NO_NUMBER,
        "--pitch-um": (*NO_NUMBER, "0", "1e9"),
        "--jobs": NO_COUNT,
        "--series": ("x", "-1", "1.5", "99", "''"),
        "--out": (*NO_FOLDER, "user", "user/model", "user/slide.tif"),
        "--key-added": ("..", "a/b", "''", "x" * 300),
        "--image-key": ("nosuch",),
    },
    EVALUATE: {
        "--key": NO_NAME[:2],
        "--out": ("user/notes.txt", "user", "user/full/work.csv", "user/A.zarr/out.csv", "/proc/out.csv", "''"),
        "--min-counts": NO_NUMBER,
        "--layer": NO_NAME[:2],
        "--table-key": NO_NAME[:2],
    },
    BENCHMARK: {
        "--methods": ("nosuch", "''", "ridge,nosuch", ",,"),
        "--networks": NO_COUNT,
        "--seeds": NO_COUNT,
        "--jobs": NO_COUNT,
        "--out": NO_FOLDER,
        "--groups": NO_NAME[:2],
        "--genes": ("0", "nosuch.txt"),
        "--encoder": NO_NAME[:2],
        "--accelerator": ("quantum",),
        "--min-counts": ("x", "nan", "-1"),
        "--tile-um": ("0", "nan", "1e9"),
        "--seed": ("x", "-1", "99999999999999999999"),
    },
}
WHOLE = (
    "nosuch", "train", "predict", "evaluate", "benchmark", "train --out out", "predict user/slide.tif",
    "train nosuch.zarr --out out", "train user/notes.txt --out out", "train user --out out", "train '' --out out",
    "train user/A.zarr user/A.zarr --out out", "train user/model --out out", "train user/full --out out",
    "predict user/slide.tif user/A.zarr --model user/model --out out", "predict user/notes.txt --model user/model --out out",
    "predict user/full --model user/model --out out", "predict nosuch --model user/model --out out",
    "predict user/cut.tif --model user/model --out out --jobs 1", "predict user/gray.png --model user/model --out out --jobs 1",
    "evaluate user/A.zarr", "evaluate user/notes.txt", "evaluate nosuch.zarr", "evaluate user/model", "evaluate user/full",
    "benchmark nosuch --out out", "benchmark user/notes.txt --out out", "benchmark user/full --out out",
    "benchmark user/A.zarr --out out --encoder tiny", "benchmark '' --out out", "benchmark user/A.zarr user/A.zarr --out out",
    "presets nosuch", "presets ''", "presets --format nosuch", "demo --out user/notes.txt", "demo --out user/full",
    "demo --out user/A.zarr", "demo --seed x", "demo --seed -1", "demo --out out --seed 99999999999999999999", "demo --out ''",
    f"{TRAIN} --resume", "train user/A.zarr --out out --method ridge --members 3 --encoder tiny",
    "train user/A.zarr --out out --encoder tiny --tile-um 112 --tile-px 50",
)  # fmt: skip


def command_lines(rng: random.Random) -> Iterator[str]:
    """Every option with values that are wrong for it, in an order of their own, then lines that are wrong as a whole."""
    for base, options in OPTIONS.items():
        for option, values in options.items():
            for value in rng.sample(values, len(values)):
                yield f"{base} {option} {value}" if value != "''" else f"{base} {option}=''"
    yield from WHOLE
