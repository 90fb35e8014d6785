"""What a board's certificate is for: whoever signs it can hold the bytes against the order.

`wire` and `read` give and take the form in which it goes to a key holder that is a service.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.names import Level
from signerd.core.order import Place

DEVICE: Final = "device"  # the name of a product's one certificate


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
