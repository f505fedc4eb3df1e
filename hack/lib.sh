# shellcheck shell=bash
# What hack/run and hack/test share: a Python to stand on, and an environment made from the lock.
# Knows uv and .venv; does not know brokers, tiers or what runs afterwards. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
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
    local home="$ROOT/.uv"
    if [ "$("$home/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" != "$UV_VERSION" ]; then
        "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
            fail "this Python cannot make virtual environments." "Debian: apt-get install python3-venv"
        "$1" -m venv --clear "$home" >&2 || fail "no environment could be made in $home."
        printf '*\n' >"$home/.gitignore"
        "$home/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" >&2 ||
            fail "uv $UV_VERSION could not be installed." "Is the package index reachable? (PIP_INDEX_URL is honoured.)"
    fi
    printf '%s\n' "$home/bin/uv"
}

# What an environment was made from: the lock, the project file, and the place (environments do not move).
fingerprint() {
    printf '%s %s\n' "$(cat "$ROOT/uv.lock" "$ROOT/pyproject.toml" | cksum)" "$ROOT"
}

# The lock names files by their addresses; behind a mirror the same hashes are asked of the mirror instead.
sync_from_mirror() {
    local uv=$1 group=$2 index=$3
    "$uv" venv --quiet --allow-existing --python "$4" "$ROOT/.venv" &&
        "$uv" export --quiet --frozen --no-default-groups --group "$group" --no-emit-project --format requirements-txt |
        "$uv" pip install --quiet --python "$ROOT/.venv/bin/python" --index-url "$index" --require-hashes -r - &&
        "$uv" pip install --quiet --python "$ROOT/.venv/bin/python" --index-url "$index" --no-deps --editable "$ROOT"
}

# prepare_environment GROUP: .venv holds what the lock says for GROUP. The other group's packages may stay.
prepare_environment() {
    local group=$1 stamp="$ROOT/.venv/.made-for-$1" wanted python uv index
    wanted=$(fingerprint)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
    python=$(find_python) || exit 1
    say "Making the environment in .venv from uv.lock (once, and again when the lock changes) ..."
    uv=$(find_uv "$python") || exit 1
    index=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-}}}
    export UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT="$ROOT/.venv" UV_LINK_MODE=${UV_LINK_MODE:-copy}
    if [ -n "$index" ]; then
        (cd "$ROOT" && sync_from_mirror "$uv" "$group" "$index" "$python") ||
            fail "the environment could not be made from $index."
    else
        (cd "$ROOT" && "$uv" sync --quiet --frozen --inexact --no-default-groups --group "$group" --python "$python") ||
            fail "the environment could not be made." "Is the package index reachable? (PIP_INDEX_URL names a mirror.)"
    fi
    printf '%s\n' "$wanted" >"$stamp"
    if [ "$group" = dev ]; then printf '%s\n' "$wanted" >"$ROOT/.venv/.made-for-fleet"; fi # dev includes fleet
}
