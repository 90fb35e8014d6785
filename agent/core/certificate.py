"""Checks signerd's answer before a board stores it.

In: what was asked, what came back, and what was pinned at enrolment. Out: `CheckedCertificate`, the only
thing that `provision` hands to a board. So a wrong signerd, an answer meant for another board, or one
that the ledger does not hold is caught while the board can still be used.

The checks, in order:

1. The certificate is for the public key of the board's own CSR, and is no CA.
2. Its chain leads to the pinned device root, and allows it (`agent.core.chain`).
3. The settings are a canonical map and hold the serial number.
4. The ledger entry speaks of this certificate, chip, order, serial number and settings.
5. The receipt proves that entry, under the pinned log key, and as many pinned witnesses cosigned as are
   demanded.

Times are not compared here: a factory PC's clock is nobody's evidence, and the certificate's are signerd's.
Whether the two clocks agree is looked at with each answer (`agent.core.clocks`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from agent.core import strict_cbor
from agent.core.chain import MAX_CHAIN, check_chain, extension
from agent.core.log_keys import LogKey
from agent.core.receipt import ReceiptError, UncosignedError, require, verify_receipt
from agent.core.strict_cbor import CborError
from agent.errors import BadAnswer, BoardError, NotCosigned

MAX_CREDENTIAL_BYTES = 16_384  # docs/board-protocol.md, contents
MAX_SETTINGS_BYTES = 8_192
MAX_SERIAL_CHARACTERS = 64
_SERIAL_NUMBER = re.compile(r"[A-Za-z0-9._:-]{1,64}")  # docs/formats.md, "Names and bounds"


@dataclass(frozen=True, slots=True)
class Trust:
    """What was pinned at enrolment."""

    device_roots: tuple[x509.Certificate, ...]  # one for each chain that issuers have, or had
    log_key: LogKey


@dataclass(frozen=True, slots=True)
class Asked:
    """What the answer must be an answer to."""

    work_order: str
    chip_id: str
    csr_der: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What signerd said, as it came (`SignCsrResponse`)."""

    certificate_der: bytes
    chain_der: tuple[bytes, ...]
    serial_number: str
    settings: bytes
    index: int
    entry: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class CheckedCertificate:
    """An answer that holds. `credential` is the content that the board stores."""

    certificate: x509.Certificate
    certificate_sha256: bytes
    serial_number: str
    settings: bytes
    settings_sha256: bytes
    credential: bytes
    credential_sha256: bytes


def check_answer(asked: Asked, answer: Answer, trust: Trust) -> CheckedCertificate:
    """Makes the five checks of the module.

    Raises:
        BadAnswer: one of them fails; its text says which.
        NotCosigned: all hold, but for the number of cosignatures.
        BoardError: `bad_answer`, the board's CSR holds no readable public key.
    """
    certificate = _load(answer.certificate_der)
    if _spki(certificate) != request_spki(asked.csr_der):
        raise BadAnswer("the certificate is for another key than the board's")
    if _is_ca(certificate):
        raise BadAnswer("the certificate is a CA certificate")
    if len(answer.chain_der) > MAX_CHAIN:
        raise BadAnswer("the chain has too many issuers")
    check_chain(certificate, [_load(der) for der in answer.chain_der], trust.device_roots)
    _check_settings(answer)
    digest = hashlib.sha256(answer.certificate_der).digest()
    settings_digest = hashlib.sha256(answer.settings).digest()
    serial = certificate.serial_number
    _check_ledger(
        answer,
        trust,
        {
            "type": "issued",
            "work_order": asked.work_order,
            "chip_id": asked.chip_id,
            "serial_number": answer.serial_number,
            "certificate_serial": serial.to_bytes((serial.bit_length() + 7) // 8, "big").hex(),
            "certificate_sha256": digest.hex(),
            "spki_sha256": hashlib.sha256(_spki(certificate)).hexdigest(),
            "settings_sha256": settings_digest.hex(),
        },
    )
    credential = strict_cbor.encode([answer.certificate_der, list(answer.chain_der)])
    if len(credential) > MAX_CREDENTIAL_BYTES:
        raise BadAnswer("certificate and chain are larger than a board takes")
    return CheckedCertificate(
        certificate,
        digest,
        answer.serial_number,
        answer.settings,
        settings_digest,
        credential,
        hashlib.sha256(credential).digest(),
    )


def request_spki(csr_der: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a CSR (RFC 2986 §4.1), DER, re-encoded.

    It is cut out of the DER by hand: boards in the field write NULL parameters into the signature
    algorithm, and `cryptography` refuses such a CSR as a whole.

    Raises:
        BoardError: `bad_answer`, there is none.
    """
    try:
        info = _content(_content(csr_der))
        for _ in range(2):  # version, subject
            info = info[_length(info) :]
        key = load_der_public_key(info[: _length(info)])
    except (ValueError, IndexError, UnsupportedAlgorithm) as error:
        raise BoardError("bad_answer", "the board's request holds no readable public key") from error
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _header(der: bytes) -> tuple[int, int]:
    """Header size and content size, in bytes, of the DER item at the front (X.690 §8.1)."""
    first = der[1]
    if first < 0x80:
        return 2, first
    count = first & 0x7F
    if not 1 <= count <= 3:
        raise ValueError("length form")
    if len(der) < 2 + count:
        raise ValueError("cut short")
    return 2 + count, int.from_bytes(der[2 : 2 + count], "big")


def _length(der: bytes) -> int:
    header, size = _header(der)
    if header + size > len(der):
        raise ValueError("cut short")
    return header + size


def _content(der: bytes) -> bytes:
    if der[0] != 0x30:
        raise ValueError("not a SEQUENCE")
    return der[_header(der)[0] : _length(der)]


def _load(der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        # Forces the parts that are parsed late.
        _ = certificate.extensions, certificate.public_key(), certificate.signature_hash_algorithm
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise BadAnswer("a certificate in the answer cannot be read") from error
    return certificate


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _check_settings(answer: Answer) -> None:
    if _SERIAL_NUMBER.fullmatch(answer.serial_number) is None:
        raise BadAnswer("the serial number is not of its form")
    try:
        settings = strict_cbor.decode(answer.settings, max_bytes=MAX_SETTINGS_BYTES, max_depth=5)
    except CborError as error:
        raise BadAnswer("the settings are not canonical CBOR") from error
    if not isinstance(settings, dict) or settings.get("serial") != answer.serial_number:
        raise BadAnswer("the settings do not hold the serial number")


def _check_ledger(answer: Answer, trust: Trust, expected: dict[str, object]) -> None:
    try:
        require(answer.entry, expected)
        verify_receipt(answer.proof, answer.entry, answer.index, trust.log_key)
    except UncosignedError as error:
        raise NotCosigned(str(error)) from error
    except ReceiptError as error:
        raise BadAnswer(str(error)) from error
