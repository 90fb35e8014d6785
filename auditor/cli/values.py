"""Reports as plain values, for machines: one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from hashlib import sha256
from typing import Any

from auditor.core.acknowledgement import read_statement, signer
from auditor.core.books import Basis, CertificateState, OrderState
from auditor.core.entry import Issued
from auditor.core.findings import Finding
from auditor.core.forms import time_text
from auditor.errors import Malformed
from auditor.lookup import CertificateView
from auditor.ports import Acknowledgement, KeptFinding, OrderTerms, Stage
from auditor.verify import Alarm, Report

_BASES = {
    Basis.SIGNATURE: "rechecked",
    Basis.MAC: "on_a_mac",
    Basis.WORD: "on_the_stations_word",
    Basis.UNCHECKED: "not_rechecked",
    Basis.FALSE: "false",
}
BASES = tuple(_BASES.values())


def finding_values(finding: Finding, found_at: datetime | None = None) -> dict[str, Any]:
    """One finding."""
    values: dict[str, Any] = {
        "code": finding.code.value,
        "kind": finding.code.title,
        "entry": finding.index,
        "serial_number": finding.serial_number,
        "detail": finding.detail,
        "expected": finding.expected,
        "found": finding.found,
    }
    if found_at is not None:
        values["found_at"] = time_text(found_at)
    return values


def kept_finding_values(item: KeptFinding, deployment: str) -> dict[str, Any]:
    """One that is kept, with its number and what was said of it."""
    said = [_said(each, deployment) for each in item.acknowledged]
    return {"number": item.number} | finding_values(item.finding, item.found_at) | {"acknowledged": said}


def _said(item: Acknowledgement, deployment: str) -> dict[str, Any]:
    """`key` is the one whose signature holds; null where nobody signed."""
    try:
        values = read_statement(item.statement)
        key, problem = signer(item.statement, item.signature, deployment), None
    except Malformed as error:
        return {"by": None, "reason": None, "at": None, "key": None, "problem": f"its signature {error}"}
    return {name: values[name] for name in ("by", "reason", "at")} | {"key": key, "problem": problem}


def evidence_values(bases: Mapping[str, Mapping[Basis, int]]) -> dict[str, dict[str, int]]:
    """Certificates by evidence method, and what their evidence rests on (docs/auditing.md, "Evidence")."""
    return {
        method: {"certificates": sum(counts.values())}
        | {name: counts[basis] for basis, name in _BASES.items() if basis in counts}
        for method, counts in sorted(bases.items())
    }


def alarm_values(alarm: Alarm) -> dict[str, Any]:
    """A certificate whose key is broken, and which is not revoked."""
    return {
        "kind": "shared prime",
        "entry": alarm.index,
        "serial_number": alarm.certificate.serial_number,
        "certificate_sha256": alarm.certificate.certificate_sha256.hex(),
    }


def order_values(order: OrderState) -> dict[str, Any]:
    """A work order by the ledger."""
    terms = order.terms
    return {
        "work_order": terms.work_order,
        "product": terms.product,
        "quantity": terms.quantity,
        "boards": order.places,
        "certificates": order.certificates,
        "stamped": order.stamped,
        "revoked": order.revoked,
        "level": terms.level,
        "reissue": terms.reissue,
        "not_before": time_text(terms.not_before),
        "not_after": time_text(terms.not_after),
        "stations": sorted(terms.stations),
        "bundle_sha256": None if terms.bundle_sha256 is None else terms.bundle_sha256.hex(),
        "firmware": None if terms.firmware is None else _firmware_values(terms.firmware),
        "opened": order.opened_index,
        "closed_at": None if order.closed_at is None else time_text(order.closed_at),
    }


def terms_values(terms: OrderTerms) -> dict[str, Any]:
    """A work order by signerd's word."""
    values = asdict(terms)
    values["product_sha256"] = sha256(values.pop("product_file")).hexdigest()
    values["bundle_sha256"] = terms.bundle_sha256.hex() or None
    values["firmware"] = _firmware_values(terms.firmware) or None
    return values


