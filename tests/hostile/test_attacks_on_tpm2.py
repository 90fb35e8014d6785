"""Attacks on evidence by TPM2_Certify. TPMs on paper; what a running one gives is in tests/integration."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from boards import keys
from boards.attesters.tpm2 import Tpm2Attester, Tpm2Vendor
from harness.attempts import Attempts, attester_of, evidence
from harness.paper_board import PaperBoard, deterministic

METHOD = "tpm2"
ATTEST, SIGNATURE, PUBLIC, CHAIN = range(4)


@pytest.fixture(scope="module")
def order(attempts: Attempts) -> str:
    return attempts.order(METHOD, quantity=200)


@pytest.fixture
def board(attempts: Attempts) -> PaperBoard:
    return attempts.line.board(METHOD)


@pytest.fixture(scope="module")
def listed() -> Tpm2Vendor:
    """TPMs whose attestation keys are imported."""
    return Tpm2Vendor(certified=False)


def genuine(board: PaperBoard) -> Tpm2Attester:
    attester = attester_of(board)
    assert isinstance(attester, Tpm2Attester)
    return attester


def refused(attempts: Attempts, order: str, board: PaperBoard, **wrong: Any) -> None:
    """The TPM with this one thing wrong is refused."""
    attempts.refused(order, board, attempts.faulty(board, **wrong).request)


def exchanged(attempts: Attempts, order: str, board: PaperBoard, part: int) -> None:
    """One part of the evidence comes from another genuine TPM, over the same challenge."""
    other = attempts.line.board(METHOD)

    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        mine, theirs = cbor2.loads(sent.evidence), cbor2.loads(other.request(challenge)[1].evidence)
        mine[part] = theirs[part]
        sent.evidence = deterministic(mine)
        return csr, sent

    attempts.refused(order, board, forged)


# What the TPM says of the key


def test_a_key_that_was_imported_into_the_tpm(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, cleared=("sensitiveDataOrigin",))


def test_a_key_that_may_be_copied_out(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, cleared=("fixedTPM",))


def test_a_key_that_may_change_its_parent(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, cleared=("fixedParent",))


def test_a_key_that_is_used_without_its_authorization(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    refused(attempts, order, board, cleared=("userWithAuth",))


def test_a_restricted_key(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, also_set=("restricted",))


def test_a_key_that_decrypts_too(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, also_set=("decrypt",))


def test_a_reserved_attribute(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, reserved=1 << 31)


def test_attributes_made_better_after_the_tpm_signed(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    """An imported key's public area, with the bit set by the station: its name is then another one."""
    imported = attempts.faulty(board, cleared=("sensitiveDataOrigin",))

    def forged(challenge: bytes) -> Any:
        csr, sent = imported.request(challenge)
        parts = cbor2.loads(sent.evidence)
        parts[PUBLIC] = cbor2.loads(board.evidence_for(challenge, csr).evidence)[PUBLIC]
        sent.evidence = deterministic(parts)
        return csr, sent

    attempts.refused(order, board, forged)


# What was certified, and when


def test_a_quote_instead_of_a_certification(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, kind="quote")


def test_a_creation_instead_of_a_certification(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, kind="creation")


def test_a_structure_that_no_tpm_made(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, magic=0x00000000)


def test_qualifying_data_of_another_session(attempts: Attempts, order: str, board: PaperBoard) -> None:
    before = attempts.line.pc1.open(order, board.chip_id)
    sent = board.request(before.challenge)
    attempts.refused(order, board, lambda _: sent)


def test_qualifying_data_cut_by_a_byte(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, extra_data_bytes=31)


def test_no_qualifying_data(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, extra_data=b"")


def test_qualifying_data_is_the_challenge_itself(attempts: Attempts, order: str, board: PaperBoard) -> None:
    attempts.refused(
        order,
        board,
        lambda challenge: attempts.faulty(board, extra_data=challenge).request(challenge),
    )


def test_a_name_that_is_not_of_the_public_area(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, name=b"\x00\x0b" + bytes(32))


