from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.core.names import Level, Reissue
from signerd.core.order import FirmwareBundle
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


BUNDLE = f"""
[bundle]
sha256 = "{"aB" * 32}"

[bundle.firmware]
app = ["1.4.0", "{"cd" * 32}"]
boot = ["2.0", "{"0f" * 32}"]
"""


def test_an_order_that_names_its_bundle() -> None:
    order = parse_order_file(ORDER + BUNDLE, find)
    firmware = {"app": ("1.4.0", b"\xcd" * 32), "boot": ("2.0", b"\x0f" * 32)}
    assert order.bundle == FirmwareBundle(b"\xab" * 32, firmware)
    assert parse_order_file(ORDER, find).bundle is None
    without_firmware = BUNDLE.partition("[bundle.firmware]")[0]
    assert parse_order_file(ORDER + without_firmware, find).bundle == FirmwareBundle(b"\xab" * 32, {})


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (f'sha256 = "{"aB" * 32}"', "", "bundle.sha256: it is missing"),
        ("aB" * 32, "aB" * 31, "bundle.sha256: must be 64 hexadecimal digits"),
        ("aB" * 32, "aB" * 33, "bundle.sha256"),
        ("aB" * 32, "aB " + "aB" * 31, "bundle.sha256"),
        ("aB" * 32, "xy" * 32, "bundle.sha256"),
        ("aB" * 32, "\uff11" * 64, "bundle.sha256"),
        (f'"{"aB" * 32}"', "1", "bundle.sha256"),
        ("sha256 =", "digest = 1\nsha256 =", "bundle.digest: no such key"),
        (f'["2.0", "{"0f" * 32}"]', "1", "bundle.firmware.boot: must be an array of version and SHA-256"),
        ("[bundle]", "[[bundle]]", "bundle: must be a table"),
        ("app =", '"a b" =', "bundle.firmware"),
        ("app =", '"" =', "bundle.firmware"),
        ("app =", '"\u0430pp" =', "bundle.firmware"),
        ("app =", f'"{"a" * 33}" =', "bundle.firmware"),
        ("app =", "boot =", "TOML"),
        ('"1.4.0", ', "", "bundle.firmware.app"),
        ('"1.4.0"', '"1.4.0", "1.4.0"', "bundle.firmware.app"),
        ('"1.4.0"', '"v1.4"', "bundle.firmware.app"),
        ('"1.4.0"', "1", "bundle.firmware.app"),
        ("cd" * 32, "cd" * 20, "bundle.firmware.app"),
        ('["1.4.0", "' + "cd" * 32 + '"]', '{ version = "1.4.0" }', "bundle.firmware.app"),
        ('["1.4.0", "' + "cd" * 32 + '"]', '"1.4.0"', "bundle.firmware.app"),
        ('"1.4.0"', '"1.1.9"', "bundle.firmware: firmware app is 1.1.9, below 1.2.0"),
        ('"1.4.0"', '"1.2.0-rc1"', "bundle.firmware: firmware app is 1.2.0-rc1, below 1.2.0"),
    ],
)
def test_one_wrong_thing_in_the_bundle_is_refused_and_named(old: str, new: str, named: str) -> None:
    assert old in BUNDLE
    with pytest.raises(Refused) as refused:
        parse_order_file(ORDER + BUNDLE.replace(old, new, 1), find)
    assert refused.value.code is Code.INVALID
    assert named in refused.value.detail


@pytest.mark.parametrize(("count", "fits"), [(0, False), (1, True), (16, True), (17, False), (300, False)])
def test_how_many_components_an_order_names(count: int, *, fits: bool) -> None:
    head = BUNDLE.partition("app =")[0]
    text = ORDER + head + "".join(f'c{number} = ["1.0", "{"00" * 32}"]\n' for number in range(count))
    if fits:
        order = parse_order_file(text, find)
        assert order.bundle is not None
        assert len(order.bundle.firmware) == count
        return
    with pytest.raises(Refused, match=r"bundle\.firmware"):
        parse_order_file(text, find)


def test_firmware_below_the_products_minimum() -> None:
    def with_minimum(version: str) -> ProductRevision:
        evidence = PRODUCT.evidence.model_copy(update={"minimum_firmware": {"app": version, "modem": "9"}})
        return ProductRevision(PRODUCT.model_copy(update={"evidence": evidence}), b"")

    assert parse_order_file(ORDER + BUNDLE, lambda _: with_minimum("1.4.0")).bundle is not None
    with pytest.raises(Refused, match=r"app is 1\.4\.0, below 1\.4\.1"):
        parse_order_file(ORDER + BUNDLE, lambda _: with_minimum("1.4.1"))


@given(st.text(max_size=60))
def test_any_text_in_the_bundle_is_an_order_or_refused(text: str) -> None:
    with contextlib.suppress(Refused):
        parse_order_file(f"{ORDER}\n[bundle]\n{text}", find)


def test_an_order_that_no_evidence_can_satisfy() -> None:
    bare = PRODUCT.model_copy(update={"evidence": PRODUCT.evidence.model_copy(update={"methods": ("none",)})})
    with pytest.raises(Refused, match="level"):
        parse_order_file(ORDER, lambda _: ProductRevision(bare, b""))
    order = parse_order_file(ORDER.replace('"chip"', '"none"'), lambda _: ProductRevision(bare, b""))
    assert order.level is Level.NONE
