"""What every argument of the public surface may be, each said once.

An argument that means something else in one verb stands under that verb's name as well: ``"train.sdata"``.
"""

from __future__ import annotations

from st_predict.core.arguments.kinds import (
    Anything,
    Array,
    ByName,
    Choice,
    Flag,
    Instance,
    Kind,
    Listed,
    Mapped,
    Members,
    Name,
    Nested,
    Number,
    OneOf,
    OrUnknown,
    Place,
    Settings,
    Text,
    Whole,
    optional,
)
from st_predict.core.checks import UM_PER_PX_LIMITS

TEXT, PLACE, FLAG, NAME = Text(), Place(), Flag(), Name()
BARE = Text(bare=True)
KEY = optional(Text("the key of an element"))
GENE = Text("the name of a gene or of a gene set", bare=True)
FOLDER = optional(Place("a folder to write"))
WIDTH = Number(0, 20_000)
WIDTHS = optional(WIDTH, Listed(WIDTH))
JOBS = optional(Whole(1, 10_000))
RELIABILITY = optional(Number(-1, 1, ends=True, what="a PCC"))
UM_PER_PX = Number(
    *UM_PER_PX_LIMITS,
    what="micrometers a pixel of the full-resolution image",
    remedy="give um per pixel (not pixels per um, nm or mm); a 20x scan has about 0.5",
)
LENGTH_UM = Number(0, 1_000_000, what="a length in um")
SPOT_UM = Number(0.1, 1000, ends=True, what="the diameter of a spot in um")
SDATA = Instance(
    "spatialdata.SpatialData",
    "a SpatialData, one section",
    "read the section with st_predict.io, or spatialdata.read_zarr(path)",
)
MODEL = Instance(
    "st_predict.core.model.model.Model",
    "a model",
    "model = st_predict.tl.train(sections), or st_predict.load_model(path)",
)
SECTION = OneOf((SDATA, Place("the path of its Zarr store")), what="a SpatialData, or the path of its Zarr store")
SECTIONS = (
    Listed(SECTION, twice=True),
    Mapped(Text("the name of a section", bare=True), SECTION, "a section for each name", 1),
)
_READ = "read sections with st_predict.io, or give the paths of Zarr stores"
FRAME = Instance("pandas.DataFrame", "a DataFrame")
LOGGER = Instance("lightning.pytorch.loggers.Logger", "a logger of Lightning")
_GROUP = OneOf((BARE, Whole(0, 10**9)))
FEATURES = Array(3, "encoded tiles (n, S, d): an array of finite numbers of three dimensions", dtype="float32")

