"""How long signerd waits for a token, and between attempts.

Whatever took a token away, signerd serves again within seconds of its return: pauses stay short, and an
attempt that hangs in the token is ended soon. How soon follows from the logins that went well: a token that
once took 0.1 s is not given the half minute that another one may need. One that became slower gets its time
all the same: the longer it was away, the longer the next attempt may take, up to the setting.
"""

from __future__ import annotations

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
SETTLED_S = 60.0  # a process that lived this long was not part of a series of failures
LEAST_LOGIN_S = 3.0  # however fast the token was: a busy machine is no hang
_TIMES_USUAL = 3.0  # a login may take so many times what the slowest of before took
_OF_OUTAGE = 1 / 20  # and always this part of the time since the token was lost
_SAID_AGAIN_S = 60.0  # the same reason is logged so often, and another one at once


class Patience:
    """Of one key holder. Moments are those of one monotonic clock, in seconds."""

    def __init__(self, longest_login_s: float) -> None:
        """`longest_login_s` is the setting, and what the first login may take."""
        self._longest_login_s = longest_login_s
        self._usual_login_s: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._ready_at = self._lost_at = 0.0
        self._said: tuple[str, float] | None = None

    def logged_in(self, took_s: float, now: float) -> None:
        """A login went well."""
        self._usual_login_s = max(took_s, self._usual_login_s or 0.0)
        self._ready_at = now
        self._said = None

    def lost(self, now: float) -> None:
        """The process that was logged in is gone."""
        self._lost_at = now
        if now - self._ready_at >= SETTLED_S:
            self._pause_s = FIRST_PAUSE_S

    def pause_s(self) -> float:
        """Before the next attempt."""
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        return pause_s

    def login_s(self, now: float) -> float:
        """What the next login may take."""
        if self._usual_login_s is None:
            return self._longest_login_s
        usual_s = max(LEAST_LOGIN_S, _TIMES_USUAL * self._usual_login_s)
        return min(self._longest_login_s, max(usual_s, _OF_OUTAGE * (now - self._lost_at)))

    def worth_saying(self, reason: str, now: float) -> bool:
        """Whether the log is told why an attempt failed: attempts go on for as long as the token is away."""
        if self._said is not None and self._said[0] == reason and now - self._said[1] < _SAID_AGAIN_S:
            return False
        self._said = reason, now
        return True
