"""Entry point of `birthmark-auditor`. Turns what the program raises into exit codes."""

from __future__ import annotations

import os
import sys

# gRPC's C core reads it when it is loaded. Without it, each failed TLS handshake is a raw line on standard
# error, between the JSON of an alarm and the next.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from auditor.cli.app import FINDINGS, app
from auditor.errors import CheckFailed, ConfigError, Malformed, NotFound, Unreachable

CONFIGURATION, UNREACHABLE = 3, 4


def main() -> None:
    """Runs the command line; exits 0, 1 (findings), 2 (usage), 3 (configuration), 4 (unreachable)
    or 5 (no findings, and alarms)."""
    try:
        app()
    except ConfigError as error:
        _end(f"configuration: {error}", CONFIGURATION)
    except Unreachable as error:
        _end(f"not reachable: {error}", UNREACHABLE)
    except (CheckFailed, Malformed, NotFound) as error:
        _end(str(error), FINDINGS)


def _end(text: str, code: int) -> None:
    sys.stderr.write(f"birthmark-auditor: {text}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
