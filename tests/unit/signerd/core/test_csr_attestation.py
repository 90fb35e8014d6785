from __future__ import annotations

import hashlib
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from boards import formats, keys
from boards.attesters import csr_attestation as attribute
from boards.attesters.csr_attestation import (
    CMW,
    IA5_STRING,
    OBJECT,
    OCTET_STRING,
    SEQUENCE,
    SET,
    TPM_CERTIFY,
    Parts,
    bundle,
    der,
    statement,
    wrap,
)
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Vendor
from signerd.core.csr import MAX_CSR_BYTES, VerifiedCsr, check_csr
from signerd.core.csr_attestation import CsrAttestation, CsrAttestationError, take_attestation
from signerd.core.der import DerError, elements
from signerd.core.evidence import METHODS
from signerd.core.evidence.method import (
    EvidenceError,
    EvidenceSubmission,
    IdentityKey,
    Proved,
    Request,
    Trust,
    VerifiedEvidence,
    Verifier,
)
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.evidence.transcript import verify_evidence
from signerd.core.names import KeyType, Level, MacQuestion
from signerd.errors import Code, Refused

CHIP = "CHIP-000001"
CHALLENGE = bytes([9]) * 32
CLAIMS = formats.claims({}, {})
KEY = ec.generate_private_key(ec.SECP256R1())
PLAIN = keys.make_csr(KEY, CHIP)
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, CHIP)])
EVIDENCE = cbor2.dumps([b"attest", b"signature", b"public", [der(SEQUENCE), der(SEQUENCE, b"\x05\x00")]])
TOKEN = b"\xd2\x84 not read here"
TPM_STATEMENT = der(SEQUENCE, *(der(OCTET_STRING, part) for part in (b"a", b"s", b"p")))
GOOD_STATEMENT = statement(TPM_CERTIFY, TPM_STATEMENT)
CERTIFICATE = der(SEQUENCE, b"\x05\x00")


def check(csr: bytes) -> VerifiedCsr:
    return check_csr(csr, accepted=tuple(KeyType))


def refusal(csr: bytes) -> str:
    """Why a CSR was refused, for signerd's log."""
    with pytest.raises(Refused) as caught:
        check(csr)
    assert caught.value.code is Code.CSR_REJECTED
    return str(caught.value.__cause__ or caught.value)


def carrying(*attributes: bytes, csr: bytes = PLAIN, key: keys.PrivateKey = KEY) -> bytes:
    """The CSR with further attributes, signed."""
    parts = Parts.of(csr)
    return parts.signed(key, parts.info(*attributes))


def holding(*values: bytes) -> bytes:
    """The CSR with these values of id-aa-attestation."""
    return carrying(attribute.attribute(*values))


def test_a_csr_without_it_is_digested_whole() -> None:
    csr = check(PLAIN)
    assert csr.attestation is None
    assert csr.evidence_digest == csr.sha256 == hashlib.sha256(PLAIN).digest()


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048"])
def test_a_tpms_statement_becomes_evidence_of_tpm2(key_type: str) -> None:
    key = keys.make_key(key_type)
    plain = keys.make_csr(key, CHIP)
    seen: list[bytes] = []

    def attest(info: bytes) -> bytes:
        seen.append(info)
        return EVIDENCE

    data = wrap(key, plain, "tpm2", attest)
    csr = check(data)
    assert csr.attestation == CsrAttestation("tpm2", EVIDENCE)
    assert csr.der == data
    assert csr.sha256 == hashlib.sha256(data).digest()
    # What is left is the CertificationRequestInfo of the CSR that never had the attribute.
    request = x509.load_der_x509_csr(plain)
    assert seen == [request.tbs_certrequest_bytes]
    assert csr.evidence_digest == hashlib.sha256(request.tbs_certrequest_bytes).digest()


def test_null_parameters_are_tolerated_here_too() -> None:
    plain = keys.make_csr(KEY, CHIP, null_parameters=True)
    assert check(wrap(KEY, plain, "tpm2", lambda _info: EVIDENCE)).attestation is not None


