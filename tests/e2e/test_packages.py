"""The Debian packages in clean systems of Debian 12 and 13: a factory that was installed from them, upgraded,
removed and installed again. tests/e2e/test_agent_package.py looks at the station's alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.clean_root import CleanRoot, made_root, no_clean_root, repacked
from harness.debian_packages import SUITES, built, digests, no_builder
from harness.packaged_factory import SIGNERDS, STATIONS, PackagedFactory
from harness.process import run
from harness.walked_factory import SERVICE, SIGNERD
from tokens import presence

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]
_ALL = "birthmark-signerd birthmark-agent birthmark-auditor"


@dataclass(frozen=True)
class Released:
    """A release with its packages, in a folder of its own."""

    name: str
    folder: Path
    packages: Mapping[str, Path]


@pytest.fixture(scope="module", params=list(SUITES))
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Released:
    presence.skip(no_builder() or no_clean_root() or None)
    folder = tmp_path_factory.mktemp(request.param)
    return Released(request.param, folder, built(request.param, folder / "packages"))


@pytest.fixture(scope="module")
def factory(released: Released) -> Iterator[PackagedFactory]:
    root = made_root(SUITES[released.name], released.folder)
    with PackagedFactory(CleanRoot(root), list(released.packages.values())) as factory:
        yield factory


def _processes(factory: PackagedFactory, unit: str) -> Mapping[str, str]:
    """Unit to process, of those that run."""
    units = (SIGNERD, SERVICE, unit)
    for each in units:
        assert factory.root.shown(each, "ActiveState") == "active", factory.root.journal(each)
    return {each: factory.root.shown(each, "MainPID") for each in units}


def _goes_on(factory: PackagedFactory) -> None:
    """After signerd was started again, on a port of the kernel's choice."""
    factory.installation.start_signerd()
    factory.board()
    factory.verify()


def test_installed_it_certifies_boards(factory: PackagedFactory) -> None:
    root = factory.root
    root.run("systemctl enable signerd")
    unit = factory.board()
    assert root.owner("/var/lib/birthmark-agent") == "birthmark:birthmark 700"
    said = root.run("birthmark-agent doctor || true", user="birthmark")
    assert "ok   signerd" in said, said
    assert root.run("readlink /usr/lib/birthmark/agent/bin/python3").startswith("../../../../bin/python3.")
    assert root.shown(unit, "NRestarts") == "0"
    factory.verify()


def test_the_key_holder_becomes_a_service(factory: PackagedFactory) -> None:
    """By the lines of its page, but for what the package brought."""
    factory.walk()
    unit = factory.board()
    _processes(factory, unit)
    factory.verify()


def test_an_upgrade_goes_on_where_it_was(
    factory: PackagedFactory, released: Released, tmp_path: Path
) -> None:
    root, unit = factory.root, factory.board()
    before = _processes(factory, unit)
    said = root.install(*(repacked(path, 2, tmp_path) for path in released.packages.values()))
    assert root.run(f"dpkg-query --show --showformat='${{Version}}\n' {_ALL}").count("-2+deb") == 3, said
    after = _processes(factory, unit)
    assert not set(before.values()) & set(after.values())
    _goes_on(factory)


def test_nothing_that_counts_goes_with_the_packages(factory: PackagedFactory) -> None:
    """Removed, purged and installed again: keys, ledger and journal are what they were, and work."""
    root = factory.root
    unit = factory.board()
    root.run(f"systemctl stop {unit} signerd signerd-key-holder")
    kept = factory.kept(*SIGNERDS, *STATIONS)
    assert {"/etc/birthmark-agent/station.key", "/var/lib/signerd/signerd.sqlite"} <= set(kept)
    assert {"/etc/signerd-key/keyholder.toml", "/var/lib/signerd-key/notes.sqlite"} <= set(kept)
    root.apt(f"apt remove {_ALL}")
    root.run("test ! -e /usr/lib/birthmark && test ! -e /usr/bin/signerd")
    assert factory.kept(*SIGNERDS, *STATIONS) == kept
    said = root.apt(f"apt purge {_ALL}")
    for each in (*SIGNERDS, *STATIONS):
        assert f"kept {each}" in said
    assert factory.kept(*SIGNERDS, *STATIONS) == kept
    # What somebody made in /etc/systemd is theirs.
    theirs = {f"/etc/systemd/system/{each}.service.d" for each in ("signerd", unit)}
    assert _named_after_us(root) == {*SIGNERDS, *STATIONS, *theirs}
    factory.install(root)
    for each in (SIGNERD, SERVICE, unit):
        assert root.shown(each, "ActiveState") == "inactive"
        assert root.shown(each, "UnitFileState") == "disabled"
    root.run("systemctl enable --now signerd-key-holder signerd")
    factory.board()
    factory.verify()


def _named_after_us(root: CleanRoot) -> set[str]:
    """What a system has of ours, without what is inside of it."""
    ours = r"\( -name '*birthmark*' -o -name '*signerd*' \)"
    places = "/etc /home /opt /root /usr /var"
    return set(root.run(f"find {places} -xdev {ours} -prune -print").split())


def test_what_each_system_says_of_rules_and_units(factory: PackagedFactory, released: Released) -> None:
    root = factory.root
    units = "signerd.service signerd-key-holder.service birthmark-agent@x.service"
    assert root.run(f"systemd-analyze verify {units} 2>&1").strip() == ""
    if released.name == "debian13":  # the first whose udev verifies
        assert "Fail:    0" in root.run("udevadm verify /usr/lib/udev/rules.d/60-birthmark-agent.rules 2>&1")


def test_built_again_it_is_the_same(released: Released, tmp_path: Path) -> None:
    assert digests(built(released.name, tmp_path)) == digests(released.packages)


def test_lintian(factory: PackagedFactory, released: Released) -> None:
    """Debian's own judge of packages finds nothing but what the overrides name, with reasons."""
    root = factory.root
    root.install("lintian")
    names = " ".join(path.name for path in released.packages.values())
    command = f"cd /srv; lintian --allow-root --tag-display-limit 0 --fail-on error,warning {names} 2>&1"
    run(root.command("sh", "-euc", command), timeout_s=1800)
