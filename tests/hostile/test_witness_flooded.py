"""Somebody who has signed checkpoints of a log sends them to its witness without end."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from pathlib import Path

from auditor.adapters.witness_journal import Event, WitnessJournal
from auditor.adapters.witness_server import WitnessServer
from auditor.adapters.witness_state import WitnessState, make_witness
from birthmark.proof.checkpoint import checkpoint_text
from birthmark.proof.note import parse_vkey
from harness.store_world import SoftwareLogKey
from signerd.core.cosigning import request_body
from signerd.core.merkle import Tree, leaf_hash
from signerd.core.note import sign_note

ORIGIN = "example.com/line"
LOG = SoftwareLogKey(b"log", origin=ORIGIN)
STRANGERS = "".join(f"\u2014 x{n} {base64.b64encode(bytes(700)).decode()}\n" for n in range(8)).encode()


def tree(size: int, mark: bytes = b"") -> Tree:
    made = Tree()
    for number in range(size):
        made.append(leaf_hash(mark + bytes([number])))
    return made


def signed(of: Tree) -> bytes:
    text = checkpoint_text(ORIGIN, of.size, of.root()).encode()
    return sign_note(text, (LOG.verifier, LOG._key.sign(text)))


async def post(port: int, bodies: list[bytes]) -> Counter[bytes]:
    """One connection; the status of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found: Counter[bytes] = Counter()
    for body in bodies:
        writer.write(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        found[head[9:12]] += 1
    writer.close()
    return found


async def test_wrong_requests_and_repetitions_do_not_fill_the_journal(tmp_path: Path) -> None:
    make_witness(tmp_path / "w", "witness.example/w")
    state = WitnessState(tmp_path / "w")
    state.follow([parse_vkey(LOG.verifier.text())])
    told: list[Event] = []
    journal = WitnessJournal(told.append, lambda: 7.0)
    server = await WitnessServer(state, journal).start("127.0.0.1", 0, None)
    port = server.sockets[0].getsockname()[1]
    right, larger, forked = tree(10), tree(12), tree(10, b"other")
    try:
        assert await post(port, [request_body(0, [], signed(right))]) == {b"200": 1}
        unproven = request_body(10, [bytes(32)], signed(larger) + STRANGERS)
        fork = request_body(10, [], signed(forked) + STRANGERS)
        again = request_body(10, [], signed(right))
        statuses = await post(port, [unproven, fork, again] * 60)
        assert statuses == {b"422": 60, b"409": 60, b"200": 60}
        grown = request_body(10, larger.consistency(10, 12), signed(larger))
        assert await post(port, [grown]) == {b"200": 1}  # the twin
    finally:
        server.close()
        state.close()
    assert [(event.name, event.size) for event in told] == [
        ("cosigned", 10), ("unproven", 12), ("fork", 10), ("cosigned", 10), ("cosigned", 12),
    ]  # fmt: skip
    assert told[2].note == signed(forked).decode()  # what proves the fork, and no stranger's line
    assert sorted((event.name, event.left_out) for event in journal.rest()) == [
        ("cosigned", 59), ("fork", 59), ("unproven", 59),
    ]  # fmt: skip
