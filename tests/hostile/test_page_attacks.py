"""Whoever reaches the page's address: bent names, other sites, odd requests, connections that only hold."""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.adapters.journal.schema import FILE_NAME, create
from agent.adapters.shown.live_state import LiveState
from agent.adapters.shown.page import records, server
from agent.adapters.shown.page.server import MAX_CONNECTIONS, MAX_STREAMS_PER_ADDRESS, PageServer
from agent.config import Page
from agent.core.events import BoardSeen, Finished
from agent.errors import ConfigError
from harness.factory_floor import BAD, ORDER, STEPS, busy_floor, result
from harness.process import wait_until
from harness.served_page import TIMEOUT_S, ServedPage
from harness.shift import MORNING, add_run

PATHS = (
    *("/", "/page.css", "/page.js", "/texts.js", "/icon.svg", "/api/state"),
    *("/shift", "/boards", "/boards/CHIP-1", "/records.css", "/records.js"),
    *("/api/shift", "/api/boards", "/api/boards/CHIP-1"),
)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[ServedPage]:
    journal = tmp_path / FILE_NAME
    create(journal)
    add_run(journal, ended=MORNING + timedelta(hours=2))
    with ServedPage(busy_floor(16), hosts=("line3.plant1.example",), journal=journal) as served:
        yield served


def connect(page: ServedPage) -> socket.socket:
    return socket.create_connection(("127.0.0.1", page.port), timeout=TIMEOUT_S)


def send(page: ServedPage, request: bytes) -> bytes:
    """All that is answered until the connection ends."""
    with connect(page) as line:
        line.sendall(request)
        answer = b""
        while piece := line.recv(65_536):
            answer += piece
        return answer


def ask(
    page: ServedPage,
    path: str = "/api/state",
    *,
    method: str = "GET",
    host: str | None = None,
    more: str = "",
) -> bytes:
    host = f"127.0.0.1:{page.port}" if host is None else host
    return send(page, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode())


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def stream(page: ServedPage) -> socket.socket:
    """A connection on which the first word of the station has come."""
    line = connect(page)
    line.sendall(f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
    heard = b""
    while b"data: " not in heard:
        piece = line.recv(4_096)
        assert piece, "the stream ended"
        heard += piece
    return line


def test_what_is_served_and_with_which_headers(page: ServedPage) -> None:
    for path in PATHS:
        answer = ask(page, path)
        head = answer.partition(b"\r\n\r\n")[0].decode()
        assert status(answer) == 200
        assert "default-src 'none'" in head
        assert "unsafe" not in head
        assert "X-Content-Type-Options: nosniff" in head
        assert "Access-Control" not in head
        assert "Python" not in head
    assert b"http" not in ask(page, "/").partition(b"\r\n\r\n")[2]  # nothing of others is loaded


@pytest.mark.parametrize(
    "host", ["line3.plant1.example", "LINE3.plant1.example:8480", "localhost", "127.0.0.1", "[::1]:80"]
)
def test_names_that_are_meant(page: ServedPage, host: str) -> None:
    assert status(ask(page, host=host)) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "line3.plant1.example.evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.1",
        "[::2]",
        "localhost.",
        "",
        "a b",
        "127.0.0.1:80:80",
        "2130706433",
        "line3.plant1.example\x00",
    ],
)
def test_a_name_that_was_bent_to_this_address_gets_nothing(page: ServedPage, host: str) -> None:
    for path in (*PATHS, "/api/events", "/api/boards?q=SN-1"):
        answer = ask(page, path, host=host)
        assert status(answer) in {400, 421}, path
        assert not any(secret in answer for secret in (ORDER.encode(), b"CHIP-1", b"SN-1", b"yield")), path


