"""What the key holder signs, and what it refuses whoever asks. Pure: bytes and a moment in, or a refusal.

Guarantees, even if signerd itself is taken over:

  * certificates: leaves of the own issuer alone, under another name than its own in any spelling, with keys
    on P-256 or P-384 or of RSA with 2048 to 4096 bits, within the validity cap, no delegated OCSP responder,
    and beside the extensions of RFC 5280 at most one statement about evidence, in its one form;
  * CRLs: the own issuer's, complete ones, at most 366 days;
  * checkpoints: the own log's, and never two roots at one size or a smaller size, while the process lives.

Section numbers are RFC 5280's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from signerd.adapters.keyholder.protocol import MAX_MESSAGE, MAX_TBS
from signerd.core import der, distinguished_names, evidence_extension, note
from signerd.core.chip_key import KEY_BYTES
from signerd.core.evidence.rules import PRIVATE_ENTERPRISES
from signerd.core.internal_key import MAX_DAY, MAX_ERA, START_BYTES, day_of
from signerd.core.issuer_algorithm import issuer_key
from signerd.core.names import MacKey, is_chip_id
from signerd.core.succession import number_of

NO_EXPIRY = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # 99991231235959Z, §4.1.2.5
_SESSION_DAYS = 3  # from now: sessions last a day at most, and clocks may differ
MAX_CLOCK_AHEAD = timedelta(minutes=5)
MAX_BACKDATING = timedelta(days=400)  # an intent that a crash left open keeps its notBefore
MAX_CRL_LIFETIME = timedelta(days=366)
MAX_SERIAL_OCTETS = 20  # §4.1.2.2
RSA_BITS = range(2048, 4096 + 1)  # the floor of the key policy; what a product accepts may be less
RSA_EXPONENT = 65537

_CURVES = frozenset({"secp256r1", "secp384r1"})
_VERSION_3 = bytes.fromhex("a003020102")
_VERSION_2_CRL = bytes.fromhex("020101")
_MAY_BE_CRITICAL = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}
# An allow-list: what a leaf of ours may say. Anything that widens powers is not on it.
_LEAF_EXTENSIONS = _MAY_BE_CRITICAL | {
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.CRL_DISTRIBUTION_POINTS,
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
    ExtensionOID.CERTIFICATE_POLICIES,
}
# A leaf with OCSPSigning could answer for the CA (RFC 6960 §4.2.2.2); "any" includes it.
_FORBIDDEN_USAGES = {ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_PARSER_ERRORS = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class SigningRefusedError(Exception):
    """The bytes are not something that this key signs. The text says why; it goes to our log alone."""


def _demand(holds: bool, otherwise: str) -> None:  # noqa: FBT001 # reads as an assertion
    if not holds:
        raise SigningRefusedError(otherwise)


@dataclass(frozen=True, slots=True)
class Authority:
    """The sub-CA, as its own certificate says."""

    subject: bytes  # Name, DER
    compared: distinguished_names.Compared  # the same, in the form that tells other spellings of it
    spki: bytes
    key_id: bytes
    not_after: datetime
    algorithm: bytes  # AlgorithmIdentifier of its signatures, DER

    @classmethod
    def from_certificate(cls, certificate_der: bytes) -> Authority:
        """Raises ValueError if it is no certificate of a CA with a key that issues and a key id."""
        certificate = x509.load_der_x509_certificate(certificate_der)
        key, algorithm = issuer_key(certificate.public_key())
        try:
            key_id = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound as error:
            raise ValueError("the CA's certificate has no subject key identifier") from error
        subject = _elements(certificate.tbs_certificate_bytes)[5]
        return cls(
            subject=subject,
            compared=distinguished_names.compared(subject),
            spki=_spki(key),
            key_id=key_id.digest,
            not_after=certificate.not_valid_after_utc,
            algorithm=algorithm.identifier,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What the configuration allows."""

    max_validity: timedelta
    allow_no_expiry: bool