def test_a_name_by_sha1(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, name=b"\x00\x04" + bytes(20))


def test_the_public_area_of_another_key(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """The TPM certifies a key of its own; the CSR is for the attacker's."""
    own = keys.public_der(board.twin().key)
    refused(attempts, order, board, public_key=own)


def test_the_attack_of_the_csr_that_is_not_the_certified_keys(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    fake = board.twin()

    def forged(challenge: bytes) -> Any:
        # The TPM signs the transcript of the attacker's CSR, and certifies the board's key.
        csr = fake.csr()
        made = genuine(attempts.faulty(board, public_key=keys.public_der(board.key)))
        return csr, evidence(board, made.attest(board.transcript(challenge, csr), csr))

    attempts.refused(order, board, forged)


def test_the_attestation_key_as_the_boards_key(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """A TPM certifies its attestation key too; it is restricted, and says so."""
    key = genuine(board).key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    own = replace(attempts.faulty(board, also_set=("restricted",)), key=key)
    attempts.refused(order, board, own.request)


# Parts of two genuine TPMs


def test_the_attest_of_another_tpm(attempts: Attempts, order: str, board: PaperBoard) -> None:
    exchanged(attempts, order, board, ATTEST)


def test_the_signature_of_another_tpm(attempts: Attempts, order: str, board: PaperBoard) -> None:
    exchanged(attempts, order, board, SIGNATURE)


def test_the_public_area_of_another_tpm(attempts: Attempts, order: str, board: PaperBoard) -> None:
    exchanged(attempts, order, board, PUBLIC)


def test_the_chain_of_another_tpm(attempts: Attempts, order: str, board: PaperBoard) -> None:
    exchanged(attempts, order, board, CHAIN)


def test_the_whole_evidence_of_another_tpm(attempts: Attempts, order: str, board: PaperBoard) -> None:
    other = attempts.line.board(METHOD)
    attempts.refused(order, board, replace(board, attester=other.attester).request)


def test_the_attestation_key_of_another_chip(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, signed_by=genuine(attempts.line.board(METHOD)).key)


def test_the_boards_key_signs_for_itself(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """An unrestricted key signs any structure, also one that says that it is good."""
    refused(attempts, order, board, signed_by=board.key)


# The attestation key


def test_an_attestation_key_under_another_root(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, certificate="other root")


def test_an_attestation_key_with_an_expired_certificate(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    refused(attempts, order, board, certificate="expired")


def test_an_attestation_key_certified_for_another_chip(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    refused(attempts, order, board, certificate="other chip")


def test_a_certificate_that_is_not_for_an_attestation_key(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    refused(attempts, order, board, certificate="no purpose")


def test_a_certificate_for_any_purpose(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, certificate="any purpose")


def test_the_issuer_of_the_attestation_key_left_out(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    refused(attempts, order, board, certificate="without issuer")


def test_no_chain_where_the_product_has_roots(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, certificate="none")


def test_a_chain_of_ones_own_where_keys_are_imported(attempts: Attempts, listed: Tpm2Vendor) -> None:
    order = attempts.order(METHOD, vendor=listed)
    board = attempts.line.board(METHOD, vendor=listed)
    certified = Tpm2Vendor()
    chain = certified.certify(board.chip_id, keys.public_der(genuine(board).key))
    attempts.refused(order, board, replace(board, attester=replace(genuine(board), chain=chain)).request)


def test_the_imported_key_of_another_chip(attempts: Attempts, listed: Tpm2Vendor) -> None:
    order = attempts.order(METHOD, vendor=listed)
    board, other = (attempts.line.board(METHOD, vendor=listed) for _ in range(2))
    attempts.refused(order, board, replace(board, attester=other.attester).request)


def test_a_tpm_whose_key_nobody_imported(attempts: Attempts, listed: Tpm2Vendor) -> None:
    order = attempts.order(METHOD, vendor=listed)
    stranger = attempts.line.board(METHOD, vendor=listed, known=False)
    board = attempts.line.board(METHOD, vendor=listed)
    attempts.line.refused("chip_unknown", lambda: attempts.line.pc1.open(order, stranger.chip_id))
    attempts.refused(order, board, replace(board, attester=stranger.attester).request)


def test_another_certified_key_for_a_chip_whose_key_was_imported(attempts: Attempts) -> None:
    """The CA certified two keys for one chip; the company knows which one the chip has."""
    vendor = Tpm2Vendor()
    product = attempts.line.product(METHOD, vendor=vendor)
    board = attempts.line.board(METHOD, vendor=vendor)
    identity = replace(genuine(board), chain=()).identity()
    assert identity is not None
    attempts.line.installation.add_identities([identity], product, METHOD)
    other = keys.make_key("p256")
    chain = vendor.certify(board.chip_id, keys.public_der(other))
    second = replace(board, attester=replace(genuine(board), key=other, chain=chain))
    order = attempts.line.open_order(product=product, level="key")
    attempts.refused(order, board, second.request)


# Algorithms and forms


def test_a_signature_with_sha1(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, hash="sha1")


def test_an_rsa_signature_where_the_key_is_ec(attempts: Attempts, order: str, board: PaperBoard) -> None:
    other = replace(genuine(board), scheme="rsassa", wrong=replace(genuine(board).wrong, signed_by=_rsa()))
    attempts.refused(order, board, replace(board, attester=other).request)


def _rsa() -> keys.PrivateKey:
    return keys.make_key("rsa2048")


def test_an_hmac_as_signature(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """TPMT_SIGNATURE has a form for HMACs; its key would be the public one."""

    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        parts = cbor2.loads(sent.evidence)
        mac = hashlib.sha256(keys.public_der(genuine(board).key) + parts[ATTEST]).digest()
        parts[SIGNATURE] = bytes.fromhex("0005000b") + mac
        sent.evidence = deterministic(parts)
        return csr, sent

    attempts.refused(order, board, forged)


def test_the_null_signature(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """TPM_ALG_NULL: what TPM2_Certify gives when it is called without a signing key."""

    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        parts = cbor2.loads(sent.evidence)
        parts[SIGNATURE] = bytes.fromhex("0010")
        sent.evidence = deterministic(parts)
        return csr, sent

    attempts.refused(order, board, forged)


@pytest.mark.parametrize("part", [ATTEST, SIGNATURE, PUBLIC], ids=["attest", "signature", "public"])
def test_bytes_after_a_structure(attempts: Attempts, order: str, board: PaperBoard, part: int) -> None:
    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        parts = cbor2.loads(sent.evidence)
        parts[part] += b"\x00"
        sent.evidence = deterministic(parts)
        return csr, sent

    attempts.refused(order, board, forged)


def test_an_emulated_tpm(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """A software TPM says all the right things; nobody whom the product trusts certified it."""
    emulated = Tpm2Vendor().attester(board.chip_id)
    attempts.refused(order, board, replace(board, attester=emulated).request)


# Inside the CSR


def test_evidence_of_another_csr_moved_into_this_one(attempts: Attempts, order: str) -> None:
    """The whole attribute of a genuine CSR, in one for the attacker's key."""
    inside = attempts.line.board(METHOD, in_csr=True)
    fake = inside.twin()

    def forged(challenge: bytes) -> Any:
        other = inside.csr()
        made = inside.evidence_for(challenge, other).evidence
        moved = replace(fake, attester=_Recorded(METHOD, made))
        return moved.request(challenge)

    attempts.refused(order, inside, forged)


class _Recorded:
    """A root of trust that gives the same evidence, whatever it is asked."""

    def __init__(self, method: str, made: bytes) -> None:
        self.method = method
        self._made = made

    def attest(self, transcript: bytes, csr: bytes) -> bytes:  # noqa: ARG002 (the port)
        return self._made

    def identity(self) -> None:
        return None


def test_an_auditor_finds_nothing_after_the_attacks_on_tpm2(attempts: Attempts) -> None:
    attempts.line.verify()
