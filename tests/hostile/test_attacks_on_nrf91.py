"""Attacks on evidence by nRF91 modems: `AT%KEYGEN` and `AT%ATTESTTOKEN`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from boards.attesters import csr_attestation
from boards.attesters.nrf91 import Nrf91Attester
from harness.attempts import Attempts, attester_of, evidence
from harness.paper_board import PaperBoard, deterministic

METHOD = "nrf91"
KEYGEN, TOKEN = range(2)
# ecdsa-with-SHA256 with NULL parameters, as a genuine modem writes it (docs/formats.md).
ECDSA_WITH_NULL = bytes.fromhex("300c06082a8648ce3d0403020500")
ECDSA = bytes.fromhex("300a06082a8648ce3d040302")


@pytest.fixture(scope="module")
def order(attempts: Attempts) -> str:
    return attempts.order(METHOD, quantity=200)


@pytest.fixture
def board(attempts: Attempts) -> PaperBoard:
    return attempts.line.board(METHOD)


def genuine(board: PaperBoard) -> Nrf91Attester:
    attester = attester_of(board)
    assert isinstance(attester, Nrf91Attester)
    return attester


def refused(
    attempts: Attempts, order: str, board: PaperBoard, code: str = "evidence_rejected", **wrong: Any
) -> None:
    """The modem with this one thing wrong is refused."""
    attempts.refused(order, board, attempts.faulty(board, **wrong).request, code)


def texts(board: PaperBoard, challenge: bytes, csr: bytes) -> list[str]:
    """`keygen` and `attesttoken` of a board for this CSR."""
    made = cbor2.loads(attester_of(board).attest(board.transcript(challenge, csr), csr))
    assert isinstance(made, list)
    return made


# Parts of two modems, or of two requests


def test_keygen_of_another_modem(attempts: Attempts, order: str, board: PaperBoard) -> None:
    other = attempts.line.board(METHOD)

    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        parts = [texts(other, challenge, csr)[KEYGEN], texts(board, challenge, csr)[TOKEN]]
        return csr, evidence(board, deterministic(parts))

    attempts.refused(order, board, forged)


def test_attestation_token_of_another_modem(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """The key was made in one modem, and another one is here."""
    other = attempts.line.board(METHOD)

    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        nonce = hashlib.sha256(board.transcript(challenge, csr)).digest()[:16]
        parts = [texts(board, challenge, csr)[KEYGEN], genuine(other).attesttoken(nonce)]
        return csr, evidence(board, deterministic(parts))

    attempts.refused(order, board, forged)


def test_both_of_another_modem(attempts: Attempts, order: str, board: PaperBoard) -> None:
    other = attempts.line.board(METHOD)
    attempts.refused(order, board, replace(board, attester=other.attester).request)


def test_keygen_of_another_key_of_the_same_modem(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """What the modem once printed for its own key, beside the attacker's CSR."""
    fake = board.twin()

    def forged(challenge: bytes) -> Any:
        csr = fake.csr()
        parts = [texts(board, challenge, board.csr())[KEYGEN], texts(board, challenge, csr)[TOKEN]]
        return csr, evidence(board, deterministic(parts))

    attempts.refused(order, board, forged)


def test_the_digest_of_another_csr(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, csr=board.twin().csr())


def test_the_two_texts_swapped(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, swapped=True)


def test_the_attestation_token_in_both_places(attempts: Attempts, order: str, board: PaperBoard) -> None:
    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        token = texts(board, challenge, csr)[TOKEN]
        return csr, evidence(board, deterministic([token, token]))

    attempts.refused(order, board, forged)


