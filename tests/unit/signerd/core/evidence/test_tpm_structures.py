from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from boards import keys
from boards.attesters import tpm2 as paper
from boards.attesters.tpm2 import ALGORITHMS, Tpm2Vendor, public_area, sized, u16, u32
from harness.rsa_keys import constant_rsa_key
from signerd.core.evidence.method import EvidenceError
from signerd.core.evidence.tpm_structures import Attribute, parse_attest, parse_public, parse_signature

KEYS = {key_type: keys.make_key(key_type) for key_type in ("p256", "p384", "rsa2048")}
NULL = u16(ALGORITHMS["null"])
NAME = paper.name_of(b"a public area")
BORN_HERE = paper.attributes()
P256 = keys.public_der(KEYS["p256"])
ECC_PUBLIC = public_area(P256, BORN_HERE)
RSA_PUBLIC = public_area(keys.public_der(KEYS["rsa2048"]), BORN_HERE)
ATTEST = Tpm2Vendor(certified=False).attester("T-1").certify(NAME, b"extra")
ECDSA = paper.sign(KEYS["p256"], b"message", "sha256", "ecdsa")
RSASSA = paper.sign(KEYS["rsa2048"], b"message", "sha384", "rsassa")
PUBLISHED = json.loads((Path(__file__).parents[4] / "vectors" / "tpm2" / "webauthn.json").read_text())
RESERVED = [bit for bit in range(32) if 1 << bit not in paper.ATTRIBUTES.values()]
GENUINE: list[tuple[Callable[[bytes], object], bytes]] = [
    (parse_attest, ATTEST),
    (parse_public, ECC_PUBLIC),
    (parse_public, RSA_PUBLIC),
    (parse_signature, ECDSA),
    (parse_signature, RSASSA),
]


def attest_of(
    *,
    head: bytes = u32(0xFF544347) + u16(0x8017),
    signer: bytes = sized(NAME),
    extra: bytes = sized(b"extra"),
    safe: bytes = b"\x01",
    name: bytes = sized(NAME),
    qualified_name: bytes = sized(NAME),
    end: bytes = b"",
) -> bytes:
    return head + signer + extra + bytes(16) + safe + bytes(8) + name + qualified_name + end


def test_an_attest_is_read() -> None:
    attest = parse_attest(ATTEST)
    assert attest.name == NAME
    assert attest.extra_data == b"extra"
    assert attest.qualified_signer[:2] == attest.qualified_name[:2] == u16(ALGORITHMS["sha256"])
    assert parse_attest(attest_of()).qualified_signer == NAME


def stable(value: object) -> str | None:
    """The same name in every run, also for keys that are made anew."""
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 8 else f"{len(value)} bytes"
    return None


@pytest.mark.parametrize("name_hash", ["sha256", "sha384", "sha512"])
def test_names_of_three_hashes_are_read(name_hash: paper.HashName) -> None:
    name = paper.name_of(b"", name_hash)
    assert parse_attest(attest_of(name=sized(name), qualified_name=sized(name))).name == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"head": u32(0xFF544348) + u16(0x8017)},
        {"head": u32(0) + u16(0x8017)},
        *(
            {"head": u32(0xFF544347) + u16(tag)}
            for tag in (0x8014, 0x8015, 0x8016, 0x8018, 0x8019, 0x801A, 0)
        ),
        {"signer": sized(b"")},
        {"signer": sized(bytes.fromhex("4000000b"))},  # a handle is a name too (10.5.3), but of no key
        {"name": sized(b"")},
        {"name": sized(NAME[:-1])},
        {"name": sized(NAME + b"\x00")},
        {"name": u16(len(NAME) + 1) + NAME},
        {"qualified_name": u16(len(NAME) + 1) + NAME},
        {"name": sized(u16(ALGORITHMS["sha1"]) + bytes(20))},
        {"name": sized(u16(ALGORITHMS["sha384"]) + bytes(32))},
        {"qualified_name": sized(u16(0x0027) + bytes(32))},  # SHA3-256
        {"extra": sized(bytes(67))},
        {"extra": u16(0xFFFF)},
        {"safe": b"\x02"},
        {"end": b"\x00"},
    ],
)
def test_one_change_and_it_is_no_attest(wrong: dict[str, bytes]) -> None:
    parse_attest(attest_of())
    with pytest.raises(EvidenceError):
        parse_attest(attest_of(**wrong))


def key_of_type(key_type: str) -> keys.PrivateKey:
    return KEYS[key_type] if key_type in KEYS else constant_rsa_key(int(key_type.removeprefix("rsa")))


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048", "rsa3072", "rsa4096"])
@pytest.mark.parametrize("name_hash", ["sha256", "sha384", "sha512"])
def test_a_public_area_is_read(key_type: str, name_hash: paper.HashName) -> None:
    spki = keys.public_der(key_of_type(key_type))
    data = public_area(spki, BORN_HERE, name_hash=name_hash)
    public = parse_public(data)
    assert public.spki == spki
    assert public.name == u16(ALGORITHMS[name_hash]) + hashlib.new(name_hash, data).digest()
    assert public.attributes == Attribute(BORN_HERE)


