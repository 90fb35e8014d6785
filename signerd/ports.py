"""What signerd's order of work needs from the outside, as it needs it.

Adapters implement these; `issuance` and `stamping` see nothing else. Every method raises
`signerd.errors.Unavailable` when the thing behind it does not answer, and `Refused` only where its
docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import rsa

from signerd.core.anchors import Anchor
from signerd.core.evidence.method import IdentityKey
from signerd.core.issuers import IssuerRecord
from signerd.core.leaf import Leaf
from signerd.core.names import Level, MacQuestion, PeerName
from signerd.core.order import Place, WorkOrder


class KeyHolder(Protocol):
    """The process that holds the HSM session. It looks for itself at what it is asked to sign."""

    async def sign_certificate(self, tbs: bytes, leaf: Leaf | None = None) -> bytes:
        """Signs a TBSCertificate (DER) of a leaf; returns the DER signature value.

        `leaf` says what it is for: a key holder that knows the approved orders refuses what is not. Raises
        Refused `order_full` where that one may certify no more places of the order.
        """
        ...

    async def sign_crl(self, tbs: bytes) -> bytes:
        """Signs a TBSCertList (DER); returns the DER signature value."""
        ...

    async def sign_checkpoint(self, body: bytes) -> bytes:
        """Signs a checkpoint's note text; returns the 64-byte Ed25519 signature (RFC 8032)."""
        ...

    async def check_chip_mac(self, question: MacQuestion) -> bool:
        """The answer to the question. Neither key nor MAC leaves the process."""
        ...


class RecordState(StrEnum):
    """Where a certificate stands."""

    INTENT = "intent"
    ISSUED = "issued"
    STAMPED = "stamped"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """A peer of the registry."""

    name: PeerName
    spki_sha256: bytes
    added_at: datetime
    revoked_at: datetime | None
    not_after: datetime | None = None  # of its newest certificate; None where that is not known
    ca_sha256: bytes | None = None  # the operations CA of the certificate that it called with last, if known
    automatic: bool = False  # renewed when it asks for it, without an administrator


@dataclass(frozen=True, slots=True)
class Chip:
    """What the registry knows of a chip. `personalized` False: it only stands on a work order's list."""

    chip_id: str
    personalized: bool
    locked: bool
    listed: bool  # on the list of the work order that was asked for


@dataclass(frozen=True, slots=True)
class Record:
    """All that is kept of one certificate, from intent to revocation."""

    record_id: int
    place: Place
    state: RecordState
    challenge: bytes
    station: str
    spki_sha256: bytes
    csr_der: bytes
    method: str
    claims: bytes
    evidence: bytes
    level: Level
    measured: Mapping[str, str]  # component -> version, as the evidence measured it
    attester: bytes  # SubjectPublicKeyInfo of the attestation key; empty where none signed
    anchors: tuple[Anchor, ...]  # that the evidence proved; empty: nothing beyond the station's word
    settings: bytes  # as delivered, with "serial"
    tbs: bytes
    certificate_der: bytes  # empty while the state is INTENT
    issued_at: datetime | None
    issued_index: int | None
    stamp: bytes | None
    stamp_signature: bytes | None
    stamped_at: datetime | None
    stamped_index: int | None
    revoked_at: datetime | None
    revoked_index: int | None
    superseded: bool  # a later record of the same chip took its place
    issuer_id: int = 1  # whose certificate it is (`core.issuers`)


@dataclass(frozen=True, slots=True)
class Grant:
    """A session in which a certificate was handed out. `session_sha256` is its key."""

    session_sha256: bytes
    record_id: int
    challenge: bytes
    station: str
    csr_sha256: bytes  # of the CSR that this session carried


@dataclass(frozen=True, slots=True)
class CallContext:
    """What one read, in one snapshot, tells about a signing call. None: there is no such thing."""

    peer: PeerRecord | None
    order: WorkOrder | None
    order_closed: bool
    product_toml: str | None  # the product's revision that the order was opened with
    places_taken: int
    chip: Chip | None
    has_place: bool  # the chip has a place in this order; what other orders did, nobody hears from here
    revoked_here: bool  # and the newest certificate of that place is revoked
    grant: Grant | None
    granted: Record | None  # the grant's record


