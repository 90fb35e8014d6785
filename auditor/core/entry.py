"""Ledger entries, strictly read: canonical JSON (RFC 8785) with exactly the members of their type and form.

entry = parse_entry(leaf)      # an Issued, a Stamped, …, or CheckFailed

All forms of docs/formats.md, "Ledger", are read. What an entry of an earlier form does not say is None.
"""

# ruff: noqa: RUF009 (`_member` is dataclasses.field)

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar

from auditor.core import forms
from auditor.core.anchors import Anchor, ledger_anchors
from auditor.core.canonical import canonical_object
from auditor.core.claims import Claims, ledger_claims, ledger_firmware
from auditor.core.codes import Code
from auditor.core.forms import Administrator, ApprovalSignature, Form
from auditor.errors import CheckFailed, Malformed
from birthmark.proof.succession import Predecessor

MAX_ENTRY = 65_535  # bytes
FORMS = (1, 2, 3)  # `v`; a log may go on in a later form, and never back
LEVELS = ("none", "chip", "key")  # ascending
CHIP_KEY = "hmac-sha256"  # kinds of keys that a trusted personalization burns
CHIP_KEYS = (CHIP_KEY, "psa-iak-sha256", "psa-iak-sha384", "psa-iak-sha512")
IDENTITY_METHODS = ("psa-token", "nrf91", "tpm2")  # whose attestation keys may be imported
CRL_REASONS = (  # RFC 5280 §5.3.1
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
    "aACompromise",
)


def _member(form: Form) -> Any:
    return field(metadata={"form": form, "since": 1})


def _member_of_form_2(form: Form) -> Any:
    return field(default=None, metadata={"form": form, "since": 2})


def _member_if_said(form: Form) -> Any:
    """One of form 2 that is left out where there is nothing to say."""
    return field(default=None, metadata={"form": form, "since": 2, "if_said": True})


