from __future__ import annotations

import os
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from smp.header import OP

from agent.adapters.drivers import smp_messages as messages
from agent.errors import BoardError
from agent.ports import KeyState

HELLO: dict[str, Any] = {
    "proto": 1,
    "model": "sensor",
    "chip": "CHIP-000001",
    "fw": {"app": ["1.2.0", bytes(32)]},
    "sec": {"secure_boot": True},
    "methods": ["hmac-sha256"],
    "keys": ["p256"],
    "key": "none",
    "cred": None,
    "conf": bytes(32),
    "sealed": False,
    "buf": 1024,
}
ANSWER_TYPES = [
    messages.HelloAnswer,
    messages.KeygenAnswer,
    messages.LengthAnswer,
    messages.ChunkAnswer,
    messages.StoredAnswer,
    messages.SealAnswer,
]


def answer(payload: bytes, *, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return bytes([0x09, 0]) + size.to_bytes(2, "big") + bytes([0, 83, 7, 0]) + payload


def parse_hello(body: dict[str, Any]) -> object:
    return messages.identity(messages.parse_answer(answer(cbor2.dumps(body)), messages.HelloAnswer))


def code_of(payload: bytes, expected: type[messages.Answer] = messages.KeygenAnswer) -> str:
    with pytest.raises(BoardError) as caught:
        messages.parse_answer(answer(payload), expected)
    return caught.value.code


def test_hello_becomes_an_identity() -> None:
    identity = messages.identity(messages.parse_answer(answer(cbor2.dumps(HELLO)), messages.HelloAnswer))
    assert identity.chip_id == "CHIP-000001"
    assert identity.firmware["app"].version == "1.2.0"
    assert identity.key_state is KeyState.NONE
    assert identity.credential_sha256 is None
    assert identity.settings_sha256 == bytes(32)


@pytest.mark.parametrize(
    "chip", ["00:00:00:00:00:00", "0000000000000000", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"]
)
def test_a_chip_id_that_names_no_chip(chip: str) -> None:
    with pytest.raises(BoardError) as refused:
        parse_hello(HELLO | {"chip": chip})
    assert refused.value.code == "bad_chip_id"
    assert "Put the board aside" in refused.value.remedy


def test_a_vendors_own_keys_are_ignored() -> None:
    extra = {"version": 9, "sequence": -1, "header": None, "smp_data": b"", "vendor": {"a": [1]}}
    assert parse_hello(HELLO | extra) == parse_hello(HELLO)


def test_a_map_without_a_length_is_read() -> None:
    assert parse_hello(HELLO) == messages.identity(
        messages.parse_answer(answer(cbor2.dumps(HELLO, indefinite_containers=True)), messages.HelloAnswer)
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("proto", 2),
        ("proto", "1"),
        ("model", "\x1b[2J"),
        ("model", "x" * 65),
        ("chip", ""),
        ("chip", "a b"),
        ("chip", "CHIP-1\n"),
        ("chip", "x" * 65),
        ("chip", b"CHIP"),
        ("fw", {"app": ["1.2.0", bytes(31)]}),
        ("fw", {"app": ["1.2.0"]}),
        ("fw", {"app": [1, bytes(32)]}),
        ("fw", {"app": ["1.2\n", bytes(32)]}),
        ("fw", {"a/b": ["1.2.0", bytes(32)]}),
        ("fw", {str(number): ["1", bytes(32)] for number in range(17)}),
        ("sec", {"secure_boot": 1}),
        ("methods", "hmac-sha256"),
        ("methods", ["x"] * 17),
        ("keys", ["p256\x1b"]),
        ("key", "maybe"),
        ("cred", bytes(31)),
        ("conf", ""),
        ("sealed", 0),
        ("buf", 255),
        ("buf", 65536),
        ("buf", -1),
        ("buf", True),
        ("buf", 1024.0),
    ],
)
def test_hello_out_of_form_is_refused(field: str, value: object) -> None:
    with pytest.raises(BoardError):
        parse_hello(HELLO | {field: value})


@pytest.mark.parametrize("field", sorted(HELLO))
def test_hello_without_a_field_is_refused(field: str) -> None:
    with pytest.raises(BoardError):
        parse_hello({name: value for name, value in HELLO.items() if name != field})


def test_a_station_takes_no_larger_messages_than_it_reads() -> None:
    body = HELLO | {"buf": 65535}
    identity = messages.identity(messages.parse_answer(answer(cbor2.dumps(body)), messages.HelloAnswer))
    assert identity.buffer == 4096


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"err": {"group": 83, "rc": 7}}, "storage_full"),
        ({"err": {"group": 83, "rc": 11}}, "sealed"),
        ({"err": {"group": 83, "rc": 12}}, "unknown"),
        ({"err": {"group": 83, "rc": -1}}, "unknown"),
        ({"err": {"group": 83, "rc": "7"}}, "bad_answer"),
        ({"err": {"group": 1, "rc": 7}}, "bad_answer"),
        ({"err": 7}, "bad_answer"),
        ({"rc": 8}, "no_group"),
        ({"rc": 7}, "unknown"),
        ({"rc": "7"}, "bad_answer"),
        ({"rc": 0}, "bad_answer"),  # no error, and no answer either
        ({"err": {"group": 83, "rc": 7}, "state": "done"}, "storage_full"),
        ({}, "bad_answer"),
    ],
)
def test_errors_by_name(body: object, code: str) -> None:
    assert code_of(cbor2.dumps(body)) == code


