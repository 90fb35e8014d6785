"""kill -9 of signerd at each of the twelve steps, and of its key holder: the board finishes all the same."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from birthmark.v1 import admin_pb2
from boards.attesters.certificate_writer import make_key, pem, root_authority, spki_of
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.x509 import FWID, X509Attester
from harness.chip_chains import Chain, Made
from harness.hostile_line import HostileLine, Station, code_of
from harness.installation import Installation, product_toml
from harness.paper_board import PaperBoard
from harness.process import wait_until
from harness.signerd_that_dies import ADMINISTRATION, FUNCTIONS, STAMPING, points
from signerd.core.identity_list import parse_line

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


class DiceChip:
    """A chip of a vendor, whose name follows from its firmware."""

    ROOT = root_authority("Mortal Silicon Root", make_key("p256"))
    CA = Made("Mortal Silicon CA", key=make_key("p256"))

    def __init__(self) -> None:
        self._key = make_key("p256")

    @classmethod
    def product(cls) -> str:
        release = f'{{ component = "app", version = "1.2.0", digest = "{FWID.hex()}" }}'
        section = (
            f'[evidence.x509]\nroots = ["""{pem(cls.ROOT.certificate)}"""]\nmeasurements = [{release}]\n'
        )
        return product_toml("mortal-dice", methods=["x509"], sections=[section])

    def running(self, build: str) -> PaperBoard:
        """A board with this firmware and a key of its own."""
        alias, digest = make_key("p256"), hashlib.sha256(build.encode()).digest()
        name = hashlib.sha256(spki_of(alias)).hexdigest()
        device = Made("DeviceID", key=self._key, ueid=b"\x02" + spki_of(self._key)[-16:])
        chain = Chain(self.CA, device, Made(name, key=alias, digest=digest), root=self.ROOT)
        return PaperBoard(name, attester=X509Attester(alias, chain.certificates))


@pytest.fixture(scope="module")
def dice(mortal: MortalLine) -> str:
    mortal.installation.add_product(DiceChip.product())
    return "mortal-dice"


@pytest.mark.parametrize(
    "point", ["before 6 place", "after 6 place", "before 11 complete", "after 11 complete"]
)
def test_a_chip_whose_name_moved_is_one_board_after_signerd_died(
    mortal: MortalLine, dice: str, point: str
) -> None:
    """Its anchors are as durable as its intent: under no other name does it begin anew."""
    line, chip = mortal.line, DiceChip()
    order = line.open_order(product=dice, level="chip", quantity=2)
    board = chip.running("build 1")
    mortal.die_at(point)
    lost(line.pc1, order, board)
    mortal.die_and_restart()
    moved = chip.running("build 2")
    if point == "before 6 place":  # nothing was durable
        signed = line.pc1.certify(order, moved)[1]
    else:
        line.refused("chip_already_certified", lambda: line.pc1.certify(order, moved))
        signed = line.pc1.certify(order, replace(moved, key=board.key))[1]
    again = chip.running("build 3")
    line.refused("chip_already_certified", lambda: line.pc1.certify(order, again))
    counts = line.counts(order)
    assert (counts.places, counts.issued, counts.open_intents) == (1, 1, 0)
    (issued,) = [e for e in line.entries() if e["type"] == "issued" and e["work_order"] == order]
    assert issued["certificate_sha256"] == hashlib.sha256(signed.certificate_der).hexdigest()
    assert [kind for kind, *_ in issued["anchors"]] == ["key", "serial", "ueid"]


@pytest.mark.parametrize("point", points(ADMINISTRATION))
def test_what_administrators_import_is_there_once_after_signerd_died(mortal: MortalLine, point: str) -> None:
    """The same call again adds what is missing, and what is there counts once."""
    line, number = mortal.line, len(list(mortal.line.entries()))
    name = f"mortal-{number}"
    vendor = Nrf91Vendor()
    chip_id = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
    mortal.installation.add_product(
        product_toml(name, methods=["nrf91"], sections=[vendor.product_section()], chips="listed")
    )
    order = line.open_order(product=name, level="key")
    identity = parse_line(json.dumps(vendor.attester(chip_id).identity()).encode())
    calls: dict[str, Callable[[], Any]] = {
        "personalize chips": lambda: line.admin.PersonalizeChips(
            admin_pb2.PersonalizeChipsRequest(
                chip_ids=[chip_id], locked=True, site="lab", key="hmac-sha256", by="tests"
            ),
            timeout=30,
            wait_for_ready=True,
        ),
        "import identities": lambda: line.admin.ImportIdentities(
            admin_pb2.ImportIdentitiesRequest(
                product=name,
                method="nrf91",
                by="tests",
                identities=[admin_pb2.Identity(chip_id=chip_id, key_id=identity.key_id, spki=identity.spki)],
            ),
            timeout=30,
            wait_for_ready=True,
        ),
        "import chips": lambda: line.admin.ImportChips(
            admin_pb2.ImportChipsRequest(work_order=order, chip_ids=[chip_id]),
            timeout=30,
            wait_for_ready=True,
        ),
    }
    when, _, dying = point.partition(" ")
    for what, call in calls.items():
        if what == dying:
            mortal.die_at(point)
            with pytest.raises(grpc.RpcError):
                call()
            mortal.die_and_restart()
        added = call().added
        assert added == (0 if (what, when) == (dying, "after") else 1)
        assert call().added == 0
    board = PaperBoard(chip_id, attester=vendor.attester(chip_id))
    line.pc1.certify(order, board)
    (issued,) = [e for e in line.entries() if e["type"] == "issued" and e["chip_id"] == chip_id]
    assert [kind for kind, *_ in issued["anchors"]] == ["imported", "key"]


def test_an_auditor_finds_nothing_after_all_that(mortal: MortalLine) -> None:
    mortal.line.verify()
