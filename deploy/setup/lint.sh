#!/usr/bin/env bash
# Everything that is checked without running the programs: style, types on both platforms, import boundaries,
# and that the committed protocol code is what its .proto files give.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PWD/.venv/bin:$PATH"

step() { printf '\n== %s\n' "$*"; "$@"; }

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

protocol_code_is_current() {
    local file
    deploy/setup/generate-proto.sh "$fresh"
    for file in proto/birthmark/v1/*_pb2*; do
        diff -u "$file" "$fresh/birthmark/v1/${file##*/}" || { echo "run: make proto" >&2; return 1; }
    done
}

step ruff check .
step ruff format --check .
step mypy agent auditor signerd tests
step mypy --platform win32 agent auditor
step lint-imports
step protocol_code_is_current
