"""Each wrong station: `doctor` names one cause with its remedy, and `run` refuses by the same words.

A row changes one thing of a station with which nothing is wrong; `test_a_right_station` is the honest twin of
all of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.adapters.checks import state as state_checks
from agent.adapters.journal import schema as journal_schema
from agent.adapters.shown.live_state import LiveFile, LiveState
from agent.config import Config, Signerd
from agent.errors import JournalError
from boards.esp32.images import bootloader_image
from harness.agent_process import AgentBench
from harness.bundle_samples import sample
from harness.shift import write_shift

pytestmark = pytest.mark.check
RUN = ("run", "--order", "WO-1", "--count", "1", "--json")


@dataclass
class Station:
    """A right station, and what was opened to make it a wrong one."""

    bench: AgentBench
    port: str
    listening: list[socket.socket]

    def file(self, name: str) -> Path:
        return self.bench.station / name

    def edit(self, old: str, new: str) -> None:
        text = self.bench.config.read_text(encoding="utf-8")
        assert old in text
        self.bench.config.write_text(text.replace(old, new), encoding="utf-8")

    def add(self, text: str) -> None:
        self.bench.config.write_text(
            f"{self.bench.config.read_text(encoding='utf-8')}\n{text}", encoding="utf-8"
        )

    def put(self, text: str) -> None:
        """Keys of the top."""
        self.bench.config.write_text(
            f"{text}\n{self.bench.config.read_text(encoding='utf-8')}", encoding="utf-8"
        )

    def listen(self, answer: bytes | None = None) -> str:
        """Another server: it sends the bytes to each that comes, or says nothing."""
        server = socket.create_server(("127.0.0.1", 0))
        self.listening.append(server)
        if answer is not None:
            asyncio.get_running_loop().create_task(_answering(server, answer))
        return f"127.0.0.1:{server.getsockname()[1]}"

    def move_signerd(self, address: str) -> None:
        self.edit(self.bench.signerd.address, address)
        self.add("[timeouts]\ncall_s = 1.0\n")


async def _answering(server: socket.socket, answer: bytes) -> None:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(one, sock=server) as serving:
        await serving.serve_forever()


Break = Callable[[Station], None]


def _others_certificate(station: Station, *, begins: int, days: int) -> None:
    request = station.file("station.csr.pem").read_bytes()
    station.file("station.pem").write_bytes(
        station.bench.signerd.issue_station(request, begins=begins, days=days)
    )


def _other_key(station: Station) -> None:
    from agent.adapters.enrolment import enroll  # noqa: PLC0415 -- for this row alone

    other = station.bench.directory / "other"
    enroll.request(other, deployment="paper", site="plant1", name="pc2")
    station.file("station.key").write_bytes((other / "station.key").read_bytes())


def _exchanged(station: Station) -> None:
    station.file("operations-ca.pem").write_bytes(station.file("device-root.pem").read_bytes())


def _wrong_root(station: Station) -> None:
    station.file("device-root.pem").write_bytes(station.file("operations-ca.pem").read_bytes())


def _ahead(hours: float) -> Break:
    def step(station: Station) -> None:
        station.bench.signerd.tells_time = True
        station.bench.signerd.ahead = timedelta(hours=-hours)

    return step


def _taken_page(station: Station) -> None:
    station.add(f'[page]\nlisten = "{station.listen()}"\n')


def _write(name: str, data: bytes) -> Break:
    def write(station: Station) -> None:
        station.file(name).write_bytes(data)

    return write


def _rewrite(station: Station, name: str, change: Callable[[bytes], bytes]) -> None:
    station.file(name).write_bytes(change(station.file(name).read_bytes()))


def _plain_file(station: Station) -> None:
    station.file("file").touch()
    station.edit(station.port, str(station.file("file")))


def _not_serial_esp32(station: Station) -> None:
    station.put('driver = "esp32"')
    station.add('[bundle]\npath = "firmware.zip"\nkey = "company.pem"\n')
    station.edit(station.port, "/dev/null")


def _bundle_that_looks_elsewhere(station: Station) -> None:
    """Signed by the company, whose desk did not look: its bootloader finds no table on any board."""
    right = sample("esp32s3")
    wrong = right.with_image(
        "bootloader", bootloader_image("esp32s3", 3, {}, size=4_000, table_offset=0x9000)
    )
    pem = right.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    station.put('driver = "esp32"')
    station.add('[bundle]\npath = "firmware.zip"\nkey = "company.pem"\n')
    station.file("firmware.zip").write_bytes(wrong.signed_unchecked())
    station.file("company.pem").write_bytes(pem)


def _file_in_place_of_state(station: Station) -> None:
    shutil.rmtree(station.file("state"))
    station.file("state").write_text("")


def _mounted(script: str) -> Break:
    """The folder `state` is on a disk of its own, for the agent alone."""

    def mount(station: Station) -> None:
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            pytest.skip("a disk of one's own needs root and unshare")
        command = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{script}\nexec "$@"')
        station.bench.within = (*command, str(station.file("state")))

    return mount


_READ_ONLY_DISK = """
mount --bind "$0" "$0"
mount -o remount,bind,ro "$0"
"""
_FULL_DISK = """
cp -a "$0" "$0.$$"
mount -t tmpfs -o size=2m,mode=700 tmpfs "$0"
cp -a "$0.$$/." "$0"
rm -r "$0.$$"
cat /dev/zero > "$0/else" 2>/dev/null || true
"""


def _another_in_its_folder(station: Station) -> None:
    """What a station's `run` of another enrolment leaves there while it runs: this process, which does."""
    live = LiveState("WO-1", 10)
    LiveFile(station.file("state"), live, certificate=station.file("other.pem"))._write(live.snapshot())


