"""The one progress bar: shown for all work that takes seconds, and turned off in one place."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SWITCH = "ST_PREDICT_PROGRESS"


def progress_bar(total: int, label: str, *, unit: str) -> Any:
    """A tqdm bar (notebook or terminal) that shows up after a second; off with ``ST_PREDICT_PROGRESS=0``.

    Of several processes that train together, the first one's alone is shown.
    """
    from tqdm.auto import tqdm

    hidden = os.environ.get(_SWITCH, "1") == "0" or not first_process()
    return tqdm(total=total, desc=label, unit=unit, disable=hidden, delay=1.0, leave=False, dynamic_ncols=True)


def first_process() -> bool:
    """Whether this is the first of the processes that Lightning or torchrun started, or the only one."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK"))


@contextmanager
def hidden_progress() -> Iterator[None]:
    """Hide the bars of single steps while one bar over all of them is shown."""
    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = "0"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_SWITCH, None)  # another thread may have been first
        else:
            os.environ[_SWITCH] = before
