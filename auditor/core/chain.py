"""The CAs above boards' certificates: what each must say, and what all of them allow.

    allowance = check_issuers(path)     # the sub-CA first, the pinned root last; raises CheckFailed
    allowance.check_leaf(certificate)   # names and purposes of a board's

Refused is what `openssl verify -x509_strict -policy_check` refuses, but for times: those are held against
each entry. The root's own demands count, whether it signed itself or not. Signatures are not looked at here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.core import der, name_constraints
from auditor.core.codes import Code
from auditor.core.evidence.certificate import (
    Certificate,
    basic_constraints,
    extended_key_usage,
    integer,
    key_usage,
    read_certificate,
    same_name,
)
from auditor.core.name_constraints import NameConstraints
from auditor.errors import CheckFailed, Malformed

_SUBJECT_KEY, _ALTERNATIVES, _NAMES = "2.5.29.14", "2.5.29.17", "2.5.29.30"
_AUTHORITY_KEY, _POLICY_CONSTRAINTS = "2.5.29.35", "2.5.29.36"
# basicConstraints, keyUsage, extKeyUsage, certificatePolicies, policyMappings, inhibitAnyPolicy: processed,
# or of no effect where leaves name no policy.
_KNOWN = {"2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.32", "2.5.29.33", "2.5.29.54"}
_KNOWN |= {_ALTERNATIVES, _NAMES, _POLICY_CONSTRAINTS}
_KEY_CERT_SIGN = 5


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the CAs allow the certificates below them."""

    names: tuple[NameConstraints, ...] = ()
    purposes: frozenset[str] | None = None  # None: any

    def check_leaf(self, encoded: bytes) -> None:
        """Raises CheckFailed CERTIFICATE_CHAIN."""
        if not self.names and self.purposes is None:
            return
        try:
            leaf = read_certificate(encoded)
            _check_names(leaf, self.names, leaf=True)
            wanted = extended_key_usage(leaf) or frozenset()
        except Malformed as error:
            raise _failed(f"below the chain: {error}") from error
        if self.purposes is not None and not wanted <= self.purposes:
            raise _failed("a purpose that a CA above has not", ", ".join(sorted(wanted - self.purposes)))


NO_LIMITS = Allowance()


def check_issuers(path: Sequence[bytes]) -> Allowance:
    """Of a path whose signatures hold: certificates, DER. Raises CheckFailed CERTIFICATE_CHAIN."""
    try:
        issuers = [read_certificate(encoded) for encoded in path]
        for depth, issuer in enumerate(issuers):
            _check_issuer(issuer, issuers[:depth], last=depth == len(issuers) - 1)
        _check_each_below(issuers)
        names = tuple(found for found in map(_constraints, issuers) if found is not None)
        purposes = _purposes(issuers)
        demanded = _policy_demanded(issuers)
    except Malformed as error:
        raise _failed(f"an issuer: {error}") from error
    if len({issuer.spki for issuer in issuers}) != len(issuers):
        raise _failed("a key appears twice in the chain")
    if purposes == frozenset():
        raise _failed("the issuers have no purpose in common")
    if demanded:
        raise _failed("an issuer demands a policy of boards' certificates, which name none")
    return Allowance(names, purposes)


def _check_issuer(issuer: Certificate, below: Sequence[Certificate], *, last: bool) -> None:
    constraints, usage = basic_constraints(issuer), key_usage(issuer)
    depth = len(below)
    if constraints is None or not constraints[0] or usage is None or _KEY_CERT_SIGN not in usage:
        raise _failed(f"issuer {depth} is not a CA")
    if not issuer.extensions["2.5.29.19"].critical or issuer.version != 3 or not der.members(issuer.subject):
        raise _failed(f"issuer {depth} is not of the form of a CA")
    if _SUBJECT_KEY not in issuer.extensions or not (last or _AUTHORITY_KEY in issuer.extensions):
        raise _failed(f"issuer {depth} lacks a key identifier")
    counted = sum(not same_name(each.subject, each.issuer) for each in below)
    if constraints[1] is not None and constraints[1] < counted:
        raise _failed(f"issuer {depth} may not have {counted} CAs below it")
    unknown = {oid for oid, each in issuer.extensions.items() if each.critical} - _KNOWN
    if unknown:
        raise _failed(f"issuer {depth} has an unknown critical extension", ", ".join(sorted(unknown)))


def _check_each_below(issuers: Sequence[Certificate]) -> None:
    """Key identifiers from one to the next, and the CAs' own names under the constraints above them."""
    for place, issuer in enumerate(issuers):
        above = issuers[place + 1 :]
        if above:
            check_key_identifier(issuer, above[0])
        if not same_name(issuer.subject, issuer.issuer):
            constraints = (_constraints(each) for each in above)
            _check_names(issuer, [each for each in constraints if each is not None], leaf=False)


def check_key_identifier(certificate: Certificate, issuer: Certificate) -> None:
    """§4.2.1.1, where both are there. Raises CheckFailed, Malformed."""
    named, own = certificate.extensions.get(_AUTHORITY_KEY), issuer.extensions.get(_SUBJECT_KEY)
    if named is None or own is None:
        return
    fields = der.members(named.value)
    if fields[:1] != [der.element(0x80, der.content(own.value, der.OCTET_STRING))]:
        raise _failed("a certificate of the chain names the key of another issuer")


def _check_names(certificate: Certificate, constraints: Sequence[NameConstraints], *, leaf: bool) -> None:
    found = certificate.extensions.get(_ALTERNATIVES)
    alternatives = [] if found is None else name_constraints.general_names(found.value)
    for each in constraints:
        each.check(certificate.subject, alternatives, leaf=leaf)


def _constraints(issuer: Certificate) -> NameConstraints | None:
    found = issuer.extensions.get(_NAMES)
    return None if found is None else name_constraints.read(found.value)


def _purposes(issuers: Sequence[Certificate]) -> frozenset[str] | None:
    named = [usage for usage in map(extended_key_usage, issuers) if usage is not None]
    return frozenset.intersection(*named) if named else None


def _policy_demanded(issuers: Sequence[Certificate]) -> bool:
    """Whether requireExplicitPolicy has run out when the leaf is reached (§6.1.4 h and i, §6.1.5 a)."""
    skipped: list[int] = []
    for place in range(len(issuers) - 1, -1, -1):
        issuer = issuers[place]
        if place < len(issuers) - 1 and not same_name(issuer.subject, issuer.issuer):
            skipped = [max(0, each - 1) for each in skipped]
        found = issuer.extensions.get(_POLICY_CONSTRAINTS)
        for field in [] if found is None else der.members(found.value):
            if field[0] == 0x80:
                skipped.append(integer(der.element(der.INTEGER, der.content(field, 0x80))))
    return any(each <= 1 for each in skipped)


def _failed(detail: str, found: str = "") -> CheckFailed:
    return CheckFailed(Code.CERTIFICATE_CHAIN, detail, expected="", found=found)
