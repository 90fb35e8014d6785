"""Printers in the network that are off, hang or close early; and labels of many ports at one printer."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from agent.adapters.labels import open_labels
from agent.adapters.labels.printer import LabelPrinter, TcpPort, open_printer
from agent.config import LabelPlace
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
