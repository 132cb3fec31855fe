#!/usr/bin/env bash
# The whole way on a synthetic tissue: train, predict, score, draw. Options go to `st-predict demo`; results lie in demo/.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
st_prepare test
cd "$st_root"
exec "$st_venv/bin/st-predict" demo --out demo "$@"
