from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from boards import keys
from boards.attesters.tpm2 import ATTRIBUTES, BORN_HERE, Tpm2Attester, Tpm2Vendor, public_area
from signerd.core.anchors import Anchor
from signerd.core.evidence import METHODS
from signerd.core.evidence.chip_rules import ChipIdRule
from signerd.core.evidence.claims import Claims
from signerd.core.evidence.method import EvidenceError, IdentityKey, Proved, Request, Trust
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.evidence.tpm2 import Tpm2
from signerd.core.names import Level

CHIP = "TPM-0001"
TRANSCRIPT = b"a transcript"
BOARD_KEYS = {key_type: keys.make_key(key_type) for key_type in ("p256", "p384", "rsa2048")}
CERTIFIED = Tpm2Vendor()
IMPORTED = Tpm2Vendor(certified=False)
PARTS = ("attest", "signature", "public", "chain")


def identity_of(attester: Tpm2Attester) -> IdentityKey:
    line = replace(attester, chain=()).identity()
    assert line is not None
    key = load_pem_public_key(line["public_key"].encode())
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return IdentityKey(bytes.fromhex(line["key_id"]), spki)


@dataclass(frozen=True, slots=True)
class Case:
    """Evidence, what it is over, and what is known beforehand."""

    request: Request
    evidence: bytes
    trust: Trust

    def verify(self) -> Proved:
        return Tpm2().verify(self.request, self.evidence, self.trust)

    def parts(self) -> list[Any]:
        items: list[Any] = cbor2.loads(self.evidence)
        return items

    def with_parts(self, items: list[Any]) -> Case:
        return replace(self, evidence=cbor2.dumps(items, canonical=True))


def make_case(vendor: Tpm2Vendor = CERTIFIED, key_type: str = "p256", **wrong: Any) -> Case:
    """A genuine one, but for what is wrong with its TPM."""
    attester = vendor.attester(CHIP, **wrong)
    board_key = BOARD_KEYS[key_type]
    csr = keys.make_csr(board_key, CHIP)
    section = tomllib.loads(vendor.product_section())["evidence"]
    trust = Trust(
        personalized=False,
        locked=False,
        listed=False,
        identity=None if vendor.certified else identity_of(vendor.attester(CHIP)),
        rules=EvidenceRules.model_validate({"methods": ["tpm2"], **section}),
    )
    request = Request(
        chip_id=CHIP,
        csr=csr,
        spki=keys.public_der(board_key),
        claims=Claims({}, {}),
        transcript=TRANSCRIPT,
        now=datetime.now(UTC),
    )
    return Case(request, attester.attest(TRANSCRIPT, csr), trust)


@pytest.fixture(scope="module", params=["certified", "imported"])
def vendor(request: pytest.FixtureRequest) -> Tpm2Vendor:
    return CERTIFIED if request.param == "certified" else IMPORTED


COMMON_NAME = ChipIdRule.model_validate({"from": "subject", "attribute": "CN"})


def refused(case: Case, match: str | None = None) -> None:
    with pytest.raises(EvidenceError, match=match):
        case.verify()


def test_the_method_is_known() -> None:
    assert isinstance(METHODS["tpm2"], Tpm2)


@pytest.mark.parametrize("key_type", BOARD_KEYS)
def test_a_key_that_was_born_in_the_tpm_reaches_key(vendor: Tpm2Vendor, key_type: str) -> None:
    proved = make_case(vendor, key_type).verify()
    assert proved.level is Level.KEY
    assert proved.measured == {}
    identity = identity_of(vendor.attester(CHIP))
    assert proved.attester == identity.spki
    assert Anchor.of_key(identity.spki) in proved.anchors