@pytest.mark.parametrize("scheme", ["rsassa", "rsapss"])
def test_a_key_may_have_a_signing_scheme(scheme: str) -> None:
    for key, name in (("p256", "ecdsa"), ("rsa2048", scheme)):
        how = u16(ALGORITHMS[name]) + u16(ALGORITHMS["sha256"])
        spki = keys.public_der(KEYS[key])
        assert parse_public(public_area(spki, BORN_HERE, scheme=how)).spki == spki


def test_an_ecc_key_may_leave_leading_zeros_out() -> None:
    while True:
        key = keys.make_key("p256")
        spki = keys.public_der(key)
        x, y = spki[-64:-32], spki[-32:]
        if x[0] == 0:
            break
    whole = public_area(spki, BORN_HERE)
    assert parse_public(whole.replace(sized(x) + sized(y), sized(x[1:]) + sized(y))).spki == spki


def test_an_exponent_may_be_written_out() -> None:
    zero, written = u16(2048) + u32(0), u16(2048) + u32(65537)
    assert parse_public(RSA_PUBLIC.replace(zero, written)).spki == parse_public(RSA_PUBLIC).spki


@pytest.mark.parametrize("bit", RESERVED)
def test_reserved_attributes_are_clear(bit: int) -> None:
    with pytest.raises(EvidenceError, match="reserved"):
        parse_public(public_area(P256, BORN_HERE | 1 << bit))


@pytest.mark.parametrize("policy", [1, 20, 31, 33, 48])
def test_a_policy_is_of_the_names_hash(policy: int) -> None:
    with_policy = ECC_PUBLIC[:8] + sized(bytes(32)) + ECC_PUBLIC[10:]
    assert parse_public(with_policy).spki == P256
    with pytest.raises(EvidenceError):
        parse_public(ECC_PUBLIC[:8] + sized(bytes(policy)) + ECC_PUBLIC[10:])


# Offsets: type 0, nameAlg 2, attributes 4, policy 8, symmetric 10, scheme 12, then the type's own.
@pytest.mark.parametrize(
    ("genuine", "offset", "change"),
    [
        (ECC_PUBLIC, 0, u16(0x0008)),  # keyedHash
        (ECC_PUBLIC, 0, u16(0x0025)),  # symCipher
        (ECC_PUBLIC, 0, u16(ALGORITHMS["rsa"])),
        (ECC_PUBLIC, 2, u16(ALGORITHMS["sha1"])),
        (ECC_PUBLIC, 2, NULL),
        (ECC_PUBLIC, 10, u16(0x0006)),  # AES
        (ECC_PUBLIC, 12, u16(0x001A)),  # ECDAA
        (ECC_PUBLIC, 12, u16(ALGORITHMS["rsassa"])),
        (ECC_PUBLIC, 14, u16(0x0001)),  # P-192
        (ECC_PUBLIC, 14, u16(0x0002)),  # P-224
        (ECC_PUBLIC, 14, u16(0x0004)),  # P-384, with a point of P-256
        (ECC_PUBLIC, 14, u16(0x0005)),  # P-521
        (ECC_PUBLIC, 14, u16(0x0010)),  # BN P-256
        (ECC_PUBLIC, 16, u16(0x0020)),  # a KDF
        (ECC_PUBLIC, 20, b"\xff" * 32),  # not on the curve
        (ECC_PUBLIC, 18, u16(33)),
        (ECC_PUBLIC, 18, u16(0)),
        (RSA_PUBLIC, 12, u16(ALGORITHMS["ecdsa"])),
        (RSA_PUBLIC, 12, u16(0x0017)),  # OAEP
        (RSA_PUBLIC, 14, u16(1024)),
        (RSA_PUBLIC, 14, u16(3072)),
        (RSA_PUBLIC, 16, u32(3)),
        (RSA_PUBLIC, 20, u16(255)),
        (RSA_PUBLIC, 22, b"\x00"),
    ],
    ids=stable,
)
def test_one_change_and_it_is_no_public_area(genuine: bytes, offset: int, change: bytes) -> None:
    parse_public(genuine)
    with pytest.raises(EvidenceError):
        parse_public(genuine[:offset] + change + genuine[offset + len(change) :])