def test_two_names_or_none_get_nothing(page: ServedPage) -> None:
    assert status(ask(page, more="Host: evil.example\r\n")) in {400, 421}
    assert status(send(page, b"GET /api/state HTTP/1.1\r\nConnection: close\r\n\r\n")) in {400, 421}
    assert status(send(page, b"GET /api/state HTTP/1.0\r\n\r\n")) in {400, 421}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_others_get_no_state(page: ServedPage, site: str) -> None:
    for path in (*(path for path in PATHS if path.startswith("/api/")), "/api/events"):
        assert status(ask(page, path, more=f"Sec-Fetch-Site: {site}\r\n")) == 403
    assert status(ask(page, "/", more=f"Sec-Fetch-Site: {site}\r\n")) == 200  # a link may lead here


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
def test_nothing_but_get(page: ServedPage, method: str) -> None:
    for path in (*PATHS, "/api/events"):
        assert status(ask(page, path, method=method)) == 405


@pytest.mark.parametrize(
    "path",
    [
        "/../page/server.py",
        "/%2e%2e/server.py",
        "/..%2f..%2fconfig.py",
        "/server.py",
        "/index.html",
        "//etc/passwd",
        "/page.js/../server.py",
        "/api/",
        "/api/state/",
        "/page.css%00.py",
        "/~",
        "/live.json",
        "/journal.sqlite",
        "/boards/../../journal.sqlite",
        "/boards/CHIP-1/more",
        "/api/boards/..%2f..%2fjournal.sqlite",
        "/api/boards/%00",
        "/api/boards/' OR 1=1 --",
        "/api/boards/%",
        "/api/boards/" + "9" * 400,
        "/api/boards/" + "9" * 18,
        "/api/boards/%ED%A0%80",
    ],
)
def test_no_path_leads_out(page: ServedPage, path: str) -> None:
    assert status(ask(page, path)) in {400, 404}


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00" * 5_000 + b"\r\n\r\n",
    ],
    ids=["line", "header", "headers", "tls", "smuggled", "version", "method", "zeros"],
)
def test_odd_requests_are_refused_and_the_page_goes_on(
    page: ServedPage, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        answer = send(page, request_)
    except (ConnectionResetError, BrokenPipeError):
        answer = b""  # cut off in the middle
    assert answer == b"" or status(answer) == 400
    assert status(ask(page)) == 200
    assert caplog.records == []  # else a stranger would push out of the log what happened to boards


@pytest.mark.parametrize(
    ("query", "found"),
    [("chip", 1), ("sn-1", 1), ("%25", 0), ("_", 0), ("'+OR+1=1+--", 0), ("%ff%fe", 0), ("a" * 129, None)],
)
def test_what_is_searched_for_is_text(page: ServedPage, query: str, found: int | None) -> None:
    answer = ask(page, f"/api/boards?q={query}")
    if found is None:
        assert status(answer) == 400
    else:
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["boards"]) == found


def test_a_board_is_found_by_each_of_its_names(page: ServedPage) -> None:
    for key in ("CHIP-1", "chip-1", "SN-1", "1"):
        (run,) = json.loads(ask(page, f"/api/boards/{key}").partition(b"\r\n\r\n")[2])["runs"]
        assert (run["run"], run["chip_id"]) == (1, "CHIP-1")


def test_a_journal_that_is_gone_is_said_and_the_tiles_go_on(page: ServedPage) -> None:
    assert page.journal is not None
    page.journal.rename(page.journal.with_name("away"))
    for path in ("/api/shift", "/api/boards", "/api/boards/CHIP-1"):
        answer = ask(page, path)
        assert status(answer) == 503
        assert str(page.journal).encode() not in answer
    assert status(ask(page)) == 200
    page.journal.with_name("away").rename(page.journal)
    assert status(ask(page, "/api/shift")) == 200


def test_nothing_is_written_and_no_writer_waits(page: ServedPage) -> None:
    assert page.journal is not None
    before = page.journal.read_bytes()
    for path in PATHS:
        ask(page, path)
    assert page.journal.read_bytes() == before


