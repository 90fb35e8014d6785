"""One contract over both ways of reading a port: by the event loop (POSIX) and by a thread (elsewhere)."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.drivers import open_line as opening
from agent.adapters.drivers.open_line import open_line
from agent.adapters.drivers.posix_line import PosixLine
from agent.adapters.drivers.serial_line import SerialLine
from agent.adapters.drivers.thread_line import ThreadLine
from agent.adapters.line.serial_port import list_ports
from agent.errors import LineError


@pytest.fixture
def pty() -> Iterator[tuple[int, int, str]]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, slave, os.ttyname(slave)
    for descriptor in (master, slave):
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test closed it


@pytest.fixture(params=[PosixLine, ThreadLine])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_line_class", lambda: request.param)


class Heard:
    def __init__(self) -> None:
        self.data = b""
        self.gone = asyncio.Event()
        self.enough = asyncio.Event()
        self.wanted = 0

    def on_bytes(self, data: bytes) -> None:
        self.data += data
        if len(self.data) >= self.wanted:
            self.enough.set()

    def on_gone(self, _detail: str) -> None:
        self.gone.set()

    async def open(self, port: str) -> SerialLine:
        return await open_line(port, 115_200, self.on_bytes, self.on_gone)


@pytest.mark.usefixtures("_way")
async def test_bytes_go_both_ways(pty: tuple[int, int, str]) -> None:
    heard, (master, _slave, port) = Heard(), pty
    heard.wanted = 256
    line = await heard.open(port)
    await line.write(bytes(range(256)))
    assert os.read(master, 1000) == bytes(range(256))
    os.write(master, bytes(range(256)))
    async with asyncio.timeout(10):
        await heard.enough.wait()
    assert heard.data == bytes(range(256))
    await line.close()


@pytest.mark.usefixtures("_way")
async def test_a_port_that_vanishes_is_told_once_and_takes_nothing(pty: tuple[int, int, str]) -> None:
    heard, (master, slave, port) = Heard(), pty
    line = await heard.open(port)
    os.close(slave)
    os.close(master)
    async with asyncio.timeout(10):
        await heard.gone.wait()
    with pytest.raises(LineError, match="port_gone"):
        await line.write(b"x")
    await line.close()


@pytest.mark.usefixtures("_way")
async def test_what_nobody_reads_does_not_keep_the_port_from_closing(
    pty: tuple[int, int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "WRITE_TIMEOUT_S", 0.05)
    monkeypatch.setattr("agent.adapters.drivers.posix_line.WRITE_TIMEOUT_S", 0.05)
    line = await Heard().open(pty[2])
    with pytest.raises(LineError, match="no_answer"):
        await line.write(bytes(1_000_000))
    async with asyncio.timeout(10):
        await line.close()


async def test_named_ports_are_listed_once_while_they_are_there(
    pty: tuple[int, int, str], tmp_path: Path
) -> None:
    link = tmp_path / "place-1"
    link.symlink_to(pty[2])
    found = list_ports([str(tmp_path / "place-*")], discover=False)
    assert [(port.device, port.name) for port in found] == [(str(link), str(link))]
    assert len(list_ports([pty[2], str(link)], discover=False)) == 1
    assert list_ports([str(tmp_path / "place-2")], discover=False) == ()
    assert list_ports(["COM7"], discover=False) == ()
