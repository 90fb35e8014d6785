"""Printers in the network that are off, hang or close early; and labels of many ports at one printer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.adapters.labels import open_labels
from agent.adapters.labels.printer import (
    CONNECT_S,
    PRINT_S,
    TURN_S,
    LabelPrinter,
    TcpPort,
    open_printer,
)
from agent.config import LabelPlace
from agent.core.recipe import StepName, default_recipe
from agent.errors import ConfigError, LabelError
from harness.label_samples import LABEL, label, template_bytes
from harness.paper_printer import PaperPrinter, listening
from harness.zpl_reader import read_zpl

SOON_S, LONG_S = 1.0, 30.0
LONG = b"^XA" + b"0" * 8_000_000 + b"^XZ"  # more than sockets of both sides hold


def _tcp(port: int, *, wait_eof: bool = True, print_s: float = LONG_S) -> LabelPrinter:
    return LabelPrinter(TcpPort("127.0.0.1", port, wait_eof=wait_eof, connect_s=LONG_S, print_s=print_s))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "label.toml").write_bytes(template_bytes())
    (tmp_path / "labels").mkdir()
    return tmp_path


async def test_a_label_reaches_the_printer(place: Path) -> None:
    printer = PaperPrinter()
    async with listening(printer.serve) as port:
        config = LabelPlace(template=place / "label.toml", printer=f"tcp://127.0.0.1:{port}")
        await open_labels(config).put(LABEL)
    (data,) = printer.received
    assert read_zpl(data).labels == 1
    assert list((place / "labels").iterdir()) == []


@pytest.mark.check
async def test_labels_of_many_ports_come_one_after_the_other(place: Path) -> None:
    printer = PaperPrinter()
    async with listening(printer.serve) as port:
        labels = open_labels(LabelPlace(template=place / "label.toml", printer=f"tcp://127.0.0.1:{port}"))
        async with asyncio.TaskGroup() as tasks:
            for number in range(16):
                tasks.create_task(labels.put(label(port=f"port {number}")))
    ports = [read_zpl(data).texts[-1] for data in printer.received]
    assert sorted(ports) == sorted(f"Port port {number}" for number in range(16))
    assert all(read_zpl(data).labels == 1 for data in printer.received)


async def test_labels_are_printed_in_the_order_of_asking() -> None:
    printer = PaperPrinter()
    async with listening(printer.serve) as port:
        to = _tcp(port)
        await asyncio.gather(*(to.put(b"%d" % number) for number in range(8)))
    assert printer.received == [b"%d" % number for number in range(8)]


async def test_a_printer_that_is_off() -> None:
    async with listening(PaperPrinter().serve) as port:
        pass
    with pytest.raises(LabelError) as refusal:
        await _tcp(port).put(b"x")
    assert refusal.value.code == "printer_off"


@pytest.mark.parametrize("data", [b"^XA^XZ", LONG], ids=["short", "long"])
async def test_a_printer_that_hangs(data: bytes) -> None:
    async def takes_nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with listening(takes_nothing) as port:
        begin = time.monotonic()
        with pytest.raises(LabelError) as refusal:
            await _tcp(port, print_s=SOON_S).put(data)
    assert refusal.value.code == "printer_hangs"
    assert time.monotonic() - begin < LONG_S


async def test_a_printer_that_never_closes_is_said_to() -> None:
    got = asyncio.Event()

    async def never_closes(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"^XA^XZ"
        got.set()
        await asyncio.Event().wait()

    async with listening(never_closes) as port:
        with pytest.raises(LabelError):
            await _tcp(port, print_s=SOON_S).put(b"^XA^XZ")
        got.clear()
        await _tcp(port, wait_eof=False).put(b"^XA^XZ")
        await got.wait()


@pytest.mark.parametrize("wait_eof", [True, False])
async def test_a_printer_that_closes_early(wait_eof: bool) -> None:
    async def closes_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100)
        writer.transport.abort()

    async with listening(closes_early) as port:
        with pytest.raises(LabelError) as refusal:
            await _tcp(port, wait_eof=wait_eof).put(LONG)
    assert refusal.value.code == "printer_off"


async def test_a_printer_that_recovers_gets_the_next_label() -> None:
    printer = PaperPrinter()
    broken = True

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if broken:
            writer.transport.abort()
        else:
            await printer.serve(reader, writer)

    async with listening(serve) as port:
        to = _tcp(port)
        with pytest.raises(LabelError):
            await to.put(b"first")
        broken = False
        await to.put(b"second")
    assert printer.received == [b"second"]


async def test_a_cancelled_label_leaves_the_printer_to_the_next() -> None:
    printer, hang, begun = PaperPrinter(), True, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if hang:
            begun.set()
            await asyncio.Event().wait()
        await printer.serve(reader, writer)

    async with listening(serve) as port:
        to = LabelPrinter(TcpPort("127.0.0.1", port, wait_eof=True))
        first = asyncio.create_task(to.put(b"first"))
        second = asyncio.create_task(to.put(b"second"))
        await begun.wait()
        hang = False
        first.cancel()
        await second
    assert printer.received == [b"second"]


@pytest.mark.parametrize(
    "text",
    ["tcp://", "tcp://host", "tcp://host:0", "tcp://host:99999", "tcp://host:9100/x", "tcp://a b:9100"],
)
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no printer's address"):
        open_printer(text)


async def test_a_name_that_no_host_can_have() -> None:
    with pytest.raises(LabelError, match="printer_off"):
        await open_printer(f"tcp://{'a' * 64}:9100").put(b"x")


async def test_a_check_prints_nothing(place: Path) -> None:
    printer = PaperPrinter()
    async with listening(printer.serve) as port:
        config = LabelPlace(
            template=place / "label.toml", folder=place / "labels", printer=f"tcp://127.0.0.1:{port}"
        )
        labels = open_labels(config)
        await labels.check()
        await labels.put(LABEL)
    assert [data for data in printer.received if data] == printer.received[-1:]
    assert len(list((place / "labels").iterdir())) == 1


async def test_a_check_of_a_printer_that_is_off(place: Path) -> None:
    async with listening(PaperPrinter().serve) as port:
        pass
    labels = open_labels(LabelPlace(template=place / "label.toml", printer=f"tcp://127.0.0.1:{port}"))
    with pytest.raises(LabelError, match="printer_off"):
        await labels.check()


async def test_a_check_of_a_folder_that_is_gone(place: Path) -> None:
    labels = open_labels(LabelPlace(template=place / "label.toml", folder=place / "labels"))
    await labels.check()
    (place / "labels").rmdir()
    with pytest.raises(LabelError, match="label_folder"):
        await labels.check()


async def test_a_printer_that_hangs_fails_the_labels_in_line_at_once() -> None:
    served = 0
    printer = PaperPrinter()

    async def hangs_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if served == 1:
            await asyncio.Event().wait()
        await printer.serve(reader, writer)

    async with listening(hangs_once) as port:
        to = _tcp(port, print_s=SOON_S)
        begin = time.monotonic()
        failures = await asyncio.gather(*(to.put(b"%d" % n) for n in range(16)), return_exceptions=True)
        seconds = time.monotonic() - begin
        await to.put(b"later")
    first, *others = failures
    assert isinstance(first, LabelError)
    assert "throw away" in first.remedy
    assert {(other.code, other.remedy) for other in others if isinstance(other, LabelError)} == {
        ("printer_hangs", "Check the printer, and present the board again: nothing of this label was sent.")
    }
    assert len(others) == 15
    assert seconds < 8 * SOON_S  # and not sixteen times what one label may take
    assert printer.received == [b"later"]


async def test_a_line_of_labels_that_is_too_long_ends_with_a_printers_code() -> None:
    begun = asyncio.Event()

    class Slow:
        async def send(self, data: bytes) -> None:  # noqa: ARG002
            begun.set()
            await asyncio.Event().wait()

        async def reach(self) -> None:
            raise NotImplementedError

        async def ask(self, question: bytes, is_whole: Callable[[bytes], bool]) -> bytes:
            raise NotImplementedError

        def answers(self) -> bool:
            return False

    to = LabelPrinter(Slow(), turn_s=SOON_S)
    first = asyncio.create_task(to.put(b"first"))
    await begun.wait()
    with pytest.raises(LabelError) as second:
        await to.put(b"second")
    with pytest.raises(LabelError) as failure:
        await first
    assert (failure.value.code, second.value.code) == ("printer_hangs", "printer_hangs")
    assert "nothing of this label was sent" in second.value.remedy
    assert "throw away" in failure.value.remedy


def test_a_printers_own_word_comes_before_the_step_is_over() -> None:
    step = default_recipe({StepName.LABEL}).step(StepName.LABEL)
    assert step is not None
    assert step.timeout_s - 5.0 > TURN_S  # in which the label is drawn, and the board asked for its code
    assert CONNECT_S + PRINT_S < TURN_S
