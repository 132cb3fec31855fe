"""The look of a synthetic section: stains laid on in optical density, then turned into RGB by the Beer-Lambert law.

Owns pixels and stains as plain arrays; takes the anatomy from ``_tissue`` and knows nothing of genes or SpatialData.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from st_predict.datasets._tissue import CELL_TYPES, FAT, Cells, Tissue
from st_predict.datasets._traits import Traits

# Ruifrok & Johnston (2001): optical density of each stain in red, green and blue.
HEMATOXYLIN_OD = np.array([0.644, 0.717, 0.267])
EOSIN_OD = np.array([0.093, 0.954, 0.283])

_TILE = 512  # side of the repeated texture of fibers, px; a power of two so that wrapping is a bit mask
_N_SPRITES = 40  # drawings kept of each cell type

# By region, in the order of REGIONS: eosin, hematoxylin haze of the ground, strength of the fiber and of the grain texture.
_GROUND = np.array(
    [
        [0.00, 0.00, 0.00, 0.00],
        [0.42, 0.05, 0.24, 0.10],
        [0.40, 0.22, 0.02, 0.16],
        [0.30, 0.16, 0.08, 0.12],
        [0.02, 0.00, 0.00, 0.00],
        [0.46, 0.17, 0.01, 0.12],
        [0.04, 0.01, 0.00, 0.02],
    ],
    dtype=np.float32,
)


@dataclass(frozen=True)
class _Nucleus:
    """How nuclei of one type look: half axes in um, optical density, and how coarse the chromatin and ragged the outline are."""

    length_um: float
    width_um: float
    density: float
    chromatin: float
    ragged: float


_NUCLEI = {
    "tumor": _Nucleus(5.6, 4.5, 0.85, 0.30, 0.12),
    "lymphocyte": _Nucleus(3.1, 2.9, 1.50, 0.12, 0.04),
    "fibroblast": _Nucleus(7.4, 1.7, 1.05, 0.12, 0.06),
    "macrophage": _Nucleus(4.8, 3.2, 0.70, 0.18, 0.14),
    "epithelial": _Nucleus(4.1, 3.3, 1.10, 0.18, 0.05),
    "adipocyte": _Nucleus(5.0, 1.6, 1.10, 0.10, 0.05),
}


@dataclass(frozen=True)
class Stain:
    """How one slide was stained and scanned.

    Parameters
    ----------
    hematoxylin, eosin
        Optical densities of the two stains ``(3,)``, already scaled by how strongly the slide was stained.
    light
        Factor on the light of the empty slide in red, green and blue.
    tone
        Exponent of the scanner on the optical density: above 1 it takes from the pale and gives to the dark.
    focus_um
        Standard deviation of the blur.
    """

    hematoxylin: NDArray[np.float64]
    eosin: NDArray[np.float64]
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)
    tone: float = 1.0
    focus_um: float = 0.45  # what a 20x objective leaves of a sharp edge

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Stain:
        """Draw the staining of one of several blocks treated much alike."""
        return cls(
            hematoxylin=HEMATOXYLIN_OD * rng.uniform(0.80, 1.25) + rng.normal(scale=0.025, size=3),
            eosin=EOSIN_OD * rng.uniform(0.75, 1.35) + np.abs(rng.normal(scale=0.025, size=3)),
        )

    @classmethod
    def draw_patient(cls, rng: np.random.Generator) -> Stain:
        """Draw the staining and scan of a patient's block from a laboratory of its own."""
        red, green, blue = rng.uniform(0.91, 1.0) * rng.uniform(0.96, 1.0, size=3)
        return cls(
            hematoxylin=HEMATOXYLIN_OD * rng.uniform(0.60, 1.50) * rng.lognormal(sigma=0.16, size=3),
            eosin=EOSIN_OD * rng.uniform(0.50, 1.60) * rng.lognormal(sigma=0.16, size=3)
            + [rng.uniform(0.0, 0.10), 0.0, rng.uniform(0.0, 0.12)],
            light=(red, green, blue),
            tone=rng.uniform(0.82, 1.25),
            focus_um=rng.uniform(0.35, 1.3),
        )

    def vary(self, rng: np.random.Generator) -> Stain:
        """Return the staining of one slide cut from the same block."""
        return replace(
            self,
            hematoxylin=self.hematoxylin * rng.uniform(0.94, 1.06),
            eosin=self.eosin * rng.uniform(0.94, 1.06),
        )


