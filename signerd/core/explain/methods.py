"""What each evidence method would make of certificates, by a product's rules.

The daemon's own functions are asked, never a copy of what they do: what is said here holds on the line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from signerd.core.evidence import dice, tpm2, x509
from signerd.core.evidence.method import EvidenceError
from signerd.core.evidence.rules import EvidenceRules, X509Rules
from signerd.core.explain.remedies import remedy_for
from signerd.core.explain.report import MethodVerdict, shown
from signerd.core.names import Level

_Judge = Callable[[Sequence[bytes], EvidenceRules, datetime], MethodVerdict]


def refused(method: str, reason: str, rule: str = "") -> MethodVerdict:
    """A verdict: no, and what to do."""
    return MethodVerdict(
        method, accepted=False, reason=shown(reason), remedy=remedy_for(reason), chip_id_rule=rule
    )


def judge_certificates(
    certificates: Sequence[bytes], rules: EvidenceRules, now: datetime
) -> tuple[MethodVerdict, ...]:
    """What each of the product's methods would make of them.

    Args:
        certificates: DER, leaf first, without the root.
        rules: the product's.
        now: aware; at which they must be valid.
    """
    return tuple(judge(method, certificates, rules, now) for method in rules.methods)


def judge(method: str, certificates: Sequence[bytes], rules: EvidenceRules, now: datetime) -> MethodVerdict:
    """What this method would make of them. The level is compared with the product's least one."""
    judge_by = _JUDGES.get(method)
    if judge_by is None:
        return MethodVerdict(method, accepted=None, reason="takes no certificates")
    return within_level(judge_by(certificates, rules, now), rules)


def within_level(verdict: MethodVerdict, rules: EvidenceRules) -> MethodVerdict:
    """The verdict, turned down where it reaches less than the least that an order of the product demands."""
    if not verdict.accepted or not Level.from_label(verdict.level) < rules.level:
        return verdict
    reason = (
        f"it reaches level {verdict.level}, and the product demands {rules.level.label}: {verdict.reason}"
    )
    return replace(verdict, accepted=False, reason=reason)


def _by_x509(certificates: Sequence[bytes], rules: EvidenceRules, now: datetime) -> MethodVerdict:
    section = rules.x509
    assert section is not None  # noqa: S101 - rules with the method have the section
    rule = str(section.chip_id)
    try:
        chip = x509.certified_chip(certificates, section, now)
        firmware = dice.measured_firmware(chip.chain.certificates, section.measurements)
    except EvidenceError as error:
        return refused("x509", str(error), rule)
    level, reason, remedy = _level(firmware, section)
    return MethodVerdict(
        "x509", reason, remedy=remedy, level=level.label, chip_id=chip.chip_id, chip_id_rule=rule
    )


def _level(firmware: dice.MeasuredFirmware, rules: X509Rules) -> tuple[Level, str, str]:
    """The highest level, what must hold for it, and how a higher one is reached."""
    if firmware.versions:
        versions = ", ".join(f"{name} {version}" for name, version in sorted(firmware.versions.items()))
        return Level.KEY, f"accepted firmware: {versions}", ""
    if firmware.present:
        return (
            Level.CHIP,
            "the chain speaks of firmware that the product's measurements do not cover",
            "for level key add each layer's FWID to the product's measurements",
        )
    if rules.certifies_born_keys:
        return Level.KEY, "only for a CSR of the certified key itself; for another key level chip", ""
    return (
        Level.CHIP,
        "the chain measures no firmware, and the product does not say that the vendor certifies born keys",
        "for level key: `certifies_born_keys`, if the vendor promises it, and a CSR of the certified key",
    )


def _by_tpm2(certificates: Sequence[bytes], rules: EvidenceRules, now: datetime) -> MethodVerdict:
    section = rules.tpm2
    if not section.roots:
        return MethodVerdict(
            "tpm2",
            accepted=False,
            reason="the product has no roots for attestation keys: they are imported, and no chain is taken",
            remedy="name the CA of the attestation keys in [evidence.tpm2] roots, or send no chain",
        )
    rule = str(section.chip_id)
    try:
        chip = tpm2.certified_chip(certificates, section, now)
    except EvidenceError as error:
        return refused("tpm2", str(error), rule)
    return MethodVerdict(
        "tpm2",
        "with TPM2_Certify of the CSR's key",
        level=Level.KEY.label,
        chip_id=chip.chip_id,
        chip_id_rule=rule,
    )


_JUDGES: dict[str, _Judge] = {"x509": _by_x509, "tpm2": _by_tpm2}
