"""What proves that signerd wrote an intent: a MAC, since no ledger entry says anything of it yet.

Whoever can write the database could give an intent another level, other evidence or other bytes, and the
next retry would have them signed. The key is that of commits (`core/commits.py`), of the start of signerd
that made the intent.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

_LABEL = b"birthmark-intent-v1"


def intent_mac(key: bytes, origin: str, start: bytes, values: Iterable[bytes]) -> bytes:
    """HMAC-SHA-256 (32 bytes), for the log of this name.

    Args:
        key: of `start`.
        origin: the log's name.
        start: the name of the start of signerd that made the intent.
        values: all that the intent is, in a fixed order.
    """
    framed = [_LABEL]
    for value in (origin.encode(), start, *values):
        framed += (len(value).to_bytes(4, "big"), value)
    return hmac.digest(key, b"".join(framed), "sha256")
