"""One certificate record against the ledger: every byte that the entry speaks of, and every signature.

checked = check_record(record, facts, issuer, policy)   # or CheckFailed, with the first lie
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256

from auditor.core import forms
from auditor.core.anchors import Anchor
from auditor.core.books import Basis, CertificateState
from auditor.core.certificate import Issuer, Leaf, check_agrees, check_extension, read_leaf
from auditor.core.claims import check_firmware, check_minimum, parse_claims, split_settings, transcript
from auditor.core.clock import SKEW
from auditor.core.codes import Code
from auditor.core.counting import identities as counted_identities
from auditor.core.csr import Csr, check_csr
from auditor.core.entry import LEVELS, Issued, OrderOpened, Stamped
from auditor.core.evidence.appraisal import AppraisalInputs, AttestationResult
from auditor.core.evidence.recheck import recheck
from auditor.core.forms import version_key
from auditor.core.identities import Identities
from auditor.core.product import MAX_BACKDATE, ProductRules
from auditor.core.stamp import Stamp, check_stamp
from auditor.errors import CheckFailed, Malformed

_NAMES = {34: b"\x00\x0b", 50: b"\x00\x0c"}  # sizes of TPM names, and the hash that they begin with


class RecordState(Enum):
    """Where a certificate stands, as signerd says."""

    INTENT = "intent"
    ISSUED = "issued"
    STAMPED = "stamped"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Record:
    """A certificate record as signerd handed it over. Nothing in it is verified."""

    record_id: int
    work_order: str
    product: str
    chip_id: str
    serial_number: str
    number: int
    state: RecordState
    certificate: bytes  # DER; empty while the state is INTENT
    csr: bytes
    method: str
    claims: bytes
    evidence: bytes
    level: str
    challenge: bytes
    station: str
    issued_at: datetime | None
    issued_index: int
    stamp: bytes
    stamp_signature: bytes
    stamped_index: int
    revoked_index: int
    settings: bytes
    measured: Mapping[str, str]
    attester: bytes  # SubjectPublicKeyInfo of the attestation key, DER; empty: none signed


@dataclass(frozen=True, slots=True)
class Facts:
    """What the verified ledger says of one certificate. `size` is the verified tree's."""

    issued: Issued
    certificate: CertificateState
    order: OrderOpened | None
    stamped: Stamped | None
    size: int
    since: datetime | None  # of the newest intent of this place that a crash held up

    def moment(self, begin: datetime, backdate: timedelta) -> datetime:
        """When signerd looked at the evidence of a certificate that is valid from `begin`: when it was
        entered, or, where a crash lies between, at the intent, from whose moment `begin` follows."""
        if self.since is not None and begin - SKEW <= self.since <= begin + backdate + SKEW:
            return min(self.since, self.issued.time)
        return self.issued.time


@dataclass(frozen=True, slots=True)
class AppraisalPolicy:
    """What evidence is measured by. Without a product file it cannot be verified again; without a list any
    key that the ledger names counts for a chip whose key is not certified."""

    product: ProductRules | None
    identities: Identities | None


@dataclass(frozen=True, slots=True)
class Checked:
    """A record that holds. `rests_on`: what its chip must have been counted under (`core.counting`)."""

    leaf: Leaf
    basis: Basis
    rests_on: str
    anchors: tuple[Anchor, ...]  # that the evidence proves; empty where it was not verified
    stamp: Stamp | None


def check_record(record: Record, facts: Facts, issuer: Issuer, policy: AppraisalPolicy) -> Checked:
    """Checks a record against what the ledger says of its certificate.

    Raises:
        CheckFailed: the first thing that does not hold.
    """
    found = sha256(record.certificate).hexdigest()
    _compare(Code.CERTIFICATE_DIFFERS, [("SHA-256", found, facts.issued.certificate_sha256.hex())])
    leaf = read_leaf(record.certificate, issuer)
    product = policy.product
    check_agrees(leaf, facts.issued, facts.order, MAX_BACKDATE if product is None else product.backdate)
    _check_members(record, facts)
    _check_state(record, facts)
    if sha256(record.csr).digest() != facts.issued.csr_sha256:
        raise CheckFailed(Code.CSR, "the CSR is not the one of the entry")
    csr = check_csr(record.csr, leaf.spki)
    _check_evidence(record, facts, csr)
    result, counted = AttestationResult(Basis.UNCHECKED, facts.issued.level), ""
    if product is not None:
        result = _recheck(record, facts, csr, leaf, product)
        _check_attester(result, facts.issued, policy.identities)
        counted = _check_anchors(result, facts.issued, policy.identities)
        check_extension(leaf, facts.issued, product.extension)
    least = _least(facts.order, product)
    check_minimum(facts.issued.claims.versions | dict(facts.issued.measured), least)
    _check_settings(record, facts)
    stamp = None
    if record.stamp:
        stamp = _check_stamp(record, facts, leaf, least, () if product is None else product.required_locks)
    return Checked(leaf, result.basis, result.rests_on or counted, result.anchors, stamp)