@pytest.mark.parametrize(
    ("key", "scheme"),
    [
        ("p256", "0014 000b"),  # RSASSA
        ("p256", "001a 000b 0000"),  # ECDAA
        ("p256", "001b 000b"),  # SM2
        ("p256", "001c 000b"),  # ECSCHNORR
        ("p256", "0019 000b"),  # ECDH
        ("rsa2048", "0018 000b"),  # ECDSA
        ("rsa2048", "0017 000b"),  # OAEP
        ("rsa2048", "0015"),  # RSAES
    ],
)
def test_a_scheme_of_another_purpose_is_refused(key: str, scheme: str) -> None:
    spki = keys.public_der(KEYS[key])
    parse_public(public_area(spki, BORN_HERE, scheme=NULL))
    with pytest.raises(EvidenceError, match="has the scheme"):
        parse_public(public_area(spki, BORN_HERE, scheme=bytes.fromhex(scheme)))


@pytest.mark.parametrize("kind", ["0018", "0014", "0016"])
def test_a_signature_has_bytes(kind: str) -> None:
    head = bytes.fromhex(kind) + u16(ALGORITHMS["sha256"])
    some, none = (sized(b"\x01"), sized(b"")) if kind != "0018" else (sized(b"\x01") * 2, sized(b"") * 2)
    parse_signature(head + some)
    with pytest.raises(EvidenceError):
        parse_signature(head + none)


def test_a_scheme_with_sha1_is_refused() -> None:
    for used, holds in (("sha256", True), ("sha1", False)):
        data = public_area(P256, BORN_HERE, scheme=u16(ALGORITHMS["ecdsa"]) + u16(ALGORITHMS[used]))
        if holds:
            parse_public(data)
        else:
            with pytest.raises(EvidenceError):
                parse_public(data)


@pytest.mark.parametrize("scheme", ["rsassa", "rsapss", "ecdsa"])
@pytest.mark.parametrize("used", ["sha256", "sha384", "sha512"])
def test_a_signature_is_read(scheme: str, used: paper.HashName) -> None:
    key = KEYS["p256" if scheme == "ecdsa" else "rsa2048"]
    signature = parse_signature(paper.sign(key, b"message", used, scheme))
    assert signature.scheme == scheme
    assert signature.hash.name == used
    if scheme == "ecdsa":
        assert all(0 < number < 1 << 256 for number in decode_dss_signature(signature.value))
    else:
        assert isinstance(key, rsa.RSAPrivateKey)
        assert len(signature.value) == 256


@pytest.mark.parametrize(
    ("genuine", "offset", "change"),
    [
        (ECDSA, 0, NULL),
        (ECDSA, 0, u16(0x0005)),  # HMAC
        (ECDSA, 0, u16(0x001B)),  # SM2
        (ECDSA, 0, u16(ALGORITHMS["rsassa"])),
        (ECDSA, 2, u16(ALGORITHMS["sha1"])),
        (ECDSA, 2, NULL),
        (ECDSA, 4, u16(0)),
        (ECDSA, 4, u16(67)),
        (RSASSA, 0, u16(ALGORITHMS["ecdsa"])),
        (RSASSA, 2, u16(ALGORITHMS["sha1"])),
        (RSASSA, 4, u16(513)),
        (RSASSA, 4, u16(255)),
    ],
    ids=stable,
)
def test_one_change_and_it_is_no_signature(genuine: bytes, offset: int, change: bytes) -> None:
    parse_signature(genuine)
    with pytest.raises(EvidenceError):
        parse_signature(genuine[:offset] + change + genuine[offset + len(change) :])


@pytest.mark.parametrize(("parse", "genuine"), GENUINE, ids=stable)
def test_nothing_is_left_over_and_nothing_missing(parse: Callable[[bytes], object], genuine: bytes) -> None:
    parse(genuine)
    for size in range(len(genuine)):
        with pytest.raises(EvidenceError):
            parse(genuine[:size])
    with pytest.raises(EvidenceError):
        parse(genuine + b"\x00")


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published["maker"][:3])
def test_what_tpms_of_three_makers_said(published: dict[str, str]) -> None:
    attest = parse_attest(bytes.fromhex(published["attest"]))
    public = parse_public(bytes.fromhex(published["public"]))
    assert attest.name == public.name
    assert len(attest.extra_data) == 20  # SHA-1 of what Web Authentication had signed
    born = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN | Attribute.SIGN
    assert public.attributes & born == born
    # Windows makes its keys so that they also decrypt: no evidence for a signing key.
    assert Attribute.DECRYPT in public.attributes


@given(st.binary(max_size=600), st.sampled_from(GENUINE), st.integers(0, 300), st.integers(0, 8))
def test_any_bytes_are_a_structure_or_the_domain_error(
    data: bytes, known: tuple[Callable[[bytes], object], bytes], at: int, dropped: int
) -> None:
    parse, genuine = known
    for candidate in (data, genuine[:at] + data + genuine[at + dropped :]):
        try:
            parse(candidate)
        except EvidenceError:
            continue
