"""Odd calls that are right: if one is refused, more is refused than what is wrong."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from calls import Call, named
from desk import QUICK, Desk

import st_predict as stp


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
    one = named(*genes)(desk.fresh()["A"])
    stp.tl.predict(one, stp.tl.train(one, **{**QUICK, "genes": genes}))
    stp.pl.spatial_expression(one, genes, save="out.png")
    stp.pl.gene_correlation(one, save="out2.png")
    stp.pl.gene_scores(stp.tl.evaluate(one), save="out3.png")


def _gene(gene: str, desk: Desk) -> None:
    import spatialdata

    one = named(gene)(desk.fresh()["A"])
    stp.tl.predict(one, stp.tl.train(one, **{**QUICK, "genes": [gene, "TUMOR_02"]}))
    scores = stp.tl.evaluate(one)
    one.write("out.zarr")
    again = stp.tl.evaluate(spatialdata.read_zarr("out.zarr"))
    if not scores.equals(again):
        raise RuntimeError("scores differ once it was written and read back")


def _slashes(desk: Desk) -> None:
    import spatialdata

    both = [named("a/b", "a_b")(one) for one in desk.fresh().values()]
    stp.tl.predict(both[0], stp.tl.train(both, **{**QUICK, "genes": ["a/b", "a_b"]}))
    both[0].write("out.zarr")
    found = spatialdata.read_zarr("out.zarr").tables["table"].obsm["predicted"]
    if found.shape[1] != 2:
        raise RuntimeError(f"columns {list(found)}")