def test_keygen_in_both_places(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """Not fresh: the modem may be anywhere by now."""

    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        keygen = texts(board, challenge, csr)[KEYGEN]
        return csr, evidence(board, deterministic([keygen, keygen]))

    attempts.refused(order, board, forged)


def test_keygen_without_an_attestation_token(attempts: Attempts, order: str, board: PaperBoard) -> None:
    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        return csr, evidence(board, deterministic([texts(board, challenge, csr)[KEYGEN], ""]))

    attempts.refused(order, board, forged)


# Identity and freshness


def test_uuid_of_another_modem_in_keygen(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, keygen_uuid=UUID(attempts.line.board(METHOD).chip_id))


def test_uuid_of_another_modem_in_the_attestation_token(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    refused(attempts, order, board, token_uuid=UUID(attempts.line.board(METHOD).chip_id))


def test_one_modem_under_two_names(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """The same UUID in capitals would be a second chip."""
    attempts.line.pc1.certify(order, board)
    for name in (board.chip_id.upper(), board.chip_id.replace("-", "")):
        attempts.line.refused("chip_unknown", partial(attempts.line.pc1.open, order, name))


def test_a_modem_that_nobody_imported(attempts: Attempts, order: str, board: PaperBoard) -> None:
    stranger = attempts.line.board(METHOD, known=False)
    attempts.line.refused("chip_unknown", lambda: attempts.line.pc1.open(order, stranger.chip_id))
    attempts.refused(order, board, replace(board, attester=stranger.attester).request)


def test_an_emulated_modem_with_a_genuine_uuid(attempts: Attempts, order: str, board: PaperBoard) -> None:
    emulated = replace(genuine(board), key=ec.generate_private_key(ec.SECP256R1()))
    attempts.refused(order, board, replace(board, attester=emulated).request)


def test_nonce_of_another_session(attempts: Attempts, order: str, board: PaperBoard) -> None:
    before = attempts.line.pc1.open(order, board.chip_id)
    sent = board.request(before.challenge)
    attempts.refused(order, board, lambda _: sent)


def test_a_nonce_that_the_station_chose(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, nonce=bytes(16))


def test_a_nonce_of_eight_bytes(attempts: Attempts, order: str, board: PaperBoard) -> None:
    attempts.refused(
        order,
        board,
        lambda challenge: attempts.faulty(board, nonce=challenge[:8]).request(challenge),
    )


def test_a_nonce_that_is_the_challenge_itself(attempts: Attempts, order: str, board: PaperBoard) -> None:
    attempts.refused(
        order,
        board,
        lambda challenge: attempts.faulty(board, nonce=challenge[:16]).request(challenge),
    )


# Messages


def test_the_message_of_a_bare_public_key(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, keygen_type=8)


def test_the_message_of_a_csr_as_attestation_token(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, token_type=9)


def test_other_modem_firmware(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, "level_insufficient", firmware=uuid4())


def test_a_key_id_that_is_not_the_identity_keys(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, kid=b"\x20")


def test_the_header_of_another_algorithm(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """ES384 is named, ES256 was used."""
    refused(attempts, order, board, protected=bytes.fromhex("a1013822"))


def test_keygen_signed_by_another_key(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, keygen_key=board.key)


def test_the_attestation_token_signed_by_the_new_key(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    refused(attempts, order, board, token_key=board.key)


def test_a_signature_that_covers_another_context(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, keygen_context=b"another")


def test_a_signature_of_nothing(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """Null in the payload's place and nothing beside it: one signature would serve every token."""
    refused(attempts, order, board, token_context=b"", detached_null=True)


# Encodings


def _with_csr_of_other_length(board: PaperBoard) -> bytes:
    """A CSR whose base64 leaves bits over."""
    while len(csr := board.csr()) % 3 == 0:
        pass
    return csr


@pytest.mark.parametrize("encoding", ["padded", "trailing bits"])
def test_base64_that_says_the_same_in_another_way(
    attempts: Attempts, order: str, board: PaperBoard, encoding: str
) -> None:
    loose = attempts.faulty(board, encoding=encoding)

    def forged(challenge: bytes) -> Any:
        csr = _with_csr_of_other_length(board)
        return csr, loose.evidence_for(challenge, csr)

    attempts.refused(order, board, forged)


def test_the_standard_alphabet(attempts: Attempts, order: str, board: PaperBoard) -> None:
    loose = attempts.faulty(board, encoding="standard")

    def forged(challenge: bytes) -> Any:
        while True:
            csr = board.csr()
            sent = loose.evidence_for(challenge, csr)
            if b"+" in sent.evidence or b"/" in sent.evidence:
                return csr, sent

    attempts.refused(order, board, forged)


def test_a_line_break_in_the_text(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, encoding="newline")


def test_a_csr_that_was_encoded_again_on_the_way(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """The modem's has NULL parameters; what it signed is no longer what arrives."""
    info, _, signature = csr_attestation.split(board.csr())
    original, normal = (
        csr_attestation.der(csr_attestation.SEQUENCE, info, algorithm, signature)
        for algorithm in (ECDSA_WITH_NULL, ECDSA)
    )
    session = attempts.line.pc1.open(order, board.chip_id)
    made = board.evidence_for(session.challenge, original)
    attempts.refused_in(session, order, board.chip_id, (normal, made))
    assert attempts.line.pc1.sign(session, original, made).certificate_der


def test_three_texts(attempts: Attempts, order: str, board: PaperBoard) -> None:
    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        return csr, evidence(board, deterministic([*texts(board, challenge, csr), ""]))

    attempts.refused(order, board, forged)


def test_texts_of_indefinite_length(attempts: Attempts, order: str, board: PaperBoard) -> None:
    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        sent.evidence = b"\x9f" + sent.evidence[1:] + b"\xff"
        return csr, sent

    attempts.refused(order, board, forged)


def test_the_same_csr_once_more_after_its_certificate_was_revoked(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    """A (UUID, CSR) pair counts once."""
    session = attempts.line.pc1.open(order, board.chip_id)
    csr, made = board.request(session.challenge)
    later = attempts.line.pc1.open(order, board.chip_id)
    signed = attempts.line.pc1.sign(session, csr, made)
    attempts.revoke(signed)
    attempts.refused_in(
        later,
        order,
        board.chip_id,
        (csr, board.evidence_for(later.challenge, csr)),
        "certificate_revoked",
    )


def test_an_auditor_finds_nothing_after_the_attacks_on_nrf91(attempts: Attempts) -> None:
    attempts.line.verify()
