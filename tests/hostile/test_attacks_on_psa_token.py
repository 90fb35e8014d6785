"""Attacks on evidence by PSA tokens (RFC 9783), COSE_Sign1 unless a name says otherwise."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from boards.attesters.psa_token import FIRMWARE, KEYS, OTHER, RFC_9783, PsaAttester, PsaVendor, encode
from harness.attempts import Attempts, attester_of, evidence
from harness.installation import product_toml
from harness.paper_board import PaperBoard

METHOD = "psa-token"


@pytest.fixture(scope="module")
def order(attempts: Attempts) -> str:
    return attempts.order(METHOD, quantity=200)


@pytest.fixture(scope="module")
def maced(attempts: Attempts) -> PsaVendor:
    """Chips with a key of the company's, whose tokens are COSE_Mac0."""
    return attempts.line.burned_psa_vendor("HMAC256")


@pytest.fixture(scope="module")
def maced_order(attempts: Attempts, maced: PsaVendor) -> str:
    return attempts.order(METHOD, vendor=maced, quantity=200)


def refused(attempts: Attempts, order: str, code: str = "evidence_rejected", **wrong: Any) -> None:
    """A board whose secure world does this one thing wrong is refused."""
    board = attempts.line.board(METHOD)
    attempts.refused(order, board, attempts.faulty(board, **wrong).request, code)


# Where the chip is not what it should be


def test_lifecycle_unknown(attempts: Attempts, order: str) -> None:
    refused(attempts, order, lifecycle="unknown")


def test_lifecycle_assembly_and_test(attempts: Attempts, order: str) -> None:
    refused(attempts, order, lifecycle="assembly and test")


def test_lifecycle_provisioning(attempts: Attempts, order: str) -> None:
    refused(attempts, order, lifecycle="provisioning")


def test_lifecycle_with_the_application_open_for_debugging(attempts: Attempts, order: str) -> None:
    refused(attempts, order, lifecycle="non-psa-rot debug")


def test_lifecycle_with_the_root_of_trust_open_for_debugging(attempts: Attempts, order: str) -> None:
    refused(attempts, order, lifecycle="recoverable psa-rot debug")


def test_lifecycle_decommissioned(attempts: Attempts, order: str) -> None:
    refused(attempts, order, lifecycle="decommissioned")


def test_lifecycle_left_out(attempts: Attempts, order: str) -> None:
    refused(attempts, order, claims={"lifecycle": None})


def test_lifecycle_twice_first_the_wrong_one(attempts: Attempts, order: str) -> None:
    refused(attempts, order, twice="lifecycle")


def test_another_implementation_id(attempts: Attempts, order: str) -> None:
    refused(attempts, order, implementation_id=OTHER)


def test_instance_id_of_another_chip(attempts: Attempts, order: str) -> None:
    victim = attempts.line.board(METHOD)
    other = attester_of(victim)
    assert isinstance(other, PsaAttester)
    refused(attempts, order, instance_id=other.instance_id)


def test_a_token_of_another_board(attempts: Attempts, order: str) -> None:
    board, other = attempts.line.board(METHOD), attempts.line.board(METHOD)

    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        made = attester_of(other).attest(board.transcript(challenge, csr), csr)
        return csr, evidence(board, made)

    attempts.refused(order, board, forged)


def test_a_chip_whose_key_nobody_imported(attempts: Attempts, order: str) -> None:
    stranger, board = attempts.line.board(METHOD, known=False), attempts.line.board(METHOD)
    attempts.line.refused("chip_unknown", lambda: attempts.line.pc1.open(order, stranger.chip_id))
    # Nor does its key sign for a chip that is known.
    attempts.refused(order, board, replace(board, attester=stranger.attester).request)


# Genuine boards whose firmware is another: level chip, and the order wants key


def test_replaced_firmware(attempts: Attempts, order: str) -> None:
    refused(attempts, order, "level_insufficient", firmware="replaced")


def test_one_component_left_out(attempts: Attempts, order: str) -> None:
    refused(attempts, order, "level_insufficient", firmware="without app")


def test_one_component_more(attempts: Attempts, order: str) -> None:
    refused(attempts, order, "level_insufficient", firmware="one more")


def test_firmware_by_another_signer(attempts: Attempts, order: str) -> None:
    refused(attempts, order, "level_insufficient", signer=OTHER)


