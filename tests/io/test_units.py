"""Units of length: one table, whichever file states them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import st_predict as stp
from st_predict.core.errors import InputError
from st_predict.io._units import um_in

RGB = np.full((64, 64, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("written", "um"),
    [
        *(
            (name, 1.0)
            for name in ("um", "\u00b5m", "\u03bcm", "micron", "Microns", "micrometer", "micrometre", "MICROMETERS")
        ),
        ("\\u00B5m", 1.0),
        *((name, 1e-4) for name in ("\u00c5", "\u212b", "angstrom", "\u00e5ngstr\u00f6m", "Angstroms")),
        *((name, 25400.0) for name in ("in", "inch", "inches", "Inch")),
        *((name, 1e4) for name in ("cm", "centimeter", "centimetres", " Centimeter ")),
        *((name, 1e3) for name in ("mm", "millimeter")),
        *((name, 1e-3) for name in ("nm", "nanometer")),
        *((name, 1e6) for name in ("m", "meter", "metre")),
        *((name, None) for name in ("pixel", "pixels", "px", "reference frame", "", None)),
    ],
)
def test_units_however_they_are_written(written: str | None, um: float | None) -> None:
    assert um_in(written, Path("a.tif"), where="path") == um


@pytest.mark.parametrize("written", ["furlong", "Mm", "UM", "parsec"])
def test_a_unit_that_nobody_knows_is_named(written: str) -> None:
    said = rf"^the metadata of a\.tif state the size of a pixel in '{written}', which is no unit known here\n"
    with pytest.raises(InputError, match=said):
        um_in(written, Path("a.tif"), where="path")


def write_ome(path: Path, size: float, unit: str) -> Path:
    tifffile.imwrite(path, RGB, photometric="rgb", metadata={"PhysicalSizeX": 0.125, "PhysicalSizeY": 0.125}, ome=True)
    stated = re.sub(r'(PhysicalSize[XY])="0.125"', rf'\1="{size}" \1Unit="{unit}"', tifffile.tiffcomment(path))
    tifffile.tiffcomment(path, stated.encode())
    return path


def write_zarr(path: Path, size: float, unit: str) -> Path:
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("0", data=RGB.transpose(2, 0, 1))
    axes = [{"name": "c"}, *({"name": axis, "unit": unit} for axis in "yx")]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, size, size]}]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return path


def write_imagej(path: Path, size: float, unit: str) -> Path:
    tifffile.imwrite(
        path, RGB, imagej=True, photometric="rgb", resolution=(1 / size, 1 / size), metadata={"unit": unit}
    )
    return path


WRITERS: dict[str, Any] = {"a.ome.tif": write_ome, "a.zarr": write_zarr, "a.tif": write_imagej}


@pytest.mark.parametrize(
    ("unit", "um"), [("micron", 1.0), ("\u00b5m", 1.0), ("nm", 1e-3), ("mm", 1e3), ("pixel", None)]
)
@pytest.mark.parametrize("name", WRITERS)
def test_every_file_goes_by_the_table(name: str, unit: str, um: float | None, tmp_path: Path) -> None:
    if name == "a.tif":
        unit = unit.encode("ascii", "backslashreplace").decode().replace("\\xb5", "\\u00B5")  # as ImageJ writes it
    path = WRITERS[name](tmp_path / name, 0.5 / (um or 1.0), unit)
    known = stp.io.slide(path).attrs["st_predict"]["um_per_px"]
    assert known == ({} if um is None else {"a_image": pytest.approx(0.5, rel=1e-5)})


@pytest.mark.parametrize("name", WRITERS)
def test_a_scale_of_an_unknown_unit_is_given_by_hand(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, 0.5, "furlong")
    with pytest.raises(InputError, match=rf"^the metadata of {re.escape(name)} state .* in 'furlong'") as error:
        stp.io.slide(path)
    assert error.value.remedy == "give the scale yourself: slide(path, um_per_px=...)"
    assert stp.io.slide(path, um_per_px=0.5).attrs["st_predict"]["um_per_px"] == {"a_image": 0.5}


def test_a_resolution_of_pixels_an_um(tmp_path: Path) -> None:
    """Units 4 and 5 are beside the standard, and are written."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", resolution=(2.0, 2.0), resolutionunit=5, metadata=None)
    assert stp.io.slide(path).attrs["st_predict"]["um_per_px"] == {"a_image": pytest.approx(0.5)}
