from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from signerd.adapters.logs import MASK, MAX_TEXT, configure_logs

PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----"


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    stream = io.StringIO()
    configure_logs("info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


def test_no_secret_gets_into_a_line(lines: Lines) -> None:
    log = structlog.get_logger()
    log.info(
        "call",
        pin="4711",
        mac=b"\x01" * 32,
        evidence="abc",
        detail=f"could not read {PEM}",
        nested={"key": "deadbeef", "data": b"secret bytes"},
        listed=[b"secret", PEM],
        peer="birthmark://dev/station/a/b",
        code="ok",
    )
    log.error("broken", exc_info=ValueError(PEM))
    call, broken = lines()
    text = json.dumps((call, broken))
    for secret in ("4711", "abc", "deadbeef", "secret", "MIGHAgEAMBMGByqGSM49"):
        assert secret not in text
    assert call["pin"] == call["mac"] == call["evidence"] == MASK
    assert call["nested"] == {"key": MASK, "data": "<12 bytes>"}
    assert (call["peer"], call["code"], call["level"]) == ("birthmark://dev/station/a/b", "ok", "info")
    assert "ValueError" in broken["exception"]


def test_a_value_cannot_fill_the_disk_or_break_the_line(lines: Lines) -> None:
    structlog.get_logger().info("call", detail="x\n" * MAX_TEXT)
    (line,) = lines()
    assert len(line["detail"]) == MAX_TEXT + 1


def test_the_level_counts(lines: Lines) -> None:
    structlog.get_logger().debug("chatter")
    assert lines() == []


def test_what_libraries_say_is_a_line_of_ours(lines: Lines) -> None:
    logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=ValueError(PEM))
    logging.getLogger("asyncio").info("chatter")
    (line,) = lines()
    assert (line["event"], line["logger"], line["level"]) == ("library", "asyncio", "error")
    assert "ValueError" in line["exception"]
    assert "MIGHAgEAMBMGByqGSM49" not in json.dumps(line)