def test_components_left_out_altogether(attempts: Attempts, order: str) -> None:
    refused(attempts, order, claims={"components": None})


def test_no_measurements_said_instead_of_components(attempts: Attempts, order: str) -> None:
    """The old profile's claim under the new one's name."""
    refused(attempts, order, claims={"components": None, -75007: 1})


def test_a_replaced_component_hidden_by_one_that_is_no_component(attempts: Attempts, order: str) -> None:
    parts = [{1: "PRoT", 2: digest, 5: hashlib.sha256(b"the company's firmware key").digest()}
             for _, _, digest in FIRMWARE.values()]  # fmt: skip
    refused(attempts, order, claims={"components": [*parts, {1: "App"}]})


def test_newer_firmware_claimed_than_measured(attempts: Attempts) -> None:
    order = attempts.order(METHOD, minimum_firmware={"app": "1.2.0"})
    board = attempts.line.board(METHOD)
    boasting = replace(board, firmware={"app": ["9.0.0", bytes(32)]})
    attempts.refused(order, board, boasting.request)


def test_measured_firmware_below_the_minimum_while_the_claims_say_newer(attempts: Attempts) -> None:
    """The claims are of a component that is measured: what was measured counts, in the minimum as well."""
    order = attempts.order(METHOD, minimum_firmware={"app": "1.3.0"})
    board = attempts.line.board(METHOD)
    for firmware, code in (
        ({"app": ["1.3.0", bytes(32)]}, "evidence_rejected"),
        ({"app": ["1.2.0", bytes(32)]}, "firmware_too_old"),
        ({}, "firmware_too_old"),
    ):
        claiming = replace(board, firmware=firmware)
        attempts.refused(order, board, claiming.request, code, answered=False)
    enough = attempts.order(METHOD, minimum_firmware={"app": "1.2.0"})
    attempts.line.pc1.certify(enough, board)


def test_a_token_that_the_non_secure_side_asked_for(attempts: Attempts) -> None:
    """The boot chain does not measure the application: the product names the partition that makes the key."""
    vendor, partition = PsaVendor(), 3001
    trusted = vendor.product_section() + f"client_ids = [{partition}]\n"
    installation = attempts.line.installation
    installation.add_product(product_toml("partition", methods=[METHOD], sections=[trusted]))
    asked = vendor.attester("PARTITION-1", claims={"client_id": partition})
    identity = asked.identity()
    assert identity is not None
    installation.add_identities([identity], "partition", METHOD)
    order = attempts.line.open_order(product="partition", level="key")
    board = PaperBoard("PARTITION-1", attester=asked)
    other = replace(board, attester=vendor.attester("PARTITION-1"))
    attempts.refused(order, board, other.request, "level_insufficient")


# Nonces


def test_nonce_of_another_session(attempts: Attempts, order: str) -> None:
    board = attempts.line.board(METHOD)
    before = attempts.line.pc1.open(order, board.chip_id)
    csr, old = board.request(before.challenge)
    attempts.refused(order, board, lambda _: (csr, old))


def test_nonce_truncated(attempts: Attempts, order: str) -> None:
    refused(attempts, order, nonce="truncated")


def test_nonce_as_an_array(attempts: Attempts, order: str) -> None:
    refused(attempts, order, nonce="array")


def test_several_nonces_in_one_token(attempts: Attempts, order: str) -> None:
    """One token for two CSRs: RFC 9711 would let a nonce be an array."""
    board = attempts.line.board(METHOD)
    fake = board.twin()

    def forged(challenge: bytes) -> Any:
        csrs = [fake.csr(), board.csr()]
        nonces = [hashlib.sha256(board.transcript(challenge, csr)).digest() for csr in csrs]
        return csrs[0], attempts.faulty(board, claims={"nonce": nonces}).evidence_for(challenge, csrs[0])

    attempts.refused(order, board, forged)


def test_nonce_is_the_challenge_itself(attempts: Attempts, order: str) -> None:
    """Fresh, and of no CSR: what a generic attestation service on the board would sign."""
    board = attempts.line.board(METHOD)

    def forged(challenge: bytes) -> Any:
        return attempts.faulty(board, nonce=challenge).request(challenge)

    attempts.refused(order, board, forged)


