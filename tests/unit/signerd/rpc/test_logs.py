from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from signerd.adapters.logs import MASK, MAX_TEXT, configure_logs

PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----"


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs("info")
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


class FullDisk:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.full = True

    def write(self, line: str) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines.append(line)

    def flush(self) -> None:
        if self.full:
            raise OSError(28, "No space left on device")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    disk = FullDisk()
    monkeypatch.setattr(sys, "stderr", disk)
    configure_logs("info")
    yield disk
    structlog.reset_defaults()


def test_a_line_that_cannot_be_written_fails_nothing(disk: FullDisk) -> None:
    log = structlog.get_logger()
    log.info("lost")
    disk.full = False
    log.info("written")
    assert ["written" in line for line in disk.lines] == [True]