@dataclass(frozen=True, slots=True)
class IntentRequest:
    """Steps 6 to 8, in one transaction. See `Store.take_place`."""

    order: WorkOrder
    chip_id: str
    spki_sha256: bytes
    session_sha256: bytes
    challenge: bytes
    station: str
    csr_der: bytes
    method: str
    claims: bytes
    evidence: bytes
    level: Level
    measured: Mapping[str, str]
    attester: bytes
    certificate_serial: int
    moment: datetime  # aware, UTC, whole seconds
    issuer_id: int = 1  # whose certificate it is to be; `complete` asks whether it is active
    anchors: tuple[Anchor, ...] = ()  # that the evidence proved; empty: nothing beyond the station's word
    name_is_label: bool = False  # only a layer of firmware states the chip id
    agent: str | None = None  # what the station states of its agent
    # Lines of which one must be on the order's list; empty: that the list is not asked, or was before.
    listed_as: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PreparedBytes:
    """What `prepare` hands to the store: the linted TBS and the settings of the place."""

    tbs: bytes
    settings: bytes


@dataclass(frozen=True, slots=True)
class LedgerPosition:
    """A published entry: what a receipt is made of."""

    index: int
    entry: bytes
    receipt: bytes  # C2SP tlog-proof@v1


class Store(Protocol):
    """Durable state. Every write is one transaction that joins a group commit.

    Uniqueness (a chip's active record, a public key, a place, a serial number, a session's grant) is
    kept by constraints of the database, never by a look before.
    """

    async def call_context(
        self, *, peer_uri: str, work_order: str, chip_id: str, session_sha256: bytes | None
    ) -> CallContext:
        """One snapshot for one call."""
        ...

    async def identity(self, *, product: str, method: str, chip_id: str) -> IdentityKey | None:
        """The chip's attestation key that was imported for this product and method."""
        ...

    async def take_place(self, request: IntentRequest, prepare: Callable[[Place], PreparedBytes]) -> Record:
        """Steps 6 to 8: allots the place, calls `prepare` on it (pure), makes the intent durable.

        Returns the chip's record for this key on this order: a new intent, an intent left open by a crash
        (same place, same TBS), or one that is issued or stamped already. A crash before the commit leaves
        nothing.

        The place is the chip's, under whatever name it comes: the one that has an anchor, the name or the
        attestation key of the request. All of these are this chip's from then on.

        Raises:
            Refused: `order_not_open`, `order_full`, `key_already_certified`, `certificate_revoked`;
                `chip_already_certified`, also where the evidence is that of two chips; `chip_unknown`: the
                order's list has none of `listed_as`.
            IssuerChanged: the request's issuer is not active any more, and the chip has another one's intent.
        """
        ...

    async def complete(
        self,
        record: Record,
        certificate_der: bytes,
        grant: Grant,
        now: datetime,
        *,
        agent: str | None = None,
    ) -> Record:
        """Step 11: certificate, ledger entries (`revoked` of the superseded one, `issued`) and grant, one
        transaction. Completing a completed record only adds the grant.

        `agent` is the version that the station's agent states of itself, for the entry.

        Raises:
            Refused: `session_used`: the session has a grant for another record or another CSR;
                `chip_already_certified`, `certificate_revoked`: it was superseded or revoked meanwhile.
            IssuerChanged: another issuer took over since the place was taken: its bytes are void.
        """
        ...

    async def list_issuers(self) -> list[IssuerRecord]:
        """All of them, the first one first."""
        ...

    async def record_stamp(
        self, record: Record, *, stamp: bytes, signature: bytes, station: str, now: datetime
    ) -> Record:
        """The stamp and its ledger entry, one transaction. The same stamp again changes nothing.

        Raises:
            Refused: `stamp_conflict`, `certificate_revoked`.
        """
        ...

    async def published(self, index: int) -> LedgerPosition:
        """Waits until a signed checkpoint covers the entry, and returns its receipt."""
        ...


class KeyQuality(Protocol):
    """Looks at keys where nobody waits for it."""

    async def check(self, keys: Sequence[rsa.RSAPublicKey], payer: bytes) -> None:
        """Returns if none of these moduli is one that anyone can factor.

        Args:
            keys: of 2048 to 4096 bits.
            payer: SHA-256 of the public key of the peer that sent them, on whose account this is.

        Raises:
            WeakKeyError: one is.
            Unrecorded: `rate_limited`: the payer's budget is spent, or too many of its keys wait.
            Unavailable: it could not be found out.
        """
        ...


class RefusalLog(Protocol):
    """Puts refusals into the ledger, within shares. Never waits and never fails the call."""

    def refused(
        self,
        *,
        key: bytes,
        peer: str | None,
        call: str,
        code: str,
        work_order: str | None = None,
        chip_id: str | None = None,
        csr_sha256: bytes | None = None,
        agent: str | None = None,
    ) -> None:
        """Notes one refusal of the peer with this key. The optional values must have passed their bounds, or
        be None; `agent` is the version that the station stated of its program."""
        ...
