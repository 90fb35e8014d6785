"""Work orders as administrators approve them."""

from __future__ import annotations

from typing import Any


def order_members(**changes: object) -> dict[str, Any]:
    """Of an `order_opened` entry: four places of a product's revision that nobody has."""
    return {
        "work_order": "WO-1",
        "product": "sensor",
        "product_sha256": "00" * 32,
        "quantity": 4,
        "not_before": "2026-11-28T00:00:00Z",
        "not_after": "2026-12-28T00:00:00Z",
        "level": "chip",
        "serial_pattern": "S-{number:04d}",
        "serial_start": 1,
        "reissue": "never",
        **changes,
    }