@pytest.mark.parametrize(
    "extension",
    [
        x509.SubjectAlternativeName([x509.DNSName("a.example")]),
        # Longer than the attestation's attribute, so that it comes behind it in the SET.
        x509.SubjectAlternativeName([x509.DNSName(f"{'a' * 60}.{number}.example") for number in range(20)]),
    ],
)
def test_other_attributes_stay_in_the_digest_and_in_order(extension: x509.ExtensionType) -> None:
    request = x509.CertificateSigningRequestBuilder().subject_name(NAME).add_extension(extension, False)
    signed = request.sign(KEY, SHA256())
    csr = check(wrap(KEY, signed.public_bytes(Encoding.DER), "tpm2", lambda _info: EVIDENCE))
    assert csr.evidence_digest == hashlib.sha256(signed.tbs_certrequest_bytes).digest()
    assert csr.attestation == CsrAttestation("tpm2", EVIDENCE)


def test_where_nothing_is_left_the_set_stays_empty() -> None:
    info = Parts.of(PLAIN).info()
    assert info.endswith(b"\xa0\x00")
    rest, found = take_attestation(Parts.of(PLAIN).info(attribute.attribute(bundle([GOOD_STATEMENT]))))
    assert rest == info
    assert found is not None


def test_a_tpm_needs_no_certificates() -> None:
    csr = check(holding(bundle([GOOD_STATEMENT])))
    assert csr.attestation == CsrAttestation("tpm2", cbor2.dumps([b"a", b"s", b"p", []]))


@pytest.mark.parametrize(
    "kind",
    [
        "application/eat+cwt",
        'application/eat+cwt; eat_profile="tag:psacertified.org,2023:psa#tfm"',
        'application/eat+cwt; eat_profile="tag:psacertified.org,2019:psa#legacy"',
        "application/psa-attestation-token",
        263,
        10003,
        10004,
    ],
)
@pytest.mark.parametrize("indicator", [(), (4,)])
def test_a_cmw_of_an_eat_becomes_evidence_of_psa_token(kind: str | int, indicator: tuple[int, ...]) -> None:
    csr = check(holding(attribute.cmw_bundle(TOKEN, kind, *indicator)))
    assert csr.attestation == CsrAttestation("psa-token", TOKEN)


def test_no_other_method_arrives_inside_a_csr() -> None:
    arriving = {check(holding(make(EVIDENCE))).attestation for make in attribute.BUNDLES.values()}
    methods = {one.method for one in arriving if one is not None}
    assert methods == {"tpm2", "psa-token"} <= set(METHODS)


def cmw(*items: object, tag: int = OCTET_STRING) -> bytes:
    return bundle([statement(CMW, der(tag, cbor2.dumps(list(items))))])


EAT = "application/eat+cwt"
HINT = der(IA5_STRING, b"verifier.example.com")
BINDS = der(0x80, b"\xff")  # bindsPublicKey [0] of revision 22
OTHER_FORMAT = der(0xA3, der(OBJECT, b"\x2a"), der(OCTET_STRING, b"c509"))

