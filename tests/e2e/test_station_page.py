"""docs/stations.md, "Install" and "Enroll" on Linux, as they are printed: by root and by the station's user.

Wheelhouses have tests of their own, as has the self-contained station (`test_onefile.py`).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator

import pytest

from harness.machine_with_users import MachineWithUsers, no_machine_with_users
from harness.process import COMMANDS, REPOSITORY, run

pytestmark = pytest.mark.check
PAGE = (REPOSITORY / "docs" / "stations.md").read_text("utf-8")
USER, DIR = "birthmark", "/etc/birthmark-agent"
PATH = "/usr/local/bin:/usr/bin:/bin"  # of a user whom nobody told of /opt


def printed(pattern: str) -> str:
    """A line of the page, or several."""
    found = re.search(rf"^    {pattern}", PAGE, re.MULTILINE)
    assert found is not None, pattern
    return found[0].strip()


@pytest.fixture(scope="module")
def machine() -> Iterator[MachineWithUsers]:
    if missing := no_machine_with_users():
        pytest.skip(missing)
    with MachineWithUsers() as machine:
        lines = printed(r"python3 wheelhouse/install\.py /opt/birthmark\n(?:    .+\n)+").splitlines()
        programs = [line.split()[0] for line in lines[1:]]
        assert programs == ["adduser", "adduser", "install", "ln"]
        for line in lines[1:]:
            machine.run(line)
        yield machine


def as_the_user(machine: MachineWithUsers, line: str) -> str:
    return run(machine.command("sh", "-euc", line, user=USER, environment={"PATH": PATH}))


def test_the_user_has_the_ports_and_folders_that_nobody_else_may_enter(machine: MachineWithUsers) -> None:
    assert set(machine.run(f"id -nG {USER}").split()) == {"birthmark", "dialout"}
    for folder in (DIR, "/var/lib/birthmark-agent"):
        assert machine.owner(folder) == f"{USER}:{USER} 700"
    assert not machine.path(f"/home/{USER}").exists()


def test_the_command_is_found_by_its_name_and_enrolls(machine: MachineWithUsers) -> None:
    version = run([COMMANDS / "birthmark-agent", "--version"])
    assert as_the_user(machine, "birthmark-agent --version") == version
    as_the_user(machine, printed("birthmark-agent enroll --dir DIR --deployment .*").replace("DIR", DIR))
    assert machine.owner(f"{DIR}/station.key") == f"{USER}:{USER} 600"
    assert stat.S_ISREG(machine.path(f"{DIR}/station.csr.pem").stat().st_mode)
