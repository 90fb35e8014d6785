"""A clock that steps, while signerd runs and while it is stopped: boards wait and are finished, and no entry
stands out of order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from harness.hostile_line import HostileLine, code_of
from harness.installation import Installation
from harness.process import wait_until
from harness.wall_clock import WallClock

pytestmark = pytest.mark.check

BOUND = timedelta(seconds=120)
STEPS_S = [7200, -7200, 172_800, -172_800]
WRONG = "clock_wrong"


class SteppedLine(HostileLine):
    """A line whose signerd's clock the test steps."""

    def __init__(self, directory: Path) -> None:
        self._clock = WallClock(directory)
        super().__init__(Installation(directory / "installation", signerd=self._clock.signerd))
        self.step = self._clock.step

    def start_at(self, seconds: int, *, new_boot: bool = False) -> None:
        self._clock.start_at(self.installation, seconds, new_boot=new_boot)
        self.reconnect()

    def serving(self) -> bool:
        stub = health_pb2_grpc.HealthStub(self.pc1.channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def shown(self, *, right: bool) -> dict[str, Any]:
        text = self.installation.admin("clock", "show", "--json", expect=0 if right else 1)
        return dict(json.loads(text))

    def in_order(self) -> None:
        """No time goes back by more than auditors bear, but where an entry says so; auditors find nothing."""
        newest = datetime.min.replace(tzinfo=UTC)
        for entry in self.entries():
            moment = datetime.fromisoformat(entry["time"])
            if entry["type"] == "clock_accepted":
                newest = moment
            assert newest - moment <= BOUND, entry
            newest = max(newest, moment)
        self.verify()


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SteppedLine]:
    line = SteppedLine(tmp_path_factory.mktemp("stepped"))
    with line.installation:
        yield line
        line.close()


@pytest.mark.parametrize("seconds", STEPS_S)
def test_a_step_while_signerd_runs(stepped: SteppedLine, seconds: int) -> None:
    board, order = stepped.board(), stepped.open_order(quantity=1)
    session = stepped.pc1.open(order, board.chip_id)
    stepped.step(seconds)
    assert code_of(lambda: stepped.pc1.sign(session, *board.request(session.challenge))) == WRONG
    assert code_of(lambda: stepped.pc1.open(order, board.chip_id)) == WRONG
    assert not stepped.serving()
    assert stepped.shown(right=False)["state"] == "jumped"
    stepped.in_order()  # auditors read all the time
    stepped.step(0)
    assert stepped.serving()
    assert stepped.shown(right=True)["state"] == "right"
    signed = stepped.pc1.sign(session, *board.request(session.challenge))
    stepped.step(seconds)
    made = board.stamp(session.challenge, signed.serial_number, signed.certificate_der, signed.settings)
    assert code_of(lambda: stepped.pc1.record(session, *made)) == WRONG
    stepped.step(0)
    stepped.pc1.record(session, *made)
    assert stepped.counts(order).stamped == 1
    stepped.in_order()


@pytest.mark.parametrize("seconds", STEPS_S)
def test_a_step_between_two_starts(stepped: SteppedLine, seconds: int) -> None:
    board, order = stepped.board(), stepped.open_order(quantity=1)
    stepped.start_at(seconds)
    process = stepped.installation.process
    wait_until(lambda: "signerd does not serve yet" in process.output(), "the line that says so")
    assert code_of(lambda: stepped.pc1.certify(order, board)) == WRONG
    assert not stepped.serving()
    stepped.in_order()
    stepped.step(0)
    wait_until(stepped.serving, "signerd to serve")
    stepped.pc1.stamp(board, *stepped.pc1.certify(order, board))
    stepped.in_order()


def test_a_machine_that_starts_in_1970_serves_when_its_time_comes(stepped: SteppedLine) -> None:
    board, order = stepped.board(), stepped.open_order(quantity=1)
    stepped.start_at(-56 * 365 * 86_400, new_boot=True)
    assert stepped.shown(right=False)["state"] == "behind"
    stepped.step(0)
    wait_until(stepped.serving, "signerd to serve")
    stepped.pc1.stamp(board, *stepped.pc1.certify(order, board))
    stepped.in_order()


@pytest.mark.parametrize("seconds", [7200, 172_800])
def test_a_clock_that_was_ahead_is_accepted_and_the_auditor_follows(
    stepped: SteppedLine, seconds: int
) -> None:
    stepped.start_at(seconds, new_boot=True)
    order = stepped.open_order(quantity=1)  # an entry of the future: nothing on the machine can tell
    stepped.step(0)
    board = stepped.board()
    assert code_of(lambda: stepped.pc1.open(order, board.chip_id)) == WRONG
    stepped.start_at(0)
    assert code_of(lambda: stepped.pc1.open(order, board.chip_id)) == WRONG
    accepted = json.loads(stepped.installation.admin("clock", "accept", "--by", "ann", "--json"))
    refused = stepped.installation.admin("clock", "accept", "--by", "ann", expect=1)
    assert refused == ""
    (entry, *_) = [entry for entry in stepped.entries() if entry["type"] == "clock_accepted"][-1:]
    apart = datetime.fromisoformat(entry["clock_from"]) - datetime.fromisoformat(entry["clock_to"])
    assert (entry["by"], entry["clock_to"]) == ("ann", accepted["clock_to"])
    assert abs(apart.total_seconds() - seconds) < 60
    stepped.pc1.stamp(board, *stepped.pc1.certify(order, board))
    stepped.in_order()


def test_a_board_whose_clock_is_behind_takes_its_certificate(stepped: SteppedLine) -> None:
    """`backdate_s` of the product is an hour; the sub-CA is younger, and no certificate begins before it."""
    issuer = x509.load_pem_x509_certificate((stepped.installation.home / "ca" / "sub-ca.pem").read_bytes())
    order = stepped.open_order(quantity=1)
    _, signed = stepped.pc1.certify(order, stepped.board())
    certificate = x509.load_der_x509_certificate(signed.certificate_der)
    assert certificate.not_valid_before_utc == issuer.not_valid_before_utc
    stepped.in_order()
