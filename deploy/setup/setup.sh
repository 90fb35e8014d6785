#!/usr/bin/env bash
# Makes a checkout ready to run: system packages, .venv, pinned Python packages, the project itself.
#
#   setup.sh           what demo, test and lint need
#   setup.sh --bench   and what the benchmark compares with, if it can be had
#   setup.sh --fuzz    and the fuzzer
#   setup.sh --packages  and what builds Debian packages and makes the clean systems in which they are tried
#   setup.sh --soak    that too, and the engine in which the test of containers runs them, if it can be had
#
# It installs only what is missing, and says what and why. Running it again costs a fraction of a second, until
# the pinned requirements or pyproject.toml change. Debian 12 and 13, Ubuntu 22.04 and 24.04; as root, with sudo, or with
# neither where the packages are there already.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=.venv
stamp=$venv/.setup-stamp

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

library_present() { # in /usr/lib, with or without the directory of the machine's architecture
    compgen -G "/usr/lib/$1" >/dev/null || compgen -G "/usr/lib/*/$1" >/dev/null
}

# Debian ships venv without ensurepip unless python3-venv is installed: ask for both.
python_works() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11; do
        if python_works "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

sudo=()
apt_ready=no
apt_prepare() {
    [ "$apt_ready" = no ] || return 0
    command -v apt-get >/dev/null || fail "no apt-get here: install these yourself, then run again: $*"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "not root, and no sudo: have an administrator install: $*"
        sudo=(sudo)
    fi
    "${sudo[@]}" apt-get update -qq || say "apt-get update failed; going on with the package lists that are here"
    apt_ready=yes
}

apt_install() {
    apt_prepare "$@"
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet=2 --no-install-recommends "$@" </dev/null >/dev/null
}

# The distribution's python3 where it is new enough (Debian 12 and 13, Ubuntu 24.04), else python3.11 (Ubuntu 22.04).
install_python() {
    apt_prepare python3 python3-venv
    local candidate
    candidate=$(apt-cache policy python3 | sed -n 's/^ *Candidate: //p')
    if dpkg --compare-versions "${candidate:-0}" ge 3.11; then
        say "installing python3 and python3-venv (apt): the programs run in a Python environment of their own"
        apt_install python3 python3-venv
    else
        say "installing python3.11 and python3.11-venv (apt): this system's python3 is older than 3.11"
        apt_install python3.11 python3.11-venv
    fi
}

# tpm2-pytss is compiled against them. Debian's are a package beside the interpreter's.
python_headers() {
    local python
    python=$(find_python)
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_config_h_filename()))' && return
    local package
    package=$("$python" -c 'import sys; print("python3.%d-dev" % sys.version_info[1])')
    say "installing $package (apt): the headers against which tpm2-pytss is built"
    apt_install "$package"
}

c_compiler_works() { # with the C library's headers
    echo '#include <stdio.h>' | cc -E - >/dev/null 2>&1
}

