"""The one progress bar: shown for anything that takes seconds, silenced in one place."""

from __future__ import annotations

import os
from typing import Any


def progress_bar(total: int, label: str, *, unit: str) -> Any:
    """A tqdm bar (notebook or terminal) that shows up after a second; off with ``ST_PREDICT_PROGRESS=0``."""
    from tqdm.auto import tqdm

    hidden = os.environ.get("ST_PREDICT_PROGRESS", "1") == "0"
    return tqdm(total=total, desc=label, unit=unit, disable=hidden, delay=1.0, leave=False, dynamic_ncols=True)
