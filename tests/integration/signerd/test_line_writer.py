from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Iterator

import pytest

from signerd.adapters.line_writer import LineWriter, write_within

LINES = 20_000
LINE = "x" * 400


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read_until(reading: int, end: str) -> list[str]:
    text = ""
    while not text.endswith(end):
        assert select.select([reading], [], [], 10)[0], "nothing more came"
        text += os.read(reading, 65_536).decode()
    return text.splitlines()


def test_a_reader_that_stalls_holds_up_nobody_and_is_told_what_it_missed(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    lines = LineWriter(writing)
    started = time.monotonic()
    for number in range(LINES):
        lines.write(f"{number} {LINE}\n")
    assert time.monotonic() - started < 5
    text = ""
    while select.select([reading], [], [], 1)[0]:
        text += os.read(reading, 65_536).decode()
    lines.write("again\n")
    *kept, again = text.splitlines() + read_until(reading, "again\n")
    expected = 0
    for line in kept:  # in order, and where there is a gap a notice says how long it is
        if line.startswith("{"):
            notice = json.loads(line)
            assert (notice["event"], notice["level"]) == ("log_lines_dropped", "warning")
            expected += notice["count"]
        else:
            assert int(line.split()[0]) == expected
            expected += 1
    assert expected == LINES
    assert any(line.startswith("{") for line in kept)
    assert again == "again"
    lines.close()


def test_the_end_does_not_wait_for_a_reader_that_stalls(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    lines = LineWriter(writing)
    for _ in range(1000):
        lines.write(f"{LINE}\n")
    started = time.monotonic()
    lines.close(timeout_s=0.2)
    write_within(writing, "last words\n" * 10_000, timeout_s=0.2)
    assert time.monotonic() - started < 2
    while lines._thread.is_alive():  # it must not write into the next test's pipe
        if select.select([reading], [], [], 0.05)[0]:
            os.read(reading, 65_536)


def test_what_is_queued_gets_out_before_the_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    lines = LineWriter(writing)
    for number in range(50):
        lines.write(f"{number}\n")
    lines.close()
    assert read_until(reading, "49\n") == [str(number) for number in range(50)]


def test_lines_that_cannot_be_written_are_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = pipe
    full, tried = [True], threading.Event()
    written = os.write

    def write(descriptor: int, data: bytes) -> int:
        if full[0]:
            tried.set()
            raise OSError(28, "No space left on device")
        return written(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    lines = LineWriter(writing)
    lines.write("lost\n")
    assert tried.wait(5)
    full[0] = False
    lines.write("written\n")
    notice, line = read_until(reading, "written\n")
    assert '"count": 1' in notice
    assert line == "written"
    lines.close()
