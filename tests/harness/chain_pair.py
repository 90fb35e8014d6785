"""A chain, judged by signerd's code and by the auditor's: two readings that must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from auditor.core.chip_rule import read_chip_rule
from auditor.core.evidence import certificate as auditors
from auditor.core.evidence.chain import check_chain, issuers_of
from auditor.core.evidence.chip import shown_by
from auditor.core.evidence.dice import firmware_of
from auditor.errors import CheckFailed, Malformed
from signerd.core.evidence import certificate as signerds
from signerd.core.evidence import dice
from signerd.core.evidence.chain import validate_chain
from signerd.core.evidence.chip_rules import ChipIdRule
from signerd.core.evidence.errors import EvidenceError
from signerd.core.evidence.x509 import ISSUING_PURPOSES, PURPOSES

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Verdict:
    """`reason` is signerd's; empty: accepted by both."""

    reason: str
    chip_id: str = ""


def judge(
    chain: Sequence[bytes], root: bytes, *, chip_id: str = "serialNumber", now: datetime = NOW
) -> Verdict:
    """What both say of a chain as method `x509` takes it. Raises AssertionError where they differ."""
    verdict = _by_signerd(chain, root, chip_id, now)
    refusal = _by_the_auditor(chain, root, chip_id, verdict.chip_id or "CHIP-1", now)
    assert bool(refusal) == bool(verdict.reason), (refusal, verdict.reason)
    return verdict


def path_refused(chain: Sequence[bytes], root: bytes, now: datetime = NOW) -> str:
    """Why signerd refuses the path alone, whatever chip it names; empty: it holds.

    Raises:
        AssertionError: the auditor decides otherwise.
    """
    try:
        validate_chain(chain, [signerds.read_certificate(root)], now)
        reason = ""
    except EvidenceError as error:
        reason = str(error)
    try:
        check_chain(chain, [auditors.read_certificate(root)], now, purposes=())
        refusal = ""
    except (CheckFailed, Malformed) as error:
        refusal = str(error)
    assert bool(refusal) == bool(reason), (refusal, reason)
    return reason


def _by_signerd(chain: Sequence[bytes], root: bytes, attribute: str, now: datetime) -> Verdict:
    try:
        pinned = [signerds.read_certificate(root)]
        valid = validate_chain(
            chain, pinned, now, purposes=PURPOSES, issuing=ISSUING_PURPOSES, critical=dice.EXTENSIONS
        )
        rule = ChipIdRule.model_validate({"from": "subject", "attribute": attribute})
        chip = rule.read(valid.leaf)
        dice.measured_firmware(valid.certificates, ())
    except EvidenceError as error:
        return Verdict(str(error))
    return Verdict("", chip)


def _by_the_auditor(chain: Sequence[bytes], root: bytes, attribute: str, chip: str, now: datetime) -> str:
    """Why it is refused; empty: it is accepted for this chip."""
    try:
        pinned = [auditors.read_certificate(root)]
        path = check_chain(
            chain, pinned, now, purposes=PURPOSES, issuing=ISSUING_PURPOSES, critical=dice.EXTENSIONS
        )
        shown = shown_by(path, issuers_of(path, pinned), read_chip_rule(attribute))
        if shown.chip_id != chip:
            return "another chip's"
        firmware_of(path, ())
    except (CheckFailed, Malformed) as error:
        return str(error)
    return ""
