"""How long certificates may be valid: by the settings, and by the sub-CA's own end (RFC 5280 §4.1.2.5).

The key holder looks at the same bounds when it signs, which is after the place of a board is durable. Whoever
gives places, or opens orders, asks here before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# RFC 5280 §4.1.2.5 and IEEE 802.1AR §8.7: "no well-defined expiration date".
NO_EXPIRY = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ValidityLimits:
    """What the settings allow: `[authority]` of signerd.toml."""

    max_validity: timedelta = timedelta(days=10_950)
    allow_no_expiry: bool = True


def check_validity(begins: datetime, ends: datetime, issuer_ends: datetime, limits: ValidityLimits) -> None:
    """Raises ValueError for a validity that the key holder would not sign."""
    if begins >= ends:
        raise ValueError(f"it would end at {ends:%Y-%m-%d}, before it begins")
    if ends == NO_EXPIRY and limits.allow_no_expiry:
        return
    if ends - begins > limits.max_validity:
        raise ValueError(
            f"it would be valid for {(ends - begins).days} days, and authority.max_validity_days is"
            f" {limits.max_validity.days}"
        )
    if ends > issuer_ends:
        raise ValueError(
            f"it would end at {ends:%Y-%m-%d}, after its sub-CA or a CA above it, which ends at"
            f" {issuer_ends:%Y-%m-%d}"
        )
