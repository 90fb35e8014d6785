"""The probe's process: `python -P -m signerd.adapters.keyholder.probe_process`, its socket as standard input.

It has one thread and one module, and dies with its parent, as a key holder. The wish and the PIN come over
the socket. It tells what it is about to do before it does it, so that the parent knows where a module hung or
crashed.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

from signerd.adapters.keyholder.hardening import close_memory, die_with_parent
from signerd.adapters.keyholder.probing import Teller, Wish, probe
from signerd.adapters.keyholder.protocol import FrameReader, Outcome, ProtocolError, frame
from signerd.adapters.keyholder.token import PinRejectedError, TokenError, WrongSettingsError
from signerd.core.token_choice import token_choice

_READ = 65_536


class Line(Teller):
    """Tells the parent."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def doing(self, what: str, extra_s: float = 0.0) -> None:
        """See `Teller`."""
        self._line.sendall(frame(["doing", what, extra_s]))

    def found(self, part: str, value: object) -> None:
        """See `Teller`."""
        self._line.sendall(frame(["found", part, value]))

    def ended(self, outcome: Outcome, text: str) -> None:
        """Nothing follows."""
        self._line.sendall(frame(["ended", int(outcome), text]))


def _wish(line: socket.socket) -> Wish:
    reader = FrameReader()
    while data := line.recv(_READ):
        for item in reader.feed(data):
            match item:
                case [str(module), str(token), bytes() | None as pin, float(seconds), float(idle_s)]:
                    known = None if pin is None else pin.decode()
                    return Wish(module, token_choice(token), known, seconds, idle_s)
                case _:
                    raise ProtocolError("no wish")
    raise ProtocolError("the parent has gone")


def _look(wish: Wish, line: Line) -> None:
    try:
        probe(wish, line)
    except PinRejectedError as error:
        line.ended(Outcome.WRONG_PIN, str(error))
    except WrongSettingsError as error:
        line.ended(Outcome.WRONG_SETTINGS, str(error))
    except TokenError as error:
        line.ended(Outcome.FAILED, str(error))
    else:
        line.ended(Outcome.DONE, "")


def main() -> int:
    """Looks, tells and ends. The parent goes by the line alone."""
    close_memory()
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of it too, and ends this process
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as line:
        try:
            _look(_wish(line), Line(line))
        except (ProtocolError, ValueError, OSError):
            return 1
    # A module may hang in its own end: everything is said.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
