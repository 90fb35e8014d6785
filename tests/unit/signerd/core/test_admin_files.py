"""Files of administrators that are worse than wrong: every one of them is `invalid`, none a fault."""

from __future__ import annotations

import hashlib

import pytest

from harness.installation import SENSOR, order_toml
from signerd.core.order_file import ProductRevision, parse_order_file
from signerd.core.product import parse_product
from signerd.errors import Code, Refused

STATION = "birthmark://dev/station/plant1/pc1"
ORDER = order_toml("WO-1", quantity=1, stations=[STATION], serial_pattern="S-{number:04d}")
BEYOND_PYTHON = ["a = " + "[" * 10_000, "a = " + "9" * 5_000]


def revision(_name: str) -> ProductRevision:
    return ProductRevision(parse_product(SENSOR), hashlib.sha256(SENSOR.encode()).digest())


def test_the_files_that_the_others_differ_from() -> None:
    assert parse_order_file(ORDER, revision).work_order == "WO-1"


@pytest.mark.parametrize("line", BEYOND_PYTHON, ids=["nesting", "digits"])
def test_toml_beyond_pythons_bounds(line: str) -> None:
    for parse in (parse_product, lambda text: parse_order_file(text, revision)):
        with pytest.raises(Refused) as refusal:
            parse(line)
        assert refusal.value.code is Code.INVALID


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0099-01-01T00:00:00Z"]
)
@pytest.mark.parametrize("field", ["not_before", "not_after"])
def test_moments_that_have_no_seconds_or_no_four_digits(field: str, moment: str) -> None:
    lines = [f"{field} = {moment}" if line.startswith(field) else line for line in ORDER.splitlines()]
    with pytest.raises(Refused, match=field) as refusal:
        parse_order_file("\n".join(lines), revision)
    assert refusal.value.code is Code.INVALID


def test_settings_nested_by_dotted_keys() -> None:
    head, table, _ = ORDER.partition("[settings]")
    with pytest.raises(Refused, match="settings: nested too deep") as refusal:
        parse_order_file(head + table + "\n" + ".".join(["a"] * 3_000) + " = 1\n", revision)
    assert refusal.value.code is Code.INVALID