def test_success_with_a_zero_rc_beside_it_is_success() -> None:
    body = cbor2.dumps({"rc": 0, "state": "done"})
    assert messages.parse_answer(answer(body), messages.KeygenAnswer).state == "done"


def test_a_length_that_is_not_the_messages_is_refused() -> None:
    body = cbor2.dumps({"state": "done"})
    with pytest.raises(BoardError):
        messages.parse_answer(answer(body, length=len(body) + 1), messages.KeygenAnswer)


def test_a_small_answer_cannot_stand_for_an_endless_structure() -> None:
    # {"state": shared [], "a": shared [#0, #0], "b": shared [#1, #1], …}: flat, and 2^19 items unfolded
    body = b"\xb4\x65state\xd8\x1c\x80"
    for number in range(19):
        reference = b"\xd8\x1d" + cbor2.dumps(number)
        body += b"\x61" + bytes([97 + number]) + b"\xd8\x1c\x82" + 2 * reference
    assert len(cbor2.loads(body)) == 20
    assert code_of(body) == "bad_answer"


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b"\x80", b"\x81" * 4000, b"\xbb" + b"\xff" * 8, b"\xa1\x01\x02"]
)
def test_what_is_not_a_map_is_refused(payload: bytes) -> None:
    assert code_of(payload) == "bad_answer"


def test_an_announced_gigabyte_is_refused() -> None:
    assert code_of(cbor2.dumps({"len": 2**30}), messages.LengthAnswer) == "bad_answer"


@given(st.binary(max_size=300), st.sampled_from(ANSWER_TYPES))
def test_any_bytes_give_an_answer_or_a_board_error(payload: bytes, expected: type[messages.Answer]) -> None:
    try:
        messages.parse_answer(answer(payload), expected)
    except BoardError:
        return


_ITEMS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
_KEYS = [*HELLO, "state", "pct", "len", "off", "data", "sha", "err", "rc", "group", "sealed"]


@given(st.dictionaries(st.sampled_from(_KEYS), _ITEMS), st.sampled_from(ANSWER_TYPES))
def test_any_map_gives_an_answer_or_a_board_error(
    body: dict[str, object], expected: type[messages.Answer]
) -> None:
    try:
        parsed = messages.parse_answer(answer(cbor2.dumps(HELLO | body)), expected)
        if isinstance(parsed, messages.HelloAnswer):
            messages.identity(parsed)
    except BoardError:
        return


