"""Entry point of `birthmark-auditor`. Turns what the program raises into exit codes."""

from __future__ import annotations

import errno
import os
import sys

# gRPC's C core reads it when it is loaded. Without it, each failed TLS handshake is a raw line on standard
# error, between the JSON of an alarm and the next.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from auditor.cli.app import app
from auditor.cli.options import FINDINGS, UNKNOWN
from auditor.cli.text_output import never_fail
from auditor.core.findings import Rejected
from auditor.errors import CheckFailed, ConfigError, Malformed, NotFound, Unreachable

CONFIGURATION, UNREACHABLE = 3, 4
# Of standard output, which alone is written to without a file's name.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main() -> None:
    """Runs the command line; exits 0, 1 (findings), 2 (usage), 3 (configuration), 4 (unreachable),
    5 (alarms, and no findings), 6 (findings, all acknowledged) or 7 (no such thing)."""
    never_fail()
    try:
        app()
    except ConfigError as error:
        _end(str(error), CONFIGURATION)
    except Unreachable as error:
        _end(f"not reachable: {error}", UNREACHABLE)
    except NotFound as error:
        _end(str(error), UNKNOWN)
    except Rejected as error:
        _end(f"{error}. Run `verify`, which keeps the finding", FINDINGS)
    except (CheckFailed, Malformed) as error:
        _end(str(error), FINDINGS)
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        # Not 1: nothing was found to be off, and nobody was told what was looked at.
        _end(f"the output could not be written: {error.strerror}", CONFIGURATION)


def _end(text: str, code: int) -> None:
    sys.stderr.write(f"birthmark-auditor: {text}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
