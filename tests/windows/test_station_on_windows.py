"""A station's PC with Windows, from enrolment to the shift's report, against a real signerd on Linux.

Wine stands in for Windows. What it cannot show: USB places of ports (it lists none), consoles with code pages
(standard handles are pipes here), and lists of rights beyond the owner's and everybody's.
"""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from agent.core.service_account import SERVICE, sid_of_service
from harness.factory import Factory
from harness.installation import order_toml
from harness.windows_pc import Ended, WindowsPc, windows_path, windows_pc
from harness.windows_station import WindowsStation, enrolled

pytestmark = [pytest.mark.check, pytest.mark.timeout(600)]

ORDER = "WO-WINDOWS"
PLACE = "Felső pad →"  # in none of the code pages
PAGE_PORT = 8731
OWN_PARTS = f"""
[page]
listen = "127.0.0.1:{PAGE_PORT}"

[places]
COM32 = "{PLACE}"

[results]
folder = "results"

[label]
template = "label.toml"
folder = "labels"
"""
LABEL = """
width_mm = 50
height_mm = 25
dpi = 300
font = "font.ttf"
lines = ["{serial}", "{port}"]

[code]
kind = "text"
text = "{serial} {pop}"
"""
RIGHTS = """
import sys
from pathlib import Path
import win32security as security
from agent.adapters import windows_rights
path, folder = Path(sys.argv[1]), Path(sys.argv[2])
found = [windows_rights.others_with_rights(path)]
everybody = security.ConvertStringSecurityDescriptorToSecurityDescriptor("D:P(A;;FA;;;SY)(A;;FA;;;WD)", 1)
dacl = everybody.GetSecurityDescriptorDacl()
what = security.DACL_SECURITY_INFORMATION | security.PROTECTED_DACL_SECURITY_INFORMATION
security.SetNamedSecurityInfo(str(path), security.SE_FILE_OBJECT, what, None, None, dacl, None)
found.append(windows_rights.others_with_rights(path))
windows_rights.make_private(path)
found.append(windows_rights.others_with_rights(path))
print(found)
windows_rights.let_service_use(folder)  # where others have no rights, they get none
print(windows_rights.others_with_rights(folder))
private = windows_rights._private_descriptor("OICI")
print(security.ConvertSecurityDescriptorToStringSecurityDescriptor(private, 1, 4))
"""


ASK_ESPTOOL = """
import asyncio
from agent.adapters.drivers.esp32.worker_process import Worker

async def ask():
    async with Worker() as worker:
        return await worker.ask("check_burns", {"chip": "esp32s3", "burns": []}, 60)

print(asyncio.run(ask()))
"""

# An ended process, as Windows shows one whose end is not over: its code says that it runs (259), and nobody
# may end it.
END_ONE_THAT_ENDS = """
import asyncio, _winapi, subprocess, sys
from agent.adapters.child_process import end_group

MAY_LOOK_AND_WAIT = 0x1000 | 0x100000  # PROCESS_QUERY_LIMITED_INFORMATION, SYNCHRONIZE

async def end():
    nothing = subprocess.DEVNULL
    command = [sys.executable, "-c", "import os; os._exit(259)"]
    process = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=nothing, stderr=nothing)
    started = process._transport._proc
    mine, every = _winapi.GetCurrentProcess(), started._handle
    _winapi.WaitForSingleObject(int(every), 60_000)
    started._handle = subprocess.Handle(
        _winapi.DuplicateHandle(mine, int(every), mine, MAY_LOOK_AND_WAIT, False, 0)
    )
    print(await end_group(process), await process.wait())

asyncio.run(end())
"""


@dataclass
class Shift:
    """What the station did, in order; each test looks at a part of it."""

    made: WindowsStation
    doctor: Ended
    done: Ended
    page: dict[str, Any]
    chips: list[str]
    interrupted: Ended
    stored: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsPc]:
    with windows_pc(tmp_path_factory.mktemp("pc")) as pc:
        yield pc


@pytest.fixture(scope="module")
def shift(pc: WindowsPc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shift]:
    folder = tmp_path_factory.mktemp("factory")
    with Factory(folder / "line") as factory:
        yield _work(pc, factory, folder / "station")


def _work(pc: WindowsPc, factory: Factory, station: Path) -> Shift:
    line = factory.installation
    made = enrolled(pc, factory, station, "win1")
    config = made.config
    _configure(made)
    line.open_order(order_toml(ORDER, quantity=9, stations=[made.uri], serial_pattern="WIN-{number:06d}"))
    run = factory.new_run(boards=3, pop=True)
    ports = [
        part for number, port in enumerate(run.farm.ports) for part in ("--port", pc.plug(30 + number, port))
    ]
    doctor = pc.agent("doctor", "-c", config, "--order", ORDER, "--json")
    with pc.start("run", "-c", config, "--order", ORDER, "--count", "3", *ports) as program:
        done = program.wait()
    slow = factory.new_run(boards=1, pop=True, keygen_seconds=60)
    with pc.start(
        "run", "-c", config, "--order", ORDER, "--port", pc.plug(33, slow.farm.ports[0])
    ) as program:
        program.event("step_started", step="keygen")
        page = _page()
        program.interrupt()
        interrupted = program.wait()
    stored = {record.chip_id for record in factory.records(run)}
    return Shift(made, doctor, done, page, run.chips, interrupted, stored)


