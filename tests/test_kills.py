"""Commands that are killed, told to end or broken off lose nothing; a share of the sweep that ``benchmarks/kills.py`` runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(os.name != "posix", reason="signals and forks of POSIX")
@pytest.mark.one_python
def test_a_share_of_the_sweep() -> None:
    """A tenth: every command killed at a random moment, and four in the middle of writing."""
    command = [sys.executable, str(ROOT / "benchmarks" / "kills.py"), "--share"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split() == ["all", "12", *done.stdout.split()[-6:-5], "0", "0", "0", "0", "0"]