@given(st.binary(max_size=300) | _ITEMS.map(cbor2.dumps))
def test_any_content_gives_a_request_and_a_stamp_or_a_board_error(content: bytes) -> None:
    for parse in (messages.parse_request, messages.parse_stamp):
        try:
            parse(content)
        except BoardError:
            continue


REQUEST: list[Any] = [b"csr", "hmac-sha256", b"claims", bytes(32)]


def test_a_request_in_form_is_read() -> None:
    assert messages.parse_request(cbor2.dumps(REQUEST)).method == "hmac-sha256"


def test_the_largest_request_is_read_and_fits_into_a_content() -> None:
    content = cbor2.dumps([bytes(8192), "x" * 32, bytes(4096), bytes(16_384)])
    length = messages.parse_answer(answer(cbor2.dumps({"len": len(content)})), messages.LengthAnswer)
    assert length.len <= messages.MAX_READ
    request = messages.parse_request(content)
    assert (len(request.csr_der), len(request.claims), len(request.evidence)) == (8192, 4096, 16_384)


def test_a_request_with_every_method_fits_into_the_smallest_buffer() -> None:
    methods = ["hmac-sha256", "x509", "psa-token", "nrf91", "tpm2", "none"]
    body: dict[str, object] = {"challenge": bytes(32), "methods": methods}
    assert len(messages.encode_request(OP.WRITE, messages.REQUEST, 255, body)) <= messages.MIN_BUFFER


_BAD_REQUEST_ITEMS = [
    (0, b""),
    (0, bytes(8193)),
    (0, "csr"),
    (1, ""),
    (1, "x" * 33),
    (1, b"none"),
    (1, "HMAC"),
    (1, "x\x1b[2J"),
    (2, bytes(4097)),
    (2, None),
    (3, "mac"),
    (3, bytes(16_385)),
]


@pytest.mark.parametrize(("at", "value"), _BAD_REQUEST_ITEMS)
def test_a_request_out_of_form_is_refused(at: int, value: object) -> None:
    with pytest.raises(BoardError):
        messages.parse_request(cbor2.dumps([*REQUEST[:at], value, *REQUEST[at + 1 :]]))


@pytest.mark.parametrize(
    "content", [[b"stamp"], [b"stamp", b""], [b"", b"sig"], [bytes(4097), b"sig"], [b"stamp", bytes(513)]]
)
def test_a_stamp_out_of_form_is_refused(content: list[bytes]) -> None:
    with pytest.raises(BoardError):
        messages.parse_stamp(cbor2.dumps(content))


def test_requests_are_smp_version_2_with_a_deterministic_map() -> None:
    request = messages.encode_request(OP.WRITE, messages.CONFIG, 200, {"sha": bytes(2), "off": 0})
    header, body = "0a00000d0053c804", "a2636f6666006373686142" + "0000"
    assert request.hex() == header + body


@pytest.mark.parametrize("byte", [4, 5, 6, 7])
def test_only_the_answer_to_the_question_is_taken(byte: int) -> None:
    question = messages.encode_request(OP.READ, messages.HELLO, 7, {})
    right = answer(b"\xa0")
    assert messages.answers(right, question)
    wrong = bytearray(right)
    wrong[byte] ^= 1
    assert not messages.answers(bytes(wrong), question)


def test_an_echo_of_the_question_is_not_its_answer() -> None:
    question = messages.encode_request(OP.READ, messages.HELLO, 7, {})
    assert not messages.answers(question, question)


@given(st.binary(max_size=20))
def test_any_bytes_may_be_asked_whether_they_answer(message: bytes) -> None:
    messages.answers(message, messages.encode_request(OP.READ, messages.HELLO, os.urandom(1)[0], {}))
