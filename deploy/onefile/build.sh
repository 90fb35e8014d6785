#!/usr/bin/env bash
# Makes the self-contained station for Linux: one archive that runs where no Python is.
#
#   deploy/onefile/build.sh DIR        DIR/birthmark-agent-VERSION-linux_x86_64.tar.gz, and its SHA256SUMS
#
# For Windows: docs/stations.md, "Without Python".
# It runs on the glibc of the machine that builds it, and later ones. Everything inside comes by its hash.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -eq 1 ] || { echo "usage: build.sh DIR" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v objdump >/dev/null || { echo "onefile: objdump is missing: apt install binutils" >&2; exit 1; }

deploy/wheelhouse.sh "$work/wheelhouse" agent-esp32 >/dev/null
python3 "$work/wheelhouse/install.py" "$work/venv" >/dev/null
"$work/venv/bin/python" -m pip --disable-pip-version-check --quiet --no-input \
    install --require-hashes --only-binary :all: -r requirements/onefile.txt
"$work/venv/bin/python" deploy/onefile/freeze.py "$work/wheelhouse" "$out"
