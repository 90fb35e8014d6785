"""How a command ends: the exit codes, and the sentence that goes with each kind of error."""

from __future__ import annotations

import errno
import sys
import traceback
from enum import IntEnum

from signerd.adapters.keyholder.held_pin import WrongPin
from signerd.adapters.line_writer import write_within
from signerd.adapters.start_faults import passes
from signerd.errors import Code, ConfigError, Fault, NotNow, Refused, WrongFile, WrongSettings


class Exit(IntEnum):
    """Exit codes, beside 0. docs/operations.md says what the service manager does with each."""

    FAILED = 1  # refused, or it did not work
    USAGE = 2  # typer's own
    CONFIGURATION = 3  # wrong until somebody mends it; systemd must not restart
    UNREACHABLE = 4  # signerd does not answer
    NOT_APPROVED = 5  # nothing is done: what administrators are to sign is written
    NOT_NOW = 75  # EX_TEMPFAIL of sysexits.h: the same may succeed later; systemd tries again
    WRONG_PIN = 77  # EX_NOPERM of sysexits.h; systemd must not restart


class Unreachable(Exception):  # noqa: N818 (an outcome of a command, like Refused)
    """signerd does not answer on its socket."""


_REMEDIES = {
    Code.NOT_FOUND: "there is no such object",
    Code.ALREADY_EXISTS: "an object of this name or with this key exists already",
    Code.CERTIFICATE_REVOKED: "the certificate is revoked already",
    Code.REQUEST_MALFORMED: "a value is missing, too large or not of its form",
    Code.CLOCK_WRONG: "signerd's clock is wrong, or cannot be known to be right: signerd clock show",
    Code.LEDGER_DIFFERS: "this ledger is not the one that a station saw; signerd's log says more",
    Code.UNAVAILABLE: "the HSM or the database does not answer; signerd's log says more",
    Code.INTERNAL: "a fault inside signerd; its log says more",
}


_FAULTS = {Code.UNAVAILABLE: Exit.NOT_NOW, Code.LEDGER_DIFFERS: Exit.CONFIGURATION}

# Of standard output, which alone is written to without a file's name.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def exit_for(error: Exception) -> int:  # noqa: C901, PLR0911 - a case for each kind of error
    """Prints what went wrong and returns the exit code. An error that no command expects is raised again."""
    match error:
        case WrongPin():
            return _say(f"{error.detail}\nnothing was tried again: correct the PIN first", Exit.WRONG_PIN)
        case NotNow():
            return _say(str(error), Exit.NOT_NOW)
        case ConfigError() | WrongSettings():
            return _say(str(error), Exit.CONFIGURATION)
        case Unreachable():
            return _say(str(error), Exit.UNREACHABLE)
        case WrongFile():
            return _say(str(error), Exit.FAILED)
        case Refused():
            return _say(f"{error.code}: {error.detail or _REMEDIES.get(error.code, '')}", Exit.FAILED)
        case Fault():
            said = "\n".join([f"{error.code}: {error.detail}", *getattr(error, "__notes__", ())])
            return _say(said, _FAULTS.get(error.code, Exit.FAILED))
        case FileExistsError() if error.filename is not None:
            return _say(f"{error.filename} exists, and is not written over: name a new place", Exit.FAILED)
        case OSError() if error.filename is not None:
            said = "\n".join([f"{error.filename}: {error.strerror}", *getattr(error, "__notes__", ())])
            return _say(said, Exit.NOT_NOW if passes(error) else Exit.FAILED)
        case OSError() if error.errno in _UNWRITABLE:
            said = f"the output could not be written: {error.strerror}. What it did before that holds"
            return _say(said, Exit.FAILED)
        case _:
            raise error


def unexpected(error: Exception) -> int:
    """Prints an error that no command expects, for those who report it; no values of variables are in it."""
    return _say("".join(traceback.format_exception(error)).rstrip(), Exit.FAILED)


def _say(text: str, code: Exit) -> int:
    said = f"signerd: {text}\n"
    if sys.stderr is None:  # started without one
        return int(code)
    try:
        descriptor = sys.stderr.fileno()
    except (OSError, ValueError):  # not a file, where a command runs inside another program
        sys.stderr.write(said)
    else:
        write_within(descriptor, said)  # a reader that stalls must not keep the process from ending
    return int(code)