class Guard:
    """The key holder's own look at what it is asked to sign."""

    def __init__(self, authority: Authority, limits: Limits, log: note.VerifierKey | None) -> None:
        """`log`: whose checkpoints it signs; None: nobody's."""
        self._authority = authority
        self._limits = limits
        self._log = log
        self._last: note.Checkpoint | None = None
        self._number = 1  # the log's successor that was signed last

    def check_certificate(self, tbs: bytes, now: datetime) -> None:
        """Raises SigningRefusedError unless `tbs` is the TBSCertificate of a leaf in bounds (§4.1)."""
        _demand(len(tbs) <= MAX_TBS, "larger than a leaf's TBS may be")
        try:
            certificate = x509.load_der_x509_certificate(der.signed(tbs, self._authority.algorithm, b"\x00"))
            _demand(certificate.tbs_certificate_bytes == tbs, "not strict DER")
            parts = _elements(tbs)
            self._check_frame(parts)
            _check_public_key(certificate, self._authority)
            self._check_validity(certificate, now)
            _check_extensions(certificate.extensions, self._authority)
        except _PARSER_ERRORS as error:
            raise SigningRefusedError(f"not a TBSCertificate: {error}") from error

    def _check_frame(self, parts: list[bytes]) -> None:
        # version, serial, algorithm, issuer, validity, subject, key, extensions: no unique ids (§4.1.2.8).
        _demand(len(parts) == 8 and parts[0] == _VERSION_3, "not a version 3 certificate with extensions")
        serial = _content(parts[1])
        _demand(len(serial) <= MAX_SERIAL_OCTETS, "the serial number has more than 20 octets")
        _demand(int.from_bytes(serial, "big", signed=True) > 0, "the serial number is not positive")
        _demand(parts[2] == self._authority.algorithm, "not the CA's signature algorithm")
        _demand(parts[3] == self._authority.subject, "another issuer")
        # A client that compares names as §7.1 does would take such a leaf for the CA itself.
        subject = distinguished_names.compared(parts[5], current=True)
        _demand(subject != self._authority.compared, "the subject is the CA itself")

    def _check_validity(self, certificate: x509.Certificate, now: datetime) -> None:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        _demand(begin < end, "the validity is empty")
        _demand(begin <= now + MAX_CLOCK_AHEAD, "begins in the future")
        _demand(begin >= now - MAX_BACKDATING, "begins too far in the past")
        if end == NO_EXPIRY and self._limits.allow_no_expiry:
            return
        _demand(end - begin <= self._limits.max_validity, "longer than the validity cap")
        _demand(end <= self._authority.not_after, "outlives the CA")

    def check_crl(self, tbs: bytes, now: datetime) -> None:
        """Raises SigningRefusedError unless `tbs` is the TBSCertList of a complete CRL in bounds (§5.1)."""
        try:
            crl = x509.load_der_x509_crl(der.signed(tbs, self._authority.algorithm, b"\x00"))
            _demand(crl.tbs_certlist_bytes == tbs, "not strict DER")
            parts = _elements(tbs)
            _demand(parts[0] == _VERSION_2_CRL, "not a version 2 CRL")
            _demand(parts[1] == self._authority.algorithm, "not the CA's signature algorithm")
            _demand(parts[2] == self._authority.subject, "another issuer")
            _check_crl_times(crl, now)
            _check_crl_extensions(crl.extensions, self._authority)
        except _PARSER_ERRORS as error:
            raise SigningRefusedError(f"not a TBSCertList: {error}") from error

    def check_checkpoint(self, body: bytes) -> None:
        """Raises SigningRefusedError unless `body` is a checkpoint of this log that contradicts none before.

        The memory moves before the signature: a signature that failed half-way may still exist.
        """
        try:
            checkpoint = note.parse_checkpoint(body)
        except note.NoteError as error:
            raise SigningRefusedError(f"not a checkpoint: {error}") from error
        _demand(checkpoint.body() == body, "not a checkpoint in its one spelling")
        number = None if self._log is None else number_of(checkpoint.origin, self._log.name)
        if number is None:
            raise SigningRefusedError("another log's checkpoint")
        _demand(number >= self._number, "of a log that has a successor")
        if number > self._number:
            self._number, self._last = number, None
        if self._last is not None:
            _demand(checkpoint.size >= self._last.size, "smaller than a checkpoint signed before")
            _demand(
                checkpoint.size > self._last.size or checkpoint.root == self._last.root,
                "another root at a size signed before",
            )
        self._last = checkpoint


