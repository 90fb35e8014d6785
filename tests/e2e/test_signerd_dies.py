"""kill -9 of signerd at each of the twelve steps, and of its key holder: the board finishes all the same."""

from __future__ import annotations

import hashlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from harness.hostile_line import HostileLine, Station, code_of
from harness.installation import Installation
from harness.paper_board import PaperBoard
from harness.process import wait_until
from harness.signerd_that_dies import FUNCTIONS, STAMPING, points

pytestmark = pytest.mark.check

SCRIPT = Path(__file__).parents[1] / "harness" / "signerd_that_dies.py"


class MortalLine:
    """One installation whose signerd dies on command and is started again."""

    def __init__(self, directory: Path) -> None:
        self.control = directory / "die-at"
        signerd: list[str | Path] = [sys.executable, SCRIPT, self.control]
        self.installation = Installation(directory / "installation", signerd=signerd)
        self.line = HostileLine(self.installation)

    def die_at(self, point: str) -> None:
        self.control.write_text(point, encoding="ascii")

    def die_and_restart(self) -> None:
        """Waits for the death; a new signerd on the same data; the stations reconnect to its new port."""
        wait_until(lambda: not self.installation.process.running(), "signerd to die")
        self.control.unlink()
        self.installation.start_signerd()
        self.line.reconnect()


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalLine]:
    mortal = MortalLine(tmp_path_factory.mktemp("mortal"))
    with mortal.installation:
        yield mortal
        mortal.line.close()


def one_certificate(line: HostileLine, board: PaperBoard, certificate_der: bytes) -> None:
    """What was handed out is what the ledger holds: one certificate, one serial, for this chip."""
    issued = [e for e in line.entries() if e["type"] == "issued" and e["chip_id"] == board.chip_id]
    assert [entry["certificate_sha256"] for entry in issued] == [hashlib.sha256(certificate_der).hexdigest()]


def lost(station: Station, order: str, board: PaperBoard) -> None:
    """A request during which signerd dies."""
    with pytest.raises(grpc.RpcError) as caught:
        station.certify(order, board)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("point", points(FUNCTIONS))
def test_a_board_finishes_after_signerd_died(mortal: MortalLine, point: str) -> None:
    line, board = mortal.line, mortal.line.board()
    order = line.open_order(quantity=1)
    mortal.die_at(point)
    lost(line.pc1, order, board)
    mortal.die_and_restart()
    session, signed = line.pc1.certify(order, board)
    line.pc1.stamp(board, session, signed)
    again = line.pc2.certify(order, board)[1]
    assert again.certificate_der == signed.certificate_der
    counts = line.counts(order)
    assert (counts.places, counts.stamped, counts.open_intents) == (1, 1, 0)
    one_certificate(line, board, signed.certificate_der)


@pytest.mark.parametrize("point", points(STAMPING))
def test_a_stamp_is_recorded_once_after_signerd_died(mortal: MortalLine, point: str) -> None:
    line, board = mortal.line, mortal.line.board()
    order = line.open_order(quantity=1)
    session, signed = line.pc1.certify(order, board)
    stamp, signature = board.stamp(
        session.challenge, signed.serial_number, signed.certificate_der, signed.settings
    )
    mortal.die_at(point)
    with pytest.raises(grpc.RpcError):
        line.pc1.record(session, stamp, signature)
    mortal.die_and_restart()
    line.pc1.record(session, stamp, signature)
    stamped = [e for e in line.entries() if e["type"] == "stamped" and e["chip_id"] == board.chip_id]
    assert len(stamped) == 1


def test_an_open_intent_is_listed_at_start_and_resumed(mortal: MortalLine) -> None:
    line, board = mortal.line, mortal.line.board()
    order = line.open_order(quantity=1)
    mortal.die_at("after 6 place")
    lost(line.pc1, order, board)
    mortal.die_and_restart()

    def listed() -> list[dict[str, Any]]:
        return [e for e in line.entries() if e["type"] == "intent_open" and e["chip_id"] == board.chip_id]

    wait_until(lambda: bool(listed()), "the checkpoint over the entry that lists the intent")
    (entry,) = listed()
    assert line.counts(order).open_intents == 1
    _, signed = line.pc1.certify(order, board)
    assert signed.serial_number == entry["serial_number"]


def test_another_key_cannot_take_over_an_open_intent(mortal: MortalLine) -> None:
    line, board = mortal.line, mortal.line.board()
    order = line.open_order(quantity=1)
    mortal.die_at("after 6 place")
    lost(line.pc1, order, board)
    mortal.die_and_restart()
    rekeyed = PaperBoard(board.chip_id, board.chip_key)
    line.refused("chip_already_certified", lambda: line.pc1.certify(order, rekeyed))
    line.pc1.certify(order, board)


def test_a_killed_key_holder_is_replaced_and_nothing_is_lost(mortal: MortalLine) -> None:
    line = mortal.line
    order = line.open_order(quantity=3)
    for board in (line.board(), line.board(), line.board()):
        mortal.installation.key_holder().send_signal(signal.SIGKILL)
        answers: set[str] = set()

        def certified(board: PaperBoard = board, answers: set[str] = answers) -> bool:
            answers.add(code_of(lambda: line.pc1.certify(order, board)))
            return "" in answers

        wait_until(certified, "the replaced key holder to sign")
        assert answers <= {"", "unavailable"}
        one_certificate(line, board, line.pc1.certify(order, board)[1].certificate_der)
    assert line.counts(order).issued == 3


def test_an_auditor_finds_nothing_after_all_that(mortal: MortalLine) -> None:
    mortal.line.verify()