WRONG_VALUES = {
    "no statement": bundle([]),
    "two statements": bundle([GOOD_STATEMENT, GOOD_STATEMENT]),
    "a hint": bundle([statement(TPM_CERTIFY, TPM_STATEMENT, HINT)]),
    "bindsPublicKey": bundle([statement(TPM_CERTIFY, BINDS, TPM_STATEMENT)]),
    "no stmt": bundle([der(SEQUENCE, TPM_CERTIFY)]),
    "another type": bundle([statement(bytes.fromhex("06056781051402"), TPM_STATEMENT)]),
    "DICE's type": bundle([statement(bytes.fromhex("0606678105050401"), TPM_STATEMENT)]),
    "a type that is no OID": bundle([statement(der(OCTET_STRING, TPM_CERTIFY[2:]), TPM_STATEMENT)]),
    "a CMW's type": bundle([statement(CMW, TPM_STATEMENT)]),
    "empty certs": bundle([GOOD_STATEMENT], []),
    "a certificate of another format": bundle([GOOD_STATEMENT], [OTHER_FORMAT]),
    "a certificate that is none": bundle([GOOD_STATEMENT], [CERTIFICATE, der(OCTET_STRING, CERTIFICATE)]),
    "a third member": der(SEQUENCE, der(SEQUENCE, GOOD_STATEMENT), der(SEQUENCE, CERTIFICATE), der(SEQUENCE)),
    "statements in a SET": der(SEQUENCE, der(SET, GOOD_STATEMENT)),
    "a statement alone": GOOD_STATEMENT,
    "an empty bundle": der(SEQUENCE),
    "a text": der(0x0C, b"evidence"),
    "two TPM members": bundle([statement(TPM_CERTIFY, der(SEQUENCE, *[der(OCTET_STRING, b"a")] * 2))]),
    "four TPM members": bundle([statement(TPM_CERTIFY, der(SEQUENCE, *[der(OCTET_STRING, b"a")] * 4))]),
    "a TPM member of another type": bundle(
        [statement(TPM_CERTIFY, der(SEQUENCE, *[der(OCTET_STRING, b"a")] * 2, der(0x0C, b"a")))]
    ),
    "a constructed OCTET STRING": bundle(
        [statement(TPM_CERTIFY, der(SEQUENCE, *[der(OCTET_STRING, b"a")] * 2, der(0x24)))]
    ),
    "TPM members in a SET": bundle([statement(TPM_CERTIFY, der(SET, *[der(OCTET_STRING, b"a")] * 3))]),
    "a tag of two bytes": bundle([statement(TPM_CERTIFY, b"\x3f\x01\x00")]),
    "an indefinite length": bundle([statement(TPM_CERTIFY, b"\x30\x80" + TPM_STATEMENT[2:] + b"\x00\x00")]),
    "a long length": bundle([statement(TPM_CERTIFY, b"\x30\x81" + TPM_STATEMENT[1:])]),
    "a CMW with certs": bundle([statement(CMW, der(OCTET_STRING, cbor2.dumps([EAT, TOKEN])))], [CERTIFICATE]),
    "a CMW in JSON": bundle([statement(CMW, der(0x0C, b'["application/eat+cwt","0oQ"]'))]),
    "a CMW collection": bundle([statement(CMW, der(OCTET_STRING, cbor2.dumps({"a": [EAT, TOKEN]})))]),
    "a CMW as a tag": bundle(
        [statement(CMW, der(OCTET_STRING, cbor2.dumps(cbor2.CBORTag(1668547080, TOKEN))))]
    ),
    "a CMW that is cut": bundle([statement(CMW, der(OCTET_STRING, cbor2.dumps([EAT, TOKEN])[:-1]))]),
    "a CMW with bytes behind it": bundle(
        [statement(CMW, der(OCTET_STRING, cbor2.dumps([EAT, TOKEN]) + b"\x00"))]
    ),
    "an empty CMW": bundle([statement(CMW, der(OCTET_STRING))]),
    "an EAT in JSON": cmw("application/eat+jwt", TOKEN),
    "another profile": cmw('application/eat+cwt; eat_profile="http://arm.com/CCA-SSD/1.0.0"', TOKEN),
    "another content format": cmw(264, TOKEN),
    "a content format as a float": cmw(263.0, TOKEN),
    "a type that is a list": cmw([EAT], TOKEN),
    "a type in bytes": cmw(EAT.encode(), TOKEN),
    "a type that is null": cmw(None, TOKEN),
    "a token that is text": cmw(EAT, "token"),
    "an attestation result": cmw(EAT, TOKEN, 8),
    "evidence and an endorsement": cmw(EAT, TOKEN, 6),
    "indicator 0": cmw(EAT, TOKEN, 0),
    "a fourth item": cmw(EAT, TOKEN, 4, 4),
    "a type alone": cmw(EAT),
}