def _written_by_another(station: Station) -> None:
    """Another station's boards were in this folder yesterday, and a stamp of one of them waits."""
    journal = sqlite3.connect(station.file("state") / journal_schema.FILE_NAME, isolation_level=None)
    with closing(journal):
        journal.execute("INSERT INTO station VALUES ('birthmark://paper/station/plant1/pc9', '2026-11-29')")
        journal.execute("INSERT INTO run (port, work_order, chip_id, started_at) VALUES ('p', '', 'c', 't')")
        journal.execute(
            "INSERT INTO outbox (run, work_order, chip_id, serial_number, certificate_sha256, session, stamp,"
            " signature, queued_at) VALUES (1, 'WO', 'c', 's', x'00', x'00', x'00', x'00', 't')"
        )


def _small_files(station: Station) -> None:
    station.bench.within = ("prlimit", "--fsize=65536", "--")


REFUSED: dict[str, tuple[Break, str, str, str]] = {
    # the row: what breaks it, the line of doctor, what the detail says, what the remedy says
    "deployment": (
        lambda s: s.edit('"paper"', '"other"'),
        "certificate",
        "for deployment paper",
        'deployment = "paper"',
    ),
    "key readable": (lambda s: s.file("station.key").chmod(0o640), "key", "others may read", "chmod 600"),
    "key of another": (_other_key, "key", "do not belong together", "station.csr.pem"),
    "key missing": (
        lambda s: s.file("station.key").unlink(),
        "key",
        "station.key: No such file",
        "Put back the key",
    ),
    "certificate missing": (
        lambda s: s.file("station.pem").unlink(),
        "certificate",
        "station.pem: No such",
        "enroll --install",
    ),
    "certificate garbage": (
        _write("station.pem", os.urandom(300)),
        "certificate",
        "not a PEM certificate",
        "enroll --install",
    ),
    "operations CAs joined": (
        lambda s: _rewrite(s, "operations-ca.pem", lambda pem: pem.rstrip() + pem),
        "certificate",
        "must stand alone on its line",
        "there is a line break between them",
    ),
    "certificate expired": (
        lambda s: _others_certificate(s, begins=-3, days=-1),
        "certificate",
        "ended",
        "renew",
    ),
    "certificate early": (
        lambda s: _others_certificate(s, begins=2, days=90),
        "certificate",
        "not valid before",
        "clock",
    ),
    "operations CA": (_exchanged, "line", "not under this operations CA", "signerd.operations_ca"),
    "web server": (
        lambda s: s.move_signerd(s.listen(b"HTTP/1.1 400 Bad\r\n\r\n")),
        "line",
        "no TLS there",
        "signerd.address",
    ),
    "silence": (lambda s: s.move_signerd(s.listen()), "line", "no answer within 1 s", "signerd.address"),
    "device root": (_wrong_root, "trust", "not the root of signerd's chain", "signerd.device_root"),
    "journal garbage": (
        _write("state/journal.sqlite", os.urandom(8192)),
        "journal",
        "damaged",
        "move it away",
    ),
    "journal empty": (_write("state/journal.sqlite", b""), "journal", "damaged", "move it away"),
    "state is a file": (
        _file_in_place_of_state,
        "journal",
        "state is a file, and must be a folder",
        "Move it away, or name another folder: `state`",
    ),
    "state read-only": (_mounted(_READ_ONLY_DISK), "journal", "Read-only file system", "writable again"),
    "state full": (_mounted(_FULL_DISK), "journal", "No space left on device", "Make room"),
    "state limited": (_small_files, "journal", "File too large", "ulimit -f"),
    "state of another station": (_another_in_its_folder, "journal", "another station works in", "`state`"),
    "journal of another station": (
        _written_by_another,
        "journal",
        "is the journal of birthmark://paper/station/plant1/pc9, and 1 of its stamps wait; this station is",
        "`state` in agent.toml",
    ),
    "recipe missing": (
        lambda s: s.put('recipe = "no.toml"'),
        "recipe",
        "no.toml: No such file",
        "mend `recipe`",
    ),
    "bundle for another table": (
        _bundle_that_looks_elsewhere,
        "bundle",
        "code looks for the partition table at 0x9000, and the bundle puts it at 0x8000",
        "",
    ),
    "options of no driver": (
        lambda s: s.add("[drivers.smpp]\nbaudrate = 9600\n"),
        "driver",
        "[drivers.smpp]: no driver is called 'smpp'; known: ",
        "Mend the name of the table",
    ),
    "port without its /dev/": (
        lambda s: s.edit(s.port, "ttyUSB0"),
        "ports",
        "no serial port is called ttyUSB0",
        "Write /dev/ttyUSB0.",
    ),
    "results where no files go": (
        lambda s: s.add('[results]\nfolder = "/proc"\n'),
        "results",
        "results.folder: /proc takes no files: ",
        "Make it, give it to this account, or mend the key.",
    ),
    "plain file": (_plain_file, "ports", "file is not a serial port", "birthmark-agent ports"),
    "/dev/null": (
        lambda s: s.edit(s.port, "/dev/null"),
        "ports",
        "/dev/null is not a serial port",
        "birthmark-agent ports",
    ),
    "page taken": (_taken_page, "page", "in use", "another one"),
    "page elsewhere": (
        lambda s: s.add('[page]\nlisten = "192.0.2.7:8480"\n'),
        "page",
        "assign",
        "address of this PC",
    ),
    "clock ahead 2 h": (_ahead(2), "clock", "h behind this PC's", "Set this PC's"),
    "clock ahead 10 h": (_ahead(10), "clock", "h behind this PC's", "Set this PC's"),
    "clock behind": (_ahead(-8766), "clock", "365 days 6 h ahead of this PC's", "Set this PC's"),
}


