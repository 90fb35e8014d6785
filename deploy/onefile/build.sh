#!/usr/bin/env bash
# Makes the self-contained station for Linux: one archive that runs where no Python is.
#
#   deploy/onefile/build.sh DIR        DIR/birthmark-agent-VERSION-linux_x86_64.tar.gz, and its SHA256SUMS
#
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
"$work/venv/bin/python" deploy/onefile/freeze.py "$work/dist"
folder=$work/dist/birthmark-agent
# The GPL wants the source of what is under it: wheels are source.
mkdir "$folder/source"
cp "$work"/wheelhouse/{birthmark,esptool,esp_pylib,reedsolo}-*.whl "$folder/source/"
wheel=$(basename "$work"/wheelhouse/birthmark-*.whl)
version=$(cut -d - -f 2 <<<"$wheel")
name=birthmark-agent-$version-linux_x86_64.tar.gz
tar --create --gzip --file "$out/$name" --owner root:0 --group root:0 --sort name --mtime @315532800 \
    --directory "$work/dist" birthmark-agent
(cd "$out" && sha256sum "$name" >SHA256SUMS && cat SHA256SUMS)
