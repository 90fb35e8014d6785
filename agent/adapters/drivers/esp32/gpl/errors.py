# SPDX-License-Identifier: GPL-2.0-or-later
"""What the worker answers instead of a result, and how esptool's failures become that."""

from __future__ import annotations

import re
import struct
import zlib

import serial
from esptool import FatalError

# What esptool and espefuse raise of a chip, a line or a bundle. SystemExit is raised of their `die` and of
# eFuses that close the way; SerialException is an OSError; struct.error and IndexError come of short answers.
ESPTOOL_RAISES = (
    FatalError,
    serial.SerialException,
    OSError,
    SystemExit,
    struct.error,
    zlib.error,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    NotImplementedError,
)
_BUSY = re.compile(
    r"busy|Permission denied|Access is denied|exclusively lock|temporarily unavailable", re.IGNORECASE
)
_ABSENT = re.compile(
    r"Failed to connect|No serial data|stopped|Invalid head of packet|Packet content|Wrong boot mode"
)


class WorkerError(Exception):
    """An answer of the worker: kind `line`, `board` or `again`, code, detail, remedy."""

    def __init__(self, kind: str, code: str, detail: str, remedy: str = "") -> None:
        super().__init__(detail)
        self.answer = [kind, code, printable(detail), remedy]


def printable(text: str, most: int = 240) -> str:
    """One line of ASCII: it goes to an operator's terminal."""
    line = " ".join(text.split())
    return "".join(c if " " <= c <= "~" else "?" for c in line)[:most]


def translate(error: BaseException, doing: str) -> WorkerError:
    """The answer for what esptool raised."""
    text = f"{doing}: {error}"
    if isinstance(error, OSError):  # the port's own
        return WorkerError("line", "port_gone", text, "Plug the adapter in again.")
    if isinstance(error, FatalError) and "Could not open" in str(error):
        if _BUSY.search(str(error)) and "FileNotFound" not in str(error) and "No such" not in str(error):
            remedy = "Close the other program that has the port, or give this user access to serial ports."
            return WorkerError("line", "port_busy", text, remedy)
        return WorkerError("line", "port_gone", text, "Plug the adapter in.")
    if isinstance(error, FatalError) and _ABSENT.search(str(error)):
        return WorkerError("line", "no_answer", text, "See that a board is in place and powered.")
    return WorkerError(
        "again", "esptool_failed", f"{text} ({type(error).__name__})", "Present the board again."
    )
