"""A board's proof-of-possession code is on its label and in the board, and nowhere else.

The line runs with the real programs: boards that pass, boards whose label cannot be printed, a station that
is killed while it prints. Then every file that station, signerd and auditor wrote, and all that their
processes said, is searched for the codes and salts, in every form. The search itself is shown to find them.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from boards.simulated_board import POP_SALT_BYTES
from harness.factory import Factory, Run, events
from harness.label_samples import TEMPLATE, read_codes, template_bytes
from harness.process import COMMANDS, Program, run, wait_until
from harness.secret_search import files_below, search, secret_forms

BOARDS = 2
_LINES = ["S/N {serial}", "Port {port}", "Code {pop}"]


@dataclass
class Line:
    """A factory whose boards have codes. `searched` is all but the labels and the boards themselves."""

    directory: Path
    factory: Factory
    runs: list[Run]

    @property
    def searched(self) -> Path:
        return self.directory / "factory"

    @property
    def labels(self) -> Path:
        return self.directory / "labels"

    @property
    def flash(self) -> Path:
        return self.directory / "boards"

    def configure(self, printer: str | None = None) -> None:
        """Where labels go."""
        config = self.factory.station.config
        plain = config.read_text(encoding="utf-8").partition("\n[label]")[0]
        place = f'folder = "{self.labels}"\nformats = ["png", "svg"]'
        if printer is not None:
            place = f'printer = "{printer}"\nstatus = false'  # the label itself is on its way at once
        template = f'template = "{self.directory / "label.toml"}"'
        config.write_text(f"{plain}\n[label]\n{template}\n{place}\n", encoding="utf-8")

    def boards(self) -> Run:
        """Fresh boards with codes."""
        run = self.factory.new_run(boards=BOARDS, pop=True, state_dir=self.flash)
        self.runs.append(run)
        return run

    def secrets(self, boards: Run) -> dict[str, tuple[bytes, bytes]]:
        """Chip id -> code and salt, as they stand in the boards' own flash."""
        kept = {}
        for chip in boards.chips:
            stored = json.loads((self.flash / f"{chip}.json").read_text(encoding="utf-8"))
            pop = bytes.fromhex(stored["pop"])
            kept[chip] = (pop[POP_SALT_BYTES:], pop[:POP_SALT_BYTES])
        return kept

    def forms(self) -> dict[str, bytes]:
        """What is searched for: each code and salt of each board in each form."""
        forms: dict[str, bytes] = {}
        for boards in self.runs:
            for chip, (code, salt) in self.secrets(boards).items():
                forms |= secret_forms(f"code of {chip}", code) | secret_forms(f"salt of {chip}", salt)
        return forms


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    directory = tmp_path_factory.mktemp("pop")
    (directory / "label.toml").write_bytes(template_bytes(TEMPLATE, lines=_LINES, width_mm=60))
    (directory / "labels").mkdir()
    with Factory(directory / "factory") as factory:
        line = Line(directory, factory, [])
        line.configure()
        passed = line.boards()
        assert passed.start_agent("--trace", passed.farm.ports[0]).wait() == 0
        factory.finished_once(passed)
        yield line


def test_the_label_carries_the_code(line: Line) -> None:
    secrets = line.secrets(line.runs[0])
    pictures = [Image.open(file) for file in sorted(line.labels.glob("*.png"))]
    read = {json.loads(payload)["pop"] for picture in pictures for payload in read_codes(picture)}
    assert read == {code.decode() for code, _ in secrets.values()}
    assert len(read) == BOARDS


def test_the_search_finds_what_is_there(line: Line) -> None:
    forms = line.forms()
    on_labels, in_boards = search(forms, line.labels), search(forms, line.flash)
    for chip in line.runs[0].chips:
        assert any(found.endswith(f".svg: code of {chip}, plain") for found in on_labels)
        assert any(found.endswith(f"{chip}.json: code of {chip}, hex") for found in in_boards)
        assert any(found.endswith(f"{chip}.json: salt of {chip}, hex") for found in in_boards)


def test_the_search_finds_every_form(line: Line, tmp_path: Path) -> None:
    for number, (form, wanted) in enumerate(line.forms().items()):
        file = tmp_path / f"{number}.bin"
        file.write_bytes(b"before " + wanted + b" after")
        assert f"{file}: {form}" in search({form: wanted}, tmp_path)


def test_the_search_looks_where_the_boards_left_their_traces(line: Line) -> None:
    """Each program's files name the boards: a secret beside the name would be seen."""
    station, signerd = line.factory.station.directory, line.factory.installation.home
    for chip in line.runs[0].chips:
        traces = search({"chip id": chip.encode()}, line.searched)
        assert any(trace.startswith(str(station)) for trace in traces), "journal"
        assert any(trace.startswith(str(signerd)) for trace in traces), "database or ledger"
        assert any(trace.startswith(str(line.factory.installation.logs)) for trace in traces), "output"
    said = search({"the question for the code": b'"command": "pop"'}, station)
    assert any("/trace-" in trace for trace in said), "the dialogue of a port"


def _say_everything(line: Line) -> None:
    """Every command that shows what is known of boards writes to the logs that are searched."""
    station, logs = line.factory.station.config, line.factory.installation.logs
    said = [
        line.factory.verify(),
        run([COMMANDS / "birthmark-agent", "status", "--config", station]),
        run([COMMANDS / "birthmark-agent", "status", "--json", "--config", station]),
        *(str(record) for known in line.runs for record in line.factory.records(known)),
        *(
            json.dumps(line.factory.entries(kind, known))
            for known in line.runs
            for kind in ("issued", "stamped")
        ),
    ]
    (logs / "said.out").write_text("\n".join(said), encoding="utf-8")


def test_nothing_else_knows_the_code(line: Line) -> None:
    _say_everything(line)
    assert files_below([line.searched])
    assert search(line.forms(), line.searched) == []


def test_nor_where_the_label_cannot_be_printed(line: Line) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # closed before it is used
    line.configure(printer=f"tcp://127.0.0.1:{port}")
    boards = line.boards()
    assert boards.start_agent().wait() == 1
    assert set(boards.outcomes().values()) == {"printer_off"}
    _say_everything(line)
    assert search(line.forms(), line.searched) == []


def test_nor_where_the_station_is_killed_while_it_prints(line: Line) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        line.configure(printer=f"tcp://127.0.0.1:{server.getsockname()[1]}")
        boards = line.boards()
        agent: Program = boards.start_agent()
        server.settimeout(60)
        connection, _ = server.accept()  # a printer that hangs, with the label on its way
        with connection:
            wait_until(lambda: _printing(agent), "step label", program=agent)
            agent.kill()
    line.configure()
    assert boards.start_agent().wait() == 0
    _say_everything(line)
    assert search(line.forms(), line.searched) == []


def _printing(agent: Program) -> bool:
    return any(event.get("step") == "label" for event in events(agent))
