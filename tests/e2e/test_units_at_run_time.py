"""The units of deploy/systemd under systemd: installed as the pages print it, at work in their sandbox,
and what the sandbox denies, tried from inside. tests/integration/deploy/test_units.py analyses the files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial

import pytest

from harness.booted_factory import BootedFactory
from harness.booted_machine import no_booted_machine
from harness.process import wait_until
from harness.walked_factory import SERVICE, SIGNERD

pytestmark = pytest.mark.check
_MOST = 1.5  # systemd-analyze(1): 0 is closed, 10 open
_SETTINGS = "-c /etc/signerd/signerd.toml"
_STATE = {SIGNERD: "/var/lib/signerd", SERVICE: "/var/lib/signerd-key"}
_ALLOWED = {
    SIGNERD: {
        *("write its state", "a socket of Unix", "a socket of IPv4", "a socket of IPv6"),
        "lock a page of memory",
    },
    SERVICE: {"write its state", "a socket of Unix", "lock a page of memory"},
}
# Of those that the kernel could refuse for another reason: what says that it was the sandbox.
_REFUSED_AS = {
    "a socket of netlink": "EAFNOSUPPORT",
    "memory that is written and executed": "EPERM",
    "see process 1": "ENOENT",
    "see the kernel's memory": "ENOENT",
    "write /etc": "EROFS",
    "write /usr": "EROFS",
    "write /opt": "EROFS",
}


@pytest.fixture(scope="module")
def factory() -> Iterator[BootedFactory]:
    if missing := no_booted_machine():
        pytest.skip(missing)
    with BootedFactory() as factory:
        for unit, state in _STATE.items():
            factory.probed(unit, state)
        factory.walk()
        yield factory


def _board(factory: BootedFactory) -> None:
    run = factory.new_run(boards=1)
    agent = run.start_agent()
    assert agent.wait() == 0, agent.describe()
    factory.finished_once(run)


def _shown(factory: BootedFactory, unit: str, name: str) -> str:
    return factory.machine.run(f"systemctl show --property={name} --value {unit}").strip()


@pytest.mark.parametrize("unit", [SIGNERD, SERVICE])
def test_exposure(factory: BootedFactory, unit: str) -> None:
    said = factory.machine.run(f"systemd-analyze security --no-pager {unit}.service")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found, said
    assert float(found[1]) <= _MOST
    assert _shown(factory, unit, "SubState") == "running"


def test_what_the_desk_does_and_a_restart(factory: BootedFactory) -> None:
    machine = factory.machine
    _board(factory)
    machine.run(f"signerd server renew {_SETTINGS}", user=SIGNERD)
    factory.give("systemctl reload signerd")
    machine.run("install -d -o signerd -m 0700 /srv/out")
    machine.run(f"signerd crl {_SETTINGS} --out /srv/out/boards.crl", user=SIGNERD)
    machine.run(f"signerd backup {_SETTINGS} --out /srv/out/backup", user=SIGNERD)
    factory.give(f"systemctl restart {SERVICE} {SIGNERD}")
    _board(factory)
    factory.verify()
    assert "Traceback" not in machine.run("journalctl --no-pager --output=cat")


def test_killed_they_are_started_again(factory: BootedFactory) -> None:
    factory.machine.run(f"systemctl kill --signal=KILL --kill-who=main {SERVICE} {SIGNERD}")
    for unit in (SERVICE, SIGNERD):
        wait_until(partial(_started_again, factory, unit), f"{unit} to be started again", timeout_s=90)
    _board(factory)


def _started_again(factory: BootedFactory, unit: str) -> bool:
    return (_shown(factory, unit, "NRestarts"), _shown(factory, unit, "SubState")) == ("1", "running")


@pytest.mark.parametrize("unit", [SIGNERD, SERVICE])
def test_what_the_sandbox_denies(factory: BootedFactory, unit: str) -> None:
    """By a command of the unit itself, which systemd gives the sandbox of its daemon."""
    line = next(each for each in factory.booted.journal(unit).splitlines() if each.startswith('{"probe"'))
    said = json.loads(line)
    assert {name for name, outcome in said["probe"].items() if outcome == "done"} == _ALLOWED[unit]
    assert {name: said["probe"][name] for name in _REFUSED_AS} == _REFUSED_AS
    about = said["about"]
    assert {about[name] for name in ("CapBnd", "CapEff", "CapAmb")} == {"0" * 16}
    assert (about["NoNewPrivs"], about["Seccomp"], about["core"], about["processes"]) == ("1", "2", "0", "0")


def test_a_station_as_a_unit(factory: BootedFactory) -> None:
    """Its sandbox closes all devices but serial lines; a drop-in opens those of the simulated boards."""
    run = factory.new_run(boards=1)
    unit = f"birthmark-agent@{run.work_order}"
    factory.station_unit(run, "DeviceAllow=char-pts rw")
    factory.machine.run(f"systemctl enable --now {unit}")
    wait_until(lambda: '"board_done"' in factory.booted.journal(unit), "a board", timeout_s=90)
    factory.finished_once(run)
    said = factory.machine.run(f"systemd-analyze security --no-pager {unit}.service")
    assert re.search(r"Overall exposure level for \S+: [0-3]\.", said), said
    assert str(factory.installation.machine.owner("/var/lib/birthmark-agent")) == "birthmark:birthmark 700"
    factory.machine.run(f"systemctl stop {unit}")
    assert _shown(factory, unit, "Result") == "success"


def test_the_key_holder_has_a_network_of_its_own(factory: BootedFactory) -> None:
    """And neither reads what is the other's."""
    machine = factory.machine
    networks = {}
    for unit in (SIGNERD, SERVICE):
        networks[unit] = machine.run(f"readlink /proc/{_shown(factory, unit, 'MainPID')}/ns/net")
    assert networks[SERVICE] != networks[SIGNERD] == machine.run("readlink /proc/self/ns/net")
    for path in ("/run/credentials/signerd-key-holder.service/hsm-pin", "/var/lib/signerd-key/notes.sqlite"):
        assert machine.path(path).exists()
        assert not machine.may(SIGNERD, "-r", path)