def check_chip_id(chip_id: object) -> str:
    """The chip id, if it is of its form (docs/formats.md). Raises SigningRefusedError."""
    if not isinstance(chip_id, str) or not is_chip_id(chip_id):
        raise SigningRefusedError("not a chip id")
    return chip_id


def check_chip_key(key: object, hash_name: object) -> tuple[MacKey, str]:
    """Which of a chip's keys, and the hash of its HMAC. Raises SigningRefusedError."""
    if not isinstance(key, str) or not isinstance(hash_name, str):
        raise SigningRefusedError("no such key of a chip")
    if key not in set(MacKey) or hash_name not in KEY_BYTES:
        raise SigningRefusedError("no such key of a chip")
    if key == MacKey.CHIP and hash_name != "sha256":
        raise SigningRefusedError("no such key of a chip")
    return MacKey(key), hash_name


def check_session_day(arguments: list[object], now: datetime) -> tuple[int, int]:
    """The day of a session's end, and the era.

    Raises SigningRefusedError: it is not about now, so that whoever has the daemon today does not leave with
    keys of days to come.
    """
    match arguments:
        case [int(day), int(era)] if 0 <= day < MAX_DAY and 0 <= era < MAX_ERA:
            _demand(abs(day - day_of(now)) <= _SESSION_DAYS, "not a day of sessions of now")
            return day, era
        case _:
            raise SigningRefusedError("not a day and an era")


def check_start(arguments: list[object]) -> bytes:
    """The name of a start of signerd. Raises SigningRefusedError."""
    match arguments:
        case [bytes(start)] if len(start) == START_BYTES:
            return start
        case _:
            raise SigningRefusedError("not the name of a start")


def check_message(message: object) -> bytes:
    """The bytes under a chip's MAC, if in bounds. Raises SigningRefusedError."""
    if not isinstance(message, bytes) or not 1 <= len(message) <= MAX_MESSAGE:
        raise SigningRefusedError("not a message in bounds")
    return message


def _check_public_key(certificate: x509.Certificate, authority: Authority) -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        _demand(key.key_size in RSA_BITS, f"an RSA key of {key.key_size} bits")
        _demand(key.public_numbers().e == RSA_EXPONENT, "the RSA exponent is not 65537")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        _demand(key.curve.name in _CURVES, f"a key on {key.curve.name}")
    _demand(_spki(key) != authority.spki, "the key is the CA's own")


def _check_extensions(extensions: x509.Extensions, authority: Authority) -> None:
    found: dict[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]] = {}
    speaks_of_evidence = False
    for extension in extensions:
        if _is_evidence_statement(extension):
            _demand(not speaks_of_evidence, "two statements about evidence")
            speaks_of_evidence = True
            continue
        _demand(extension.oid in _LEAF_EXTENSIONS, f"extension {extension.oid.dotted_string} on a leaf")
        _demand(
            not extension.critical or extension.oid in _MAY_BE_CRITICAL,
            f"extension {extension.oid.dotted_string} is critical",
        )
        found[extension.oid] = extension
    constraints = found.get(ExtensionOID.BASIC_CONSTRAINTS)
    _demand(constraints is not None and constraints.critical, "no critical basic constraints")
    _demand(
        constraints is not None and constraints.value == x509.BasicConstraints(ca=False, path_length=None),
        "not a leaf",
    )
    usage = found.get(ExtensionOID.KEY_USAGE)
    if usage is not None and isinstance(usage.value, x509.KeyUsage):
        _demand(not usage.value.key_cert_sign, "may sign certificates")
        _demand(not usage.value.crl_sign, "may sign CRLs")
    extended = found.get(ExtensionOID.EXTENDED_KEY_USAGE)
    if extended is not None and isinstance(extended.value, x509.ExtendedKeyUsage):
        _demand(_FORBIDDEN_USAGES.isdisjoint(extended.value), "may answer for the CA")
    _check_authority_key_id(found.get(ExtensionOID.AUTHORITY_KEY_IDENTIFIER), authority)


