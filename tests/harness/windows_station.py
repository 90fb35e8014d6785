"""A station on a PC with Windows, enrolled with a real signerd."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.esp32_farm import RESET_COMMAND
from harness.esp32_line import Esp32Line
from harness.factory import Factory, Run
from harness.process import wait_until
from harness.windows_pc import TIMEOUT_S, Ended, WindowsPc, windows_path

MARK = b"\xef\xbb\xbf"  # as Notepad begins a file


@dataclass
class WindowsStation:
    """Its folder, and how it got there."""

    pc: WindowsPc
    folder: Path
    uri: str
    requested: Ended
    key_mode: int  # as it was made
    installed: Ended

    @property
    def config(self) -> Path:
        return self.folder / "agent.toml"

    def configure(self, parts: str, head: str = "") -> None:
        """Adds to agent.toml, as Notepad saves it: with a byte order mark and CRLF. `head` stands first."""
        text = head + self.config.read_bytes().removeprefix(MARK).decode() + parts
        self.config.write_bytes(MARK + text.replace("\r\n", "\n").replace("\n", "\r\n").encode())

    def log(self) -> list[dict[str, Any]]:
        """The events of agent.log."""
        file = self.folder / "state" / "agent.log"
        lines = file.read_text("utf-8").split("\n")[:-1] if file.exists() else []
        return [json.loads(line) for line in lines]

    def logged(self, event: str, *, times: int = 1, **members: object) -> None:
        """Returns when agent.log has it so often."""

        def there() -> bool:
            found = [each for each in self.log() if each["event"] == event]
            return sum(members.items() <= each.items() for each in found) >= times

        wait_until(there, f"{times} times {event} in agent.log", timeout_s=TIMEOUT_S)

    def plug(self, run: Run, first: int) -> list[str]:
        """Makes a run's boards COM ports from this number on."""
        return [self.pc.plug(first + number, port) for number, port in enumerate(run.farm.ports)]


def enrolled(pc: WindowsPc, factory: Factory, folder: Path, name: str) -> WindowsStation:
    """Enrolls a station of this name, as docs/stations.md says."""
    line = factory.installation
    who = ("--deployment", "dev", "--site", "plant1", "--name", name)
    requested = pc.agent("enroll", "--dir", folder, *who, "--json")
    mode = (folder / "station.key").stat().st_mode & 0o777
    certificate = folder.parent / f"{name}.pem"
    line.admin("station", "add", folder / "station.csr.pem", *who[2:], "--out", certificate)
    trust: list[str | Path] = [
        *("--operations-ca", line.home / "operations" / "ca.pem", "--log-vkey", line.home / "log.vkey"),
        *("--device-root", line.home / "ca" / "root.pem", "--signerd", line.target),
    ]
    installed = pc.agent("enroll", "--dir", folder, "--install", certificate, *trust)
    return WindowsStation(pc, folder, f"birthmark://dev/station/plant1/{name}", requested, mode, installed)


def make_locked_product(pc: WindowsPc, line: Esp32Line) -> None:
    """An empty chip on a COM port leaves locked and certified. A command presses its buttons, as fixtures
    with relays do: a pty has neither DTR nor RTS."""
    run = line.new_run()
    (chip,) = run.farm.chips
    press = [
        windows_path(pc.bed / "python" / "python.exe"),
        "-c",
        "import os, sys; open(sys.argv[1], 'w').write('reset ' + os.environ['BIRTHMARK_RESET'] + chr(10))",
        windows_path(Path(f"{chip.port}.control")),
    ]
    written = run.config.read_text("utf-8")
    config = written.replace(json.dumps(list(RESET_COMMAND)), json.dumps(press))
    assert config != written
    run.config.write_text(config, "utf-8")
    port = pc.plug(30, chip.port)
    doctor = pc.agent("doctor", "-c", run.config, "--order", run.work_order, "--json")
    wrong = {each["check"] for each in doctor.json() if not each["ok"]}
    assert wrong <= {"ports"}, doctor.text  # Wine lists no port by itself
    with pc.start(
        "run", "-c", run.config, "--order", run.work_order, "--count", "1", "--port", port, "--json"
    ) as program:
        ended = program.wait(240)
    assert ended.code == 0, ended
    line.finished_once(run)
