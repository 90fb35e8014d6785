"""What a key holder does while its token is at work: it reads and checks what is asked next, and sends what
is done.

A slow token begins its next signature the moment that it has ended one. So the thread that turns to the token
does nothing else. Another one reads the requests and looks at them, in their order, and a third sends.
python-pkcs11 calls the module without Python's lock.

A fast token is served by one thread: to hand on costs more there than it saves. The others start when the
token has been slow (`Answers.token_is_slow`).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from queue import Queue, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

_READY = 64  # requests that are read ahead
_SWITCH_S = 0.0005  # a thread that comes back from the token waits so long for one that is at Python code
_LATER_S = (
    0.001  # an answer waits, so that its thread is not in the way of the one that goes back to the token
)
_STACK = 256 * 1024  # bytes


class Lookahead(Generic[T]):
    """Requests, read and checked by `take`, which gives None when there are no more."""

    def __init__(self, take: Callable[[], T | None]) -> None:
        self._take = take
        self._ready: Queue[T | None] = Queue(_READY)
        self._error: Exception | None = None
        self._started = False

    def start(self) -> None:
        """From now on another thread reads."""
        if not self._started:
            self._started = True
            _start(self._run)

    def next(self) -> T | None:
        """The next one; None when there are no more. Raises what `take` raises."""
        if not self._started:
            return self._take()
        found = self._ready.get()
        if found is None and self._error is not None:
            raise self._error
        return found

    def _run(self) -> None:
        try:
            while (item := self._take()) is not None:
                self._ready.put(item)
        except Exception as error:  # noqa: BLE001 - raised by `next`, in the thread that answers for it
            self._error = error
        self._ready.put(None)


class Outbox:
    """Answers that another thread makes frames of, and sends: all that are there at once."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._waiting: SimpleQueue[Callable[[], bytes] | None] = SimpleQueue()
        self._sender: threading.Thread | None = None

    @property
    def started(self) -> bool:
        """True from `start` on."""
        return self._sender is not None

    def start(self) -> None:
        """Before the first `put`."""
        if self._sender is None:
            self._sender = _start(self._run)

    def put(self, frame: Callable[[], bytes]) -> None:
        """Has it sent."""
        self._waiting.put(frame)

    def close(self) -> None:
        """Returns when everything is sent."""
        if self._sender is not None:
            self._waiting.put(None)
            self._sender.join()

    def _run(self) -> None:
        try:
            while self._send_next():
                pass
        except OSError:
            return  # nobody is there any more; the thread that reads finds the same

    def _send_next(self) -> bool:
        waiting = [self._waiting.get()]
        time.sleep(_LATER_S)
        while waiting[-1] is not None and not self._waiting.empty():
            waiting.append(self._waiting.get())
        self._send(b"".join(frame() for frame in waiting if frame is not None))
        return waiting[-1] is not None


def _start(run: Callable[[], None]) -> threading.Thread:
    sys.setswitchinterval(_SWITCH_S)
    threading.stack_size(_STACK)
    thread = threading.Thread(target=run, daemon=True)  # ends with the process, whatever it waits for
    thread.start()
    return thread
