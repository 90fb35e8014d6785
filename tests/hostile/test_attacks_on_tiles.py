"""Whoever reaches the address of `birthmark-auditor serve-tiles`: odd paths, links that lead out, requests of
any look, and connections that only hold."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from auditor.adapters import tile_server
from auditor.adapters.tile_files import TileFiles
from auditor.adapters.tile_server import TileServer

FULL, PARTIAL = bytes(range(256)) * 32, bytes(range(96))
SECRET = b"outside the folder"
T = TypeVar("T")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tiles"
    for path, data in {
        "checkpoint": b"log\n3\nAAAA\n\nsigned\n",
        "succession": b"entry\nreceipt",
        "succession.rival": SECRET,
        "tile/0/000": FULL,
        "tile/0/001.p/3": PARTIAL,
        "tile/entries/x001/234": b"\0\1a",
        "tile/0/.000.1234.new": SECRET,
        "tile/0/secret": SECRET,
        "tile/0/099.p/256": SECRET,
    }.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(data)
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "000").write_bytes(SECRET)
    return made


@pytest_asyncio.fixture
async def server(folder: Path) -> AsyncIterator[TileServer]:
    files = TileFiles(folder)
    async with TileServer(files, "127.0.0.1", 0, ["mirror.example"]) as server:
        yield server
    files.close()


async def ask(server: TileServer, request: bytes) -> bytes:
    """All that is answered until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(request)
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


def get(path: str, *, method: str = "GET", host: str = "127.0.0.1", more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode("latin-1")


def status(answer: bytes) -> str:
    return answer.partition(b" ")[2][:3].decode()


async def test_the_log_is_served(server: TileServer) -> None:
    for path, data in (
        ("/tile/0/000", FULL),
        ("/tile/0/001.p/3", PARTIAL),
        ("/tile/entries/x001/234", b"\0\1a"),
    ):
        header, _, body = (await ask(server, get(path))).partition(b"\r\n\r\n")
        assert header.startswith(b"HTTP/1.1 200 OK\r\n")
        assert (body, b"immutable" in header) == (data, True)
        assert b"Content-Length: %d" % len(data) in header
        header, _, body = (await ask(server, get(path, method="HEAD"))).partition(b"\r\n\r\n")
        assert (body, b"Content-Length: %d" % len(data) in header) == (b"", True)
    header, _, body = (await ask(server, get("/checkpoint", host="mirror.example:80"))).partition(b"\r\n\r\n")
    assert (body[:4], b"no-cache" in header, b"immutable" in header) == (b"log\n", True, False)
    header, _, body = (await ask(server, get("/succession"))).partition(b"\r\n\r\n")
    assert (body, b"no-cache" in header) == (b"entry\nreceipt", True)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/tile", "/tile/", "/tile/0", "/tile/0/", "/tile/0/000/", "//tile/0/000", "/tile//0/000",
        "/../secret", "/tile/../../secret", "/tile/0/../../../secret", "/tile/0/..%2f..%2fsecret",
        "/%74ile/0/000", "/tile/0/%30%30%30", "/tile/0/000%00", "/tile/0/000?x=1", "/tile/0/000#x",
        "/tile/0/.000.1234.new", "/tile/0/secret", "/tile/0/099.p/256", "/tile/0/001.p/03", "/tile/0/001.p/0",
        "/tile/00/000", "/tile/64/000", "/tile/-1/000", "/tile/0/0000", "/tile/0/x000", "/tile/0/00\xb2",
        "/tile/entries/" + "x001/" * 20 + "000", "/checkpoint/", "/checkpoint.new", "/succession/",
        "/succession.rival", "/tile/0/000/..",
        "/tile\\0\\000", "http://127.0.0.1/tile/0/000", "*", "/" + "a" * 300,
    ],
)  # fmt: skip
async def test_no_other_path(server: TileServer, path: str) -> None:
    answer = await ask(server, get(path))
    assert status(answer) in {"400", "404"}
    assert answer.endswith(b"\r\n\r\n")
    assert SECRET not in answer


