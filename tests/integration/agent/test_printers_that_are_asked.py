"""A printer that can answer is asked before each label, and after it until nothing is left to print.

The same over TCP and over a terminal; then what lies, is late or says nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.adapters.labels import open_labels
from agent.adapters.labels.device import DevicePort
from agent.adapters.labels.printer import LabelPrinter, PrinterPort, TcpPort, open_printer
from agent.config import LabelPlace
from agent.errors import ConfigError, LabelError
from harness.label_samples import LABEL, template_bytes
from harness.paper_printer import ASKED, PASSWORD, PaperPrinter, PaperStatus, Serve, listening

SOON_S, LONG_S = 0.3, 10.0
ZPL = b"^XA^FDa code^FS^XZ\n"
READY = PaperStatus().answer()
SENT = "throw away what it may have printed of this label, and present the board again."
UNSENT = "and present the board again: nothing of this label was sent."
HOSTILE = {
    "nothing": b"",
    "cut": READY[:40],
    "garbage": os.urandom(90),
    "huge": READY * 2_000,
    "another command's": b"\x02ZD421-300dpi,V93.21,12,8176KB\x03\r\n",
    "with more behind": READY.rstrip() + b"\x02\x03",
}


@dataclass
class Bench:
    """A printer on paper and the way to it."""

    paper: PaperPrinter
    port: Callable[[float], PrinterPort]

    def printer(self, *, ask_s: float = LONG_S, turn_s: float = LONG_S) -> LabelPrinter:
        return LabelPrinter(self.port(ask_s), turn_s=turn_s, asks=True)


@asynccontextmanager
async def by_tcp(paper: PaperPrinter) -> AsyncIterator[Bench]:
    async with listening(paper.serve) as port:
        yield Bench(paper, lambda ask_s: TcpPort("127.0.0.1", port, wait_eof=True, ask_s=ask_s))


@asynccontextmanager
async def by_device(paper: PaperPrinter) -> AsyncIterator[Bench]:
    """The other end of a terminal, with the settings that terminals have: an ETX would be an interrupt."""
    ours, theirs = os.openpty()
    loop, came = asyncio.get_running_loop(), b""

    def read() -> None:
        nonlocal came
        came += os.read(ours, 4_096)
        while (found := re.match(rb"(~HS)|(\^XA.*?\^XZ\n)", came, re.DOTALL)) is not None:
            came = came[found.end() :]
            if found[1]:
                os.write(ours, paper.answer())
            else:
                paper.take(found[2])

    loop.add_reader(ours, read)
    try:
        yield Bench(paper, lambda ask_s: DevicePort(os.ttyname(theirs), print_s=LONG_S, ask_s=ask_s))
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


BOTH = pytest.mark.parametrize("way", [by_tcp, by_device], ids=["tcp", "device"])
Way = Callable[[PaperPrinter], AbstractAsyncContextManager[Bench]]


async def refusal(put: Awaitable[None]) -> LabelError:
    with pytest.raises(LabelError) as caught:
        await put
    assert PASSWORD.decode() not in f"{caught.value} {caught.value.remedy}"
    return caught.value


@BOTH
async def test_a_label_counts_once_it_is_printed(way: Way) -> None:
    async with way(PaperPrinter(looks=3)) as bench:
        await bench.printer().put(ZPL)
    assert bench.paper.received == [ZPL]
    assert bench.paper.asked == [0, 1, 1, 1, 1, 1]  # before; three times not printed yet; twice done


@BOTH
@pytest.mark.parametrize(
    "flag", ["paper_out", "head_open", "ribbon_out", "paused", "buffer_full", "cold", "hot"]
)
async def test_a_printer_that_is_not_ready_is_sent_nothing_and_then_one_label(way: Way, flag: str) -> None:
    async with way(PaperPrinter()) as bench:
        to = bench.printer()
        bench.paper.status.flags[flag] = 1
        failure = await refusal(to.put(ZPL))
        assert failure.code == "printer_not_ready"
        assert failure.remedy.endswith(UNSENT)
        assert bench.paper.received == []
        with pytest.raises(LabelError, match="printer_not_ready"):
            await to.check()  # doctor's word is the same
        bench.paper.status.flags[flag] = 0
        await to.check()
        await to.put(ZPL)
    assert bench.paper.received == [ZPL]


@BOTH
async def test_a_printer_whose_paper_ends_with_the_label_in_it(way: Way) -> None:
    async with way(PaperPrinter(looks=2)) as bench:
        bench.paper.on_label = lambda: bench.paper.status.flags.update(paper_out=1)
        failure = await refusal(bench.printer().put(ZPL))
    assert failure.code == "printer_not_ready"
    assert "no labels left" in failure.detail
    assert failure.remedy == f"Load labels; {SENT}"
    assert bench.paper.received == [ZPL]


@BOTH
async def test_a_label_that_never_comes_out(way: Way) -> None:
    async with way(PaperPrinter(looks=1_000_000)) as bench:
        failure = await refusal(bench.printer(turn_s=1.0).put(ZPL))
    assert failure.code == "printer_hangs"
    assert "did not say in time that the label is printed" in failure.detail
    assert failure.remedy.endswith(SENT)
    assert bench.paper.received == [ZPL]


@BOTH
@pytest.mark.parametrize("answer", HOSTILE)
async def test_what_is_no_answer_lets_no_label_out(way: Way, answer: str) -> None:
    class Hostile(PaperPrinter):
        def answer(self) -> bytes:
            return HOSTILE[answer][:3_000]  # of which a terminal holds no more than it does

    async with way(Hostile()) as bench:
        failure = await refusal(bench.printer(ask_s=SOON_S).put(ZPL))
    assert failure.code == "printer_silent"
    assert "label.status = false" in failure.remedy
    assert failure.remedy.endswith(UNSENT)
    assert bench.paper.received == []


@BOTH
async def test_a_printer_that_falls_silent_with_the_label(way: Way) -> None:
    class Silent(PaperPrinter):
        def answer(self) -> bytes:
            return super().answer() if not self.received else b""

    async with way(Silent()) as bench:
        failure = await refusal(bench.printer(ask_s=SOON_S, turn_s=1.0).put(ZPL))
    assert failure.code == "printer_hangs"
    assert failure.remedy.endswith(SENT)


async def test_an_answer_without_end() -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.read(len(ASKED))
        while not writer.is_closing():
            writer.write(bytes(1_000))
            sent += 1_000
            await writer.drain()

    failure = await refusal(_to(endless))
    assert failure.code == "printer_silent"
    assert sent < 20_000_000  # what the sockets of both sides hold; no answer was kept


async def test_an_answer_a_byte_at_a_time_is_bounded_as_a_whole() -> None:
    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(len(ASKED))
        while not reader.at_eof():
            writer.write(b"\x02")
            await asyncio.sleep(SOON_S / 10)

    assert (await refusal(_to(drips))).code == "printer_silent"


async def _to(serve: Serve) -> None:
    async with listening(serve) as port:
        way = TcpPort("127.0.0.1", port, wait_eof=True, ask_s=SOON_S)
        await LabelPrinter(way, asks=True, turn_s=LONG_S).put(ZPL)


async def test_a_late_answer_is_not_taken_for_that_of_a_later_question() -> None:
    """A device's answers come on one wire: that of before the label says nothing of the label."""

    class Late(PaperPrinter):
        """Each question is answered with what was so at the question before."""

        before = b""

        def answer(self) -> bytes:
            late, self.before = self.before, super().answer()
            return late

    async with by_device(Late(looks=1_000_000)) as bench:
        to = bench.printer(ask_s=SOON_S, turn_s=1.5)
        assert (await refusal(to.put(ZPL))).code == "printer_silent"
        failure = await refusal(to.put(ZPL))  # the first answer of after the label is that of before it
    assert failure.code == "printer_hangs"


