"""Attacks on what holds for every method: which one counts, what it is over, sizes, the product's rules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import cbor2
import pytest

from birthmark.v1 import signing_pb2 as pb
from boards.attesters import csr_attestation
from boards.attesters.csr_attestation import BUNDLES, Parts, attribute, bundle
from boards.attesters.hmac_sha256 import HmacAttester
from boards.attesters.nrf91 import Nrf91Attester
from boards.attesters.psa_token import PsaVendor
from boards.attesters.x509 import X509Vendor
from harness.attempts import Attempts, attester_of, evidence
from harness.hostile_line import code_of
from harness.installation import product_toml
from harness.paper_board import PaperBoard, deterministic

ALL = ("psa-token", "x509", "tpm2", "nrf91", "hmac-sha256", "none")
MAX_CLAIMS, MAX_EVIDENCE, MAX_CSR, MAX_SESSION = 4096, 16384, 8192, 512  # bytes, docs/formats.md


@pytest.fixture(scope="module")
def order(attempts: Attempts) -> str:
    """Of a product that accepts every method."""
    return attempts.order(*ALL, level="chip", quantity=200)


@pytest.fixture
def board(attempts: Attempts) -> PaperBoard:
    return attempts.line.board()


def changed(board: PaperBoard, **fields: Any) -> Any:
    """The genuine request with other fields of its evidence."""

    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        whole = {"method": sent.method, "claims": sent.claims, "evidence": sent.evidence} | fields
        return csr, pb.Evidence(**whole)

    return forged


# The method


def renamed(attempts: Attempts, order: str, method: str) -> None:
    """Genuine evidence of one method under the name of each other one that the product accepts."""
    board = attempts.line.board(method)
    session = attempts.line.pc1.open(order, board.chip_id)
    csr, sent = board.request(session.challenge)
    for name in ALL:
        if name != method:
            wrong = pb.Evidence(method=name, claims=sent.claims, evidence=sent.evidence)
            attempts.refused_in(session, order, board.chip_id, (csr, wrong))
    assert attempts.line.pc1.sign(session, csr, sent).certificate_der


def test_a_mac_under_another_methods_name(attempts: Attempts, order: str) -> None:
    renamed(attempts, order, "hmac-sha256")


def test_a_psa_token_under_another_methods_name(attempts: Attempts, order: str) -> None:
    renamed(attempts, order, "psa-token")


def test_a_certified_signature_under_another_methods_name(attempts: Attempts, order: str) -> None:
    renamed(attempts, order, "x509")


def test_a_modems_evidence_under_another_methods_name(attempts: Attempts, order: str) -> None:
    renamed(attempts, order, "nrf91")


def test_a_tpms_evidence_under_another_methods_name(attempts: Attempts, order: str) -> None:
    renamed(attempts, order, "tpm2")


def test_evidence_stripped_where_the_product_also_accepts_none(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    """The chip is on the list, so `none` holds; the order wants more."""
    attempts.line.installation.import_chips(order, [board.chip_id])
    attempts.refused(order, board, changed(board, method="none", evidence=b""), "level_insufficient")


def test_evidence_stripped_of_a_chip_that_is_not_on_the_list(attempts: Attempts, board: PaperBoard) -> None:
    order = attempts.order("hmac-sha256", "none", level="chip")
    attempts.refused(order, board, changed(board, method="none", evidence=b""))


def test_evidence_stripped_where_the_product_does_not_accept_none(
    attempts: Attempts, board: PaperBoard
) -> None:
    """Though the chip is on the order's list, so that `none` would hold."""
    strict = attempts.order("hmac-sha256", level="chip")
    attempts.line.installation.import_chips(strict, [board.chip_id])
    attempts.refused(strict, board, changed(board, method="none", evidence=b""))


def test_evidence_stripped_in_an_order_of_level_none_is_said_in_clear(attempts: Attempts) -> None:
    """The order allows it, so it is no refusal; the certificate's record says what there was."""
    lax = attempts.order(*ALL, level="none")
    board = attempts.line.board()
    attempts.line.installation.import_chips(lax, [board.chip_id])
    session = attempts.line.pc1.open(lax, board.chip_id)
    csr, sent = changed(board, method="none", evidence=b"")(session.challenge)
    entry = attempts.issued(attempts.line.pc1.sign(session, csr, sent))
    assert (entry["level"], entry["method"], entry["attester_sha256"]) == ("none", "none", None)


