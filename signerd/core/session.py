"""Sessions that signerd need not remember: sealed values that a station carries.

Opening ten thousand of them costs signerd nothing. The seal is under the key of the day on which the session
ends (`core/internal_key.py`), so that it outlives a restart, and nothing opens it days later. A session that
led to a certificate is found by its digest (`ports.Grant`), without the seal. See docs/adr/0001.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from signerd.core import strict_cbor
from signerd.core.internal_key import day_of
from signerd.core.strict_cbor import CborError
from signerd.errors import Unavailable

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
    """Seals and opens sessions with the keys of the days on which they end, 32 bytes each."""

    def __init__(self, keys: Mapping[int, bytes] | None = None) -> None:
        """`keys`: by the day (`internal_key.day_of`)."""
        self._keys = keys or {}

    def use(self, keys: Mapping[int, bytes]) -> None:
        """From now on these keys, and no others."""
        self._keys = keys

    def seal(self, session: Session) -> bytes:
        """At most 512 bytes, opaque to the station. Raises Unavailable: there is no key for its end."""
        key = self._keys.get(day_of(session.expires_at))
        if key is None:
            raise Unavailable("the key for sessions of that day is not at hand")
        payload = strict_cbor.encode(
            [
                session.peer,
                session.work_order,
                session.chip_id,
                session.challenge,
                int(session.expires_at.timestamp()),
            ]
        )
        return payload + _seal(key, payload)

    def open(self, sealed: bytes) -> Session | None:
        """The session, whoever shows it; None if it was not sealed with one of the keys."""
        payload, seal = sealed[:-_SEAL_BYTES], sealed[-_SEAL_BYTES:]
        if not any(hmac.compare_digest(_seal(key, payload), seal) for key in self._keys.values()):
            return None
        try:
            peer, work_order, chip_id, challenge, expires = strict_cbor.decode(
                payload, max_bytes=MAX_SESSION_BYTES
            )
        except CborError:  # not reachable with our own seal over it; fail closed all the same
            return None
        return Session(peer, work_order, chip_id, challenge, datetime.fromtimestamp(expires, UTC))


def _seal(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, _LABEL + payload, "sha256")
