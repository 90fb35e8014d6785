"""The agent as a process: enrolment, the line, kill -9, signals, status, doctor, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.adapters.enrolment import enroll
from agent.errors import SignerUnavailable
from agent.ports import BoardStamp, Receipt
from harness.agent_process import AgentBench
from harness.paper_company import DeviceTree, PaperCompany

pytestmark = pytest.mark.check

AWAY = SignerUnavailable("away")
RUN = ("run", "--order", "WO-1")


class SlowCompany(PaperCompany):
    """Records a stamp, and keeps the answer back until `answer` is set."""

    async def record_stamp(self, session: bytes, stamp: BoardStamp) -> Receipt:
        receipt = await super().record_stamp(session, stamp)
        self.recorded.set()
        await self.answer.wait()
        return receipt

    def __post_init__(self) -> None:
        super().__post_init__()
        self.recorded, self.answer = asyncio.Event(), asyncio.Event()


@pytest.fixture(name="bench")
async def start_bench(tmp_path: Path) -> AsyncIterator[AgentBench]:
    async with AgentBench(tmp_path) as bench:
        yield bench


async def test_enrolment_by_commands(bench: AgentBench) -> None:
    for file in bench.station.iterdir():
        if file.is_file():
            file.unlink()
    assert "signerd station add" in (await bench.request()).out
    given = bench.given()
    sent = {name: bench.directory / f"given-{name}" for name in ("install", "operations-ca", "log-vkey")}
    for file in sent.values():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())  # an editor of Windows was here
    ended = await bench.command("enroll", "--dir", bench.station, *given, "--json")
    assert (ended.code, ended.err) == (0, "")
    for name in ("station.pem", "operations-ca.pem", "log.vkey"):
        assert not (bench.station / name).read_bytes().startswith(b"\xef")
    assert json.loads(ended.out) == {"config": str(bench.station / "agent.toml")}
    assert (await (await bench.start("status")).end()).code == 0


async def test_what_stands_in_the_way_of_the_journal_is_named_before_the_first_file(
    bench: AgentBench,
) -> None:
    given = bench.given()
    state = bench.station / "state"
    kept = (bench.station / "station.pem").read_bytes()
    in_the_way: dict[str, Callable[[], object]] = {
        "state is a file, and must be a folder": lambda: state.write_text(""),
        "state is a link that leads nowhere, and": lambda: state.symlink_to("nowhere"),
        "journal.sqlite is a folder, and must be the journal's file": lambda: (
            state / "journal.sqlite"
        ).mkdir(parents=True),
    }
    shutil.rmtree(state)
    for said, put in in_the_way.items():
        put()
        ended = await bench.command("enroll", "--dir", bench.station, *given)
        assert ended.code == 3
        assert said in ended.err
        assert "Move it away, or name another folder: `state`" in ended.err
        assert (bench.station / "station.pem").read_bytes() == kept
        shutil.move(state, bench.directory / f"away-{len(said)}")
    assert (await bench.command("enroll", "--dir", bench.station, *given)).code == 0


async def test_key_is_the_stations_own_and_nobody_elses_to_read(bench: AgentBench) -> None:
    key = bench.station / "station.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    assert (await bench.request()).code == 0  # a request can be made again, for the same key
    assert key.read_bytes() == before


@pytest.mark.parametrize(
    ("certificate", "says"),
    [
        ({"uri": "birthmark://paper/auditor/eve"}, "no station"),
        ({"uri": "https://example.com"}, "no station"),
    ],
)
async def test_certificates_that_are_no_stations(
    bench: AgentBench, certificate: dict[str, str], says: str
) -> None:
    ended = await bench.command("enroll", "--dir", bench.station, *bench.given(**certificate))
    assert ended.code == 3
    assert says in ended.err


async def test_certificate_of_another_key(bench: AgentBench, tmp_path: Path) -> None:
    given = bench.given()
    who = ("--deployment", "paper", "--site", "plant1", "--name", "pc2")
    await bench.command("enroll", "--dir", tmp_path / "other", *who)
    ended = await bench.command("enroll", "--dir", tmp_path / "other", *given)
    assert ended.code == 3
    assert "do not belong together" in ended.err
    assert not (tmp_path / "other" / "agent.toml").exists()


async def test_one_board(bench: AgentBench) -> None:
    board = bench.board("CHIP-1")
    ended = await (await bench.start("provision", "--order", "WO-1", "--port", board.port)).end()
    assert ended.code == 0
    assert json.loads(ended.out.splitlines()[-1])["serial_number"] == "BM-000001"


async def test_boards_side_by_side_then_status(bench: AgentBench) -> None:
    boards = [bench.board(f"CHIP-{number}") for number in range(4)]
    ports = [part for board in boards for part in ("--port", board.port)]
    agent = await bench.start(*RUN, *ports, "--count", "4")
    assert (await agent.end()).code == 0
    summary = agent.events[-1]
    assert (summary["event"], summary["passed"], summary["yield_percent"]) == ("summary", 4, 100.0)
    assert {"keygen", "sign", "record"} <= set(summary["step_median_s"])
    status = await (await bench.start("status", "--json")).end()
    assert json.loads(status.out)["summary"]["passed"] == 4
    assert json.loads(status.out)["open_stamps"] == []


async def test_a_board_that_fails_makes_the_exit_code(bench: AgentBench) -> None:
    bench.signerd.company.required_locks = ("jtag_closed",)
    board = bench.board("CHIP-1")
    ended = await (await bench.start(*RUN, "--port", board.port, "--once")).end()
    assert ended.code == 1
    assert '"stamp_locks_open"' in ended.out


async def test_signerd_away_has_an_exit_code_of_its_own(bench: AgentBench) -> None:
    config = bench.config.read_text(encoding="utf-8")
    bench.config.write_text(config + "\n[timeouts]\nsigner_wait_s = 0.1\n", encoding="utf-8")
    bench.signerd.company.before["open_session"] = [AWAY] * 10
    board = bench.board("CHIP-1")
    assert (await (await bench.start("provision", "--order", "WO-1", "--port", board.port)).end()).code == 4


@pytest.mark.parametrize(
    ("event", "step"),
    [
        ("step_started", "session"),
        ("step_started", "keygen"),
        ("step_done", "keygen"),
        ("step_done", "request"),
        ("step_done", "sign"),
        ("step_done", "install"),
        ("step_done", "configure"),
        ("step_done", "seal"),
        ("step_done", "verify"),
        ("step_done", "stamp"),
        ("step_started", "record"),
        ("step_done", "record"),
    ],
)
async def test_killed_it_goes_on_with_one_certificate(bench: AgentBench, event: str, step: str) -> None:
    board = bench.board("CHIP-1", keygen_s=0.2)
    agent = await bench.start(*RUN, "--port", board.port, "--count", "1")
    await agent.event(event, step=step)
    await agent.kill()
    again = await bench.start(*RUN, "--port", board.port, "--count", "1")
    assert (await again.end()).code == 0
    company = bench.signerd.company
    assert list(company.boards) == ["CHIP-1"]
    assert company.boards["CHIP-1"].stamp is not None
    assert [b'"type":"issued"' in entry for entry in company.log.entries].count(True) == 1
    status = await (await bench.start("status", "--json")).end()
    assert json.loads(status.out)["open_stamps"] == []


async def test_killed_between_the_stamp_and_its_answer(tmp_path: Path) -> None:
    company = SlowCompany()
    async with AgentBench(tmp_path, company) as bench:
        board = bench.board("CHIP-1")
        agent = await bench.start(*RUN, "--port", board.port, "--count", "1")
        await company.recorded.wait()
        await agent.kill()
        waiting = json.loads((await (await bench.start("status", "--json")).end()).out)["open_stamps"]
        assert [stamp["chip_id"] for stamp in waiting] == ["CHIP-1"]
        company.answer.set()
        again = await bench.start(*RUN, "--port", board.port, "--count", "1")
        assert (await again.end()).code == 0
        stamped = [entry for entry in company.log.entries if b'"type":"stamped"' in entry]
        assert len(stamped) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_while_idle(bench: AgentBench, number: signal.Signals) -> None:
    board = bench.board("CHIP-1")
    agent = await bench.start(*RUN, "--port", board.port)
    await agent.event("board_done")
    os.kill(agent.process.pid, number)
    ended = await agent.end()
    assert ended.code == 0
    assert agent.events[-1]["event"] == "summary"


async def test_told_to_stop_twice_parks_the_board(bench: AgentBench) -> None:
    board = bench.board("CHIP-1", keygen_s=600.0)
    agent = await bench.start(*RUN, "--port", board.port)
    await agent.event("step_started", step="keygen")
    os.kill(agent.process.pid, signal.SIGTERM)
    os.kill(agent.process.pid, signal.SIGINT)
    ended = await agent.end()
    assert ended.code == 1
    assert [event["code"] for event in agent.events if event["event"] == "board_parked"] == ["stopped"]


async def examine(bench: AgentBench, *more: str) -> dict[str, dict[str, object]]:
    ended = await (await bench.start("doctor", "--json", *more)).end()
    findings = {finding["check"]: finding for finding in json.loads(ended.out)}
    assert ended.code == (0 if all(finding["ok"] for finding in findings.values()) else 1)
    return findings


def bad(findings: dict[str, dict[str, object]]) -> set[str]:
    wrong = {check for check, finding in findings.items() if finding["ok"] is False}
    assert all(findings[check]["remedy"] for check in wrong)
    return wrong


@pytest.fixture(name="sound")
async def make_sound(bench: AgentBench) -> AgentBench:
    """A bench with which nothing is wrong."""
    board = bench.board("CHIP-1")
    config = bench.config.read_text(encoding="utf-8")
    bench.config.write_text(f'ports = ["{board.port}"]\n{config}', encoding="utf-8")
    return bench


async def test_doctor_finds_nothing(sound: AgentBench) -> None:
    assert bad(await examine(sound)) == set()
    assert bad(await examine(sound, "--order", "WO-1")) == set()


async def test_doctor_finds_a_key_that_others_may_read(sound: AgentBench) -> None:
    (sound.station / "station.key").chmod(0o644)
    assert bad(await examine(sound)) == {"key"}


@pytest.mark.parametrize(("begins", "days"), [(-2, 1), (1, 60)])
async def test_doctor_finds_a_certificate_out_of_its_time(sound: AgentBench, begins: int, days: int) -> None:
    request = (sound.station / "station.csr.pem").read_bytes()
    certificate = sound.signerd.issue_station(request, begins=begins, days=days)
    (sound.station / "station.pem").write_bytes(certificate)
    assert "certificate" in bad(await examine(sound))


async def test_a_certificate_that_ends_soon_is_renewed(sound: AgentBench) -> None:
    """From doctor's finding to the new certificate; what is not this station's newer one is not taken."""
    renew = ("--config", sound.config)
    request = sound.station / "station.csr.pem"
    held = sound.station / "station.pem"
    held.write_bytes(sound.signerd.issue_station(request.read_bytes(), days=50))
    finding = (await examine(sound))["certificate"]
    assert (finding["ok"], "birthmark-agent renew" in str(finding["remedy"])) == (False, True)
    before = held.read_bytes()
    request.unlink()
    asked = await sound.command("renew", *renew)
    assert "signerd station renew station.csr.pem --site plant1 --name pc1" in asked.out

    given = sound.directory / "given.pem"
    other = sound.directory / "other"
    enroll.request(other, deployment="paper", site="plant1", name="pc1")
    for wrong, days in ((other / "station.csr.pem", 825), (request, 40)):
        given.write_bytes(sound.signerd.issue_station(wrong.read_bytes(), days=days))
        assert (await sound.command("renew", *renew, "--install", given)).code == 3
        assert held.read_bytes() == before
    given.write_bytes(sound.signerd.issue_station(request.read_bytes(), days=825))
    assert (await sound.command("renew", *renew, "--install", given)).code == 0
    assert held.read_bytes() == given.read_bytes()
    assert bad(await examine(sound)) == set()


async def test_doctor_finds_no_signerd(sound: AgentBench) -> None:
    await sound.signerd.__aexit__(None, None, None)
    config = sound.config.read_text(encoding="utf-8")
    sound.config.write_text(config + "\n[timeouts]\ncall_s = 1.0\n", encoding="utf-8")
    findings = await examine(sound)
    assert bad(findings) == {"line"}
    assert findings["signerd"]["state"] == "not_checked"
    for name, what in (("trust", "chain"), ("clock", "clock")):
        assert findings[name]["state"] == "not_checked"
        assert f"; not compared with signerd's {what}" in str(findings[name]["detail"])
    assert "device root CN=" in str(findings["trust"]["detail"])
    assert "nothing listens" in str(findings["line"]["detail"])


async def test_doctor_finds_another_signerd(sound: AgentBench) -> None:
    other = AgentBench(sound.directory).signerd
    (sound.station / "operations-ca.pem").write_bytes(other.operations.pem)
    config = sound.config.read_text(encoding="utf-8")
    sound.config.write_text(config + "\n[timeouts]\ncall_s = 1.0\n", encoding="utf-8")
    assert bad(await examine(sound)) == {"line"}


async def test_doctor_finds_another_name_and_says_which_there_are(sound: AgentBench) -> None:
    config = sound.config.read_text(encoding="utf-8")
    sound.config.write_text(config.replace("127.0.0.1:", "localhost:"), encoding="utf-8")
    line = (await examine(sound))["line"]
    assert line["detail"] == "signerd's certificate does not have the name localhost: it has 127.0.0.1"
    assert "signerd server renew --name localhost" in str(line["remedy"])


async def test_doctor_finds_a_bundle_that_cannot_be_read(sound: AgentBench) -> None:
    config = sound.config.read_text(encoding="utf-8").replace('driver = "smp"\n', "")
    bundle = '\n[bundle]\npath = "firmware.zip"\nkey = "company.pem"\n'
    sound.config.write_text(f'driver = "esp32"\n{config}{bundle}', encoding="utf-8")
    findings = await examine(sound)
    assert bad(findings) == {"bundle"}
    assert "company.pem" in str(findings["bundle"]["detail"])


async def test_doctor_finds_that_the_driver_takes_no_bundle(sound: AgentBench) -> None:
    config = sound.config.read_text(encoding="utf-8")
    bundle = '\n[bundle]\npath = "firmware.zip"\nkey = "company.pem"\n'
    sound.config.write_text(config + bundle, encoding="utf-8")
    assert bad(await examine(sound)) == {"recipe"}


async def test_doctor_finds_what_is_wrong_with_places_and_results(sound: AgentBench) -> None:
    results = sound.station / "results"
    results.mkdir()
    config = sound.config.read_text(encoding="utf-8")
    (port,) = tomllib.loads(config)["ports"]
    shop = f'[places]\n"{port}" = "1"\ntwo = "2"\n[results]\nfolder = "{results}"\ncommand = ["sh"]\n'
    for right, wrong, check in (
        ('two = "2"', 'two = "1"', "places"),
        (f'"{port}"', "usb-1-1", "places"),
        (f'"{results}"', f'"{results}-elsewhere"', "results"),
        ('["sh"]', '["no-such-program"]', "results"),
    ):
        sound.config.write_text(f"{config}\n{shop}", encoding="utf-8")
        assert bad(await examine(sound)) == set()
        sound.config.write_text(f"{config}\n{shop.replace(right, wrong)}", encoding="utf-8")
        assert bad(await examine(sound)) == {check}


async def test_doctor_names_the_code_of_a_refusal(sound: AgentBench) -> None:
    sound.signerd.order_codes.append("order_unknown")
    findings = await examine(sound, "--order", "WO-OF-OTHERS")
    assert bad(findings) == {"signerd"}
    assert "order_unknown" in str(findings["signerd"]["detail"])


async def test_doctor_finds_an_unknown_option_of_the_driver(sound: AgentBench) -> None:
    config = sound.config.read_text(encoding="utf-8")
    sound.config.write_text(f"{config}\n[drivers.smp]\nbaud = 1\n", encoding="utf-8")
    assert bad(await examine(sound)) == {"driver"}


async def test_doctor_finds_no_journal(sound: AgentBench) -> None:
    (sound.station / "state" / "journal.sqlite").unlink()
    assert bad(await examine(sound)) == {"journal"}


async def test_doctor_finds_an_unknown_key(sound: AgentBench) -> None:
    config = sound.config.read_text(encoding="utf-8")
    sound.config.write_text(f"colour = 1\n{config}", encoding="utf-8")
    findings = await examine(sound)
    assert bad(findings) == {"configuration"}
    assert "colour" in str(findings["configuration"]["detail"])


async def test_wrong_device_root_stops_the_line(bench: AgentBench) -> None:
    bench.signerd.company.tree = DeviceTree()
    board = bench.board("CHIP-1")
    ended = await (await bench.start(*RUN, "--port", board.port)).end()
    assert ended.code == 3
    assert "device_root is not the root of signerd's chain" in ended.err
    assert board.board.storage.get("credential") is None


async def test_usage_and_configuration_have_codes(bench: AgentBench, tmp_path: Path) -> None:
    assert (await bench.command("run", "-c", bench.config)).code == 2
    for command in (("run",), ("provision", "--port", "COM7")):
        ended = await bench.command(*command, "--order", "WO 1", "-c", bench.config)
        assert ended.code == 2
        assert "--order" in ended.err
    ended = await bench.command("run", "--order", "WO-1", "-c", tmp_path / "none.toml")
    assert ended.code == 3
    assert "enroll" in ended.err