def test_nonce_is_the_transcript_without_its_digest(attempts: Attempts, order: str) -> None:
    refused(attempts, order, nonce="transcript")


def test_nonce_twice(attempts: Attempts, order: str) -> None:
    refused(attempts, order, twice="nonce")


def test_the_same_token_again_in_its_session_for_another_csr(attempts: Attempts, order: str) -> None:
    board = attempts.line.board(METHOD)
    session = attempts.line.pc1.open(order, board.chip_id)
    csr, token = board.request(session.challenge)
    attempts.refused_in(session, order, board.chip_id, (board.twin().csr(), token))
    attempts.line.pc1.sign(session, csr, token)
    attempts.refused_in(session, order, board.chip_id, (board.twin().csr(), token), "session_used")


def test_the_same_token_on_another_order(attempts: Attempts, order: str) -> None:
    board, elsewhere = attempts.line.board(METHOD), attempts.order(METHOD)
    session = attempts.line.pc1.open(order, board.chip_id)
    csr, token = board.request(session.challenge)
    other = attempts.line.pc1.open(elsewhere, board.chip_id)
    attempts.refused_in(other, elsewhere, board.chip_id, (csr, token))
    attempts.line.pc1.sign(session, csr, token)


# Algorithms and keys


def test_algorithm_none(attempts: Attempts, order: str) -> None:
    refused(attempts, order, named_algorithm="none", proof="empty")


def test_algorithm_number_zero_without_a_signature(attempts: Attempts, order: str) -> None:
    refused(attempts, order, named_algorithm=0, proof="empty")


def test_no_protected_header_at_all(attempts: Attempts, order: str) -> None:
    refused(attempts, order, protected_raw=b"")


def test_the_algorithm_in_the_unprotected_header(attempts: Attempts, order: str) -> None:
    refused(attempts, order, protected_raw=b"", unprotected={1: -7})


def test_hmac_keyed_with_the_public_key(attempts: Attempts, order: str) -> None:
    """Anyone has the public key: it must never be a secret."""
    refused(attempts, order, key="public", named_algorithm=5)


def test_a_mac_by_a_burned_key_for_a_chip_whose_public_key_was_imported(
    attempts: Attempts, maced: PsaVendor
) -> None:
    """A chip has one attestation key: a secret that was burned for a test must not stand beside it."""
    product = attempts.line.product(METHOD, vendor=maced)
    board = attempts.line.board(METHOD, vendor=maced)
    signing = PsaVendor().attester(board.chip_id)
    identity = signing.identity()
    assert identity is not None
    attempts.line.installation.add_identities([identity], product, METHOD)
    order = attempts.line.open_order(product=product, level="key")
    attempts.refused(order, replace(board, attester=signing), board.request)


def test_es256_under_a_key_of_es384(attempts: Attempts) -> None:
    vendor = PsaVendor(algorithm="ES384")
    board = attempts.line.board(METHOD, vendor=vendor)
    order = attempts.order(METHOD, vendor=vendor)
    weaker = PsaVendor(algorithm="ES256").attester(board.chip_id)
    attempts.refused(order, board, replace(board, attester=weaker).request)


def test_es384_signature_that_says_es256(attempts: Attempts) -> None:
    vendor = PsaVendor(algorithm="ES384")
    board = attempts.line.board(METHOD, vendor=vendor)
    order = attempts.order(METHOD, vendor=vendor)
    attempts.refused(order, board, attempts.faulty(board, vendor=vendor, named_algorithm=-7).request)


def test_es512_named_over_an_es256_key(attempts: Attempts, order: str) -> None:
    refused(attempts, order, named_algorithm=-36)


def test_sign1_under_the_tag_of_mac0(attempts: Attempts, order: str) -> None:
    refused(attempts, order, tag=17)


def test_mac0_under_the_tag_of_sign1(attempts: Attempts, maced: PsaVendor, maced_order: str) -> None:
    board = attempts.line.board(METHOD, vendor=maced)
    attempts.refused(maced_order, board, attempts.faulty(board, vendor=maced, tag=18).request)


def test_no_tag(attempts: Attempts, order: str) -> None:
    refused(attempts, order, tag=0)


def test_a_mac_of_a_secret_that_was_guessed(attempts: Attempts, maced: PsaVendor, maced_order: str) -> None:
    board = attempts.line.board(METHOD, vendor=maced)
    attempts.refused(maced_order, board, attempts.faulty(board, vendor=maced, key="other").request)