def test_level_none_with_something_in_it(attempts: Attempts) -> None:
    """Evidence that nobody verified must not stand in a record."""
    lax = attempts.order(*ALL, level="none")
    board = attempts.line.board()
    attempts.line.installation.import_chips(lax, [board.chip_id])
    attempts.refused(lax, board, changed(board, method="none"))


def test_a_method_that_the_product_does_not_list(attempts: Attempts, board: PaperBoard) -> None:
    """The same chip is certified by a vendor whom no rule of this product names."""
    strict = attempts.order("hmac-sha256", level="chip")
    certified = replace(board, attester=X509Vendor().attester(board.chip_id))
    attempts.refused(strict, board, certified.request)


def test_the_weaker_of_two_methods_of_one_chip(attempts: Attempts) -> None:
    """The product accepts both; the chip was open when it got its secret, and measures its firmware."""
    order = attempts.order("x509", "hmac-sha256", level="key")
    unlocked = attempts.line.board(locked=False)
    certified = replace(unlocked, attester=x509_of(attempts).attester(unlocked.chip_id))
    attempts.refused(order, certified, unlocked.request, "level_insufficient")


def x509_of(attempts: Attempts) -> X509Vendor:
    vendor = attempts.vendor_of(attempts.line.board("x509"))
    assert isinstance(vendor, X509Vendor)
    return vendor


@pytest.mark.parametrize(
    "name",
    ["HMAC-SHA256", "hmac-sha256 ", " hmac-sha256", "hmac-sha256\x00", "hmac_sha256", "hmac-sha-256"],
)
def test_a_method_name_that_is_nearly_one(
    attempts: Attempts, order: str, board: PaperBoard, name: str
) -> None:
    attempts.refused(order, board, changed(board, method=name))


