"""The claims of a row, as an `issued` entry has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from signerd.core.evidence.claims import parse_claims
from signerd.core.strict_cbor import CborError


def claims_of(data: object) -> Mapping[str, Any] | None:
    """None: they are none."""
    try:
        claims = parse_claims(data) if isinstance(data, bytes) else None
    except CborError:
        return None
    if claims is None:
        return None
    firmware = {name: [version, digest.hex()] for name, (version, digest) in claims.firmware.items()}
    return {"firmware": firmware, "security_state": dict(claims.security_state)}
