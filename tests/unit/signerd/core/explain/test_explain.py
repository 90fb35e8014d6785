"""What `signerd explain` says: of each kind of file, with and without a product, and of hostile ones."""

from __future__ import annotations

import base64
import json
import random
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cbor2
import pytest

from boards import formats, keys
from boards.attesters.certificate_writer import pem
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.port import Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Vendor
from boards.attesters.x509 import X509Vendor
from harness.installation import SENSOR
from signerd.core.evidence import METHODS
from signerd.core.explain import Explanation, Unrecognized, explain
from signerd.core.explain.form import MAX_FILE_BYTES
from signerd.core.identity_list import parse_line
from signerd.core.product import Product, parse_product

NOW = datetime.now(UTC)
SILICON = Path(__file__).parents[4] / "vectors" / "silicon"
CSRS = SILICON / "csr"
UUID = "50363154-3931-44f0-8022-121b6401627d"
VENDORS: dict[str, Vendor] = {
    "x509": X509Vendor(),
    "tpm2": Tpm2Vendor(),
    "psa-token": PsaVendor(),
    "nrf91": Nrf91Vendor(),
}


@dataclass(frozen=True)
class Sample:
    csr: bytes
    evidence: bytes
    product: Product


def product_of(method: str, section: str = "", level: str = "chip") -> Product:
    text = SENSOR.replace('["hmac-sha256"]', f'["{method}"]')
    return parse_product(text.replace("[evidence]", f'[evidence]\nlevel = "{level}"', 1) + "\n" + section)


def sample(method: str, **wrong: object) -> Sample:
    chip_id = UUID if method == "nrf91" else "CHIP-000001"
    vendor = VENDORS[method]
    csr = keys.make_csr(keys.make_key("p256"), chip_id)
    transcript = formats.transcript(bytes(32), chip_id, csr, {}, {})
    evidence = vendor.attester(chip_id, **wrong).attest(transcript, csr)
    return Sample(csr, evidence, product_of(method, vendor.product_section(), "none"))


def chain_of(evidence: bytes) -> list[bytes]:
    certificates: list[bytes] = cbor2.loads(evidence)[-1]
    return certificates


def texts(explanation: Explanation) -> str:
    lines = [f"{line.state} {line.text} {line.remedy}" for line in explanation.lines]
    return "\n".join([*lines, *(f"{each.reason} {each.remedy}" for each in explanation.methods)])


@pytest.mark.parametrize("method", VENDORS)
def test_genuine_evidence_would_be_accepted(method: str) -> None:
    it = sample(method)
    explanation = explain(it.evidence, it.product, NOW)
    assert explanation.accepted
    assert explanation.kind == f"evidence of method {method}"
    (verdict,) = explanation.methods
    assert (verdict.method, verdict.accepted, verdict.level) == (method, True, "key")
    if method != "psa-token":  # whose instance id stands for the chip only in the import
        assert verdict.chip_id == (UUID if method == "nrf91" else "CHIP-000001")
    # That a session must still tell the rest is said, never passed over.
    assert "open what is over the transcript" in texts(explanation)
    assert explain(it.evidence, None, NOW).accepted


@pytest.mark.parametrize("method", VENDORS)
def test_a_product_without_the_method_refuses_it(method: str) -> None:
    explanation = explain(sample(method).evidence, product_of("hmac-sha256"), NOW)
    assert not explanation.accepted
    assert f"name {method} in the product's methods" in texts(explanation)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_says_something_of_certificates(method: str) -> None:
    """No method is passed over: those that take none say so."""
    others = {"x509", "psa-token"}
    section = VENDORS[method].product_section() if method in others else ""
    explanation = explain(
        b"".join(chain_of(sample("tpm2").evidence)), product_of(method, section, "none"), NOW
    )
    (verdict,) = explanation.methods
    assert verdict.method == method
    assert verdict.accepted is (False if method in {"x509", "tpm2"} else None)
    assert verdict.reason
    assert not explanation.accepted


def test_a_chain_tells_the_chip_id_for_each_rule() -> None:
    it = sample("x509")
    with_product = explain(b"".join(chain_of(it.evidence)), it.product, NOW)
    assert [(each.chip_id, each.chip_id_rule) for each in with_product.methods] == [
        ("CHIP-000001", "serialNumber")
    ]
    without = explain(b"".join(chain_of(it.evidence)), None, NOW)
    assert without.accepted
    found = {each.chip_id_rule: each.chip_id for each in without.methods if each.method == "x509"}
    assert found["serialNumber"] == "CHIP-000001"
    assert "CN" not in found
    assert len(found["key"]) == len(found["device-id-key"]) == 64
    assert found["certificate-serial"]


def test_a_file_with_the_root_at_its_end_is_read_and_said() -> None:
    vendor = X509Vendor()
    attester = vendor.attester("CHIP-000001")
    text = "".join(pem(each) for each in (*attester.chain, vendor.root.certificate))
    product = product_of("x509", vendor.product_section())
    explanation = explain(f"subject=anything\n{text}".encode(), product, NOW)
    assert explanation.accepted
    assert "evidence goes without its root" in texts(explanation)
    with_root = cbor2.dumps([b"signature", [*attester.chain, vendor.root.certificate]], canonical=True)
    refused = explain(with_root, product, NOW)
    assert not refused.accepted
    assert "leave the root out" in texts(refused)


