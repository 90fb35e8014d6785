"""Structures inside evidence, for themselves: what a genuine key may have signed for a hostile firmware."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from boards import keys
from boards.attesters import csr_attestation
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Vendor
from boards.attesters.x509 import TCB_INFO, X509Vendor, tcb_info
from harness.evidence_samples import rules_for
from signerd.core.csr import check_csr
from signerd.core.evidence import chain, cose, dice, nrf91, psa_token, tpm_structures
from signerd.core.evidence.certificate import Certificate, read_certificate
from signerd.core.evidence.method import EvidenceError
from signerd.core.names import KeyType
from signerd.errors import Refused

Runner = Callable[[bytes], None]
Seeds = Callable[[], list[bytes]]

CHIP = "CHIP-000001"
UUID = "50363154-3931-44f0-8022-121b6401627d"


def _answers(parse: Callable[[bytes], object], *errors: type[Exception]) -> Runner:
    def run(data: bytes) -> None:
        try:
            parse(data)
        except errors:
            return

    return run


def _csr() -> bytes:
    return keys.make_csr(keys.make_key("p256"), CHIP)


def _tokens() -> list[bytes]:
    signed = PsaVendor().attester(CHIP).attest(b"transcript", b"")
    return [signed, bytes([0xD1]) + signed[1:]]  # the same parts under the tag of a COSE_Mac0


def _token_claims() -> list[bytes]:
    return [cbor2.loads(token).value[2] for token in _tokens()[:1]]


@cache
def _certificates() -> tuple[list[bytes], tuple[Certificate, ...]]:
    """A chain, and the roots that it ends at."""
    vendor = X509Vendor()
    evidence = vendor.attester(CHIP).attest(b"transcript", _csr())
    rules = rules_for("x509", vendor.product_section()).x509
    assert rules is not None
    return cbor2.loads(evidence)[1], rules.roots


def _validate(data: bytes) -> chain.ValidChain:
    certificates, roots = _certificates()
    return chain.validate_chain([data, *certificates[1:]], roots, _NOW, critical=dice.EXTENSIONS)


def _tpm_part(position: int) -> Seeds:
    return lambda: [cbor2.loads(Tpm2Vendor().attester(CHIP).attest(b"transcript", _csr()))[position]]


def _csrs_with_evidence() -> list[bytes]:
    key = keys.make_key("p256")
    plain = keys.make_csr(key, CHIP)
    tpm, psa = Tpm2Vendor().attester(CHIP), PsaVendor().attester(CHIP)
    return [
        csr_attestation.wrap(key, plain, "tpm2", lambda info: tpm.attest(info, plain)),
        csr_attestation.wrap(key, plain, "psa-token", lambda info: psa.attest(info, plain)),
    ]


def _nrf91read_evidence(data: bytes) -> object:
    """The texts and all that is in them, but for the signatures."""
    return [nrf91._split(text) for text in nrf91.read_evidence(data)]


def _nrf91_seeds() -> list[bytes]:
    return [Nrf91Vendor().attester(UUID).attest(b"transcript", _csr())]


_CA = ec.generate_private_key(ec.SECP256R1())
_NAME = x509.Name([])
_NOW = datetime.now(UTC)


def _dice(data: bytes) -> None:
    """TcbInfo can be read from a certificate alone: one is made around it."""
    value = x509.UnrecognizedExtension(x509.ObjectIdentifier(TCB_INFO), data)
    builder = x509.CertificateBuilder(_NAME, _NAME, _CA.public_key(), 1, _NOW, _NOW + timedelta(days=1))
    certificate = builder.add_extension(value, critical=False).sign(_CA, hashes.SHA256())
    try:
        dice.measured_firmware([read_certificate(certificate.public_bytes(Encoding.DER))], accepted=())
    except EvidenceError:
        return


def _dice_seeds() -> list[bytes]:
    return [tcb_info(), tcb_info(flags=(3,)), tcb_info((bytes(32), bytes(32)))]


INNER: dict[str, tuple[Runner, Seeds]] = {
    "cose": (_answers(cose.read_message, cose.CoseError), _tokens),
    "psa-claims": (_answers(psa_token.read_claims, EvidenceError), _token_claims),
    "nrf91-texts": (_answers(_nrf91read_evidence, EvidenceError), _nrf91_seeds),
    "tpm-attest": (_answers(tpm_structures.parse_attest, EvidenceError), _tpm_part(0)),
    "tpm-signature": (_answers(tpm_structures.parse_signature, EvidenceError), _tpm_part(1)),
    "tpm-public": (_answers(tpm_structures.parse_public, EvidenceError), _tpm_part(2)),
    "certificate": (_answers(_validate, EvidenceError), lambda: [_certificates()[0][0]]),
    "dice": (_dice, _dice_seeds),
    "csr-attestation": (
        _answers(lambda data: check_csr(data, accepted=tuple(KeyType)), Refused),
        _csrs_with_evidence,
    ),
}
