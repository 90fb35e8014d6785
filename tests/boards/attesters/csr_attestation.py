"""Evidence inside the CSR: the attribute id-aa-attestation (docs/formats.md, "Evidence inside the CSR").

Made in two passes: evidence over the CertificationRequestInfo without the attribute, then the CSR with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cbor2

from boards import keys

SEQUENCE, SET, ATTRIBUTES, OCTET_STRING, OBJECT, IA5_STRING = 0x30, 0x31, 0xA0, 0x04, 0x06, 0x16
ID_AA_ATTESTATION = bytes.fromhex("060b2a864886f70d010910023b")  # 1.2.840.113549.1.9.16.2.59
TPM_CERTIFY = bytes.fromhex("06056781051401")  # 2.23.133.20.1
CMW = bytes.fromhex("06082b06010505070123")  # 1.3.6.1.5.5.7.1.35
PSA_TOKEN_TYPE = 'application/eat+cwt; eat_profile="tag:psacertified.org,2023:psa#tfm"'


def der(tag: int, *parts: bytes) -> bytes:
    """One DER element."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    head = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(head)]) + head + content


def split(data: bytes) -> list[bytes]:
    """The elements inside an element."""
    found, start = [], _head(data, 0)
    while start < len(data):
        first = _head(data, start)
        end = first + _size(data, start)
        found.append(data[start:end])
        start = end
    return found


def _head(data: bytes, start: int) -> int:
    return start + 2 + (data[start + 1] & 0x7F if data[start + 1] >= 0x80 else 0)


def _size(data: bytes, start: int) -> int:
    short = data[start + 1]
    return short if short < 0x80 else int.from_bytes(data[start + 2 : _head(data, start)], "big")


def statement(kind: bytes, stmt: bytes, *more: bytes) -> bytes:
    """AttestationStatement; `more`: members that the form does not have, as a hint."""
    return der(SEQUENCE, kind, stmt, *more)


def bundle(statements: Sequence[bytes], certificates: Sequence[bytes] | None = None) -> bytes:
    """AttestationBundle."""
    certs = () if certificates is None else (der(SEQUENCE, *certificates),)
    return der(SEQUENCE, der(SEQUENCE, *statements), *certs)


def tpm_bundle(evidence: bytes) -> bytes:
    """Of the evidence bytes of method `tpm2`."""
    attest, signature, public, chain = cbor2.loads(evidence)
    stmt = der(SEQUENCE, *(der(OCTET_STRING, part) for part in (attest, signature, public)))
    return bundle([statement(TPM_CERTIFY, stmt)], chain or None)


def cmw_bundle(token: bytes, kind: str | int = PSA_TOKEN_TYPE, *indicator: int) -> bytes:
    """Of the evidence bytes of method `psa-token`: a CMW record."""
    record = cbor2.dumps([kind, token, *indicator], canonical=True)
    return bundle([statement(CMW, der(OCTET_STRING, record))])


BUNDLES: dict[str, Callable[[bytes], bytes]] = {"tpm2": tpm_bundle, "psa-token": cmw_bundle}


@dataclass(frozen=True, slots=True)
class Parts:
    """A CSR taken apart, so that attributes can be added."""

    head: tuple[bytes, ...]  # version, subject, public key
    attributes: tuple[bytes, ...]
    algorithm: bytes

    @classmethod
    def of(cls, csr: bytes) -> Parts:
        info, algorithm, _ = split(csr)
        *head, attributes = split(info)
        return cls(tuple(head), tuple(split(attributes)), algorithm)

    def info(self, *more: bytes) -> bytes:
        """CertificationRequestInfo with further attributes, in DER's order."""
        return der(SEQUENCE, *self.head, der(ATTRIBUTES, *sorted((*self.attributes, *more))))

    def signed(self, key: keys.PrivateKey, info: bytes) -> bytes:
        return der(SEQUENCE, info, self.algorithm, der(0x03, b"\x00", keys.sign(key, info)))


def attribute(*values: bytes, kind: bytes = ID_AA_ATTESTATION) -> bytes:
    return der(SEQUENCE, kind, der(SET, *values))


def wrap(
    key: keys.PrivateKey,
    csr: bytes,
    method: str,
    attest: Callable[[bytes], bytes],
) -> bytes:
    """The CSR once more, with evidence inside.

    Args:
        key: the board's key, which signs the CSR.
        csr: the request without evidence.
        method: whose evidence `attest` makes: `tpm2` or `psa-token`.
        attest: makes evidence for what stands in the place of the CSR in the transcript: the
            CertificationRequestInfo without the attribute.
    """
    parts = Parts.of(csr)
    evidence = attest(parts.info())
    return parts.signed(key, parts.info(attribute(BUNDLES[method](evidence))))
