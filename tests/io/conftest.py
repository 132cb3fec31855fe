"""Files as the outside world writes them: an asymmetric H&E-like image, Space Ranger folders, legacy ST tables."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real sections, or a skip."""
    folder = Path(os.environ.get("ST_PREDICT_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "sections.csv").is_file():
        pytest.skip(f"no real sections in {folder}: set ST_PREDICT_DATA")
    return folder


def asymmetric_pixels(height: int, width: int) -> np.ndarray:
    """``(height, width, 3)`` uint8: red grows to the right, green downward, blue marks the top left quarter."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width).astype(np.uint8)[None, :]
    pixels[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    pixels[: height // 2, : width // 2, 2] = 200
    return pixels


def write_jpeg(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path, quality=95, subsampling=0)
    return path


BARCODES = [f"{'ACGT'[i // 4]}{'ACGT'[i % 4]}AACCGGTT-1" for i in range(12)]
GENES = ["Actb", "Gapdh", "Mbp", "Actb"]  # a symbol twice, as in real annotations
SPOT_DIAMETER_PX = 26.0  # 65 um at 2.5 um/px
ARRAY_ROWS, ARRAY_COLS = 3, 8  # spots where row and column are both even or both odd


def array_positions() -> list[tuple[str, int, int, int, float, float]]:
    """Barcode, in_tissue, array row and column, y, x: 40 px pitch (2.5 um/px), the last spot out of tissue."""
    found = []
    for row in range(ARRAY_ROWS):
        for col in range(row % 2, ARRAY_COLS, 2):
            y, x = 60 + row * 40 * np.sqrt(3) / 2, 50 + col * 20
            found.append((BARCODES[len(found)], int(len(found) != 11), row, col, float(y), float(x)))
    return found


def write_h5(path: Path, counts: np.ndarray, barcodes: list[str]) -> None:
    """A filtered matrix as Space Ranger writes it: genes x spots, compressed columns."""
    from scipy.sparse import csc_matrix

    matrix = csc_matrix(counts.T)
    n = counts.shape[1]
    with h5py.File(path, "w") as file:
        file.attrs["chemistry_description"] = "Visium V1"
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, dtype="S")
        group["data"], group["indices"], group["indptr"] = matrix.data, matrix.indices, matrix.indptr
        group["shape"] = np.array(matrix.shape, dtype=np.int32)
        features = group.create_group("features")
        features["id"] = np.array([f"ENSG{i}" for i in range(n)], dtype="S")
        features["name"] = np.array(GENES[:n], dtype="S")
        features["feature_type"] = np.array(["Gene Expression"] * n, dtype="S")
        features["genome"] = np.array(["mm10"] * n, dtype="S")


# One row a matrix barcode: in an order of its own, one without a position, two of the array absent.
MATRIX_BARCODES = [BARCODES[i] for i in (5, 0, 11, 3, 1, 8, 2, 7, 4)] + ["TTTTTTTTTT-1"]
COUNTS = np.arange(len(MATRIX_BARCODES) * len(GENES)).reshape(len(MATRIX_BARCODES), len(GENES)) % 7


def write_outs(
    folder: Path, pixels: np.ndarray, *, positions: str = "tissue_positions.csv", counts: np.ndarray = COUNTS
) -> Path:
    """A Space Ranger folder for an image ``(height, width, 3)``; hires and lowres a half and a fifth of it."""
    import pandas as pd

    spatial = folder / "spatial"
    spatial.mkdir(parents=True)
    write_h5(folder / "filtered_feature_bc_matrix.h5", counts, MATRIX_BARCODES)
    columns = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
    frame = pd.DataFrame(array_positions(), columns=columns)
    if positions.endswith(".parquet"):
        frame.to_parquet(spatial / positions)
    else:
        frame.to_csv(spatial / positions, index=False, header=positions == "tissue_positions.csv")
    factors = {
        "spot_diameter_fullres": SPOT_DIAMETER_PX,
        "tissue_hires_scalef": 0.5,
        "tissue_lowres_scalef": 0.2,
    }
    (spatial / "scalefactors_json.json").write_text(json.dumps(factors))
    height, width = pixels.shape[:2]
    for name, factor in (("hires", 0.5), ("lowres", 0.2)):
        small = Image.fromarray(pixels).resize((round(width * factor), round(height * factor)))
        small.convert("RGBA").save(spatial / f"tissue_{name}_image.png")
    return folder


def to_mtx(outs: Path) -> Path:
    """Replace the .h5 by the folder that Space Ranger writes beside it, which is returned."""
    import scipy.io
    from scipy.sparse import coo_matrix

    (outs / "filtered_feature_bc_matrix.h5").unlink()
    folder = outs / "filtered_feature_bc_matrix"
    folder.mkdir()
    scipy.io.mmwrite(folder / "matrix.mtx", coo_matrix(COUNTS.T))
    features = "".join(f"ENSG{i}\t{name}\tGene Expression\n" for i, name in enumerate(GENES))
    texts = {
        "matrix.mtx": (folder / "matrix.mtx").read_text(),
        "features.tsv": features,
        "barcodes.tsv": "\n".join(MATRIX_BARCODES) + "\n",
    }
    for name, text in texts.items():
        with gzip.open(folder / f"{name}.gz", "wt") as file:
            file.write(text)
    (folder / "matrix.mtx").unlink()
    return folder


@pytest.fixture(scope="session")
def files() -> SimpleNamespace:
    """The writers of this file and the truth behind what they write."""
    return SimpleNamespace(
        asymmetric_pixels=asymmetric_pixels,
        write_jpeg=write_jpeg,
        write_outs=write_outs,
        to_mtx=to_mtx,
        array_positions=array_positions,
        barcodes=MATRIX_BARCODES,
        counts=COUNTS,
        spot_diameter_px=SPOT_DIAMETER_PX,
    )
