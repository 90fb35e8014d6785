"""Attacks on `certifies_aks_only`: the company's promise that a pinned CA certifies for signing nothing but
restricted attestation keys of genuine TPMs (docs/adr/0019).

The promise is about what that CA itself signed, for keys that sign. What the attacker has here are other
certificates of the same vendor, for keys that he holds outside of any TPM.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from boards.attesters.certificate_writer import (
    Authority,
    Validity,
    basic_constraints,
    extended_key_usage,
    issue,
    key_usage,
    make_key,
    pem,
    root_authority,
    spki_of,
    sub_authority,
    subject,
)
from boards.attesters.tpm2 import Tpm2Attester
from harness.attempts import Attempts
from harness.installation import product_toml
from harness.paper_board import PaperBoard

pytestmark = pytest.mark.check

EK_PURPOSE, AK_PURPOSE = "2.23.133.8.1", "2.23.133.8.3"
LEAF, SIGNS = basic_constraints(ca=False), key_usage("digital_signature")
VENDOR = root_authority("Example TPM Root", make_key("p384"))
PROMISED = sub_authority(VENDOR, "Example Cloud AK CA", make_key("p256"))
_numbers = itertools.count(1)


def attestation_key() -> ec.EllipticCurvePrivateKey:
    key = make_key("p256")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def certificate(
    issuer: Authority,
    chip_id: str,
    key: ec.EllipticCurvePrivateKey,
    *extensions: bytes,
    validity: Validity = "always",
) -> bytes:
    name = subject((NameOID.SERIAL_NUMBER, chip_id))
    return issue(issuer, name, spki_of(key), extensions, validity=validity)


def board_with(chip_id: str, key: ec.EllipticCurvePrivateKey, *chain: bytes) -> PaperBoard:
    return PaperBoard(chip_id, attester=Tpm2Attester(chip_id, key, chain, "ecdsa"))


def genuine() -> PaperBoard:
    """As clouds certify attestation keys: for signing, and for the purpose of endorsement keys."""
    chip_id, key = f"VTPM-{next(_numbers)}", attestation_key()
    leaf = certificate(PROMISED, chip_id, key, LEAF, SIGNS, extended_key_usage(EK_PURPOSE))
    return board_with(chip_id, key, leaf)


def order_of(attempts: Attempts, promise: str = "certifies_aks_only = true") -> str:
    name = f"promised-{next(_numbers)}"
    section = f'[evidence.tpm2]\nroots = ["""{pem(PROMISED.certificate)}"""]\n{promise}\n'
    attempts.line.installation.add_product(product_toml(name, methods=["tpm2"], sections=[section]))
    return attempts.line.open_order(product=name, level="key", minimum_firmware={}, quantity=50)


@pytest.fixture(scope="module")
def order(attempts: Attempts) -> str:
    return order_of(attempts)


def refused_with(
    attempts: Attempts, order: str, issuer: Authority, *extensions: bytes, above: tuple[bytes, ...] = ()
) -> None:
    """A key of the attacker's own, certified in this way for a genuine chip, says nothing."""
    board, key = genuine(), attestation_key()
    leaf = certificate(issuer, board.chip_id, key, *extensions)
    attempts.refused(order, board, replace(board, attester=_attester(board, key, leaf, *above)).request)


def _attester(board: PaperBoard, key: ec.EllipticCurvePrivateKey, *chain: bytes) -> Tpm2Attester:
    return Tpm2Attester(board.chip_id, key, chain, "ecdsa")


@pytest.mark.parametrize(
    "usage", [("key_encipherment",), ("key_agreement",), ("key_encipherment", "content_commitment")]
)
def test_the_certificate_of_an_endorsement_key(
    attempts: Attempts, order: str, usage: tuple[str, ...]
) -> None:
    """The same CA certifies endorsement keys as well: they decrypt, and what signs with one is no TPM."""
    purpose = extended_key_usage(EK_PURPOSE)
    refused_with(attempts, order, PROMISED, LEAF, key_usage(*usage), purpose)


def test_a_certificate_that_does_not_say_what_its_key_does(attempts: Attempts, order: str) -> None:
    refused_with(attempts, order, PROMISED, LEAF)
    refused_with(attempts, order, PROMISED, LEAF, extended_key_usage(AK_PURPOSE))