def _member_if_said_in_form_3(form: Form) -> Any:
    """The same of form 3."""
    return field(default=None, metadata={"form": form, "since": 3, "if_said": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What every entry has. `id` tells it from every other one of the log; it has one from form 2 on."""

    type: ClassVar[str]
    since_form: ClassVar[int] = 1  # the first form that has entries of this type
    form: int = FORMS[-1]
    time: datetime = _member(forms.time)
    id: bytes | None = _member_of_form_2(forms.entry_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdministratorsEntry(Entry):
    """What an administrator did. `by`: who, as the command was told; None where nothing was said."""

    by: str | None = _member_of_form_2(forms.optional(forms.administrator))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOpened(AdministratorsEntry):
    """Entry 0."""

    type: ClassVar[str] = "log_opened"
    deployment: str = _member(forms.name)
    origin: str = _member(forms.origin)
    issuer_sha256: bytes = _member(forms.digest)
    root_sha256: bytes = _member(forms.digest)
    vkey: str = _member(forms.vkey)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysCommitted(AdministratorsEntry):
    """Where checkpoint key and chip master key are, and which token keys open what is sealed."""

    type: ClassVar[str] = "keys_committed"
    checkpoint: str = _member(forms.one_of("token", "sealed"))
    chip_master: str = _member(forms.one_of("token", "sealed", "none"))
    chip_master_commitment: bytes | None = _member(forms.optional(forms.digest))
    recipients: tuple[bytes, ...] = _member(forms.token_keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerAdded(AdministratorsEntry):
    """A further issuer of a CA, which does not issue yet."""

    type: ClassVar[str] = "issuer_added"
    issuer: str = _member(forms.name)
    ca: str = _member(forms.name)
    certificate_sha256: bytes = _member(forms.digest)
    root_sha256: bytes = _member(forms.digest)
    not_after: datetime = _member(forms.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerActivated(AdministratorsEntry):
    """It issues for its CA from here on."""

    type: ClassVar[str] = "issuer_activated"
    issuer: str = _member(forms.name)
    ca: str = _member(forms.name)
    certificate_sha256: bytes = _member(forms.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerRetired(AdministratorsEntry):
    """It never issues again."""

    type: ClassVar[str] = "issuer_retired"
    issuer: str = _member(forms.name)
    ca: str = _member(forms.name)
    certificate_sha256: bytes = _member(forms.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdministratorsSet(AdministratorsEntry):
    """Who is asked for approvals from here on; a threshold of 0: nobody."""

    type: ClassVar[str] = "administrators_set"
    threshold: int = _member(forms.integer)
    administrators: tuple[Administrator, ...] = _member(forms.administrators)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionApproved(AdministratorsEntry):
    """The approval of the entry that follows."""

    type: ClassVar[str] = "action_approved"
    action: str = _member(forms.label)
    request: bytes = _member(forms.entry_id)
    part: int = _member(forms.integer)
    statement: str = _member(forms.text)
    signatures: tuple[ApprovalSignature, ...] = _member(forms.approval_signatures)


@dataclass(frozen=True, slots=True, kw_only=True)
class StationAdded(AdministratorsEntry):
    """A station may call."""

    type: ClassVar[str] = "station_added"
    peer: str = _member(forms.station)
    spki_sha256: bytes = _member(forms.digest)
    not_after: datetime | None = _member_if_said_in_form_3(forms.time)
    ca_sha256: bytes | None = _member_if_said_in_form_3(forms.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditorAdded(AdministratorsEntry):
    """An auditor may call."""

    type: ClassVar[str] = "auditor_added"
    peer: str = _member(forms.auditor)
    spki_sha256: bytes = _member(forms.digest)
    not_after: datetime | None = _member_if_said_in_form_3(forms.time)
    ca_sha256: bytes | None = _member_if_said_in_form_3(forms.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class StationRenewed(AdministratorsEntry):
    """A station may call with this key too, or goes on with the one that it has."""

    type: ClassVar[str] = "station_renewed"
    peer: str = _member(forms.station)
    spki_sha256: bytes = _member(forms.digest)
    not_after: datetime = _member(forms.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditorRenewed(AdministratorsEntry):
    """The same of an auditor."""

    type: ClassVar[str] = "auditor_renewed"
    peer: str = _member(forms.auditor)
    spki_sha256: bytes = _member(forms.digest)
    not_after: datetime = _member(forms.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalChosen(AdministratorsEntry):
    """Whether a peer that asks for it is renewed without an administrator."""

    type: ClassVar[str] = "renewal_chosen"
    peer: str = _member(forms.peer)
    automatic: bool = _member(forms.boolean)


@dataclass(frozen=True, slots=True, kw_only=True)
class StationRevoked(AdministratorsEntry):
    """A station may no longer call."""

    type: ClassVar[str] = "station_revoked"
    peer: str = _member(forms.station)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditorRevoked(AdministratorsEntry):
    """An auditor may no longer call."""

    type: ClassVar[str] = "auditor_revoked"
    peer: str = _member(forms.auditor)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsCaAdded(AdministratorsEntry):
    """An operations CA that certifies peers, beside the one of before."""

    type: ClassVar[str] = "operations_ca_added"
    ca_sha256: bytes = _member(forms.digest)
    not_after: datetime = _member(forms.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsCaActivated(AdministratorsEntry):
    """An operations CA that signerd's own certificate comes from."""

    type: ClassVar[str] = "operations_ca_activated"
    ca_sha256: bytes = _member(forms.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsCaRetired(AdministratorsEntry):
    """An operations CA that lets in nobody any more."""

    type: ClassVar[str] = "operations_ca_retired"
    ca_sha256: bytes = _member(forms.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointKeyAdded(AdministratorsEntry):
    """A successor of the log's key, announced; it signs nothing yet."""

    type: ClassVar[str] = "checkpoint_key_added"
    vkey: str = _member(forms.vkey)
    place: str = _member(forms.one_of("token", "sealed"))
    recipients: tuple[bytes, ...] = _member(forms.token_keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointKeyActivated(AdministratorsEntry):
    """An announced key that signs each tree with this entry. `checkpoint`: a signed note of the keys of
    before, over a tree that has the announcement."""

    type: ClassVar[str] = "checkpoint_key_activated"
    vkey: str = _member(forms.vkey)
    checkpoint: str = _member(forms.signed_note)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointKeyRetired(AdministratorsEntry):
    """A key of the log that signs no tree with this entry."""

    type: ClassVar[str] = "checkpoint_key_retired"
    vkey: str = _member(forms.vkey)
    reason: str = _member(forms.one_of("superseded", "lost", "compromised"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSucceeded(AdministratorsEntry):
    """A log that lost its end goes on under another name (`birthmark.proof.succession`)."""

    type: ClassVar[str] = "log_succeeded"
    since_form: ClassVar[int] = 3
    number: int = _member(forms.positive)
    origin: str = _member(forms.origin)
    vkey: str = _member(forms.vkey)
    continued: int = _member(forms.integer)
    root: bytes = _member(forms.digest)
    predecessors: tuple[Predecessor, ...] = _member(forms.predecessors)
    ca_sha256: bytes = _member(forms.digest)
    signature: bytes = _member(forms.ecdsa_signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductAdded(AdministratorsEntry):
    """A product or a revision of one."""

    type: ClassVar[str] = "product_added"
    product: str = _member(forms.name)
    product_sha256: bytes = _member(forms.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderOpened(AdministratorsEntry):
    """A work order's terms."""

    type: ClassVar[str] = "order_opened"
    work_order: str = _member(forms.name)
    product: str = _member(forms.name)
    product_sha256: bytes = _member(forms.digest)
    quantity: int = _member(forms.positive)
    not_before: datetime = _member(forms.time)
    not_after: datetime = _member(forms.time)
    stations: frozenset[str] = _member(forms.stations)
    level: str = _member(forms.one_of(*LEVELS))
    minimum_firmware: Mapping[str, str] = _member(forms.versions)
    serial_pattern: str = _member(forms.serial_pattern)
    serial_start: int = _member(forms.integer)
    reissue: str = _member(forms.one_of("never", "before-stamp", "always"))
    settings_sha256: bytes = _member(forms.digest)
    bundle_sha256: bytes | None = _member(forms.optional(forms.digest))
    firmware: Mapping[str, tuple[str, bytes]] | None = _member(forms.optional(ledger_firmware))
    rehearsed: bool | None = _member_of_form_2(forms.boolean)
    shares: Mapping[str, int] | None = _member_if_said(forms.shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareGiven(AdministratorsEntry):
    """Another key holder's service certifies places of a work order."""

    type: ClassVar[str] = "share_given"
    work_order: str = _member(forms.name)
    giver: str = _member(forms.name)
    taker: str = _member(forms.name)
    places: int = _member(forms.positive)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderClosed(AdministratorsEntry):
    """A work order takes no more boards."""

    type: ClassVar[str] = "order_closed"
    work_order: str = _member(forms.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipsImported(AdministratorsEntry):
    """Chips on a work order's list."""

    type: ClassVar[str] = "chips_imported"
    work_order: str = _member(forms.name)
    count: int = _member(forms.integer)
    chips_sha256: bytes = _member(forms.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipsPersonalized(AdministratorsEntry):
    """Chips that carry a secret. `again`: known before, and given their key once more."""

    type: ClassVar[str] = "chips_personalized"
    count: int = _member(forms.integer)
    again: int = _member(forms.integer)
    chips_sha256: bytes = _member(forms.digest)
    locked: bool = _member(forms.boolean)
    site: str = _member(forms.place_name)
    key: str = _member(forms.one_of(*CHIP_KEYS))
    by: str = _member(forms.administrator)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitiesImported(AdministratorsEntry):
    """Attestation keys entered for chips of a product."""

    type: ClassVar[str] = "identities_imported"
    product: str = _member(forms.name)
    method: str = _member(forms.one_of(*IDENTITY_METHODS))
    count: int = _member(forms.integer)
    identities_sha256: bytes = _member(forms.digest)
    by: str = _member(forms.administrator)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued(Entry):
    """A certificate."""

    type: ClassVar[str] = "issued"
    work_order: str = _member(forms.name)
    product: str = _member(forms.name)
    number: int = _member(forms.positive)
    chip_id: str = _member(forms.chip_id)
    serial_number: str = _member(forms.chip_id)
    certificate_serial: bytes = _member(forms.serial)
    certificate_sha256: bytes = _member(forms.digest)
    spki_sha256: bytes = _member(forms.digest)
    csr_sha256: bytes = _member(forms.digest)
    settings_sha256: bytes = _member(forms.digest)
    level: str = _member(forms.one_of(*LEVELS))
    method: str = _member(forms.matching(r"[a-z0-9-]{1,32}"))
    claims: Claims = _member(ledger_claims)
    measured: Mapping[str, str] = _member(forms.versions)
    attester_sha256: bytes | None = _member(forms.optional(forms.digest))
    evidence_sha256: bytes = _member(forms.digest)
    challenge: bytes = _member(forms.digest)
    station: str = _member(forms.station)
    supersedes: bytes | None = _member(forms.optional(forms.digest))
    anchors: tuple[Anchor, ...] | None = _member_of_form_2(ledger_anchors)
    certificate_name: str | None = _member_of_form_2(forms.component)
    versions: Mapping[str, str | None] | None = _member_of_form_2(forms.program_versions)
    issuer: str | None = _member_if_said_in_form_3(forms.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped(Entry):
    """A board's own word at the end."""

    type: ClassVar[str] = "stamped"
    work_order: str = _member(forms.name)
    chip_id: str = _member(forms.chip_id)
    serial_number: str = _member(forms.chip_id)
    certificate_sha256: bytes = _member(forms.digest)
    stamp_sha256: bytes = _member(forms.digest)
    station: str = _member(forms.station)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked(AdministratorsEntry):
    """A certificate that counts no more."""

    type: ClassVar[str] = "revoked"
    work_order: str = _member(forms.name)
    chip_id: str = _member(forms.chip_id)
    serial_number: str = _member(forms.chip_id)
    certificate_serial: bytes = _member(forms.serial)
    certificate_sha256: bytes = _member(forms.digest)
    reason: str = _member(forms.one_of(*CRL_REASONS))
    superseded_by: bytes | None = _member(forms.optional(forms.digest))


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCall(Entry):
    """A refusal, or several folded into one."""

    type: ClassVar[str] = "refused"
    peer: str | None = _member(forms.optional(forms.peer))
    call: str = _member(forms.label)
    code: str = _member(forms.label)
    count: int = _member(forms.positive)
    work_order: str | None = _member(forms.optional(forms.name))
    chip_id: str | None = _member(forms.optional(forms.chip_id))
    csr_sha256: bytes | None = _member(forms.optional(forms.digest))
    agent: str | None = _member_if_said(forms.program_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentOpen(Entry):
    """An intent that a crash left without its certificate."""

    type: ClassVar[str] = "intent_open"
    work_order: str = _member(forms.name)
    chip_id: str = _member(forms.chip_id)
    serial_number: str = _member(forms.chip_id)
    number: int = _member(forms.positive)
    tbs_sha256: bytes = _member(forms.digest)
    since: datetime = _member(forms.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentAbandoned(Entry):
    """An intent of an issuer that no longer issues: its place gets a certificate of the successor."""

    type: ClassVar[str] = "intent_abandoned"
    work_order: str = _member(forms.name)
    chip_id: str = _member(forms.chip_id)
    serial_number: str = _member(forms.chip_id)
    number: int = _member(forms.positive)
    tbs_sha256: bytes = _member(forms.digest)
    certificate_serial: bytes = _member(forms.serial)
    issuer: str = _member(forms.name)
    successor: str = _member(forms.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrimesFound(Entry):
    """RSA certificates whose modulus shares a prime with another one of the history."""

    type: ClassVar[str] = "shared_primes_found"
    count: int = _member(forms.positive)
    certificates: tuple[bytes, ...] = _member(forms.certificates)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlIssued(AdministratorsEntry):
    """A certificate revocation list."""

    type: ClassVar[str] = "crl_issued"
    crl_number: int = _member(forms.integer)
    crl_sha256: bytes = _member(forms.digest)
    next_update: datetime = _member(forms.time)
    count: int = _member(forms.integer)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockAccepted(AdministratorsEntry):
    """From here on times are counted from `clock_to`."""

    type: ClassVar[str] = "clock_accepted"
    by: str = _member(forms.administrator)
    clock_from: datetime = _member(forms.time)
    clock_to: datetime = _member(forms.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerdStarted(Entry):
    """A signerd began to serve, under a name of its own, after what was done to its database."""

    type: ClassVar[str] = "signerd_started"
    since_form: ClassVar[int] = 3
    run: bytes = _member(forms.entry_id)
    version: str = _member(forms.program_version)
    schema: str = _member(forms.schema)
    upgraded_from: str | None = _member(forms.optional(forms.schema))
    backup_made: datetime | None = _member(forms.optional(forms.time))
    backup_size: int | None = _member(forms.optional(forms.integer))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerdStopped(Entry):
    """The signerd of this name stopped, since it was asked to."""

    type: ClassVar[str] = "signerd_stopped"
    since_form: ClassVar[int] = 3
    run: bytes = _member(forms.entry_id)


_TYPES: tuple[type[Entry], ...] = (
    LogOpened, KeysCommitted, IssuerAdded, IssuerActivated, IssuerRetired,
    AdministratorsSet, ActionApproved,
    StationAdded, AuditorAdded, StationRenewed, AuditorRenewed, RenewalChosen,
    StationRevoked, AuditorRevoked, OperationsCaAdded, OperationsCaActivated, OperationsCaRetired,
    CheckpointKeyAdded, CheckpointKeyActivated, CheckpointKeyRetired, LogSucceeded, ProductAdded,
    OrderOpened, ShareGiven, OrderClosed, ChipsImported, ChipsPersonalized, IdentitiesImported,
    Issued, Stamped, Revoked, RefusedCall, IntentOpen, IntentAbandoned, SharedPrimesFound, CrlIssued,
    ClockAccepted, SignerdStarted, SignerdStopped,
)  # fmt: skip
_MEMBERS: dict[tuple[int, str], tuple[type[Entry], dict[str, Form]]] = {
    (form, kind.type): (
        kind,
        {
            item.name: item.metadata["form"]
            for item in fields(kind)
            if "form" in item.metadata and item.metadata["since"] <= form
        },
    )
    for kind in _TYPES
    for form in FORMS
    if kind.since_form <= form
}


TYPES = tuple(kind.type for kind in _TYPES)
"""All types of entries, as they stand in `type`."""
NOT_KEPT = frozenset(
    {"issued", "stamped", "revoked", "refused", "intent_open", "intent_abandoned", "crl_issued"}
)
"""Of these a state keeps no copy: they grow with the boards."""
_IF_SAID = {kind.type: {item.name for item in fields(kind) if "if_said" in item.metadata} for kind in _TYPES}


def parse_entry(data: bytes) -> Entry:
    """Reads one entry.

    Raises:
        CheckFailed: ENTRY_OVERSIZED, ENTRY_NOT_CANONICAL, or ENTRY_FORM for its type and members.
    """
    if len(data) > MAX_ENTRY:
        raise CheckFailed(
            Code.ENTRY_OVERSIZED,
            "the entry is too large",
            expected=f"at most {MAX_ENTRY}",
            found=str(len(data)),
        )
    return _entry(canonical_object(data))


def reread_entry(data: bytes) -> Entry:
    """Reads bytes that `parse_entry` accepted before, without asking again whether they are canonical.

    Raises:
        CheckFailed: they are not such bytes.
    """
    try:
        members = json.loads(data)
    except ValueError as error:
        raise CheckFailed(Code.ENTRY_NOT_CANONICAL, "the kept entry is damaged") from error
    return _entry(members)


def _entry(members: dict[str, Any]) -> Entry:
    kind, member_forms = _kind(members)
    may_be_unsaid = _IF_SAID[kind.type]
    unsaid = may_be_unsaid - members.keys() if may_be_unsaid else may_be_unsaid
    wanted = (member_forms.keys() | {"v", "type"}) - unsaid
    if members.keys() != wanted:
        odd = ", ".join(sorted(members.keys() ^ wanted))
        raise CheckFailed(Code.ENTRY_FORM, f"members missing or too many in `{kind.type}`", found=odd[:200])
    values: dict[str, Any] = {"form": members["v"]}
    for key, form in member_forms.items():
        if key in unsaid:
            continue
        try:
            values[key] = form(members[key])
        except Malformed as error:
            raise CheckFailed(
                Code.ENTRY_FORM, f"`{key}` of `{kind.type}` {error}", found=repr(members[key])[:200]
            ) from error
    return kind(**values)


def _kind(members: dict[str, Any]) -> tuple[type[Entry], dict[str, Form]]:
    form = members.get("v")
    if type(form) is not int or form not in FORMS:
        expected = " or ".join(map(str, FORMS))
        raise CheckFailed(Code.ENTRY_FORM, "unknown form", expected=expected, found=repr(form)[:64])
    found = members.get("type")
    if not isinstance(found, str) or (form, found) not in _MEMBERS:
        raise CheckFailed(Code.ENTRY_FORM, "unknown type", found=repr(found)[:64])
    return _MEMBERS[form, found]
