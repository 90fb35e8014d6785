"""Step 5 of issuance: does what was proved satisfy the work order? Quantity and uniqueness are the
store's, inside its transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from signerd.core.evidence.claims import Claims
from signerd.core.evidence.method import VerifiedEvidence
from signerd.core.order import WorkOrder
from signerd.core.version import version_key
from signerd.errors import Code, Refused


def check_open(order: WorkOrder, *, closed: bool, now: datetime) -> None:
    """Raises Refused `order_not_open` for a closed order or outside its window (both ends included)."""
    if closed:
        raise Refused(Code.ORDER_NOT_OPEN, f"work order {order.work_order} is closed")
    if not order.not_before <= now <= order.not_after:
        raise Refused(Code.ORDER_NOT_OPEN, f"work order {order.work_order}: {now} is outside its window")


def check_level(evidence: VerifiedEvidence, order: WorkOrder) -> None:
    """Raises Refused `level_insufficient` if the order demands more than the evidence reaches."""
    if evidence.level < order.level:
        raise Refused(
            Code.LEVEL_INSUFFICIENT,
            f"evidence reaches {evidence.level.label}, the order demands {order.level.label}",
        )


def check_firmware(claims: Claims, minimum: Mapping[str, str]) -> None:
    """Raises Refused `firmware_too_old` if a component is missing or below its minimum."""
    for name, least in minimum.items():
        if name not in claims.firmware:
            raise Refused(Code.FIRMWARE_TOO_OLD, f"firmware {name} is not claimed")
        version, _ = claims.firmware[name]
        if version_key(version) < version_key(least):
            raise Refused(Code.FIRMWARE_TOO_OLD, f"firmware {name} {version} is below {least}")
