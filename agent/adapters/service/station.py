"""What the service does: `run`, without a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.adapters.cli import boards
from agent.adapters.cli.options import exit_code
from agent.adapters.service import failures
from agent.config import Config, load
from agent.errors import AgentError

_MARGIN_S = 25.0


def longest_stop_s(config: Config) -> float:
    """How long the station may take to stop: for boards under way, the last results, and itself."""
    return config.timeouts.stop_s + config.results.command_timeout_s + _MARGIN_S


def run(path: Path, order: str, on_config: Callable[[Config], object]) -> int:
    """Runs the station until it is told to stop. Returns the exit code of `run`; never raises.

    Args:
        path: of agent.toml. Why it ended by itself stands in `service.log` beside it.
        order: the work order.
        on_config: called with what stands in agent.toml.
    """
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        if sys.stdout is None:  # a service has none
            sys.stdout = sys.stderr = nowhere
        try:
            config = load(path)
            on_config(config)
            return boards.run(config, (), order, count=None, once=False, as_json=True)
        except Exception as error:  # noqa: BLE001 -- whatever it is, somebody will ask why the station is not there
            with suppress(OSError):  # the exit code is told all the same
                failures.record(path.parent, error)
            return exit_code(error) if isinstance(error, AgentError) else 1
