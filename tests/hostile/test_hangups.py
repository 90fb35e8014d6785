"""SIGHUP: what can change while signerd serves changes, and stations go on."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of, key_pem
from harness.installation import Installation
from harness.process import COMMANDS, Program, ProgramError, wait_until
from signerd.adapters.line_writer import GATHER_S
from signerd.adapters.operations_ca import issue_server, load_ca

OPEN = signing_pb2.OpenSessionRequest(work_order="WO-X", chip_id="chip-1")


pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("reload")) as edge:
        edge.start()
        yield edge


@pytest.fixture(scope="module")
def station(edge: Edge) -> EdgePeer:
    return edge.add_peer("station/plant1/pc1")


def asks(station: EdgePeer) -> str:
    """As the agent does: a call that finds no connection waits for one."""
    return code_of(lambda: station.signing.OpenSession(OPEN, timeout=TIMEOUT_S, wait_for_ready=True))


def lines(edge: Edge, event: str) -> list[dict[str, object]]:
    said = map(json.loads, edge.installation.process.errors().splitlines())
    return [line for line in said if line.get("event") == event]


def hang_up(edge: Edge, answer: str) -> dict[str, object]:
    """SIGHUP, and the line with which signerd answers it."""
    before = len(lines(edge, answer))
    os.kill(edge.installation.process.pid, signal.SIGHUP)
    wait_until(lambda: len(lines(edge, answer)) > before, answer, program=edge.installation.process)
    return lines(edge, answer)[-1]


def waits(line: dict[str, object]) -> set[str]:
    """Settings that wait for a restart. The harness itself wrote down the port after the start."""
    names = line["needs_restart"]
    assert isinstance(names, list)
    return set(names) - {"server.listen"}


def shown(edge: Edge, station: EdgePeer) -> int:
    """Serial number of the certificate that signerd shows to a new connection."""
    return edge.shown_to(station).serial_number


def put_certificate(edge: Edge) -> int:
    """Another one for the same server, as an administrator puts it; its serial number."""
    certificate, key = issue_server(load_ca(edge.home), "dev", ("127.0.0.1",), datetime.now(UTC))
    folder = edge.home / "operations"
    (folder / "server.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(key_pem(key))
    return certificate.serial_number


def put(edge: Edge, settings: str) -> Callable[[], None]:
    """Other settings at the end of the file; what it returns takes them out again."""
    file, before = edge.installation.config, edge.installation.config.read_text("utf-8")
    file.write_text(f"{before}\n{settings}\n", "utf-8")
    return lambda: (file.write_text(before, "utf-8"), None)[1]


def test_a_new_certificate_is_shown_and_connected_stations_go_on(edge: Edge, station: EdgePeer) -> None:
    assert asks(station) == "order_unknown"
    before = shown(edge, station)
    serial = put_certificate(edge)
    assert shown(edge, station) == before
    assert waits(hang_up(edge, "reloaded")) == set()
    assert shown(edge, station) == serial
    assert asks(station) == "order_unknown"
    put_certificate(edge)
    hang_up(edge, "reloaded")
    assert shown(edge, station) != serial


def test_calls_go_on_while_the_certificate_is_replaced(edge: Edge, station: EdgePeer) -> None:
    """On one channel, without a pause; it connects anew each time."""
    over = threading.Event()
    answers: Counter[str] = Counter()

    def call() -> None:
        while not over.is_set():
            answers[asks(station)] += 1

    calling = threading.Thread(target=call)
    calling.start()
    try:
        for _ in range(3):
            put_certificate(edge)
            hang_up(edge, "reloaded")
        answered = answers["order_unknown"]
        wait_until(lambda: answers["order_unknown"] > answered, "an answer on the last connection")
    finally:
        over.set()
        calling.join()
    # A call that reaches a listener as it ends is given back, and the agent sends it again.
    assert set(answers) <= {"order_unknown", "rate_limited", "UNAVAILABLE", "CANCELLED"}, answers
    assert answers["UNAVAILABLE"] + answers["CANCELLED"] <= 2 * 3


def test_a_hangup_that_changes_no_certificate_leaves_connections_alone(edge: Edge, station: EdgePeer) -> None:
    assert asks(station) == "order_unknown"
    before = set(established(edge))
    hang_up(edge, "reloaded")
    assert asks(station) == "order_unknown"
    assert before
    assert before <= set(established(edge))


def test_a_second_signerd_on_the_port_does_not_start(edge: Edge, tmp_path: Path) -> None:
    """Though the port can be shared for the moment of a replacement."""
    with Installation(tmp_path / "second") as second:
        text = second.config.read_text("utf-8").replace('"127.0.0.1:0"', f'"{edge.installation.target}"')
        second.config.write_text(text, "utf-8")
        with pytest.raises(ProgramError, match=r"cannot listen on .*: Address already in use"):
            second.start_signerd()


def established(edge: Edge) -> list[object]:
    """Connections of peers, as signerd has them."""
    port = int(edge.installation.target.rpartition(":")[2])
    process = psutil.Process(edge.installation.process.pid)
    return [
        each.raddr
        for each in process.net_connections("tcp")
        if each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port
    ]


WRONG: dict[str, tuple[Callable[[Edge], Path], bytes, str]] = {
    "the key of another certificate": (lambda it: it.home / "operations" / "server.pem", b"", "not the key"),
    "settings that are none": (
        lambda it: it.installation.config,
        b"\n[limits]\nstation_burst = 0\n",
        "burst",
    ),
    "no certificate": (lambda it: it.home / "operations" / "server.pem", b"none", "not a certificate"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_new_file_that_is_wrong_leaves_the_old_in_force(edge: Edge, station: EdgePeer, wrong: str) -> None:
    where, data, reason = WRONG[wrong]
    file, serial = where(edge), shown(edge, station)
    before = file.read_bytes()
    if not data:
        other, _ = issue_server(load_ca(edge.home), "dev", ("127.0.0.1",), datetime.now(UTC))
        data = other.public_bytes(Encoding.PEM)
    file.write_bytes(before + data if file.suffix == ".toml" else data)
    try:
        line = hang_up(edge, "not_reloaded")
    finally:
        file.write_bytes(before)
    assert reason in str(line["detail"])
    assert shown(edge, station) == serial
    assert asks(station) == "order_unknown"


def test_limits_change_and_what_cannot_is_named(edge: Edge, station: EdgePeer) -> None:
    undo = put(edge, "[limits]\nstation_calls_per_s = 0.001\nstation_burst = 1\nconnections = 100\n")
    try:
        assert waits(hang_up(edge, "reloaded")) == {"limits.connections"}
        assert {asks(station) for _ in range(3)} >= {"rate_limited"}
    finally:
        undo()
    hang_up(edge, "reloaded")
    wait_until(lambda: asks(station) == "order_unknown", "the rate of before")


def test_the_logs_level_changes(edge: Edge, station: EdgePeer) -> None:
    undo = put(edge, '[log]\nlevel = "error"\n')
    try:
        # Its own line is one of those that are no longer said.
        os.kill(edge.installation.process.pid, signal.SIGHUP)

        def silent() -> bool:
            before = edge.installation.process.errors()
            if asks(station) != "order_unknown":  # over the rate there is no line anyway
                return False
            time.sleep(5 * GATHER_S)
            return edge.installation.process.errors() == before

        wait_until(silent, "a call without a line")
    finally:
        undo()
    hang_up(edge, "reloaded")
    before = len(lines(edge, "call"))
    wait_until(
        lambda: asks(station) == "order_unknown" and len(lines(edge, "call")) > before, "a call's line"
    )


def test_hangups_while_it_starts_and_while_it_serves_end_nothing(tmp_path: Path) -> None:
    with Installation(tmp_path / "fresh") as installation:
        program: Program = installation.start(
            [COMMANDS / "signerd", "run", "-c", installation.config], "hung"
        )
        wait_until(lambda: ignores_hangups(program.pid), "its first lines of code", program=program)
        while not installation.port_file.exists():
            os.kill(program.pid, signal.SIGHUP)
            time.sleep(0.001)
            assert program.running(), program.describe()
        holders = program.children()
        for process in (program.pid, *(holder.pid for holder in holders)):
            os.kill(process, signal.SIGHUP)
        wait_until(lambda: '"reloaded"' in program.errors(), "the last to be heard", program=program)
        assert program.children() == holders
        assert program.stop() == 0


def ignores_hangups(pid: int) -> bool:
    """Ignored or caught (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    masks = dict(line.split(":") for line in status.splitlines() if line.startswith("Sig"))
    handled = int(masks["SigIgn"], 16) | int(masks["SigCgt"], 16)
    return bool(handled >> (signal.SIGHUP - 1) & 1)
