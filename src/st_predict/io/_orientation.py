"""Pictures that are stored lying and shown turned (EXIF and TIFF's ``Orientation``): which, and what becomes of them.

A bare slide is turned, as every viewer shows it. Spots may have been placed on it before or after, so with spots, and where
turning would mean to decode all of a TIFF, the picture is refused. Knows Pillow and the tags of TIFFs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

UPRIGHT = 1
_TAG = 274
_SHOWN = {2: "mirrored", 3: "turned by 180 degrees", 4: "upside down", 5: "with its axes exchanged",
          6: "turned by 90 degrees to the right", 7: "with its axes exchanged and turned by 180 degrees",
          8: "turned by 90 degrees to the left"}  # fmt: skip


def orientation(image: Image) -> int:
    """How an image is to be shown, by its EXIF; no pixel is decoded for it."""
    if "exif" not in image.info:  # Pillow would look for it behind the pixels
        return UPRIGHT
    found = image.getexif().get(_TAG, UPRIGHT)
    return int(found) if found in _SHOWN else UPRIGHT


def turned(image: Image) -> Image:
    """An image as it is to be shown."""
    from PIL import ImageOps

    return image if orientation(image) == UPRIGHT else ImageOps.exif_transpose(image)


def turned_size(found: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of an image as it is to be shown."""
    return (width, height) if found > 4 else (height, width)


def say_turned(found: int, path: Path) -> str | None:
    """The message about an image that was turned; ``None`` where it was not."""
    if found == UPRIGHT:
        return None
    return f"{path.name} is read {_SHOWN[found]}, as its EXIF orientation {found} says and viewers show it"


def not_upright(path: Path, found: int, *, where: str) -> InputError:
    """Make the error for an image with spots on it that is shown otherwise than it is stored."""
    made = str(path.with_name(f"{path.stem}_upright.png"))
    return InputError(
        f"{path.name} is to be shown {_SHOWN[found]} (EXIF orientation {found}): spots may have been placed on it as it is "
        "shown or as it is stored",
        where=where,
        expected="an image that is shown as it is stored",
        remedy=f"where spots lie on the image as it is shown: PIL.ImageOps.exif_transpose(PIL.Image.open({str(path)!r}))"
        f".save({made!r}); where they lie on it as it is stored: PIL.Image.open({str(path)!r}).save({made!r})",
    )


def check_tag(page: Any, path: Path, *, where: str) -> None:
    """Refuse a page of a TIFF that is to be shown turned: programs differ on whether they turn it."""
    found = page.tags.valueof("Orientation", UPRIGHT)
    if found not in _SHOWN:
        return
    raise InputError(
        f"{path.name} is to be shown {_SHOWN[found]} (TIFF orientation {found}), and few programs do so",
        where=where,
        expected="an image that is shown as it is stored",
        remedy=f"where it is right as it is stored: with tifffile.TiffFile({str(path)!r}, mode='r+') as file: "
        f"file.pages[{page.index}].tags['Orientation'].overwrite(1); where it is not, turn it: vips autorot {path.name} "
        f"{path.stem}_upright.tif[tile,pyramid,bigtiff]",
    )
