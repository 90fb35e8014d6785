"""Keys of commits without a key holder: the same after each start, as a key holder's are."""

from __future__ import annotations

import hashlib

from signerd.adapters.commit_keys import CommitKeys
from signerd.core.internal_key import commit_key


def software_commit_keys(secret: bytes = b"of the tests") -> CommitKeys:
    """Another secret is another installation's."""

    async def derive(start: bytes) -> bytes:
        return commit_key(hashlib.sha256(secret).digest(), start)

    return CommitKeys(derive)
