"""The command `signerd`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

# gRPC's C core reads it when it is loaded, which the first command's work does. Without it, each failed TLS
# handshake of any stranger is a line of its own on standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from signerd.adapters.cli.app import build_app, exit_for, unexpected
from signerd.adapters.cli.text_output import never_fail

if TYPE_CHECKING:
    from signerd.config import Config


def _run(read: Callable[[], Config], base: Path, announce: Callable[[str], None]) -> None:
    # Until there are settings that can be read again; its default action would end signerd.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from signerd.wiring import run  # noqa: PLC0415 -- the daemon's parts take a second to load

    run(read, base, announce)


def main() -> None:
    """Runs a command and ends the process with its exit code."""
    never_fail()
    try:
        build_app(_run)()
    except Exception as error:  # noqa: BLE001 -- the last place that can say how it ended
        raise SystemExit(_ended(error)) from None


def _ended(error: Exception) -> int:
    try:
        return exit_for(error)
    except Exception as unknown:  # noqa: BLE001 -- what `exit_for` does not know it raises again
        return unexpected(unknown)


if __name__ == "__main__":
    main()
