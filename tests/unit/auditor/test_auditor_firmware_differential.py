"""The firmware that an order names: signerd and the auditor, which share no code, come to one verdict."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.claims import check_firmware, ledger_firmware
from auditor.core.codes import Code as Finding
from auditor.core.entry import OrderOpened, parse_entry
from auditor.errors import CheckFailed, Malformed
from harness.installation import SENSOR, order_toml
from signerd.core import entry as signerd_entry
from signerd.core.evidence.claims import Claims
from signerd.core.order import FirmwareBundle
from signerd.core.order_file import ProductRevision, parse_order_file
from signerd.core.policy import check_bundle
from signerd.core.product import parse_product
from signerd.errors import Code, Refused

STATION = "birthmark://dev/station/plant1/pc1"
ORDER = order_toml("WO-1", quantity=1, stations=[STATION], bundle_sha256=bytes(range(32)))
REVISION = ProductRevision(parse_product(SENSOR), bytes(32))
NOW = datetime(2026, 11, 15, tzinfo=UTC)

NAMES = st.sampled_from(["app", "App", "boot", "a.b", "app-1", "x" * 32])
VERSIONS = st.sampled_from(["1", "1.0", "1.0.0", "1.0-rc1", "4294967295.1"])
DIGESTS = st.sampled_from([bytes(32), bytes(31) + b"\x01", bytes(range(32))])
FIRMWARE = st.dictionaries(NAMES, st.tuples(VERSIONS, DIGESTS), max_size=6)


@given(FIRMWARE.filter(bool), FIRMWARE)
def test_both_come_to_one_verdict(
    named: dict[str, tuple[str, bytes]], said: dict[str, tuple[str, bytes]]
) -> None:
    try:
        check_bundle(said, FirmwareBundle(bytes(32), named))
        by_signerd = None
    except Refused as refused:
        by_signerd = refused.code
    try:
        check_firmware(said, named)
        by_the_auditor = None
    except CheckFailed as failed:
        by_the_auditor = failed.code
    right = all(said.get(name) == component for name, component in named.items())
    expected = (None, None) if right else (Code.FIRMWARE_DIFFERS, Finding.FIRMWARE_DIFFERS)
    assert (by_signerd, by_the_auditor) == expected


@given(FIRMWARE)
def test_an_order_without_firmware_takes_any(said: dict[str, tuple[str, bytes]]) -> None:
    check_bundle(said, None)
    check_bundle(said, FirmwareBundle(bytes(32), {}))
    check_firmware(said, None)


def _opened(bundle: FirmwareBundle | None) -> bytes:
    return signerd_entry.encode(
        signerd_entry.OrderOpened(
            time=NOW,
            by=None,
            work_order="WO-1",
            product="sensor",
            product_sha256=bytes(32),
            quantity=1,
            not_before=NOW,
            not_after=NOW,
            stations=(STATION,),
            level="chip",
            minimum_firmware={},
            serial_pattern="S-{number}",
            serial_start=1,
            reissue="never",
            settings_sha256=bytes(32),
            bundle_sha256=None if bundle is None else bundle.sha256,
            firmware=None if bundle is None else bundle.firmware or None,
            rehearsed=True,
        ),
        bytes(signerd_entry.ID_BYTES),
    )


@given(FIRMWARE)
def test_the_auditor_reads_what_signerd_enters(firmware: dict[str, tuple[str, bytes]]) -> None:
    read = parse_entry(_opened(FirmwareBundle(bytes(range(32)), firmware)))
    assert isinstance(read, OrderOpened)
    assert (read.bundle_sha256, read.firmware) == (bytes(range(32)), firmware or None)


def test_the_auditor_reads_an_order_without_a_bundle() -> None:
    read = parse_entry(_opened(None))
    assert isinstance(read, OrderOpened)
    assert (read.bundle_sha256, read.firmware) == (None, None)


def _toml(value: object) -> str:
    """Strings and arrays of them are written as in JSON."""
    return json.dumps(value, ensure_ascii=False)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=34)


@given(
    st.dictionaries(
        NAMES | TEXTS,
        st.tuples(VERSIONS | TEXTS, DIGESTS.map(bytes.hex) | TEXTS.filter(lambda text: text == text.lower()))
        | st.tuples(VERSIONS)
        | st.tuples(VERSIONS, DIGESTS.map(bytes.hex), VERSIONS),
        max_size=3,
    )
)
def test_what_is_of_the_form_for_one_is_for_the_other(firmware: dict[str, tuple[str, ...]]) -> None:
    lines = [f"{_toml(name)} = {_toml(list(item))}" for name, item in firmware.items()]
    text = ORDER.replace("[settings]", "\n".join(["[bundle.firmware]", *lines, "", "[settings]"]))
    try:
        order = parse_order_file(text, lambda _: REVISION)
        assert order.bundle is not None
        by_signerd: object = order.bundle.firmware
    except Refused:
        by_signerd = None
    try:
        by_the_auditor: object = ledger_firmware({name: list(item) for name, item in firmware.items()})
    except Malformed:
        by_the_auditor = None
    assert by_signerd == by_the_auditor


@pytest.mark.parametrize("count", [16, 17])
def test_both_have_one_bound(count: int) -> None:
    firmware = {f"c{number}": ("1.0", bytes(32)) for number in range(count)}
    text = order_toml("WO-1", quantity=1, stations=[STATION], bundle_sha256=bytes(32), firmware=firmware)
    values = {name: [version, digest.hex()] for name, (version, digest) in firmware.items()}
    if count == 16:
        order = parse_order_file(text, lambda _: REVISION)
        assert order.bundle is not None
        assert order.bundle.firmware == ledger_firmware(values) == Claims(firmware, {}).firmware
        return
    with pytest.raises(Refused):
        parse_order_file(text, lambda _: REVISION)
    with pytest.raises(Malformed):
        ledger_firmware(values)