DECLARED: dict[str, Kind] = {
    # what is worked on
    "sdata": SDATA,
    "train.sdata": OneOf(
        (SDATA, PLACE, *SECTIONS),
        what="a SpatialData or the path of its Zarr store, or a list or a dict of these",
        remedy=_READ,
    ),
    "cross_validate.sections": OneOf(
        SECTIONS, what="a list or a dict of SpatialData or of paths of their Zarr stores", remedy=_READ
    ),
    "sections": optional(BARE, Listed(BARE)),
    "model": MODEL,
    "predict.model": optional(MODEL),
    "table": Instance(
        "pandas.DataFrame", "a table of scores, as it was returned", "give the table that holds the scores"
    ),
    "features": FEATURES,
    "centers_px": Array(2, "centers of the spots (n, 2): an array of numbers of two dimensions"),
    "arrays": optional(Array(1, "the number of its array for each spot (n,)", whole=True)),
    # files and folders
    "path": PLACE,
    "her2st.path": optional(Place("a folder")),
    "als.path": optional(Place("a folder")),
    "mob.path": optional(Place("a folder")),
    "paths": OneOf((PLACE, Listed(Place("the path of a slide"), twice=True))),
    "image": PLACE,
    "visium.image": optional(PLACE),
    "counts": OneOf((PLACE, FRAME)),
    "spots": OneOf((PLACE, FRAME)),
    "out": FOLDER,
    "out_dir": Place("a folder to write"),
    "checkpoint_dir": FOLDER,
    "tile_store": FOLDER,
    "encoder_weights": optional(Place("a file of weights")),
    "save": optional(Place("a file to write")),
    "adata": OneOf(
        (Instance("anndata.AnnData", "an AnnData"), Place("the path of an .h5ad file")),
        what="an AnnData, or the path of an .h5ad file",
    ),
    "anndata.image": optional(PLACE),
    "folder": Place("a folder"),
    "write_hest.sections": Mapped(NAME, SDATA, "a SpatialData for each name", 1),
    "write_hest.folder": Place("a folder to write"),
    # names
    "image_key": KEY,
    "shapes_key": KEY,
    "table_key": KEY,
    "tissue_key": KEY,
    "points_key": KEY,
    "feature_key": optional(Text("the name of a column")),
    "layer": KEY,
    "key": Text("the key of a prediction"),
    "key_added": NAME,
    "embed.key_added": optional(NAME),
    "section": NAME,
    "visium.section": optional(NAME),
    "anndata.section": optional(NAME),
    "library": optional(Text("the name of a library")),
    "sample": optional(Text("the name of a sample")),
    "ids": OneOf((TEXT, Listed(TEXT)), what="one or several names, such as 'TENX99'"),
    "slides": FLAG,
    "revision": optional(Text("a revision of the data set")),
    "subject": optional(Text("the name of a patient or an animal", bare=True)),
    "encoder": Text("the name of an encoder"),
    "method": Text("the name of a method"),
    "gene_scores.method": optional(TEXT, Listed(TEXT)),
    "preset": Text("the name of a preset"),
    "metric": Text("the name of a metric"),
    "gene_set": optional(Text("the name of a gene set")),
    "cmap": Text("the name of a color map of matplotlib"),
    "device": Text("a torch device, or 'auto'"),
    "accelerator": Text("an accelerator that Lightning knows, or 'auto'"),
    # genes
    "genes": OneOf((Whole(1, 1_000_000, "how many genes"), GENE, Listed(GENE))),
    "spatial_expression.genes": OneOf((GENE, Listed(GENE))),
    "gene_correlation.genes": optional(GENE, Listed(GENE, twice=True)),
    "predict_features.genes": optional(Array(1, "numbers of genes (m,)", whole=True)),
    "panel": optional(Listed(GENE)),
    "gene_sets": optional(
        Mapped(
            Text("the name of a gene set", bare=True),
            Members(GENE),
            "a dict of lists of genes by the name of the set",
            remedy="gene_sets={'T cells': ['CD3D', 'CD3E']}",
        )
    ),
    "gene_ranking": Choice(("heg", "hvg")),
    "min_counts": optional(Number(0, 1e9, ends=True)),
    # lengths
    "um_per_px": optional(UM_PER_PX),
    "synthetic_tissue.um_per_px": Number(0.2, 2.0, ends=True, what="um a pixel"),
    "size_um": Number(600, 10_000, ends=True, what="a length in um"),
    "spot_diameter_um": SPOT_UM,
    "set_scale.spot_diameter_um": optional(SPOT_UM),
    "pitch_um": optional(LENGTH_UM),
    "spot_grid.pitch_um": LENGTH_UM,
    "pool_spots.pitch_um": LENGTH_UM,
    "min_quality": optional(
        Mapped(Text("the name of a column"), Number(-1e300, 1e300), "a dict of numbers by column", 0)
    ),
    "diameter_um": LENGTH_UM,
    "pool_spots.diameter_um": Number(1, 1_000_000, ends=True, what="a length in um"),
    "layout": Choice(("hex", "square")),
    "min_area_um2": Number(0, 1e12, what="an area in square um"),
    "min_hole_um2": Number(0, 1e12, what="an area in square um"),
    "tile_um": WIDTHS,
    "tile_px": WIDTHS,
    "shift": OrUnknown(Number(0, 1e300, ends=True, what="a distance")),
    # how a method is trained
    "params": optional(Mapped(TEXT, Anything(), "a dict of the method's own settings by name")),
    "context": optional(Listed(Whole(1, 100_000, "a number of neighbors"), least=0)),
    "standardize": optional(Choice(("slide", "training", "none"))),
    "trainable_encoder": optional(FLAG),
    "anchor": optional(FLAG),
    "max_epochs": optional(Whole(1, 1_000_000)),
    "batch_size": optional(Whole(2, 1_000_000, "a whole number (contrast needs another spot in the batch)")),
    "embed.batch_size": Whole(1, 10_000),
    "inner_folds": optional(Whole(0, 1_000)),
    "members": optional(Whole(1, 1_000)),
    "learning_rate": optional(Number(0, 100)),
    "encoder_learning_rate": optional(Number(0, 100)),
    "stain_jitter": optional(OneOf((Choice((0,)), Number(0, 1)))),
    "tile_store_gb": Number(0, 1e6),
    "seed": Whole(0, 2**32 - 1),
    "seeds": Whole(1, 1_000, "how many seeds, the first of which is seed"),
    "groups": optional(
        Choice(("subject", "section")),
        ByName(_GROUP, "a dict or a Series of groups by the name of each section"),
        Listed(_GROUP, twice=True),
    ),
    "resume": FLAG,
    # where it runs
    "devices": OneOf((Whole(1, 10_000), Choice(("auto",)), Listed(Whole(0, 10_000, "the number of a device")))),
    "num_nodes": Whole(1, 100_000),
    "strategy": OneOf((TEXT, Instance("lightning.pytorch.strategies.Strategy", "a strategy of Lightning"))),
    "precision": OneOf((TEXT, Whole(16, 64))),
    "logger": OneOf((FLAG, LOGGER, Listed(LOGGER, twice=True))),
    "callbacks": Listed(Instance("lightning.pytorch.Callback", "a callback of Lightning"), least=0, twice=True),
    "n_jobs": JOBS,
    "client": optional(Instance("distributed.Client", "a dask.distributed.Client")),
    # what is predicted
    "interval": optional(Choice((0.5, 0.8, 0.9, 0.95))),
    "min_reliability": RELIABILITY,
    "series": optional(Whole(0, 1_000_000, "the number of a slide in its file")),
    "predict_cohort.series": optional(Whole(0, 1_000_000, "the number of a slide in its file"), Choice(("all",))),
    "of_another": FLAG,
    # pictures
    "axes": optional(Nested(Instance("matplotlib.axes.Axes", "axes of matplotlib"))),
    "show": optional(FLAG),
    "shared_scale": FLAG,
    "n_labels": Whole(0, 10_000),
    # drawn tissue
    "n_sections": Whole(1, 1_000),
    "n_subjects": Whole(1, 1_000),
    "n_genes": Whole(20, 100_000),
    "subjects": Choice(("alike", "patients")),
    "technology": Choice(("visium", "xenium", "visium_hd")),
}
"""By name; the kind of an argument of one verb under ``"verb.argument"``."""

_RECIPE = (
    "method", "preset", "params", "context", "standardize", "trainable_encoder", "max_epochs", "batch_size",
    "learning_rate", "encoder_learning_rate", "inner_folds", "members", "anchor", "stain_jitter",
)  # fmt: skip
DECLARED["methods"] = OneOf(
    (
        TEXT,
        Listed(TEXT),
        Mapped(TEXT, Settings({name: DECLARED[name] for name in _RECIPE}), "a dict of settings by label", 1),
    )
)
