"""Whoever reads signerd's log stops reading: the line must not stand still for that."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from birthmark.v1 import signing_pb2
from harness import stalled_reader
from harness.edge import TIMEOUT_S, Edge, code_of
from harness.process import COMMANDS, wait_until

CALLS = 200  # a line each, of which not one gets out
SERVING = health_pb2.HealthCheckResponse.SERVING

pytestmark = pytest.mark.check


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    command = (sys.executable, stalled_reader.__file__, sys.executable, COMMANDS / "signerd")
    with Edge(tmp_path / "stalled", signerd=command) as edge:
        yield edge


def serves(health: health_pb2_grpc.HealthStub) -> bool:
    try:
        return bool(health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status == SERVING)
    except grpc.RpcError as error:  # who asks again and again is over the rate now and then
        if error.details() != "rate_limited":
            raise
        return False


def test_a_log_that_nobody_reads_holds_up_no_call_and_not_the_end(edge: Edge) -> None:
    edge.start()
    station = edge.add_peer("station/plant1/pc1")
    request = signing_pb2.OpenSessionRequest(work_order="WO-X", chip_id="chip-1")
    health = health_pb2_grpc.HealthStub(station.channel)
    for _ in range(CALLS):
        assert code_of(lambda: station.signing.OpenSession(request, timeout=TIMEOUT_S)) == "order_unknown"
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status == SERVING
    # The key holder's replacement says several lines.
    signerd = edge.installation.process
    old = edge.installation.key_holder()
    old.kill()
    wait_until(lambda: any(child.pid != old.pid for child in signerd.children()), "another key holder")
    wait_until(lambda: serves(health), "signerd to serve again", program=signerd)
    os.kill(signerd.pid, signal.SIGTERM)
    assert signerd.wait(timeout_s=20) == 0


def test_a_start_that_fails_ends_though_nobody_reads_why(edge: Edge) -> None:
    config = edge.installation.config
    config.write_text(config.read_text("utf-8").replace("[admin]", "[wrong]\n[admin]"), "utf-8")
    program = edge.installation.start([*edge.installation._daemon, "run", "--config", config], "wrong")
    assert program.wait(timeout_s=20) == 3
    assert program.errors() == ""


def test_without_standard_output_and_error_no_line_gets_into_another_file(tmp_path: Path) -> None:
    command = ("/bin/sh", "-c", 'exec "$0" "$@" >&- 2>&-', sys.executable, COMMANDS / "signerd")
    with Edge(tmp_path / "closed", signerd=command) as edge:
        edge.start()
        edge.add_sensor()
        assert edge.installation.process.stop() == 0
        edge.installation.start_signerd()  # the database and the second place are whole
        assert {entry["type"] for entry in edge.entries()} >= {"log_opened", "product_added"}
