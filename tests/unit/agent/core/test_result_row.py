"""Rows of results: read back by other programs, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.recipe import StepName
from agent.core.result_row import CSV_HEADER, ResultRow, csv_key, csv_line, json_key, json_line

ROW = ResultRow(
    run=7,
    started_at="2026-11-20T05:00:00.000+00:00",
    ended_at="2026-11-20T05:01:00.000+00:00",
    port="1.3",
    work_order="WO-1",
    chip_id="7c:df:a1:00:00:01",
    serial_number="SN-1",
    certificate_sha256="aa" * 32,
    outcome="FAIL",
    step="install",
    code="storage_full",
    detail='no room, said the "board"',
    remedy="Repair it",
    seconds=60.12345,
    times={"flash": 20.5, "session": 0.125},
)


def cells(row: ResultRow) -> dict[str, str]:
    (read,) = csv.DictReader(io.StringIO(CSV_HEADER + csv_line(row), newline=""))
    return read


def test_a_row_of_csv() -> None:
    read = cells(ROW)
    assert (read["run"], read["detail"], read["seconds"]) == ("7", ROW.detail, "60.1234")
    assert (read["flash_s"], read["session_s"], read["keygen_s"]) == ("20.5000", "0.1250", "")
    assert CSV_HEADER.endswith("\r\n")
    assert csv_line(ROW).endswith("\r\n")


def test_each_step_has_a_column() -> None:
    assert {f"{step}_s" for step in (*StepName, "session", "record")} <= set(CSV_HEADER.strip().split(","))


def test_a_row_of_json() -> None:
    read = json.loads(json_line(ROW))
    assert (read["run"], read["outcome"], read["times"]) == (7, "FAIL", {"flash": 20.5, "session": 0.125})


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=cmd|' /C calc'!A0"]
)
@pytest.mark.parametrize("name", ["port", "chip_id", "serial_number", "code", "detail", "remedy", "step"])
def test_no_text_is_a_formula(text: str, name: str) -> None:
    read = cells(replace(ROW, **{name: text}))[name]  # type: ignore[arg-type]
    assert read.startswith("'")
    assert json.loads(json_line(replace(ROW, **{name: text})))[name] == text  # type: ignore[arg-type]


@given(st.text(), st.text())
def test_any_text_stays_one_row_that_is_known_again(detail: str, code: str) -> None:
    row = replace(ROW, detail=detail, code=code)
    assert csv_line(row).count("\n") == 1
    assert json_line(row).count("\n") == 1
    assert len(cells(row)) == CSV_HEADER.count(",") + 1
    assert json_key(json_line(row).encode()) == row.key
    assert csv_key(csv_line(row).encode("utf-8", errors="replace")) is not None


@given(st.binary())
def test_any_bytes_are_a_key_or_none(data: bytes) -> None:
    for key in (json_key(data), csv_key(data)):
        assert key is None or isinstance(key[0], int)


def test_keys_of_rows() -> None:
    assert csv_key(csv_line(ROW).encode()) == json_key(json_line(ROW).encode()) == ROW.key
    assert csv_key(CSV_HEADER.encode()) is None
