"""One genuine chip that wants to be several boards: by its firmware, by another method, under another name.

The chips are those of a vendor whose DeviceID certificates have a UEID, and whose layers are named by their
own keys, as in Caliptra's chains: the name follows the firmware.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from birthmark.v1 import signing_pb2 as pb
from boards.attesters.certificate_writer import (
    Key,
    extended_key_usage,
    make_key,
    pem,
    root_authority,
    spki_of,
)
from boards.attesters.tpm2 import Tpm2Attester
from boards.attesters.x509 import X509Attester
from harness.attempts import Attempts
from harness.chip_chains import Chain, Made
from harness.hostile_line import code_of
from harness.installation import product_toml
from harness.paper_board import DEFAULT_FIRMWARE, PaperBoard

AK_PURPOSE = "2.23.133.8.3"
RELEASES = {f"1.{number}.0": hashlib.sha256(f"release {number}".encode()).digest() for number in (4, 5, 6)}
ROOT = root_authority("Anchored Silicon Root", make_key("p256"))
CA_KEY = make_key("p256")
CA = Made("Anchored Silicon CA", key=CA_KEY)


@dataclass(frozen=True)
class Silicon:
    """One chip: its DeviceID key and UEID are burned in; all below follows from firmware."""

    key: Key = field(default_factory=lambda: make_key("p256"))
    ueid: bytes = field(default_factory=lambda: b"\x01" + spki_of(make_key("p256"))[-32:])

    def running(self, digest: bytes, version: str = "0.0.1") -> PaperBoard:
        """A board with this firmware: its layer's key, and so its name, are new."""
        alias = make_key("p256")
        name = hashlib.sha256(spki_of(alias)).hexdigest()
        device = Made(hashlib.sha256(spki_of(self.key)).hexdigest(), key=self.key, ueid=self.ueid)
        chain = Chain(CA, device, Made(name, key=alias, digest=digest), root=ROOT)
        firmware = {"app": [version, DEFAULT_FIRMWARE["app"][1]]}
        return PaperBoard(name, attester=X509Attester(alias, chain.certificates), firmware=firmware)

    def build(self, number: int) -> PaperBoard:
        """With firmware that somebody built himself."""
        return self.running(hashlib.sha256(f"build {number}".encode()).digest())

    def with_tpm(self, name: str) -> PaperBoard:
        """With the TPM on the same die: another key, another name, and the UEID that is the chip's."""
        ak = make_key("p256")
        assert isinstance(ak, ec.EllipticCurvePrivateKey)
        purpose = extended_key_usage(AK_PURPOSE)
        chain = Chain(CA, Made(name, key=ak, ueid=self.ueid, more=[purpose]), root=ROOT)
        return PaperBoard(name, attester=Tpm2Attester(name, ak, chain.certificates, "ecdsa"))


@pytest.fixture(scope="module")
def product(attempts: Attempts) -> str:
    """Accepts three releases; any other firmware gives level chip."""
    root = pem(ROOT.certificate)
    accepted = ",\n".join(
        f'{{ component = "app", version = "{version}", digest = "{digest.hex()}" }}'
        for version, digest in RELEASES.items()
    )
    sections = [
        f'[evidence.x509]\nroots = ["""{root}"""]\nmeasurements = [{accepted}]\n',
        f'[evidence.tpm2]\nroots = ["""{root}"""]\n',
    ]
    text = product_toml("anchored", methods=["x509", "tpm2"], sections=sections)
    attempts.line.installation.add_product(text)
    return "anchored"


def order_of(attempts: Attempts, product: str, *, level: str = "chip", **terms: Any) -> str:
    return attempts.line.open_order(product=product, level=level, minimum_firmware={}, **terms)


def certified(attempts: Attempts, order: str, board: PaperBoard) -> pb.SignCsrResponse:
    return attempts.line.pc1.certify(order, board)[1]


def refused(attempts: Attempts, order: str, board: PaperBoard, code: str = "chip_already_certified") -> None:
    """With the code alone; the ledger names order, chip and CSR."""
    session = attempts.line.pc1.open(order, board.chip_id)
    attempts.refused_in(session, order, board.chip_id, board.request(session.challenge), code)


def test_any_number_of_firmware_builds_of_one_chip(attempts: Attempts, product: str) -> None:
    order, chip = order_of(attempts, product), Silicon()
    certified(attempts, order, chip.build(0))
    for number in range(1, 6):
        refused(attempts, order, chip.build(number))
    assert attempts.line.counts(order).places == 1
    # Another chip with the same firmware has its own place.
    certified(attempts, order, Silicon().build(0))
    assert attempts.line.counts(order).places == 2


def test_each_release_that_the_product_accepts(attempts: Attempts, product: str) -> None:
    order, chip = order_of(attempts, product, level="key"), Silicon()
    boards = [chip.running(digest, version) for version, digest in RELEASES.items()]
    certified(attempts, order, boards[0])
    for board in boards[1:]:
        refused(attempts, order, board)
    assert attempts.line.counts(order).places == 1


def test_another_order_and_another_method(attempts: Attempts, product: str) -> None:
    first, second, chip = order_of(attempts, product), order_of(attempts, product), Silicon()
    certified(attempts, first, chip.build(0))
    refused(attempts, second, chip.build(1))
    refused(attempts, second, chip.with_tpm("TPM-of-the-same-chip"))
    assert attempts.line.counts(second).places == 0
    # The other way round.
    other = Silicon()
    certified(attempts, second, other.with_tpm("TPM-of-another-chip"))
    refused(attempts, first, other.build(0))


