"""A token that gives bytes that are no signature, once or from now on: no board is lost for it, nothing is
published under it, and a signerd that cannot go on ends, so that it is started again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from harness.hostile_line import HostileLine, code_of
from harness.installation import Installation
from harness.process import COMMANDS, Program, wait_until
from harness.shim import Shim
from signerd.config import load

NOT_NOW = 75  # docs/operations.md, "Exit codes"
SIGNS = {"certificates": "C_Sign-1041", "checkpoints": "C_Sign-1057"}  # CKM_ECDSA, CKM_EDDSA
SERVING = health_pb2.HealthCheckResponse.SERVING

pytestmark = pytest.mark.check


class DamagedLine(HostileLine):
    def __init__(self, directory: Path) -> None:
        installation = Installation(directory)
        module = load(installation.config).hsm.module
        self._shim = Shim.build(installation.directory / "shim", before=module)
        self._shim.before_token_of(installation)
        super().__init__(installation)

    def damage(self, kind: str, times: int | None) -> None:
        """From now on so many signatures of this kind; None for all, 0 for none."""
        self._shim.rule(SIGNS[kind], "garble", times=times)

    def serves(self) -> bool:
        stub = health_pb2_grpc.HealthStub(self.pc1.channel)
        try:
            return bool(stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status == SERVING)
        except grpc.RpcError:
            return False

    def command(self, *arguments: str) -> Program:
        installation = self.installation
        command: list[str | Path] = [COMMANDS / "signerd", *arguments, "--config", installation.config]
        return installation.start(command, "command")

    def said(self, event: str) -> list[dict[str, object]]:
        lines = map(json.loads, self.installation.process.errors().splitlines())
        return [line for line in lines if line.get("event") == event]


@pytest.fixture
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DamagedLine]:
    line = DamagedLine(tmp_path_factory.mktemp("damaged"))
    with line.installation:
        yield line
        line.close()


@pytest.mark.parametrize("kind", ["certificates", "checkpoints"])
def test_a_signature_that_is_damaged_once_costs_the_key_holder_its_place_and_no_board(
    line: DamagedLine, kind: str
) -> None:
    order, board, next_board = line.open_order(quantity=2), line.board(), line.board()
    old = line.installation.key_holder()
    line.damage(kind, 1)
    session, signed = line.pc1.certify(order, board)
    line.pc1.stamp(board, session, signed)
    assert line.installation.key_holder().pid != old.pid
    assert [found["operation"] for found in line.said("signature_damaged")] == [f"sign_{kind[:-1]}"]
    line.pc1.certify(order, next_board)
    assert line.serves()
    line.verify()


@pytest.mark.parametrize("kind", ["certificates", "checkpoints"])
def test_where_it_recurs_signerd_ends_and_is_whole_when_it_is_started_again(
    line: DamagedLine, kind: str
) -> None:
    order, board = line.open_order(quantity=1), line.board()
    line.damage(kind, None)
    assert code_of(lambda: line.pc1.certify(order, board)) == "unavailable"
    assert not line.serves()
    process = line.installation.process
    assert process.wait(timeout_s=60) == NOT_NOW
    # What the service manager then does fails in the same way, and says why.
    failing = line.command("run")
    assert failing.wait(timeout_s=60) == NOT_NOW
    assert "no signature" in failing.errors()
    line.damage(kind, 0)
    line.installation.start_signerd()
    line.reconnect()
    line.pc1.certify(order, board)
    line.verify()


def test_an_administrators_command_says_that_its_entry_is_not_published(line: DamagedLine) -> None:
    order = line.open_order(quantity=1)
    line.damage("checkpoints", None)
    close = line.command("order", "close", order)
    assert close.wait(timeout_s=60) == 0
    assert f"closed {order}" in close.output()
    assert "NOT PUBLISHED" in close.errors()
    assert line.installation.process.wait(timeout_s=60) == NOT_NOW
    line.damage("checkpoints", 0)
    line.installation.start_signerd()
    line.reconnect()
    wait_until(lambda: any(entry["type"] == "order_closed" for entry in line.entries()), "the entry")
