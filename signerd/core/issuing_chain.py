"""The CAs above boards' certificates: whether relying parties follow them, and what they allow below them.

A chain is one given path, the sub-CA first, up to a pinned root that is left out of it. The root is whatever
certificate relying parties pin: self-signed, cross-signed, or a CA in the middle. What it says of itself
counts (RFC 5280 §6.1 leaves that open, OpenSSL does so).

    chain_problems(chain, root)       # why a relying party would follow no path through it
    allowed = Allowance.of(chain, root)
    allowed.name_problems(names)      # why it would not accept a certificate of these names below it

Agent and auditor refuse what is refused here, and so does `openssl verify -x509_strict -policy_check`, which
is the yardstick. Stricter than it: names chain byte by byte, as §4.1.2.6 has CAs write them; CRL distribution
points may not be critical, since nobody here reads them; keys and hashes have a least size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.core import der
from signerd.core.evidence.certificate import (
    KEY_CERT_SIGN,
    Certificate,
    basic_constraints,
    extended_key_usage,
    key_usage,
    read_certificate,
    readable,
    same_name,
)
from signerd.core.name_constraints import NameConstraints, Names, alternatives, read_constraints

MAX_CHAIN = 5  # the sub-CA and four above it; the root is not counted where it is left out
_SUBJECT_KEY_ID, _AUTHORITY_KEY_ID = "2.5.29.14", "2.5.29.35"
_ALTERNATIVE_NAME, _NAME_CONSTRAINTS, _POLICY_CONSTRAINTS = "2.5.29.17", "2.5.29.30", "2.5.29.36"
# Processed here, or of no effect where boards' certificates name no policy and no policy is asked for.
_KNOWN_CRITICAL = frozenset(
    {
        "2.5.29.19",  # basicConstraints
        "2.5.29.15",  # keyUsage
        "2.5.29.37",  # extKeyUsage
        "2.5.29.32",  # certificatePolicies
        "2.5.29.33",  # policyMappings
        "2.5.29.54",  # inhibitAnyPolicy
        _ALTERNATIVE_NAME,
        _NAME_CONSTRAINTS,
        _POLICY_CONSTRAINTS,
    }
)
_HASHES = frozenset({"sha256", "sha384", "sha512"})
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_MIN_RSA_BITS = 2048
_REQUIRE_EXPLICIT_POLICY = 0x80  # [0] of PolicyConstraints


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a chain allows the certificates below it."""

    constraints: tuple[NameConstraints, ...]
    purposes: frozenset[str] | None  # that all its CAs have; None: any
    begins: datetime  # all of the chain, the root included, is valid from here
    ends: datetime  # and to here

    @classmethod
    def of(cls, chain: Sequence[x509.Certificate], root: x509.Certificate | None) -> Allowance:
        """Of a chain that has no problems; without a root, of what is known of it.

        Raises:
            ValueError: a certificate, or an extension of it, cannot be read.
        """
        authorities = [*chain] if root is None else [*chain, root]
        read = [_read(each) for each in authorities]
        return cls(
            tuple(_constraints_of(read)),
            _common_purposes(read),
            max(each.not_valid_before_utc for each in authorities),
            min(each.not_valid_after_utc for each in authorities),
        )

    def name_problems(self, names: Names) -> Iterator[str]:
        """Why a certificate with these names may not stand below the chain."""
        for constraints in self.constraints:
            yield from constraints.problems(names)

    def purpose_problems(self, purposes: Iterable[str]) -> Iterator[str]:
        """The same of extended key usages, dotted."""
        for purpose in purposes:
            if self.purposes is not None and purpose not in self.purposes:
                allowed = ", ".join(sorted(self.purposes)) or "none"
                yield f"extended key usage {purpose} is none that all CAs of the chain have: {allowed}"


def chain_problems(chain: Sequence[x509.Certificate], root: x509.Certificate) -> list[str]:
    """Why relying parties would not follow the chain, whatever stands below it; empty: they do."""
    if not 1 <= len(chain) <= MAX_CHAIN:
        return [f"the chain has {len(chain)} certificates below the root: at most {MAX_CHAIN}"]
    authorities = (*chain, root)
    try:
        read = [_read(each) for each in authorities]
        problems = [*_own_problems(read), *_path_problems(read), *_purpose_problems(read)]
    except ValueError as error:
        return [f"a certificate of the chain cannot be read: {error}"]
    for certificate, issuer in pairwise(authorities):
        problems += _signature_problems(certificate, issuer)
    return problems


