"""How long signerd waits for a token, and between attempts.

Whatever took a token away, signerd serves again within seconds of its return: pauses stay short, and an
attempt that hangs in the token is ended soon. How soon follows from the logins that went well: a token that
once took 0.1 s is not given the half minute that another one may need. One that became slower gets its time
all the same: now and then one attempt may take longer than the one before of its kind, up to the setting.

An operation that takes far longer than any before may hang, or the token may have become slow, or wait for a
touch. Nobody can tell from outside. So its process is let be, and another one is started beside it
(`OperationTime`): where that one signs first, the token is well, and the other's call hangs.

An attempt that began before the token was back is in the way of the next one. So attempts begin at least each
`LONGEST_PAUSE_S`, or as soon as the one before has ended: beside the rare long ones, the token is asked again
at most `LEAST_LOGIN_S + FIRST_PAUSE_S` after its return.
"""

from __future__ import annotations

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0  # between the beginnings of two attempts
SETTLED_S = 60.0  # a process that lived this long was not part of a series of failures
LEAST_LOGIN_S = 3.0  # however fast the token was: a busy machine is no hang
_TIMES_USUAL = 3.0  # a login may take so many times what the slowest of before took
LEAST_OPERATION_S = 2.5  # with a start and a login behind it, signerd serves within 5 s of a hang's begin
_TIMES_SLOWEST = 4.0  # an operation may take so many times what the slowest took, before anybody looks
_OF_OUTAGE = 1 / 10  # the part of an outage that goes to long attempts; each is twice as long as the last
_SAID_AGAIN_S = 60.0  # the same reason is logged so often, and another one at once


class OperationTime:
    """How long one operation of a token takes, by all processes that asked it."""

    def __init__(self) -> None:
        self._slowest_s = self._login_s = 0.0

    def took(self, seconds: float) -> None:
        """An operation was answered."""
        self._slowest_s = max(seconds, self._slowest_s)

    def logged_in(self, seconds: float) -> None:
        """A login went well: a signature with each key is part of it."""
        self._login_s = max(seconds, self._login_s)

    @property
    def suspicious_s(self) -> float:
        """An operation that takes longer may hang."""
        return max(LEAST_OPERATION_S, self._login_s, _TIMES_SLOWEST * self._slowest_s)


class Patience:
    """Of one key holder. Moments are those of one monotonic clock, in seconds."""

    def __init__(self, longest_login_s: float) -> None:
        """`longest_login_s` is the setting, and what the first login may take."""
        self._longest_login_s = longest_login_s
        self._usual_login_s: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._ready_at = self._long_at = 0.0
        self._long_s: float | None = None  # what the next long attempt may take
        self._begun_at: float | None = None  # the last attempt
        self._said: tuple[str, float] | None = None

    def logged_in(self, took_s: float, now: float) -> None:
        """A login went well."""
        self._usual_login_s = max(took_s, self._usual_login_s or 0.0)
        self._ready_at = now
        self._long_s = self._said = None

    def lost(self, now: float) -> None:
        """The process that was logged in is gone."""
        self._long_at, self._begun_at = now, None
        if now - self._ready_at >= SETTLED_S:
            self._pause_s = FIRST_PAUSE_S

    def pause_s(self, now: float) -> float:
        """Before the next attempt."""
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        if self._begun_at is None:
            return pause_s
        return max(FIRST_PAUSE_S, pause_s - (now - self._begun_at))

    def login_s(self, now: float) -> float:
        """What the login that begins now may take."""
        self._begun_at = now
        if self._usual_login_s is None:
            return self._longest_login_s
        usual_s = min(self._longest_login_s, max(LEAST_LOGIN_S, _TIMES_USUAL * self._usual_login_s))
        long_s = self._long_s or min(self._longest_login_s, 2 * usual_s)
        if now - self._long_at < long_s / _OF_OUTAGE:
            return usual_s
        self._long_at, self._long_s = now, min(self._longest_login_s, 2 * long_s)
        return long_s

    def worth_saying(self, reason: str, now: float) -> bool:
        """Whether the log is told why an attempt failed: attempts go on for as long as the token is away."""
        if self._said is not None and self._said[0] == reason and now - self._said[1] < _SAID_AGAIN_S:
            return False
        self._said = reason, now
        return True