@pytest.mark.parametrize("how", ["file", "folder", "absolute", "fifo", "large", "directory"])
async def test_what_is_no_tile(server: TileServer, folder: Path, how: str) -> None:
    path = "/tile/0/002"
    target = folder / "tile/0/002"
    if how == "file":
        target.symlink_to("../../../secret")
    elif how == "absolute":
        target.symlink_to(folder.parent / "secret")
    elif how == "folder":
        (folder / "tile/1").symlink_to(folder.parent)
        path = "/tile/1/000"
    elif how == "fifo":
        os.mkfifo(target)
    elif how == "directory":
        target.mkdir()
    else:
        target.write_bytes(bytes(8193))
    answer = await ask(server, get(path))
    assert (status(answer), SECRET in answer) == ("404", False)
    if how in {"file", "absolute", "fifo", "large"}:
        target.unlink()
        target.write_bytes(FULL)
        assert (await ask(server, get(path))).endswith(FULL)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (get("/checkpoint", method="POST"), "405"),
        (get("/checkpoint", method="DELETE"), "405"),
        (get("/checkpoint", method="get"), "405"),
        (get("/checkpoint", more="Content-Length: 5\r\n"), "400"),
        (get("/checkpoint", more="Transfer-Encoding: chunked\r\n"), "400"),
        (get("/checkpoint", more="X: " + "x" * 9_000 + "\r\n"), "431"),
        (get("/checkpoint", host="evil.example"), "421"),
        (get("/checkpoint", host="127.0.0.1.evil.example"), "421"),
        (get("/checkpoint", more="Host: mirror.example\r\n"), "421"),
        (b"GET /checkpoint HTTP/1.1\r\nConnection: close\r\n\r\n", "421"),
        (b"GET /checkpoint HTTP/2.0\r\n\r\n", "400"),
        (b"GET  /checkpoint HTTP/1.1\r\n\r\n", "400"),
        (b"\x16\x03\x01\x02\0\1\0\1\xfc\x03\x03\r\n\r\n", "405"),
    ],
)
async def test_requests_of_any_look(server: TileServer, request_: bytes, expected: str) -> None:
    assert status(await ask(server, request_)) in {expected, ""}
    assert status(await ask(server, get("/checkpoint", more="Content-Length: 0\r\n"))) == "200"


async def test_many_requests_of_one_connection(server: TileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_server, "MAX_REQUESTS", 3)
    one = b"GET /tile/0/001.p/3 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = await ask(server, one * 5)
    assert answer.count(PARTIAL) == 3


async def test_connections_that_only_hold(server: TileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_server, "MAX_CONNECTIONS", 20)
    monkeypatch.setattr(tile_server, "REQUEST_S", 0.5)
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for line in idle[:10]:
        line.sendall(b"GET /checkpoint HTTP/1.1\r\nHost:")
    answers = until(lambda: ask(server, get("/checkpoint")))  # once one of them is thrown out
    assert status(await answers) == "200"
    for line in idle:
        line.setblocking(False)
        with suppress(ConnectionResetError):
            assert await asyncio.get_running_loop().sock_recv(line, 1) == b""
        line.close()


async def test_a_reader_that_takes_nothing(
    server: TileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tile_server, "ANSWER_S", 0.5)
    (folder / "tile/entries/000").write_bytes(bytes(16_000_000))
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    line.connect(("127.0.0.1", server.port))
    line.sendall(get("/tile/entries/000"))
    await until(lambda: at_once(len(server._connections) == 1))
    await until(lambda: at_once(not server._connections))
    line.close()
    monkeypatch.setattr(tile_server, "ANSWER_S", 60.0)
    assert (await ask(server, get("/tile/entries/000"))).partition(b"\r\n\r\n")[2] == bytes(16_000_000)


async def at_once(holds: bool) -> bool:
    return holds


async def until(asked: Callable[[], Awaitable[T]]) -> T:
    """What is answered first that is not nothing."""
    async with asyncio.timeout(60):
        while not (answer := await asked()):  # noqa: ASYNC110 -- no event tells it
            await asyncio.sleep(0.01)
        return answer
