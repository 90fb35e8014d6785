"""How long a token is waited for: seconds, whatever the setting, where its logins took less than that."""

from __future__ import annotations

from itertools import pairwise

from signerd.adapters.keyholder.patience import (
    FIRST_PAUSE_S,
    LEAST_LOGIN_S,
    LEAST_OPERATION_S,
    LONGEST_PAUSE_S,
    SETTLED_S,
    OperationTime,
    Patience,
)

SETTING_S = 30.0


def test_a_first_login_may_take_what_the_setting_says() -> None:
    assert Patience(SETTING_S).login_s(0.0) == SETTING_S


def test_a_hang_of_a_fast_token_is_ended_soon() -> None:
    patience = Patience(SETTING_S)
    patience.logged_in(0.1, 0.0)
    patience.lost(100.0)
    assert patience.login_s(100.0) == LEAST_LOGIN_S
    assert patience.login_s(140.0) == LEAST_LOGIN_S


def test_a_slow_token_gets_three_times_what_it_took() -> None:
    patience = Patience(SETTING_S)
    patience.logged_in(4.4, 0.0)
    patience.logged_in(4.0, 50.0)
    patience.lost(100.0)
    assert abs(patience.login_s(100.0) - 13.2) < 1e-9


def outage(patience: Patience, seconds: float) -> list[tuple[float, float]]:
    """Attempts that all hang, from the loss on: when each begins, and what it may take."""
    patience.lost(0.0)
    now, attempts = 0.0, []
    while now < seconds:
        now += patience.pause_s(now)
        attempts.append((now, patience.login_s(now)))
        now += attempts[-1][1]
    return attempts


def test_a_token_that_became_slower_is_given_its_time_in_the_end() -> None:
    patience = Patience(SETTING_S)
    patience.logged_in(0.1, 0.0)
    long = [(begun, takes) for begun, takes in outage(patience, 1_000.0) if takes > LEAST_LOGIN_S]
    assert [takes for _, takes in long[:4]] == [6.0, 12.0, 24.0, SETTING_S]
    assert [begun <= at for (begun, _), at in zip(long, (70, 200, 450, 800), strict=False)] == [True] * 4


def test_whenever_a_token_comes_back_it_is_asked_within_seconds_but_for_the_rare_long_attempts() -> None:
    """What is left of five seconds is for the process to start and log in."""
    patience = Patience(SETTING_S)
    patience.logged_in(0.1, 0.0)
    attempts = outage(patience, 2_000.0)
    waits = [later - begun for (begun, _), (later, _) in pairwise(attempts)]
    within = [wait for wait in waits if wait <= LEAST_LOGIN_S + FIRST_PAUSE_S + 1e-9]
    assert LEAST_LOGIN_S + FIRST_PAUSE_S < 4
    assert sum(within) > 0.85 * sum(waits)
    assert {takes for begun, takes in attempts if begun < 55} == {LEAST_LOGIN_S}


def test_attempts_that_fail_at_once_begin_every_second() -> None:
    patience = Patience(SETTING_S)
    patience.logged_in(0.1, 0.0)
    patience.lost(0.0)
    now, begun = 0.0, []
    for _ in range(20):
        now += patience.pause_s(now)
        patience.login_s(now)
        begun.append(now)
        now += 0.3
    gaps = [later - earlier for earlier, later in pairwise(begun)]
    assert max(gaps) <= LONGEST_PAUSE_S + 1e-9


def test_a_setting_below_all_that_holds() -> None:
    patience = Patience(1.0)
    patience.logged_in(0.9, 0.0)
    assert patience.login_s(10_000.0) == 1.0


def test_pauses_grow_to_seconds_and_begin_anew_after_a_life_of_some_length() -> None:
    patience = Patience(SETTING_S)
    pauses = [patience.pause_s(0.0) for _ in range(12)]
    assert pauses[0] == FIRST_PAUSE_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
    patience.logged_in(0.1, 100.0)
    patience.lost(100.0 + SETTLED_S / 2)
    assert patience.pause_s(0.0) == LONGEST_PAUSE_S
    patience.logged_in(0.1, 200.0)
    patience.lost(200.0 + SETTLED_S)
    assert patience.pause_s(0.0) == FIRST_PAUSE_S


def test_a_reason_is_said_once_a_minute_and_another_one_at_once() -> None:
    patience = Patience(SETTING_S)
    assert patience.worth_saying("no token", 0.0)
    assert not patience.worth_saying("no token", 59.0)
    assert patience.worth_saying("no slot", 59.0)
    assert patience.worth_saying("no slot", 119.0)
    patience.logged_in(0.1, 120.0)
    assert patience.worth_saying("no slot", 121.0)


def test_an_operation_is_suspicious_once_it_takes_far_longer_than_any_before() -> None:
    operations = OperationTime()
    operations.logged_in(0.3)
    for took_s in (0.1, 0.2, 0.1):
        operations.took(took_s)
    assert operations.suspicious_s == LEAST_OPERATION_S
    operations.took(1.5)
    assert operations.suspicious_s == 6.0
    operations.took(0.1)
    assert operations.suspicious_s == 6.0


def test_a_token_whose_login_was_slow_signs_slowly_and_raises_no_suspicion() -> None:
    operations = OperationTime()
    operations.logged_in(10.2)  # with a signature of each key, of 5 s
    assert operations.suspicious_s > 5.0
