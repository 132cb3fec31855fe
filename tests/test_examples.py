"""Examples: every public name has one in its docstring, and what they show runs.

All start from the lines at the top of ``docs/api.md``; files that they name are stand-ins, written from the first
section.
"""

from __future__ import annotations

import copy
import doctest
import gzip
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import st_predict as stp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spatialdata import SpatialData

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("io", "pp", "tl", "pl", "datasets")
NAMES = sorted(
    {f"{room}.{name}" for room in ROOMS for name in getattr(stp, room).__all__} | set(stp.__all__).difference(ROOMS)
)
OURS = {"Model.check_encoder", "Model.check_section", "Model.tensors"}
"""What no user calls: it takes or gives values of the core."""
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def docstrings(public: Any) -> dict[str, str]:
    """Of a function its own; of a class those of its public members as well, each by its name."""
    found = {"": public.__doc__ or ""}
    if isinstance(public, type):
        # A field's default has the docstring of its type, and some Pythons have one for None.
        members = {
            name: member
            for name, member in vars(public).items()
            if not name.startswith("_") and not isinstance(member, (type(None), bool, int, float, str))
        }
        found |= {name: doc for name, member in members.items() if (doc := getattr(member, "__doc__", None))}
    return found


def examples(text: str) -> list[doctest.Example]:
    """The lines of a docstring that a user could type."""
    return doctest.DocTestParser().get_examples(text)


def faults(public: Any) -> list[str]:
    """What lacks an example, and which examples are skipped.

    A member of a class may be shown in any example of the class.
    """
    found = []
    shown = {name: examples(text) for name, text in docstrings(public).items()}
    every = "".join(example.source for some in shown.values() for example in some)
    for member, some in shown.items():
        name = f"{public.__name__}.{member}" if member else public.__name__
        if not some and name not in OURS and not (member and re.search(rf"\.{member}\b", every)):
            found.append(f"{name} has no example")
        found += [f"{name} skips an example" for example in some if example.options.get(doctest.SKIP)]
    return found


def public_object(name: str) -> Any:
    """A public name's function or class."""
    found = stp
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.fixture(scope="module")
def start() -> dict[str, Any]:
    """What the examples start from: the names that the first lines of docs/api.md make."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block, "docs/api.md shows no longer what the examples start from"
    names: dict[str, Any] = {}
    exec(block.group(1), names)
    return {name: names[name] for name in ("stp", "sections", "model")}


@pytest.fixture(scope="module")
def stand_ins(start: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that examples name, all of one synthetic section."""
    folder = tmp_path_factory.mktemp("examples")
    section = start["sections"]["S1"]
    pixels = section.images["S1_image"].transpose("y", "x", "c").to_numpy()
    write_slides(folder / "slides", pixels)
    write_outs(folder / "A1", section, pixels)
    write_legacy(folder / "C2", section, pixels)
    known = {"her2st": ["C2"], "als": ["CN51_C2_1"], "mob": ["MOB1"]}
    lines = ["dataset,section,subject,um_per_px"]
    for dataset, names in known.items():
        for name in names:
            write_legacy(folder / "data" / dataset / name, section, pixels)
            lines.append(f"{dataset},{name}," + ("," if dataset == "mob" else "one,0.75"))
    (folder / "data" / "sections.csv").write_text("\n".join(lines) + "\n")
    two = {name: start["sections"][name] for name in ("S1", "S2")}
    stp.datasets.write_hest(two, folder / "hest")
    hub = folder / "hub" / "datasets--MahmoodLab--hest"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("0" * 40)
    stp.datasets.write_hest(two, hub / "snapshots" / ("0" * 40))
    return folder


def write_slides(folder: Path, pixels: Any) -> None:
    """Two bare slides that state their scale."""
    import tifffile

    folder.mkdir()
    for name in ("one", "two"):
        tifffile.imwrite(
            folder / f"{name}.tif", pixels, photometric="rgb", tile=(256, 256), compression="zlib",
            resolution=(1e4 / 0.75, 1e4 / 0.75), resolutionunit="CENTIMETER",
        )  # fmt: skip