def _configure(made: WindowsStation) -> None:
    station = made.folder
    made.configure(OWN_PARTS + "\n[timeouts]\nstop_s = 1\n")
    (station / "label.toml").write_text(LABEL, encoding="utf-8")
    shutil.copy(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", station / "font.ttf")
    (station / "results").mkdir()
    (station / "labels").mkdir()


def _page() -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{PAGE_PORT}/api/state", timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_enrolment_keeps_the_key_to_this_account(shift: Shift) -> None:
    assert shift.made.requested.json() == {"request": windows_path(shift.made.folder / "station.csr.pem")}
    assert shift.made.installed.code == 0, shift.made.installed
    assert shift.made.key_mode & 0o007 == 0  # what Wine makes of the list of rights
    assert b"icacls" not in shift.made.requested.out + shift.made.requested.err


def test_rights_of_others_are_found_and_taken(pc: WindowsPc, tmp_path: Path) -> None:
    key, folder = tmp_path / "some.key", tmp_path / "folder"
    key.write_bytes(b"secret")
    key.chmod(0o600)
    folder.mkdir(mode=0o700)
    rights, of_folder, private = pc.script(RIGHTS, key, folder).text.splitlines()
    assert (rights, of_folder) == ("[(), ('Everyone',), ()]", "()")
    for path in (key, folder):
        assert path.stat().st_mode & 0o007 == 0  # Wine takes the administrators for the group
    assert private.startswith("D:P(A;OICI;FA;;;")
    assert sorted(re.findall(r"FA;;;([^)]+)", private))[:2] == ["BA", "S-1-5-21-0-0-0-1000"]
    assert f"FA;;;{sid_of_service(SERVICE)}" in private


def test_esptools_process_starts(pc: WindowsPc) -> None:
    """It checks a bundle's burns, which needs no chip."""
    said = pc.script(ASK_ESPTOOL)
    assert said.text.strip() == "{}", said


def test_a_program_that_is_ending_already_is_let_be(pc: WindowsPc) -> None:
    said = pc.script(END_ONE_THAT_ENDS)
    assert (said.code, said.text.strip()) == (0, "True 259"), said


def test_doctor_finds_nothing_wrong_but_the_list_of_ports(shift: Shift) -> None:
    wrong = [each["check"] for each in shift.doctor.json() if not each["ok"]]
    assert set(wrong) <= {"ports", "places"}, shift.doctor  # Wine lists no port by itself


def test_boards_pass_on_com_ports(shift: Shift) -> None:
    events = [json.loads(line) for line in shift.done.text.splitlines()]
    passed = [event for event in events if event["event"] == "board_done"]
    assert shift.done.code == 0, shift.done
    assert sorted(event["chip_id"] for event in passed) == shift.chips
    assert shift.stored == set(shift.chips)
    assert {event["port"] for event in passed} == {"COM30", "COM31", PLACE}


def test_the_page_is_served(shift: Shift) -> None:
    assert "COM33" in json.dumps(shift.page)
    assert shift.page["work_order"] == ORDER


def test_labels_are_drawn(shift: Shift) -> None:
    assert len([each for each in (shift.made.folder / "labels").iterdir() if each.suffix == ".png"]) == 3


def test_results_are_written(shift: Shift) -> None:
    (file,) = (shift.made.folder / "results").glob("*.csv")
    rows = file.read_bytes().decode("utf-8").split("\r\n")
    assert sum(",PASS," in row for row in rows) == 3
    assert any(PLACE in row for row in rows)


def test_ctrl_c_parks_the_board(shift: Shift) -> None:
    events = [json.loads(line) for line in shift.interrupted.text.splitlines()]
    assert [event["code"] for event in events if event["event"] == "board_parked"] == ["stopped"], events
    # Wine's sockets may refuse the byte by which a signal wakes asyncio; that trace has no frame of ours.
    assert b"\\agent\\" not in shift.interrupted.err


@pytest.mark.parametrize("page", ["cp437", "cp1252"])
def test_csv_is_utf8_whatever_the_code_page(pc: WindowsPc, shift: Shift, page: str) -> None:
    config = shift.made.folder / "agent.toml"
    marked = ["--bom"] if page == "cp437" else []
    said = pc.agent("results", "-c", config, "--csv", *marked, environment={"PYTHONIOENCODING": page})
    assert said.code == 0, said
    assert said.out.startswith(b"\xef\xbb\xbf") == bool(marked)
    assert PLACE in said.out.decode("utf-8")
    assert said.out.count(b"\r\n") == said.out.count(b"\n")


@pytest.mark.parametrize(("command", "page"), [("report", "cp437"), ("status", "cp932")])
def test_a_code_page_that_lacks_a_letter_fails_no_command(
    pc: WindowsPc, shift: Shift, command: str, page: str
) -> None:
    config = shift.made.folder / "agent.toml"
    said = pc.agent(command, "-c", config, environment={"PYTHONIOENCODING": page})
    assert (said.code, said.err) == (0, b""), said
    assert said.out.decode(page)
