"""Witnesses beside a real store: cosignatures in receipts, and witnesses that are down, slow or wrong, or say
that the log was put back."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from birthmark.proof import open_checkpoint, parse_vkey, require_cosignatures
from harness.paper_witness import SIZE, Answered, PaperWitness, Shown
from harness.store_world import ORIGIN, World, intent, issue, stock, with_terms
from signerd.adapters import witness_line, witnesses
from signerd.adapters.head_file import HeadFile
from signerd.adapters.store import SqlStore, write_tiles_anew
from signerd.adapters.tiles import TilePublisher, TilesFolder
from signerd.adapters.witness_line import WitnessLine
from signerd.adapters.witnesses import Witnesses
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.cosigning import MAX_ANSWER, parse_witness_key, read_answer
from signerd.errors import Unavailable


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.create()
    return made


@pytest.fixture
def paper() -> Iterator[PaperWitness]:
    with PaperWitness() as witness:
        yield witness


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = TilePublisher.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "every_s", 0.01)
    monkeypatch.setattr(witnesses, "PACE_S", 0.01)
    monkeypatch.setattr(witnesses, "_FIRST_RETRY_S", 0.02)
    monkeypatch.setattr(witnesses, "_LAST_RETRY_S", 0.05)
    monkeypatch.setattr(witnesses, "_LAST_RETRY_REQUIRED_S", 0.05)


@asynccontextmanager
async def opened(world: World, *papers: PaperWitness, required: int = 0) -> AsyncIterator[SqlStore]:
    lines = [(parse_witness_key(each.vkey), each.url, WitnessLine(each.url, None)) for each in papers]
    made = Witnesses(lines, required)
    world.witnesses = made
    store = await world.open()
    try:
        yield store
    finally:
        await store.close()


async def grow(store: SqlStore, *chips: str) -> bytes:
    """Boards of these chips; the last receipt."""
    receipt = b""
    for chip in chips:
        record = await issue(store, intent(chip))
        assert record.issued_index is not None
        receipt = (await store.published(record.issued_index)).receipt
    return receipt


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- it is another task's, or a thread's
            await asyncio.sleep(0.01)


def published(world: World) -> bytes:
    """The checkpoint beside the tiles; nothing as long as there is none (the tiles follow the store)."""
    file = world.tiles / "checkpoint"
    return file.read_bytes() if file.exists() else b""


def cosigned_by(note: bytes, paper: PaperWitness) -> bool:
    """Whether the note, or a receipt's end, has this witness's cosignature."""
    text, _, lines = note.rpartition(b"\n\n")
    text = text.rpartition(b"\n\n")[2] + b"\n"
    return bool(read_answer(200, "", lines, text=text, key=parse_witness_key(paper.vkey)).line)


async def test_receipts_have_the_cosignatures_that_are_demanded(world: World, paper: PaperWitness) -> None:
    with PaperWitness("witness.example/second") as second:
        async with opened(world, paper, second, required=2) as store:
            await stock(store, with_terms())
            receipt = await grow(store, "chip-1", "chip-2", "chip-3")
            assert cosigned_by(receipt, paper)
            assert cosigned_by(receipt, second)
            assert cosigned_by(store.checkpoint(), paper)
            assert [state.cosigned for state in world.witness_states] == [store.published_size] * 2
    # From nothing, then always from the size before: the proofs are as short as they can be.
    assert [shown.old for shown in paper.requests][:2] == [0, paper.requests[0].size]
    assert not paper.requests[0].proof


async def test_where_none_is_demanded_they_come_beside(world: World, paper: PaperWitness) -> None:
    async with opened(world, paper) as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
        await until(lambda: cosigned_by(store.checkpoint(), paper))
        again = await store.published(store.published_size - 1)
        assert cosigned_by(again.receipt, paper)


async def test_a_cosignature_that_comes_late_is_in_the_tiles_checkpoint(
    world: World, paper: PaperWitness
) -> None:
    with PaperWitness("witness.example/late") as late:
        late.wrong = lambda _shown: (503, {}, b"")
        async with opened(world, paper, late) as store:
            await stock(store, with_terms())
            await grow(store, "chip-1")
            await until(lambda: cosigned_by(store.checkpoint(), paper))
            await until(lambda: published(world) == store.checkpoint())
            assert not cosigned_by(published(world), late)
            size, requests = store.published_size, len(paper.requests)
            late.wrong = None
            await until(lambda: cosigned_by(published(world), late))
            assert cosigned_by(published(world), paper)
            assert (store.published_size, len(paper.requests)) == (size, requests)  # no newer tree was needed
            assert published(world) == store.checkpoint()


async def test_a_crash_before_a_late_cosignature_is_in_the_tiles_checkpoint_loses_it_until_the_next_start(
    world: World, paper: PaperWitness
) -> None:
    async with opened(world, paper) as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
        await until(lambda: cosigned_by(published(world), paper))
    bare = world.head_file.read_bytes()
    (world.tiles / "checkpoint").write_bytes(bare)  # as the crash leaves it
    paper.wrong = lambda _shown: (503, {}, b"")
    async with opened(world, paper):
        assert published(world) == bare
        paper.wrong = None
        await until(lambda: cosigned_by(published(world), paper))


async def test_a_witness_that_is_down_holds_up_nobody_who_does_not_demand_it(
    world: World, paper: PaperWitness
) -> None:
    paper.wrong = lambda _shown: None  # hangs up
    async with opened(world, paper) as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
        (state,) = world.witness_states
        await until(lambda: bool(state.trouble))
        assert not state.alarm
        assert store.fault is None
        paper.wrong = None
        await until(lambda: state.cosigned == store.published_size)
        assert state.trouble == ""


async def test_one_of_two_is_enough_where_one_is_demanded(world: World, paper: PaperWitness) -> None:
    with PaperWitness("witness.example/down") as down:
        down.wrong = lambda _shown: (500, {}, b"")
        async with opened(world, down, paper, required=1) as store:
            await stock(store, with_terms())
            receipt = await grow(store, "chip-1")
            assert cosigned_by(receipt, paper)
            assert not cosigned_by(receipt, down)


async def test_nothing_is_published_before_as_many_have_cosigned(
    world: World, paper: PaperWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(world, paper, required=1) as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
        monkeypatch.setattr(witnesses, "REQUIRED_S", 0.1)
        size = store.published_size
        paper.wrong = lambda _shown: (503, {}, b"")
        record = await issue(store, intent("chip-2"))
        assert record.issued_index is not None
        with pytest.raises(Unavailable, match="0 of 1 witnesses have cosigned"):
            await store.published(record.issued_index)
        assert store.published_size == size
        assert store.fault is not None
        paper.wrong = None
        await until(lambda: store.published_size > size)
        assert cosigned_by((await store.published(record.issued_index)).receipt, paper)
        assert store.fault is None


async def test_a_start_publishes_nothing_that_was_not_cosigned(
    world: World, paper: PaperWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint stands in the second place, its witness says nothing, and signerd starts anew."""
    monkeypatch.setattr(witnesses, "REQUIRED_S", 0.2)
    async with opened(world, paper, required=1) as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
        paper.wrong = lambda _shown: None
        record = await issue(store, intent("chip-2"))
        assert record.issued_index is not None
        with pytest.raises(Unavailable, match="0 of 1 witnesses"):
            await store.published(record.issued_index)
    folder_had = (world.tiles / "checkpoint").read_bytes()
    second_place, signed = world.head_file.read_bytes(), len(world.log_key.signed)
    assert world.log_key.signed[-1] in second_place
    async with opened(world, paper, required=1) as store:
        assert store.published_size == 0
        with pytest.raises(Unavailable):
            store.checkpoint()
        for index in (0, record.issued_index):
            with pytest.raises(Unavailable, match="0 of 1 witnesses"):
                await store.published(index)
        assert (world.tiles / "checkpoint").read_bytes() == folder_had
        later = await issue(store, intent("chip-3"))  # entered as before the start, and not published
        paper.wrong = None
        assert later.issued_index is not None
        await until(lambda: store.published_size > (later.issued_index or 0))
        for index in (record.issued_index, later.issued_index):
            assert cosigned_by((await store.published(index)).receipt, paper)
    assert cosigned_by((world.tiles / "checkpoint").read_bytes(), paper)
    assert len(world.log_key.signed) == signed + 1  # what was signed is not signed again


