"""Strangers that open connections and say nothing, more than signerd may have open files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from birthmark.v1 import signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of
from harness.idle_connections import IdleConnections
from harness.process import COMMANDS, wait_until
from signerd.adapters.descriptors import A_KEY_HOLDER, RESERVE
from signerd.adapters.scheduling import NICER

OPEN_FILES = 4096  # what the unit file once allowed
IDLE = 4_200
LONG_S = 12.0  # more than two times what a handshake may take
BACK_S = 30.0  # within which a station that reconnects gets in
OPEN = signing_pb2.OpenSessionRequest(work_order="WO-X", chip_id="chip-1")
SERVING = health_pb2.HealthCheckResponse.SERVING

pytestmark = pytest.mark.check


@pytest.fixture
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    limited = ("/bin/sh", "-c", f'ulimit -n {OPEN_FILES} && exec "$0" "$@"', COMMANDS / "signerd")
    with Edge(tmp_path_factory.mktemp("idle"), signerd=limited) as edge:
        edge.start()
        yield edge


def asks(station: EdgePeer) -> str:
    return code_of(lambda: station.signing.OpenSession(OPEN, timeout=TIMEOUT_S))


def serves(station: EdgePeer) -> bool:
    stub = health_pb2_grpc.HealthStub(station.channel)
    return bool(stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status == SERVING)


def test_idle_connections_leave_signerd_its_descriptors(edge: Edge) -> None:
    connected, coming = (edge.add_peer(f"station/plant1/{name}") for name in ("connected", "coming"))
    assert asks(connected) == "order_unknown"
    signerd = edge.installation.process
    with IdleConnections(edge.installation.target, IDLE) as idle:
        idle.wait_open(OPEN_FILES - RESERVE - A_KEY_HOLDER - 100)
        old = edge.installation.key_holder()
        old.kill()
        wait_until(lambda: any(child.pid != old.pid for child in signerd.children()), "another key holder")
        until = time.monotonic() + LONG_S
        while time.monotonic() < until:
            assert asks(connected) == "order_unknown"
            time.sleep(0.1)
        wait_until(lambda: serves(connected), "signerd to serve again", program=signerd)
        edge.add_sensor()  # an administrator's command, with an entry that is signed and published
        wait_until(lambda: asks(coming) == "order_unknown", "a station to get in", timeout_s=BACK_S)
        assert idle.attempts > 2 * IDLE  # they came again: a handshake has its time
    for sign in ("unable to open", "Too many open files"):
        assert sign not in signerd.errors()


def test_threads_that_anybody_can_keep_busy_give_way(edge: Edge) -> None:
    """Those that accept connections and shake hands, also where there came to be more of them."""
    station = edge.add_peer("station/plant1/pc1")
    with IdleConnections(edge.installation.target, 500) as idle:
        idle.wait_open(400)
        assert asks(station) == "order_unknown"
        ours, signerd = os.getpriority(os.PRIO_PROCESS, 0), edge.installation.process

        def give_way() -> bool:
            tasks = [*Path(f"/proc/{signerd.pid}/task").iterdir()]
            try:
                threads = [task.name for task in tasks if (task / "comm").read_text() == "event_engine\n"]
                niceness = {os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in threads}
            except (FileNotFoundError, ProcessLookupError):
                return False  # one ended meanwhile
            return len(threads) > 1 and niceness == {ours + NICER}

        wait_until(give_way, "all of them to give way", program=signerd)
    assert os.getpriority(os.PRIO_PROCESS, signerd.pid) == ours


def test_signerd_lowers_its_connections_to_what_the_system_allows(edge: Edge) -> None:
    assert '"connections_lowered"' in edge.installation.process.errors()


def test_signerd_does_not_start_with_too_few_descriptors(edge: Edge) -> None:
    few = ("/bin/sh", "-c", 'ulimit -n 300 && exec "$0" "$@"')
    edge.installation.process.stop()
    program = edge.installation.start(
        [*few, COMMANDS / "signerd", "run", "--config", edge.installation.config], "few"
    )
    assert program.wait() == 3
    assert "LimitNOFILE" in program.errors()
