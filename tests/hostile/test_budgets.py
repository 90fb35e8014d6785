"""What each kind of peer can spend of CPU, log, ledger and open calls: the table "Budgets" of the threat
model, measured. Each test spends as much as it can and says no to more than the table allows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from birthmark.v1 import audit_pb2, signing_pb2
from harness.callers import LOOKS, OPEN_SESSION, SERVICE, flood, register, revoke
from harness.edge import Edge, EdgePeer
from harness.process import wait_until
from signerd.adapters.rpc.accounting import LINES

LINE = 600  # bytes: the longest line of a call
SUMMARY = 1_200  # bytes: the line a minute for calls without one
ENTRY = 700  # bytes: the longest entry of a refusal
CPU_A_CALL_S = 0.004  # that is turned away, all of signerd counted; about 0.5 ms on a quiet machine
RATE, BURST, SHARE = 20, 200, 40
CALLS = 600
LIMITS = f"\n[limits]\nrefusals_per_h = {SHARE}\n"
LONGEST = signing_pb2.OpenSessionRequest(work_order="W" * 64, chip_id="C" * 64)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("budgets")) as edge:
        config = edge.installation.config
        config.write_text(config.read_text("utf-8") + LIMITS, "utf-8")
        edge.start()
        yield edge


class Spent:
    """What was written and worked since this was made."""

    def __init__(self, edge: Edge) -> None:
        self._edge, self._began = edge, time.monotonic()
        self._log: Path = edge.installation.process.stderr_file
        self._log_size = self._log.stat().st_size
        self._entries = sum(1 for _ in edge.entries())
        self._signerd = psutil.Process(edge.installation.process.pid)
        self._cpu = self._cpu_s()

    def _cpu_s(self) -> float:
        times = self._signerd.cpu_times()
        return times.user + times.system

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def log_bytes(self) -> int:
        return self._log.stat().st_size - self._log_size

    def lines(self) -> list[bytes]:
        return self._log.read_bytes()[self._log_size :].splitlines()

    def refused(self, peer: EdgePeer) -> list[bytes]:
        new = list(self._edge.entries())[self._entries :]
        return [json.dumps(each).encode() for each in new if each.get("peer") == peer.uri]

    def cpu_s(self) -> float:
        return self._cpu_s() - self._cpu


def test_a_stations_log_and_ledger(edge: Edge) -> None:
    """Refusals with the longest values, of a code at a time."""
    station = register(edge, "station/plant1/spends-all")
    spent = Spent(edge)
    told = flood(station, OPEN_SESSION, lambda: iter((LONGEST.SerializeToString(),)), calls=CALLS)
    told += flood(station, SERVICE + "SignCsr", LOOKS["no body"], calls=CALLS)
    calls = BURST + RATE * (spent.seconds() + 1)
    assert sum(told.values()) - told["rate_limited"] <= calls
    wait_until(lambda: len(spent.refused(station)) >= SHARE, "a share of refusals in the ledger")
    entries = spent.refused(station)
    codes = len(set(told) - {"rate_limited"})
    assert len(entries) <= codes * (SHARE * (1 + spent.seconds() / 3600) + 1 + spent.seconds() / 60)
    assert max(map(len, entries)) <= ENTRY
    assert max(map(len, spent.lines())) <= LINE
    assert spent.log_bytes() <= calls * LINE + SUMMARY * (1 + spent.seconds() / 60)


@pytest.mark.parametrize("kind", ["not registered", "revoked"])
def test_who_is_not_in_the_registry_spends_a_look(edge: Edge, kind: str) -> None:
    name = f"station/plant1/{kind.replace(' ', '-')}"
    if kind == "revoked":
        peer = register(edge, name)
        revoke(edge, peer)
    else:
        peer = edge.peer(name)
    flood(peer, OPEN_SESSION, LOOKS["no body"], calls=20)  # the connection, and what the first call makes
    spent = Spent(edge)
    flood(peer, OPEN_SESSION, LOOKS["no body"], calls=CALLS)
    assert spent.cpu_s() / CALLS < CPU_A_CALL_S
    assert spent.refused(peer) == []
    # The reading auditor has a line for each time that the test read the ledger.
    own = [line for line in spent.lines() if peer.uri.encode() in line]
    assert sum(map(len, own)) <= SUMMARY * (1 + spent.seconds() / 60)


def test_an_auditors_log(edge: Edge) -> None:
    """It may call ten times as often as a station, and be answered: it has as many lines."""
    auditor = register(edge, "auditor/reads-all")
    spent = Spent(edge)
    request = audit_pb2.GetCheckpointRequest().SerializeToString()
    calls = int(LINES.burst) + CALLS
    told = flood(auditor, "/birthmark.v1.AuditService/GetCheckpoint", lambda: iter((request,)), calls=calls)
    assert told[""] > LINES.burst
    own = [line for line in spent.lines() if auditor.uri.encode() in line]
    most = LINES.burst + LINES.calls_per_s * (spent.seconds() + 1)
    assert len(own) <= most + 1 + spent.seconds() / 60
    assert sum(map(len, own)) <= most * LINE + SUMMARY * (1 + spent.seconds() / 60)