def test_a_mac_that_is_truncated(attempts: Attempts, maced: PsaVendor, maced_order: str) -> None:
    board = attempts.line.board(METHOD, vendor=maced)
    attempts.refused(maced_order, board, attempts.faulty(board, vendor=maced, proof="truncated").request)


def test_a_mac_that_is_empty(attempts: Attempts, maced: PsaVendor, maced_order: str) -> None:
    board = attempts.line.board(METHOD, vendor=maced)
    attempts.refused(maced_order, board, attempts.faulty(board, vendor=maced, proof="empty").request)


def test_a_mac_with_the_short_tag_of_hmac_256_64(
    attempts: Attempts, maced: PsaVendor, maced_order: str
) -> None:
    board = attempts.line.board(METHOD, vendor=maced)
    attempts.refused(maced_order, board, attempts.faulty(board, vendor=maced, named_algorithm=4).request)


def test_a_mac_by_the_key_of_another_chip(attempts: Attempts, maced: PsaVendor, maced_order: str) -> None:
    board, other = (attempts.line.board(METHOD, vendor=maced) for _ in range(2))
    attempts.refused(maced_order, board, replace(board, attester=other.attester).request)


def test_the_key_of_another_hash(attempts: Attempts, maced: PsaVendor, maced_order: str) -> None:
    """HMAC 384 with the key that was derived for HMAC 256."""
    board = attempts.line.board(METHOD, vendor=maced)
    secret = attester_of(board)
    assert isinstance(secret, PsaAttester)
    longer = replace(secret, algorithm="HMAC384")
    attempts.refused(maced_order, board, replace(board, attester=longer).request)


def test_a_mac_for_a_chip_whose_key_is_a_public_one(attempts: Attempts, maced: PsaVendor, order: str) -> None:
    """Its chip id has no personalization: no derived key counts for it."""
    board = attempts.line.board(METHOD)
    burned = attester_of(attempts.line.board(METHOD, vendor=maced))
    attempts.refused(order, board, replace(board, attester=burned).request)


def test_another_attestation_key(attempts: Attempts, order: str) -> None:
    refused(attempts, order, key="other")


def test_a_signature_of_zeros(attempts: Attempts, order: str) -> None:
    refused(attempts, order, proof="zero")


def test_no_signature(attempts: Attempts, order: str) -> None:
    refused(attempts, order, proof="empty")


def test_a_signature_cut_by_a_byte(attempts: Attempts, order: str) -> None:
    refused(attempts, order, proof="truncated")


def test_a_signature_as_der(attempts: Attempts, order: str) -> None:
    refused(attempts, order, proof="der")


def test_the_boards_own_key_signs_the_token(attempts: Attempts, order: str) -> None:
    board = attempts.line.board(METHOD)
    genuine = attester_of(board)
    assert isinstance(genuine, PsaAttester)
    own = replace(genuine, signing_key=board.key)
    attempts.refused(order, board, replace(board, attester=own).request)


def test_claims_swapped_under_a_genuine_signature(attempts: Attempts, order: str) -> None:
    """Signature and headers of one token, the claims of another, both of this board."""
    board = attempts.line.board(METHOD)
    genuine = attester_of(board)
    assert isinstance(genuine, PsaAttester)

    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        right = genuine.attest(board.transcript(challenge, csr), csr)
        wrong = genuine.attest(board.transcript(challenge, board.twin().csr()), csr)
        # The signature is the last 64 bytes.
        return csr, evidence(board, right[:-64] + wrong[-64:])

    attempts.refused(order, board, forged)


def test_a_detached_payload(attempts: Attempts, order: str) -> None:
    refused(attempts, order, detached=True)


def test_a_signature_over_nothing(attempts: Attempts, order: str) -> None:
    refused(attempts, order, signs_nil=True)


def test_an_unknown_critical_header(attempts: Attempts, order: str) -> None:
    refused(attempts, order, protected={2: [-70001], -70001: 1})


def test_a_key_id_in_the_unprotected_header(attempts: Attempts, order: str) -> None:
    refused(attempts, order, unprotected={4: b"another"})


def test_a_certificate_of_ones_own_in_the_header(attempts: Attempts, order: str) -> None:
    refused(attempts, order, unprotected={33: b"\x30\x00"})


