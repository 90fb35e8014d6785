"""The internal MAC key, and the keys that follow from it (docs/formats.md): of sessions, one for each day,
and of commits, one for each start of signerd.

It follows from a secret that only the key holder uses: the chip master key, or the checkpoint key's seed
where there is no master key and the seed is sealed. So it is the same after a restart, and in every signerd
of one log, and it is stored nowhere. Keys of commits follow from a signature where there is neither: the
checkpoint key in the token signs `secret_text`, which is no checkpoint, and nobody else ever sees that.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import UTC, datetime

_LABEL = b"birthmark-internal-key-v1"
_SESSIONS = b"birthmark-session-day-v1"
_COMMITS = b"birthmark-commit-mac-v1"
_SECRET = b"birthmark-internal-secret-v1\n"
_DAY_S = 86_400
START_BYTES = 16  # random: the name of one start of signerd
MAX_DAY = 2**31  # beyond the year 9999
MAX_ERA = 2**63


def internal_key(mac: Callable[[bytes], bytes], origin: str) -> bytes:
    """32 bytes; `mac` is HMAC-SHA-256 with the secret, `origin` the log's name."""
    return mac(_LABEL + origin.encode())


def session_key(internal: bytes, day: int, era: int) -> bytes:
    """32 bytes, for sessions that end on this day. `era` is the ledger index of the last `clock_accepted`, 0
    where there is none: the ends of sessions before it are of another time."""
    return hmac.digest(internal, _SESSIONS + day.to_bytes(4, "big") + era.to_bytes(8, "big"), "sha256")


def commit_key(internal: bytes, start: bytes) -> bytes:
    """32 bytes, for the commits of the start of this name."""
    return hmac.digest(internal, _COMMITS + start, "sha256")


def secret_text(origin: str) -> bytes:
    """What a checkpoint key signs in place of a secret. No note text (C2SP signed-note): it ends
    otherwise."""
    return _SECRET + origin.encode()


def day_of(moment: datetime) -> int:
    """Days since 1970, UTC."""
    return int(moment.astimezone(UTC).timestamp()) // _DAY_S
