"""Which box of whole pixels belongs to a spot; computed once. Reads no pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from st_predict.core.section import Section

DEFAULT_TILE_UM = (112.0, 154.0, 308.0, 616.0)
_MOST_TIMES = 8
"""How many times as wide as the image a tile beside others may be: there, it is a dot in the white."""


@dataclass(frozen=True)
class TileSpec:
    """Width of the tiles around each spot, one or several scales, physical or in image px.

    Exactly one of ``widths_um`` and ``widths_px`` is non-empty.
    """

    widths_um: tuple[float, ...] = ()
    widths_px: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        name, widths = ("tile_px", self.widths_px) if self.widths_px else ("tile_um", self.widths_um)
        if bool(self.widths_um) == bool(self.widths_px):
            raise InputError(
                "both tile_um and tile_px are given" if self.widths_um else "no tile width is given",
                where="tile_um, tile_px",
                expected="one of the two",
                remedy="give tile_um where the scale of the images is known, else tile_px",
            )
        if not all(np.isfinite(w) and w > 0 for w in widths):
            raise InputError(
                f"tile widths are {widths}", where=name, expected="positive numbers", remedy=f"correct {name}"
            )

    @classmethod
    def of(cls, tile_um: float | Sequence[float] | None, tile_px: float | Sequence[float] | None) -> TileSpec:
        """Widths as a user gives them: one or several, um or px; neither: ``DEFAULT_TILE_UM``."""
        if tile_um is None and tile_px is None:
            return cls(DEFAULT_TILE_UM)
        return cls(_widths(tile_um), _widths(tile_px))

    @property
    def n_scales(self) -> int:
        """Number of tile widths."""
        return len(self.widths_um) + len(self.widths_px)

    def sides_px(self, section: Section) -> tuple[int, ...]:
        """Tile sides in whole px of the section's image, see :meth:`sides_at`."""
        return self.sides_at(section.um_per_px, f"section {section.name!r}")

    def check_section(self, section: Section) -> None:
        """Refuse a section that cannot be cut, or tiles that its image is too small for, see :meth:`sides_at`."""
        size_px = int(section.image.col_edges[-1]), int(section.image.row_edges[-1])
        self.sides_at(section.um_per_px, f"section {section.name!r}", size_px=size_px)

    def sides_at(
        self, um_per_px: float | None, name: str, *, size_px: tuple[int, int] | None = None
    ) -> tuple[int, ...]:
        """Tile sides in whole px of an image.

        Parameters
        ----------
        um_per_px
            Scale of the image; ``None`` where it is unknown.
        name
            Name of the image, for errors.
        size_px
            Its width and height; ``None``: tiles may be wider.

        Raises
        ------
        InputError
            If the tiles are physical and the scale is unknown, or a tile would be narrower than 4 px, or all of them
            wider than the image, or one of them many times as wide.
        """
        if self.widths_px:
            sides = tuple(round(w) for w in self.widths_px)
        elif um_per_px is None:
            raise InputError(
                f"the scale of {name} is unknown, and tile widths are in um",
                where="um_per_px",
                expected="the width of an image pixel in um",
                remedy="st_predict.pp.set_scale(sdata, um_per_px=...) (or spot_diameter_um=, pitch_um=), "
                "or give tile_px= to work in pixels if all sections share one scale",
            )
        else:
            sides = tuple(round(w / um_per_px) for w in self.widths_um)
        if min(sides) < 4:
            raise InputError(
                f"tiles of {name} would be {min(sides)} px wide",
                where="tile_um, um_per_px",
                expected="at least 4 px",
                remedy="check the scale of the image, use the full-resolution image, or use wider tiles",
            )
        wide = [] if size_px is None else _too_wide(sides, max(size_px))
        if size_px is not None and wide:
            raise InputError(
                f"tiles of {name} would be {wide[0]} px wide, the image is {size_px[0]} x {size_px[1]} px",
                where="tile_um, um_per_px",
                expected="tiles that are smaller than the image",
                remedy="check the scale of the image, or use narrower tiles",
            )
        return sides

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"widths_um": list(self.widths_um), "widths_px": list(self.widths_px)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TileSpec:
        """Inverse of :meth:`to_dict`."""
        return cls(tuple(map(float, values["widths_um"])), tuple(map(float, values["widths_px"])))


def _too_wide(sides: tuple[int, ...], longest: int) -> list[int]:
    """Sides of tiles that an image shows too little for: all where none fits on it, else those many times as wide."""
    return sorted(sides) if min(sides) > longest else [side for side in sides if side > _MOST_TIMES * longest]


def _widths(given: float | Sequence[float] | None) -> tuple[float, ...]:
    return () if given is None else tuple(float(width) for width in np.atleast_1d(np.asarray(given, dtype=float)))


def tile_corners(centers_px: NDArray[np.float64], side_px: int) -> NDArray[np.int64]:
    """Top-left corner of the square tile around each spot.

    Pixel ``i`` covers ``[i, i + 1)``, so a tile of side ``s`` around ``c`` covers ``[c - s/2, c + s/2)``.

    Parameters
    ----------
    centers_px
        Spot centers ``(n_spots, 2)``, x then y.
    side_px
        Side of the tile.

    Returns
    -------
    ``(n_spots, 2)`` integer x, y; negative where the tile crosses the left or top edge.
    """
    return np.floor(np.asarray(centers_px) - side_px / 2 + 0.5).astype(np.int64)


def tile_spec(
    tile_um: float | Sequence[float] | None, tile_px: float | Sequence[float] | None, *, trainable: bool
) -> TileSpec:
    """Tile widths as given; by default four, of which a trained encoder takes the narrowest."""
    return TileSpec.of(DEFAULT_TILE_UM[:1] if trainable and tile_px is None and tile_um is None else tile_um, tile_px)


def check_scales(sections: Sequence[Section], spec: TileSpec) -> None:
    """Every section can be cut; in pixels only if all sections share one scale.

    Raises
    ------
    InputError
        If a scale is unknown where it is needed, or differs where it must not.
    """
    for section in sections:
        spec.check_section(section)
    scales = [s.um_per_px for s in sections]
    known = [s for s in scales if s is not None]
    if spec.widths_um or not known:
        return
    if len(known) < len(scales) or max(known) > 1.05 * min(known):
        listing = ", ".join(f"{s.name}: {s.um_per_px or 'unknown'}" for s in sections)
        raise InputError(
            f"tiles are in pixels, but the sections do not share one scale (um/px: {listing})",
            where="tile_px",
            expected="the same scale in all sections, or an unknown one in all",
            remedy="use tile_um=, after st_predict.pp.set_scale where a scale is unknown",
        )