def _firmware_values(firmware: Mapping[str, tuple[str, bytes]]) -> dict[str, list[str]]:
    return {name: [version, digest.hex()] for name, (version, digest) in sorted(firmware.items())}


def report_values(report: Report) -> dict[str, Any]:
    """The summary of a run."""
    head = report.head
    return {
        "clean": report.clean,
        "acknowledged": report.acknowledged and not report.clean,
        "tree_size": None if head is None else head.size,
        "root": None if head is None else head.root.hex(),
        "verified_from": report.start,
        "without_records": report.without_records,
        "resumed": None if report.resumed is Stage.WHOLE else report.resumed.value,
        "again": {"entries": report.again.entries, "records": report.again.records},
        "records": report.records,
        "stamps": report.stamps,
        "records_ahead": report.awaited,
        "certificates": report.totals.certificates,
        "stamped": report.totals.stamped,
        "revoked": report.totals.revoked,
        "refused": dict(sorted(report.totals.refused.items())),
        "levels": dict(sorted(report.totals.levels.items())),
        "evidence": evidence_values(report.bases),
        "alarms": [alarm_values(alarm) for alarm in report.alarms],
        "one_chip": [
            {"entries": [earlier, later], "anchor": str(anchor)} for earlier, later, anchor in report.one_chip
        ],
        "open_intents": [
            {"work_order": intent.work_order, "number": intent.number, "entry": intent.index}
            for intent in report.open_intents
        ],
        "orders": [order_values(order) for order in report.orders],
        "new_findings": len(report.new) + report.dropped,
        "findings": [
            {"number": item.number}
            | finding_values(item.finding, item.found_at)
            | {"acknowledged": bool(item.acknowledged)}
            for item in report.findings
        ],
    }


def standing(certificate: CertificateState) -> str:
    """`issued`, `stamped` or `revoked`, by the ledger."""
    if certificate.revoked_index is not None:
        return "revoked"
    return "issued" if certificate.stamped_index is None else "stamped"


def certificate_values(certificate: CertificateState) -> dict[str, Any]:
    """One certificate by the ledger."""
    return {
        "serial_number": certificate.serial_number,
        "chip_id": certificate.chip_id,
        "work_order": certificate.work_order,
        "number": certificate.number,
        "state": standing(certificate),
        "certificate_sha256": certificate.certificate_sha256.hex(),
        "issued_entry": certificate.index,
        "stamped_entry": certificate.stamped_index,
        "revoked_entry": certificate.revoked_index,
    }


def _issued_values(issued: Issued) -> dict[str, Any]:
    """What the certificate rests on, by its entry."""
    claims = issued.claims
    return {
        "certificate_serial": issued.certificate_serial.hex(),
        "spki_sha256": issued.spki_sha256.hex(),
        "level": issued.level,
        "method": issued.method,
        "measured": dict(issued.measured),
        "claimed": claims.versions,
        "locks_claimed": dict(claims.security_state),
        "attester_sha256": None if issued.attester_sha256 is None else issued.attester_sha256.hex(),
        "evidence_sha256": issued.evidence_sha256.hex(),
        "station": issued.station,
    }


def view_values(view: CertificateView) -> dict[str, Any]:
    """Everything on one certificate."""
    values = certificate_values(view.certificate)
    values["entries_proved"] = [item.index for item in view.entries]
    values["record_holds"] = view.checked is not None
    for item in view.entries:
        if isinstance(item.entry, Issued):
            values |= _issued_values(item.entry)
    if view.checked is not None:
        values["evidence"] = _BASES[view.checked.basis]
        certificate = view.checked.leaf.certificate
        values |= {
            "subject": certificate.subject.rfc4514_string(),
            "not_before": time_text(certificate.not_valid_before_utc),
            "not_after": time_text(certificate.not_valid_after_utc),
        }
        if view.checked.stamp is not None:
            said = view.checked.stamp.claims
            values["firmware_stamped"] = _firmware_values(said.firmware)
            values["locks_stamped"] = dict(said.security_state)
    values["findings"] = [finding_values(finding) for finding in view.findings]
    return values
