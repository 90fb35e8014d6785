"""Attacks on evidence by chips with a secret of the company's: `hmac-sha256`."""

from __future__ import annotations

import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from boards.attesters.hmac_sha256 import HmacAttester
from boards.attesters.psa_token import PsaAttester, PsaVendor
from harness.attempts import Attempts, attester_of, evidence
from harness.hostile_line import code_of
from harness.paper_board import PaperBoard, deterministic
from harness.process import ProgramError

METHOD = "hmac-sha256"


@pytest.fixture(scope="module")
def order(attempts: Attempts) -> str:
    return attempts.order(METHOD, quantity=200)


@pytest.fixture
def board(attempts: Attempts) -> PaperBoard:
    return attempts.line.board(METHOD)


def refused(
    attempts: Attempts, order: str, board: PaperBoard, code: str = "evidence_rejected", **wrong: Any
) -> None:
    """The chip with this one thing wrong is refused."""
    attempts.refused(order, board, attempts.faulty(board, **wrong).request, code)


def changed(attempts: Attempts, order: str, board: PaperBoard, change: Any) -> None:
    """A genuine MAC, changed by the station."""

    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        sent.evidence = change(sent.evidence)
        return csr, sent

    attempts.refused(order, board, forged)


def maced(attempts: Attempts, order: str, board: PaperBoard, transcript: Any) -> None:
    """A MAC by the genuine secret, over something else than the transcript."""

    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        assert board.chip_key is not None
        mac = hmac.digest(board.chip_key, transcript(challenge, csr), "sha256")
        return csr, evidence(board, mac)

    attempts.refused(order, board, forged)


def test_an_emulated_board_with_no_secret(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, secret="empty")


def test_an_emulated_board_with_a_guessed_secret(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, secret="guessed")


def test_the_secret_of_another_chip(attempts: Attempts, order: str, board: PaperBoard) -> None:
    other = attempts.line.board(METHOD)
    attempts.refused(order, board, replace(board, attester=other.attester).request)


def test_a_mac_of_half_its_length(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, keep=16)


def test_a_mac_cut_by_a_byte(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, keep=31)


