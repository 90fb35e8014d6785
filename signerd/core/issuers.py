"""Which certificates issue: a product names a CA, and a CA has issuers, one after the other.

An issuer is one sub-CA certificate and the key that goes with it. At most one of a CA is active, and signs
boards' certificates; the others sign CRLs, so that what they issued can be revoked. State follows from ledger
entries (`issuer_added`, `issuer_activated`, `issuer_retired`); that of the log's first entry is active from
the beginning.

    standby --activate--> active --another is activated--> standby --retire--> retired

What becomes of an intent, which is durable bytes that an issuer was to sign:

| its issuer | the chip comes back with the same key | a signature that was under way |
|---|---|---|
| active, its key answers | the same bytes are signed | one certificate, over the same bytes |
| active, its key does not answer | `unavailable`; the intent stays | there is none |
| not active, another one of its CA is | `intent_abandoned`; new bytes for the same place | not entered (1) |
| not active, none of its CA is | `unavailable`; the intent stays | not entered (1) |

(1) The transaction that enters a certificate looks at its issuer. Nobody is given one that is not entered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class IssuerState(StrEnum):
    """Where an issuer stands."""

    STANDBY = "standby"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class IssuerRecord:
    """What the ledger says of one."""

    issuer_id: int
    name: str
    ca: str
    state: IssuerState
    certificate_sha256: bytes
    root_sha256: bytes
    added_index: int