@pytest.mark.parametrize("value", WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_one_thing_wrong_in_the_value_and_the_csr_is_refused(value: bytes) -> None:
    check(holding(bundle([GOOD_STATEMENT])))
    assert refusal(holding(value))
    with pytest.raises(CsrAttestationError):
        take_attestation(Parts.of(PLAIN).info(attribute.attribute(value)))


def test_the_attribute_stands_once_with_one_value() -> None:
    value = bundle([GOOD_STATEMENT])
    one = attribute.attribute(value)
    check(carrying(one))
    other = attribute.attribute(attribute.cmw_bundle(TOKEN))
    wrong = (
        (one, one),
        (one, other),
        (attribute.attribute(value, attribute.cmw_bundle(TOKEN)),),
        (attribute.attribute(),),
        (der(SEQUENCE, attribute.ID_AA_ATTESTATION),),
        (der(SEQUENCE, attribute.ID_AA_ATTESTATION, der(SET, value), der(SET)),),
        (one, der(SEQUENCE)),
    )
    for attributes in wrong:
        assert refusal(carrying(*attributes))
        with pytest.raises(CsrAttestationError):
            take_attestation(Parts.of(PLAIN).info(*attributes))


def test_elements_have_tags_of_one_byte_and_fill_their_bytes() -> None:
    assert elements(b"\x1e\x01\x00\x05\x00") == [b"\x1e\x01\x00", b"\x05\x00"]
    for odd in (b"\x1f\x01\x00", b"\x3f\x01\x00", b"\x05", b"\x05\x01", b"\x05\x00\x05"):
        with pytest.raises(DerError):
            elements(odd)


def test_the_attributes_are_in_ders_order() -> None:
    extension = x509.SubjectAlternativeName([x509.DNSName("a.example")])
    request = x509.CertificateSigningRequestBuilder().subject_name(NAME).add_extension(extension, False)
    parts = Parts.of(request.sign(KEY, SHA256()).public_bytes(Encoding.DER))
    both = sorted((*parts.attributes, attribute.attribute(bundle([GOOD_STATEMENT]))))
    info = der(SEQUENCE, *parts.head, der(attribute.ATTRIBUTES, *both))
    take_attestation(info)
    check(parts.signed(KEY, info))
    info = der(SEQUENCE, *parts.head, der(attribute.ATTRIBUTES, *both[::-1]))
    with pytest.raises(CsrAttestationError, match="order"):
        take_attestation(info)
    assert refusal(parts.signed(KEY, info))


def test_an_extension_request_stands_once() -> None:
    extensions = [x509.SubjectAlternativeName([x509.DNSName(name)]) for name in ("a.example", "b.example")]
    requests = [
        x509.CertificateSigningRequestBuilder().subject_name(NAME).add_extension(extension, False)
        for extension in extensions
    ]
    first, second = (request.sign(KEY, SHA256()).public_bytes(Encoding.DER) for request in requests)
    check(first)
    assert refusal(carrying(*Parts.of(second).attributes, csr=first))


def test_the_bound_of_a_csr_holds_for_what_it_carries() -> None:
    large = der(SEQUENCE, *(der(OCTET_STRING, bytes(size)) for size in (2500, 2500, 2500)))
    data = holding(bundle([statement(TPM_CERTIFY, large)]))
    assert len(data) < MAX_CSR_BYTES
    check(data)
    larger = der(SEQUENCE, *(der(OCTET_STRING, bytes(size)) for size in (2500, 2500, 3500)))
    assert "not 1 to" in refusal(holding(bundle([statement(TPM_CERTIFY, larger)])))


def test_every_changed_bit_of_the_csr_is_refused() -> None:
    data = wrap(KEY, PLAIN, "tpm2", lambda _info: EVIDENCE)
    check(data)
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            with pytest.raises(Refused):
                check(bytes(changed))


@pytest.mark.parametrize("value", [attribute.tpm_bundle(EVIDENCE), attribute.cmw_bundle(TOKEN, EAT, 4)])
def test_every_changed_byte_is_refused_or_is_other_evidence(value: bytes) -> None:
    """A board may sign what it likes: no second writing of an attribute means the same."""
    info = Parts.of(PLAIN).info(attribute.attribute(value))
    rest, found = take_attestation(info)
    for position in range(len(info)):
        for pattern in (0x01, 0x20, 0x80, 0xFF):
            changed = bytearray(info)
            changed[position] ^= pattern
            try:
                other_rest, other = take_attestation(bytes(changed))
            except CsrAttestationError:
                continue
            assert (other_rest, other) != (rest, found)


@given(st.binary(max_size=400))
def test_any_bytes_give_the_domain_error(data: bytes) -> None:
    try:
        rest, found = take_attestation(data)
    except CsrAttestationError:
        return
    assert (rest, found) == (data, None)


@given(st.binary(max_size=200))
def test_any_value_gives_a_refusal(value: bytes) -> None:
    with pytest.raises(Refused):
        check(holding(value))


@given(
    st.sampled_from([TPM_CERTIFY, CMW]), st.binary(max_size=120), st.sampled_from([SEQUENCE, OCTET_STRING])
)
def test_any_statement_gives_a_refusal_or_that_method(kind: bytes, content: bytes, tag: int) -> None:
    try:
        csr = check(holding(bundle([statement(kind, der(tag, content))])))
    except Refused:
        return
    assert csr.attestation is not None
    assert csr.attestation.method in {"tpm2", "psa-token"}


# What becomes of it in step 4.


@dataclass
class Listening:
    """A method that takes any evidence and keeps what it was asked."""

    name: str
    asked: list[tuple[Request, bytes]] = field(default_factory=list)

    def verify(self, request: Request, evidence: bytes, trust: Trust) -> Proved:  # noqa: ARG002 (the port)
        self.asked.append((request, evidence))
        return Proved(Level.KEY)


async def no_mac(question: MacQuestion) -> bool:
    raise AssertionError(f"nothing asks for a MAC of {question.chip_id}")


RULES = EvidenceRules(methods=("tpm2", "nrf91", "none"))
TRUST = Trust(personalized=False, locked=False, listed=True, identity=None, rules=RULES)
NOTHING_BESIDE = EvidenceSubmission("tpm2", CLAIMS, b"")


async def verify(
    csr: VerifiedCsr,
    submission: EvidenceSubmission = NOTHING_BESIDE,
    *,
    methods: Mapping[str, Verifier] | None = None,
    trust: Trust = TRUST,
) -> VerifiedEvidence:
    return await verify_evidence(
        submission,
        methods=methods or {name: Listening(name) for name in METHODS},
        challenge=CHALLENGE,
        chip_id=CHIP,
        csr=csr,
        trust=trust,
        now=datetime.now(UTC),
        check_mac=no_mac,
    )


async def test_the_method_is_asked_for_what_was_inside_and_it_is_kept() -> None:
    listening = Listening("tpm2")
    data = wrap(KEY, PLAIN, "tpm2", lambda _info: EVIDENCE)
    verified = await verify(check(data), methods={"tpm2": listening})
    ((request, evidence),) = listening.asked
    assert evidence == EVIDENCE
    assert verified.evidence == EVIDENCE
    assert verified.method == "tpm2"
    assert request.csr == data
    info = Parts.of(PLAIN).info()
    assert request.transcript == formats.transcript(CHALLENGE, CHIP, info, {}, {})


async def test_evidence_beside_a_plain_csr_is_kept_as_it_was_sent() -> None:
    listening = Listening("tpm2")
    submission = replace(NOTHING_BESIDE, evidence=b"beside")
    verified = await verify(check(PLAIN), submission, methods={"tpm2": listening})
    ((request, evidence),) = listening.asked
    assert evidence == verified.evidence == b"beside"
    assert request.transcript == formats.transcript(CHALLENGE, CHIP, PLAIN, {}, {})


@pytest.mark.parametrize("beside", [b"\x00", EVIDENCE])
async def test_evidence_inside_and_beside_is_refused(beside: bytes) -> None:
    csr = check(wrap(KEY, PLAIN, "tpm2", lambda _info: EVIDENCE))
    await verify(csr)
    with pytest.raises(EvidenceError, match="beside"):
        await verify(csr, replace(NOTHING_BESIDE, evidence=beside))


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"tpm2"}))
async def test_another_method_than_that_inside_is_refused(method: str) -> None:
    csr = check(wrap(KEY, PLAIN, "tpm2", lambda _info: EVIDENCE))
    trust = replace(TRUST, rules=RULES.model_copy(update={"methods": METHODS}))
    await verify(csr, trust=trust)
    with pytest.raises(EvidenceError, match="inside the CSR is of method tpm2"):
        await verify(csr, replace(NOTHING_BESIDE, method=method), trust=trust)