def test_a_file_that_ends_with_the_ca_that_is_pinned_is_read_and_said() -> None:
    folder = SILICON / "optiga-trust-m"
    chip, ca = (
        (folder / f"infineon-{name}.pem").read_text("ascii") for name in ("iot-node", "optiga-trust-m-ca-101")
    )
    rule = 'chip_id = { from = "certificate-serial" }'
    product = product_of("x509", f'[evidence.x509]\nroots = ["""\n{ca}"""]\n{rule}\n')
    now = datetime(2026, 11, 29, tzinfo=UTC)
    explanation = explain(f"{chip}{ca}".encode(), product, now)
    assert explanation.accepted
    assert "the last certificate is pinned by the product, and was left aside" in texts(explanation)
    assert explanation.methods == explain(chip.encode(), product, now).methods


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"path": "reordered"}, "leaf"),
        ({"path": "cut"}, "add the CA that issued the last certificate"),
        ({"root": "another"}, "add the CA that issued the last certificate"),
        ({"names": ()}, "name another rule for the chip id"),
        ({"names": ("not a chip id",)}, "name another rule for the chip id"),
        ({"leaf_ca": True, "usage": ("key_cert_sign",)}, "begins with the attestation key's certificate"),
        ({"usage": ("key_agreement",)}, "digitalSignature"),
        ({"flags": (3,)}, "lock the chip"),
        ({"validity": "expired"}, "valid"),
    ],
)
def test_what_is_wrong_has_a_remedy(wrong: dict[str, object], words: str) -> None:
    it = sample("x509", **wrong)
    explanation = explain(it.evidence, it.product, NOW)
    assert not explanation.accepted
    assert words in texts(explanation)


def test_what_cannot_be_a_root_is_said() -> None:
    leaf = X509Vendor().attester("CHIP-000001").chain[0]
    damaged = leaf[:-80] + bytes(8) + leaf[-72:]
    explanation = explain(leaf + damaged.replace(b"\x06\x08\x2a\x86\x48", b"\x06\x08\x2a\x86\x80"), None, NOW)
    assert not explanation.accepted
    assert all(verdict.remedy for verdict in explanation.methods)


def test_what_reaches_too_little_is_said() -> None:
    vendor = X509Vendor()
    section = vendor.product_section()
    other = vendor.attester("CHIP-000001", digest=bytes(32))
    data = b"".join(other.chain)
    assert explain(data, product_of("x509", section, "chip"), NOW).accepted
    refused = explain(data, product_of("x509", section, "key"), NOW)
    assert not refused.accepted
    assert "level chip, and the product demands key" in texts(refused)
    assert "FWID" in texts(refused)
    born = X509Vendor(measures=False, certifies_born_keys=True)
    explanation = explain(
        b"".join(born.attester("CHIP-1").chain), product_of("x509", born.product_section(), "key"), NOW
    )
    assert explanation.accepted
    assert "only for a CSR of the certified key itself" in texts(explanation)


def test_a_token_of_an_open_chip_and_of_unknown_firmware() -> None:
    it = sample("psa-token", lifecycle="unknown")
    refused = explain(it.evidence, it.product, NOW)
    assert not refused.accepted
    assert "move the chip's lifecycle to `secured`" in texts(refused)


@pytest.mark.parametrize("method", ["psa-token", "nrf91"])
def test_a_list_of_identities_closes_what_was_open(method: str) -> None:
    chip_id = UUID if method == "nrf91" else "CHIP-000001"
    it = sample(method)
    line = VENDORS[method].attester(chip_id).identity()
    assert line is not None
    own = parse_line(json.dumps(line).encode())
    explanation = explain(it.evidence, it.product, NOW, {own.key_id: own}.get)
    assert explanation.accepted
    assert explanation.methods[0].chip_id == chip_id
    assert "ok signed by the key that the list has" in texts(explanation)
    unknown = explain(it.evidence, it.product, NOW, lambda _: None)
    assert not unknown.accepted
    assert "no line of the list has this key id" in texts(unknown)
    # The same key id, and another chip's key.
    key = keys.make_key("p256")
    other = replace(own, spki=keys.public_der(key))
    refused = explain(it.evidence, it.product, NOW, {own.key_id: other}.get)
    assert not refused.accepted
    assert "signature does not verify" in texts(refused)


def test_certificates_are_looked_at_for_the_day_that_is_asked_for() -> None:
    it = sample("tpm2")
    assert explain(it.evidence, it.product, NOW).accepted
    later = explain(it.evidence, it.product, NOW + timedelta(days=20 * 365))
    assert not later.accepted
    assert "--at" in texts(later)