def evidence_transcript(record: Record, csr: Csr) -> bytes:
    """The bytes that the board's evidence is over.

    Raises:
        Malformed: the claims are not of their form.
    """
    return transcript(
        challenge=record.challenge,
        chip_id=record.chip_id,
        csr_sha256=csr.evidence_digest,
        claims=parse_claims(record.claims),
    )


def _check_members(record: Record, facts: Facts) -> None:
    issued = facts.issued
    _compare(
        Code.RECORD_DIFFERS,
        [
            ("issued_index", record.issued_index, facts.certificate.index),
            ("work_order", record.work_order, issued.work_order),
            ("product", record.product, issued.product),
            ("number", record.number, issued.number),
            ("chip_id", record.chip_id, issued.chip_id),
            ("serial_number", record.serial_number, issued.serial_number),
            ("level", record.level, issued.level),
            ("method", record.method, issued.method),
            ("challenge", record.challenge.hex(), issued.challenge.hex()),
            ("station", record.station, issued.station),
            ("measured", dict(sorted(record.measured.items())), dict(sorted(issued.measured.items()))),
        ],
    )
    if record.issued_at is None or abs(record.issued_at - issued.time) > SKEW:
        moment = "none" if record.issued_at is None else forms.time_text(record.issued_at)
        _compare(Code.RECORD_DIFFERS, [("issued_at", moment, forms.time_text(issued.time))])


def _check_state(record: Record, facts: Facts) -> None:
    """The record's state follows the ledger, or runs ahead of the verified tree, but never behind it."""
    if record.state is RecordState.INTENT:
        raise CheckFailed(Code.RECORD_STATE, "an intent that has a certificate")
    stamped, revoked = bool(record.stamp), record.state is RecordState.REVOKED
    if record.state is RecordState.STAMPED and not stamped:
        raise CheckFailed(Code.RECORD_STATE, "stamped, but without a stamp")
    if record.state is RecordState.ISSUED and stamped:
        raise CheckFailed(Code.RECORD_STATE, "not stamped, but with a stamp")
    for what, there, claimed, index in (
        ("stamped", stamped, record.stamped_index, facts.certificate.stamped_index),
        ("revoked", revoked, record.revoked_index, facts.certificate.revoked_index),
    ):
        ahead = there and claimed >= facts.size
        if index is None and there and not ahead:
            raise CheckFailed(
                Code.RECORD_STATE, f"{what} in the record, but not in the ledger", found=str(claimed)
            )
        if index is not None and (not there or claimed != index):
            found = f"entry {claimed}" if there else f"not {what}"
            raise CheckFailed(
                Code.RECORD_STATE,
                f"{what} otherwise than in the ledger",
                expected=f"entry {index}",
                found=found,
            )


def _check_evidence(record: Record, facts: Facts, csr: Csr) -> None:
    """Digests and form: the record's claims, evidence and attestation key are those of the entry."""
    issued = facts.issued
    attester = sha256(record.attester).hexdigest() if record.attester else "none"
    logged = "none" if issued.attester_sha256 is None else issued.attester_sha256.hex()
    _compare(Code.ATTESTER, [("the attestation key", attester, logged)])
    evidence = sha256(record.evidence).hexdigest()
    _compare(Code.EVIDENCE, [("evidence", evidence, issued.evidence_sha256.hex())])
    try:
        claims = parse_claims(record.claims)
    except Malformed as error:
        raise CheckFailed(Code.EVIDENCE, f"claims: {error}") from error
    _compare(Code.EVIDENCE, [("claims", claims, issued.claims)])
    if csr.inside is not None and (csr.inside.method, csr.inside.evidence) != (
        record.method,
        record.evidence,
    ):
        raise CheckFailed(Code.EVIDENCE, "the evidence inside the CSR is not the record's")


def _recheck(record: Record, facts: Facts, csr: Csr, leaf: Leaf, product: ProductRules) -> AttestationResult:
    """Verifies the evidence once more, and that the ledger says no more than it shows."""
    issued = facts.issued
    if product.chip_ids is not None and not product.chip_ids.matches(issued.chip_id):
        raise CheckFailed(Code.EVIDENCE, "the chip id is not of the product's form", found=issued.chip_id)
    inputs = AppraisalInputs(
        chip_id=issued.chip_id,
        product=issued.product,
        csr=csr.der,
        spki=leaf.spki,
        transcript=evidence_transcript(record, csr),
        attester=record.attester,
        moment=facts.moment(leaf.certificate.not_valid_before_utc, product.backdate),
        rules=product,
    )
    result = recheck(issued.method, inputs, record.evidence)
    if LEVELS.index(result.level) < LEVELS.index(issued.level):
        raise CheckFailed(
            Code.EVIDENCE_LEVEL,
            "the evidence shows less than the ledger says",
            expected=f"at most {result.level}",
            found=issued.level,
        )
    measured = dict(result.measured) if issued.level == LEVELS[-1] else {}
    if dict(issued.measured) != measured:
        raise CheckFailed(
            Code.EVIDENCE_LEVEL,
            "the evidence measures other firmware than the ledger says",
            expected=str(measured),
            found=str(dict(issued.measured))[:200],
        )
    return result