def test_too_many_questions_are_refused_and_the_tiles_go_on(
    page: ServedPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = threading.Event()
    monkeypatch.setattr(records, "find_boards", lambda _path, _text: blocked.wait(TIMEOUT_S) and [])
    with ExitStack() as stack:
        asking = [stack.enter_context(connect(page)) for _ in range(records.MAX_WAITING)]
        for line in asking:
            line.sendall(f"GET /api/boards HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
        wait_until(lambda: status(ask(page, "/api/boards?q=x")) == 503, "the bound")
        assert status(ask(page)) == 200
        blocked.set()
        assert all(status(line.recv(65_536)) == 200 for line in asking)


@pytest.mark.check
def test_500_idle_connections_lock_nobody_out(page: ServedPage) -> None:
    with ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(connect(page))
        assert status(ask(page)) == 200
        stack.enter_context(stream(page))
        idle = [stack.enter_context(connect(page)) for _ in range(2 * MAX_CONNECTIONS)]
        assert status(ask(page)) == 200
        wait_until(lambda: sum(_ended(line) for line in idle) >= MAX_CONNECTIONS - 20, "idle ones to go")


def _ended(line: socket.socket) -> bool:
    line.setblocking(False)
    try:
        return line.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_who_asks_or_connects_without_end_is_given_so_much_a_second(
    page: ServedPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "AT_ONCE", 4)
    monkeypatch.setattr(server, "PER_SECOND", 10)
    with ServedPage(page.live) as slow:
        host = f"127.0.0.1:{slow.port}"
        request = f"GET /icon.svg HTTP/1.1\r\nHost: {host}\r\n".encode()
        began_s = time.monotonic()
        answers = send(slow, (request + b"\r\n") * 14 + request + b"Connection: close\r\n\r\n")
        assert answers.count(b"HTTP/1.1 200 OK") == 15
        assert time.monotonic() - began_s >= 1.0  # four at once, ten a second
        began_s = time.monotonic()
        for _ in range(18):
            send(slow, b"no HTTP\r\n\r\n")  # no request is counted
        assert time.monotonic() - began_s >= 1.0


def test_a_pc_without_descriptors_lets_nobody_in_says_so_once_and_goes_on(
    page: ServedPage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "_NO_MORE_S", 0.05)
    softly, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as line, ExitStack() as stack:
        line.settimeout(TIMEOUT_S)
        resource.setrlimit(resource.RLIMIT_NOFILE, (line.fileno() + 20, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (softly, hard))
        with suppress(OSError):
            while True:
                stack.enter_context(Path(os.devnull).open("rb"))
        line.connect(("127.0.0.1", page.port))
        wait_until(lambda: bool(caplog.records), "the warning")
        time.sleep(0.5)  # it tries ten times more
        stack.close()
        line.sendall(f"GET /api/state HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
        assert status(line.recv(65_536)) == 200
    (record,) = caplog.records
    assert record.getMessage() == "The page lets nobody in for now: Too many open files"


def test_a_connection_that_never_ends_its_request_is_closed(
    page: ServedPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 1)
    with ServedPage(page.live) as quick, connect(quick) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert line.recv(1) == b""


def test_the_newest_streams_of_an_address_are_served_and_the_oldest_go(page: ServedPage) -> None:
    with ExitStack() as stack:
        lines = [stack.enter_context(stream(page)) for _ in range(MAX_STREAMS_PER_ADDRESS + 2)]
        for line in lines[:2]:
            while line.recv(65_536):
                pass  # its end
        heard = b""
        while b"data: " not in heard:  # the newest hears the next word
            heard += lines[-1].recv(65_536)


def test_a_slow_reader_is_dropped_and_holds_nothing_up(
    page: ServedPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "READ_S", 1.0)
    monkeypatch.setattr(server, "_LOOK_S", 0.001)
    live = page.live
    with stream(page) as slow, stream(page) as quick:
        stop = threading.Event()

        def chatter() -> None:
            while not stop.wait(0.001):
                live.notice("x" * 200)

        thread = threading.Thread(target=chatter)
        thread.start()
        taken = 0
        try:
            slow.settimeout(TIMEOUT_S)
            while not _dropped(page):
                taken += len(quick.recv(1 << 20))
        finally:
            stop.set()
            thread.join()
        assert taken > 0
        assert b"data: " in quick.recv(1 << 20)
    assert status(ask(page)) == 200


def _dropped(page: ServedPage) -> bool:
    """True when one of two streams has gone: the one that is not read."""
    return len(page.server._streams) == 1


def test_texts_of_boards_are_json_and_leave_no_line_of_the_stream() -> None:
    evil = 'a\n\ndata: {"ports": []}\r\n\r\nevent: x\x00\u2028</script>\ud800'
    live = LiveState(ORDER, STEPS)
    live(BoardSeen("1", evil))
    live(Finished(replace(result("1", 1, BAD), chip_id=evil, serial_number=evil, remedy=evil, code=evil)))
    with ServedPage(live) as served:
        body = ask(served).partition(b"\r\n\r\n")[2]
        (port,) = json.loads(body)["ports"]
        assert (port["chip_id"], port["remedy"]) == (evil, evil)
        assert b"\n" not in body
        assert body.isascii()


async def test_a_taken_port_is_said_before_the_first_board(page: ServedPage) -> None:
    with pytest.raises(
        ConfigError, match=f"cannot listen on 127.0.0.1:{page.port}: Address already in use"
    ) as error:
        async with PageServer(Page(listen=f"127.0.0.1:{page.port}"), page.live):
            pass
    assert "page.listen" in error.value.remedy


@pytest.mark.parametrize("listen", ["no-such-host.invalid:8480", "192.0.2.1:8480"])
async def test_an_address_that_is_not_this_pc_s_is_said(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"page\.listen"):
        async with PageServer(Page(listen=listen), LiveState(ORDER, STEPS)):
            pass


async def test_on_every_address_only_the_one_that_was_asked_is_a_name() -> None:
    page = ServedPage(LiveState(ORDER, STEPS))
    page.page = Page(listen=f"0.0.0.0:{page.port}")
    with page:
        assert status(ask(page, host="127.0.0.1")) == 200
        assert status(ask(page, host="127.0.0.2")) == 421
        assert status(ask(page, host="0.0.0.0")) == 421  # some systems lead it here


def test_over_ipv6() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    page = ServedPage(LiveState(ORDER, STEPS))
    page.page = Page(listen=f"[::1]:{page.port}")
    with page, socket.create_connection(("::1", page.port), timeout=TIMEOUT_S) as line:
        line.sendall(f"GET / HTTP/1.1\r\nHost: [::1]:{page.port}\r\n\r\n".encode())
        assert status(line.recv(65_536)) == 200


def unread(page: ServedPage, path: str) -> socket.socket:
    """A connection that asks, over and over, and reads nothing."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    line.settimeout(TIMEOUT_S)
    line.connect(("127.0.0.1", page.port))
    line.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode() * 20)
    return line


@pytest.mark.parametrize("path", ["/api/boards", "/api/boards/CHIP-1", "/api/shift", "/records.js"])
def test_who_never_reads_keeps_no_place_and_does_not_hold_up_the_end(page: ServedPage, path: str) -> None:
    assert page.journal is not None
    for number in range(100):
        add_run(page.journal, ended=MORNING + timedelta(minutes=number), detail="x" * 200)
    with ExitStack() as stack:
        for _ in range(3 * MAX_CONNECTIONS):
            stack.enter_context(unread(page, path))
        runner = page.server._runner
        assert runner is not None
        assert runner.server is not None
        there = runner.server  # those too that aiohttp has closed, and that have not read all
        wait_until(
            lambda: status(ask(page)) == 200 and len(there.connections) <= MAX_CONNECTIONS,
            "those that do not read to go",
        )
        page.__exit__(None, None, None)  # it has 30 s, and these would read for ever
        page.__enter__()


def test_the_page_s_files_load_nothing_and_make_no_markup_of_texts() -> None:
    folder = Path(server.__file__).parent
    script = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.js"))
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert word not in script
    for path in folder.glob("*.html"):
        assert " style=" not in path.read_text(encoding="utf-8")
    for path in folder.glob("*.css"):
        assert "url(" not in path.read_text(encoding="utf-8")