async def test_a_method_that_the_product_does_not_accept_stays_refused() -> None:
    csr = check(holding(attribute.cmw_bundle(TOKEN)))
    with pytest.raises(EvidenceError, match="does not accept"):
        await verify(csr, replace(NOTHING_BESIDE, method="psa-token"))


# With a TPM, all of it.

VENDOR = Tpm2Vendor()
TPM = VENDOR.attester(CHIP)
TPM_RULES = EvidenceRules.model_validate(
    tomllib.loads(f'[evidence]\nmethods = ["tpm2"]\n{VENDOR.product_section()}')["evidence"]
)
TPM_TRUST = replace(TRUST, listed=False, rules=TPM_RULES)


def tpm_evidence(info: bytes) -> bytes:
    return TPM.attest(formats.transcript(CHALLENGE, CHIP, info, {}, {}), PLAIN)


async def test_a_tpms_evidence_holds_inside_the_csr() -> None:
    csr = check(wrap(KEY, PLAIN, "tpm2", tpm_evidence))
    verified = await verify(csr, methods=METHODS, trust=TPM_TRUST)
    assert verified.level is Level.KEY


async def test_a_psa_token_holds_inside_the_csr() -> None:
    vendor = PsaVendor()
    chip = vendor.attester(CHIP)
    line = chip.identity()
    assert line is not None
    key = load_pem_public_key(line["public_key"].encode())
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    section = f'[evidence]\nmethods = ["psa-token"]\n{vendor.product_section()}'
    rules = EvidenceRules.model_validate(tomllib.loads(section)["evidence"])
    trust = replace(TRUST, identity=IdentityKey(bytes.fromhex(line["key_id"]), spki), rules=rules)

    def attest(info: bytes) -> bytes:
        return chip.attest(formats.transcript(CHALLENGE, CHIP, info, {}, {}), PLAIN)

    csr = check(wrap(KEY, PLAIN, "psa-token", attest))
    submission = replace(NOTHING_BESIDE, method="psa-token")
    verified = await verify(csr, submission, methods=METHODS, trust=trust)
    assert verified.level is Level.KEY