def test_a_method_name_that_only_looks_like_one(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """A hyphen that does not break, full-width letters, and an e with an accent of its own."""
    for name in ("hmac\u2011sha256", "ｈｍａｃ-sha256", "none\u0301"):
        session = attempts.line.pc1.open(order, board.chip_id)
        sent = changed(board, method=name)(session.challenge)
        attempts.refused_in(session, order, board.chip_id, sent)
    attempts.line.pc1.certify(order, board)


@pytest.mark.parametrize("name", ["", "h" * 33, "h" * 65, "é" * 65], ids=["none", "33", "65", "65 of 2"])
def test_a_method_name_out_of_its_bounds(
    attempts: Attempts, order: str, board: PaperBoard, name: str
) -> None:
    attempts.refused(order, board, changed(board, method=name), "request_malformed")


def test_a_method_name_that_is_no_text(attempts: Attempts, order: str, board: PaperBoard) -> None:
    session = attempts.line.pc1.open(order, board.chip_id)
    csr, sent = board.request(session.challenge)
    message = pb.SignCsrRequest(session=session.session, csr_der=csr, evidence=sent).SerializeToString()
    wrong = message.replace(b"hmac-sha256", b"hmac-sha25\xff")
    assert wrong != message
    call = attempts.line.pc1.raw("/birthmark.v1.SigningService/SignCsr")
    attempts.line.refused("request_malformed", lambda: call(wrong))
    assert attempts.line.pc1.sign(session, csr, sent).certificate_der


# Evidence inside the CSR


def inside(board: PaperBoard, challenge: bytes, *more: bytes, statements: int = 1) -> bytes:
    """A CSR with a TPM's evidence inside, and more attributes beside it."""
    parts = Parts.of(board.csr())
    rest = parts.info(*more)
    made = attester_of(board).attest(board.transcript(challenge, rest), parts.signed(board.key, rest))
    attest, signature, public, chain = cbor2.loads(made)
    octets = (csr_attestation.der(0x04, part) for part in (attest, signature, public))
    one = csr_attestation.statement(
        csr_attestation.TPM_CERTIFY, csr_attestation.der(csr_attestation.SEQUENCE, *octets)
    )
    return parts.signed(board.key, parts.info(*more, attribute(bundle([one] * statements, chain))))


def test_evidence_in_the_csr_and_beside_it(attempts: Attempts, order: str) -> None:
    """Which of the two counts would be the station's choice."""
    board = attempts.line.board("tpm2", in_csr=True)

    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        sent.evidence = board.evidence_for(challenge, csr).evidence
        return csr, sent

    attempts.refused(order, board, forged)


def test_the_evidence_attribute_twice(attempts: Attempts, order: str) -> None:
    board = attempts.line.board("tpm2", in_csr=True)

    def forged(challenge: bytes) -> Any:
        spare = attribute(BUNDLES["tpm2"](board.evidence_for(challenge, board.csr()).evidence))
        return inside(board, challenge, spare), pb.Evidence(method="tpm2", claims=board.claims())

    attempts.refused(order, board, forged, "csr_rejected")


def test_two_statements_in_one_attribute(attempts: Attempts, order: str) -> None:
    board = attempts.line.board("tpm2", in_csr=True)

    def forged(challenge: bytes) -> Any:
        return inside(board, challenge, statements=2), pb.Evidence(method="tpm2", claims=board.claims())

    attempts.refused(order, board, forged, "csr_rejected")


def test_evidence_put_into_the_csr_by_the_station(attempts: Attempts, order: str) -> None:
    """The attribute is right; the board did not sign it."""
    board = attempts.line.board("tpm2", in_csr=True)
    stranger = board.twin()

    def forged(challenge: bytes) -> Any:
        csr, sent = board.request(challenge)
        info, _, _ = csr_attestation.split(csr)
        return Parts.of(board.csr()).signed(stranger.key, info), sent

    attempts.refused(order, board, forged, "csr_rejected")


def test_evidence_in_the_csr_under_another_methods_name(attempts: Attempts, order: str) -> None:
    board = attempts.line.board("tpm2", in_csr=True)
    attempts.refused(order, board, changed(board, method="x509"))


def test_evidence_in_the_csr_while_none_is_named(attempts: Attempts, order: str) -> None:
    board = attempts.line.board("tpm2", in_csr=True)
    attempts.refused(order, board, changed(board, method="none"))


def test_evidence_in_the_csr_of_a_method_that_the_product_does_not_list(
    attempts: Attempts, board: PaperBoard
) -> None:
    strict = attempts.order("hmac-sha256", level="chip")
    token = PsaVendor().attester(board.chip_id)
    attempts.refused(strict, board, replace(board, attester=token, in_csr=True).request)


def test_evidence_beside_the_csr_over_what_is_inside_it(attempts: Attempts, order: str) -> None:
    """Evidence for the bare request, moved out of the CSR that it was in."""
    board = attempts.line.board("tpm2", in_csr=True)

    def forged(challenge: bytes) -> Any:
        csr = board.csr()
        rest = Parts.of(csr).info()
        made = attester_of(board).attest(board.transcript(challenge, rest), csr)
        return csr, evidence(board, made)

    attempts.refused(order, board, forged)


# What it is over: parts of two genuine boards


@pytest.mark.parametrize("method", ["hmac-sha256", "psa-token", "x509", "nrf91", "tpm2"])
def test_the_csr_of_another_genuine_board(attempts: Attempts, order: str, method: str) -> None:
    board, other = attempts.line.board(method), attempts.line.board(method)

    def forged(challenge: bytes) -> Any:
        return other.csr(), board.request(challenge)[1]

    attempts.refused(order, board, forged)


@pytest.mark.parametrize("method", ["hmac-sha256", "psa-token", "x509", "nrf91", "tpm2"])
def test_the_claims_of_another_genuine_board(attempts: Attempts, order: str, method: str) -> None:
    board = attempts.line.board(method)
    other = replace(board, locks={"secure_boot": False})
    attempts.refused(order, board, changed(board, claims=other.claims()))


@pytest.mark.parametrize("method", ["hmac-sha256", "psa-token", "x509", "nrf91", "tpm2"])
def test_the_session_of_another_genuine_board(attempts: Attempts, order: str, method: str) -> None:
    """Two boards are on the line: the evidence of each, over its own challenge, in the other's session."""
    board, other = attempts.line.board(method), attempts.line.board(method)
    theirs = attempts.line.pc1.open(order, other.chip_id)
    sent = other.request(theirs.challenge)
    attempts.refused(order, board, lambda _: sent)
    assert attempts.line.pc1.sign(theirs, *sent).certificate_der


@pytest.mark.parametrize("method", ["hmac-sha256", "psa-token", "x509", "nrf91", "tpm2"])
def test_the_chip_id_of_another_genuine_board(attempts: Attempts, order: str, method: str) -> None:
    """The board says another one's chip id, and proves itself with its own root of trust."""
    board, other = attempts.line.board(method), attempts.line.board(method)
    attempts.refused(order, board, replace(other, chip_id=board.chip_id).request)


def test_the_challenge_of_one_session_in_another_of_the_same_chip(
    attempts: Attempts, order: str, board: PaperBoard
) -> None:
    other = attempts.line.pc1.open(order, board.chip_id)
    session = attempts.line.pc1.open(order, board.chip_id)
    mixed = pb.OpenSessionResponse(session=session.session, challenge=other.challenge)
    attempts.refused_in(mixed, order, board.chip_id, board.request(mixed.challenge))
    assert attempts.line.pc1.sign(session, *board.request(session.challenge)).certificate_der


def test_two_sessions_cut_and_joined(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """Sealed sessions are one piece: half of one and half of another open nothing."""
    first, second = (attempts.line.pc1.open(order, board.chip_id) for _ in range(2))
    half = len(first.session) // 2
    joined = pb.OpenSessionResponse(session=first.session[:half] + second.session[half:])
    attempts.refused_in(joined, None, None, board.request(second.challenge), "session_unknown")
    assert attempts.line.pc1.sign(second, *board.request(second.challenge)).certificate_der


# Claims


def test_claims_with_a_lock_named_twice(attempts: Attempts, order: str, board: PaperBoard) -> None:
    lock = b"\x6bsecure_boot"
    twice = b"\x82\xa0\xa2" + lock + b"\xf4" + lock + b"\xf5"
    attempts.refused(order, board, changed(board, claims=twice), "request_malformed")


def test_claims_in_another_order(attempts: Attempts, order: str, board: PaperBoard) -> None:
    """The same content, in bytes that are not the ones it is over."""
    loose = cbor2.dumps([board.firmware, dict(sorted(board.locks.items(), reverse=True))])
    assert loose != board.claims()
    assert cbor2.loads(loose) == cbor2.loads(board.claims())
    attempts.refused(order, board, changed(board, claims=loose), "request_malformed")


def test_claims_of_indefinite_length(attempts: Attempts, order: str, board: PaperBoard) -> None:
    loose = b"\x9f" + board.claims()[1:] + b"\xff"
    assert cbor2.loads(loose) == cbor2.loads(board.claims())
    attempts.refused(order, board, changed(board, claims=loose), "request_malformed")


def test_bytes_after_the_claims(attempts: Attempts, order: str, board: PaperBoard) -> None:
    attempts.refused(order, board, changed(board, claims=board.claims() + b"\x00"), "request_malformed")


def test_no_claims(attempts: Attempts, order: str, board: PaperBoard) -> None:
    attempts.refused(order, board, changed(board, claims=b""), "request_malformed")


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param([{}, {}, {}], id="three items"),
        pytest.param([{}, {"secure_boot": 1}], id="a lock that is a number"),
        pytest.param([{"app": ["1.2.0", bytes(31)]}, {}], id="a short digest"),
        pytest.param([{"app": ["newest", bytes(32)]}, {}], id="a version that is none"),
        pytest.param([{f"app{number}": ["1.0", bytes(32)] for number in range(17)}, {}], id="17 components"),
        pytest.param([{}, {f"lock{number}": True for number in range(17)}], id="17 locks"),
        pytest.param([{"a b": ["1.0", bytes(32)]}, {}], id="a name with a space"),
    ],
)
def test_claims_that_are_none_though_the_chip_signed_them(
    attempts: Attempts, order: str, board: PaperBoard, claims: list[Any]
) -> None:
    said = replace(board, firmware=claims[0], locks=claims[1])

    def forged(challenge: bytes) -> Any:
        csr, sent = said.request(challenge)
        sent.claims = deterministic(claims)
        return csr, sent

    attempts.refused(order, board, forged, "request_malformed")


