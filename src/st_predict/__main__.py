"""The command line as ``python -m st_predict``."""

from __future__ import annotations

from st_predict.cli.__main__ import run

if __name__ == "__main__":
    run()
