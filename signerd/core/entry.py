"""Ledger entries: one frozen dataclass a type of docs/formats.md, "Ledger".

Guarantees that an entry has exactly the members of its type, in the canonical form of RFC 8785, within
`MAX_ENTRY` bytes. A member's form follows from its Python type: bytes become lower-case hexadecimal,
times UTC text, tuples arrays, claims an object of firmware and security state.

    encode(OrderClosed(time=now, work_order="WO-1", by="ann"), secrets.token_bytes(ID_BYTES))

What is written is form 3. A new member is a field here, with its row in docs/formats.md and its form in the
auditor's `core/entry.py`; a log may hold older entries of forms 1 and 2, which nobody writes any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import ClassVar

import rfc8785

from signerd.core.evidence.claims import Claims

MAX_ENTRY = 65_535  # bytes: C2SP tlog-tiles gives an entry's length 16 bits
MAX_SHARED_PRIMES = 500  # certificates in one `shared_primes_found` entry (docs/formats.md, "Ledger")
ID_BYTES = 16  # random: an entry has a name before the log gives it an index
_FORM = 3

Anchors = tuple[tuple[str, str | None, str], ...]
"""Kind, issuer (lower-case hexadecimal) or None, value: sorted, each once (docs/formats.md, "Ledger")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What every entry has. `time` is aware; entries speak of whole seconds, UTC."""

    type: ClassVar[str]

    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AdministratorsEntry(Entry):
    """What an administrator did. `by` is the name that the command was told, None where it was told none, as
    `chips_personalized`, `identities_imported` and `clock_accepted` never are."""

    by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOpened(AdministratorsEntry):
    """Entry 0: whose log this is."""

    type: ClassVar[str] = "log_opened"

    deployment: str
    origin: str
    issuer_sha256: bytes
    root_sha256: bytes
    vkey: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysCommitted(AdministratorsEntry):
    """Where the keys are that a token need not hold, the commitment to the master key where it is sealed (the
    checkpoint key's is its public key, in `log_opened`), and the token keys that open what is sealed. A log
    without one is of an installation with all keys in the token."""

    type: ClassVar[str] = "keys_committed"

    checkpoint: str
    chip_master: str
    chip_master_commitment: bytes | None
    recipients: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerAdded(AdministratorsEntry):
    """A further issuer of a CA: its certificate, and the root that its chain ends at. It does not issue yet.
    The first one, of the CA `main`, is in `log_opened`."""

    type: ClassVar[str] = "issuer_added"

    issuer: str
    ca: str
    certificate_sha256: bytes
    root_sha256: bytes
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerActivated(AdministratorsEntry):
    """From here on this one issues for its CA, and the one before it nothing but CRLs."""

    type: ClassVar[str] = "issuer_activated"

    issuer: str
    ca: str
    certificate_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerRetired(AdministratorsEntry):
    """It never issues again. What it issued stays valid, and its CRLs go on while its key is there."""

    type: ClassVar[str] = "issuer_retired"

    issuer: str
    ca: str
    certificate_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AdministratorsSet(AdministratorsEntry):
    """Whose keys approve actions from here on, and how many administrators are needed; a threshold of 0: no
    approval is. Members as `core.approval.administrators` makes them."""

    type: ClassVar[str] = "administrators_set"

    threshold: int
    administrators: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionApproved(AdministratorsEntry):
    """The approval of the entry that follows it: part `part` of the statement, whose text is `statement`."""

    type: ClassVar[str] = "action_approved"

    action: str
    request: bytes
    part: int
    statement: str
    signatures: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StationAdded(AdministratorsEntry):
    """A station was registered."""

    type: ClassVar[str] = "station_added"

    peer: str
    spki_sha256: bytes
    not_after: datetime | None = field(default=None, metadata={"if_said": True})  # of its certificate
    ca_sha256: bytes | None = field(default=None, metadata={"if_said": True})  # the operations CA of that


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditorAdded(AdministratorsEntry):
    """An auditor was registered."""

    type: ClassVar[str] = "auditor_added"

    peer: str
    spki_sha256: bytes
    not_after: datetime | None = field(default=None, metadata={"if_said": True})
    ca_sha256: bytes | None = field(default=None, metadata={"if_said": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class StationRenewed(AdministratorsEntry):
    """A station has a newer certificate, for its key or for another one. Where it is another, the key of
    before goes on beside it until its own certificate ends."""

    type: ClassVar[str] = "station_renewed"

    peer: str
    spki_sha256: bytes
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditorRenewed(AdministratorsEntry):
    """The same of an auditor."""

    type: ClassVar[str] = "auditor_renewed"

    peer: str
    spki_sha256: bytes
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalChosen(AdministratorsEntry):
    """Whether signerd renews a peer that asks for it by itself, or once an administrator has approved."""

    type: ClassVar[str] = "renewal_chosen"

    peer: str
    automatic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StationRevoked(AdministratorsEntry):
    """A station may no longer call."""

    type: ClassVar[str] = "station_revoked"

    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditorRevoked(AdministratorsEntry):
    """An auditor may no longer call."""

    type: ClassVar[str] = "auditor_revoked"

    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsCaAdded(AdministratorsEntry):
    """An operations CA beside the one of before: it certifies peers from now on, and both are trusted."""

    type: ClassVar[str] = "operations_ca_added"

    ca_sha256: bytes
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsCaActivated(AdministratorsEntry):
    """signerd's own certificate comes from it from now on."""

    type: ClassVar[str] = "operations_ca_activated"

    ca_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsCaRetired(AdministratorsEntry):
    """Nobody is let in by it any more. The one that `signerd init` made has no entry before this one."""

    type: ClassVar[str] = "operations_ca_retired"

    ca_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointKeyAdded(AdministratorsEntry):
    """A successor of the log's key, under a checkpoint of which it is no signer yet (`core.checkpoint_keys`).
    `recipients` are those of `keys_committed`."""

    type: ClassVar[str] = "checkpoint_key_added"

    vkey: str
    place: str
    recipients: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointKeyActivated(AdministratorsEntry):
    """From here on it signs beside the key of before, whose checkpoint over the announcement is here."""

    type: ClassVar[str] = "checkpoint_key_activated"

    vkey: str
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointKeyRetired(AdministratorsEntry):
    """From here on it signs nothing. A key that was announced alone is taken back by it."""

    type: ClassVar[str] = "checkpoint_key_retired"

    vkey: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSucceeded(AdministratorsEntry):
    """After a real loss: from here on the log's name is `origin`, of which `vkey` is the verifier key
    (`core.succession`). The operations CA of this SHA-256 signed the statement about number, `continued`,
    root and `predecessors`."""

    type: ClassVar[str] = "log_succeeded"

    number: int
    origin: str
    vkey: str
    continued: int
    root: bytes
    predecessors: tuple[Mapping[str, object], ...]
    ca_sha256: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductAdded(AdministratorsEntry):
    """A product, or a revision of one."""

    type: ClassVar[str] = "product_added"

    product: str
    product_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderOpened(AdministratorsEntry):
    """The terms of a work order. `rehearsed`: nothing failed in its rehearsal."""

    type: ClassVar[str] = "order_opened"

    work_order: str
    product: str
    product_sha256: bytes
    quantity: int
    not_before: datetime
    not_after: datetime
    stations: tuple[str, ...]
    level: str
    minimum_firmware: Mapping[str, str]
    serial_pattern: str
    serial_start: int
    reissue: str
    settings_sha256: bytes
    bundle_sha256: bytes | None
    firmware: Mapping[str, tuple[str, bytes]] | None
    rehearsed: bool
    shares: Mapping[str, int] | None = field(
        default=None, metadata={"if_said": True}
    )  # of key holders' services


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareGiven(AdministratorsEntry):
    """So many places of a work order that one key holder's service could certify are another one's now."""

    type: ClassVar[str] = "share_given"

    work_order: str
    giver: str
    taker: str
    places: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderClosed(AdministratorsEntry):
    """A work order takes no more boards."""

    type: ClassVar[str] = "order_closed"

    work_order: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipsImported(AdministratorsEntry):
    """Chips put on a work order's list; `chips_sha256` from `digest_chips`."""

    type: ClassVar[str] = "chips_imported"

    work_order: str
    count: int
    chips_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipsPersonalized(AdministratorsEntry):
    """Chips that carry a secret from a trusted place; `chips_sha256` from `digest_chips`. `again`: chips that
    were registered before, and whose key was given out once more."""

    type: ClassVar[str] = "chips_personalized"

    count: int
    again: int
    chips_sha256: bytes
    locked: bool
    site: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitiesImported(AdministratorsEntry):
    """Attestation keys entered for chips; `identities_sha256` from `digest_identities`."""

    type: ClassVar[str] = "identities_imported"

    product: str
    method: str
    count: int
    identities_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued(Entry):
    """A certificate. `certificate_serial` is the serial's unsigned big-endian bytes. `versions` are those of
    the programs that made it: `signerd`'s, and the `agent`'s as the station states it, or None."""

    type: ClassVar[str] = "issued"

    work_order: str
    product: str
    number: int
    chip_id: str
    serial_number: str
    certificate_serial: bytes
    certificate_sha256: bytes
    spki_sha256: bytes
    csr_sha256: bytes
    settings_sha256: bytes
    level: str
    method: str
    claims: Claims
    measured: Mapping[str, str]
    attester_sha256: bytes | None
    evidence_sha256: bytes
    challenge: bytes
    station: str
    supersedes: bytes | None
    anchors: Anchors
    certificate_name: str
    versions: Mapping[str, str | None]
    issuer: str | None = field(default=None, metadata={"if_said": True})  # its name; absent: of before


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped(Entry):
    """What the board said of itself at the end."""

    type: ClassVar[str] = "stamped"

    work_order: str
    chip_id: str
    serial_number: str
    certificate_sha256: bytes
    stamp_sha256: bytes
    station: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked(AdministratorsEntry):
    """A certificate that counts no more. `reason` is a CRLReason name (RFC 5280 §5.3.1). `by` is None where
    another certificate of the chip superseded it: no administrator did that."""

    type: ClassVar[str] = "revoked"

    work_order: str
    chip_id: str
    serial_number: str
    certificate_serial: bytes
    certificate_sha256: bytes
    reason: str
    superseded_by: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCall(Entry):
    """One refusal, or `count` of them folded; folded ones have None for board and CSR, and no `agent`."""

    type: ClassVar[str] = "refused"

    peer: str | None
    call: str
    code: str
    count: int
    work_order: str | None
    chip_id: str | None
    csr_sha256: bytes | None
    agent: str | None = field(default=None, metadata={"if_said": True})  # the version that the station stated


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentOpen(Entry):
    """An intent that a crash left without its certificate, as start-up found it."""

    type: ClassVar[str] = "intent_open"

    work_order: str
    chip_id: str
    serial_number: str
    number: int
    tbs_sha256: bytes
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentAbandoned(Entry):
    """An intent whose issuer no longer issues: its bytes are not signed any more, what was signed over them
    was never handed out. The same place has new ones, of the issuer `successor`."""

    type: ClassVar[str] = "intent_abandoned"

    work_order: str
    chip_id: str
    serial_number: str
    number: int
    tbs_sha256: bytes
    certificate_serial: bytes
    issuer: str
    successor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrimesFound(Entry):
    """RSA certificates whose key shares a prime with another key of the history; at most
    `MAX_SHARED_PRIMES` of them an entry."""

    type: ClassVar[str] = "shared_primes_found"

    count: int
    certificates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlIssued(AdministratorsEntry):
    """A certificate revocation list with `count` certificates."""

    type: ClassVar[str] = "crl_issued"

    crl_number: int
    crl_sha256: bytes
    next_update: datetime
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockAccepted(AdministratorsEntry):
    """From here on times are counted from `clock_to`, whatever stands before: the clock had been ahead, up to
    `clock_from`, and was set right; or it stayed where it had jumped to."""

    type: ClassVar[str] = "clock_accepted"

    clock_from: datetime
    clock_to: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerdStarted(Entry):
    """A signerd began to serve. `run` names it until it stops: `ID_BYTES` random bytes. `upgraded_from`: the
    schema that its database had at the start before, where that was another. `backup_made`, `backup_size`:
    the backup that the database was restored from since then, and how many entries it had."""

    type: ClassVar[str] = "signerd_started"

    run: bytes
    version: str
    schema: str
    upgraded_from: str | None
    backup_made: datetime | None
    backup_size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerdStopped(Entry):
    """It was asked to stop, and did. A run without this entry goes on, or ended otherwise."""

    type: ClassVar[str] = "signerd_stopped"

    run: bytes


class EntryError(ValueError):
    """A member has no canonical form, or the entry would pass `MAX_ENTRY` bytes."""


def members_of(entry: Entry) -> dict[str, object]:
    """What administrators approve of an entry: its members but for `time` and `by`, as JSON has them."""
    return {name: value for name, value in _members(entry) if name not in {"time", "by"}}


def _members(entry: Entry) -> Iterator[tuple[str, object]]:
    for item in fields(entry):
        value = getattr(entry, item.name)
        if value is not None or "if_said" not in item.metadata:
            yield item.name, _json(value)


def encode(entry: Entry, entry_id: bytes) -> bytes:
    """The entry's bytes: the leaf data of the ledger's tree.

    Args:
        entry: what happened.
        entry_id: `ID_BYTES` random bytes, which no other entry of the log has.

    Raises:
        EntryError: more than `MAX_ENTRY` bytes, or an integer beyond 2**53 (RFC 8785 §3.2.2.3).
    """
    if len(entry_id) != ID_BYTES:
        raise EntryError(f"an id of {len(entry_id)} bytes")
    members: dict[str, object] = {"v": _FORM, "type": entry.type, "id": entry_id.hex()}
    members.update(_members(entry))
    try:
        data = rfc8785.dumps(members)  # type: ignore[arg-type]  # its type for JSON is private
    except rfc8785.CanonicalizationError as error:
        raise EntryError(f"a {entry.type} entry has no canonical form: {error}") from error
    if len(data) > MAX_ENTRY:
        raise EntryError(f"a {entry.type} entry of {len(data)} bytes")
    return data


def digest_chips(chip_ids: Iterable[str]) -> bytes:
    """SHA-256 of the chip ids, sorted, each followed by a newline."""
    return digest_lines(map(chip_line, chip_ids))


def digest_identities(identities: Iterable[tuple[str, bytes, bytes]]) -> bytes:
    """SHA-256 of the lines `chip_id key_id spki_sha256`, sorted, each followed by a newline.

    Args:
        identities: chip id, key id, SHA-256 of the SubjectPublicKeyInfo.
    """
    return digest_lines(identity_line(*each) for each in identities)


def chip_line(chip_id: str) -> str:
    """A chip, in what `digest_chips` is over."""
    return f"{chip_id}\n"


def identity_line(chip_id: str, key_id: bytes, spki_sha256: bytes) -> str:
    """A chip's key, in what `digest_identities` is over."""
    return f"{chip_id} {key_id.hex()} {spki_sha256.hex()}\n"


def digest_lines(lines: Iterable[str]) -> bytes:
    """SHA-256 of lines, sorted. A newline sorts before all that a chip id has, so that lines have the order
    of their chips."""
    return hashlib.sha256("".join(sorted(lines)).encode()).digest()


def serial_bytes(certificate_serial: int) -> bytes:
    """A certificate serial's unsigned big-endian bytes, at least one."""
    return certificate_serial.to_bytes(max(1, (certificate_serial.bit_length() + 7) // 8), "big")


def _json(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _json(item) for name, item in value.items()}
    if isinstance(value, Claims):
        return {"firmware": _json(value.firmware), "security_state": _json(value.security_state)}
    return value