async def test_what_lies_in_the_wire_from_before_is_thrown_away() -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    try:
        os.write(ours, PaperStatus({"paper_out": 1}).answer())  # to another program, which did not read it
        way = DevicePort(os.ttyname(theirs), print_s=LONG_S, ask_s=SOON_S)
        asking = asyncio.create_task(LabelPrinter(way, asks=True).check())
        assert await asyncio.to_thread(os.read, ours, 100) == ASKED
        os.write(ours, READY)
        await asking
    finally:
        os.close(ours)
        os.close(theirs)


async def test_labels_in_line_behind_a_printer_that_is_not_ready_are_told_what_to_do() -> None:
    async with by_tcp(PaperPrinter()) as bench:
        bench.paper.status.flags["paper_out"] = 1
        to = bench.printer()
        failures = await asyncio.gather(*(refusal(to.put(ZPL)) for _ in range(16)))
    assert {(each.code, each.remedy) for each in failures} == {
        ("printer_not_ready", f"Load labels, {UNSENT}")
    }
    assert bench.paper.asked == [0]  # sixteen ports do not ask sixteen times


@pytest.mark.parametrize("status", [None, True])
async def test_the_configuration_asks_where_a_printer_can_answer(tmp_path: Path, status: bool | None) -> None:
    (tmp_path / "label.toml").write_bytes(template_bytes())
    paper = PaperPrinter()
    async with listening(paper.serve) as port:
        place = LabelPlace(template=tmp_path / "label.toml", printer=f"tcp://127.0.0.1:{port}", status=status)
        await open_labels(place).put(LABEL)
        assert paper.asked == [0, 1, 1]
        await open_labels(place.model_copy(update={"status": False})).put(LABEL)
    assert paper.asked == [0, 1, 1]
    assert len(paper.received) == 2


@pytest.mark.parametrize("printer", ["\\\\server\\printer", "pipe"])
async def test_what_cannot_answer_is_not_asked_unless_that_is_demanded(tmp_path: Path, printer: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = printer if "\\" in printer else str(tmp_path / printer)
    open_printer(path)
    with pytest.raises(ConfigError, match=r"label\.status") as refused:
        open_printer(path, status=True)
    assert "status = false" in refused.value.remedy


async def test_a_pipe_gets_its_label_unasked(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with closing(os.fdopen(os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK), "rb")) as reader:
        await open_printer(str(tmp_path / "pipe")).put(ZPL)
        assert reader.read() == ZPL