def test_a_ca_below_the_promised_one(attempts: Attempts, order: str) -> None:
    """Also where its certificates have the purpose of attestation keys: the promise is not about it."""
    below = sub_authority(PROMISED, "Example AK CA of a customer", make_key("p256"))
    for purpose in (EK_PURPOSE, AK_PURPOSE):
        parts = (LEAF, SIGNS, extended_key_usage(purpose))
        refused_with(attempts, order, below, *parts, above=(below.certificate,))
        refused_with(attempts, order, below, *parts)  # its certificate left out


def test_a_ca_in_the_place_of_an_attestation_key(attempts: Attempts, order: str) -> None:
    ca = basic_constraints(ca=True)
    refused_with(attempts, order, PROMISED, ca, key_usage("digital_signature", "key_cert_sign"))
    refused_with(attempts, order, PROMISED, ca, SIGNS)
    refused_with(attempts, order, PROMISED, LEAF, key_usage("digital_signature", "key_cert_sign"))


def test_what_the_root_above_the_promised_ca_certified(attempts: Attempts, order: str) -> None:
    parts = (LEAF, SIGNS, extended_key_usage(AK_PURPOSE))
    refused_with(attempts, order, VENDOR, *parts)
    sibling = sub_authority(VENDOR, "Example Server CA", make_key("p256"))
    refused_with(attempts, order, sibling, *parts)
    refused_with(attempts, order, sibling, *parts, above=(sibling.certificate,))


def test_a_ca_that_calls_itself_the_promised_one(attempts: Attempts, order: str) -> None:
    refused_with(attempts, order, replace(PROMISED, key=make_key("p256")), LEAF, SIGNS)


def test_the_promised_ca_itself_as_a_chip(attempts: Attempts, order: str) -> None:
    board = genuine()
    own = _attester(board, attestation_key(), PROMISED.certificate)
    attempts.refused(order, board, replace(board, attester=own).request)


def test_a_promised_certificate_that_ended(attempts: Attempts, order: str) -> None:
    board, key = genuine(), attestation_key()
    ended = certificate(PROMISED, board.chip_id, key, LEAF, SIGNS, validity="expired")
    attempts.refused(order, board, replace(board, attester=_attester(board, key, ended)).request)


def test_the_promised_attestation_key_of_another_chip(attempts: Attempts, order: str) -> None:
    """Its evidence, whole; and the chip's own certificate over what the other chip's key signed."""
    board, other = genuine(), genuine()
    assert isinstance(board.attester, Tpm2Attester)
    assert isinstance(other.attester, Tpm2Attester)
    attempts.refused(order, board, replace(board, attester=other.attester).request)
    board = genuine()
    assert isinstance(board.attester, Tpm2Attester)
    stolen = replace(board.attester, key=other.attester.key)
    attempts.refused(order, board, replace(board, attester=stolen).request)


def test_one_promised_attestation_key_under_two_names(attempts: Attempts, order: str) -> None:
    first = genuine()
    assert isinstance(first.attester, Tpm2Attester)
    attempts.line.pc1.certify(order, first)
    key, again = first.attester.key, f"VTPM-{next(_numbers)}"
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    second = board_with(again, key, certificate(PROMISED, again, key, LEAF, SIGNS))
    attempts.refused(order, second, second.request, "chip_already_certified", answered=False)


def test_two_promised_attestation_keys_under_one_name(attempts: Attempts, order: str) -> None:
    first, key = genuine(), attestation_key()
    attempts.line.pc1.certify(order, first)
    second = board_with(first.chip_id, key, certificate(PROMISED, first.chip_id, key, LEAF, SIGNS))
    attempts.refused(order, second, second.request, "chip_already_certified", answered=False)


def test_a_product_that_promises_nothing(attempts: Attempts) -> None:
    """The same CA, and certificates that need the promise."""
    board, order = genuine(), order_of(attempts, promise="")
    attempts.refused(order, board, board.request, answered=False)


def test_an_auditor_finds_nothing_after_the_attacks_on_promises(attempts: Attempts) -> None:
    attempts.line.verify()