def test_claims_of_4097_bytes(attempts: Attempts, order: str, board: PaperBoard) -> None:
    attempts.refused(order, board, changed(board, claims=bytes(MAX_CLAIMS)), "request_malformed")
    other = attempts.line.board()
    attempts.refused(order, other, changed(other, claims=bytes(MAX_CLAIMS + 1)), "request_malformed")


# Sizes


@pytest.mark.parametrize("method", ["psa-token", "x509", "nrf91", "tpm2", "hmac-sha256"])
def test_evidence_of_the_largest_size_and_a_byte_more(attempts: Attempts, order: str, method: str) -> None:
    for size, code in ((MAX_EVIDENCE, "evidence_rejected"), (MAX_EVIDENCE + 1, "request_malformed")):
        board = attempts.line.board(method)
        attempts.refused(order, board, changed(board, evidence=b"\x81" * size), code)


@pytest.mark.parametrize("method", ["psa-token", "x509", "nrf91", "tpm2", "hmac-sha256"])
def test_empty_evidence(attempts: Attempts, order: str, method: str) -> None:
    board = attempts.line.board(method)
    attempts.refused(order, board, changed(board, evidence=b""))


def test_everything_too_large(attempts: Attempts, order: str, board: PaperBoard) -> None:
    session = attempts.line.pc1.open(order, board.chip_id)
    large = pb.Evidence(method="m" * 1000, claims=bytes(100_000), evidence=bytes(100_000))
    attempts.refused_in(session, order, board.chip_id, (bytes(100_000), large), "request_malformed")
    long = pb.OpenSessionResponse(session=bytes(MAX_SESSION + 1))
    attempts.refused_in(long, None, None, board.request(session.challenge), "request_malformed")
    sent = (board.csr() + bytes(MAX_CSR), board.request(session.challenge)[1])
    attempts.refused_in(session, order, board.chip_id, sent, "csr_rejected")
    assert attempts.line.pc1.sign(session, *board.request(session.challenge)).certificate_der


