from __future__ import annotations

from datetime import UTC, datetime

import cbor2
import pytest

from signerd.core.names import Level, Reissue
from signerd.core.order_file import ProductRevision, parse_order_file
from signerd.core.product import parse_product
from signerd.errors import Code, Refused

PRODUCT = parse_product("""
name = "sensor"
[keys]
accept = ["p256"]
[evidence]
methods = ["hmac-sha256"]
[certificate]
validity_days = 7300
subject = [["CN", "{serial}"]]
key_usage = ["digitalSignature"]
""")
ORDER = """
work_order = "WO-2026-001"
product = "sensor"
quantity = 1000
not_before = 2026-11-01T00:00:00Z
not_after = 2027-02-01T01:00:00+01:00
stations = ["birthmark://example/station/plant1/pc1"]
level = "chip"
serial_pattern = "BM-{number:06d}"
serial_start = 1
reissue = "before-stamp"

[minimum_firmware]
app = "1.2.0"

[settings]
endpoint = "mqtts://example.com:8883"
"""


def find(name: str) -> ProductRevision | None:
    return ProductRevision(PRODUCT, b"\x01" * 32) if name == "sensor" else None


def test_the_documented_file() -> None:
    order = parse_order_file(ORDER, find)
    assert (order.work_order, order.product, order.product_sha256) == ("WO-2026-001", "sensor", b"\x01" * 32)
    assert order.not_after == datetime(2027, 2, 1, tzinfo=UTC)
    assert (order.level, order.reissue, order.quantity) == (Level.CHIP, Reissue.BEFORE_STAMP, 1000)
    assert order.minimum_firmware == {"app": "1.2.0"}
    assert cbor2.loads(order.settings) == {"endpoint": "mqtts://example.com:8883"}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('work_order = "WO-2026-001"', 'work_order = "WO 1"', "work_order"),
        ('product = "sensor"', 'product = "other"', "product"),
        ("quantity = 1000", "quantity = 0", "quantity"),
        ("quantity = 1000", "quantity = true", "quantity"),
        ("quantity = 1000", "quantity = 1000\ncolour = 1", "colour"),
        ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00", "not_before"),
        ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00.5Z", "not_before"),
        ("2026-11-01T00:00:00Z", "2027-11-01T00:00:00Z", "not_before is not before not_after"),
        ("/station/plant1/pc1", "/auditor/eve", "stations"),
        ('["birthmark://example/station/plant1/pc1"]', "[]", "stations"),
        ('level = "chip"', 'level = "high"', "level"),
        ("{number:06d}", "{number:06x}", "serial pattern"),
        ("BM-{number:06d}", "BM {number:06d}", "serial_pattern"),
        ("BM-{number:06d}", "B" * 63 + "{number}", "serial_pattern"),
        ("serial_start = 1", "serial_start = -1", "serial_start"),
        ('"before-stamp"', '"sometimes"', "reissue"),
        ('app = "1.2.0"', 'app = "one"', "minimum_firmware"),
        ('app = "1.2.0"', '"a b" = "1.2.0"', "minimum_firmware"),
        ("endpoint =", "serial =", "settings"),
        ('"mqtts://example.com:8883"', "1.5", "settings"),
        ('"mqtts://example.com:8883"', '"' + "x" * 9000 + '"', "settings"),
        ("[settings]", "[settings", "TOML"),
        ("[settings]", "# " + "x" * 32768 + "\n[settings]", "32768"),
    ],
)
def test_one_wrong_thing_is_refused_and_named(old: str, new: str, named: str) -> None:
    assert old in ORDER
    with pytest.raises(Refused) as refused:
        parse_order_file(ORDER.replace(old, new, 1), find)
    assert refused.value.code is Code.INVALID
    assert named in refused.value.detail


def test_an_order_that_no_evidence_can_satisfy() -> None:
    bare = PRODUCT.model_copy(update={"evidence": PRODUCT.evidence.model_copy(update={"methods": ("none",)})})
    with pytest.raises(Refused, match="level"):
        parse_order_file(ORDER, lambda _: ProductRevision(bare, b""))
    order = parse_order_file(ORDER.replace('"chip"', '"none"'), lambda _: ProductRevision(bare, b""))
    assert order.level is Level.NONE
