"""Printers that are devices of this machine: every byte in order, never for ever, and nothing is made."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.labels.device import DevicePort
from agent.adapters.labels.printer import LabelPrinter, open_printer
from agent.errors import LabelError

SOON_S = 1.0


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


async def test_a_device_gets_every_byte(terminal: tuple[int, str]) -> None:
    ours, name = terminal
    data = os.urandom(50_000)  # more than its buffer
    sending = asyncio.create_task(LabelPrinter(DevicePort(name, print_s=20)).put(data))
    received = b""
    while len(received) < len(data):
        received += await asyncio.to_thread(os.read, ours, 65_536)
    await sending
    assert received == data


async def test_a_device_is_there(terminal: tuple[int, str], tmp_path: Path) -> None:
    await open_printer(terminal[1], status=False).check()
    with pytest.raises(LabelError, match="printer_off"):
        await open_printer(str(tmp_path / "lp0")).check()


async def test_a_device_that_takes_nothing(terminal: tuple[int, str]) -> None:
    _, name = terminal
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    beside = asyncio.create_task(tick())
    with pytest.raises(LabelError, match="printer_hangs"):
        await LabelPrinter(DevicePort(name, print_s=SOON_S)).put(bytes(100_000))
    beside.cancel()
    assert ticks > 5  # the loop went on meanwhile


async def test_a_cancelled_label_is_not_mixed_with_the_next(terminal: tuple[int, str]) -> None:
    ours, name = terminal
    printer = LabelPrinter(DevicePort(name, print_s=20))
    first = asyncio.create_task(printer.put(b"A" * 50_000))
    assert (await asyncio.to_thread(os.read, ours, 1)) == b"A"
    first.cancel()
    second = asyncio.create_task(printer.put(b"B" * 50_000))
    received = b""
    while len(received) < 99_999:
        received += await asyncio.to_thread(os.read, ours, 65_536)
    await second
    assert received == b"A" * 49_999 + b"B" * 50_000


async def test_a_device_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "lp0"
    with pytest.raises(LabelError, match="printer_off"):
        await open_printer(str(path)).put(b"x")
    assert not path.exists()


async def test_a_file_is_no_printer(tmp_path: Path) -> None:
    path = tmp_path / "lp0"
    path.write_bytes(b"")
    with pytest.raises(LabelError, match="no printer"):
        await open_printer(str(path)).put(b"x")
    assert path.read_bytes() == b""


async def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    path = tmp_path / "lp0"
    os.mkfifo(path)
    with pytest.raises(LabelError, match="printer_off"):
        await open_printer(str(path)).put(b"x")
