"""The command `signerd`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from signerd.adapters.cli.app import build_app, exit_for

if TYPE_CHECKING:
    from signerd.config import Config


def _run(config: Config, base: Path, announce: Callable[[str], None]) -> None:
    from signerd.wiring import run  # noqa: PLC0415 -- the daemon's parts take a second to load

    run(config, base, announce)


def main() -> None:
    """Runs a command and ends the process with its exit code."""
    try:
        build_app(_run)()
    except Exception as error:  # what `exit_for` does not know it raises again
        raise SystemExit(exit_for(error)) from error


if __name__ == "__main__":
    main()
