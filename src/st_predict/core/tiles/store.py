"""Tiles on disk for encoders in training: cut once, mapped and read by index, shared by runs. Knows no networks.

A store is a plain folder with one ``.npy`` file for each section. A file's name is a hash of everything its tiles
depend on, so it never stands for other tiles. A file is written under another name and then renamed, so it is whole or
not there. A run that has mapped a file can read it to the end, even if the file was removed since.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import shutil
import time
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import open_memmap

from st_predict.core.errors import InputError
from st_predict.core.files import remove_left, temporary_folder
from st_predict.core.maker import making
from st_predict.core.room import give_back, reserve
from st_predict.core.sealed import Damaged, check_sealed, seal_file
from st_predict.core.tiles.cut import cut_section, tiles_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from st_predict.core.section import Section
    from st_predict.core.tiles.geometry import TileSpec

logger = logging.getLogger("st_predict")
_FORMAT = 3
_OURS = re.compile(r"(tiles-\d+-[0-9a-f]{32}|\.tiles-\d+-[0-9a-f]{32}\.([0-9a-f]{32}|st-predict-[0-9a-f-]+))\.npy")
_ABANDONED_S = 24 * 3600.0  # since a file in the making was last written to
_GB = 1e9


class StoredTiles:
    """Tiles of one section in a file, ``(n, S, px, px, 3)`` uint8. Indexing reads them; a pickle holds the path.

    Parameters
    ----------
    path
        The file.
    mapped
        Its tiles, mapped.
    store
        Object that must live as long as the tiles do.
    """

    def __init__(self, path: Path, mapped: NDArray[np.uint8], store: TileStore | None = None) -> None:
        self.path, self.shape, self._mapped, self._store = path, mapped.shape, mapped, store

    @classmethod
    def open(cls, path: Path) -> StoredTiles:
        """Map a file.

        Raises
        ------
        InputError
            If it is gone or cut.
        """
        try:
            mapped = open_memmap(path, mode="r")
        except (OSError, ValueError) as error:
            raise InputError(
                f"the tiles in {path} cannot be read ({error})",
                where="tile_store",
                expected="the files that this run found or cut when it began",
                remedy="run it again; remove files of a store only while no run begins",
            ) from error
        return cls(path, mapped)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, spots: int | slice) -> NDArray[np.uint8]:
        tiles = np.array(self._mapped[spots])
        give_back(self._mapped)
        return tiles

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredTiles.open, (self.path,)


class TileStore:
    """A folder of tiles. Several runs may use it at the same time, and it may be removed, as a whole or in part.

    Parameters
    ----------
    folder
        The folder, made if need be. ``None``: a temporary folder that is removed at the end of the ``with`` block.
    limit_gb
        Most that files in the folder take; those that were used least recently are removed first. Other runs that use
        the folder at the same time can take it beyond the limit. A temporary folder has no limit.

    Raises
    ------
    InputError
        If the folder cannot be made, or the limit is not positive.
    """

    def __init__(self, folder: str | Path | None, *, limit_gb: float) -> None:
        if not limit_gb > 0:
            raise InputError(
                f"tile_store_gb is {limit_gb!r}",
                where="tile_store_gb",
                expected="a positive number",
                remedy="leave it out, or give as many GB as tiles may take",
            )
        self._limit_gb = limit_gb
        self._temporary = folder is None
        if folder is None:
            self._folder = temporary_folder("tiles")
            self._close = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            return
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_left(self._folder)
        except OSError as error:
            raise self._refused(error) from error

    def __enter__(self) -> TileStore:
        return self

    def __exit__(self, *_: object) -> None:
        if self._temporary:
            self._close()

    def tiles(self, sections: Sequence[Section], spec: TileSpec, tile_px: int) -> list[StoredTiles]:
        """Tiles of every spot of some sections, cut where they are not in the store yet.

        Parameters
        ----------
        sections
            The sections.
        spec
            Tile widths; ``S`` scales.
        tile_px
            Side that tiles are resampled to.

        Returns
        -------
        Tiles ``(n, S, tile_px, tile_px, 3)`` of each section.

        Raises
        ------
        InputError
            If there is no room for them, on the disk or within the limit; found before any tile is cut.
        """
        shapes: list[tuple[int, ...]] = [(section.n_spots, spec.n_scales, tile_px, tile_px, 3) for section in sections]
        paths = [self._path(section, spec, tile_px) for section in sections]
        tiles = {path: found for path, shape in zip(paths, shapes, strict=True) if (found := _find(path, shape))}
        missing = {path: shape for path, shape in zip(paths, shapes, strict=True) if path not in tiles}
        if not self._temporary:
            self._make_room(dict(zip(paths, shapes, strict=True)), missing)
        with self._reserved(missing) as beside:
            for path, section in zip(paths, sections, strict=True):
                if path not in tiles:
                    cut = open_memmap(beside[path], mode="r+")
                    cut_section(section, spec, cut)
                    cut.flush()
                    seal_file(beside[path], of=path.name)
                    tiles[path] = StoredTiles(path, open_memmap(beside[path], mode="r"), self)
                    beside[path].replace(path)
        return [tiles[path] for path in paths]

    def _path(self, section: Section, spec: TileSpec, tile_px: int) -> Path:
        """Where tiles are kept; the format is in the name, so that no version reads tiles of another format."""
        name = uuid.uuid4().hex if self._temporary else tiles_digest(section, spec, tile_px)
        return self._folder / f"tiles-{_FORMAT}-{name}.npy"

    @contextlib.contextmanager
    def _reserved(self, shapes: dict[Path, tuple[int, ...]]) -> Iterator[dict[Path, Path]]:
        """Temporary files with their disk space reserved; those that are not renamed in the end are removed."""
        beside = {path: path.with_name(making(path.stem, ".npy")) for path in shapes}
        try:
            try:
                for path, shape in shapes.items():
                    open_memmap(beside[path], mode="w+", dtype=np.uint8, shape=shape)
                    with beside[path].open("r+b") as file:
                        reserve(file.fileno(), beside[path].stat().st_size)
            except OSError as error:
                raise self._refused(error, sum(map(_size, shapes.values()))) from error
            yield beside
        finally:
            for path in beside.values():
                path.unlink(missing_ok=True)

    def _make_room(self, used: dict[Path, tuple[int, ...]], missing: dict[Path, tuple[int, ...]]) -> None:
        """Remove files that were used least recently, until those to be made are within the limit."""
        limit, needed = self._limit_gb * _GB, sum(map(_size, used.values()))
        if needed > limit:
            raise InputError(
                f"the tiles of these sections take {needed / _GB:.1f} GB, and the store is limited to {self._limit_gb:g} GB",
                where="tile_store_gb",
                expected="room for the tiles of one run",
                remedy=f"tile_store_gb={np.ceil(needed / _GB):g} or more, or fewer sections or tile widths at a time",
            )
        files = sorted(self._files())
        total = sum(size for _, size, _ in files) + sum(map(_size, missing.values()))
        for last_use, size, path in files:
            in_the_making = path.name.startswith(".") and time.time() - last_use < _ABANDONED_S
            if total <= limit:
                return
            if path not in used and not in_the_making:
                path.unlink(missing_ok=True)
                total -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Last use, size and path of the store's files, of every version, and of those in the making."""
        for path in self._folder.iterdir():
            if _OURS.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError):  # another run removes files too
                    stat = path.stat()
                    yield stat.st_mtime, stat.st_size, path

    def _refused(self, error: OSError, n_bytes: int = 0) -> InputError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return InputError(
            (f"no room for {n_bytes / _GB:.1f} GB of tiles" if full else f"{self._folder} cannot be written to")
            + f" ({error.strerror})",
            where=str(self._folder),
            expected="a folder with room for the tiles of all sections",
            remedy="free space, give tile_store= on a larger disk, or train on fewer sections or tile widths",
        )


def _find(path: Path, shape: tuple[int, ...]) -> StoredTiles | None:
    """Open tiles in a store and note their use; ``None`` where they are not there, or their file was damaged."""
    try:
        check_sealed(path, of=path.name)
        found = StoredTiles.open(path)
    except Damaged:
        logger.warning("%s is damaged, or of other tiles; its tiles are cut again", path)
        return None
    except (InputError, FileNotFoundError):
        return None
    if found.shape != shape:
        return None
    with contextlib.suppress(OSError):  # a store of somebody else's can be read, and goes by its owner's clock
        path.touch()
    return found


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))