def test_everything_empty(attempts: Attempts) -> None:
    attempts.refused_in(pb.OpenSessionResponse(), None, None, (b"", pb.Evidence()), "request_malformed")


# Product and order


def test_an_identity_that_was_imported_for_another_product(attempts: Attempts) -> None:
    """The modem is one of the company's, for another product: here nobody trusts it."""
    vendor_of = attempts.line.silicon_of("nrf91").vendor
    section = vendor_of.product_section()
    methods = ["nrf91", "hmac-sha256"]
    attempts.line.installation.add_product(product_toml("stranger", methods=methods, sections=[section]))
    elsewhere = attempts.line.open_order(product="stranger", level="chip")
    modem, board = attempts.line.board("nrf91"), attempts.line.board()
    attempts.line.refused("chip_unknown", lambda: attempts.line.pc1.open(elsewhere, modem.chip_id))
    assert isinstance(modem.attester, Nrf91Attester)
    attempts.refused(elsewhere, board, replace(board, attester=modem.attester).request)
    attempts.line.pc1.certify(attempts.order("nrf91"), modem)


def test_evidence_that_only_a_newer_revision_of_the_product_accepts(attempts: Attempts) -> None:
    vendor = X509Vendor()
    installation = attempts.line.installation
    installation.add_product(product_toml("revised", methods=["hmac-sha256"]))
    older = attempts.line.open_order(product="revised", level="chip")
    installation.add_product(
        product_toml(
            "revised", methods=["hmac-sha256", "x509"], sections=[vendor.product_section()], chips="listed"
        )
    )
    newer = attempts.line.open_order(product="revised", level="chip")
    board, other = attempts.line.board(), attempts.line.board()
    installation.import_chips(newer, [other.chip_id])
    certified = replace(board, attester=vendor.attester(board.chip_id))
    attempts.refused(older, board, certified.request)
    attempts.line.pc1.certify(newer, replace(other, attester=vendor.attester(other.chip_id)))


def test_a_chip_that_is_not_on_the_orders_list(attempts: Attempts) -> None:
    """Whatever its vendor certifies: the company bought others."""
    vendor = x509_of(attempts)
    text = product_toml("listed", methods=["x509"], sections=[vendor.product_section()])
    attempts.line.installation.add_product(text.replace("[evidence]\n", '[evidence]\nchips = "listed"\n', 1))
    order = attempts.line.open_order(product="listed", level="key")
    board, bought = attempts.line.board("x509"), attempts.line.board("x509")
    attempts.line.installation.import_chips(order, [bought.chip_id])
    attempts.line.refused("chip_unknown", lambda: attempts.line.pc1.open(order, board.chip_id))
    attempts.refused(order, bought, board.request)


