from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from signerd.core import der
from signerd.core.csr import MAX_CSR_BYTES, check_csr
from signerd.core.names import KeyType
from signerd.errors import Code, Refused

VECTORS = Path(__file__).parents[3] / "vectors" / "csr"
ALL = tuple(KeyType)
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "board")])
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
ECDSA_SHA256_NULL = bytes.fromhex("300c06082a8648ce3d0403020500")


def builder() -> x509.CertificateSigningRequestBuilder:
    return x509.CertificateSigningRequestBuilder().subject_name(NAME)


def signed(
    request: x509.CertificateSigningRequestBuilder,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = KEY,
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA224 | None = None,
) -> bytes:
    return request.sign(key, digest or hashes.SHA256()).public_bytes(Encoding.DER)


def refusal(data: bytes, accepted: tuple[KeyType, ...] = ALL) -> Code:
    with pytest.raises(Refused) as caught:
        check_csr(data, accepted=accepted)
    return caught.value.code


GOOD = signed(builder())


def test_accepts_a_plain_request_and_keeps_only_its_key() -> None:
    csr = check_csr(GOOD, accepted=ALL)
    assert csr.key_type is KeyType.P256
    assert csr.key == KEY.public_key()
    assert csr.der == GOOD


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_accepts_both_curves(curve: ec.EllipticCurve) -> None:
    check_csr(signed(builder(), ec.generate_private_key(curve), hashes.SHA384()), accepted=ALL)


def test_accepts_rsa_2048() -> None:
    key = rsa.generate_private_key(65537, 2048)
    assert check_csr(signed(builder(), key), accepted=ALL).key_type is KeyType.RSA2048


def test_accepts_null_parameters_as_mbedtls_writes_them() -> None:
    data = (VECTORS / "mbedtls-2.28-null-params.der").read_bytes()
    assert ECDSA_SHA256_NULL in data
    assert check_csr(data, accepted=ALL).der == data


def test_refuses_any_other_parameters() -> None:
    info, algorithm, signature = der.split_signed(GOOD)
    assert algorithm == ECDSA_SHA256
    check_csr(der.sequence(info, ECDSA_SHA256_NULL, signature), accepted=ALL)
    for parameters in ("0400", "3000", "050005 00", "0101ff"):
        odd = der.sequence(bytes.fromhex("06082a8648ce3d040302" + parameters))
        assert refusal(der.sequence(info, odd, signature)) is Code.CSR_REJECTED


def test_null_parameters_do_not_excuse_a_wrong_signature() -> None:
    data = bytearray((VECTORS / "mbedtls-2.28-null-params.der").read_bytes())
    data[-1] ^= 1
    assert refusal(bytes(data)) is Code.CSR_REJECTED


@pytest.mark.parametrize(
    "extension",
    [
        x509.BasicConstraints(ca=True, path_length=None),
        x509.NameConstraints([x509.DNSName("example.com")], None),
        x509.KeyUsage(True, False, False, False, False, True, False, False, False),
        x509.KeyUsage(True, False, False, False, False, False, True, False, False),
        x509.PolicyConstraints(0, None),
    ],
)
def test_refuses_what_a_leaf_may_not_ask_for(extension: x509.ExtensionType) -> None:
    assert refusal(signed(builder().add_extension(extension, critical=True))) is Code.CSR_REJECTED


@pytest.mark.parametrize(
    "extension",
    [
        x509.BasicConstraints(ca=False, path_length=None),
        x509.KeyUsage(True, False, False, False, False, False, False, False, False),
        x509.SubjectAlternativeName([x509.DNSName("anything.example")]),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("2.16.840.1.113730.1.1"), b"\x03\x02\x07\x80"),
    ],
)
def test_tolerates_what_boards_libraries_add(extension: x509.ExtensionType) -> None:
    check_csr(signed(builder().add_extension(extension, critical=False)), accepted=ALL)


def test_refuses_a_signature_algorithm_off_the_list() -> None:
    assert refusal(signed(builder(), digest=hashes.SHA224())) is Code.CSR_REJECTED


def test_refuses_trailing_bytes_cuts_and_size() -> None:
    assert refusal(GOOD + b"\x00") is Code.CSR_REJECTED
    assert refusal(GOOD[:-1]) is Code.CSR_REJECTED
    assert refusal(b"") is Code.CSR_REJECTED
    assert refusal(GOOD + bytes(MAX_CSR_BYTES)) is Code.CSR_REJECTED


