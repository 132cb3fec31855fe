"""Tables that a newer anndata wrote, told from those that are damaged. Reads none."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def known_encodings(path: Path, *, where: str) -> Iterator[None]:
    """Let anndata read within this.

    Raises
    ------
    InputError
        If the file holds an encoding that this anndata does not know.
    """
    from anndata._io.specs.registry import IORegistryError

    try:
        yield
    except IORegistryError as error:
        place = next(iter(getattr(error, "__notes__", [])), "")
        raise InputError(
            f"{path.name} holds what anndata {version('anndata')} cannot read: {' '.join(f'{error} {place}'.split())}",
            where=where,
            expected="a table that this anndata, or an older one, has written",
            remedy="install a newer anndata: pip install -U anndata; if it is the newest, download or copy the file again",
        ) from error
