"""A board's CSR (PKCS#10, RFC 2986), as far as an auditor cares: whose key signed it.

One deviation is tolerated, which boards in the field show: NULL parameters in an ECDSA
AlgorithmIdentifier (against RFC 5758 §3.2). The signature does not cover that field.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auditor.core.findings import Code
from auditor.errors import CheckFailed

MAX_CSR = 8_192  # bytes
X509_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_ECDSA = bytes.fromhex("06082a8648ce3d0403")  # OID 1.2.840.10045.4.3.x, but its last byte
_NULL = b"\x05\x00"


def check_csr(data: bytes, spki: bytes) -> None:
    """Checks that the CSR is signed by its own key, and that this is the certified one (SPKI, DER).

    Raises:
        CheckFailed: CSR.
    """
    if not 0 < len(data) <= MAX_CSR:
        raise CheckFailed(Code.CSR, "the CSR's size", expected=f"1 to {MAX_CSR}", found=str(len(data)))
    try:
        request = x509.load_der_x509_csr(_without_null(data))
        key = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        signed = request.is_signature_valid
    except X509_ERRORS as error:
        raise CheckFailed(Code.CSR, f"the CSR cannot be read: {type(error).__name__}") from error
    if key != spki:
        raise CheckFailed(Code.CSR, "the CSR is of another key than the certificate")
    if not signed:
        raise CheckFailed(Code.CSR, "the CSR's self-signature is wrong")


def _without_null(data: bytes) -> bytes:
    """The CSR without NULL parameters in an ECDSA AlgorithmIdentifier; anything else as it is."""
    outer, end = _content(data, 0)
    if end != len(data):
        return data
    _, info_end = _content(data, outer)
    algorithm, algorithm_end = _content(data, info_end)
    value = data[algorithm:algorithm_end]
    if len(value) != 12 or not value.startswith(_ECDSA) or not value.endswith(_NULL):
        return data
    body = data[outer:info_end] + b"\x30\x0a" + value[:-2] + data[algorithm_end:]
    return b"\x30" + _length(len(body)) + body


def _content(data: bytes, start: int) -> tuple[int, int]:
    """Start and end of a SEQUENCE's content. Raises ValueError unless there is one, in DER."""
    if data[start : start + 1] != b"\x30" or len(data) < start + 2:
        raise ValueError("no SEQUENCE")
    first = data[start + 1]
    size = 0 if first < 0x80 else first & 0x7F
    if size > 2:
        raise ValueError("no length of at most two bytes")
    content = start + 2 + size
    length = int.from_bytes(data[start + 2 : content], "big") if size else first
    if _length(length) != data[start + 1 : content] or content + length > len(data):
        raise ValueError("no DER length")
    return content, content + length


def _length(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    size = (value.bit_length() + 7) // 8
    return bytes((0x80 | size,)) + value.to_bytes(size, "big")
