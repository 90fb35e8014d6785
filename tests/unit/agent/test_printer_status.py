"""What a label printer says of itself is taken whole or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.labels.printer_status import MAX_ANSWER, NoStatusError, is_whole, parse_status
from harness.paper_printer import PASSWORD, PaperStatus

READY = PaperStatus().answer()


def test_a_printer_that_is_ready() -> None:
    status = parse_status(READY)
    assert (status.ready, status.stuck, status.done) == (True, False, True)


def test_the_answer_of_a_real_printer_that_is_paused_and_has_neither_paper_nor_ribbon() -> None:
    status = parse_status(
        b"\x02030,1,1,1225,000,0,0,0,000,0,0,0\x03\r\n\x02001,0,0,1,1,2,6,0,00000100,1,000\x03\r\n\x021234,0\x03\r\n"
    )
    assert status.said() == "it has no ribbon left and it has no labels left and it is paused"
    assert status.to_do() == "Load ribbon, load labels, press its pause key"
    assert not status.done


@pytest.mark.parametrize(
    ("flag", "said", "to_do"),
    [
        ("paper_out", "no labels left", "Load labels"),
        ("head_open", "head is open", "Close its head"),
        ("ribbon_out", "no ribbon left", "Load ribbon"),
        ("paused", "paused", "Press its pause key"),
        ("cold", "too cold", "Let it warm up"),
        ("hot", "too hot", "Let it cool down"),
        ("diagnostic", "diagnostic mode", "Switch it off and on"),
        ("settings_lost", "lost its settings", "Set it up again"),
    ],
)
def test_each_thing_that_keeps_it_from_printing(flag: str, said: str, to_do: str) -> None:
    status = parse_status(PaperStatus({flag: 1}).answer())
    assert (status.ready, status.stuck) == (False, True)
    assert said in status.said()
    assert status.to_do() == to_do


def test_a_full_memory_takes_no_label_and_may_be_the_labels_own() -> None:
    status = parse_status(PaperStatus({"buffer_full": 1}).answer())
    assert (status.ready, status.stuck) == (False, False)
    assert "let it finish" in status.to_do().lower()


def test_a_printer_that_prints_by_heat_needs_no_ribbon() -> None:
    assert parse_status(PaperStatus({"ribbon_out": 1, "needs_ribbon": 0}).answer()).ready
    assert not parse_status(PaperStatus({"ribbon_out": 1}).answer()).ready


@pytest.mark.parametrize(
    "status",
    [PaperStatus(remaining=1), PaperStatus(formats=1), PaperStatus({"partial": 1})],
    ids=["one remains", "one is in its memory", "one is half there"],
)
def test_a_label_that_is_not_out(status: PaperStatus) -> None:
    assert not parse_status(status.answer()).done
    assert parse_status(status.answer()).ready


@pytest.mark.parametrize("size", range(len(READY.rstrip())))
def test_a_cut_answer(size: int) -> None:
    assert not is_whole(READY[:size])
    with pytest.raises(NoStatusError):
        parse_status(READY[:size])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        READY + READY,
        READY + b"x",
        b"x" + READY,
        READY.replace(b"030,0,", b"030,2,"),
        READY.replace(b"030,0,", b"030,,"),
        READY.replace(b"030,0,", b"030,0,0,"),
        READY.replace(b"00000000", b"-0000001"),
        READY.replace(b"00000000", b"\xb200000000"),
        b"\x02ZD421-300dpi,V93.21,12,8176KB\x03\r\n" * 3,  # of ~HI
        b"\x02" + b"0" * MAX_ANSWER + b"\x03" * 3,
        READY[READY.index(b"\x02001") :] + READY[: READY.index(b"\x02001")],  # the lines in another order
    ],
)
def test_what_is_no_status(answer: bytes) -> None:
    assert parse_status(READY).ready
    with pytest.raises(NoStatusError) as refusal:
        parse_status(answer)
    assert PASSWORD.decode() not in str(refusal.value)


def test_what_has_no_end_is_read_no_further() -> None:
    assert is_whole(b"x" * (MAX_ANSWER + 1))
    assert not is_whole(b"x" * MAX_ANSWER)
    assert is_whole(READY)


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda at, byte: READY[:at] + byte + READY[at + 1 :],
        st.integers(0, len(READY)),
        st.binary(min_size=1, max_size=1),
    )
)
def test_any_bytes_are_a_status_or_none(answer: bytes) -> None:
    try:
        status = parse_status(answer)
    except NoStatusError:
        return
    assert status.ready == (status.said() == "")
