"""Whoever reads a station's lines may stall, go, or have a full disk: the boards go on."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import pytest

from agent.adapters.shown.json_lines import JsonLines
from agent.adapters.shown.line_writer import LineWriter
from agent.core.events import PortReady
from harness.process import wait_until

if sys.platform == "win32":
    pytest.skip("Windows has no such limit, and no such pipe", allow_module_level=True)
import resource


def tell(lines: JsonLines, count: int) -> None:
    for number in range(count):
        lines(PortReady(f"port-{number}"))


def events_in(data: bytes) -> list[dict[str, object]]:
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def read_all(descriptor: int) -> bytes:
    data = b""
    while piece := os.read(descriptor, 65_536):
        data += piece
    os.close(descriptor)
    return data


def test_a_reader_that_stalls_holds_up_nothing_and_learns_what_it_missed() -> None:
    reading, writing = os.pipe()
    with LineWriter(writing, waiting=20_000) as writer:
        tell(JsonLines(writer), 10_000)  # more than the pipe and the bound take; it returns
        said: list[bytes] = []
        reader = threading.Thread(target=lambda: said.append(read_all(reading)))
        reader.start()
        wait_until(lambda: not (writer._lines or writer._dropped), "the reader")
        tell(JsonLines(writer), 1)
    os.close(writing)
    reader.join()
    events = events_in(said[0])
    ready = sum(event["event"] == "port_ready" for event in events)
    lost = sum(int(str(event["count"])) for event in events if event["event"] == "lines_lost")
    assert ready + lost == 10_001
    assert 0 < lost < 10_000
    assert events[-1]["port"] == "port-0"


def test_a_reader_that_stalls_for_ever_does_not_hold_up_the_end() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing, waiting=1 << 20, close_s=0.05)
    with writer:
        tell(JsonLines(writer), 5_000)
    os.read(reading, 1)
    os.close(reading)  # and now its thread ends too
    writer._thread.join(10)
    assert not writer._thread.is_alive()
    os.close(writing)


def test_a_reader_that_has_gone_costs_lines_alone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with LineWriter(writing) as writer:
        tell(JsonLines(writer), 100)
    os.close(writing)


def test_a_disk_that_was_full_has_whole_lines_and_says_how_many_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with LineWriter(descriptor) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
        try:
            tell(JsonLines(writer), 50)
            wait_until(lambda: writer._failing, "the disk to be full")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        tell(JsonLines(writer), 1)
    os.close(descriptor)
    *kept, last = path.read_bytes().splitlines()
    events = []
    for line in [*kept, last]:
        try:
            events.append(json.loads(line))
        except ValueError:
            events.append({"event": "torn"})
    assert [event["event"] for event in events].count("torn") <= 1
    assert events[-1]["port"] == "port-0"
    assert any(event["event"] == "lines_lost" for event in events)
