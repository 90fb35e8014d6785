"""The probe's process: `python -P -m signerd.adapters.keyholder.probe_process`, its socket as standard input.

It has one thread and one module, and dies with its parent, as a key holder. The wish comes over the socket,
and the PIN once the token is known. It tells what it is about to do before it does it, so that the parent
knows where a module hung or crashed.
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
        self._reader = FrameReader(report=True)

    def doing(self, what: str, extra_s: float = 0.0) -> None:
        """See `Teller`."""
        self._line.sendall(frame(["doing", what, extra_s]))

    def found(self, part: str, value: object) -> None:
        """See `Teller`."""
        self._line.sendall(frame(["found", part, value]))

    def pin(self, label: str, serial: str) -> str:
        """See `Teller`. Raises ProtocolError: the parent has gone."""
        self._line.sendall(frame(["pin", label, serial]))
        match self.next():
            case bytes() as pin:
                return pin.decode()
            case _:
                raise ProtocolError("no PIN")

    def next(self) -> object:
        """What the parent says. It says one thing at a time."""
        while data := self._line.recv(_READ):
            for item in self._reader.feed(data):
                return item
        raise ProtocolError("the parent has gone")

    def ended(self, outcome: Outcome, text: str) -> None:
        """Nothing follows."""
        self._line.sendall(frame(["ended", int(outcome), text]))


def _wish(line: Line) -> Wish:
    match line.next():
        case [str(module), str(token), bool() as logs_in, float(seconds), float(idle_s)]:
            return Wish(module, token_choice(token), logs_in, seconds, idle_s)
        case _:
            raise ProtocolError("no wish")


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
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as connection:
        line = Line(connection)
        try:
            _look(_wish(line), line)
        except (ProtocolError, ValueError, OSError):
            return 1
    # A module may hang in its own end: everything is said.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