async def test_a_folder_of_tiles_gets_no_checkpoint_at_a_start_before_it_is_cosigned(
    world: World, paper: PaperWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all its files are written anew, and by `signerd ledger publish`."""
    monkeypatch.setattr(witnesses, "REQUIRED_S", 0.2)
    async with opened(world, paper, required=1) as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
    shutil.rmtree(world.tiles)
    place = HeadFile(world.head_file, LogKeys.first(world.log_key.verifier))
    try:
        assert write_tiles_anew(world.url, TilesFolder(world.tiles), place, cosigned=True).written > 0
    finally:
        place.close()
    assert not (world.tiles / "checkpoint").exists()
    shutil.rmtree(world.tiles)
    paper.wrong = lambda _shown: None
    async with opened(world, paper, required=1):
        assert (world.tiles / "tile").is_dir()
        assert not (world.tiles / "checkpoint").exists()
    paper.wrong = None
    async with opened(world, paper, required=1) as store:
        await until((world.tiles / "checkpoint").exists)
        assert store.published_size > 0
    assert cosigned_by((world.tiles / "checkpoint").read_bytes(), paper)


async def test_a_start_that_demands_none_publishes_at_once(world: World, paper: PaperWitness) -> None:
    async with opened(world, paper, required=1) as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
        size = store.published_size
    paper.wrong = lambda _shown: None
    async with opened(world, paper) as store:
        assert store.published_size == size


async def test_a_start_asks_for_the_last_checkpoint_again(world: World, paper: PaperWitness) -> None:
    async with opened(world) as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
    async with opened(world, paper) as store:
        await until(lambda: cosigned_by(store.checkpoint(), paper))


@pytest.mark.check
async def test_one_witness_cosigns_a_checkpoint_once(
    world: World, paper: PaperWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint is shown again where another witness is late. Two cosignatures of one, of two times, are
    no note that a reader takes (`birthmark.proof`), and would stop the line."""
    monkeypatch.setattr(witnesses, "REQUIRED_S", 0.2)
    answered = 0

    def slowly(shown: Shown) -> Answered:
        nonlocal answered
        answered += 1
        time.sleep(0.3 if answered > 1 else 0)
        paper.time += 1
        return paper.answer(shown)

    with PaperWitness("witness.example/late") as late:
        async with opened(world, paper, late, required=2) as store:
            await stock(store, with_terms())
            await grow(store, "chip-1")
            late.wrong, paper.wrong = (lambda _shown: (503, {}, b"")), slowly
            asked = len(paper.requests)
            with suppress(Unavailable):
                await grow(store, "chip-2")
            late.wrong = None
            await until(lambda: cosigned_by(store.checkpoint(), late) and len(paper.requests) >= asked + 2)
            await asyncio.sleep(0.5)
            note = store.checkpoint()
    keys = [parse_vkey(each.vkey) for each in (paper, late)]
    log = parse_vkey(world.log_key.verifier.text())
    assert len(require_cosignatures(open_checkpoint(note, [log]), keys, at_least=2)) == 2


async def test_a_witness_that_went_back_is_an_alarm(world: World, paper: PaperWitness) -> None:
    """Its folder was restored from a backup, or copied: it may cosign a second history."""
    async with opened(world, paper) as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
        await until(lambda: paper.seen == store.published_size)
        paper.seen = 3
        with capture_logs() as logs:
            await grow(store, "chip-2")
            await until(lambda: paper.seen == store.published_size)
        (said,) = [line["detail"] for line in logs if line["event"] == "witness_alarm"]
        assert "had cosigned" in said
        assert "3 entries" in said


async def test_a_log_that_was_put_back_is_an_alarm(world: World, paper: PaperWitness) -> None:
    """The witness saw more, and says so."""
    async with opened(world, paper, required=1) as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
    backup = world.database.with_name("backup")
    shutil.copy(world.database, backup)
    shutil.copy(world.head_file, backup.with_suffix(".head"))
    async with opened(world, paper, required=1) as store:
        await grow(store, "chip-2")
    world.restore(backup)
    shutil.copy(backup.with_suffix(".head"), world.head_file)
    shutil.rmtree(world.tiles)  # they went back too, as in a snapshot of the machine
    with capture_logs() as logs:
        async with opened(world, paper) as store:
            (state,) = world.witness_states
            await until(lambda: state.alarm)
            assert "it saw a tree of" in state.trouble
            await grow(store, "chip-3", "chip-4")  # the line goes on
    assert "witness_alarm" in [line["event"] for line in logs]


WRONG: dict[str, tuple[Callable[[Shown], Answered | None], bool]] = {
    "no consistency": (lambda _shown: (422, {}, b""), True),
    "another tree of this size": (lambda _shown: (409, {}, b""), True),
    "a larger one": (lambda shown: (409, SIZE, f"{shown.size + 9}\n".encode()), True),
    "another size each time": (lambda shown: (409, SIZE, f"{(shown.old + 1) % 2}\n".encode()), False),
    "an unknown log": (lambda _shown: (404, {}, b""), False),
    "another key": (lambda _shown: (403, {}, b""), False),
    "a redirect": (lambda _shown: (307, {"Location": "http://127.0.0.1:9/"}, b""), False),
    "no cosignature": (lambda _shown: (200, {}, b"hello\n"), False),
    "an endless answer": (lambda _shown: (200, {}, b"x" * (4 * MAX_ANSWER)), False),
    "too many requests": (lambda _shown: (429, {}, b""), False),
    "nothing": (lambda _shown: None, False),
}


@pytest.mark.parametrize("name", WRONG)
async def test_witnesses_that_answer_wrongly(world: World, paper: PaperWitness, name: str) -> None:
    paper.wrong, alarm = WRONG[name]
    async with opened(world, paper) as store:
        await stock(store, with_terms())
        await grow(store, "chip-1")
        (state,) = world.witness_states
        await until(lambda: bool(state.trouble))
        assert state.alarm is alarm
        assert not cosigned_by(store.checkpoint(), paper)
        paper.wrong = None  # and its honest twin
        await until(lambda: cosigned_by(store.checkpoint(), paper))
        assert (state.trouble, state.alarm) == ("", False)


@contextmanager
def dripping() -> Iterator[str]:
    """A server that takes what it is sent, and answers a byte each 50 ms for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        line, _ = listener.accept()
        with line:
            line.recv(65_536)
            try:
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
                while not ended.wait(0.05):
                    line.sendall(b"x")
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        thread.join()
        listener.close()


async def test_an_answer_that_drips_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness_line, "DEADLINE_S", 0.5)
    with dripping() as url:
        line = WitnessLine(url, None)
        with pytest.raises(witness_line.WitnessDown, match="no answer in"):
            await asyncio.wait_for(line.post(b"old 0\n\n"), 20)
        line.close()


@contextmanager
def dripping_later(connections: list[socket.socket]) -> Iterator[str]:
    """As `dripping`, on every connection, after one answer that keeps the first."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        line = listener.accept()[0]
        connections.append(line)
        line.recv(65_536)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        while not ended.is_set():
            try:
                line.recv(65_536)
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
                while not ended.wait(0.05):
                    line.sendall(b"x")
            except OSError:  # it was cut
                line = listener.accept()[0]
                connections.append(line)

    thread = threading.Thread(target=serve)
    thread.start()
    address = listener.getsockname()
    try:
        yield f"http://127.0.0.1:{address[1]}"
    finally:
        ended.set()
        socket.create_connection(address).close()  # wakes it
        thread.join()
        for each in (listener, *connections):
            each.close()


async def test_a_request_cut_at_the_deadline_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a kept connection: one that has ended is made anew, one that was cut is not."""
    monkeypatch.setattr(witness_line, "DEADLINE_S", 0.5)
    connections: list[socket.socket] = []
    with dripping_later(connections) as url:
        line = WitnessLine(url, None)
        assert (await line.post(b"old 0\n\n"))[2] == b"ok"
        with pytest.raises(witness_line.WitnessDown, match="no answer in"):
            await asyncio.wait_for(line.post(b"old 0\n\n"), 5)
        assert len(connections) == 1
        line.close()


async def test_closing_does_not_wait_for_a_witness() -> None:
    with dripping() as url:
        line = WitnessLine(url, None)
        asked = asyncio.create_task(line.post(b"old 0\n\n"))
        await until(lambda: line._connection is not None and line._connection.sock is not None)
        line.close()
        with suppress(witness_line.WitnessDown):  # or a part of the answer
            await asyncio.wait_for(asked, witness_line.DEADLINE_S / 2)


async def test_a_connection_that_ended_meanwhile_is_made_anew(paper: PaperWitness) -> None:
    line = WitnessLine(paper.url, None)
    body = b"old 0\n\n" + f"{ORIGIN}\n1\nAAAA\n\n".encode()
    assert (await line.post(body))[0] == 200
    assert line._connection is not None
    assert line._connection.sock is not None
    line._connection.sock.shutdown(socket.SHUT_RDWR)
    assert (await line.post(body))[0] == 409
    line.close()
