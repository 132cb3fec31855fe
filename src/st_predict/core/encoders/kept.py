"""Features on disk in blocks of spots, so that a run that was killed goes on. A block is whole or not there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from st_predict.core.files import replacing_file
from st_predict.core.full import going_on_unkept
from st_predict.core.sealed import Damaged, check_sealed, seal_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

logger = logging.getLogger("st_predict")
BLOCK_SPOTS = 512


class KeptFeatures:
    """Finished blocks of one section's features; a block holds one scale.

    Parameters
    ----------
    folder
        Their folder, made if need be. It is used for one section, encoder and choice of tiles only.
    n_spots, n_scales
        Number of spots and of tile widths.
    """

    def __init__(self, folder: Path, n_spots: int, n_scales: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._missing = np.full((-(-n_spots // BLOCK_SPOTS), n_scales), BLOCK_SPOTS)
        self._missing[-1] -= len(self._missing) * BLOCK_SPOTS - n_spots

    def restore(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Fill the kept features into ``(n, S, d)``, and return which tiles ``(n, S)`` are still to be encoded."""
        todo = np.ones(features.shape[:2], bool)
        for block, scale in np.ndindex(self._missing.shape):
            path = self._path(block, scale)
            if not path.is_file():
                continue
            try:
                check_sealed(path, of=self._of(path))
            except Damaged:
                logger.warning("%s is damaged, or of other spots; its features are made again", path)
                continue
            features[self._rows(block), scale] = np.load(path)
            todo[self._rows(block), scale] = False
        return todo

    def note(self, features: NDArray[np.float32], spots: NDArray[np.int64], scales: NDArray[np.int64]) -> None:
        """Note which tiles were encoded, by their spots and scales ``(b,)``, and write the blocks that are complete."""
        np.subtract.at(self._missing, (spots // BLOCK_SPOTS, scales), 1)
        for block, scale in set(zip((spots // BLOCK_SPOTS).tolist(), scales.tolist(), strict=True)):
            if self._missing[block, scale] == 0:
                path = self._path(block, scale)
                with going_on_unkept("the encoding", self._folder), replacing_file(path) as file:
                    np.save(file, features[self._rows(block), scale])
                    seal_file(file, of=self._of(path))

    def _rows(self, block: int) -> slice:
        return slice(block * BLOCK_SPOTS, (block + 1) * BLOCK_SPOTS)

    def _path(self, block: int, scale: int) -> Path:
        return self._folder / f"spots-{block:06d}-{scale}.npy"

    @staticmethod
    def _of(path: Path) -> str:
        """Which section, encoder and tiles a block is of, by the name of its folder, and which spots."""
        return f"{path.parent.name}/{path.name}"
