"""The CAs above a board's certificate: a path to the pinned root that every relying party follows.

Checked is what `openssl verify -x509_strict -policy_check` checks without times (RFC 5280 §6.1): signatures,
key identifiers, what makes a CA, path lengths, name constraints, purposes, explicit policies, and critical
extensions, of which an unknown one means no. The root's own count too, whether it is self-signed or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from agent.core.name_constraints import NameConstraintError, check_names
from agent.errors import BadAnswer

MAX_CHAIN = 5  # the sub-CA and four above it; the root is pinned, and not sent
_HASHES = {"sha256", "sha384", "sha512"}
_OF_LEAVES = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}
# Those of policies have no effect where leaves name none, but for an explicit one: see `_check_policy`.
_OF_CAS = _OF_LEAVES | {
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.POLICY_MAPPINGS,
    ExtensionOID.POLICY_CONSTRAINTS,
    ExtensionOID.INHIBIT_ANY_POLICY,
}
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


def check_chain(
    leaf: x509.Certificate, chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> None:
    """Raises BadAnswer. `chain`: the sub-CA first; `roots`: pinned, of which one has to be above it.

    The root may be sent along. Where several are above it, as with one that was signed anew, one will do.
    """
    below_root = chain[:-1] if len(chain) > 1 and chain[-1] in roots else chain
    if not 1 <= len(below_root) <= MAX_CHAIN:
        raise BadAnswer("the chain has no issuer, or too many")
    failed = BadAnswer("the chain does not lead to a pinned device root")
    for root in roots:
        if not _is_signed(below_root[-1], root):
            continue
        try:
            _walk(leaf, below_root, root)
        except BadAnswer as error:
            failed = error
        except ValueError:  # of parts that are parsed late: names, extensions
            failed = BadAnswer("a certificate of the chain cannot be read")
        else:
            return
    raise failed


def _walk(leaf: x509.Certificate, chain: Sequence[x509.Certificate], root: x509.Certificate) -> None:
    issuers = (*chain, root)
    _check_critical(leaf, _OF_LEAVES)
    for place, issuer in enumerate(issuers):
        _check_ca(issuer, sum(not _is_self_issued(each) for each in issuers[:place]))
        _check_critical(issuer, _OF_CAS)
    if any(extension(each, x509.AuthorityKeyIdentifier) is None for each in (leaf, *chain)):
        raise BadAnswer("a certificate has no authority key identifier")
    if len({_spki(each) for each in issuers}) != len(issuers):
        raise BadAnswer("a key appears twice in the chain")
    for subject, issuer in pairwise((leaf, *issuers)):
        _check_issued(subject, issuer)
    _check_names(leaf, issuers)
    _check_purposes(leaf, issuers)
    _check_policy(issuers)


def extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    """Its value, if the certificate has it."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _is_self_issued(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_ca(issuer: x509.Certificate, below: int) -> None:
    """§4.2.1.2, §4.2.1.3 and §4.2.1.9; `below`: CAs under it that count."""
    try:
        basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound as error:
        raise BadAnswer("an issuer in the chain may not sign certificates") from error
    usage = extension(issuer, x509.KeyUsage)
    if not basic.critical or not basic.value.ca or usage is None or not usage.key_cert_sign:
        raise BadAnswer("an issuer in the chain may not sign certificates")
    if issuer.version is not x509.Version.v3 or not issuer.subject.rdns:
        raise BadAnswer("an issuer in the chain is not of X.509 v3, or has no name")
    if extension(issuer, x509.SubjectKeyIdentifier) is None:
        raise BadAnswer("an issuer in the chain has no subject key identifier")
    if basic.value.path_length is not None and basic.value.path_length < below:
        raise BadAnswer("the chain is longer than an issuer in it allows")


def _check_critical(certificate: x509.Certificate, known: set[x509.ObjectIdentifier]) -> None:
    """§4.2: a critical extension that is not processed means no."""
    for each in certificate.extensions:
        if each.critical and each.oid not in known:
            raise BadAnswer(f"a certificate has an unknown critical extension, {each.oid.dotted_string}")


def _is_signed(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_issued(subject: x509.Certificate, issuer: x509.Certificate) -> None:
    if not _is_signed(subject, issuer):
        raise BadAnswer("the chain does not lead to a pinned device root")
    digest = subject.signature_hash_algorithm
    if digest is None:
        safe = isinstance(issuer.public_key(), ed25519.Ed25519PublicKey)
    else:
        safe = digest.name in _HASHES
    if not safe:
        raise BadAnswer("a certificate is signed with a hash that is no longer safe")
    wanted, own = (
        extension(subject, x509.AuthorityKeyIdentifier),
        extension(issuer, x509.SubjectKeyIdentifier),
    )
    if wanted is None or own is None:
        return
    if wanted.key_identifier is None or wanted.key_identifier != own.digest:
        raise BadAnswer("a certificate names another issuer's key")


def _check_names(leaf: x509.Certificate, issuers: Sequence[x509.Certificate]) -> None:
    path = (leaf, *issuers)
    for place, issuer in enumerate(issuers, 1):
        constraints = extension(issuer, x509.NameConstraints)
        if constraints is None:
            continue
        # The package passes over minimum and maximum, which nobody may use: what it read must be all of it.
        if constraints.public_bytes() not in issuer.tbs_certificate_bytes:
            raise BadAnswer("an issuer's name constraints are not of their form")
        for below in path[:place]:
            if below is leaf or not _is_self_issued(below):
                _check_within(below, constraints, is_leaf=below is leaf)


def _check_within(below: x509.Certificate, constraints: x509.NameConstraints, *, is_leaf: bool) -> None:
    try:
        check_names(below, constraints, is_leaf=is_leaf)
    except NameConstraintError as error:
        raise BadAnswer(f"name constraints of the chain: {error}") from error


def _check_purposes(leaf: x509.Certificate, issuers: Sequence[x509.Certificate]) -> None:
    """What the leaf is for, each issuer that names purposes must be for too (§4.2.1.12)."""
    wanted = set(extension(leaf, x509.ExtendedKeyUsage) or ())
    allowed = [set(own) for own in (extension(each, x509.ExtendedKeyUsage) for each in issuers) if own]
    if allowed and not set.intersection(*allowed):
        raise BadAnswer("the issuers have no purpose in common")
    if any(not wanted <= own for own in allowed):
        raise BadAnswer("the certificate is for a purpose that an issuer is not for")


def _check_policy(issuers: Sequence[x509.Certificate]) -> None:
    """An explicit policy that is demanded of the leaf, which names none (§6.1.4 h and i, §6.1.5 a)."""
    left: int | None = None
    for issuer in reversed(issuers):
        if left and issuer is not issuers[-1] and not _is_self_issued(issuer):
            left -= 1
        own = extension(issuer, x509.PolicyConstraints)
        if own is not None and own.require_explicit_policy is not None:
            left = min(own.require_explicit_policy, left if left is not None else own.require_explicit_policy)
    if left is not None and left <= 1:
        raise BadAnswer("an issuer demands a certificate policy, and the certificate names none")
