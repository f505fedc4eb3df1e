# shellcheck shell=bash
# What hack/run and hack/test share: a Python to stand on, and an environment made from the lock.
# Knows uv and .venv; does not know brokers, tiers or what runs afterwards. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${STOA_VENV:-$ROOT/.venv}
UV_VERSION=0.13.9
PYTHON_MINOR_MIN=11

say() { printf '%s\n' "$@" >&2; }

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    if [ $# -gt 0 ]; then printf '       %s\n' "$@" >&2; fi
    exit 1
}

python_is_recent() {
    "$1" -c "import sys; sys.exit(sys.version_info < (3, $PYTHON_MINOR_MIN))" >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${STOA_PYTHON:+"$STOA_PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null 2>&1 && python_is_recent "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.$PYTHON_MINOR_MIN or newer is needed and was not found." \
        "Debian 12 or newer: apt-get install python3 python3-venv" \
        "macOS:              brew install python" \
        "Elsewhere on disk:  STOA_PYTHON=/path/to/python3 $0"
}

# A uv of our own, in a small environment of its own, where the machine has none.
find_uv() {
    if command -v uv >/dev/null 2>&1; then
        command -v uv
        return
    fi
    local home="$ROOT/.uv/environment"
    if [ "$("$home/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" != "$UV_VERSION" ]; then
        "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
            fail "this Python cannot make virtual environments." "Debian: apt-get install python3-venv"
        "$1" -m venv --clear "$home" >&2 || fail "no environment could be made in $home."
        "$home/bin/python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
            "uv==$UV_VERSION" >&2 ||
            fail "uv $UV_VERSION could not be installed." "Is the package index reachable? (PIP_INDEX_URL is honoured.)"
    fi
    printf '%s\n' "$home/bin/uv"
}

# What an environment was made from: the lock, the project file, and the place (environments do not move).
fingerprint() {
    printf '%s %s\n' "$(cat "$ROOT/uv.lock" "$ROOT/pyproject.toml" | cksum)" "$ROOT"
}

is_fresh() { [ "$(cat "$VENV/.made-for-$1" 2>/dev/null)" = "$(fingerprint)" ]; }

# The lock names files by their addresses; behind a mirror the same hashes are asked of the mirror instead.
sync_from_mirror() {
    local uv=$1 group=$2 index=$3
    "$uv" export --quiet --frozen --no-default-groups --group "$group" --no-emit-project --format requirements-txt |
        "$uv" pip install --quiet --python "$VENV/bin/python" --index-url "$index" --require-hashes -r - &&
        "$uv" pip install --quiet --python "$VENV/bin/python" --index-url "$index" --no-deps --editable "$ROOT"
}

sync_environment() {
    local uv=$1 group=$2 python=$3 index=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-}}}
    export UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=${UV_LINK_MODE:-copy} UV_PROJECT_ENVIRONMENT="$VENV"
    if ! python_is_recent "$VENV/bin/python"; then
        "$uv" venv --quiet --clear --python "$python" "$VENV" || return 1
    fi
    if [ -n "$index" ]; then
        sync_from_mirror "$uv" "$group" "$index"
    else
        "$uv" sync --quiet --frozen --inexact --no-default-groups --group "$group"
    fi
}

# prepare_environment GROUP: $VENV holds what the lock says for GROUP. The other group's packages may stay.
# With STOA_VENV set that environment is taken as it is.
prepare_environment() {
    local group=$1 python uv
    if [ -n "${STOA_VENV:-}" ] || is_fresh "$group"; then return; fi
    python=$(find_python) || exit 1
    mkdir -p "$ROOT/.uv"
    printf '*\n' >"$ROOT/.uv/.gitignore"
    exec 9>>"$ROOT/.uv/lock"
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' # held by this shell until it closes 9
    if ! is_fresh "$group"; then
        say "Making the environment in .venv from uv.lock (once, and again when the lock changes) ..."
        uv=$(find_uv "$python") || exit 1
        (cd "$ROOT" && sync_environment "$uv" "$group" "$python") ||
            fail "the environment could not be made." "Is the package index reachable? (PIP_INDEX_URL names a mirror.)"
        fingerprint >"$VENV/.made-for-$group"
        if [ "$group" = dev ]; then fingerprint >"$VENV/.made-for-fleet"; fi # dev includes fleet
    fi
    exec 9>&-
}
