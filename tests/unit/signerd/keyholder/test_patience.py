"""How long a token is waited for: seconds, whatever the setting, where its logins took less than that."""

from __future__ import annotations

from signerd.adapters.keyholder.patience import (
    FIRST_PAUSE_S,
    LEAST_LOGIN_S,
    LONGEST_PAUSE_S,
    SETTLED_S,
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


def test_a_token_that_became_slower_is_given_its_time_in_the_end() -> None:
    patience = Patience(SETTING_S)
    patience.logged_in(0.1, 0.0)
    patience.lost(0.0)
    assert patience.login_s(400.0) == 20.0
    assert patience.login_s(10_000.0) == SETTING_S


def test_a_setting_below_all_that_holds() -> None:
    patience = Patience(1.0)
    patience.logged_in(0.9, 0.0)
    assert patience.login_s(10_000.0) == 1.0


def test_pauses_grow_to_seconds_and_begin_anew_after_a_life_of_some_length() -> None:
    patience = Patience(SETTING_S)
    pauses = [patience.pause_s() for _ in range(12)]
    assert pauses[0] == FIRST_PAUSE_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
    patience.logged_in(0.1, 100.0)
    patience.lost(100.0 + SETTLED_S / 2)
    assert patience.pause_s() == LONGEST_PAUSE_S
    patience.logged_in(0.1, 200.0)
    patience.lost(200.0 + SETTLED_S)
    assert patience.pause_s() == FIRST_PAUSE_S


def test_a_reason_is_said_once_a_minute_and_another_one_at_once() -> None:
    patience = Patience(SETTING_S)
    assert patience.worth_saying("no token", 0.0)
    assert not patience.worth_saying("no token", 59.0)
    assert patience.worth_saying("no slot", 59.0)
    assert patience.worth_saying("no slot", 119.0)
    patience.logged_in(0.1, 120.0)
    assert patience.worth_saying("no slot", 121.0)
