"""The internal MAC key, and the keys of sessions that follow from it, one for each day (docs/formats.md).

It follows from a secret that only the key holder uses: the chip master key, or the checkpoint key's seed
where there is no master key and the seed is sealed. So it is the same after a restart, and in every signerd
of one log, and it is stored nowhere.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import UTC, datetime

_LABEL = b"birthmark-internal-key-v1"
_SESSIONS = b"birthmark-session-day-v1"
_DAY_S = 86_400
MAX_DAY = 2**31  # beyond the year 9999
MAX_ERA = 2**63


def internal_key(mac: Callable[[bytes], bytes], origin: str) -> bytes:
    """32 bytes; `mac` is HMAC-SHA-256 with the secret, `origin` the log's name."""
    return mac(_LABEL + origin.encode())


def session_key(internal: bytes, day: int, era: int) -> bytes:
    """32 bytes, for sessions that end on this day. `era` is the ledger index of the last `clock_accepted`, 0
    where there is none: the ends of sessions before it are of another time."""
    return hmac.digest(internal, _SESSIONS + day.to_bytes(4, "big") + era.to_bytes(8, "big"), "sha256")


def day_of(moment: datetime) -> int:
    """Days since 1970, UTC."""
    return int(moment.astimezone(UTC).timestamp()) // _DAY_S
