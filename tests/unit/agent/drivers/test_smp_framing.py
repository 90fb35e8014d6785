from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smp import packet

from agent.adapters.drivers.smp_framing import MAX_LINE, MAX_MESSAGE, FrameReader

MESSAGE = bytes(range(256))


def wire(message: bytes = MESSAGE) -> bytes:
    return b"".join(packet.encode(message, 128))


def test_a_message_comes_back_as_upstream_encoded_it() -> None:
    assert FrameReader().feed(wire()) == [MESSAGE]


@given(st.binary(min_size=1, max_size=MAX_MESSAGE), st.integers(1, 300))
def test_any_message_in_pieces_of_any_size(message: bytes, size: int) -> None:
    reader, data = FrameReader(), wire(message)
    found = [one for at in range(0, len(data), size) for one in reader.feed(data[at : at + size])]
    assert found == [message]


@given(st.lists(st.binary(max_size=400)))
def test_no_bytes_raise_and_memory_is_bounded(parts: list[bytes]) -> None:
    reader = FrameReader()
    for part in parts:
        assert all(len(message) <= MAX_MESSAGE for message in reader.feed(part))
        assert len(reader._line) <= MAX_LINE
        assert reader._body is None or len(reader._body) <= MAX_MESSAGE + 4


def test_log_lines_between_lines_are_dropped() -> None:
    lines = wire().splitlines(keepends=True)
    assert FrameReader().feed(b"*** boot ***\r\n" + b"[00:01] <inf> x\n".join(lines)) == [MESSAGE]


def test_a_log_without_its_newline_before_a_line_is_dropped() -> None:
    assert FrameReader().feed(b"uart \xff\x06 \x04 " + wire()) == [MESSAGE]


def test_a_message_that_was_cut_does_not_take_the_next_one_along() -> None:
    assert FrameReader().feed(wire()[:100] + wire()) == [MESSAGE]


def test_a_carriage_return_before_the_newline_is_dropped() -> None:
    assert FrameReader().feed(wire().replace(b"\n", b"\r\n")) == [MESSAGE]


@pytest.mark.parametrize("size", [MAX_MESSAGE, MAX_MESSAGE + 1])
def test_the_largest_message_is_bounded(size: int) -> None:
    found = FrameReader().feed(wire(bytes(size)))
    assert found == ([bytes(size)] if size == MAX_MESSAGE else [])


def test_a_damaged_message_is_dropped_and_the_next_one_is_not() -> None:
    data = wire()
    damaged = data[:10] + (b"A" if data[10:11] != b"A" else b"B") + data[11:]
    assert FrameReader().feed(damaged + data) == [MESSAGE]


def test_a_line_without_end_is_dropped() -> None:
    assert FrameReader().feed(b"x" * 100_000 + b"\n" + wire()) == [MESSAGE]


def test_a_message_longer_than_it_says_is_dropped() -> None:
    lines = wire().splitlines(keepends=True)
    assert FrameReader().feed(lines[0] + lines[1] + lines[1] + lines[2]) == []


def test_reset_forgets_half_a_message() -> None:
    lines = wire().splitlines(keepends=True)
    reader = FrameReader()
    reader.feed(lines[0])
    reader.reset()
    assert reader.feed(b"".join(lines[1:])) == []
