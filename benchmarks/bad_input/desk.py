"""A folder with files of a user, and sections and models in memory, that wrong calls are made on."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import st_predict as stp


class Desk:
    """A folder with files of a user, and sections and models in memory; what a call may have changed is made anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        drawn = stp.datasets.synthetic_tissue(n_sections=2, n_genes=30, size_um=800, um_per_px=2.0)
        self.sections = dict(zip("AB", drawn.values(), strict=True))
        self.xenium = stp.datasets.synthetic_tissue(
            n_sections=1, n_genes=30, size_um=600, um_per_px=2.0, technology="xenium"
        )["S1"]
        stp.pp.find_tissue(self.xenium)
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

    def transcripts(self) -> Any:
        """A section of Xenium with the outline of its tissue."""
        return copied(self.xenium)

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
        images=dict(section.images), points=dict(section.points), shapes={key: shapes.copy() for key, shapes in section.shapes.items()},
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
    stp.to_anndata(section).write_h5ad(user / "squidpy.h5ad")
    stp.datasets.write_hest({"A": section}, user / "hest")
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