@pytest.mark.parametrize("certified", [True, False])
@pytest.mark.parametrize(
    ("ak", "scheme"), [("p256", "ecdsa"), ("p384", "ecdsa"), ("rsa2048", "rsassa"), ("rsa2048", "rsapss")]
)
def test_attestation_keys_of_each_kind(ak: str, scheme: Any, certified: bool) -> None:
    own = Tpm2Vendor(certified=certified, key_type=ak, scheme=scheme)
    assert make_case(own).verify().level is Level.KEY
    for used in ("sha256", "sha384", "sha512"):
        assert make_case(own, hash=used).verify().level is Level.KEY
    refused(make_case(own, hash="sha1"), "hash")
    refused(make_case(own, signed_by=keys.make_key(ak)), "did not sign")
    # A key of the other kind: its scheme is not one of the attestation key's.
    other = keys.make_key("rsa2048" if scheme == "ecdsa" else "p256")
    case, crossed = make_case(own), replace(own.attester(CHIP), key=other, chain=())
    if scheme == "ecdsa":
        crossed = replace(crossed, scheme="rsassa")
    signature = cbor2.loads(crossed.attest(TRANSCRIPT, case.request.csr))[1]
    refused(case.with_parts([*case.parts()[:1], signature, *case.parts()[2:]]), "^the signature's scheme")


@pytest.mark.parametrize("name_hash", ["sha384", "sha512"])
def test_names_of_other_hashes(name_hash: Any) -> None:
    assert make_case(Tpm2Vendor(name_hash=name_hash)).verify().level is Level.KEY


@pytest.mark.parametrize("attribute", BORN_HERE)
def test_each_attribute_that_a_born_key_has(vendor: Tpm2Vendor, attribute: str) -> None:
    refused(make_case(vendor, cleared=(attribute,)), "lacks")


@pytest.mark.parametrize("attribute", ["restricted", "decrypt", "x509sign", "encryptedDuplication"])
@pytest.mark.parametrize("key_type", ["p256", "rsa2048"])
def test_each_attribute_that_a_signing_key_must_not_have(
    vendor: Tpm2Vendor, attribute: str, key_type: str
) -> None:
    refused(make_case(vendor, key_type, also_set=(attribute,)), "the key has")


@pytest.mark.parametrize("attribute", ["stClear", "adminWithPolicy", "noDA"])
def test_each_attribute_that_is_the_users_choice(vendor: Tpm2Vendor, attribute: str) -> None:
    assert make_case(vendor, also_set=(attribute,)).verify().level is Level.KEY


def test_every_attribute_is_demanded_refused_or_the_users_choice() -> None:
    named = {*BORN_HERE, "restricted", "decrypt", "x509sign", "encryptedDuplication"}
    assert named | {"stClear", "adminWithPolicy", "noDA"} == set(ATTRIBUTES)


DIGEST = hashlib.sha256(TRANSCRIPT).digest()
OTHER_KEY = keys.public_der(keys.make_key("p256"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"reserved": 1},
        {"public_key": OTHER_KEY},
        {"name": b"\x00\x0b" + bytes(32)},
        {"name": b"\x00\x04" + bytes(20)},
        {"qualified_name": b"\x00\x0c" + bytes(48)},
        {"extra_data": hashlib.sha256(b"another transcript").digest()},
        {"extra_data": TRANSCRIPT},
        {"extra_data": DIGEST + b"\x00"},
        {"extra_data": hashlib.sha384(TRANSCRIPT).digest()},
        {"extra_data": hashlib.sha1(TRANSCRIPT).digest()},
        {"extra_data_bytes": 31},
        {"extra_data_bytes": 16},
        {"extra_data_bytes": 0},
        {"magic": 0xFF544346},
        {"magic": 0x474354FF},
        {"kind": "quote"},
        {"kind": "creation"},
        {"kind": "nv"},
        {"hash": "sha1"},
        {"signed_by": keys.make_key("p256")},
    ],
)
def test_one_thing_wrong_with_the_evidence(vendor: Tpm2Vendor, wrong: dict[str, Any]) -> None:
    make_case(vendor).verify()
    refused(make_case(vendor, **wrong))


