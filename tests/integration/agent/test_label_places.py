"""Where labels go: printers that are off, hang or close early, devices, and a folder on a full disk."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import stat
import time
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from agent.adapters.labels import open_labels
from agent.adapters.labels.device import DevicePort
from agent.adapters.labels.folder import LabelFolder, file_stem
from agent.adapters.labels.printer import LabelPrinter, TcpPort, open_printer
from agent.config import LabelPlace
from agent.errors import ConfigError, LabelError
from harness.label_samples import CODE, LABEL, label, template_bytes
from harness.zpl_reader import read_zpl

SOON_S = 1.0
LONG = b"^XA" + b"0" * 8_000_000 + b"^XZ"  # more than sockets of both sides hold


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class PaperPrinter:
    """A printer that reads each connection to its end, and keeps what came."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.port = 0
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        assert self.connections == 1, "two labels at once"
        try:
            data = await reader.read()
            await asyncio.sleep(0)  # where another connection would be seen
            self.received.append(data)
        finally:
            self.connections -= 1
            writer.close()


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def _tcp(port: int, *, wait_eof: bool = True) -> LabelPrinter:
    return LabelPrinter(TcpPort("127.0.0.1", port, wait_eof=wait_eof, connect_s=SOON_S, print_s=SOON_S))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "label.toml").write_bytes(template_bytes())
    (tmp_path / "labels").mkdir()
    return tmp_path


# Printers in the network


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
            await _tcp(port).put(data)
    assert refusal.value.code == "printer_hangs"
    assert time.monotonic() - begin < 10 * SOON_S


async def test_a_printer_that_never_closes_is_said_to() -> None:
    got = asyncio.Event()

    async def never_closes(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"^XA^XZ"
        got.set()
        await asyncio.Event().wait()

    async with listening(never_closes) as port:
        with pytest.raises(LabelError):
            await _tcp(port).put(b"^XA^XZ")
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
    assert len(_files(place / "labels")) == 1


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


# Devices


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
    await open_printer(terminal[1]).check()
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


# Folders


async def test_a_label_is_left_in_every_format(place: Path) -> None:
    config = LabelPlace(
        template=place / "label.toml", folder=place / "labels", formats=("png", "svg", "pdf", "zpl")
    )
    await open_labels(config).put(LABEL)
    names = {file.name for file in (place / "labels").iterdir()}
    assert names == {f"BM-000123_hub%201%20port%203.{name}" for name in ("png", "svg", "pdf", "zpl")}
    assert {stat.S_IMODE(file.stat().st_mode) for file in (place / "labels").iterdir()} == {0o600}


async def test_the_same_label_again_takes_its_place(place: Path) -> None:
    labels = open_labels(LabelPlace(template=place / "label.toml", folder=place / "labels"))
    await labels.put(LABEL)
    (before,) = (place / "labels").iterdir()
    old = before.read_bytes()
    await labels.put(label(code="another-code"))
    (after,) = (place / "labels").iterdir()
    assert after.name == before.name
    assert after.read_bytes() != old


@pytest.mark.parametrize(
    "value",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "a/b",
        "a\\b",
        "C:x",
        "a\0b",
        "x" * 300,
        "工位",
        "~root",
        "*",
    ],
    ids=[
        "up",
        "root",
        "dots",
        "dot",
        "slash",
        "backslash",
        "drive",
        "nul",
        "long",
        "unicode",
        "tilde",
        "star",
    ],
)
@pytest.mark.parametrize("field", ["serial_number", "port"])
async def test_names_never_leave_the_folder(field: str, value: str, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    await LabelFolder(folder).put(label(**{field: value}), {"png": b"1"})
    assert _files(tmp_path) == [folder]
    (file,) = _files(folder)
    assert file.is_file()
    assert file.name.isascii()
    assert not file.name.startswith(".")
    assert len(file.name) < 255


def test_different_labels_have_different_files() -> None:
    pairs = [("a", "b_c"), ("a_b", "c"), ("a/b", "c"), ("a%2Fb", "c"), (".a", "c"), ("%2Ea", "c")]
    pairs += [("x" * 300 + tail, "c") for tail in "ab"]
    stems = [file_stem(label(serial_number=serial, port=port)) for serial, port in pairs]
    assert len(set(stems)) == len(pairs)


async def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "labels", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.write_bytes(b"untouched")
    (folder / f"{file_stem(LABEL)}.png").symlink_to(elsewhere)
    await LabelFolder(folder).put(LABEL, {"png": b"1"})
    assert elsewhere.read_bytes() == b"untouched"


def _full(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _no_room(how: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file can grow beyond 4 KiB, or none reaches the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if how == "write":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, limits[1]))
    else:
        monkeypatch.setattr(os, "fsync", _full)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("how", ["fsync", "write"])
async def test_a_full_disk(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = LabelFolder(tmp_path)
    await folder.put(LABEL, {"png": b"old"})
    with _no_room(how, monkeypatch), pytest.raises(LabelError) as refusal:
        await folder.put(LABEL, {"png": bytes(100_000)})
    assert refusal.value.code == "label_folder"
    (file,) = _files(tmp_path)
    assert file.read_bytes() == b"old"


async def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    labels = LabelFolder(folder)
    folder.rmdir()
    with pytest.raises(LabelError, match="No such file"):
        await labels.put(LABEL, {"png": b"1"})


def test_what_a_power_cut_left_is_removed(tmp_path: Path) -> None:
    old, new = tmp_path / ".unfinished-label-1", tmp_path / ".unfinished-label-2"
    for file in (old, new):
        file.write_bytes(b"secret")
    os.utime(old, (0, 0))
    LabelFolder(tmp_path)
    assert list(tmp_path.iterdir()) == [new]


# What is refused before the first board


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"folder": None}, "neither printer nor folder"),
        ({"formats": ()}, "formats is empty"),
        ({"folder": "missing"}, "does not exist"),
        ({"template": "missing.toml"}, "cannot read the label's template"),
        ({"printer": "tcp://x"}, "no printer's address"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused_at_the_start(changes: dict[str, object], says: str, place: Path) -> None:
    given: dict[str, object] = {"template": place / "label.toml", "folder": place / "labels"}
    open_labels(LabelPlace.model_validate(given))
    paths = {
        key: place / value if key != "printer" and isinstance(value, str) else value
        for key, value in changes.items()
    }
    with pytest.raises(ConfigError, match=says):
        open_labels(LabelPlace.model_validate({**given, **paths}))


@pytest.mark.parametrize("font", ["missing.ttf", "label.toml"])
def test_a_font_that_is_none(font: str, place: Path) -> None:
    (place / "label.toml").write_bytes(template_bytes(font=font))
    with pytest.raises(ConfigError, match="no font"):
        open_labels(LabelPlace(template=place / "label.toml", folder=place / "labels"))


async def test_errors_do_not_tell_the_code(place: Path) -> None:
    labels = open_labels(LabelPlace(template=place / "label.toml", folder=place / "labels"))
    (place / "labels").rmdir()
    with pytest.raises(LabelError) as refusal:
        await labels.put(LABEL)
    error: BaseException | None = refusal.value
    while error is not None:
        assert CODE not in repr(error) + str(error)
        error = error.__cause__
