"""A database that cannot be written for a while: health says so until it can, whoever calls meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from birthmark.v1 import signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of
from harness.process import wait_until

pytestmark = pytest.mark.check

OPEN = signing_pb2.OpenSessionRequest(work_order="WO-X", chip_id="chip-1")
SERVING = health_pb2.HealthCheckResponse.SERVING
ASKED = 100  # within the station's rate
NOTICED_S = 25.0  # ten seconds between looks, and five in which SQLite waits for the lock
BACK_S = 25.0  # it tries each second


@pytest.fixture
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("health")) as edge:
        edge.start()
        yield edge


def serves(peer: EdgePeer, service: str = "") -> bool:
    stub = health_pb2_grpc.HealthStub(peer.channel)
    request = health_pb2.HealthCheckRequest(service=service)
    return bool(stub.Check(request, timeout=TIMEOUT_S).status == SERVING)


def test_health_follows_the_store(edge: Edge) -> None:
    prober, station = edge.auditor, edge.add_peer("station/plant1/pc1")
    assert serves(prober)
    other = sqlite3.connect(edge.home / "signerd.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # as a backup that hangs, or a tool that was left open
    wait_until(lambda: not serves(prober), "health to notice, though nobody calls", timeout_s=NOTICED_S)
    # Reading works: auditors are served, and calls that write nothing are answered. None of them is a proof.
    assert serves(prober, "birthmark.v1.AuditService")
    said = set()
    for _ in range(ASKED):
        code_of(lambda: station.signing.OpenSession(OPEN, timeout=TIMEOUT_S))
        said.add(serves(prober))
    assert said == {False}
    other.rollback()
    other.close()
    wait_until(lambda: serves(prober), "health to notice that it can write again", timeout_s=BACK_S)
    edge.add_sensor()
    assert serves(prober)