@pytest.mark.parametrize(
    "wrong", ["none", "other root", "expired", "other chip", "no purpose", "any purpose", "without issuer"]
)
def test_one_thing_wrong_with_the_certificate(wrong: str) -> None:
    make_case().verify()
    refused(make_case(certificate=wrong))


@pytest.mark.parametrize(
    "change",
    [
        {"transcript": b"another transcript"},
        {"spki": OTHER_KEY},
    ],
)
def test_evidence_is_over_one_request(vendor: Tpm2Vendor, change: dict[str, Any]) -> None:
    case = make_case(vendor)
    case.verify()
    refused(replace(case, request=replace(case.request, **change)))


def test_a_certificate_is_of_one_chip_and_of_its_time() -> None:
    case = make_case()
    case.verify()
    refused(replace(case, request=replace(case.request, chip_id="TPM-0002")), "another chip")
    later = case.request.now + timedelta(days=4000)
    refused(replace(case, request=replace(case.request, now=later)), "expired")


def test_the_attribute_of_the_chip_id_is_the_products_choice() -> None:
    case = make_case()
    rules = case.trust.rules.tpm2.model_copy(update={"chip_id": COMMON_NAME})
    trust = replace(case.trust, rules=case.trust.rules.model_copy(update={"tpm2": rules}))
    refused(replace(case, trust=trust), "chip id")  # the CN is "attestation key"


# Whose AK: the product decides.


def test_an_imported_key_needs_no_chain_and_gets_none() -> None:
    case, chain = make_case(IMPORTED), make_case().parts()[3]
    case.verify()
    refused(case.with_parts([*case.parts()[:3], chain]), "no roots")
    refused(replace(case, trust=replace(case.trust, identity=None)), "imported")


def test_leaving_the_chain_out_is_no_way_to_an_imported_key() -> None:
    case = make_case()
    trust = replace(case.trust, identity=identity_of(CERTIFIED.attester(CHIP)))
    replace(case, trust=trust).verify()
    without = case.with_parts([*case.parts()[:3], []])
    refused(replace(without, trust=trust))


def test_a_certified_key_must_be_the_one_that_was_imported_as_well() -> None:
    case = make_case()
    own = identity_of(CERTIFIED.attester(CHIP))
    other = identity_of(CERTIFIED.attester("TPM-0002"))
    replace(case, trust=replace(case.trust, identity=own)).verify()
    refused(replace(case, trust=replace(case.trust, identity=other)), "another attestation key")


def test_another_imported_key_did_not_sign() -> None:
    case = make_case(IMPORTED)
    own = case.trust.identity
    assert own is not None
    other = identity_of(IMPORTED.attester("TPM-0002"))
    refused(replace(case, trust=replace(case.trust, identity=other)), "did not sign")
    sha384 = replace(own, key_id=b"\x00\x0c" + bytes(48))
    refused(replace(case, trust=replace(case.trust, identity=sha384)), "qualifiedSigner")


@pytest.mark.parametrize(
    "weak",
    [
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ec.derive_private_key(5, ec.SECP256R1()),
        rsa.generate_private_key(65537, 1024),
        rsa.generate_private_key(3, 2048),
    ],
)
def test_attestation_keys_that_are_not_accepted(weak: keys.PrivateKey) -> None:
    case = make_case(IMPORTED)
    assert case.trust.identity is not None
    identity = replace(case.trust.identity, spki=keys.public_der(weak))
    refused(replace(case, trust=replace(case.trust, identity=identity)), "not accepted")


def test_an_imported_key_that_is_none() -> None:
    case = make_case(IMPORTED)
    assert case.trust.identity is not None
    for spki in (b"", b"\x30\x00", case.trust.identity.spki[:-1]):
        identity = replace(case.trust.identity, spki=spki)
        refused(replace(case, trust=replace(case.trust, identity=identity)), "not accepted")


# Swapped parts: each of them is genuine, of another chip or key.


