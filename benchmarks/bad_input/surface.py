"""The public surface: of every function what a good call is given, and what each of its arguments is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from desk import CUT, QUICK, Desk
from kinds import (
    a_client,
    arrays_of,
    features,
    gene_sets,
    groups,
    least_by_column,
    methods,
    params,
    series,
    several_paths,
    share,
    trainers,
)
from values import (
    Kind,
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
min_counts = number(0, 1e12, below=-1).or_none()
um_per_px = number(0, 1e6).or_none()


subject = Kind(
    lambda rng: iter([
        ("number for a name", rng.random()), ("bool for a name", True), ("empty", ""), ("wrong type", b"P1"),
        ("wrong container", ["P1"]), ("NaN or infinite", float("nan")), ("wrong type", object()),
    ]),
    optional=True,
)  # fmt: skip


def shapes_of(desk: Desk) -> tuple[Any, Any]:
    """Features and centers that fit the model."""
    table = desk.with_prediction.tables["table"]
    return table.obsm["X_tiny"].reshape(table.n_obs, 4, -1), table.obsm["spatial"]


def surface() -> dict[str, tuple[Callable[[Desk], dict[str, Any]], dict[str, Kind]]]:
    """Of every public function: what a good call is given, and what each of its arguments is."""
    fit = {
        "encoder": choice("nosuch_net"), "genes": names("TUMOR_01", count=True), "gene_sets": gene_sets(),
        "gene_ranking": choice("heg"), "min_counts": min_counts, "tile_um": widths_or_none, "tile_px": widths_or_none,
        "encoder_weights": weights, "tile_store": writable(shared=True).or_none(), "tile_store_gb": number(0, 1e12),
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
    gene = {"key": choice("nosuch"), "min_counts": min_counts, "layer": key, **element_keys}
    return {
        "io.slide": (lambda _: {"path": "user/slide.tif"}, {
            "path": readable(folder=True, wrong=("user/cut.tif", "user/gray.png", "user/A.zarr", "user/model")),
            "um_per_px": um_per_px, "series": series()}),
        "io.slide_series": (lambda _: {"path": "user/slide.tif"}, {"path": readable(folder=True, any_file=True)}),
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
                "subject": subject}),
        "io.anndata": (lambda _: {"adata": "user/squidpy.h5ad"}, {
            "adata": readable(wrong=("user/slide.tif", "user/A.zarr", "user/C2/counts.tsv.gz")),
            "image": readable(wrong=("user/gray.png", "user/cut.tif", "user/photo.png")).or_none(),
            "library": choice("nosuch").or_none(), "section": new_name().or_none(), "subject": subject, "layer": key,
            "um_per_px": um_per_px}),
        "io.hest": (lambda _: {"folder": "user/hest", "sample": "A"}, {
            "folder": readable(folder=True, wrong=("user/slide.tif", "user/model")), "sample": choice("nosuch").or_none(),
            "um_per_px": um_per_px}),
        "datasets.hest": (lambda _: {"ids": "TENX99"}, {
            "ids": Kind(lambda rng: iter([
                ("None where it is not allowed", None), ("empty", ""), ("empty", []), ("number for a name", rng.random()),
                ("bool for a name", True), ("wrong type", b"A"), ("wrong type", object()), ("wrong container", {"A": 1}),
                ("bad name", "*"), ("bad name", ["../A"])])),
            "slides": flag(), "revision": subject}),
        "datasets.write_hest": (lambda d: {"sections": {"A": d.sections["A"]}, "folder": "out"}, {
            "sections": Kind(lambda rng: iter([
                ("None where it is not allowed", None), ("empty", {}), ("wrong container", [1]), ("wrong type", object()),
                ("wrong type", {"A": None}), ("number for a name", rng.random())])),
            "folder": writable(shared=True, read=()), "slides": flag()}),
        "pp.find_tissue": (lambda d: {"sdata": d.bare()}, {
            "sdata": section, "image_key": key, "key_added": new_name(),
            "min_area_um2": number(0, 1e15), "min_hole_um2": number(0, 1e15)}),
        "pp.spot_grid": (lambda d: {"sdata": d.bare()}, {
            "sdata": section, "pitch_um": number(0, 1e9), "diameter_um": number(0, 1e9), "layout": choice("hex"),
            "key_added": new_name(), "image_key": key, "tissue_key": key}),
        "pp.pool_spots": (lambda d: {"sdata": d.transcripts()}, {
            "sdata": section, "pitch_um": number(0, 1e9), "diameter_um": number(0, 1e9), "layout": choice("hexagon"),
            "points_key": key, "image_key": key, "tissue_key": key, "feature_key": choice("nosuch").or_none(),
            "min_quality": least_by_column(), "key_added": new_name()}),
        "pp.pool_spots by table": (lambda d: {"sdata": d.fresh()["A"], "pitch_um": 200}, {
            "table_key": key, "shapes_key": key, "layer": key}),
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
            "min_reliability": number(-2, 1e6, below=-50).or_none(), "series": series(of_each=True)}),
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
            "sdata": section, "genes": names("TUMOR_01", twice=True).or_none(), **gene, **drawing}),
        "pl.gene_scores": (lambda d: {"table": d.scores.genes}, {
            "table": a_table, "method": names("ridge").or_none(), "n_labels": whole(0), **drawing}),
        "pl.history": (lambda d: {"model": d.network}, {"model": a_model, **drawing}),
        "pl.reliability": (lambda d: {"table": d.scores.genes, "method": "ridge"}, {
            "table": a_table, "method": choice("nosuch"), **drawing}),
        "pl.scores": (lambda d: {"table": d.scores}, {
            "table": a_table, "metric": choice("nosuch"), "gene_set": choice("nosuch").or_none(), **drawing}),
        "datasets.synthetic_tissue": (lambda _: {"n_sections": 1, "n_genes": 20, "size_um": 600, "um_per_px": 2.0}, {
            "n_sections": whole(1, absurd=10**9), "n_subjects": whole(1), "subjects": choice("alike"),
            "technology": choice("Visium"), "n_genes": whole(20), "size_um": number(599, 1e9), "um_per_px": number(0.1, 1e6), "seed": whole(0)}),
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
