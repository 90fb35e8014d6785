"""What a board's certificate is for: whoever signs it can hold the bytes against the order.

`wire` and `read` give and take the form in which it goes to a key holder that is a service.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self

from signerd.core.evidence import METHODS
from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.names import Level, is_chip_id, is_name
from signerd.core.order import Place
from signerd.core.order_file import MAX_QUANTITY

DEVICE: Final = "device"  # the name of a product's one certificate
DIGEST_BYTES = 32
_SERIAL_BOUND = 1 << 159  # RFC 5280 §4.1.2.2: at most 20 octets, and positive
_LEVEL = 16  # characters


@dataclass(frozen=True, slots=True)
class Leaf:
    """One certificate of one place. Of the evidence it says what the certificate may say, and no more."""

    place: Place
    evidence: EvidenceStatement
    product_sha256: bytes  # of the product's revision
    name: str = DEVICE
    product_toml: str = field(default="", repr=False, compare=False)  # the revision; not in `wire`

    def wire(self) -> dict[str, object]:
        """For `read`."""
        place, evidence = self.place, self.evidence
        return {
            "name": self.name,
            "work_order": place.work_order,
            "product": place.product,
            "product_sha256": self.product_sha256,
            "chip_id": place.chip_id,
            "number": place.number,
            "serial_number": place.serial_number,
            "certificate_serial": place.certificate_serial,
            "moment": int(place.moment.timestamp()),
            "level": evidence.level.label,
            "method": evidence.method,
            "evidence_sha256": evidence.evidence_sha256,
        }

    @classmethod
    def read(cls, item: object) -> Self:
        """What `wire` gave. Raises ValueError for anything else."""
        if not isinstance(item, dict) or {name: type(value) for name, value in item.items()} != _FORM:
            raise ValueError("not what a certificate is for")
        _demand_bounds(item)
        try:
            moment = datetime.fromtimestamp(item["moment"], UTC)
        except (OverflowError, OSError) as error:
            raise ValueError("no moment") from error
        place = Place(
            work_order=item["work_order"],
            product=item["product"],
            chip_id=item["chip_id"],
            number=item["number"],
            serial_number=item["serial_number"],
            certificate_serial=item["certificate_serial"],
            moment=moment,
        )
        evidence = EvidenceStatement(Level.from_label(item["level"]), item["method"], item["evidence_sha256"])
        return cls(place, evidence, item["product_sha256"], item["name"])


def _demand_bounds(item: dict[str, Any]) -> None:
    """So that no text and no number of it is larger than an honest one, wherever it goes afterwards."""
    for holds in (
        is_name(item["work_order"]) and is_name(item["product"]) and is_name(item["name"]),
        is_chip_id(item["chip_id"]) and is_chip_id(item["serial_number"]),
        0 < item["number"] <= MAX_QUANTITY,
        0 < item["certificate_serial"] < _SERIAL_BOUND,
        len(item["product_sha256"]) == len(item["evidence_sha256"]) == DIGEST_BYTES,
        item["method"] in METHODS and len(item["level"]) <= _LEVEL,
    ):
        if not holds:
            raise ValueError("what a certificate is for is out of bounds")


_FORM = {
    "name": str,
    "work_order": str,
    "product": str,
    "product_sha256": bytes,
    "chip_id": str,
    "number": int,
    "serial_number": str,
    "certificate_serial": int,
    "moment": int,
    "level": str,
    "method": str,
    "evidence_sha256": bytes,
}