def test_a_mac_of_one_byte(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """256 attempts would find a tag of one byte."""
    refused(attempts, order, board, keep=1)


def test_no_mac(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, keep=0)


def test_a_byte_after_the_mac(attempts: Attempts, order: str, board: PaperBoard) -> None:
    changed(attempts, order, board, lambda mac: mac + b"\x00")


def test_the_mac_twice(attempts: Attempts, order: str, board: PaperBoard) -> None:
    changed(attempts, order, board, lambda mac: mac + mac)


def test_the_mac_wrapped_in_cbor(attempts: Attempts, order: str, board: PaperBoard) -> None:
    changed(attempts, order, board, deterministic)


def test_one_bit_of_the_mac_changed(attempts: Attempts, order: str, board: PaperBoard) -> None:
    changed(attempts, order, board, lambda mac: mac[:-1] + bytes([mac[-1] ^ 1]))


def test_a_mac_of_zeros(attempts: Attempts, order: str, board: PaperBoard) -> None:
    changed(attempts, order, board, lambda mac: bytes(len(mac)))


def test_a_mac_over_the_challenge_alone(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """What a generic challenge-and-response on the chip would give to anyone."""
    maced(attempts, order, board, lambda challenge, _: challenge)


def test_a_mac_over_the_csr_alone(attempts: Attempts, order: str, board: PaperBoard) -> None:
    maced(attempts, order, board, lambda _, csr: csr)


def test_a_mac_over_the_digest_of_the_transcript(attempts: Attempts, order: str, board: PaperBoard) -> None:
    maced(
        attempts,
        order,
        board,
        lambda challenge, csr: hashlib.sha256(board.transcript(challenge, csr)).digest(),
    )


def test_a_mac_over_the_transcript_of_another_chip_id(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    other = replace(board, chip_id=board.chip_id + "0")
    maced(attempts, order, board, other.transcript)


def test_a_mac_over_a_stamp(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """What the board signs at its end is not what it MACs at its beginning."""
    maced(
        attempts,
        order,
        board,
        lambda challenge, csr: deterministic(["birthmark-stamp-v1", challenge, board.chip_id, csr]),
    )


def test_a_mac_of_another_session(attempts: Attempts, order: str, board: PaperBoard) -> None:
    before = attempts.line.pc1.open(order, board.chip_id)
    sent = board.request(before.challenge)
    attempts.refused(order, board, lambda _: sent)


def test_a_mac_for_another_csr_of_the_same_key(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """The transcript holds the whole CSR, and not its key alone."""
    attempts.refused(
        order, board, lambda challenge: (board.csr(), board.evidence_for(challenge, board.csr()))
    )


def test_a_mac_made_on_another_station(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """A board that is plugged in at both: the session of one is not the other's."""
    other = attempts.line.pc2.open(order, board.chip_id)
    sent = board.request(other.challenge)
    attempts.refused(order, board, lambda _: sent)


def test_one_secret_in_two_boards_at_once(attempts: Attempts) -> None:
    """A chip's secret that leaked, burned into a clone: both are genuine to a MAC. One is certified."""
    line = attempts.line
    for _ in range(3):
        order, board = attempts.order(METHOD), line.board(METHOD)
        requests = []
        for station, one in ((line.pc1, board), (line.pc2, board.twin())):
            session = station.open(order, one.chip_id)
            requests.append((station, session, *one.request(session.challenge)))
        with ThreadPoolExecutor(2) as pool:
            codes = list(pool.map(lambda call: code_of(lambda: call[0].sign(*call[1:])), requests))
        assert sorted(codes) == ["", "chip_already_certified"]
        assert line.counts(order).issued == 1


def test_one_secret_in_two_boards_one_after_the_other(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    clone = board.twin()
    attempts.line.pc1.certify(order, board)
    attempts.refused(order, clone, clone.request, "chip_already_certified", answered=False)


def test_a_clone_after_the_first_one_was_stamped(attempts: Attempts, board: PaperBoard) -> None:
    order = attempts.order(METHOD, reissue="before-stamp")
    session, signed = attempts.line.pc1.certify(order, board)
    attempts.line.pc1.stamp(board, session, signed)
    clone = board.twin()
    attempts.refused(order, clone, clone.request, "chip_already_certified", answered=False)


def test_an_open_chip_where_the_order_wants_key(attempts: Attempts, order: str) -> None:
    """Its firmware could have been replaced before it signed."""
    unlocked = attempts.line.board(METHOD, locked=False)
    attempts.refused(order, unlocked, unlocked.request, "level_insufficient", answered=False)
    attempts.line.pc1.certify(attempts.order(METHOD, level="chip"), unlocked)


def test_an_open_chip_that_claims_to_be_locked(attempts: Attempts, order: str) -> None:
    """What the board says of its locks is not what the registry says."""
    unlocked = attempts.line.board(METHOD, locked=False)
    assert unlocked.locks["secure_boot"]
    attempts.refused(order, unlocked, unlocked.request, "level_insufficient", answered=False)


def test_a_chip_that_nobody_personalized(attempts: Attempts, order: str, board: PaperBoard) -> None:
    attempts.line.refused("chip_unknown", lambda: attempts.line.pc1.open(order, board.chip_id + "-clone"))
    attempts.line.pc1.certify(order, board)


@pytest.fixture(scope="module")
def burned(attempts: Attempts) -> PsaVendor:
    """Chips with a key of the company's for PSA tokens."""
    return attempts.line.burned_psa_vendor("HMAC256")


@pytest.fixture(scope="module")
def both(attempts: Attempts, burned: PsaVendor) -> str:
    """An order whose product accepts MACs of both kinds."""
    return attempts.order("psa-token", METHOD, vendor=burned)


def test_the_key_of_psa_tokens_as_chip_key(attempts: Attempts, both: str, burned: PsaVendor) -> None:
    """The chip was personalized, and the method counts; the key is another method's."""
    psa = attempts.line.board("psa-token", vendor=burned)
    root = attester_of(psa)
    assert isinstance(root, PsaAttester)
    attempts.refused(both, psa, replace(psa, attester=HmacAttester(root.secret)).request)


def test_the_chip_key_as_key_of_psa_tokens(attempts: Attempts, both: str, board: PaperBoard) -> None:
    assert board.chip_key is not None
    token = PsaVendor(algorithm="HMAC256", secrets={board.chip_id: board.chip_key}).attester(board.chip_id)
    attempts.refused(both, board, replace(board, attester=token).request)


def test_a_chip_with_the_keys_of_two_methods(attempts: Attempts, burned: PsaVendor) -> None:
    """A second key for a chip would be a second way in: the registry does not give one."""
    psa = attempts.line.board("psa-token", vendor=burned)
    with pytest.raises(ProgramError, match="keeps the key that it has: give --key psa-iak-sha256"):
        attempts.line.installation.personalize([psa.chip_id])


def test_guesses_that_come_nearer_are_answered_as_all_others(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    """A right MAC but for one bit, at every position: no answer says how near it was."""
    session = attempts.line.pc2.open(order, board.chip_id)
    csr, made = board.request(session.challenge)
    for position in range(len(made.evidence)):
        near = bytearray(made.evidence)
        near[position] ^= 1
        sent = evidence(board, bytes(near))
        assert code_of(partial(attempts.line.pc2.sign, session, csr, sent)) == "evidence_rejected"
    assert attempts.line.pc2.sign(session, csr, made).certificate_der


def test_an_auditor_finds_nothing_after_the_attacks_on_macs(attempts: Attempts) -> None:
    attempts.line.verify()
