"""Kinds of arguments that are more than a number, a name or a path, and what is wrong for each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from values import Kind, choice, names, number, readable, whole


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


def least_by_column() -> Kind:
    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        for value in (rng.randint(1, 9), "qv", True, float("nan"), ["qv"], [("qv", 20)], object()):
            yield "wrong container", value
        yield "unknown name", {"nosuch": 1}
        yield "number for a name", {5: 1}
        yield "None", {"qv": None}
        yield "text for a number", {"qv": "20"}
        yield "bool for a number", {"qv": True}
        yield "NaN or infinite", {"qv": float("nan")}
        yield "NaN or infinite", {"qv": float("inf")}
        yield "absurdly large", {"qv": 1e9}
        yield "wrong type", {"cell_id": 1}

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


def series(*, of_each: bool = False) -> Kind:
    """The number of a slide in its file; ``of_each`` of several: one that a file lacks is told of that file."""

    def values(rng: random.Random) -> Iterator[tuple[str, Any]]:
        yield from whole(0, absurd=10**9).values(rng)
        if not of_each:
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
