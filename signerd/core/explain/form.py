"""What kind of file it is: by its bytes, never by its name.

A CSR, one certificate or a chain (PEM, or DER one after the other), a token, or evidence as a board hands it
over; each also as one line of hexadecimal or Base64, which is how logs show them. What a modem prints for
`AT%KEYGEN` and `AT%ATTESTTOKEN` may stand in a file as it was printed.

The file is a stranger's. Its size is bounded, each part is read by the strict readers that the daemon uses,
and `Unrecognized` is all that is raised.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass

from signerd.core import der, strict_cbor
from signerd.core.der import DerError
from signerd.core.evidence.chain import MAX_CERTIFICATES
from signerd.core.evidence.method import MAX_EVIDENCE_BYTES
from signerd.core.strict_cbor import CborError

MAX_FILE_BYTES = 131_072  # six certificates of 8 KiB in PEM, with what OpenSSL writes above each
_MAX_PARTS = MAX_CERTIFICATES + 2  # a root, and one more to say something about

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*?)-----END \1-----")
_PEM_BEGIN = b"-----BEGIN "
_CERTIFICATE_LABELS = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE"})
_CSR_LABELS = frozenset({b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"})
_HEXADECIMAL = re.compile(rb"(?:[0-9A-Fa-f]{2}[\s:]*)+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\s-]+=*\s*")
# `%KEYGEN: "….…"`: two parts in Base64url. ATTESTTOKEN's is the shorter one and has no CSR before the dot.
_MODEM = re.compile(rb"%(KEYGEN|ATTESTTOKEN): ?\"([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)\"")
_ATTRIBUTES = 0xA0
_COSE = {0xD2: "psa-token", 0xD1: "psa-token"}  # COSE_Sign1 and COSE_Mac0, tagged (RFC 9052 §2)


class Unrecognized(ValueError):  # noqa: N818 (an outcome, like Refused)
    """It is none of the files that can be explained. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Csr:
    """A PKCS#10 request, DER."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Certificates:
    """Certificates in the order of the file, DER."""

    data: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """Evidence, as it stands in `SignCsr`."""

    method: str
    data: bytes


Content = Csr | Certificates | EvidenceFile


def recognize(data: bytes) -> tuple[Content, str]:
    """What the file holds, and how it was written.

    Raises:
        Unrecognized: none of the kinds above.
    """
    if not data:
        raise Unrecognized("the file is empty")
    if len(data) > MAX_FILE_BYTES:
        raise Unrecognized(f"more than {MAX_FILE_BYTES} bytes: no CSR, chain, token or evidence is so large")
    if _PEM_BEGIN in data:
        return _pem(data), "PEM"
    content = _binary(data)
    if content is not None:
        return content, "binary"
    return _text(data)


def _pem(data: bytes) -> Content:
    parts = [(match[1], match[2]) for match in _PEM.finditer(data)]
    if len(parts) != data.count(_PEM_BEGIN):
        raise Unrecognized("a PEM block is cut, or holds what is not Base64")
    labels = {label for label, _ in parts}
    if any(label.endswith(b"PRIVATE KEY") for label in labels):
        raise Unrecognized(
            "a private key is in the file: signerd wants none, and whoever got the file has it"
        )
    if labels <= _CSR_LABELS and len(parts) == 1:
        return Csr(_decoded(parts[0][1]))
    if labels <= _CERTIFICATE_LABELS:
        return _certificates([_decoded(text) for _, text in parts])
    found = ", ".join(sorted(label.decode() for label in labels))
    raise Unrecognized(f"PEM of {found}: wanted is one CERTIFICATE REQUEST, or CERTIFICATEs alone")


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise Unrecognized(f"a PEM block is not Base64: {error}") from error


def _certificates(parts: list[bytes]) -> Certificates:
    if len(parts) > _MAX_PARTS:
        raise Unrecognized(f"{len(parts)} certificates: a chain has at most {MAX_CERTIFICATES}, and its root")
    return Certificates(tuple(parts))


def _binary(data: bytes) -> Content | None:
    if data[0] == der.SEQUENCE:
        return _der(data)
    if data[0] in _COSE:
        return EvidenceFile(_COSE[data[0]], data)
    return _cbor(data)


def _der(data: bytes) -> Content:
    try:
        parts = der.elements(data)
        fields = der.elements(der.content(der.split_signed(parts[0])[0], der.SEQUENCE))
    except DerError as error:
        raise Unrecognized(
            f"it begins like DER, and is neither a CSR nor certificates: {error}. Was it cut, or transferred"
            " as text?"
        ) from error
    tags = [field[0] for field in fields]
    if tags[:3] == [der.INTEGER, der.SEQUENCE, der.SEQUENCE] and tags[3:] in ([], [_ATTRIBUTES]):
        if len(parts) > 1:
            raise Unrecognized("something follows the CSR")
        return Csr(data)
    return _certificates(parts)


def _cbor(data: bytes) -> Content | None:
    try:
        item = strict_cbor.decode(data, max_bytes=MAX_EVIDENCE_BYTES)
    except CborError:
        return None
    match item:
        case [bytes(), list()]:
            return EvidenceFile("x509", data)
        case [bytes(), bytes(), bytes(), list()]:
            return EvidenceFile("tpm2", data)
        case [str(), str()]:
            return EvidenceFile("nrf91", data)
        case _:
            return None


def _text(data: bytes) -> tuple[Content, str]:
    modem = dict(_MODEM.findall(data))
    if modem:
        return _modem(modem), "as the modem printed it"
    for form, decode, name in _READERS:
        if form.fullmatch(data):
            try:
                inner = decode(data)
            except ValueError:
                continue
            content = _binary(inner) if inner else None
            if content is not None:
                return content, name
    raise Unrecognized(
        "neither a CSR nor certificates (PEM or DER), nor a COSE token, nor evidence in CBOR, nor one of them"
        " in hexadecimal or Base64. A MAC of hmac-sha256 has no form to explain: only the HSM can check it"
    )


def _modem(found: dict[bytes, bytes]) -> Content:
    if found.keys() != {b"KEYGEN", b"ATTESTTOKEN"}:
        missing = {b"KEYGEN", b"ATTESTTOKEN"} - found.keys()
        raise Unrecognized(
            f"evidence of nrf91 is two lines; AT%{missing.pop().decode()}'s is not in the file"
        )
    texts = [found[name].decode("ascii") for name in (b"KEYGEN", b"ATTESTTOKEN")]
    return EvidenceFile("nrf91", strict_cbor.encode(texts))


def _from_hex(data: bytes) -> bytes:
    return bytes.fromhex(re.sub(rb"[\s:]", b"", data).decode("ascii"))


def _from_base64(data: bytes) -> bytes:
    text = b"".join(data.split()).replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)


_READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], bytes], str], ...] = (
    (_HEXADECIMAL, _from_hex, "hexadecimal"),
    (_BASE64, _from_base64, "Base64"),
)
