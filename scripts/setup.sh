# Sourced by the other scripts: goes to the project's root and makes a virtual environment with
# the tested versions, unless one is active. `prepare EXTRA` installs what is not there yet.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# A search starts many Python processes: they compile the project once, not each time.
unset PYTHONDONTWRITEBYTECODE

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "autotune needs Python 3.11 or newer; none was found on PATH" >&2
    return 1
}

NO_GPU="There is no NVIDIA GPU here, and PyPI's torch brings 5 GB of CUDA libraries. Smaller:
  PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu $0"

prepare() {
    local extra=$1 own= wanted stamp
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        [ -x .venv/bin/python ] || "$(find_python)" -m venv .venv
        # shellcheck disable=SC1091
        . .venv/bin/activate
        own=yes
    fi
    stamp="$VIRTUAL_ENV/.autotune-$extra"
    wanted="$PWD $(cat pyproject.toml constraints.txt | sha256sum)"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "installing autotune[$extra] into $VIRTUAL_ENV (minutes; pip says nothing meanwhile)"
        [ -e /dev/nvidiactl ] || python -c 'import torch' 2>/dev/null || echo "$NO_GPU"
        # The pip that comes with Python 3.11 takes a minute to choose versions, a newer one 25 s.
        # An environment that was active is its owner's: it keeps its pip.
        [ -z "$own" ] || python -m pip install --quiet --disable-pip-version-check 'pip>=25'
        # Byte code is made of what is used, when it is used: all of it takes a minute more.
        python -m pip install --quiet --disable-pip-version-check --no-compile \
            --constraint constraints.txt --editable ".[$extra]"
        echo "$wanted" >"$stamp"
    fi
}

# build_site FOLDER: the documentation, with warnings as errors (with --quiet they would not be). The
# variable leaves out what the theme says of MkDocs 2, which its own requirements exclude.
build_site() {
    NO_MKDOCS_2_WARNING=1 mkdocs build --strict --config-file docs/mkdocs.yml \
        --site-dir "$(realpath -m "$1")"
}
