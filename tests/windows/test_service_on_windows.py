"""The station as a service of Windows: from the start of the machine, with nobody logged in.

Wine's service manager starts and stops services, and starts them with the machine. What it cannot show: it
starts none again that has died, runs each under the one account that there is, and keeps no right of another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.core.service_account import ACCOUNT
from harness.factory import Factory, Run
from harness.installation import order_toml
from harness.process import wait_until
from harness.windows_pc import TIMEOUT_S, Ended, WindowsPc, windows_path, windows_pc
from harness.windows_station import WindowsStation, enrolled

pytestmark = [pytest.mark.check, pytest.mark.timeout(600)]

ORDER = "WO-SERVICE"
PARTS = """
[timeouts]
stop_s = 1
"""


@dataclass
class Served:
    """What the service did, in order; each test looks at a part of it."""

    station: WindowsStation
    chips: list[str]
    stored: set[str]
    installed: Ended
    running: Ended
    stopped: Ended
    results: Ended
    broken: Ended
    removed: Ended
    gone: Ended


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("factory")
    with (
        Factory(folder / "line") as factory,
        windows_pc(tmp_path_factory.mktemp("pc")) as pc,
    ):
        yield _serve(pc, factory, folder / "a station")


def _serve(pc: WindowsPc, factory: Factory, folder: Path) -> Served:
    station = enrolled(pc, factory, folder, "win2")
    station.configure(PARTS, head='ports = ["COM40", "COM41"]\n')
    factory.installation.open_order(
        order_toml(ORDER, quantity=9, stations=[station.uri], serial_pattern="SVC-{number:06d}")
    )
    first, second = factory.new_run(boards=1), factory.new_run(boards=1)
    slow = factory.new_run(boards=1, keygen_seconds=60)
    station.plug(first, 40)
    installed = pc.agent("service", "install", "-c", station.config, "--order", ORDER, "--json")
    assert installed.code == 0, installed
    station.logged("board", chip_id=first.chips[0], outcome="PASS")
    running = status(pc)

    station.plug(slow, 41)
    wait_until(lambda: works_on(station, slow), "the slow board", timeout_s=TIMEOUT_S)
    pc.power_cut()
    station.plug(second, 40)
    pc.power_on()
    station.logged("board", chip_id=second.chips[0], outcome="PASS")
    wait_until(lambda: works_on(station, slow, after=running), "the slow board", timeout_s=TIMEOUT_S)
    assert pc.tool("net", "stop", "birthmark-agent").code == 0
    stopped = status(pc)
    results = pc.agent("results", "-c", station.config)

    station.configure("", head="portz = 3\n")
    pc.tool("net", "start", "birthmark-agent")
    wait_until(lambda: status(pc).json()["state"] == "stopped", "its end", timeout_s=TIMEOUT_S)
    broken = status(pc)
    removed = pc.agent("service", "remove")
    gone = pc.agent("service", "status")
    stored = {record.chip_id for run in (first, second) for record in factory.records(run)}
    return Served(
        station=station,
        chips=[*first.chips, *second.chips],
        stored=stored,
        installed=installed,
        running=running,
        stopped=stopped,
        results=results,
        broken=broken,
        removed=removed,
        gone=gone,
    )


def status(pc: WindowsPc) -> Ended:
    return pc.agent("service", "status", "--json")


def works_on(station: WindowsStation, run: Run, *, after: Ended | None = None) -> bool:
    """Whether the service has this run's board make its key; `after`: another process than that."""
    file = station.folder / "state" / "live.json"
    try:
        live = json.loads(file.read_bytes())
    except (OSError, ValueError):  # it is just being replaced
        return False
    ports = [port for port in live["ports"] if port.get("chip_id") == run.chips[0]]
    another = after is None or live["pid"] != after.json()["pid"]
    return another and any(port["step"] == "keygen" for port in ports)


def of(ended: Ended, *names: str) -> dict[str, Any]:
    found = ended.json()
    return {name: found[name] for name in names}


def test_it_is_installed_for_an_account_of_its_own(served: Served) -> None:
    assert served.installed.json()["folders"] == [
        windows_path(served.station.folder),
        windows_path(served.station.folder / "state"),
    ]
    assert served.running.code == 0
    assert of(served.running, "account", "automatic", "order", "config", "failure") == {
        "account": ACCOUNT,
        "automatic": True,
        "order": ORDER,
        "config": windows_path(served.station.config),
        "failure": None,
    }
    assert (served.station.folder / "station.key").stat().st_mode & 0o007 == 0


def test_boards_pass_before_and_after_the_machine_is_started_again(served: Served) -> None:
    assert served.stored == set(served.chips)


def test_a_stop_parks_the_board_as_ctrl_c_does(served: Served) -> None:
    parked = [each for each in served.station.log() if each.get("outcome") == "PARKED"]
    assert [each["code"] for each in parked] == ["stopped"], parked
    assert of(served.stopped, "state", "pid", "exit_code", "failure") == {
        "state": "stopped",
        "pid": None,
        "exit_code": 0,
        "failure": None,
    }
    assert served.stopped.code == 1


def test_a_power_cut_leaves_the_journal_whole_and_the_ports_free(served: Served) -> None:
    rows = [json.loads(line) for line in served.results.text.splitlines()]
    slow = [row["code"] for row in rows if row["outcome"] != "PASS"]
    assert slow == ["interrupted", "stopped"]


def test_what_a_person_has_to_mend_keeps_it_down_and_is_told(served: Served) -> None:
    told = served.broken.json()
    assert told["exit_code"] == 3
    assert "portz" in told["failure"]["detail"]


def test_it_is_removed_and_the_stations_files_stay(served: Served) -> None:
    assert served.removed.code == 0, served.removed
    assert served.gone.code == 3
    assert b"there is no service birthmark-agent here" in served.gone.err
    assert (served.station.folder / "state" / "journal.sqlite").exists()