def draw_section(
    rng: np.random.Generator, tissue: Tissue, cells: Cells, stain: Stain, *, size_px: int, um_per_px: float
) -> NDArray[np.uint8]:
    """Draw a section as RGB ``(size_px, size_px, 3)`` uint8.

    Parameters
    ----------
    rng
        Source of the texture and the noise.
    tissue, cells
        The anatomy, in um.
    stain
        How the slide was stained and scanned.
    size_px
        Side of the square image.
    um_per_px
        Its scale.
    """
    from scipy.ndimage import gaussian_filter

    eosin, hematoxylin = _ground(rng, tissue, size_px, um_per_px)
    nuclei = _nuclei(rng, cells, _looks(tissue.traits), size_px, um_per_px)
    hematoxylin += nuclei
    eosin += 0.15 * np.minimum(nuclei, 1.0)
    focus_px = stain.focus_um / um_per_px
    hematoxylin, eosin = gaussian_filter(hematoxylin, focus_px), gaussian_filter(eosin, focus_px)
    light = rng.uniform(242, 249) * np.array([1.0, rng.uniform(0.985, 1.0), rng.uniform(0.985, 1.0)]) * stain.light
    grain = rng.normal(scale=2.0, size=(size_px, size_px)).astype(np.float32)
    image = np.empty((size_px, size_px, 3), dtype=np.uint8)
    for channel in range(3):
        density = hematoxylin * np.float32(stain.hematoxylin[channel]) + eosin * np.float32(stain.eosin[channel])
        density = np.maximum(density, 0) ** np.float32(stain.tone)
        image[..., channel] = np.clip(np.float32(light[channel]) * np.exp(-density) + grain, 0, 255)
    return image


def _to_pixels(coarse: NDArray[np.float32], size_px: int) -> NDArray[np.float32]:
    """Enlarge a coarse map to the image, bilinear."""
    from PIL import Image

    return np.array(Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.BILINEAR))


