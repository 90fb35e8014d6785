#!/usr/bin/env bash
# Builds Debian packages of this checkout into a folder:
#
#   deploy/packages/build.sh dist                                    all three, for Debian 12 and 13
#   deploy/packages/build.sh --release debian13 dist birthmark-agent
#
# Releases: debian12, debian13, ubuntu24.04; each has its own python3, and packages of its own. A package carries the
# Python packages of requirements/*.txt, by their digests, for that python3. The same checkout gives the same bytes.
# --revision N: what comes after the version, 1 if absent. Needs debhelper, and the network for the wheels.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
say() { printf 'packages: %s\n' "$*"; }
fail() { printf 'packages: %s\n' "$*" >&2; exit 1; }

declare -A python=([debian12]=3.11 [debian13]=3.13 [ubuntu24.04]=3.12)
declare -A locked=([birthmark-signerd]=signerd [birthmark-agent]=agent-esp32 [birthmark-auditor]=auditor)
declare -A command=([birthmark-signerd]=signerd [birthmark-agent]=birthmark-agent [birthmark-auditor]=birthmark-auditor)
releases=() revision=1 out='' packages=()
while [ $# -gt 0 ]; do
    case $1 in
    --release) releases+=("${2:?--release wants a name}"); shift ;;
    --revision) revision=${2:?--revision wants a number}; shift ;;
    -*) fail "no option $1" ;;
    *) if [ -z "$out" ]; then out=$1; else packages+=("$1"); fi ;;
    esac
    shift
done
[ -n "$out" ] || fail "name the folder for the packages"
[[ $revision =~ ^[0-9]+$ ]] || fail "--revision wants a number"
[ ${#releases[@]} -gt 0 ] || releases=(debian12 debian13)
[ ${#packages[@]} -gt 0 ] || packages=(birthmark-signerd birthmark-agent birthmark-auditor)
for each in "${releases[@]}"; do [ -n "${python[$each]:-}" ] || fail "no release $each: ${!python[*]}"; done
for each in "${packages[@]}"; do [ -n "${locked[$each]:-}" ] || fail "no package $each: ${!locked[*]}"; done
for each in dh dpkg-buildpackage; do
    command -v $each >/dev/null || fail "$each is missing: deploy/setup/setup.sh --packages installs debhelper"
done
[ "$(dpkg --print-architecture)" = amd64 ] || fail "only amd64 is built: the wheels are for it"

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/pyproject.toml")
# The date of what is built; a copy without history says it itself.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
out=$(cd "$out" && pwd)

# The environment of one program. Its interpreter is the system's: postinst links it.
lay_out() { # folder, wheels, python, command
    local site=$1/lib/python$3/site-packages name module
    "$here/.venv/bin/python" -m pip --disable-pip-version-check --no-input --quiet install \
        --no-index --no-deps --no-compile --require-hashes --no-warn-script-location --only-binary :all: --ignore-requires-python \
        "${manylinux[@]}" --python-version "$3" --implementation cp \
        --find-links "$2" --target "$site" --requirement "$2/requirements.txt"
    rm -rf "$site/bin" "$site/share"
    mkdir "$1/bin"
    printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' "$3" >"$1/pyvenv.cfg"
    name=$4
    module=$(sed -n "s/^$name = \"\(.*\):main\"$/\1/p" "$here/pyproject.toml")
    printf '#!/usr/lib/birthmark/%s/bin/python3\nimport sys\nfrom %s import main\nsys.exit(main())\n' \
        "$(basename "$1")" "$module" >"$1/bin/$name"
    chmod 0755 "$1/bin/$name"
}

# What wheels of glibc 2.35 and before call their platform: pip does not know that one takes the others.
manylinux=(--platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64)
for minor in $(seq 35 -1 5); do manylinux+=(--platform "manylinux_2_${minor}_x86_64"); done

# One package's paragraph alone: debhelper would make the others too.
paragraphs() { # python, packages
    local python=$1
    shift
    awk -v RS= -v ORS='\n\n' -v wanted=" $* " -v python="python$python" '
        /^Source:/ { print }
        /^Package:/ { if (index(wanted, " " $2 " ")) { gsub(/@PYTHON@/, python); print } }
    ' "$here/deploy/packages/debian/control.in"
}

for release in "${releases[@]}"; do
    py=${python[$release]}
    tree=$work/$release/birthmark
    mkdir -p "$tree/lib"
    cp -r "$here/docs" "$here/README.md" "$here/CHANGELOG.md" "$tree"
    mkdir "$tree/deploy"
    cp -r "$here/deploy/examples" "$here/deploy/hsm" "$here/deploy/nftables" "$here/deploy/systemd" "$tree/deploy"
    cp -r "$here/deploy/packages/debian" "$tree/debian"
    rm "$tree/debian/control.in" "$tree/debian/lintian-overrides" "$tree/debian/preinst.in"
    paragraphs "$py" "${packages[@]}" >"$tree/debian/control"
    full=$version-$revision+${release/debian/deb}
    printf 'birthmark (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' "$full" \
        "$(sed -n 's/^Maintainer: //p' "$tree/debian/control")" "$(date -R -u -d "@$SOURCE_DATE_EPOCH")" \
        >"$tree/debian/changelog"
    for package in "${packages[@]}"; do
        say "$package for $release"
        program=${package#birthmark-}
        # As deploy/wheelhouse.sh does in an environment of its own: this one has the same tools.
        "$here/.venv/bin/python" "$here/deploy/wheelhouse/collect.py" --python "$py" --platform linux_x86_64 \
            "$work/$release/$program" "${locked[$package]}" >/dev/null
        lay_out "$tree/lib/$program" "$work/$release/$program" "$py" "${command[$package]}"
        "$here/.venv/bin/python" "$here/deploy/packages/third_party.py" "$tree/lib/$program" >"$tree/third-party-$program.txt"
        cp "$here/deploy/packages/debian/lintian-overrides" "$tree/debian/$package.lintian-overrides"
        sed "s/@PROGRAM@/$program/" "$here/deploy/packages/debian/preinst.in" >"$tree/debian/$package.preinst"
        printf '%s\n' CHANGELOG.md "third-party-$program.txt" >>"$tree/debian/$package.docs"
    done
    # The units name the place of an installation by hand.
    for unit in signerd.service signerd-key-holder.service birthmark-agent@.service; do
        sed 's|=/opt/birthmark/bin/|=/usr/bin/|' "$here/deploy/systemd/$unit" >"$tree/$unit"
    done
    (cd "$tree" && dpkg-buildpackage --build=binary --no-sign) >"$work/$release/log" 2>&1 || {
        cat "$work/$release/log" >&2
        fail "dpkg-buildpackage failed for $release"
    }
    cp "$work/$release"/*.deb "$out"
done
(cd "$out" && sha256sum -- *.deb)