@pytest.mark.parametrize("part", range(4))
def test_no_part_of_another_tpms_evidence_fits(part: int) -> None:
    case = make_case()
    request = case.request
    other_csr = keys.make_csr(keys.make_key("p256"), CHIP)
    other = cbor2.loads(CERTIFIED.attester("TPM-0002").attest(TRANSCRIPT, other_csr))
    items = case.parts()
    items[part] = other[part]
    case.verify()
    refused(replace(case.with_parts(items), request=request))


def test_two_public_areas_with_one_key_have_two_names() -> None:
    # The same key with other attributes is another object (Part 1, "Names").
    case = make_case(cleared=("sensitiveDataOrigin",))
    items = case.parts()
    items[2] = public_area(case.request.spki, sum(ATTRIBUTES[name] for name in BORN_HERE))
    refused(case.with_parts(items), "name")


# Encoding.


@pytest.mark.parametrize(
    "change",
    [
        lambda items: items[:3],
        lambda items: [*items, b""],
        lambda items: [*items[:3], items[3][0]],
        lambda items: [*items[:3], [1]],
        lambda items: [*items[:3], [True]],
        lambda items: [*items[:3], None],
        lambda items: [items[0].hex(), *items[1:]],
        lambda items: [None, *items[1:]],
        lambda items: dict(zip(PARTS, items, strict=True)),
        lambda items: items[0],
        lambda items: [items],
        lambda items: [*items[:3], [*items[3], items[3][0]]],
        lambda items: [*items[:3], items[3][::-1]],
        lambda items: [*items[:3], items[3] * 4],
    ],
)
def test_items_of_another_form(change: Any) -> None:
    case = make_case()
    assert case.with_parts(case.parts()).verify().level is Level.KEY
    refused(case.with_parts(change(case.parts())))


def test_encodings_that_are_not_the_one() -> None:
    evidence = make_case().evidence
    assert evidence[:1] == b"\x84"
    indefinite = b"\x9f" + evidence[1:] + b"\xff"
    for changed in (b"", evidence + b"\x00", b"\x98\x04" + evidence[1:], b"\xc1" + evidence, indefinite):
        refused(replace(make_case(), evidence=changed))
    refused(replace(make_case(), evidence=evidence + bytes(20_000)))


@pytest.mark.parametrize("part", range(3))
def test_a_part_that_is_cut_or_goes_on(vendor: Tpm2Vendor, part: int) -> None:
    case = make_case(vendor)
    genuine = case.parts()[part]
    for changed in (genuine + b"\x00", *(genuine[:size] for size in range(len(genuine)))):
        items = case.parts()
        items[part] = changed
        refused(case.with_parts(items))


@pytest.mark.parametrize("key_type", ["p256", "rsa2048"])
def test_every_changed_byte_is_refused(vendor: Tpm2Vendor, key_type: str) -> None:
    # Also clock, counters and firmware version: they say nothing here, and they are signed.
    case = make_case(vendor, key_type)
    case.verify()
    for position in range(len(case.evidence)):
        for flipped in (0x01, 0x80, 0xFF):
            changed = bytearray(case.evidence)
            changed[position] ^= flipped
            refused(replace(case, evidence=bytes(changed)))


GENUINE = {False: make_case(IMPORTED), True: make_case()}


@given(st.binary(max_size=400), st.booleans(), st.integers(0, 400), st.integers(0, 40))
def test_any_bytes_are_refused_with_the_domain_error(
    data: bytes, certified: bool, at: int, dropped: int
) -> None:
    case = GENUINE[certified]
    spliced = case.evidence[:at] + data + case.evidence[at + dropped :]
    for evidence in (data, spliced):
        if evidence != case.evidence:
            refused(replace(case, evidence=evidence))


@given(
    st.lists(st.binary(max_size=200), min_size=3, max_size=3), st.lists(st.binary(max_size=99), max_size=7)
)
def test_any_parts_are_refused_with_the_domain_error(parts: list[bytes], chain: list[bytes]) -> None:
    for case in GENUINE.values():
        refused(case.with_parts([*parts, chain]))
