"""The station's Debian package in a clean system of this machine's release: installed, looked at, removed.
tests/e2e/test_packages.py does all of it with all packages, on Debian 12 and 13."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.clean_root import CleanRoot, made_root, no_clean_root
from harness.debian_packages import SUITES, built, no_builder
from tokens import presence

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]
_PACKAGE = "birthmark-agent"
_WORKER = "/usr/lib/birthmark/agent/bin/python3 -P -m agent.adapters.drivers.esp32.worker </dev/null"
_RELEASE = "debian12"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    presence.skip(no_builder() or no_clean_root() or None)
    return built(_RELEASE, tmp_path_factory.mktemp("package"), _PACKAGE)[_PACKAGE]


@pytest.fixture(scope="module")
def root(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CleanRoot]:
    with CleanRoot(made_root(SUITES[_RELEASE], tmp_path_factory.mktemp("root"))) as root:
        root.install(package)
        yield root


def test_what_is_there_before_anybody_configures_it(root: CleanRoot) -> None:
    assert root.owner("/etc/birthmark-agent") == "birthmark:birthmark 700"
    assert (
        root.run("ls /etc/birthmark-agent /var/lib/birthmark-agent").split(":")[1].strip()
        == "/var/lib/birthmark-agent"
    )
    assert "dialout" in root.run("id --name --groups birthmark").split()
    assert root.run("systemctl list-units --plain --no-legend 'birthmark-agent@*'") == ""
    said = root.refused("birthmark-agent doctor", 1)
    assert "/etc/birthmark-agent/agent.toml: there is no such file" in said
    assert "birthmark-agent enroll" in said


def test_its_commands_start(root: CleanRoot) -> None:
    assert "birthmark-agent [OPTIONS] COMMAND" in root.run("birthmark-agent --help")
    root.run(
        "birthmark-agent enroll --dir /etc/birthmark-agent --deployment dev --site s --name p",
        user="birthmark",
    )
    assert root.owner("/etc/birthmark-agent/station.key") == "birthmark:birthmark 600"
    root.run(f"cd / && {_WORKER}")  # esptool's process: no order came, it ends


def test_its_unit_runs_it(root: CleanRoot) -> None:
    """Without a configuration, which it says with its code: systemd does not try again."""
    root.refused("systemctl start birthmark-agent@WO-1", 0)
    assert (
        root.run("until [ $(systemctl show -P SubState birthmark-agent@WO-1) = failed ]; do sleep 0.1; done")
        == ""
    )
    assert root.shown("birthmark-agent@WO-1", "ExecMainStatus") == "3", root.journal("birthmark-agent@WO-1")
    assert "agent.toml" in root.journal("birthmark-agent@WO-1")


def test_no_file_is_left_and_none_is_taken(root: CleanRoot) -> None:
    key = root.path("/etc/birthmark-agent/station.key").read_bytes()
    said = root.refused(f"apt-get purge --yes --quiet {_PACKAGE}", 0)
    assert "kept /etc/birthmark-agent" in said
    root.run("test ! -e /usr/lib/birthmark && test ! -e /usr/bin/birthmark-agent")
    assert root.path("/etc/birthmark-agent/station.key").read_bytes() == key