def test_refuses_a_length_that_is_not_shortest() -> None:
    assert GOOD[:2] == bytes((0x30, 0x81))
    assert refusal(b"\x30\x82\x00" + GOOD[2:]) is Code.CSR_REJECTED


def test_every_changed_bit_is_refused() -> None:
    for position in range(len(GOOD)):
        for bit in range(8):
            changed = bytearray(GOOD)
            changed[position] ^= 1 << bit
            assert refusal(bytes(changed)) in {Code.CSR_REJECTED, Code.KEY_REJECTED}


def test_refuses_a_signature_with_unused_bits() -> None:
    info, algorithm, signature = der.split_signed(next(_with_even_signatures()))
    start = signature.index(b"\x00\x30")
    assert refusal(der.sequence(info, algorithm, signature[:start] + b"\x01" + signature[start + 1 :])) is (
        Code.CSR_REJECTED
    )


def test_refuses_an_empty_signature() -> None:
    info, algorithm, _ = der.split_signed(GOOD)
    assert refusal(der.sequence(info, algorithm, b"\x03\x00")) is Code.CSR_REJECTED


def _with_even_signatures() -> Iterator[bytes]:
    """Requests whose last bit is 0, so that DER allows to call it unused."""
    while True:
        data = signed(builder())
        if data[-1] % 2 == 0:
            yield data


def test_refuses_key_types_that_the_product_does_not_accept() -> None:
    assert refusal(GOOD, (KeyType.P384,)) is Code.KEY_REJECTED


def test_refuses_other_curves_and_algorithms() -> None:
    assert refusal(signed(builder(), ec.generate_private_key(ec.SECP521R1()))) is Code.KEY_REJECTED
    edwards = builder().sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER)
    assert refusal(edwards) is Code.CSR_REJECTED


@pytest.mark.parametrize("scalar", [1, 2, 1024])
def test_refuses_keys_that_can_be_guessed(scalar: int) -> None:
    assert refusal(signed(builder(), ec.derive_private_key(scalar, ec.SECP256R1()))) is Code.KEY_REJECTED


def rsa_key(p: int, q: int, e: int = 65537) -> rsa.RSAPrivateKey:
    d = pow(e, -1, (p - 1) * (q - 1))
    crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, p * q)).private_key()


def test_refuses_rsa_sizes_and_exponents_off_the_list() -> None:
    assert refusal(signed(builder(), rsa.generate_private_key(65537, 1024))) is Code.KEY_REJECTED
    assert refusal(signed(builder(), rsa.generate_private_key(65537, 2056))) is Code.KEY_REJECTED
    assert refusal(signed(builder(), rsa.generate_private_key(3, 2048))) is Code.KEY_REJECTED


def test_refuses_rsa_with_close_primes() -> None:
    p = rsa.generate_private_key(65537, 2048).private_numbers().p
    q = p + 2**64
    # Fermat's test to base 2 is enough for a number of this size that nobody chose against it.
    while pow(2, q - 1, q) != 1 or (q - 1) % 65537 == 0:
        q += 2
    assert refusal(signed(builder(), rsa_key(p, q))) is Code.KEY_REJECTED


def test_refuses_a_compressed_point() -> None:
    spki = KEY.public_key()
    point = spki.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    short = spki.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    info, algorithm, _ = der.split_signed(GOOD)
    # The public key's BIT STRING is the only place where the point stands.
    start = info.index(b"\x03\x42\x00" + point)
    inner = info[:start] + b"\x03\x22\x00" + short + info[start + 3 + len(point) :]
    shrink = len(point) - len(short)
    spki_head = info.index(b"\x30\x59\x30\x13")
    inner = inner[: spki_head + 1] + bytes((0x59 - shrink,)) + inner[spki_head + 2 :]
    body = inner[2 if inner[1] < 0x80 else 3 :]
    rebuilt = der.sequence(body)
    signature = KEY.sign(rebuilt, ec.ECDSA(hashes.SHA256()))
    assert refusal(der.signed(rebuilt, algorithm, signature)) in {Code.KEY_REJECTED, Code.CSR_REJECTED}


@given(st.binary(max_size=600))
def test_any_bytes_give_a_refusal_and_nothing_else(data: bytes) -> None:
    assert refusal(data) is Code.CSR_REJECTED


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8))
def test_mutated_requests_give_a_refusal_or_the_same_key(position: int, patch: bytes) -> None:
    data = GOOD[:position] + patch + GOOD[position + len(patch) :]
    try:
        csr = check_csr(data, accepted=ALL)
    except Refused:
        return
    assert csr.key == KEY.public_key()
