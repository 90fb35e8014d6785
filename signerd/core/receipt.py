"""Receipts: C2SP `tlog-proof@v1` without an `extra` line.

A receipt and the entry's bytes are all that a reader needs, beside the log's verifier key, to know that
the entry is in the log.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

_HEADER = b"c2sp.org/tlog-proof@v1\n"


def build(index: int, inclusion: Sequence[bytes], checkpoint_note: bytes) -> bytes:
    """The text: `inclusion` is the entry's path in the tree of `checkpoint_note`, leaf side first."""
    hashes = b"".join(base64.b64encode(node) + b"\n" for node in inclusion)
    return _HEADER + b"index %d\n" % index + hashes + b"\n" + checkpoint_note