# Encodings


def test_duplicate_cbor_keys_in_the_claims(attempts: Attempts, order: str) -> None:
    refused(attempts, order, twice="implementation_id")


def test_duplicate_cbor_keys_in_the_protected_header(attempts: Attempts, order: str) -> None:
    refused(attempts, order, protected_raw=bytes.fromhex("a201260126"))


def test_indefinite_lengths_in_the_envelope(attempts: Attempts, order: str) -> None:
    refused(attempts, order, envelope_style="indefinite")


def test_indefinite_lengths_in_the_claims(attempts: Attempts, order: str) -> None:
    refused(attempts, order, claims_style="indefinite")


def test_numbers_longer_than_needed_in_the_envelope(attempts: Attempts, order: str) -> None:
    refused(attempts, order, envelope_style="long")


def test_a_protected_header_longer_than_needed(attempts: Attempts, order: str) -> None:
    refused(attempts, order, protected_raw=bytes.fromhex("a1013806"))


def test_bytes_after_the_token(attempts: Attempts, order: str) -> None:
    refused(attempts, order, trailing=b"\x00")


def test_two_tokens_one_after_the_other(attempts: Attempts, order: str) -> None:
    board = attempts.line.board(METHOD)

    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        sent.evidence += sent.evidence
        return csr, sent

    attempts.refused(order, board, forged)


def test_a_token_without_its_end(attempts: Attempts, order: str) -> None:
    board = attempts.line.board(METHOD)

    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        sent.evidence = sent.evidence[:-1]
        return csr, sent

    attempts.refused(order, board, forged)


def test_arrays_nested_beyond_measure(attempts: Attempts, order: str) -> None:
    board = attempts.line.board(METHOD)
    attempts.refused(order, board, lambda _: (board.csr(), evidence(board, b"\x81" * 16384)))


# Profiles


def test_a_profile_that_nobody_knows(attempts: Attempts, order: str) -> None:
    refused(attempts, order, claims={"profile": "tag:example.com,2026:own"})


def test_no_profile(attempts: Attempts, order: str) -> None:
    refused(attempts, order, claims={"profile": None})


def test_the_claims_of_two_profiles_in_one_token(attempts: Attempts, order: str) -> None:
    """Secured to a reader of one profile, unknown to a reader of the other."""
    refused(attempts, order, claims={KEYS["PSA_IOT_PROFILE_1"]["lifecycle"]: 0})


def test_one_profiles_name_over_the_others_claims(attempts: Attempts, order: str) -> None:
    board = attempts.line.board(METHOD)
    genuine = attester_of(board)
    assert isinstance(genuine, PsaAttester)
    old = replace(
        genuine, profile="PSA_IOT_PROFILE_1", wrong=replace(genuine.wrong, claims={"profile": RFC_9783})
    )
    attempts.refused(order, board, replace(board, attester=old).request)


def test_a_token_that_is_no_token(attempts: Attempts, order: str) -> None:
    """The same claims, CBOR and signed, without COSE around them."""
    board = attempts.line.board(METHOD)
    genuine = attester_of(board)
    assert isinstance(genuine, PsaAttester)

    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        claims = dict(genuine._claims(board.transcript(challenge, csr)))
        return csr, evidence(board, encode(claims))

    attempts.refused(order, board, forged)


def test_a_key_of_another_curve_under_the_right_name(attempts: Attempts, order: str) -> None:
    """ES256 by a secp256k1 key: numbers of the right size, on another curve."""
    board = attempts.line.board(METHOD)
    genuine = attester_of(board)
    assert isinstance(genuine, PsaAttester)
    other = replace(genuine, signing_key=ec.generate_private_key(ec.SECP256K1()))
    instance = genuine.instance_id
    named = replace(other, wrong=replace(other.wrong, instance_id=instance))
    attempts.refused(order, board, replace(board, attester=named).request)


def test_an_emulated_board_with_a_chip_id_of_a_genuine_one(attempts: Attempts, order: str) -> None:
    board = attempts.line.board(METHOD)
    emulated: PaperBoard = replace(board, attester=PsaVendor().attester(board.chip_id))
    attempts.refused(order, board, emulated.request)


def test_an_auditor_finds_nothing_after_the_attacks_on_psa_tokens(attempts: Attempts) -> None:
    attempts.line.verify()
