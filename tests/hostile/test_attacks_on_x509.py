"""Attacks on evidence by certified attestation keys: chains, names, signatures, DICE."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from birthmark.v1 import signing_pb2
from boards.attesters.certificate_writer import (
    Authority,
    Key,
    basic_constraints,
    extended_key_usage,
    extension,
    issue,
    key_usage,
    make_key,
    oid,
    root_authority,
    seal,
    sign,
    spki_of,
    sub_authority,
    subject,
    tlv,
)
from boards.attesters.x509 import FWID, TCB_INFO, X509Attester, X509Vendor, tcb_info
from harness.attempts import Attempts, attester_of, evidence
from harness.paper_board import PaperBoard, deterministic
from harness.weak_keys import roca_key

METHOD = "x509"
LEAF = (basic_constraints(ca=False), key_usage("digital_signature"))
MEASURED = (*LEAF, extension(TCB_INFO, tcb_info(), critical=True))


QUICK, AT_ONCE = 400, 32  # calls; a station's rate lets 200 through at once


@pytest.fixture(scope="module")
def order(attempts: Attempts) -> str:
    return attempts.order(METHOD, quantity=200)


@pytest.fixture
def board(attempts: Attempts) -> PaperBoard:
    return attempts.line.board(METHOD)


def vendor_of(attempts: Attempts, board: PaperBoard) -> X509Vendor:
    vendor = attempts.vendor_of(board)
    assert isinstance(vendor, X509Vendor)
    return vendor


def genuine(board: PaperBoard) -> X509Attester:
    attester = attester_of(board)
    assert isinstance(attester, X509Attester)
    return attester


def refused(
    attempts: Attempts, order: str, board: PaperBoard, code: str = "evidence_rejected", **wrong: Any
) -> None:
    """The board with this one thing wrong about its certificates is refused."""
    attempts.refused(order, board, attempts.faulty(board, **wrong).request, code)


def with_chain(board: PaperBoard, chain: Sequence[bytes], key: Key | None = None) -> PaperBoard:
    """The board with other certificates, and perhaps another attestation key."""
    return replace(board, attester=X509Attester(key or genuine(board).key, tuple(chain)))


def named(chip_id: str) -> bytes:
    return subject((NameOID.SERIAL_NUMBER, chip_id))


def leaf(issuer: Authority, board: PaperBoard, extensions: Sequence[bytes] = MEASURED, **terms: Any) -> bytes:
    """A certificate of the board's attestation key."""
    return issue(issuer, named(board.chip_id), spki_of(genuine(board).key), extensions, **terms)


