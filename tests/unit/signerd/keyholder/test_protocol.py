"""Frames between signerd and its key holder: whole or refused, whatever the bytes."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.adapters.keyholder.protocol import (
    MAX_FRAME,
    FrameReader,
    Mode,
    Outcome,
    ProtocolError,
    Setup,
    frame,
    read_answer,
    read_greeting,
    read_request,
    read_setup,
    setup_frame,
)

SETUP = Setup(
    mode=Mode.SERVE.value,
    module="/lib/module.so",
    token="t",
    ca_key="ca",
    checkpoint_key="cp",
    master_key="m",
    sealing_key="s",
    checkpoint_key_in="token",
    master_key_in="token",
    sealed=b"",
    master_commitment=b"",
    certificate=b"c",
    vkey="v",
    max_validity_days=1,
    allow_no_expiry=True,
    pin=b"1234",
)


def test_items_come_back_however_the_stream_is_cut() -> None:
    stream = frame([1, "a"]) + frame([2, b"b" * 1000])
    reader = FrameReader()
    found = [item for byte in stream for item in reader.feed(bytes([byte]))]
    assert found == [[1, "a"], [2, b"b" * 1000]]
    assert FrameReader().feed(stream) == found


def test_a_setup_comes_back() -> None:
    (item,) = FrameReader().feed(setup_frame(SETUP))
    assert read_setup(item) == SETUP


def test_a_setup_does_not_show_its_pin() -> None:
    assert "1234" not in repr(SETUP)


@pytest.mark.parametrize(
    "change", [{"pin": "1234"}, {"max_validity_days": True}, {"more": 1}, {"allow_no_expiry": 1}]
)
def test_a_setup_of_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        read_setup({**asdict(SETUP), **change})
    with pytest.raises(ProtocolError):
        read_setup({name: value for name, value in asdict(SETUP).items() if name != "pin"})


def test_an_oversized_frame_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError):
        FrameReader().feed((MAX_FRAME + 1).to_bytes(4, "big"))
    with pytest.raises(ProtocolError):
        frame(b"x" * MAX_FRAME)


def test_shapes() -> None:
    assert read_request([1, "op", b"a"]) == (1, "op", [b"a"])
    assert read_answer([1, 0, True]) == (1, Outcome.DONE, True)
    assert read_greeting([3, "wrong"]) == (Outcome.WRONG_PIN, "wrong")


@pytest.mark.parametrize("item", [None, [], [1], ["1", "op"], [True, "op"], [1, 2]])
def test_what_is_no_request_is_refused(item: object) -> None:
    with pytest.raises(ProtocolError):
        read_request(item)


@pytest.mark.parametrize("item", [None, [], [1, 0], [1, 10, None], [None, 0, None]])
def test_what_is_no_answer_is_refused(item: object) -> None:
    with pytest.raises(ProtocolError):
        read_answer(item)


@pytest.mark.parametrize("item", [None, [], [0], [0, 1], [10, "x"], ["0", "x"]])
def test_what_is_no_greeting_is_refused(item: object) -> None:
    with pytest.raises(ProtocolError):
        read_greeting(item)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for stream in (data, len(data).to_bytes(4, "big") + data):
        try:
            for item in FrameReader().feed(stream):
                read_request(item)
        except ProtocolError:
            continue
