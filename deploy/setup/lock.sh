#!/usr/bin/env bash
# Writes requirements/*.txt: every dependency of each extra, pinned with hashes, for every platform and every
# Python from 3.11 on. Needs uv (https://docs.astral.sh/uv). Arguments go to uv: `lock.sh --upgrade`.
# What is published as source alone is built here, and the files hold the digest of its wheel.
set -euo pipefail
cd "$(dirname "$0")/../.."

compile() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header "$@"
}

compile requirements/build.in --output-file requirements/build.txt "$@"
compile requirements/fuzz.in --output-file requirements/fuzz.txt "$@"
compile requirements/s3.in --output-file requirements/s3.txt "$@"
# Building them to learn what they need is done with pinned tools too.
pinned=(--build-constraint requirements/build.txt)
compile pyproject.toml --extra dev --constraint requirements/build.txt "${pinned[@]}" \
    --output-file requirements/dev.txt "$@"
for extra in agent auditor signerd; do
    compile pyproject.toml --extra "$extra" --constraint requirements/dev.txt "${pinned[@]}" \
        --output-file "requirements/$extra.txt" "$@"
done
# A signerd that seals its PIN under a TPM itself. Its build wants the tools of requirements/build.txt.
compile pyproject.toml --extra signerd --extra tpm --constraint requirements/dev.txt "${pinned[@]}" \
    --output-file requirements/signerd-tpm.txt "$@"
# A station that builds products of the ESP32 family and draws its reports.
compile pyproject.toml --extra agent --extra esp32 --extra report --constraint requirements/dev.txt "${pinned[@]}" \
    --output-file requirements/agent-esp32.txt "$@"

compile requirements/onefile.in --constraint requirements/build.txt --output-file requirements/onefile.txt "$@"
compile requirements/source.in --no-deps --constraint requirements/dev.txt --output-file requirements/source.txt "$@"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip --disable-pip-version-check --quiet --no-input \
    install --require-hashes --only-binary :all: -r requirements/build.txt
"$work/venv/bin/python" deploy/wheelhouse/source_wheels.py "$work/wheels"
"$work/venv/bin/python" deploy/setup/lock_wheels.py "$work/wheels" requirements/{agent,agent-esp32,auditor,dev,signerd,signerd-tpm}.txt