def shown(certificate: x509.Certificate) -> str:
    """A CA's name, for people."""
    return certificate.subject.rfc4514_string() or "a CA without a name"


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Name, signature and, where both are there, key identifier (§4.2.1.1)."""
    try:
        certificate.verify_directly_issued_by(issuer)
        return _key_ids_match(_read(certificate), _read(issuer))
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False


def _read(certificate: x509.Certificate) -> Certificate:
    try:
        list(certificate.extensions)  # agents and auditors read them with the same package
        certificate.public_key()
    except (TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise ValueError(str(error)) from error
    return read_certificate(certificate.public_bytes(Encoding.DER))


def _own_problems(read: Sequence[Certificate]) -> Iterator[str]:
    """What each CA says of itself, and what `-x509_strict` wants of it (§4.2.1)."""
    for place, authority in enumerate(read):
        name = readable(authority.subject) or "a CA without a name"
        extensions = authority.extensions
        constraints, usage = basic_constraints(authority), key_usage(authority)
        is_root = authority is read[-1]
        checks = {
            "is not of X.509 v3": authority.version == 3,
            "has no subject": bool(readable(authority.subject)),
            "is no CA: critical basic constraints with CA:TRUE": constraints is not None
            and constraints[0]
            and extensions["2.5.29.19"].critical,
            "has no key usage keyCertSign": usage is not None and KEY_CERT_SIGN in usage,
            "has no subject key identifier": _SUBJECT_KEY_ID in extensions,
            "has no authority key identifier": is_root or _authority_key_id(authority) is not None,
            "has a key that is too weak": _is_strong(x509.load_der_x509_certificate(authority.der)),
        }
        yield from (f"{name} {problem}" for problem, holds in checks.items() if not holds)
        below = sum(not _is_self_issued(each) for each in read[:place])
        if constraints is not None and constraints[1] is not None and constraints[1] < below:
            yield f"{name} allows {constraints[1]} CAs below it, and has {below} (path length)"
        for oid, extension in extensions.items():
            if extension.critical and oid not in _KNOWN_CRITICAL:
                yield f"{name} has a critical extension that is not known here: {oid}"


def _path_problems(read: Sequence[Certificate]) -> Iterator[str]:
    """What those above allow those below (§6.1.3 b and c, §6.1.4 g to i)."""
    if len({authority.spki for authority in read}) != len(read):
        yield "a key appears twice in the chain"
    for place, authority in enumerate(read):
        if _is_self_issued(authority):
            continue
        names = Names(authority.subject, _alternatives(authority), is_leaf=False)
        for above in _constraints_of(read[place + 1 :]):
            yield from (f"{readable(authority.subject)}: {text}" for text in above.problems(names))
    if _demands_policy(read):
        yield "a CA demands a certificate policy of those below it (requireExplicitPolicy): boards have none"


def _purpose_problems(read: Sequence[Certificate]) -> Iterator[str]:
    if _common_purposes(read) == frozenset():
        yield "the CAs have no extended key usage in common"


def _signature_problems(certificate: x509.Certificate, issuer: x509.Certificate) -> Iterator[str]:
    name = shown(certificate)
    if not is_issued_by(certificate, issuer):
        yield f"{name} is not issued by {shown(issuer)} (name, signature or key identifier)"
        return
    digest = certificate.signature_hash_algorithm
    if digest is None and isinstance(issuer.public_key(), ed25519.Ed25519PublicKey):
        return
    if digest is None or digest.name not in _HASHES:
        yield f"{name} is signed with a hash that is no longer safe"


def _is_strong(certificate: x509.Certificate) -> bool:
    match certificate.public_key():
        case rsa.RSAPublicKey() as key:
            return key.key_size >= _MIN_RSA_BITS
        case ec.EllipticCurvePublicKey() as key:
            return isinstance(key.curve, _CURVES)
        case other:
            return isinstance(other, ed25519.Ed25519PublicKey)


def _is_self_issued(authority: Certificate) -> bool:
    return same_name(authority.subject, authority.issuer)


def _authority_key_id(authority: Certificate) -> bytes | None:
    """keyIdentifier, [0] of AuthorityKeyIdentifier."""
    found = authority.extensions.get(_AUTHORITY_KEY_ID)
    if found is None:
        return None
    fields = der.elements(der.content(found.value, der.SEQUENCE))
    return der.content(fields[0], 0x80) if fields and fields[0][0] == 0x80 else None


def _key_ids_match(certificate: Certificate, issuer: Certificate) -> bool:
    wanted, own = _authority_key_id(certificate), issuer.extensions.get(_SUBJECT_KEY_ID)
    return wanted is None or own is None or der.content(own.value, der.OCTET_STRING) == wanted


def _alternatives(authority: Certificate) -> tuple[bytes, ...]:
    found = authority.extensions.get(_ALTERNATIVE_NAME)
    return () if found is None else alternatives(found.value)


def _constraints_of(read: Iterable[Certificate]) -> Iterator[NameConstraints]:
    for authority in read:
        found = authority.extensions.get(_NAME_CONSTRAINTS)
        if found is not None:
            yield read_constraints(found.value)


def _common_purposes(read: Iterable[Certificate]) -> frozenset[str] | None:
    """Extended key usages that each CA has which names any, as relying parties nest them. To OpenSSL
    anyExtendedKeyUsage in a CA is one like the others."""
    common: frozenset[str] | None = None
    for authority in read:
        own: Collection[str] | None = extended_key_usage(authority)
        if own is not None:
            common = frozenset(own) if common is None else common.intersection(own)
    return common


def _demands_policy(read: Sequence[Certificate]) -> bool:
    """requireExplicitPolicy that has come to nothing at the leaf (§6.1.4 h and i, §6.1.5 a)."""
    left: int | None = None
    for authority in reversed(read):
        if left and not _is_self_issued(authority) and authority is not read[-1]:
            left -= 1
        own = _require_explicit_policy(authority)
        if own is not None:
            left = own if left is None else min(left, own)
    return left is not None and left <= 1  # the leaf counts as one


def _require_explicit_policy(authority: Certificate) -> int | None:
    found = authority.extensions.get(_POLICY_CONSTRAINTS)
    if found is None:
        return None
    fields = der.elements(der.content(found.value, der.SEQUENCE))
    if fields and fields[0][0] == _REQUIRE_EXPLICIT_POLICY:
        return int.from_bytes(der.content(fields[0], _REQUIRE_EXPLICIT_POLICY), "big")
    return None
