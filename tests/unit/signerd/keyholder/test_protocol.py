"""Frames between signerd and its key holder: whole or refused, whatever the bytes."""

from __future__ import annotations

from dataclasses import asdict

import cbor2
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


@pytest.mark.parametrize("item", [None, [], [1, 0], [1, 99, None], [None, 0, None]])
def test_what_is_no_answer_is_refused(item: object) -> None:
    with pytest.raises(ProtocolError):
        read_answer(item)


@pytest.mark.parametrize("item", [None, [], [0], [0, 1], [99, "x"], ["0", "x"]])
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


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(cbor2.dumps([1, "a", 1.5]), id="float"),
        pytest.param(b"\x82\x01\xc0\x61a", id="tag"),
        pytest.param(b"\x82\x01\xd8\x1d\x00", id="shared value"),
        pytest.param(b"\x82\x01\xf7", id="undefined"),
        pytest.param(b"\x82\x01\xf8\x20", id="simple value"),
        pytest.param(b"\x9f\x01\xff", id="no length"),
        pytest.param(b"\xa2\x61x\x01\x61x\x02", id="key twice"),
        pytest.param(b"\x81" * 100 + b"\x01", id="deep"),
        pytest.param(cbor2.dumps([0] * 600), id="many items"),
        pytest.param(b"\x9a\x00\xff\xff\xff" + b"\x80" * 1000, id="many promised"),
        pytest.param(b"\x5b" + b"\xff" * 8, id="bytes promised"),
        pytest.param(b"\x19\x01", id="cut head"),
        pytest.param(cbor2.dumps([1]) * 2, id="two items"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x62\xff\xfe", id="no UTF-8"),
    ],
)
def test_items_that_are_not_plain_are_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        FrameReader().feed(len(body).to_bytes(4, "big") + body)


def test_plain_items_and_large_numbers_pass() -> None:
    item = [1, "a", {"x": 2**152 + 5, "y": None, "z": [True, b"1", -1]}]
    assert FrameReader().feed(frame(item)) == [item]


def test_numbers_of_requests_are_bounded() -> None:
    for number in (2**63, -1, True, "1"):
        with pytest.raises(ProtocolError):
            read_request([number, "sign_crl"])


def test_what_a_probe_reports_holds_floats_and_is_plain_beyond_that() -> None:
    item = ["found", "tried", [{"per_second": 1.5, "key": "ca", "id": None}] * 300]
    stream = frame(item)
    assert FrameReader(report=True).feed(stream) == [item]
    with pytest.raises(ProtocolError):
        FrameReader().feed(stream)
    for body in (b"\x82\x01\xc0\x61a", b"\x82\x01\xf8\x20", cbor2.dumps([0] * 20_000)):
        with pytest.raises(ProtocolError):
            FrameReader(report=True).feed(len(body).to_bytes(4, "big") + body)
