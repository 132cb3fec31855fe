#!/usr/bin/env bash
# The test suite. Arguments go to pytest, paths taken from the clone's root: bash scripts/test.sh tests/core -k ridge
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
st_prepare test
cd "$st_root"
# Temporary folders of the tests stay in the clone too, and no test opens a window.
export PYTEST_DEBUG_TEMPROOT=$st_root/.test_cache MPLBACKEND=agg
# Threads that wait by spinning slow each other down many times over where cores are shared.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
# A process a core, four at most (each holds some GB), one thread each; a later -n 0 among the arguments runs one alone.
cores=$("$st_venv/bin/python" -c 'import os; print(min(4, os.cpu_count() or 1))')
[ "$cores" = 1 ] || export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
mkdir -p "$PYTEST_DEBUG_TEMPROOT"
# A file stays in one process, which makes once what its tests share. tests/conftest.py says which files start first.
exec "$st_venv/bin/python" -m pytest -n "$cores" --dist loadfile --no-loadscope-reorder --durations 25 "$@"