def write_outs(folder: Path, section: SpatialData, pixels: Any) -> None:
    """The outs folder of Space Ranger, and the image beside it."""
    import pandas as pd
    import scipy.io
    from PIL import Image

    table, matrix = section.tables["table"], folder / "outs" / "filtered_feature_bc_matrix"
    matrix.mkdir(parents=True)
    (folder / "outs" / "spatial").mkdir()
    with gzip.open(matrix / "matrix.mtx.gz", "wb") as file:
        scipy.io.mmwrite(file, table.X.T.astype(int))
    features = "".join(f"{gene}\t{gene}\tGene Expression\n" for gene in table.var_names)
    (matrix / "features.tsv.gz").write_bytes(gzip.compress(features.encode()))
    (matrix / "barcodes.tsv.gz").write_bytes(gzip.compress("\n".join(table.obs_names).encode()))
    x, y = table.obsm["spatial"].T
    positions = {"in_tissue": 1, "array_row": table.obs["array_y"].astype(int)}
    positions |= {"array_col": table.obs["array_x"].astype(int), "pxl_row_in_fullres": y, "pxl_col_in_fullres": x}
    frame = pd.DataFrame(positions, index=table.obs_names.rename("barcode"))
    frame.to_csv(folder / "outs" / "spatial" / "tissue_positions.csv")
    factors = {"spot_diameter_fullres": 55 / 0.75, "tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1}
    (folder / "outs" / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    image = Image.fromarray(pixels)
    image.save(folder / "tissue.tif")
    for name in ("hires", "lowres"):
        side = round(image.width * factors[f"tissue_{name}_scalef"])
        image.resize((side, side)).save(folder / "outs" / "spatial" / f"tissue_{name}_image.png")


def write_legacy(folder: Path, section: SpatialData, pixels: Any) -> None:
    """The three files of a legacy section."""
    import pandas as pd
    from PIL import Image

    folder.mkdir(parents=True)
    table = section.tables["table"]
    table.to_df().astype(int).to_csv(folder / "counts.tsv.gz", sep="\t")
    x, y = table.obsm["spatial"].T
    places = {"x": table.obs["array_x"].astype(int), "y": table.obs["array_y"].astype(int), "pixel_x": x, "pixel_y": y}
    pd.DataFrame(places).to_csv(folder / "spots.tsv", sep="\t", index=False)
    Image.fromarray(pixels).save(folder / "image.jpg")


@pytest.fixture
def namespace(
    start: dict[str, Any], stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """What one example finds: sections of its own, in a folder with the stand-ins."""
    from huggingface_hub import constants
    from matplotlib import pyplot as plt
    from spatialdata import SpatialData

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(stand_ins / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for path in stand_ins.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ST_PREDICT_DATA", "data")
    sections = {
        name: SpatialData(
            images=dict(one.images), shapes=dict(one.shapes),
            tables={key: table.copy() for key, table in one.tables.items()}, attrs=copy.deepcopy(one.attrs),
        )
        for name, one in start["sections"].items()
    }  # fmt: skip
    yield {**start, "sections": sections}
    plt.close("all")


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example(name: str) -> None:
    assert faults(public_object(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_example_runs(name: str, namespace: dict[str, Any]) -> None:
    parser, said = doctest.DocTestParser(), []
    runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
    for member, text in docstrings(public_object(name)).items():
        test = parser.get_doctest(text, namespace, f"{name}.{member}".strip("."), None, 0)
        runner.run(test, out=said.append, clear_globs=False)
    assert not runner.failures, "".join(said)


def shown() -> None:
    """Shown.

    >>> 1 + 1
    2
    """


def skipped() -> None:
    """Skipped.

    >>> 1 + 1  # doctest: +SKIP
    2
    """


class Shown:
    """Shows one member.

    >>> Shown().first
    1
    """

    @property
    def first(self) -> int:
        """Shown above."""
        return 1

    def second(self) -> None:
        """Shown nowhere."""


@pytest.mark.parametrize(
    ("public", "fault"),
    [
        (shown, []),
        (skipped, ["skipped skips an example"]),
        (public_object, ["public_object has no example"]),
        (Shown, ["Shown.second has no example"]),
    ],
)
def test_a_missing_example_is_seen(public: Any, fault: list[str]) -> None:
    assert faults(public) == fault
