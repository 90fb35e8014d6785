#!/usr/bin/env bash
# Generates the Python code of proto/birthmark/v1 into DIR (default: beside the .proto files).
#   generate-proto.sh [DIR]
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$PWD/.venv/bin/python
out=${1:-proto}
PATH="$PWD/.venv/bin:$PATH" "$python" -m grpc_tools.protoc -I proto \
    --python_out="$out" --mypy_out="quiet:$out" --grpc_python_out="$out" --mypy_grpc_out="quiet:$out" \
    proto/birthmark/v1/*.proto
