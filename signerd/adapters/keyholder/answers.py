"""When a key holder's answers go out: together where that saves writes, at once where somebody waits for it.

signerd runs the deadline of an operation from the answer to the one before. An answer that is kept back while
the next operation is at work would charge that one with the time of both.
"""

from __future__ import annotations

import time
from collections.abc import Callable

AT_ONCE = 8  # answers of a long batch, so that the first caller does not wait for the last
SLOW_S = 0.005  # a write costs some 0.02 ms: where operations take this long, keeping an answer saves nothing
SLOW_TOKEN = 3  # operations in a row that take so long: a busy machine is late once


class Answers:
    """Those that wait to be sent."""

    def __init__(self, send: Callable[[bytes], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._send = send
        self._clock = clock
        self._waiting: list[bytes] = []
        self._began_s = 0.0  # the operation of the first that waits
        self._operation_began_s = 0.0
        self._slow_in_a_row = 0
        self._slow: set[str] = set()  # the operations that took long the last time

    @property
    def token_is_slow(self) -> bool:
        """Whether the last operations took long, one after the other. All answers are sent then."""
        return self._slow_in_a_row >= SLOW_TOKEN

    def begin(self, operation: str) -> None:
        """The operation begins. What is done does not wait for one that was slow before."""
        if operation in self._slow:
            self.send()
        self._operation_began_s = self._clock()
        if not self._waiting:
            self._began_s = self._operation_began_s

    def end(self, operation: str, answer: bytes, *, last: bool) -> None:
        """The operation has ended; `last`: none is to follow now."""
        now = self._clock()
        if now - self._operation_began_s >= SLOW_S:
            self._slow.add(operation)
            self._slow_in_a_row += 1
        else:
            self._slow.discard(operation)
            self._slow_in_a_row = 0
        self._waiting.append(answer)
        if last or len(self._waiting) >= AT_ONCE or now - self._began_s >= SLOW_S:
            self.send()

    def send(self) -> None:
        """Sends what waits."""
        if self._waiting:
            self._send(b"".join(self._waiting))
            self._waiting.clear()
