"""Calls of any look, as fast as one can, from everybody who can finish a handshake: who the caller is comes
first, and what is over its rate, or has no rate, writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from birthmark.v1 import signing_pb2
from harness.callers import LOOKS, OPEN_SESSION, cut, flood, register, revoke
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of, new_key
from harness.process import wait_until

BURST = 20
CALLS = 150
LIMITS = f"\n[limits]\nstation_calls_per_s = 1.0\nstation_burst = {BURST}\nauditor_calls_per_s = 1000.0\n"
PATHS = (
    OPEN_SESSION,
    "/birthmark.v1.SigningService/SignCsr",
    "/birthmark.v1.SigningService/RecordStamp",
    "/birthmark.v1.AuditService/StreamEntries",
    "/birthmark.v1.AuditService/GetCheckpoint",
    "/birthmark.v1.AdminService/Revoke",
    "/nobody.knows.This/Call",
)
PER_MINUTE = 4_096  # bytes of log a minute for all that may not write
OPEN = signing_pb2.OpenSessionRequest(work_order="WO-X", chip_id="chip-1")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("looks")) as edge:
        config = edge.installation.config
        config.write_text(config.read_text("utf-8") + LIMITS, "utf-8")
        edge.start()
        yield edge


class Written:
    """What signerd's log and ledger say of a peer since this was made, and how long all of the log is."""

    def __init__(self, edge: Edge, peer: EdgePeer) -> None:
        self._edge, self._peer = edge, peer
        self._log = edge.installation.process.stderr_file
        self._from = self._log.stat().st_size
        self._entries = self.entries()

    def bytes(self) -> int:
        return self._log.stat().st_size - self._from

    def lines(self) -> list[dict[str, Any]]:
        new = self._log.read_bytes()[self._from :].splitlines()
        return [line for line in map(json.loads, new) if line.get("peer") == self._peer.uri]

    def entries(self) -> int:
        entries = self._edge.entries()
        return sum(entry.get("peer") == self._peer.uri for entry in entries if entry["type"] == "refused")

    def more_entries(self) -> int:
        return self.entries() - self._entries


def stranger(edge: Edge, name: str) -> EdgePeer:
    """The operations CA certified it, and nobody registered it."""
    return edge.peer(f"station/plant1/{name}")


def revoked(edge: Edge, name: str) -> EdgePeer:
    peer = register(edge, f"station/plant1/{name}")
    revoke(edge, peer)
    return peer


def two_names(edge: Edge, name: str) -> EdgePeer:
    """A registered key, under a name that it was not registered with."""
    key = new_key()
    register(edge, f"station/plant1/{name}", key)
    return edge.peer(f"station/plant1/{name}-2", key=key)


TURNED_AWAY = {"unauthenticated": stranger, "peer_revoked": revoked, "unauthenticated ": two_names}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("code", TURNED_AWAY)
def test_who_is_not_let_in_is_told_so_and_writes_nothing(edge: Edge, code: str, look: str) -> None:
    peer = TURNED_AWAY[code](edge, f"{code.strip()}-{len(code)}-{list(LOOKS).index(look)}")
    written = Written(edge, peer)
    told = flood(peer, OPEN_SESSION, LOOKS[look], calls=CALLS)
    for path in PATHS:
        told += flood(peer, path, LOOKS[look], calls=4)
    cut(peer, OPEN_SESSION, calls=CALLS)
    assert set(told) == {code.strip()}
    assert (written.lines(), written.more_entries()) == ([], 0)
    assert written.bytes() < PER_MINUTE


@pytest.mark.parametrize("look", [look for look in LOOKS if look != "well formed"])
def test_a_station_over_its_rate_writes_no_more_than_within_it(edge: Edge, look: str) -> None:
    station = register(edge, f"station/plant1/loud-{list(LOOKS).index(look)}")
    written = Written(edge, station)
    told = flood(station, OPEN_SESSION, LOOKS[look], calls=CALLS)
    cut(station, OPEN_SESSION, calls=CALLS)
    within = CALLS - told["rate_limited"]
    assert BURST <= within < 2 * BURST
    assert set(told) <= {"rate_limited", "request_malformed", "order_unknown"}
    wait_until(lambda: written.more_entries() >= BURST, "what was refused within the rate, in the ledger")
    assert len(written.lines()) < 2 * BURST
    assert written.more_entries() < 2 * BURST
    assert written.bytes() < 2 * BURST * 400 + PER_MINUTE


@pytest.mark.parametrize("path", [path for path in PATHS if "Signing" not in path])
def test_a_call_of_another_role_takes_from_the_callers_rate(edge: Edge, path: str) -> None:
    name = path.rpartition("/")[2].lower()
    station = register(edge, f"station/plant1/nosy-{name}")
    written = Written(edge, station)
    assert set(flood(station, path, LOOKS["no body"], calls=CALLS)) == {"role_denied"}
    assert len(written.lines()) < 2 * BURST
    assert written.more_entries() < 2 * BURST
    assert code_of(lambda: station.signing.OpenSession(OPEN, timeout=TIMEOUT_S)) == "rate_limited"


def test_two_names_and_two_connections_of_a_key_have_one_rate_and_two_keys_of_a_name_have_two(
    edge: Edge,
) -> None:
    old = register(edge, "station/plant1/changed")
    again = edge.connect(old.uri, old.certificate, old.key)
    told = flood(old, OPEN_SESSION, LOOKS["well formed"], calls=BURST)
    told += flood(again, OPEN_SESSION, LOOKS["well formed"], calls=BURST)
    assert BURST <= told["order_unknown"] < BURST + 10
    revoke(edge, old)
    new = register(edge, "station/plant1/changed")
    assert set(flood(old, OPEN_SESSION, LOOKS["no body"], calls=CALLS)) == {"peer_revoked"}
    assert set(flood(new, OPEN_SESSION, LOOKS["well formed"], calls=BURST)) == {"order_unknown"}