def _is_evidence_statement(extension: x509.Extension[x509.ExtensionType]) -> bool:
    """True for a statement about evidence, under an OID of a private enterprise and not critical; False for
    what is no candidate for one. Raises SigningRefusedError for anything between."""
    oid = extension.oid.dotted_string
    if not oid.startswith(PRIVATE_ENTERPRISES):
        return False
    _demand(not extension.critical, f"extension {oid} is critical")
    # Some private OIDs have a meaning that the parser knows, such as signed certificate timestamps.
    if not isinstance(extension.value, x509.UnrecognizedExtension):
        raise SigningRefusedError(f"extension {oid} on a leaf")
    try:
        evidence_extension.parse(extension.value.value)
    except evidence_extension.EvidenceExtensionError as error:
        raise SigningRefusedError(f"extension {oid}: {error}") from error
    return True


def _check_authority_key_id(
    extension: x509.Extension[x509.ExtensionType] | None, authority: Authority
) -> None:
    expected = x509.AuthorityKeyIdentifier(authority.key_id, None, None)
    _demand(extension is not None and extension.value == expected, "the authority key id is not the CA's")


def _check_crl_times(crl: x509.CertificateRevocationList, now: datetime) -> None:
    begin, end = crl.last_update_utc, crl.next_update_utc
    _demand(abs(begin - now) <= MAX_CLOCK_AHEAD, "thisUpdate is not now")
    if end is None:
        raise SigningRefusedError("no nextUpdate")
    _demand(begin < end <= begin + MAX_CRL_LIFETIME, "nextUpdate is not within 366 days")


def _check_crl_extensions(extensions: x509.Extensions, authority: Authority) -> None:
    # A delta or partitioned CRL would hide revocations; so these two and no other (§5.2).
    found = {extension.oid: extension for extension in extensions}
    wanted = {ExtensionOID.CRL_NUMBER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER}
    _demand(set(found) == wanted, "the extensions are not CRL number and authority key id")
    _demand(not any(extension.critical for extension in found.values()), "a critical extension")
    _check_authority_key_id(found[ExtensionOID.AUTHORITY_KEY_IDENTIFIER], authority)


def _spki(key: object) -> bytes:
    # Encoded anew, so that two encodings of one point compare equal.
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise SigningRefusedError("neither an EC nor an RSA key")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _header_size(data: bytes, start: int) -> tuple[int, int]:
    """`(header octets, content octets)` of the element at `start`; the strict parser has seen the bytes."""
    first = data[start + 1]
    if first < 0x80:
        return 2, first
    octets = first & 0x7F
    return 2 + octets, int.from_bytes(data[start + 2 : start + 2 + octets], "big")


def _elements(data: bytes) -> list[bytes]:
    """The elements of a SEQUENCE, each with its header, exactly as they stand."""
    position, _ = _header_size(data, 0)
    found = []
    while position < len(data):
        header, content = _header_size(data, position)
        found.append(data[position : position + header + content])
        position += header + content
    return found


def _content(element: bytes) -> bytes:
    header, _ = _header_size(element, 0)
    return element[header:]
