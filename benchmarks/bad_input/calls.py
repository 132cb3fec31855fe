"""Wrong calls: every argument with values that are wrong for it, sections that cannot be used; and odd calls that are right."""

from __future__ import annotations

import collections
import copy
import functools
import inspect
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from desk import CUT, QUICK, Desk
from surface import surface
from values import Made

import st_predict as stp

ARGUMENT_LIST = "unknown or missing argument"
"""The one kind of call that Python itself refuses: its TypeError names the argument, and editors know it."""


class Call(NamedTuple):
    """One wrong call."""

    verb: str
    kind: str
    said: str
    run: Callable[[Desk], Any]


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


def named(*genes: str) -> Callable[[Any], Any]:
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
        "text as counts": lambda x: np.full(x.shape, "many", dtype=object), "truth values as counts": lambda x: x > 2,
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
