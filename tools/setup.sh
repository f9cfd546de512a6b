#!/bin/sh
# Make the virtual environment: sh tools/setup.sh VENV. Called by make.
#
# The file VENV/ready, written last, says that the environment is whole. Without it the environment is made anew, so an
# interrupted set-up mends itself. PYTHON=/path/to/python3.12 chooses the interpreter.
set -eu

main() {
    venv=$1
    if [ ! -e "$venv/ready" ]; then
        python=$(find_python)
        has_venv "$python" || install_venv "$python"
        echo "Setting up $venv with $("$python" -V): a download of about 1 GB, 2 to 10 minutes" >&2
        "$python" -m venv --clear "$venv"
    fi
    rm -f "$venv/ready"
    try_packages
    if [ -t 1 ]; then quiet=""; else quiet="--quiet"; fi
    "$venv/bin/python" -m pip install --disable-pip-version-check $quiet -c constraints.txt -e '.[test]'
    try_npm
    touch "$venv/ready"
}

# Print the first supported Python that can make an environment, or else the first supported one. A name on PATH may be
# a version manager's stand-in that does not start, so every candidate is run.
find_python() {
    without_venv=""
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        supported "$candidate" || continue
        if has_venv "$candidate"; then echo "$candidate"; return; fi
        without_venv=${without_venv:-$candidate}
    done
    if [ -n "$without_venv" ]; then echo "$without_venv"; return; fi
    found=$("${PYTHON:-python3}" -V 2>&1) || found="none that starts"
    fail "tfseg needs Python 3.11, 3.12 or 3.13 (found: $found); install one, or name it: make PYTHON=/path/to/python3.12"
}

supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Debian and Ubuntu keep venv's other half in a package of its own.
install_venv() {
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "$1 lacks ensurepip, which a virtual environment needs; on Debian or Ubuntu: sudo apt install $package"
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null
}

# The tests of benchmarks on a phone talk to a stand-in through the real adb, and those of the live demo drive the real
# Chromium; without them they are skipped.
try_packages() {
    missing=""
    for program in adb chromium npm; do command -v "$program" >/dev/null || missing="$missing $program"; done
    if [ -z "$missing" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return; fi
    apt-get update -qq >/dev/null 2>&1 || true
    for program in $missing; do
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$program" >/dev/null 2>&1 ||
            echo "$program could not be installed: the tests that need it will be skipped" >&2
    done
}

# LiteRT for the web and what checks the page's source.
try_npm() {
    if ! command -v npm >/dev/null; then return; fi
    npm ci --no-audit --no-fund --silent --prefix tflite/web >/dev/null 2>&1 ||
        echo "npm could not get LiteRT for the web: the tests that need it will be skipped; try make demo-web" >&2
}

fail() {
    echo "$1" >&2
    exit 1
}

main "$1"
