"""A list of identities is read line by line, and each key must be one that its method can rest on."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from boards.attesters.tpm2 import HashName, attributes, name_of, public_area
from harness.rsa_keys import constant_rsa_key
from signerd.core import der
from signerd.core.identity_list import MAX_LINE, ChipIdentity, IdentityError, check_identity, parse_line

P256, P384, P521 = (ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1))
RSA = constant_rsa_key(2048)
UEID = b"\x01" + bytes(range(32))
UUID_BYTES = UUID("6b0e2a8e-3f3c-4c5b-9d0a-0123456789ab").bytes
NAME_SHA256, NAME_SHA384 = b"\x00\x0b" + bytes(32), b"\x00\x0c" + bytes(48)


def spki(key: Any) -> bytes:
    public = key.public_key()
    data: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return data


def pem(key: Any) -> str:
    data: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return data.decode()


GOOD = {"chip_id": "gw:1", "key_id": UEID.hex(), "public_key": pem(P256)}
# What anyone can look up: Trusted Firmware-M's dummy provisioning, and the examples of RFC 9783.
TFM_DUMMY_KEY = 0xA9B454B26D6F90A4EA31193564CBA91FEC6F9A002A7DC0504B92A1937134585F
RFC_9783_KEY = 0x43FFFECB95F8085A7C40E1D3EA790BEF4EB78CDD77D58503A64C1600F91B33E7

PSA = ChipIdentity("gw:1", UEID, spki(P256))
NRF91 = ChipIdentity(str(UUID(bytes=UUID_BYTES)), UUID_BYTES, spki(P256))


def attestation_key(
    key: Any = P256,
    *,
    name_hash: HashName = "sha256",
    cleared: tuple[str, ...] = (),
    also: tuple[str, ...] = ("restricted",),
) -> ChipIdentity:
    """A restricted signing key of a TPM on paper."""
    public = public_area(spki(key), attributes(cleared, also), name_hash=name_hash)
    return ChipIdentity("gw:1", name_of(public, name_hash), spki(key), public)


TPM2 = attestation_key()


def line(**change: Any) -> bytes:
    return json.dumps(GOOD | change).encode()


@pytest.mark.parametrize(
    "text", [pem(P256), base64.b64encode(spki(P256)).decode(), "\n\n" + pem(P256) + "\n"]
)
def test_a_line_is_read(text: str) -> None:
    assert parse_line(line(public_key=text)) == PSA
    assert parse_line(line(public_key=text, key_id=UEID.hex().upper())) == PSA


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (line()[:-1], "JSON"),
        (b"", "JSON"),
        (b"\xff" + line(), "UTF-8"),
        (b"\xef\xbb\xbf" + line(), "JSON"),
        (line() + line(), "JSON"),
        (b"[" * 4000, "JSON"),
        (b"[" + line() + b"]", "exactly the members"),
        (line(colour="red"), "exactly the members"),
        (json.dumps({name: GOOD[name] for name in ("chip_id", "key_id")}).encode(), "exactly the members"),
        (line()[:-1] + b', "chip_id": "gw:1"}', "twice"),
        (line(chip_id=1), "not text"),
        (line(public_key=None), "not text"),
        (line(chip_id=""), "chip_id"),
        (line(chip_id="gw 1"), "chip_id"),
        (line(chip_id="g" * 65), "chip_id"),
        (line(key_id=""), "key_id"),
        (line(key_id="0"), "key_id"),
        (line(key_id="0x01"), "key_id"),
        (line(key_id="01 02"), "key_id"),
        (line(public_key=""), "public_key"),
        (line(public_key="\ud800"), "public_key"),
        (line(public_key="-----BEGIN \ud800"), "public_key"),
        (line(public_key="=" * 100), "public_key"),
        (line(public_key=base64.b64encode(spki(P256) + b"\0").decode()), "public_key"),
        (line(public_key=base64.b64encode(spki(P256)).decode() + "!"), "public_key"),
        (line(public_key=pem(P256).replace("PUBLIC KEY", "CERTIFICATE")), "openssl x509"),
        (line(public_key="A" * MAX_LINE), "longer than"),
    ],
)
def test_what_is_no_line_is_refused(data: bytes, named: str) -> None:
    with pytest.raises(IdentityError, match=named):
        parse_line(data)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("key", [P256, RSA])
def test_a_private_key_is_refused_and_not_shown(key: Any, form: PrivateFormat) -> None:
    text = key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
    data = key.private_bytes(Encoding.DER, form, NoEncryption())
    for private in (text, base64.b64encode(data).decode()):
        with pytest.raises(IdentityError, match="openssl pkey -in KEY -pubout") as caught:
            parse_line(line(public_key=private))
        assert "take the chip out of use" in str(caught.value)
        assert not any(part in str(caught.value) for part in private.split() if len(part) > 20)


@pytest.mark.parametrize(
    ("identity", "method"),
    [
        *((replace(PSA, spki=spki(key)), "psa-token") for key in (P256, P384, P521)),
        (NRF91, "nrf91"),
        *((attestation_key(key), "tpm2") for key in (P256, P384, RSA)),
        (attestation_key(name_hash="sha384"), "tpm2"),
    ],
)
def test_what_each_method_takes(identity: ChipIdentity, method: str) -> None:
    check_identity(identity, method)


def compressed() -> bytes:
    point = P256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    return der.sequence(algorithm, b"\x03\x22\x00" + point)


@pytest.mark.parametrize(
    ("identity", "method", "named"),
    [
        (PSA, "x509", "uses no imported keys"),
        (PSA, "hmac-sha256", "uses no imported keys"),
        (PSA, "", "uses no imported keys"),
        (replace(PSA, chip_id="a b"), "psa-token", "chip_id"),
        (replace(PSA, key_id=UEID[:-1]), "psa-token", "instance id"),
        (replace(PSA, key_id=b"\x02" + UEID[1:]), "psa-token", "instance id"),
        (replace(PSA, spki=spki(RSA)), "psa-token", "P-521"),
        (replace(PSA, spki=spki(ec.generate_private_key(ec.SECP256K1()))), "psa-token", "P-521"),
        (replace(PSA, spki=spki(ed25519.Ed25519PrivateKey.generate())), "psa-token", "P-521"),
        (replace(PSA, spki=spki(ec.derive_private_key(1, ec.SECP521R1()))), "psa-token", "guessed"),
        (replace(PSA, spki=compressed()), "psa-token", "canonical"),
        (replace(PSA, spki=spki(P256)[:-1]), "psa-token", "SubjectPublicKeyInfo"),
        (replace(PSA, spki=bytes(1025)), "psa-token", "1024"),
        (replace(NRF91, key_id=UUID_BYTES[:-1]), "nrf91", "device UUID"),
        (replace(NRF91, chip_id=NRF91.chip_id.upper()), "nrf91", f"which is {NRF91.chip_id}"),
        (replace(NRF91, chip_id=NRF91.chip_id.replace("-", "")), "nrf91", "text of the device UUID"),
        (replace(NRF91, spki=spki(P384)), "nrf91", "P-256"),
        (replace(NRF91, spki=spki(ec.derive_private_key(7, ec.SECP256R1()))), "nrf91", "guessed"),
        (
            replace(PSA, spki=spki(ec.derive_private_key(TFM_DUMMY_KEY, ec.SECP256R1()))),
            "psa-token",
            "published",
        ),
        (
            replace(PSA, spki=spki(ec.derive_private_key(RFC_9783_KEY, ec.SECP256R1()))),
            "psa-token",
            "published",
        ),
        (replace(TPM2, key_id=NAME_SHA256[:-1]), "tpm2", "name of a TPM key"),
        (replace(TPM2, key_id=b"\x00\x04" + NAME_SHA256[2:]), "tpm2", "name of a TPM key"),
        (replace(TPM2, key_id=b"\x00\x0b" + NAME_SHA384[2:]), "tpm2", "name of a TPM key"),
        (replace(TPM2, spki=spki(P521)), "tpm2", "not accepted"),
        (replace(TPM2, spki=spki(rsa.generate_private_key(65537, 1024))), "tpm2", "not accepted"),
        (replace(TPM2, spki=spki(rsa.generate_private_key(3, 2048))), "tpm2", "exponent"),
        (replace(TPM2, spki=spki(ec.derive_private_key(1, ec.SECP384R1()))), "tpm2", "guessed"),
        (replace(TPM2, key_id=NAME_SHA256), "tpm2", "of another key"),
        (replace(TPM2, spki=spki(ec.generate_private_key(ec.SECP256R1()))), "tpm2", "of another key"),
        (replace(TPM2, tpm_public=b""), "tpm2", "tpm_public is missing"),
        (replace(TPM2, tpm_public=TPM2.tpm_public + b"\0"), "tpm2", "tpm_public"),
        (
            replace(TPM2, tpm_public=len(TPM2.tpm_public).to_bytes(2, "big") + TPM2.tpm_public),
            "tpm2",
            "tpm_public",
        ),
        (attestation_key(also=()), "tpm2", "RESTRICTED"),
        (attestation_key(cleared=("sensitiveDataOrigin",)), "tpm2", "SENSITIVE_DATA_ORIGIN"),
        (attestation_key(cleared=("fixedTPM",)), "tpm2", "FIXED_TPM"),
        (attestation_key(cleared=("fixedParent",)), "tpm2", "FIXED_PARENT"),
        (attestation_key(cleared=("sign",)), "tpm2", "SIGN"),
        (attestation_key(also=("restricted", "decrypt")), "tpm2", "without decrypt"),
        (replace(PSA, tpm_public=TPM2.tpm_public), "psa-token", "belongs to method tpm2"),
    ],
)
def test_what_no_method_takes(identity: ChipIdentity, method: str, named: str) -> None:
    with pytest.raises(IdentityError, match=named):
        check_identity(identity, method)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_line_or_the_domain_error(data: bytes) -> None:
    with pytest.raises(IdentityError):
        parse_line(data)


@given(st.sampled_from(("psa-token", "nrf91", "tpm2")), st.binary(max_size=60), st.binary(max_size=200))
def test_any_identity_is_refused_with_the_domain_error(method: str, key_id: bytes, key: bytes) -> None:
    with pytest.raises(IdentityError):
        check_identity(ChipIdentity("chip", key_id, key), method)


@pytest.mark.parametrize("change", [0x01, 0x20, 0x80])
def test_whatever_byte_is_changed_nothing_but_the_domain_error_comes(change: int) -> None:
    good, refused = line(), 0
    check_identity(parse_line(good), "psa-token")
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= change
        try:
            check_identity(parse_line(bytes(changed)), "psa-token")
        except IdentityError:
            refused += 1
    # What is left: another chip id or instance id, and spellings that mean the same.
    assert refused > len(good) // 2
