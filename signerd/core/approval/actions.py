"""Which entries need an approval where administrators are asked, and how one is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Types of entries. docs/approvals.md says of each other one why it is not among them.
ACTIONS: Final = frozenset(
    {
        "administrators_set",
        "product_added",
        "order_opened",
        "share_given",
        "chips_personalized",
        "identities_imported",
        "revoked",
        "issuer_added",
        "issuer_activated",
        "issuer_retired",
        "keys_committed",
        "checkpoint_key_added",
        "checkpoint_key_retired",
        "log_succeeded",
    }
)


@dataclass(frozen=True, slots=True)
class ShownApproval:
    """What administrators signed, as an action is handed it. Nothing is verified yet."""

    statement: bytes
    signatures: tuple[bytes, ...]
    part: int = 0
    given: bytes | None = None  # SHA-256 of what the command was given


@dataclass(frozen=True, slots=True)
class Preparing:
    """In the place of an approval: the action is looked at and not done, so that it can be put to
    administrators."""

    given: bytes | None = None


Approval = ShownApproval | Preparing | None
