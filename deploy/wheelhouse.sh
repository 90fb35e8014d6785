#!/usr/bin/env bash
# Makes a folder from which a PC without a network installs programs of this checkout, every file by its digest:
#
#   deploy/wheelhouse.sh --python 3.12 --platform win_amd64 DIR agent-esp32
#
# PROGRAMs: agent, agent-esp32, auditor, signerd, signerd-tpm; several go into one folder. Python 3.11, 3.12 or 3.13;
# linux_x86_64 (glibc 2.35 or later) or win_amd64. By default those of this machine. Needs the network, once.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=$(command -v python3) || { echo "wheelhouse: python3 is missing: install Python 3.11 or later" >&2; exit 1; }
"$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "wheelhouse: $python is older than 3.11, or has no venv (apt install python3-venv)" >&2
    exit 1
}
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check --quiet --no-input \
    install --require-hashes --only-binary :all: -r "$here/requirements/build.txt"
"$work/venv/bin/python" "$here/deploy/wheelhouse/collect.py" "$@"
