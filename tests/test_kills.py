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
    """Six of the commands with one process, four killed at random moments and two in the middle of writing."""
    command = [sys.executable, str(ROOT / "benchmarks" / "kills.py"), "--random", "4", "--aimed", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split() == ["all", "6", *done.stdout.split()[-6:-5], "0", "0", "0", "0", "0"]
