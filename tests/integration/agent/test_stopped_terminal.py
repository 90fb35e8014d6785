"""A terminal that takes nothing holds no board up: after Ctrl-S, while text is marked in a console of
Windows, or where nobody reads it. What has to stay is printed when it goes on."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import pty
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO, cast

import pytest
from rich.console import Console

from agent.adapters.journal.report import read_report
from agent.adapters.journal.schema import FILE_NAME as JOURNAL
from agent.adapters.log.agent_log import FILE_NAME as LOG
from agent.adapters.shown.live_state import LiveState
from agent.adapters.shown.table import _HELD, LiveTable
from agent.adapters.shown.terminal_writer import TerminalWriter
from agent.core.events import Finished
from agent.core.result import Outcome, Result
from harness.agent_process import AgentBench
from harness.process import wait_until
from harness.terminal import Terminal

FAILED = Result("port-1", "WO-1", "CHIP-1", "", "", Outcome.FAIL, "stamp", "x", "no", "", 1.0, ())
FAILURES = _HELD + 1_000
CTRL_Q, CTRL_S = b"\x11", b"\x13"


class Unread:
    """A pty, 200 columns wide, that is read from when a test says so."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self.stream = cast("TextIO", open(theirs, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        self.said = bytearray()

    def read(self) -> None:
        """From now on."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.ours, 65_536)
            except OSError:
                return
            self.said += data

    def close(self) -> None:
        self.stream.close()


@pytest.fixture
def unread() -> Iterator[Unread]:
    terminal = Unread()
    yield terminal
    terminal.close()


def table_on(writer: TerminalWriter, live: LiveState) -> LiveTable:
    console = Console(file=cast("TextIO", writer), force_terminal=True, width=200, height=40, highlight=False)
    table = LiveTable(console, live.snapshot, writer)
    table.begin()
    return table


def fail(table: LiveTable, count: int) -> None:
    for number in range(count):
        table(Finished(replace(FAILED, chip_id=f"CHIP-{number:05}")))


def test_what_has_to_stay_is_printed_when_it_goes_on(unread: Unread) -> None:
    """In its order, the oldest left out and counted. Nothing waited, and no more was kept than is bounded."""
    live = LiveState("WO-1", 10)
    with TerminalWriter(unread.stream) as writer, table_on(writer, live) as table:
        wait_until(lambda: _full(writer, table), "a terminal that takes nothing")
        fail(table, FAILURES)
        assert len(table._held) == _HELD
        unread.read()
        wait_until(lambda: b"lines were left out" in unread.said, "what was held")
        wait_until(lambda: f"CHIP-{FAILURES - 1:05}".encode() in unread.said, "the last of it")
    said = unread.said.decode()
    places = [said.index(f"CHIP-{number:05}") for number in range(FAILURES - _HELD, FAILURES)]
    assert places == sorted(places)
    assert said.index("lines were left out: `birthmark-agent results` has all") < places[0]


def _full(writer: TerminalWriter, table: LiveTable) -> bool:
    """The pty's own buffer took what it can."""
    table.notice("x" * 4_000)
    return writer.stopped_s > 0.2


def test_how_long_it_was_stopped_is_said(unread: Unread) -> None:
    live = LiveState("WO-1", 10)
    with TerminalWriter(unread.stream) as writer, table_on(writer, live) as table:
        wait_until(lambda: _full(writer, table), "a terminal that takes nothing")
        wait_until(lambda: table._stopped_s > 2.0, "the table to see it")
        unread.read()
        wait_until(lambda: b"this terminal took nothing for " in unread.said, "the words")
        wait_until(lambda: not writer.behind, "the rest")
        table.notice("and on")
        wait_until(lambda: b"and on" in unread.said, "what came after it")


def test_the_end_waits_for_it_so_long(unread: Unread) -> None:
    live = LiveState("WO-1", 10)
    with TerminalWriter(unread.stream, close_s=0.1) as writer, table_on(writer, live) as table:
        wait_until(lambda: _full(writer, table), "a terminal that takes nothing")
    assert writer.behind
    writer.write("after the end")  # nobody's any more
    os.close(unread.ours)


def test_a_terminal_that_is_closed_costs_its_text_alone(unread: Unread) -> None:
    with TerminalWriter(unread.stream) as writer, table_on(writer, LiveState("WO-1", 10)) as table:
        os.close(unread.ours)
        fail(table, 10)
        wait_until(lambda: writer._gone, "the end of the terminal")
        fail(table, 10)
        assert not writer.behind


def test_a_terminal_that_somebody_left_unblocking(unread: Unread) -> None:
    os.set_blocking(unread.stream.fileno(), False)
    with TerminalWriter(unread.stream) as writer:
        writer.write("x" * 500_000 + "end")
        unread.read()
        wait_until(lambda: unread.said.endswith(b"end"), "all of it")


def test_more_than_is_kept_is_left_out(unread: Unread) -> None:
    with TerminalWriter(unread.stream, waiting=200_000, close_s=0.1) as writer:
        for _ in range(100):
            writer.write("x" * 10_000)
        assert writer._waiting <= 200_000
    os.close(unread.ours)


class Marked(io.RawIOBase):
    """A console of Windows in which text is marked: a write ends when the marking does."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.taken = bytearray()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.goes_on.wait()
        self.taken += data
        return len(data)


def test_a_console_in_which_text_is_marked(unread: Unread, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes UTF-8, whatever its code page is, as Python's own streams give it."""
    console, opened = Marked(), open
    monkeypatch.setattr("builtins.open", lambda *a, **k: console if a[1] == "wb" else opened(*a, **k))
    with TerminalWriter(unread.stream) as writer:
        monkeypatch.undo()
        with table_on(writer, LiveState("WO-1", 10)) as table:
            fail(table, 3)
            assert not console.taken
            console.goes_on.set()
            wait_until(lambda: b"CHIP-00002" in console.taken, "what was held")


def passed(bench: AgentBench) -> int:
    return read_report(bench.station / "state" / JOURNAL).summary.passed


async def until(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what, timeout_s=60)


@pytest.mark.parametrize(
    "ends", [pytest.param(False, marks=pytest.mark.check), pytest.param(True, marks=pytest.mark.soak)]
)
async def test_boards_go_on_after_ctrl_s(tmp_path: Path, ends: bool) -> None:
    """The real program on a real terminal, whose output stops while two boards are at work. `ends`: it is
    told to end while it is stopped, and does so with the right code."""
    async with AgentBench(tmp_path) as bench:
        ports = [bench.board(f"CHIP-{number}", keygen_s=1.0).port for number in range(2)]
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "agent",
            "run",
            "-c",
            bench.config,
            "--order",
            "WO-1",
        ]
        with Terminal([*command, "--port", ports[0], "--port", ports[1]]) as terminal:
            await until(lambda: "WO-1" in terminal.text, "the table")
            terminal.press(CTRL_S)
            await until(lambda: passed(bench) == 2, "two boards, behind a terminal that takes nothing")
            log = bench.station / "state" / LOG
            await until(lambda: "terminal_stopped" in log.read_text("utf-8"), "the log to say so")
            seen = terminal.text
            if ends:
                terminal.stop()
                assert await asyncio.to_thread(terminal.wait) == 0
                assert "Fatal" not in terminal.text
                return
            assert "took nothing" not in seen
            terminal.press(CTRL_Q)
            await until(lambda: "this terminal took nothing for" in terminal.text, "what it missed")
            terminal.stop()
            assert await asyncio.to_thread(terminal.wait) == 0
            assert "100.0 %" in terminal.text
