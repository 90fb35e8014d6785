"""Products' revisions and work orders, read from their entries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from signerd.core.state.times import moment
from signerd.core.state.values import Revision, Terms

Members = Mapping[str, Any]


def revision(index: int, members: Members) -> Revision:
    """Of `product_added`."""
    return Revision(members["product"], bytes.fromhex(members["product_sha256"]), index)


def terms(index: int, members: Members) -> Terms:
    """Of `order_opened`. What an entry of an earlier form does not say was not ordered then."""
    bundle, firmware = members.get("bundle_sha256"), members.get("firmware") or {}
    return Terms(
        work_order=members["work_order"],
        product=members["product"],
        product_sha256=bytes.fromhex(members["product_sha256"]),
        quantity=members["quantity"],
        not_before=moment(members["not_before"]),
        not_after=moment(members["not_after"]),
        stations=tuple(members["stations"]),
        level=members["level"],
        minimum_firmware=dict(members["minimum_firmware"]),
        serial_pattern=members["serial_pattern"],
        serial_start=members["serial_start"],
        reissue=members["reissue"],
        settings_sha256=bytes.fromhex(members["settings_sha256"]),
        bundle_sha256=None if bundle is None else bytes.fromhex(bundle),
        firmware={name: (version, bytes.fromhex(digest)) for name, (version, digest) in firmware.items()},
        index=index,
    )