def _ground(
    rng: np.random.Generator, tissue: Tissue, size_px: int, um_per_px: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Eosin and hematoxylin of everything but the nuclei, each ``(size_px, size_px)``."""
    from scipy.ndimage import gaussian_filter

    soft = [gaussian_filter(plane, 0.5) for plane in np.moveaxis(_GROUND[tissue.region], -1, 0)]
    eosin, haze, fibrous, grainy = (_to_pixels(plane, size_px) for plane in soft)
    fibers = _fibers(rng, tissue, size_px, um_per_px)
    grain = gaussian_filter(rng.standard_normal((size_px // 2, size_px // 2)).astype(np.float32), 0.9 / um_per_px)
    grain = _to_pixels(grain / grain.std(), size_px)
    eosin *= np.maximum(1.0 + fibrous * fibers + grainy * grain, 0.2)
    haze *= 1.0 + 0.25 * grain
    walls = _to_pixels(
        np.where(tissue.region == FAT, np.exp(-((tissue.wall_um / 1.5) ** 2)), 0).astype(np.float32), size_px
    )
    eosin += 0.55 * walls
    return eosin, np.maximum(haze, 0)


def _fibers(rng: np.random.Generator, tissue: Tissue, size_px: int, um_per_px: float) -> NDArray[np.float32]:
    """Wavy collagen: a streaked texture looked up along the tissue's bent fiber coordinates."""
    from scipy.ndimage import gaussian_filter

    noise = rng.standard_normal((_TILE, _TILE)).astype(np.float32)
    fine = gaussian_filter(noise, (1.0 / um_per_px, 16.0 / um_per_px), mode="wrap")
    bundles = gaussian_filter(noise, (4.0 / um_per_px, 40.0 / um_per_px), mode="wrap")
    texture = fine / fine.std() + bundles / bundles.std()
    row = (_to_pixels(tissue.across_um, size_px) / um_per_px).astype(np.int32) & (_TILE - 1)
    col = (_to_pixels(tissue.along_um, size_px) / um_per_px).astype(np.int32) & (_TILE - 1)
    return texture[row, col]


def _looks(traits: Traits) -> dict[str, _Nucleus]:
    """How the nuclei of each type look in one subject."""
    tumor = _NUCLEI["tumor"]
    own = replace(
        tumor,
        length_um=tumor.length_um * traits.nuclear_size,
        width_um=tumor.width_um * traits.nuclear_size,
        chromatin=tumor.chromatin * traits.atypia,
        ragged=tumor.ragged * traits.atypia,
    )
    return {**_NUCLEI, "tumor": own}


def _nuclei(
    rng: np.random.Generator, cells: Cells, looks: dict[str, _Nucleus], size_px: int, um_per_px: float
) -> NDArray[np.float32]:
    """Hematoxylin of the nuclei: each is a copy of one of its type's drawings, chosen by angle."""
    widest_um = max(look.length_um for look in looks.values())
    reach = int(np.ceil(max(10.0, 1.35 * widest_um) / um_per_px))
    padded = np.zeros((size_px + 2 * reach, size_px + 2 * reach), dtype=np.float32)
    flat = padded.ravel()
    steps = np.arange(-reach, reach + 1)
    position = np.round(cells.centers_um / um_per_px - 0.5).astype(np.intp) + reach
    start = position[:, 1] * padded.shape[1] + position[:, 0]
    gain = rng.lognormal(sigma=0.13, size=len(start)).astype(np.float32)
    free_angle = rng.uniform(0, np.pi, size=len(start))
    bent = cells.angle + rng.normal(scale=0.25, size=len(start))
    aligned = np.isin(cells.kind, [CELL_TYPES.index("fibroblast"), CELL_TYPES.index("adipocyte")])
    turn = np.where(aligned, bent, free_angle) % np.pi
    drawing = np.minimum((turn / np.pi * _N_SPRITES).astype(np.intp), _N_SPRITES - 1)
    for kind, name in enumerate(CELL_TYPES):
        sprites = _sprites(rng, looks[name], steps, um_per_px)
        for index, sprite in enumerate(sprites):
            mine = np.flatnonzero((cells.kind == kind) & (drawing == index))
            dy, dx = np.nonzero(sprite > 0.01)
            where = start[mine][:, None] + (steps[dy] * padded.shape[1] + steps[dx])[None]
            flat[where] = np.maximum(flat[where], gain[mine][:, None] * sprite[dy, dx][None])
    return padded[reach:-reach, reach:-reach]


def _sprites(
    rng: np.random.Generator, look: _Nucleus, steps: NDArray[np.intp], um_per_px: float
) -> NDArray[np.float32]:
    """Draw nuclei of one type at evenly spread angles ``(_N_SPRITES, side, side)``."""
    from scipy.ndimage import gaussian_filter

    tilt = ((np.arange(_N_SPRITES) + 0.5) / _N_SPRITES * np.pi)[:, None, None]
    y, x = (steps * um_per_px)[None, :, None], (steps * um_per_px)[None, None, :]
    u, v = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    size = rng.lognormal(sigma=0.5 * look.ragged + 0.06, size=(_N_SPRITES, 1, 1))
    theta = np.arctan2(v, u)
    outline = 1.0 + sum(
        look.ragged
        / k
        * rng.normal(size=(_N_SPRITES, 1, 1))
        * np.cos(k * theta + rng.uniform(0, 6.3, (_N_SPRITES, 1, 1)))
        for k in (2, 3, 4)
    )
    radius = np.hypot(u / (look.length_um * size), v / (look.width_um * size)) / outline
    edge_um = (1.0 - radius) * look.width_um
    body = np.clip(edge_um / 0.8 + 0.5, 0, 1)
    chromatin = gaussian_filter(rng.standard_normal(body.shape), (0, 0.8 / um_per_px, 0.8 / um_per_px))
    chromatin = chromatin / chromatin.std()
    membrane = np.exp(-((edge_um - 0.6) ** 2) / 0.5)  # chromatin gathers at the rim: pale nuclei look like rings
    ink = look.density * (1.0 + look.chromatin * (chromatin + membrane - 0.3))
    return (body * np.clip(ink, 0.1, None)).astype(np.float32)