def test_attempts_of_a_quick_machine_meet_no_rate(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """What is refused here is refused for what it is, however many attempts came before it."""
    asked = signing_pb2.OpenSessionRequest(work_order=order, chip_id=board.chip_id)
    for _ in range(QUICK // AT_ONCE):
        calls = [attempts.line.pc1.signing.OpenSession.future(asked, timeout=60) for _ in range(AT_ONCE)]
        assert all(call.result().challenge for call in calls)


# Chains


def test_another_root_of_the_same_name(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, root="another")


def test_a_self_signed_leaf(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, path="leaf-is-root")


def test_an_expired_leaf(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, validity="expired")


def test_a_leaf_that_is_not_yet_valid(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, validity="not-yet")


def test_a_ca_as_leaf(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, leaf_ca=True)


def test_one_ca_more_than_the_path_length_allows(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, path="too-long")


def test_the_intermediate_left_out(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, path="cut")


def test_the_root_sent_along(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, path="with-root")


def test_certificates_reordered(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, path="reordered")


def test_a_certificate_to_spare(attempts: Attempts, order: str, board: PaperBoard) -> None:
    spare = sub_authority(vendor_of(attempts, board).root, "Spare", make_key("p256")).certificate
    attempts.refused(order, board, with_chain(board, (*genuine(board).chain, spare)).request)


def test_the_intermediate_twice(attempts: Attempts, order: str, board: PaperBoard) -> None:
    chain = genuine(board).chain
    attempts.refused(order, board, with_chain(board, (*chain, chain[-1])).request)


def test_no_certificates(attempts: Attempts, order: str, board: PaperBoard) -> None:
    attempts.refused(order, board, with_chain(board, ()).request)


def test_a_chain_of_seven(attempts: Attempts, order: str, board: PaperBoard) -> None:
    issuer = vendor_of(attempts, board).root
    above: list[bytes] = []
    for number in range(6):
        issuer = sub_authority(issuer, f"Layer {number}", make_key("p256"))
        above.insert(0, issuer.certificate)
    attempts.refused(order, board, with_chain(board, (leaf(issuer, board), *above)).request)


def test_a_certificate_of_nine_thousand_bytes(attempts: Attempts, order: str, board: PaperBoard) -> None:
    vendor = vendor_of(attempts, board)
    large = (*MEASURED, extension("1.3.6.1.4.1.32473.9", tlv(0x04, bytes(9000))))
    chain = (leaf(vendor.intermediate, board, large), vendor.intermediate.certificate)
    attempts.refused(order, board, with_chain(board, chain).request)


def test_another_genuine_chip_as_issuer(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """A chip's key signs what it is given: also a certificate."""
    other = genuine(attempts.line.board(METHOD))
    issuer = Authority(x509.load_der_x509_certificate(other.chain[0]).subject.public_bytes(), other.key)
    chain = (leaf(issuer, board), *other.chain)
    attempts.refused(order, board, with_chain(board, chain).request)


def test_a_root_of_ones_own_that_the_pinned_name_stands_in(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    """A CA of the attacker's under the vendor's intermediate's name, sent with the vendor's own one."""
    vendor = vendor_of(attempts, board)
    forged = Authority(vendor.intermediate.name, make_key("p256"))
    chain = (leaf(forged, board), vendor.intermediate.certificate)
    attempts.refused(order, board, with_chain(board, chain).request)


def test_the_chain_of_another_vendor_that_another_product_trusts(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    vendor = X509Vendor()
    other = attempts.order(METHOD, vendor=vendor)
    theirs = replace(board, attester=vendor.attester(board.chip_id))
    attempts.refused(order, board, theirs.request)
    assert attempts.line.counts(other).places == 0


def test_a_key_that_may_not_sign(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, usage=("key_agreement",))


def test_a_key_that_may_sign_certificates(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, usage=("digital_signature", "key_cert_sign"))


def test_a_certificate_for_signing_code(attempts: Attempts, order: str, board: PaperBoard) -> None:
    vendor = vendor_of(attempts, board)
    purpose = extended_key_usage("1.3.6.1.5.5.7.3.3")
    chain = (leaf(vendor.intermediate, board, (*MEASURED, purpose)), vendor.intermediate.certificate)
    attempts.refused(order, board, with_chain(board, chain).request)


def test_an_issuer_whose_key_usage_is_for_signing_data(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    vendor = vendor_of(attempts, board)
    key = make_key("p256")
    bare = Authority(subject((NameOID.COMMON_NAME, "Example Silicon CA 9")), key)
    wrong = (basic_constraints(ca=True), key_usage("digital_signature"))
    certificate = issue(vendor.root, bare.name, spki_of(key), wrong)
    attempts.refused(order, board, with_chain(board, (leaf(bare, board), certificate)).request)


def test_an_unknown_critical_extension(attempts: Attempts, order: str, board: PaperBoard) -> None:
    vendor = vendor_of(attempts, board)
    unknown = extension("1.3.6.1.4.1.32473.9", b"\x05\x00", critical=True)
    chain = (leaf(vendor.intermediate, board, (*MEASURED, unknown)), vendor.intermediate.certificate)
    attempts.refused(order, board, with_chain(board, chain).request)


def test_a_certificate_signed_with_sha1(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, signature_hash="sha1")


def test_a_certificate_of_version_1(attempts: Attempts, order: str, board: PaperBoard) -> None:
    vendor = vendor_of(attempts, board)
    chain = (leaf(vendor.intermediate, board, (), version=None), vendor.intermediate.certificate)
    attempts.refused(order, board, with_chain(board, chain).request)


def test_a_bit_of_the_leaf_changed_and_signed_by_oneself(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    """The genuine to-be-signed bytes under a signature of the attacker's."""
    first, *rest = genuine(board).chain
    tbs = x509.load_der_x509_certificate(first).tbs_certificate_bytes
    attempts.refused(order, board, with_chain(board, (seal(make_key("p256"), tbs), *rest)).request)


def test_bytes_after_a_certificate(attempts: Attempts, order: str, board: PaperBoard) -> None:
    first, *rest = genuine(board).chain
    attempts.refused(order, board, with_chain(board, (first + b"\x00", *rest)).request)


# Certificates that a hostile layer of firmware, or a careless CA, might sign


def signed_by_the_vendor(attempts: Attempts, order: str, board: PaperBoard, sent: bytes) -> None:
    """Refused, although the genuine intermediate CA signed it."""
    chain = (sent, vendor_of(attempts, board).intermediate.certificate)
    attempts.refused(order, board, with_chain(board, chain).request)


def test_basic_constraints_that_say_both(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """A CA to one reader, a leaf to the other."""
    ca = vendor_of(attempts, board).intermediate
    for first, second in ((False, True), (True, False)):
        both = (basic_constraints(ca=first), basic_constraints(ca=second), *MEASURED[1:])
        signed_by_the_vendor(attempts, order, board, leaf(ca, board, both))


def test_a_measurement_of_accepted_firmware_beside_that_of_ones_own(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    ca = vendor_of(attempts, board).intermediate
    own = extension(TCB_INFO, tcb_info([bytes(32)]), critical=True)
    for both in ((*MEASURED, own), (*LEAF, own, MEASURED[-1])):
        signed_by_the_vendor(attempts, order, board, leaf(ca, board, both))


def test_times_that_two_readers_read_apart(attempts: Attempts, order: str, board: PaperBoard) -> None:
    ca = vendor_of(attempts, board).intermediate
    forever = tlv(0x18, b"99991231235959Z")
    for begin in (
        tlv(0x17, b"2001010000Z"),
        tlv(0x17, b"200101000000+1400"),
        tlv(0x18, b"20200101000000.0Z"),
    ):
        signed_by_the_vendor(attempts, order, board, leaf(ca, board, times=tlv(0x30, begin, forever)))


def test_an_algorithm_inside_and_another_outside(attempts: Attempts, order: str, board: PaperBoard) -> None:
    ca = vendor_of(attempts, board).intermediate
    tbs = x509.load_der_x509_certificate(leaf(ca, board)).tbs_certificate_bytes
    other = tlv(0x30, oid("1.2.840.10045.4.3.2"), tlv(0x05))
    signed_by_the_vendor(attempts, order, board, seal(ca.key, tbs, algorithm=other))


def test_a_length_in_ber(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """In the subject: one name to a lenient reader, none to a strict one."""
    ca = vendor_of(attempts, board).intermediate
    name = named(board.chip_id)
    content = name[2:]
    for ber in (b"\x30\x81" + bytes((len(content),)) + content, b"\x30\x80" + content + bytes(2)):
        sent = issue(ca, ber, spki_of(genuine(board).key), MEASURED)
        signed_by_the_vendor(attempts, order, board, sent)


def test_an_attestation_key_in_another_encoding(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """One key would be two: as one chip's key it is told by its digest."""
    ca = vendor_of(attempts, board).intermediate
    public = genuine(board).key.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    point = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = tlv(0x30, oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7"))
    compressed = tlv(0x30, algorithm, tlv(0x03, b"\x00", point))
    signed_by_the_vendor(attempts, order, board, issue(ca, named(board.chip_id), compressed, MEASURED))


def test_more_extensions_than_any_chip_has(attempts: Attempts, order: str, board: PaperBoard) -> None:
    ca = vendor_of(attempts, board).intermediate
    for count in (65, 500):
        many = (*MEASURED, *(extension(f"1.2.{number}", b"") for number in range(count)))
        signed_by_the_vendor(attempts, order, board, leaf(ca, board, many))


def test_the_format_before_tcb_info(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """Its FWID cannot be judged, so it does not count, not even for level `chip`."""
    ca = vendor_of(attempts, board).intermediate
    fwid = tlv(0x30, oid("2.16.840.1.101.3.4.2.1"), tlv(0x04, FWID))
    composite = tlv(0x30, tlv(0x02, b"\x01"), spki_of(genuine(board).key), fwid)
    signed_by_the_vendor(attempts, order, board, leaf(ca, board, (*LEAF, extension(TCB_INFO, composite))))


# Names


def test_a_certificate_of_another_chip(attempts: Attempts, order: str, board: PaperBoard) -> None:
    other = attempts.line.board(METHOD)
    attempts.refused(order, board, replace(board, attester=other.attester).request)


def test_a_certificate_without_a_chip_id(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, names=())


def test_a_certificate_with_two_chip_ids(attempts: Attempts, order: str, board: PaperBoard) -> None:
    other = attempts.line.board(METHOD)
    refused(attempts, order, board, names=(board.chip_id, other.chip_id))


def test_a_certificate_with_the_chip_id_twice(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, names=(board.chip_id, board.chip_id))


def test_a_chip_id_with_a_space_after_it(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, names=(board.chip_id + " ",))


def test_a_chip_id_in_other_letters(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """One chip under two names would be two chips."""
    refused(attempts, order, board, names=(board.chip_id.upper(),))


def test_the_chip_id_in_the_common_name(attempts: Attempts, order: str, board: PaperBoard) -> None:
    vendor = vendor_of(attempts, board)
    name = subject((NameOID.COMMON_NAME, board.chip_id))
    first = issue(vendor.intermediate, name, spki_of(genuine(board).key), MEASURED)
    chain = (first, vendor.intermediate.certificate)
    attempts.refused(order, board, with_chain(board, chain).request)


# Signatures and keys


def test_a_signature_of_another_session(attempts: Attempts, order: str, board: PaperBoard) -> None:
    before = attempts.line.pc1.open(order, board.chip_id)
    sent = board.request(before.challenge)
    attempts.refused(order, board, lambda _: sent)


def test_a_signature_over_another_csr(attempts: Attempts, order: str, board: PaperBoard) -> None:
    fake = board.twin()
    attempts.refused(order, board, lambda challenge: (fake.csr(), board.evidence_for(challenge, board.csr())))


def test_the_chain_of_one_board_and_the_signature_of_another(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    other = genuine(attempts.line.board(METHOD))
    attempts.refused(order, board, with_chain(board, genuine(board).chain, key=other.key).request)


def test_a_signature_over_the_digest_of_the_transcript(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    """What another method signs is not what this one signs."""

    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        digest = hashlib.sha256(board.transcript(challenge, csr)).digest()
        return csr, evidence(board, genuine(board).attest(digest, csr))

    attempts.refused(order, board, forged)


def test_a_certified_key_that_anyone_can_find(attempts: Attempts, order: str, board: PaperBoard) -> None:
    attempts.refused(order, board, attempts.faulty(board, key=roca_key()).request)


def test_no_signature(attempts: Attempts, order: str, board: PaperBoard) -> None:
    chain = list(genuine(board).chain)
    attempts.refused(order, board, lambda _: (board.csr(), evidence(board, deterministic([b"", chain]))))


def test_a_key_of_p384_that_signs_with_sha256(attempts: Attempts, order: str, board: PaperBoard) -> None:
    strong = attempts.faulty(board, key_type="p384")
    signer = genuine(strong)

    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        weak = sign(signer.key, board.transcript(challenge, csr), "sha256")
        return csr, evidence(board, deterministic([weak, list(signer.chain)]))

    attempts.refused(order, strong, forged)


def test_a_signature_with_sha1(attempts: Attempts, order: str, board: PaperBoard) -> None:
    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        weak = sign(genuine(board).key, board.transcript(challenge, csr), "sha1")
        return csr, evidence(board, deterministic([weak, list(genuine(board).chain)]))

    attempts.refused(order, board, forged)


def test_an_rsa_signature_where_the_key_is_ec(attempts: Attempts, order: str, board: PaperBoard) -> None:
    rsa = make_key("rsa2048")
    attempts.refused(order, board, with_chain(board, genuine(board).chain, key=rsa).request)


def test_an_ed25519_signature_where_the_key_is_ec(attempts: Attempts, order: str, board: PaperBoard) -> None:
    edwards = make_key("ed25519")
    attempts.refused(order, board, with_chain(board, genuine(board).chain, key=edwards).request)


def test_an_rsa_key_of_1024_bits(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, key_type="rsa1024")


def test_a_key_on_a_curve_that_is_not_accepted(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, key_type="k256")


def test_evidence_with_an_item_more(attempts: Attempts, order: str, board: PaperBoard) -> None:
    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        sent.evidence = deterministic([*cbor2.loads(sent.evidence), None])
        return csr, sent

    attempts.refused(order, board, forged)


def test_evidence_in_indefinite_lengths(attempts: Attempts, order: str, board: PaperBoard) -> None:
    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        assert sent.evidence[0] == 0x82
        sent.evidence = b"\x9f" + sent.evidence[1:] + b"\xff"
        return csr, sent

    attempts.refused(order, board, forged)


def test_evidence_with_a_length_longer_than_needed(attempts: Attempts, order: str, board: PaperBoard) -> None:
    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        sent.evidence = b"\x98\x02" + sent.evidence[1:]
        return csr, sent

    attempts.refused(order, board, forged)


def test_bytes_after_the_evidence(attempts: Attempts, order: str, board: PaperBoard) -> None:
    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        sent.evidence += b"\x00"
        return csr, sent

    attempts.refused(order, board, forged)


# Level


def test_other_firmware_measured(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, "level_insufficient", digest=hashlib.sha256(b"replaced").digest())


def test_the_measurement_left_out(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, "level_insufficient", digest=None)


def test_dice_not_configured(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, flags=(0,))


def test_dice_not_secure(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, flags=(1,))


def test_dice_in_recovery(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, flags=(2,))


def test_dice_open_for_debugging(attempts: Attempts, order: str, board: PaperBoard) -> None:
    refused(attempts, order, board, flags=(3,))


def test_a_malformed_tcb_info(attempts: Attempts, order: str, board: PaperBoard) -> None:
    vendor = vendor_of(attempts, board)
    wrong = (*LEAF, extension(TCB_INFO, tcb_info() + b"\x00", critical=True))
    chain = (leaf(vendor.intermediate, board, wrong), vendor.intermediate.certificate)
    attempts.refused(order, board, with_chain(board, chain).request)


def test_the_right_digest_under_the_name_of_another_hash(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    vendor = vendor_of(attempts, board)
    sha3 = tcb_info((FWID,), algorithm="2.16.840.1.101.3.4.2.8")
    chain = (
        leaf(vendor.intermediate, board, (*LEAF, extension(TCB_INFO, sha3))),
        vendor.intermediate.certificate,
    )
    attempts.refused(order, board, with_chain(board, chain).request, "level_insufficient")


def _replaced_layer(vendor: X509Vendor, digest: bytes) -> tuple[Authority, bytes]:
    """A layer of a chip's firmware that certifies the next one, and its own certificate."""
    key = make_key("p256")
    bare = Authority(subject((NameOID.COMMON_NAME, "Layer 1")), key)
    extensions = (basic_constraints(ca=True), extension(TCB_INFO, tcb_info([digest]), critical=True))
    return bare, issue(vendor.intermediate, bare.name, spki_of(key), extensions)


def test_replaced_firmware_that_certifies_an_accepted_measurement(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    """Firmware that was replaced holds the key of its own layer, and says the best of the layer below."""
    vendor = vendor_of(attempts, board)

    def chain(digest: bytes) -> PaperBoard:
        layer, certificate = _replaced_layer(vendor, digest)
        return with_chain(board, (leaf(layer, board), certificate, vendor.intermediate.certificate))

    attempts.refused(order, chain(FWID), chain(hashlib.sha256(b"replaced").digest()).request)


def test_replaced_firmware_that_certifies_chips_that_are_not_there(
    attempts: Attempts, board: PaperBoard
) -> None:
    """One genuine chip whose layer holds a CA's key would be as many chips as it has names for."""
    vendor = vendor_of(attempts, board)
    order = attempts.order(METHOD, level="chip")
    layer, certificate = _replaced_layer(vendor, hashlib.sha256(b"replaced").digest())
    for number in range(3):
        invented = replace(board.twin(), chip_id=f"{board.chip_id}-{number}")
        key = ec.generate_private_key(ec.SECP256R1())
        first = issue(layer, named(invented.chip_id), spki_of(key), MEASURED)
        chain = (first, certificate, vendor.intermediate.certificate)
        forged = with_chain(invented, chain, key)
        attempts.refused(order, forged, forged.request, answered=False)
    attempts.line.pc1.certify(order, board)


def test_the_attestation_key_as_the_boards_key(attempts: Attempts) -> None:
    """Where its key was born stays open unless the vendor promises it: level chip, and no more."""
    silent, promising = X509Vendor(measures=False), X509Vendor(measures=False, certifies_born_keys=True)
    for vendor, level in ((silent, "chip"), (promising, "key")):
        board = attempts.line.board(METHOD, vendor=vendor)
        key = genuine(board).key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        order = attempts.order(METHOD, vendor=vendor, level="chip")
        _, signed = attempts.line.pc1.certify(order, replace(board, key=key))
        assert attempts.issued(signed)["level"] == level


def test_a_key_of_ones_own_where_only_the_certified_one_was_born_in_the_chip(attempts: Attempts) -> None:
    vendor = X509Vendor(measures=False, certifies_born_keys=True)
    board = attempts.line.board(METHOD, vendor=vendor)
    order = attempts.order(METHOD, vendor=vendor)
    own = replace(board, attester=vendor.attester(board.chip_id, key=board.key))
    attempts.refused(order, own, replace(own, key=board.twin().key).request, "level_insufficient")


def test_one_attestation_key_certified_for_two_chips(attempts: Attempts, order: str) -> None:
    """The certificates decide, and each names one chip: neither serves for the other's session."""
    first, second = attempts.line.board(METHOD), attempts.line.board(METHOD)
    shared = attempts.faulty(second, key=genuine(first).key)
    attempts.refused(order, second, replace(second, attester=first.attester).request)
    assert genuine(shared).chain[0] != genuine(first).chain[0]
    attempts.refused(order, first, replace(first, attester=shared.attester).request)


def test_one_chip_under_two_names_that_its_vendor_certified(attempts: Attempts, order: str) -> None:
    """The vendor certified its key anew; or a product reads the chip id from another attribute."""
    line, vendor = attempts.line, vendor_of(attempts, attempts.line.board(METHOD))
    first, second = line.board(METHOD), line.board(METHOD)
    line.pc1.certify(order, first)
    renamed = attempts.faulty(second, key=genuine(first).key)
    attempts.refused(order, second, renamed.request, "chip_already_certified")

    by_common_name = X509Vendor(attribute="CN")
    by_common_name.root, by_common_name.intermediate = vendor.root, vendor.intermediate
    third = line.board(METHOD, vendor=by_common_name)
    elsewhere = attempts.order(METHOD, vendor=by_common_name)
    renamed = attempts.faulty(third, vendor=by_common_name, key=genuine(first).key)
    attempts.refused(elsewhere, third, renamed.request, "chip_already_certified")
    assert line.counts(elsewhere).places == 1


def test_an_emulated_chip_with_a_root_of_its_own(attempts: Attempts, order: str) -> None:
    maker = X509Vendor()
    board = attempts.line.board(METHOD)
    assert maker.root.certificate != root_authority("Example Silicon Root", make_key("p256")).certificate
    attempts.refused(order, board, replace(board, attester=maker.attester(board.chip_id)).request)


def test_an_auditor_finds_nothing_after_the_attacks_on_x509(attempts: Attempts) -> None:
    attempts.line.verify()
