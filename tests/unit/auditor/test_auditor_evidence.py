"""The auditor's evidence methods: published vectors, every byte changed, any bytes; lists, product files."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given
from hypothesis import strategies as st

from auditor.core import cose, der
from auditor.core.csr import check_csr
from auditor.core.evidence.appraisal import AppraisalInputs
from auditor.core.evidence.recheck import recheck
from auditor.core.evidence.tpm_structures import read_attest, read_public, read_signature
from auditor.core.identities import Identities, read_identities
from auditor.core.product import METHODS, read_product
from auditor.errors import CheckFailed, Malformed
from boards.attesters import csr_attestation
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.port import Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Vendor
from boards.attesters.x509 import X509Vendor
from harness.paper_certificates import csr, new_key, spki
from harness.paper_log import product_with, spki_of

VECTORS = Path(__file__).parents[2] / "vectors"
KEY = new_key()
CSR = csr(KEY)
CHIP, MODEM = "CHIP-000001", "50363154-3931-44f0-8022-121b6401627d"
MAXIMUM = 16_384
ID_AA = csr_attestation.ID_AA_ATTESTATION


def _genuine(vendor: Vendor, chip: str = CHIP) -> tuple[str, AppraisalInputs, bytes]:
    attester = vendor.attester(chip)
    evidence = attester.attest(b"transcript", CSR)
    inputs = AppraisalInputs(
        chip_id=chip,
        product="sensor",
        csr=CSR,
        spki=spki(KEY),
        transcript=b"transcript",
        attester=spki_of(attester, evidence),
        moment=datetime.now(UTC),
        rules=read_product(product_with(vendor).encode()),
    )
    return attester.method, inputs, evidence


GENUINE = {
    "x509": _genuine(X509Vendor()),
    "psa-token": _genuine(PsaVendor()),
    "nrf91": _genuine(Nrf91Vendor(), MODEM),
    "tpm2": _genuine(Tpm2Vendor()),
    "tpm2 imported": _genuine(Tpm2Vendor(certified=False)),
}


@pytest.mark.parametrize("name", GENUINE)
def test_any_changed_byte_is_refused(name: str) -> None:
    method, inputs, evidence = GENUINE[name]
    recheck(method, inputs, evidence)
    for position in range(len(evidence)):
        changed = bytearray(evidence)
        changed[position] ^= 1
        with pytest.raises(CheckFailed):
            recheck(method, inputs, bytes(changed))


@given(st.binary(max_size=400), st.integers(0, 400), st.sampled_from(sorted(GENUINE)))
def test_any_bytes_raise_nothing_else(junk: bytes, cut: int, name: str) -> None:
    _, inputs, evidence = GENUINE[name]
    everything = replace(inputs, rules=replace(inputs.rules, methods=METHODS))
    for method in METHODS:
        for data in (junk, evidence[:cut] + junk, junk + evidence[cut:]):
            with contextlib.suppress(CheckFailed):
                shown = recheck(method, everything, data)
                assert method in {"hmac-sha256", "none"} or data == evidence, shown


@given(st.binary(max_size=300))
def test_any_bytes_of_a_parser_raise_malformed_alone(data: bytes) -> None:
    parsers: list[Callable[[bytes], object]] = [
        cose.decode, cose.claims, der.split, der.members,
        read_attest, read_signature, read_public, read_product,
        lambda data: cose.read_message(data, maximum=MAXIMUM),
        lambda data: read_identities(data.decode("latin-1").splitlines()),
    ]  # fmt: skip
    for parse in parsers:
        with contextlib.suppress(Malformed):
            parse(data)


@pytest.mark.parametrize(
    "data",
    ["5f4100ff", "9f00ff", "bf0000ff", "a200000001", "a1000000", "1800", "9bffffffffffffffff", "f5f5",
     "f93c00", "61ff", "a1f500", "81" * 9 + "00", "f818", "fe", "1c", ""],
)  # fmt: skip
def test_cbor_that_two_readers_could_take_for_two_things(data: str) -> None:
    with pytest.raises(Malformed):
        cose.decode(bytes.fromhex(data))


def test_the_example_token_of_rfc_9783() -> None:
    token = (VECTORS / "psa" / "psa-sign1.cbor").read_bytes()
    key = json.loads((VECTORS / "psa" / "tfm-es-iak.json").read_text())
    x, y = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "=")) for name in "xy")
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    message = cose.read_message(token, maximum=MAXIMUM)
    assert message.is_signed_by(public)
    assert cose.claims(message.payload)[10] == b"\x01" * 32
    for position in range(len(token)):
        changed = token[:position] + bytes([token[position] ^ 1]) + token[position + 1 :]
        with contextlib.suppress(Malformed):
            assert not cose.read_message(changed, maximum=MAXIMUM).is_signed_by(public)


def test_what_a_real_modem_printed() -> None:
    vector = json.loads((VECTORS / "nrf91" / "nrf91.json").read_text())
    point = bytes.fromhex(vector["identity_public_key_p256_uncompressed_hex"])
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    for name, nil in (("keygen_csr", False), ("attesttoken", True)):
        before, _, after = vector["accept"][name].partition(".")
        body, message = (base64.urlsafe_b64decode(half + "=" * (-len(half) % 4)) for half in (before, after))
        assert cose.read_message(message, maximum=MAXIMUM).is_signed_by(key, aad=body, nil=nil)
        assert not cose.read_message(message, maximum=MAXIMUM).is_signed_by(key, aad=body + b"\x00", nil=nil)


def test_a_csr_without_its_evidence() -> None:
    token = PsaVendor().attester(CHIP).attest(b"transcript", CSR)
    seen: list[bytes] = []

    def attest(info: bytes) -> bytes:
        seen.append(info)
        return token

    wrapped = csr_attestation.wrap(KEY, CSR, "psa-token", attest)
    found = check_csr(wrapped, spki(KEY))
    assert found.inside is not None
    assert (found.inside.method, found.inside.evidence) == ("psa-token", token)
    assert found.evidence_digest == sha256(seen[0]).digest()
    assert check_csr(CSR, spki(KEY)).evidence_digest == sha256(CSR).digest()


@pytest.mark.parametrize(
    "attributes",
    [
        [csr_attestation.attribute()],
        [csr_attestation.attribute(csr_attestation.cmw_bundle(b"a"), csr_attestation.cmw_bundle(b"b"))],
        [csr_attestation.attribute(csr_attestation.cmw_bundle(b"a")), csr_attestation.attribute(b"\x30\x00")],
        [csr_attestation.attribute(csr_attestation.cmw_bundle(b"a", "x", 2))],
        [csr_attestation.attribute(csr_attestation.bundle([]))],
        [csr_attestation.attribute(csr_attestation.bundle([csr_attestation.statement(ID_AA, b"\x05\x00")]))],
    ],
)
def test_an_attribute_that_no_method_reads(attributes: list[bytes]) -> None:
    parts = csr_attestation.Parts.of(CSR)
    with pytest.raises(CheckFailed, match="F421"):
        check_csr(parts.signed(KEY, parts.info(*attributes)), spki(KEY))


LINE = Nrf91Vendor().attester(MODEM).identity()


def test_lists_of_identities() -> None:
    keys = read_identities([json.dumps(LINE), "", json.dumps(LINE)])
    ((key_id, public),) = keys.keys[MODEM]
    assert keys.has(MODEM, key_id, public)
    assert keys.has(MODEM, b"", public)
    assert not keys.has(MODEM, bytes(16), public)
    assert not keys.has(MODEM, key_id, spki(KEY))
    assert not keys.has("other", key_id, public)
    load_der_public_key(public)
    plain = LINE | {"public_key": base64.b64encode(public).decode()}
    assert read_identities([json.dumps(plain)]) == keys
    other = read_identities([json.dumps(LINE | {"chip_id": "other"})])
    of_tpm = Tpm2Vendor(certified=False).attester(CHIP).identity()
    assert of_tpm is not None
    alone = {name: value for name, value in of_tpm.items() if name != "tpm_public"}
    assert alone != of_tpm
    assert read_identities([json.dumps(of_tpm)]) == read_identities([json.dumps(alone)])
    assert Identities.joined([keys, other, keys]).keys.keys() == {MODEM, "other"}


@pytest.mark.parametrize(
    "change",
    [
        {"chip_id": "a/b"},
        {"chip_id": 1},
        {"key_id": "0"},
        {"key_id": ""},
        {"public_key": "AAAA"},
        {"public_key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"},
        {"public_key": None},
        {"more": 1},
    ],
)
def test_lines_that_are_no_identity(change: dict[str, object]) -> None:
    with pytest.raises(Malformed, match="line 2"):
        read_identities([json.dumps(LINE), json.dumps(LINE | change)])


PRODUCT = product_with(X509Vendor(), PsaVendor(), Nrf91Vendor(), Tpm2Vendor())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"x509", ', '"x509", "x509", '),
        ('"x509", ', '"other", '),
        ("[evidence]", "[evidence]\nmore = 1"),
        ("[evidence]", '[evidence]\nlevel = "top"'),
        ("[evidence]", '[evidence]\nchips = "some"'),
        ("[evidence]", '[evidence]\ncertificate_extension = "2.5.29.15"'),
        ("[evidence]", '[evidence]\nminimum_firmware = {app = "one"}'),
        ("[evidence]", "evidence = 1\n[other]"),
        ("[evidence.nrf91]", "[evidence.nrf91]\nroots = []"),
        ('component = "modem"', 'component = "a b"'),
        ('component = "modem"', 'component = "modem", signer = "00"'),
        ("BEGIN CERTIFICATE", "BEGIN SOMETHING"),
        ("implementation_ids = [", 'implementation_ids = ["00", '),
        ('chip_id = "serialNumber"', 'chip_id = "O"'),
        ("[evidence.tpm2]", "[evidence.tpm2]\ncertifies_born_keys = true"),
        ("[evidence.x509]", "[evidence.x509]\ncertifies_born_keys = 1"),
        ("[evidence]", '[stamp]\nrequired_locks = "secure_boot"\n[evidence]'),
    ],
)
def test_product_files_with_rules_of_another_form(old: str, new: str) -> None:
    assert read_product(PRODUCT.encode()).methods == ("x509", "psa-token", "nrf91", "tpm2")
    assert old in PRODUCT
    with pytest.raises(Malformed):
        read_product(PRODUCT.replace(old, new, 1).encode())