@pytest.fixture(name="station")
async def start(tmp_path: Path) -> AsyncIterator[Station]:
    async with AgentBench(tmp_path) as bench:
        port = bench.board("CHIP-1").port
        station = Station(bench, port, [])
        station.put(f'ports = ["{port}"]')
        yield station
        for server in station.listening:
            with closing(server):
                pass


async def examine(station: Station) -> dict[str, dict[str, object]]:
    ended = await (await station.bench.start("doctor", "--json")).end()
    findings = {finding["check"]: finding for finding in json.loads(ended.out)}
    assert ended.code == (0 if all(finding["ok"] for finding in findings.values()) else 1)
    assert ended.err == ""
    return findings


def bad(findings: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    return {name: finding for name, finding in findings.items() if finding["state"] == "bad"}


async def test_a_right_station(station: Station) -> None:
    station.bench.signerd.tells_time = True
    station.add("[drivers.esp32]\nbaudrate = 9600\n")  # of another station that the file serves
    findings = await examine(station)
    assert all(finding["state"] == "ok" for finding in findings.values())
    assert str(findings["version"]["detail"]).startswith("birthmark-agent ")
    ended = await (await station.bench.start(*RUN)).end()
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("row", REFUSED)
async def test_a_wrong_station_is_refused_by_the_words_of_doctor(station: Station, row: str) -> None:
    makes_wrong, check, detail, remedy = REFUSED[row]
    makes_wrong(station)
    findings, ended = await asyncio.gather(examine(station), _run(station))
    ((name, finding),) = bad(findings).items()
    assert name == check
    assert detail in str(finding["detail"])
    assert remedy in str(finding["remedy"])
    code, said = ended
    assert code in {1, 3, 4}
    assert detail in said
    assert str(finding["remedy"]) in said
    assert "board_seen" not in said


async def _run(station: Station) -> tuple[int, str]:
    ended = await (await station.bench.start(*RUN)).end()
    return ended.code, ended.err + ended.out


EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
MARK = b"\xef\xbb\xbf"
FILES = ("agent.toml", "station.pem", "station.key", "operations-ca.pem", "log.vkey", "device-root.pem")


async def test_files_of_an_editor_of_windows_are_right(station: Station) -> None:
    """A byte order mark and lines that end by CR LF, in each file that may have been opened or mailed."""
    station.put('recipe = "recipe.toml"')
    station.file("recipe.toml").write_bytes((EXAMPLES / "recipe.toml").read_bytes())
    for name in (*FILES, "recipe.toml"):
        plain = station.file(name).read_bytes()
        assert b"\r" not in plain
        station.file(name).write_bytes(MARK + plain.replace(b"\n", b"\r\n"))
    assert bad(await examine(station)) == {}
    ended = await (await station.bench.start(*RUN)).end()
    assert (ended.code, ended.err) == (0, "")


async def test_what_holds_no_board_up_is_said_by_doctor_and_by_run(station: Station) -> None:
    station.add('[log]\nfolder = "/proc/x"\n[places]\n"/dev/ttyNope7" = "A"\n')
    wrong = bad(await examine(station))
    code, said = await _run(station)
    assert code == 0
    assert set(wrong) == {"log", "places"}
    assert wrong["log"]["detail"] == "/proc/x/agent.log: No such file or directory; the log is not written"
    assert "/dev/ttyNope7 is no port's name" in str(wrong["places"]["detail"])
    for finding in wrong.values():
        assert finding["remedy"]
        assert said.count(str(finding["detail"])) == 1


async def test_two_programs_of_one_station_share_its_folder(station: Station) -> None:
    live = LiveState("WO-1", 10)
    own = LiveFile(station.file("state"), live, certificate=station.file("station.pem"))
    own._write(live.snapshot())
    assert bad(await examine(station)) == {}
    assert (await _run(station))[0] == 0


def test_a_big_journal_is_looked_through_for_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / journal_schema.FILE_NAME
    write_shift(path, ports=4, hours=8.0)
    config = Config.model_construct(
        state=tmp_path, signerd=Signerd.model_construct(certificate=tmp_path / "station.pem")
    )
    assert state_checks._journal(config, named=False) == str(path)
    monkeypatch.setattr(journal_schema, "CHECKED_S", 0.0)
    said = state_checks._journal(config, named=False)
    assert "MiB, of which as much is whole as could be read in" in said
    with path.open("r+b") as file:  # what is damaged is found only where it was read
        file.seek(path.stat().st_size - 4096)
        file.write(b"\xff" * 4096)
    monkeypatch.undo()
    with pytest.raises(JournalError, match="damaged"):
        state_checks._journal(config, named=False)


async def test_a_port_that_is_not_there_is_named_and_waited_for(station: Station) -> None:
    board = station.port
    station.edit(f'["{board}"]', f'["{board}", "/dev/ttyNope7", "/dev/nope*"]')
    (finding,) = bad(await examine(station)).values()
    assert finding["check"] == "ports"
    assert "/dev/ttyNope7, /dev/nope*" in str(finding["detail"])
    code, said = await _run(station)
    assert code == 0
    assert said.count("/dev/ttyNope7, /dev/nope*: waiting") == 1


async def test_once_without_its_port_ends(station: Station) -> None:
    ended = await (await station.bench.start("run", "--order", "WO-1", "--once", "--port", "/dev/nope")).end()
    assert ended.code == 3
    assert "no serial port is called /dev/nope" in ended.err
    assert "birthmark-agent ports lists those that are there" in ended.err


async def test_a_station_that_runs_keeps_its_ports(station: Station) -> None:
    station.add(f'[page]\nlisten = "{station.listen()}"\n')
    station.listening.pop().close()
    agent = await station.bench.start("run", "--order", "WO-1", "--json")
    await agent.event("board_done")
    findings = await examine(station)
    assert bad(findings) == {}
    assert f"runs already (pid {agent.process.pid})" in str(findings["ports"]["detail"])
    await agent.kill()