def test_under_whatever_name_it_is_issued_again_it_is_one_board(attempts: Attempts, product: str) -> None:
    order = order_of(attempts, product, quantity=1, reissue="always")
    chip = Silicon()
    boards = [chip.build(0), chip.build(1), chip.with_tpm("TPM-issued-again"), chip.build(2)]
    signed = [certified(attempts, order, board) for board in boards]
    assert len({answer.serial_number for answer in signed}) == 1
    counts = attempts.line.counts(order)
    assert (counts.places, counts.issued, counts.revoked) == (1, len(boards), len(boards) - 1)
    for board, answer in zip(boards, signed, strict=True):
        entry = attempts.issued(answer)
        assert entry["chip_id"] == board.chip_id
        assert ["ueid", hashlib.sha256(spki_of(CA_KEY)).hexdigest(), chip.ueid.hex()] in entry["anchors"]
    refused(attempts, order, Silicon().build(0), "order_full")


def test_two_sessions_racing_under_two_names(attempts: Attempts, product: str) -> None:
    order, chip = order_of(attempts, product), Silicon()
    boards = [chip.build(number) for number in range(4)]
    sessions = [attempts.line.pc1.open(order, board.chip_id) for board in boards]
    requests = [
        pb.SignCsrRequest(session=session.session, csr_der=csr, evidence=evidence)
        for session, board in zip(sessions, boards, strict=True)
        for csr, evidence in [board.request(session.challenge)]
    ]
    calls = [attempts.line.pc1.signing.SignCsr.future(request, timeout=30) for request in requests]
    codes = sorted(code_of(call.result) for call in calls)
    assert codes == ["", *["chip_already_certified"] * 3]
    assert attempts.line.counts(order).places == 1


def test_evidence_of_two_chips(attempts: Attempts, product: str) -> None:
    order, one, two = order_of(attempts, product, reissue="always"), Silicon(), Silicon()
    certified(attempts, order, one.build(0))
    certified(attempts, order, two.build(0))
    refused(attempts, order, replace(one, ueid=two.ueid).build(1))
    assert attempts.line.counts(order).revoked == 0
    certified(attempts, order, one.build(2))


def test_a_lost_answer_after_a_firmware_update(attempts: Attempts, product: str) -> None:
    """The board's key stayed: it has the certificate that it had, whatever its name is now."""
    order, chip = order_of(attempts, product), Silicon()
    board = chip.build(0)
    signed = certified(attempts, order, board)
    again = certified(attempts, order, replace(chip.build(1), key=board.key))
    assert (again.certificate_der, again.serial_number) == (signed.certificate_der, signed.serial_number)
    assert attempts.line.counts(order).issued == 1


def test_one_name_for_every_chip_of_a_vendor(attempts: Attempts) -> None:
    """The second chip does not get the place, or the certificate, of the first."""
    ca = Made("Node CA", key=make_key("p256"))
    section = f'[evidence.x509]\nroots = ["""{pem(ROOT.certificate)}"""]\n'
    attempts.line.installation.add_product(product_toml("one-name", methods=["x509"], sections=[section]))
    order = order_of(attempts, "one-name", reissue="always")

    def node() -> PaperBoard:
        key = make_key("p256")
        chain = Chain(ca, Made("IoT-Node", key=key), root=ROOT)
        return PaperBoard("IoT-Node", attester=X509Attester(key, chain.certificates))

    first = node()
    certified(attempts, order, first)
    refused(attempts, order, node())
    assert attempts.line.counts(order).revoked == 0
    certified(attempts, order, first.twin())  # the first one may have another certificate, as ordered


def test_one_line_of_a_list_by_two_methods(attempts: Attempts) -> None:
    """The firmware of a DICE chip says the name that was burned into it, and that the order's list has: it is
    one chip's from then on, although nothing but the list links the two."""
    line = attempts.line
    digest = RELEASES["1.4.0"]
    accepted = f'{{ component = "app", version = "1.4.0", digest = "{digest.hex()}" }}'
    section = f'[evidence.x509]\nroots = ["""{pem(ROOT.certificate)}"""]\nmeasurements = [{accepted}]\n'
    text = product_toml("linked", methods=["x509", "hmac-sha256"], sections=[section], chips="listed")
    line.installation.add_product(text)
    for burned_first in (True, False):
        order = order_of(attempts, "linked", level="key")
        burned, key = line.board(), make_key("p256")
        line.installation.import_chips(order, [burned.chip_id])
        chain = Chain(
            CA,
            Made("DeviceID", ueid=spki_of(key)[-17:]),
            Made(burned.chip_id, digest=digest, key=key),
            root=ROOT,
        )
        firmware = {"app": ["1.4.0", DEFAULT_FIRMWARE["app"][1]]}
        named = PaperBoard(burned.chip_id, attester=X509Attester(key, chain.certificates), firmware=firmware)
        first, second = (burned, named) if burned_first else (named, burned)
        certified(attempts, order, first)
        refused(attempts, order, second)
        assert attempts.line.counts(order).places == 1
