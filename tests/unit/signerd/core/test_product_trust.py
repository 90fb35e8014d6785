"""Roots that no chain could hold under are refused, others told; what a product trusts is said in full."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from signerd.core.evidence import METHODS
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.product_trust import EXPIRES_SOON, describe_trust, review_trust
from signerd.errors import Code, Refused

NOW = datetime(2026, 11, 15, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
MEASURED = [{"component": "app", "version": "1.2.0", "digest": "00" * 32}]


def root(
    *,
    key: Any = KEY,
    subject: str = "Vendor Root",
    issuer: str | None = None,
    begins: datetime = NOW - timedelta(days=1),
    ends: datetime = NOW + EXPIRES_SOON + timedelta(days=1),
    ca: bool | None = True,
    sign: bool = True,
) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    above = name if issuer is None else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    usages = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = builder.add_extension(x509.KeyUsage(**usages, key_cert_sign=sign, crl_sign=True), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def rules(*roots: str, method: str = "x509", **terms: Any) -> EvidenceRules:
    return EvidenceRules.model_validate({"methods": [method], method: {"roots": list(roots)}, **terms})


@pytest.mark.parametrize("method", ["x509", "tpm2"])
def test_a_good_root_leaves_nothing_to_say(method: str) -> None:
    assert review_trust(rules(root(), method=method), NOW) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ends": NOW}, "ended at 2026-11-15"),
        ({"ca": False}, "no CA"),
        ({"ca": None}, "no CA"),
        ({"sign": False}, "no CA"),
        ({"key": rsa.generate_private_key(65537, 1024)}, "2048"),
        ({"key": rsa.generate_private_key(3, 2048)}, "exponent"),
        ({"key": ec.generate_private_key(ec.SECP256K1())}, "P-256"),
    ],
)
@pytest.mark.parametrize("method", ["x509", "tpm2"])
def test_a_root_that_no_chain_could_hold_under_is_refused(
    method: str, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(Refused, match=named) as caught:
        review_trust(rules(root(), root(**change), method=method), NOW)
    assert caught.value.code is Code.INVALID
    assert f"evidence.{method}.roots.1" in caught.value.detail


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ends": NOW + EXPIRES_SOON}, "it ends at"),
        ({"begins": NOW + timedelta(days=1)}, "not valid before 2026-11-16"),
        ({"issuer": "Another"}, "not self-signed"),
    ],
)
def test_a_root_that_deserves_a_second_look_is_told(change: dict[str, Any], named: str) -> None:
    (note,) = review_trust(rules(root(**change)), NOW)
    assert named in note


@pytest.mark.parametrize("change", [0x01, 0x20, 0x80])
def test_a_root_with_any_byte_changed_is_refused_as_an_administrators_error(change: int) -> None:
    good = x509.load_pem_x509_certificate(root().encode()).public_bytes(Encoding.DER)
    refused = 0
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= change
        pem = (
            f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(changed).decode()}-----END CERTIFICATE-----\n"
        )
        try:
            accepted = rules(pem)
            review_trust(accepted, NOW)
            describe_trust(accepted)
        except (ValidationError, Refused):  # what product files are refused with
            refused += 1
    # What is left: bytes of names and times, and of the signature, which says nothing of a pinned root.
    assert refused > len(good) // 4


def test_one_root_twice_is_refused() -> None:
    twice = root()
    with pytest.raises(Refused, match="is there twice"):
        review_trust(rules(twice, twice), NOW)
    review_trust(rules(twice, root()), NOW)


def test_a_level_that_no_method_reaches_is_refused() -> None:
    review_trust(rules(root(), level="chip"), NOW)
    with pytest.raises(Refused, match="reach chip at most"):
        review_trust(rules(root(), level="key"), NOW)
    measuring = {"methods": ["x509"], "level": "key", "x509": {"roots": [root()], "measurements": MEASURED}}
    review_trust(EvidenceRules.model_validate(measuring), NOW)
    born = {"methods": ["x509"], "level": "key", "x509": {"roots": [root()], "certifies_born_keys": True}}
    review_trust(EvidenceRules.model_validate(born), NOW)
    with pytest.raises(Refused, match="reach none at most"):
        review_trust(EvidenceRules.model_validate({"methods": ["none"], "level": "chip"}), NOW)


def test_all_that_is_trusted_is_said() -> None:
    first, second = (
        root(subject="One"),
        root(subject="Two\nroot of all", key=ec.generate_private_key(ec.SECP384R1())),
    )
    said = "\n".join(
        describe_trust(
            EvidenceRules.model_validate(
                {
                    "methods": list(METHODS),
                    "level": "chip",
                    "chips": "listed",
                    "minimum_firmware": {"app": "1.2.0"},
                    "x509": {"roots": [first], "measurements": MEASURED, "chip_id": "CN"},
                    "psa-token": {"measurements": MEASURED, "implementation_ids": ["11" * 32]},
                    "nrf91": {"measurements": []},
                    "tpm2": {"roots": [second]},
                }
            )
        )
    )
    for method in METHODS:
        assert f"{method}, at most level " in said
    for pem in (first, second):
        digest = x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()
        assert f"SHA-256 {digest}" in said
    for part in (
        "least level chip",
        "only those on the work order's list",
        "minimum firmware: app 1.2.0",
        "x509, at most level key: accepted firmware app 1.2.0 (1 digest); chip id from the subject's CN",
        "root CN=One, until 2027-11-16",
        "implementations " + "11" * 32,
        "nrf91, at most level key: any modem firmware",
        "none, at most level none",
    ):
        assert part in said
    assert all(line.isprintable() for line in said.splitlines())
    assert "CN=Two\N{REPLACEMENT CHARACTER}root of all" in said


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, None),
        ({"vendor_cas": 0}, "; the root alone is the vendor's, what follows is the chip's"),
        ({"vendor_cas": 1}, "; the root and 1 CA below it are the vendor's, what"),
        ({"vendor_cas": 2}, "; the root and 2 CAs below it are the vendor's"),
    ],
)
def test_where_the_vendor_ends_and_the_chip_begins_is_told(more: dict[str, int], told: str | None) -> None:
    said = "\n".join(
        describe_trust(
            EvidenceRules.model_validate({"methods": ["x509"], "x509": {"roots": [root()], **more}})
        )
    )
    assert (told or "x509, at most") in said
    assert ("what follows is the chip's" in said) == (told is not None)


def test_a_promise_about_the_cas_of_attestation_keys_is_told() -> None:
    plain, promised = (
        EvidenceRules.model_validate({"methods": ["tpm2"], "tpm2": {"roots": [root()], **more}})
        for more in ({}, {"certifies_aks_only": True})
    )
    assert "nothing but attestation keys" not in "\n".join(describe_trust(plain))
    assert "these CAs certify nothing but attestation keys" in "\n".join(describe_trust(promised))
    with pytest.raises(ValidationError, match="there are none"):
        EvidenceRules.model_validate({"methods": ["tpm2"], "tpm2": {"certifies_aks_only": True}})


@pytest.mark.parametrize(("place", "told"), [("key", True), ("certificate-serial", True), ("ueid", False)])
def test_a_chip_id_that_moves_with_the_attestation_key_is_told(place: str, told: bool) -> None:
    section = {"roots": [root()], "chip_id": {"from": place}}
    notes = review_trust(EvidenceRules.model_validate({"methods": ["tpm2"], "tpm2": section}), NOW)
    assert any("for each attestation key" in note for note in notes) == told


def test_two_methods_of_one_vendor_are_told_what_they_rest_on() -> None:
    """Also the vendor of a secure element and a TPM, which are two chips of one board."""
    shared = root()
    terms = {"methods": ["x509", "tpm2"], "x509": {"roots": [shared]}, "tpm2": {"roots": [shared]}}
    assert any("one UEID" in note for note in review_trust(EvidenceRules.model_validate(terms), NOW))
    assert review_trust(EvidenceRules.model_validate(terms | {"chips": "listed"}), NOW) == []


def test_a_root_and_a_ca_below_it_cannot_have_one_number_of_cas() -> None:
    upper, lower = root(subject="Upper"), root(subject="Lower", issuer="Upper")

    def notes(**terms: Any) -> list[str]:
        section = {"roots": [upper, lower], **terms}
        rules = EvidenceRules.model_validate({"methods": ["x509"], "x509": section})
        return [note for note in review_trust(rules, NOW) if "vendor_cas" in note]

    assert notes() == []
    (note,) = notes(vendor_cas=1)
    assert "roots.1 is a CA below roots.0" in note
