#!/bin/sh
# Create a virtual environment with a Python that MXNet 1.9.1 runs on (3.8 to 3.12): make_venv.sh FOLDER
set -eu
usable='
import os, sys, sysconfig
import ensurepip, venv
ok = (3, 8) <= sys.version_info[:2] <= (3, 12)
# pydensecrf compiles a C++ extension.
ok = ok and os.path.isfile(os.path.join(sysconfig.get_paths()["include"], "Python.h"))
sys.exit(0 if ok else 1)'
for version in 3.11 3.10 3.9 3.12 3.8 3; do
    for python in $(command -v "python$version" || true) "/usr/bin/python$version" "/usr/local/bin/python$version" \
            "$HOME"/.pyenv/versions/"$version".*/bin/python; do
        if [ -x "$python" ] && "$python" -c "$usable" 2>/dev/null; then
            echo "using $("$python" --version) for $1"
            exec "$python" -m venv "$1"
        fi
    done
done
echo 'no usable Python found: install Python 3.8 to 3.12 with venv and headers (Debian: apt-get install python3-venv python3-dev)' >&2
exit 2
