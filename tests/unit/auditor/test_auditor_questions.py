"""Rules of questions, on values: cells, periods, kinds of certificates."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.core.questions.cells import csv_cell, shown, spelled
from auditor.core.questions.kinds import Kinds, firmware
from auditor.core.questions.periods import Period, age_s, period
from auditor.errors import Malformed

KIND: dict[str, Any] = {
    "level": "key", "method": "x509", "product": "sensor",
    "firmware": {"app": "1.2.0", "boot": "3"}, "measured": {"app": "1.2.1"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Zürich 3", "Zürich 3"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\u202eb", r"a\u202eb"),
        ("a\r\nb", r"a\r\nb"),
        ("a\u2028b\u200bc", r"a\u2028b\u200bc"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_is_not_printed_for_itself_is_spelled(text: str, told: str) -> None:
    assert spelled(text) == told


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+49", "'+49"),
        ("-3", "'-3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\N{FULLWIDTH EQUALS SIGN}1", "'\N{FULLWIDTH EQUALS SIGN}1"),
        ("\t=1", r"\t=1"),
        (-3, "-3"),
        (None, ""),
        (True, "yes"),
        (["=1", "b"], "'=1, b"),
        ({"app": "1"}, "app 1"),
        ("a=1", "a=1"),
    ],
)
def test_a_cell_is_no_formula(value: object, cell: str) -> None:
    assert csv_cell(value) == cell


@settings(max_examples=40)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_a_row_of_any_texts_is_one_line_of_as_many_cells(texts: list[str]) -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow([csv_cell(text) for text in texts])
    assert file.getvalue().count("\n") == 1
    (row,) = csv.reader(io.StringIO(file.getvalue()))
    assert [cell.removeprefix("'") for cell in row] == [shown(text).removeprefix("'") for text in texts]
    assert not any(cell[:1] in set("=+-@\t\r") for cell in row)


def test_a_period_has_both_its_days() -> None:
    found = period("2026-11-01", "2026-11-01")
    assert found.end - found.start == 86_400
    assert found == period("2026-11-01T00:00:00Z", "2026-11-01T23:59:59Z")
    assert found.holds(found.start)
    assert not found.holds(found.end)
    assert period("", "") == Period()


@pytest.mark.parametrize(
    ("first", "last"),
    [("2026-11-02", "2026-11-01"), ("today", ""), ("", "2026-13-01"), ("2026-11-01T06:00", "")],
)
def test_what_is_no_period(first: str, last: str) -> None:
    with pytest.raises(Malformed):
        period(first, last)


def test_ages() -> None:
    assert [age_s(text) for text in ("0m", "90m", "36h", "3d")] == [0, 5_400, 129_600, 259_200]
    for text in ("", "3", "-3d", "1.5h", "3D", "9999999d"):
        with pytest.raises(Malformed):
            age_s(text)


@pytest.mark.parametrize(
    ("kinds", "held"),
    [
        (Kinds(), True),
        (Kinds(level="key", method="x509", product="sensor"), True),
        (Kinds(level="chip"), False),
        (Kinds(product="lock"), False),
        (Kinds(firmware={"app": "1.2.1", "boot": "3"}), True),
        (Kinds(firmware={"app": "1.2.0"}), False),  # claimed, and measured otherwise
        (Kinds(firmware={"modem": "1"}), False),
    ],
)
def test_kinds(kinds: Kinds, *, held: bool) -> None:
    assert kinds.hold(KIND) is held
    assert kinds.all == (kinds == Kinds())


def test_firmware_is_named_by_component() -> None:
    assert firmware(["app=1.2.0", "boot=3", "app=1.2.0"]) == {"app": "1.2.0", "boot": "3"}
    for items in (["1.2.0"], ["=1"], ["app="], ["app=1", "app=2"]):
        with pytest.raises(Malformed):
            firmware(items)
