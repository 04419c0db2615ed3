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

prepare() {
    local extra=$1 wanted stamp
    if [ -z "${VIRTUAL_ENV:-}" ]; then
        [ -x .venv/bin/python ] || "$(find_python)" -m venv .venv
        # shellcheck disable=SC1091
        . .venv/bin/activate
    fi
    stamp="$VIRTUAL_ENV/.autotune-$extra"
    wanted="$PWD $(cat pyproject.toml constraints.txt | sha256sum)"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "installing autotune[$extra] into $VIRTUAL_ENV"
        python -m pip install --quiet --disable-pip-version-check --no-compile \
            --constraint constraints.txt --editable ".[$extra]"
        # On all cores; pip would use one. What some packages ship is no Python: that is theirs.
        python -W ignore -m compileall -q -j 0 \
            "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" >/dev/null || true
        echo "$wanted" >"$stamp"
    fi
}
