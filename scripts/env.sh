# Makes the clone's own environment. Sourced by demo.sh, test.sh and .ci/run; knows nothing of what runs in it.
#
# Starts from a Python and its pip alone, and writes inside the clone only (pip's and uv's download caches aside):
#   .uv/     uv, where the machine has none of its own
#   .venv/   the environment, the package installed editable into it
#
# Environment variables:
#   ST_PREDICT_PYTHON   the interpreter to use (default: python3)
#   ST_PREDICT_VENV     the folder of the environment (default: .venv in the clone), so that several can live side by side

st_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
st_venv=${ST_PREDICT_VENV:-$st_root/.venv}
case $st_venv in /*) ;; *) st_venv=$st_root/$st_venv ;; esac

# Python keeps what it compiles: with this set, as in some containers, every process would compile all it imports anew.
unset PYTHONDONTWRITEBYTECODE

st_say() { printf '[st-predict] %s\n' "$*" >&2; }

st_fail() {
    st_say "$1"
    st_say "  remedy: $2"
    exit 1
}

# The interpreter itself, not the shim that starts it: a shim may change its mind in another folder.
st_find_python() {
    local asked=${ST_PREDICT_PYTHON:-python3}
    st_python=$("$asked" -c 'import sys; print(sys.executable)' 2>/dev/null) ||
        st_fail "cannot run '$asked'" "install Python 3.11 or newer, or set ST_PREDICT_PYTHON to one"
    st_python_version=$("$st_python" -c 'import platform; print(platform.python_version())')
    "$st_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        st_fail "'$asked' is Python $st_python_version; 3.11 or newer is needed" \
            "set ST_PREDICT_PYTHON to a newer interpreter, e.g. ST_PREDICT_PYTHON=python3.13"
}

# uv with dependency groups (0.7 or newer): the clone's own, else the machine's, else installed by pip into the clone.
st_uv_is_usable() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    case $version in "uv 0."[0-6].* | "uv 0."[0-6]) return 1 ;; "uv "*) return 0 ;; *) return 1 ;; esac
}

st_find_uv() {
    for st_uv in "$st_root/.uv/bin/uv" uv; do
        if st_uv_is_usable "$st_uv"; then return; fi
    done
    st_uv=$st_root/.uv/bin/uv
    st_say "installing uv into ${st_uv%/bin/uv} (once)"
    # --target and --no-user: neither a protected system Python nor the user's pip settings may send it elsewhere.
    PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$st_python" -m pip install --quiet --no-user --upgrade --target "$st_root/.uv" uv >&2 ||
        st_fail "pip could not install uv" "install uv yourself (it is on PyPI) and run this again"
}

# st_prepare GROUP: the environment with one dependency group of pyproject.toml. Nothing to do where it is up to date.
st_prepare() {
    local group=$1 stamp wanted
    st_find_python
    stamp=$st_venv/.installed-$group
    wanted="$st_root $st_python_version $(cksum <"$st_root/pyproject.toml")"
    if [ -x "$st_venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        st_say "environment is up to date: $st_venv (Python $st_python_version)"
        return
    fi
    st_find_uv
    if [ "$("$st_venv/bin/python" -c 'import platform; print(platform.python_version())' 2>/dev/null)" != "$st_python_version" ]; then
        st_say "making $st_venv with Python $st_python_version"
        "$st_uv" venv --quiet --clear --no-python-downloads --python "$st_python" "$st_venv" ||
            st_fail "uv could not make $st_venv" "remove that folder, or set ST_PREDICT_VENV to another"
    fi
    st_say "installing st-predict and what it needs; the first time downloads several GB (torch) and takes minutes"
    (cd "$st_root" && "$st_uv" pip install --python "$st_venv/bin/python" --editable . --group "$group") ||
        st_fail "the installation failed (see above)" "check the network and the free disk space, then run this again"
    printf '%s\n' "$wanted" >"$stamp"
    st_say "environment is ready: $st_venv"
}
