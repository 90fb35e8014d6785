"""What is done beside a slow token: in order, without loss, and with errors where they are answered for."""

from __future__ import annotations

import threading
from functools import partial
from queue import SimpleQueue

import pytest

from signerd.adapters.keyholder.lookahead import Lookahead, Outbox

WAIT_S = 60.0


def test_requests_come_in_their_order_before_and_after_another_thread_reads() -> None:
    asked = iter([*range(500), None])
    requests = Lookahead(lambda: next(asked))
    found = [requests.next() for _ in range(3)]
    requests.start()
    requests.start()
    while (item := requests.next()) is not None:
        found.append(item)
    assert found == list(range(500))


def test_the_next_request_is_read_while_the_one_before_is_at_work() -> None:
    read: SimpleQueue[int] = SimpleQueue()
    asked = iter(range(10))

    def take() -> int | None:
        item = next(asked, None)
        if item is not None:
            read.put(item)
        return item

    requests = Lookahead(take)
    requests.start()
    assert requests.next() == 0
    assert [read.get(timeout=WAIT_S) for _ in range(10)] == list(range(10))  # nobody asked for the second


def test_what_reading_raises_is_raised_where_requests_are_taken() -> None:
    def take() -> int | None:
        raise ValueError("no request")

    requests = Lookahead(take)
    requests.start()
    with pytest.raises(ValueError, match="no request"):
        requests.next()


def test_answers_go_out_in_their_order_and_all_of_them() -> None:
    sent: list[bytes] = []
    outbox = Outbox(sent.append)
    outbox.close()  # nothing to wait for
    assert not outbox.started
    outbox.start()
    for number in range(200):
        outbox.put(partial(number.to_bytes, 2, "big"))
    outbox.close()
    assert b"".join(sent) == b"".join(number.to_bytes(2, "big") for number in range(200))


def test_answers_are_made_and_sent_by_another_thread() -> None:
    threads: set[int] = set()

    def frame() -> bytes:
        threads.add(threading.get_ident())
        return b"frame"

    outbox = Outbox(lambda _data: threads.add(threading.get_ident()))
    outbox.start()
    outbox.put(frame)
    outbox.close()
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_where_nobody_reads_any_more_closing_waits_for_nobody() -> None:
    def send(_data: bytes) -> None:
        raise BrokenPipeError

    outbox = Outbox(send)
    outbox.start()
    outbox.put(lambda: b"frame")
    outbox.close()
    outbox.put(lambda: b"frame")
    outbox.close()