system_packages() {
    local wanted=()
    if ! command -v softhsm2-util >/dev/null || ! library_present softhsm/libsofthsm2.so; then
        say "installing softhsm2 (apt): the PKCS#11 token of development installations and tests"
        wanted+=(softhsm2)
    fi
    if ! c_compiler_works; then
        say "installing gcc and libc6-dev (apt): the tests build a PKCS#11 module that is slow or broken on demand"
        wanted+=(gcc libc6-dev)
    fi
    if ! command -v openssl >/dev/null; then
        say "installing openssl (apt): checks the demo's certificates with a tool that is not ours"
        wanted+=(openssl)
    fi
    if ! command -v swtpm >/dev/null; then
        say "installing swtpm (apt): a TPM in software, whose evidence the tests verify"
        wanted+=(swtpm)
    fi
    if ! command -v tpm2_certify >/dev/null; then
        say "installing tpm2-tools (apt): with them the tests speak to that TPM"
        wanted+=(tpm2-tools)
    fi
    if ! library_present faketime/libfaketime.so.1; then
        say "installing libfaketime (apt): the test of ten years moves its programs' clocks with it"
        wanted+=(libfaketime)
    fi
    if ! command -v pkg-config >/dev/null || ! pkg-config --exists tss2-esys tss2-tctildr; then
        say "installing libtss2-dev and pkg-config (apt): tpm2-pytss is built against it"
        wanted+=(libtss2-dev pkg-config)
    fi
    token_packages
    if ! command -v age >/dev/null; then
        say "installing age (apt): the tests encrypt a backup with it, as docs/operations.md does"
        wanted+=(age)
    fi
    if ! command -v ssh-keygen >/dev/null; then
        say "installing openssh-client (apt): administrators approve with its ssh-keygen, and so do the tests"
        wanted+=(openssh-client)
    fi
    if ! command -v nft >/dev/null && [ ! -x /usr/sbin/nft ]; then
        say "installing nftables (apt): the tests load the rules of deploy/nftables in a network of their own"
        wanted+=(nftables)
    fi
    if ! command -v ip >/dev/null && [ ! -x /usr/sbin/ip ]; then
        say "installing iproute2 (apt): brings up the loopback of that network"
        wanted+=(iproute2)
    fi
    if ! command -v pdftoppm >/dev/null; then
        say "installing poppler-utils (apt): the tests look at the labels' PDF with its pdftoppm"
        wanted+=(poppler-utils)
    fi
    [ ${#wanted[@]} -eq 0 ] || apt_install "${wanted[@]}"
    browser_packages
    find_python >/dev/null || install_python
    python_headers
}

# What tests/tokens runs. `wanted` is system_packages'.
token_packages() {
    if ! command -v pcscd >/dev/null && [ ! -x /usr/sbin/pcscd ]; then
        say "installing pcscd (apt): smart card readers, for the tests' YubiKey in software"
        wanted+=(pcscd)
    fi
    if ! library_present pcsc/drivers/serial/libifdvpcd.so; then
        say "installing vsmartcard-vpcd (apt): the reader in which that YubiKey is"
        wanted+=(vsmartcard-vpcd)
    fi
    if ! library_present libykcs11.so; then
        say "installing ykcs11 (apt): Yubico's PKCS#11 module, through which signerd sees it"
        wanted+=(ykcs11)
    fi
    if ! command -v yubico-piv-tool >/dev/null; then
        say "installing yubico-piv-tool (apt): makes keys in it, as a YubiKey's owner does"
        wanted+=(yubico-piv-tool)
    fi
    if ! command -v pkcs11-tool >/dev/null; then
        say "installing opensc (apt): its pkcs11-tool looks at tokens with a program that is not ours"
        wanted+=(opensc)
    fi
    if ! library_present libtpm2_pkcs11.so.1 || ! command -v tpm2_ptool >/dev/null; then
        say "installing libtpm2-pkcs11-1 and libtpm2-pkcs11-tools (apt): the PKCS#11 token in a TPM 2.0"
        wanted+=(libtpm2-pkcs11-1 libtpm2-pkcs11-tools)
    fi
    if ! command -v pkcsslotd >/dev/null && [ ! -x /usr/sbin/pkcsslotd ] || ! command -v pkcsconf >/dev/null && [ ! -x /usr/sbin/pkcsconf ]; then
        say "installing opencryptoki (apt): its software token, in whose tests nothing meets the machine's own"
        wanted+=(opencryptoki)
    fi
    if ! command -v tpm2-abrmd >/dev/null && [ ! -x /usr/sbin/tpm2-abrmd ] ||
        ! library_present libtss2-tcti-tabrmd.so.0; then
        say "installing tpm2-abrmd and its TCTI (apt): the resource manager that this token needs"
        wanted+=(tpm2-abrmd libtss2-tcti-tabrmd0)
    fi
    if ! command -v dbus-daemon >/dev/null || ! command -v dbus-send >/dev/null; then
        say "installing dbus (apt): the bus on which that resource manager is found"
        wanted+=(dbus)
    fi
}

# Ubuntu's chromium is a snap, which needs a running snapd and cannot be driven as root: the browser's tests are
# skipped there, and say so.
browser_packages() {
    local wanted=()
    if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
        wanted+=(chromium chromium-driver)
    fi
    # Node.js of another source brings its own npm, and conflicts with Debian's.
    command -v npm >/dev/null || wanted+=(npm)
    [ ${#wanted[@]} -eq 0 ] && return
    if [ "$(. /etc/os-release 2>/dev/null && echo "${ID:-}")" = ubuntu ]; then
        say "no chromium on Ubuntu (it is a snap): the tests that look at the page in a browser are skipped"
        return
    fi
    say "installing ${wanted[*]} (apt): the tests look at the page of port tiles in it"
    apt_install "${wanted[@]}"
}

bench_packages() {
    command -v cfssl >/dev/null && return
    say "installing golang-cfssl (apt): the CA that the benchmark compares with"
    (apt_install golang-cfssl) || say "golang-cfssl cannot be installed here: the benchmark goes without it"
}

soak_packages() {
    local wanted=()
    if ! command -v podman >/dev/null || ! command -v crun >/dev/null || ! command -v slirp4netns >/dev/null; then
        say "installing podman, buildah, crun and slirp4netns (apt): a test builds and runs the container"
        wanted+=(podman buildah crun slirp4netns)
    fi
    if ! command -v mmdebstrap >/dev/null; then
        say "installing mmdebstrap (apt): makes the container's base image of Debian's packages"
        wanted+=(mmdebstrap)
    fi
    [ ${#wanted[@]} -eq 0 ] || (apt_install "${wanted[@]}") || say "they cannot be installed here: that test is skipped"
}

package_tools() {
    local wanted=()
    if ! command -v dh >/dev/null || ! command -v dpkg-buildpackage >/dev/null; then
        say "installing debhelper (apt): builds the Debian packages"
        wanted+=(debhelper)
    fi
    if ! command -v mmdebstrap >/dev/null; then
        say "installing mmdebstrap (apt): makes clean systems of Debian's packages, in which ours are installed"
        wanted+=(mmdebstrap)
    fi
    if ! command -v shellcheck >/dev/null; then
        say "installing shellcheck (apt): reads the packages' scripts"
        wanted+=(shellcheck)
    fi
    [ ${#wanted[@]} -eq 0 ] || apt_install "${wanted[@]}"
}

# Code of others judges the published log (tests/interop). From 1.21 on, Go loads the release that a module asks for.
foreign_code() {
    local go candidate
    go=$(PATH=$PATH:/usr/local/go/bin command -v go || true)
    if [ -n "$go" ] && dpkg --compare-versions "$("$go" env GOVERSION | sed 's/^go//')" ge 1.21; then
        return
    fi
    candidate=$(apt-cache policy golang-go | sed -n 's/^ *Candidate: //p')
    if dpkg --compare-versions "${candidate:-0}" ge 2:1.21; then
        say "installing golang-go (apt): with it others' code judges the published log"
        apt_install golang-go
    else
        say "no Go from 1.21 on is here, and apt has none (https://go.dev/dl): others' code does not judge the log"
    fi
}

# An S3 server that nobody here wrote, for the tests of tiles in a bucket. It binds other versions than ours.
s3_server() {
    PYTHONPATH=proto:tests:. $venv/bin/python -m harness.s3_server
}

fingerprint() {
    sha256sum pyproject.toml requirements/{build,dev,source}.txt deploy/setup/setup.sh deploy/wheelhouse/source_wheels.py
    pwd # the editable install points here
}

python_packages() {
    if [ -x $venv/bin/python ] && [ "$(cat $stamp 2>/dev/null)" = "$(fingerprint)" ]; then
        return
    fi
    local pip=($venv/bin/python -m pip --disable-pip-version-check --quiet --no-input)
    if ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
        say "making $venv with $(find_python)"
        "$(find_python)" -m venv --clear $venv
    fi
    rm -f $stamp
    say "installing pinned Python packages into $venv (requirements/dev.txt): a few minutes the first time"
    "${pip[@]}" install --require-hashes --only-binary :all: -r requirements/build.txt
    # What is published as source alone is built by the tools just installed, pinned too: crcmod and esptool into
    # wheels whose digests are known, tpm2-pytss against this machine's TSS.
    $venv/bin/python deploy/wheelhouse/source_wheels.py $venv/source-wheels >/dev/null
    "${pip[@]}" install --require-hashes --no-build-isolation --use-pep517 --find-links $venv/source-wheels \
        -r requirements/dev.txt
    "${pip[@]}" install --no-deps --no-build-isolation --editable .
    fingerprint >$stamp
}

fuzz_packages() {
    $venv/bin/python -c 'import atheris' 2>/dev/null && return
    say "installing the fuzzer into $venv (requirements/fuzz.txt)"
    $venv/bin/python -m pip --disable-pip-version-check --quiet --no-input \
        install --require-hashes --only-binary :all: -r requirements/fuzz.txt
}

system_packages
python_packages
if [ "${1:-}" = --bench ]; then
    bench_packages
elif [ "${1:-}" = --fuzz ]; then
    fuzz_packages
elif [ "${1:-}" = --packages ]; then
    package_tools
    foreign_code
    s3_server
elif [ "${1:-}" = --soak ]; then
    package_tools
    foreign_code
    s3_server
    soak_packages
fi