def test_a_chip_on_the_list_of_another_order(attempts: Attempts) -> None:
    vendor = x509_of(attempts)
    text = product_toml("listed-2", methods=["x509"], sections=[vendor.product_section()])
    attempts.line.installation.add_product(text.replace("[evidence]\n", '[evidence]\nchips = "listed"\n', 1))
    order, other = (attempts.line.open_order(product="listed-2", level="key") for _ in range(2))
    board = attempts.line.board("x509")
    attempts.line.installation.import_chips(other, [board.chip_id])
    attempts.line.refused("chip_unknown", lambda: attempts.line.pc1.open(order, board.chip_id))
    attempts.line.pc1.certify(other, board)


def test_the_products_minimum_where_the_orders_is_lower(attempts: Attempts, board: PaperBoard) -> None:
    product = attempts.line.product("hmac-sha256", minimum_firmware={"app": "2.0"})
    order = attempts.line.open_order(product=product, minimum_firmware={"app": "1.0"})
    newer = replace(board, firmware={"app": ["2.0.0", bytes(32)]})
    attempts.refused(order, newer, board.request, "firmware_too_old")


def test_a_second_certificate_by_another_method(attempts: Attempts, order: str) -> None:
    """One chip, known by its secret and by its certificate: it is one chip."""
    board = attempts.line.board()
    certified = replace(board.twin(), attester=x509_of(attempts).attester(board.chip_id))
    attempts.line.pc1.certify(order, board)
    attempts.refused(order, certified, certified.request, "chip_already_certified", answered=False)


def test_two_methods_of_one_chip_racing(attempts: Attempts) -> None:
    line = attempts.line
    for _ in range(3):
        order, board = attempts.order(*ALL, level="chip"), line.board()
        certified = replace(board.twin(), attester=x509_of(attempts).attester(board.chip_id))
        requests = []
        for station, one in ((line.pc1, board), (line.pc2, certified)):
            session = station.open(order, one.chip_id)
            requests.append((station, session, *one.request(session.challenge)))
        with ThreadPoolExecutor(2) as pool:
            codes = list(pool.map(lambda call: code_of(partial(call[0].sign, *call[1:])), requests))
        assert sorted(codes) == ["", "chip_already_certified"]
        assert line.counts(order).issued == 1


def test_the_record_keeps_the_evidence_that_was_first(attempts: Attempts, order: str) -> None:
    """The same key once more with weaker evidence, or with better: the ledger says what was proved when."""
    board = attempts.line.board(locked=False)
    better = replace(board, attester=x509_of(attempts).attester(board.chip_id))
    _, first = attempts.line.pc1.certify(order, board)
    _, again = attempts.line.pc2.certify(order, better)
    assert again.certificate_der == first.certificate_der
    assert again.ledger_index == first.ledger_index
    entry = attempts.issued(again)
    assert (entry["method"], entry["level"]) == ("hmac-sha256", "chip")


def test_one_key_for_two_chips_of_two_methods(attempts: Attempts, order: str) -> None:
    board, modem = attempts.line.board(), attempts.line.board("nrf91")
    attempts.line.pc1.certify(order, board)
    shared = replace(modem, key=board.key)
    attempts.refused(order, modem, shared.request, "key_already_certified")


def test_one_key_for_two_chips_at_once(attempts: Attempts) -> None:
    line = attempts.line
    for _ in range(3):
        order, first, second = attempts.order(*ALL, level="chip"), line.board(), line.board("nrf91")
        requests = []
        for station, one in ((line.pc1, first), (line.pc2, replace(second, key=first.key))):
            session = station.open(order, one.chip_id)
            requests.append((station, session, *one.request(session.challenge)))
        with ThreadPoolExecutor(2) as pool:
            codes = list(pool.map(lambda call: code_of(partial(call[0].sign, *call[1:])), requests))
        assert sorted(codes) == ["", "key_already_certified"]
        assert line.counts(order).issued == 1


def test_a_secret_that_signs_for_a_chip_known_by_its_certificate_alone(
    attempts: Attempts, order: str
) -> None:
    """Its chip id was never personalized, and a key for it could be derived all the same."""
    certified = attempts.line.board("x509")
    guessed = replace(certified, attester=HmacAttester(bytes(32)))
    attempts.refused(order, certified, guessed.request)


def test_an_auditor_finds_nothing_after_the_attacks_on_methods(attempts: Attempts) -> None:
    attempts.line.verify()
