"""A tenth of the sweep of wrong calls: each ends in an error of ours, none is taken, no file of the user's changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.one_python
def test_a_tenth_of_the_wrong_calls() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "bad_input", "--share", "0.1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all |" in done.stdout
