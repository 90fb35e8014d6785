"""Step 5 of issuance: does what was proved satisfy the work order? Quantity and uniqueness are the
store's, inside its transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from signerd.core.anchors import AnchorKind
from signerd.core.evidence import METHODS
from signerd.core.evidence.method import VerifiedEvidence
from signerd.core.evidence.rules import EvidenceRules, ListedBy
from signerd.core.names import Level
from signerd.core.order import FirmwareBundle, WorkOrder
from signerd.core.version import version_key
from signerd.errors import Code, Refused


def check_open(order: WorkOrder, *, closed: bool, now: datetime) -> None:
    """Raises Refused `order_not_open` for a closed order or outside its window (both ends included)."""
    if closed:
        raise Refused(Code.ORDER_NOT_OPEN, f"work order {order.work_order} is closed")
    if not order.not_before <= now <= order.not_after:
        window = f"{order.not_before:%Y-%m-%d %H:%M} to {order.not_after:%Y-%m-%d %H:%M} UTC"
        said = f"it is {now:%Y-%m-%d %H:%M}, and work order {order.work_order} is open from {window}"
        raise Refused(Code.ORDER_NOT_OPEN, said)


def check_level(evidence: VerifiedEvidence, order: WorkOrder) -> None:
    """Raises Refused `level_insufficient` if the order demands more than the evidence reaches."""
    if evidence.level < order.level:
        raise Refused(
            Code.LEVEL_INSUFFICIENT,
            f"the evidence reaches level {evidence.level.label}, and the order demands {order.level.label}:"
            f" {_shortfall(evidence)}",
        )


def _shortfall(evidence: VerifiedEvidence) -> str:
    return METHODS[evidence.method].traits.shortfall


def least_firmware(order: WorkOrder, rules: EvidenceRules) -> dict[str, str]:
    """Component -> least version: the product's, or the order's where that is higher."""
    least = dict(rules.minimum_firmware)
    for name, version in order.minimum_firmware.items():
        if name not in least or version_key(least[name]) < version_key(version):
            least[name] = version
    return least


def check_firmware(versions: Mapping[str, str], minimum: Mapping[str, str]) -> None:
    """Raises Refused `firmware_too_old` if a component is missing or below its minimum."""
    for name, least in minimum.items():
        if name not in versions:
            raise Refused(
                Code.FIRMWARE_TOO_OLD, f"firmware {name} is not named, and must be {least} or newer"
            )
        if version_key(versions[name]) < version_key(least):
            raise Refused(Code.FIRMWARE_TOO_OLD, f"firmware {name} is {versions[name]}, below {least}")


def check_bundle(firmware: Mapping[str, tuple[str, bytes]], bundle: FirmwareBundle | None) -> None:
    """Raises Refused `firmware_differs` if a component that the order names is missing or another one.

    Versions are compared as they are written. What the order does not name may be anything.
    """
    for name, (version, digest) in ({} if bundle is None else bundle.firmware).items():
        if name not in firmware:
            raise Refused(Code.FIRMWARE_DIFFERS, f"the stamp names no firmware {name}, and the order does")
        if firmware[name] != (version, digest):
            found, sha256 = firmware[name]
            raise Refused(
                Code.FIRMWARE_DIFFERS,
                f"firmware {name} is {found} {sha256.hex()}, not the order's {version} {digest.hex()}",
            )


def check_listed(rules: EvidenceRules, *, listed: bool) -> None:
    """Raises Refused `chip_unknown` where the product wants each chip's id on the order's list.

    Before evidence only the id can be looked for.
    """
    if rules.chips == "listed" and rules.listed_by == (ListedBy.ID,) and not listed:
        raise Refused(Code.CHIP_UNKNOWN, "the chip is not on the work order's list")


def lists_name(evidence: VerifiedEvidence, rules: EvidenceRules, *, listed: bool) -> bool:
    """True if the order's list names the chip by its id, which `listed` says to be on it.

    An id that only a layer of firmware states counts where accepted firmware does: other firmware may state
    the id of any chip on the list. A name that a list states is one chip's, as a vendor's is.
    """
    names_itself = not evidence.name_is_label or evidence.level is Level.KEY
    return rules.chips == "listed" and listed and names_itself and ListedBy.ID in rules.listed_by


def listed_as(evidence: VerifiedEvidence, rules: EvidenceRules, *, by_name: bool) -> tuple[str, ...]:
    """The lines of the order's list of which the chip must be one; empty if it need be none, or is.

    A UEID counts if the chip's vendor states it.

    Args:
        evidence: verified.
        rules: of the product.
        by_name: the list names the chip by its id (`lists_name`).

    Raises:
        Refused: `chip_unknown`: the evidence shows nothing by which the product lists chips.
    """
    if rules.chips != "listed" or by_name:
        return ()
    kinds = {AnchorKind.KEY: ListedBy.KEY, AnchorKind.UEID: ListedBy.UEID}
    own = {anchor.value for anchor in evidence.anchors if anchor.kind is AnchorKind.KEY}
    lines = tuple(
        f"{anchor.kind}={anchor.value}"
        for anchor in evidence.anchors
        if kinds.get(anchor.kind) in rules.listed_by and anchor.issuer not in own
    )
    if not lines:
        raise Refused(Code.CHIP_UNKNOWN, "the evidence shows nothing by which the product's chips are listed")
    return lines
