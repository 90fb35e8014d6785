"""What a product trusts: looked at before it is added, and told to the administrator who adds it.

A root that no chain could ever hold under is refused; what holds and deserves a second look becomes a note.

    notes = review_trust(product.evidence, now)
    for line in describe_trust(product.evidence): ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import permutations

from signerd.core.evidence import METHODS
from signerd.core.evidence.certificate import Certificate, readable, same_name
from signerd.core.evidence.chain import check_is_ca, check_root, load_key
from signerd.core.evidence.errors import EvidenceError
from signerd.core.evidence.method import Origin
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.names import Level
from signerd.errors import Code, Refused

_SAY_VENDOR_CAS = (
    "evidence.x509: with measurements, say vendor_cas, how many CAs below the root are the vendor's:"
    " where chips' own certificates do not show it, one chip could be several"
)
_MOVES_WITH_THE_KEY = ("key", "certificate-serial")
EXPIRES_SOON = timedelta(days=365)  # a work order, and a root's successor, are planned about a year ahead


def review_trust(rules: EvidenceRules, now: datetime) -> list[str]:
    """What deserves a second look, a line each.

    Args:
        rules: of the product.
        now: aware.

    Raises:
        Refused: `invalid`: a root is expired, no CA, or of a key that no chain may have; no method of the
            product reaches the level that it demands; or two of its methods would take one chip for two.
    """
    reached = highest_level(rules)
    if reached < rules.level:
        raise Refused(
            Code.INVALID,
            f"evidence.level: it is {rules.level.label}, and the methods reach {reached.label} at most:"
            " lower it, or add a method",
        )
    notes = _review_anchors(rules)
    for name in rules.methods:
        roots = METHODS[name].traits.roots(rules)
        for number, root in enumerate(roots):
            where = f"evidence.{name}.roots.{number}"
            notes += _review_root(root, where, now)
            if root in roots[:number]:
                raise Refused(Code.INVALID, f"{where}: this root is there twice: take one away")
    return notes


def _review_anchors(rules: EvidenceRules) -> list[str]:
    """Whether the product's methods know a chip again, whichever of them it comes with."""
    certified, entered = (
        [name for name in rules.methods if METHODS[name].traits.origin(rules) is origin]
        for origin in (Origin.VENDOR, Origin.COMPANY)
    )
    # All that the company entered of a chip is under one id; what two vendors certify shares nothing.
    others = entered or [name for name in certified[1:] if not _one_vendor(rules, certified[0], name)]
    if certified and others and rules.chips != "listed":
        raise Refused(
            Code.INVALID,
            f"evidence.methods: {certified[0]} and {others[0]} have nothing in common by which a chip is"
            " known again. One chip could become two boards: keep one of the methods, or list the chips"
            ' (chips = "listed")',
        )
    notes = []
    if len(certified) > 1 and rules.chips != "listed":
        notes.append(
            f"evidence.methods: {certified[0]} and {certified[1]} know a chip again where the same CA states"
            " one UEID, name or key of it for both: else one board could be two"
        )
    return notes + _review_layers(rules) + _review_attestation_keys(rules)


def _review_layers(rules: EvidenceRules) -> list[str]:
    """Whether it is said where the vendor's CAs end and a chip's begin."""
    section = rules.x509
    if section is None:
        return []
    if section.vendor_cas is None:
        return [_SAY_VENDOR_CAS] if section.measurements else []
    return [
        f"evidence.x509: vendor_cas holds below each root, and roots.{lower} is a CA below roots.{upper}"
        for lower, upper in permutations(range(len(section.roots)), 2)
        if _is_below(section.roots[lower], section.roots[upper])
    ]


def _is_below(lower: Certificate, upper: Certificate) -> bool:
    """By name alone: it is a note, and whether the key signed changes nothing in what to look at."""
    return same_name(lower.issuer, upper.subject) and not same_name(lower.subject, upper.subject)


def _review_attestation_keys(rules: EvidenceRules) -> list[str]:
    """A TPM makes as many attestation keys as it is asked for."""
    place = rules.tpm2.chip_id.place
    if not rules.tpm2.roots or place not in _MOVES_WITH_THE_KEY:
        return []
    return [
        f"evidence.tpm2: the chip id from the {place} is another one for each attestation key: two that the"
        " CA certified for one TPM would be two boards"
    ]


def _one_vendor(rules: EvidenceRules, one: str, other: str) -> bool:
    """True if one CA can have certified a chip for both methods, under one serial."""
    return not set(METHODS[one].traits.roots(rules)).isdisjoint(METHODS[other].traits.roots(rules))


def highest_level(rules: EvidenceRules) -> Level:
    """What evidence of the product's best method can reach."""
    return max(METHODS[name].traits.reach(rules) for name in rules.methods)


def describe_trust(rules: EvidenceRules) -> list[str]:
    """Whom and what the product trusts, a line each: methods, the level that each may reach, roots."""
    lines = [f"least level {rules.level.label}; chips: {_chips(rules)}"]
    if rules.minimum_firmware:
        least = ", ".join(f"{name} {version}" for name, version in sorted(rules.minimum_firmware.items()))
        lines.append(f"minimum firmware: {least}")
    for name in rules.methods:
        method = METHODS[name].traits
        lines.append(f"{name}, at most level {method.reach(rules).label}: {method.describe(rules)}")
        lines += [f"  root {_root(root)}" for root in method.roots(rules)]
    return lines


def _review_root(root: Certificate, where: str, now: datetime) -> list[str]:
    try:
        load_key(root)
        check_root(root)
        _root(root)  # what is shown of it: names are read when they are asked for
    except EvidenceError as error:
        raise Refused(Code.INVALID, f"{where}: {error}") from error
    try:
        check_is_ca(root)
    except EvidenceError as error:
        raise Refused(
            Code.INVALID, f"{where}: this is no CA ({error}): name the root, not a device's certificate"
        ) from error
    ends = root.not_after
    if ends <= now:
        raise Refused(Code.INVALID, f"{where}: it ended at {ends:%Y-%m-%d}: ask its owner for the new one")
    notes = []
    if ends <= now + EXPIRES_SOON:
        notes.append(f"{where}: it ends at {ends:%Y-%m-%d}; evidence under it holds no longer then")
    if root.not_before > now:
        notes.append(f"{where}: it is not valid before {root.not_before:%Y-%m-%d}")
    if not same_name(root.issuer, root.subject):
        notes.append(f"{where}: it is not self-signed; its own issuer's revocation of it is not looked at")
    return notes


def root_ends(rules: EvidenceRules) -> Iterator[tuple[str, datetime]]:
    """When evidence of a method holds no longer: the method and a root's name, and the root's end."""
    for name in rules.methods:
        for root in METHODS[name].traits.roots(rules):
            yield f"{name} {_subject(root)}", root.not_after


def _subject(root: Certificate) -> str:
    # RFC 4514 escapes what could pass for another attribute; control characters it leaves as they are.
    text = readable(root.subject) or "(no subject)"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _root(root: Certificate) -> str:
    fingerprint = hashlib.sha256(root.der).hexdigest()
    return f"{_subject(root)}, until {root.not_after:%Y-%m-%d}, SHA-256 {fingerprint}"


def _chips(rules: EvidenceRules) -> str:
    if rules.chips == "any":
        return "any that a method knows"
    return f"only those on the work order's list, by {', '.join(rules.listed_by)}"
