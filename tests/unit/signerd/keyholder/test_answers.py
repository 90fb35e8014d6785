"""When answers go out: together where that costs nobody time, else at once."""

from __future__ import annotations

from signerd.adapters.keyholder.answers import AT_ONCE, SLOW_S, SLOW_TOKEN, Answers

FAST_S = SLOW_S / 100


class Line:
    """What was sent, on a clock that the test moves."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.now_s = 0.0
        self.answers = Answers(self.sent.append, clock=lambda: self.now_s)

    def take(self, operation: str, answer: bytes, took_s: float, *, last: bool = False) -> None:
        self.answers.begin(operation)
        self.now_s += took_s
        self.answers.end(operation, answer, last=last)


def test_fast_answers_go_together() -> None:
    line = Line()
    for _ in range(AT_ONCE):
        assert line.sent == []
        line.take("check", b"c", FAST_S)
    assert line.sent == [b"c" * AT_ONCE]
    line.take("check", b"c", FAST_S)
    line.take("check", b"d", FAST_S, last=True)
    assert line.sent[1:] == [b"cd"]


def test_a_slow_answer_goes_at_once() -> None:
    line = Line()
    line.take("sign", b"1", SLOW_S)
    line.take("sign", b"2", SLOW_S)
    assert line.sent == [b"1", b"2"]


def test_what_is_done_does_not_wait_for_an_operation_that_was_slow_before() -> None:
    line = Line()
    line.take("sign", b"s", SLOW_S)
    line.take("check", b"c", FAST_S)
    assert line.sent == [b"s"]
    line.answers.begin("sign")
    assert line.sent == [b"s", b"c"]


def test_an_operation_that_is_fast_again_is_waited_for_again() -> None:
    line = Line()
    line.take("sign", b"s", SLOW_S)
    line.take("sign", b"f", FAST_S)
    line.take("sign", b"g", FAST_S, last=True)
    assert line.sent == [b"s", b"fg"]


def test_answers_that_are_slow_together_are_kept_no_longer() -> None:
    line = Line()
    line.take("check", b"1", SLOW_S * 0.6)
    line.take("check", b"2", SLOW_S * 0.6)
    assert line.sent == [b"12"]


def test_a_token_is_slow_by_several_operations_in_a_row_and_by_no_single_one() -> None:
    line = Line()
    for _ in range(2 * SLOW_TOKEN):
        line.take("sign", b"s", 2 * SLOW_S)
        line.take("check", b"c", FAST_S)
        assert not line.answers.token_is_slow
    for _ in range(SLOW_TOKEN):
        assert not line.answers.token_is_slow
        line.take("sign", b"s", 2 * SLOW_S)
    assert line.answers.token_is_slow
    assert b"".join(line.sent).count(b"s") == 3 * SLOW_TOKEN  # nothing waits