async def test_evidence_over_the_whole_csr_does_not_hold_inside_one() -> None:
    csr = check(wrap(KEY, PLAIN, "tpm2", lambda _info: tpm_evidence(PLAIN)))
    with pytest.raises(EvidenceError):
        await verify(csr, methods=METHODS, trust=TPM_TRUST)
    # It is good evidence, in its place.
    beside = replace(NOTHING_BESIDE, evidence=tpm_evidence(PLAIN))
    await verify(check(PLAIN), beside, methods=METHODS, trust=TPM_TRUST)


async def test_evidence_taken_out_of_a_csr_does_not_hold_beside_one() -> None:
    evidence = tpm_evidence(Parts.of(PLAIN).info())
    await verify(check(wrap(KEY, PLAIN, "tpm2", lambda _info: evidence)), methods=METHODS, trust=TPM_TRUST)
    beside = replace(NOTHING_BESIDE, evidence=evidence)
    with pytest.raises(EvidenceError):
        await verify(check(PLAIN), beside, methods=METHODS, trust=TPM_TRUST)


async def test_evidence_moved_into_another_boards_csr_does_not_hold() -> None:
    other_key = ec.generate_private_key(ec.SECP256R1())
    other = keys.make_csr(other_key, CHIP)
    evidence = tpm_evidence(Parts.of(PLAIN).info())
    with pytest.raises(EvidenceError):
        await verify(
            check(wrap(other_key, other, "tpm2", lambda _info: evidence)), methods=METHODS, trust=TPM_TRUST
        )


async def test_any_other_attribute_of_the_csr_is_covered_by_the_evidence() -> None:
    extension = x509.SubjectAlternativeName([x509.DNSName(f"{secrets.token_hex(4)}.example")])
    request = x509.CertificateSigningRequestBuilder().subject_name(NAME).add_extension(extension, False)
    altered = request.sign(KEY, SHA256()).public_bytes(Encoding.DER)
    evidence = tpm_evidence(Parts.of(PLAIN).info())
    with pytest.raises(EvidenceError):
        await verify(
            check(wrap(KEY, altered, "tpm2", lambda _info: evidence)), methods=METHODS, trust=TPM_TRUST
        )
