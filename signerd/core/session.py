"""Sessions that signerd need not remember: sealed values that a station carries.

Opening ten thousand of them costs signerd nothing, and a restart invalidates all that led to no
certificate. A session that led to one is found by its digest (`ports.Grant`), without the seal.
See docs/adr/0001.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime

from signerd.core import strict_cbor
from signerd.core.strict_cbor import CborError

CHALLENGE_BYTES = 32
MAX_SESSION_BYTES = 512
_LABEL = b"birthmark-session-v1"
_SEAL_BYTES = 32


@dataclass(frozen=True, slots=True)
class Session:
    """What a seal says: who opened it, for which chip, on which order, until when."""

    peer: str
    work_order: str
    chip_id: str
    challenge: bytes
    expires_at: datetime  # aware, UTC, whole seconds


def session_sha256(sealed: bytes) -> bytes:
    """The digest under which a grant is kept."""
    return hashlib.sha256(sealed).digest()


class SessionSealer:
    """Seals and opens sessions with one key, 32 random bytes that live as long as the process."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def renew(self, key: bytes) -> None:
        """Forgets every session that led to no certificate: their ends are of another time."""
        self._key = key

    def _seal(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, _LABEL + payload, "sha256")

    def seal(self, session: Session) -> bytes:
        """At most 512 bytes, opaque to the station."""
        payload = strict_cbor.encode(
            [
                session.peer,
                session.work_order,
                session.chip_id,
                session.challenge,
                int(session.expires_at.timestamp()),
            ]
        )
        return payload + self._seal(payload)

    def open(self, sealed: bytes) -> Session | None:
        """The session, whoever shows it and however old; None if this process did not seal it."""
        payload, seal = sealed[:-_SEAL_BYTES], sealed[-_SEAL_BYTES:]
        if not hmac.compare_digest(self._seal(payload), seal):
            return None
        try:
            peer, work_order, chip_id, challenge, expires = strict_cbor.decode(
                payload, max_bytes=MAX_SESSION_BYTES
            )
        except CborError:  # not reachable with our own seal over it; fail closed all the same
            return None
        return Session(peer, work_order, chip_id, challenge, datetime.fromtimestamp(expires, UTC))
