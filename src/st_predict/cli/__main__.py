"""``python -m st_predict.cli``, where the console script is not on the path."""

from __future__ import annotations

import sys

from st_predict.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