def test_a_csr_by_the_products_keys() -> None:
    csr = sample("x509").csr
    assert explain(csr, None, NOW).accepted
    p384 = parse_product(SENSOR.replace('accept = ["p256"', 'accept = ["p384"', 1))
    explanation = explain(csr, p384, NOW)
    if "p256" not in p384.keys.accept:
        assert not explanation.accepted
        assert "keys.accept" in texts(explanation)
    damaged = explain(csr[:-1] + bytes([csr[-1] ^ 1]), None, NOW)
    assert not damaged.accepted
    assert "after it was signed" in texts(damaged)


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        (
            "openssl-ed25519",
            "csr_rejected: the self-signature's algorithm is not on the list",
            "sign with ECDSA or RSA",
        ),
        ("openssl-ca", "csr_rejected: it asks for a CA certificate", "leave the extension out"),
        ("rebuilt-asks-for-ca-second", "csr_rejected: it asks for an extension twice", "each extension once"),
    ],
)
def test_a_csr_that_is_refused_has_its_own_remedy(name: str, reason: str, remedy: str) -> None:
    (line,) = (line for line in explain((CSRS / f"{name}.der").read_bytes(), None, NOW).lines if line.remedy)
    assert (line.text, remedy in line.remedy) == (reason, True)
    assert "Ed25519" not in line.remedy


def test_one_certificate_that_cannot_be_read_is_wrong() -> None:
    # The first field is no version: neither a CSR nor a certificate.
    data = (CSRS / "rebuilt-field-behind-attributes.der").read_bytes()
    explanation = explain(data, None, NOW)
    assert (explanation.kind, explanation.accepted) == ("a certificate", False)
    assert not explain(pem(data).encode(), None, NOW).accepted
    assert explain(chain_of(sample("x509").evidence)[0], None, NOW).accepted


def test_the_same_file_in_each_form() -> None:
    it = sample("tpm2")
    for data, written in (
        (it.evidence, "binary"),
        (it.evidence.hex().encode() + b"\n", "hexadecimal"),
        (it.evidence.hex(":").encode(), "hexadecimal"),
        (base64.encodebytes(it.evidence), "Base64"),
        (base64.urlsafe_b64encode(it.evidence).rstrip(b"="), "Base64"),
    ):
        explanation = explain(data, it.product, NOW)
        assert explanation.accepted
        assert f"read as {written}" in texts(explanation)
    body = base64.encodebytes(it.csr).decode()
    for label in ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"):
        text = f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"
        assert explain(text.replace("\n", "\r\n").encode(), None, NOW).kind == "a CSR"


def test_what_a_modem_printed() -> None:
    it = sample("nrf91")
    keygen, token = cbor2.loads(it.evidence)
    text = f'%KEYGEN: "{keygen}"\nOK\n%ATTESTTOKEN: "{token}"\nOK\n'.encode()
    assert explain(text, it.product, NOW).accepted
    with pytest.raises(Unrecognized, match="AT%ATTESTTOKEN"):
        explain(text.splitlines()[0], it.product, NOW)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (bytes(MAX_FILE_BYTES + 1), "more than"),
        (b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "private key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PUBLIC KEY"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "cut"),
        (b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n", "Base64"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" * 9, "at most 6"),
        (b"\x30\x82\x01\x00", "was it cut"),
        (b"\x30\x00", "neither a CSR"),
        (bytes(32), "hmac-sha256"),
        (b"hello", "neither"),
        (b"\x83\x01\x02\x03", "neither"),
    ],
)
def test_other_files_are_told_apart(data: bytes, words: str) -> None:
    with pytest.raises(Unrecognized, match=f"(?i){words}"):
        explain(data, None, NOW)


def test_hostile_bytes_end_in_a_verdict_or_in_unrecognized() -> None:
    """Bounded time, one exception, and no text with control characters."""
    rng = random.Random(9)
    seeds = [data for method in VENDORS for it in (sample(method),) for data in (it.evidence, it.csr)]
    seeds += [b"".join(chain_of(sample("x509").evidence)), b'%KEYGEN: "' * 9000, b"-----BEGIN " * 9000]
    seeds += [
        b"-----BEGIN A-----" + b" " * 100_000,
        b"30" * 60_000,
        b"A" * 100_000,
        b"\x30\x84" + b"\xff" * 99,
    ]
    seeds += [b"-----BEGIN CERTIFICATE-----\n" * 4000, b"\xd2" * 4000, b"\x82" * 4000, b"\x9f" * 4000]
    product = sample("x509").product
    for turn in range(600):
        data = bytearray(seeds[turn % len(seeds)])
        for _ in range(turn // len(seeds) % 4):
            data[rng.randrange(len(data))] = rng.randrange(256)
        start = time.perf_counter()
        try:
            said = texts(explain(bytes(data), product if turn % 2 else None, NOW))
        except Unrecognized as error:
            said = str(error)
        assert time.perf_counter() - start < 2
        assert all(line.isprintable() for line in said.split("\n"))


def test_text_of_a_certificate_cannot_steer_a_terminal() -> None:
    attester = X509Vendor().attester("CHIP-1", names=("\x1b[2J\x1b]0;owned\x07\n  ok     accepted",))
    said = texts(explain(b"".join(attester.chain), None, NOW))
    assert "\x1b" not in said
    assert not any("accepted" in line and line.startswith("  ok") for line in said.split("\n"))