def _check_attester(result: AttestationResult, issued: Issued, identities: Identities | None) -> None:
    """The key that signed is the ledger's, and, where no certificate says so, the company's list knows it as
    this chip's."""
    found = sha256(result.attester).digest() if result.attester else None
    if found != issued.attester_sha256:
        raise CheckFailed(Code.ATTESTER, "another key signed than the ledger names")
    listed = identities is None or identities.has(issued.chip_id, result.key_id, result.attester)
    if result.imported and not listed:
        raise CheckFailed(
            Code.ATTESTER, "the attestation key is not on the list for this chip", found=issued.chip_id
        )


def _check_anchors(result: AttestationResult, issued: Issued, identities: Identities | None) -> str:
    """What tells the chip from others is what the evidence proves of it: no more, no less. Entries of form 1
    do not say it.

    Returns:
        What the chip must have been counted under, where that shows in its anchors alone; else empty.
    """
    if issued.anchors is None:
        return ""
    proved, said = set(result.anchors), set(issued.anchors)
    # The name of a TPM's key stands in its import and not in the evidence. A certified key may have both.
    names = said - proved if issued.method == "tpm2" else set()
    by_import = len(names) == 1 and all(_is_imported(one, result, issued, identities) for one in names)
    needed = issued.method == "tpm2" and result.imported
    if proved - said or (said - proved and not by_import) or (needed and not by_import):
        raise _other_anchors(proved, said)
    return counted_identities(issued.method, issued.product) if by_import else ""


def _other_anchors(proved: set[Anchor], said: set[Anchor]) -> CheckFailed:
    return CheckFailed(
        Code.ANCHORS,
        "the evidence proves other anchors than the ledger says",
        expected=", ".join(map(str, sorted(proved)))[:200],
        found=", ".join(map(str, sorted(said)))[:200],
    )


def _is_imported(
    anchor: Anchor, result: AttestationResult, issued: Issued, identities: Identities | None
) -> bool:
    """True if it is a TPM key's name (TPM 2.0 Part 1, 16), and the company's list has it for chip and key, as
    far as there is a list."""
    if anchor.kind != "imported":
        return False
    name = bytes.fromhex(anchor.value)
    if _NAMES.get(len(name)) != name[:2]:
        return False
    return identities is None or identities.has(issued.chip_id, name, result.attester)


def _least(order: OrderOpened | None, product: ProductRules | None) -> Mapping[str, str]:
    """The firmware minimum: of the order's and the product's the higher, component by component."""
    least = {} if product is None else dict(product.minimum_firmware)
    for name, version in ({} if order is None else order.minimum_firmware).items():
        least[name] = max(version, least.get(name, version), key=version_key)
    return least


def _check_settings(record: Record, facts: Facts) -> None:
    try:
        serial_number, ordered = split_settings(record.settings)
    except Malformed as error:
        raise CheckFailed(Code.SETTINGS, str(error)) from error
    compared = [
        ("settings", sha256(record.settings).hexdigest(), facts.issued.settings_sha256.hex()),
        ("serial number", serial_number, facts.issued.serial_number),
    ]
    if facts.order is not None:
        compared.append(
            ("the order's settings", sha256(ordered).hexdigest(), facts.order.settings_sha256.hex())
        )
    _compare(Code.SETTINGS, compared)


def _check_stamp(
    record: Record, facts: Facts, leaf: Leaf, least: Mapping[str, str], locks: Iterable[str]
) -> Stamp:
    stamp = check_stamp(
        record.stamp,
        record.stamp_signature,
        key=leaf.key,
        chip_id=facts.issued.chip_id,
        serial_number=facts.issued.serial_number,
        certificate=record.certificate,
        settings=record.settings,
    )
    if facts.stamped is not None:
        found = sha256(record.stamp).hexdigest()
        _compare(Code.STAMP_DIFFERS, [("SHA-256 of the stamp", found, facts.stamped.stamp_sha256.hex())])
    check_minimum(stamp.claims.versions, least)
    check_firmware(stamp.claims.firmware, None if facts.order is None else facts.order.firmware)
    opened = [lock for lock in locks if stamp.claims.security_state.get(lock) is not True]
    if opened:
        raise CheckFailed(Code.LOCKS_OPEN, "locks that the product demands are open", found=", ".join(opened))
    return stamp


def _compare(code: Code, compared: Iterable[tuple[str, object, object]]) -> None:
    for what, found, expected in compared:
        if found != expected:
            raise CheckFailed(
                code,
                f"{what} of the record and of the ledger",
                expected=str(expected)[:200],
                found=str(found)[:200],
            )
