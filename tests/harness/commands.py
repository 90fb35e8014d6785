"""Every command of the three programs, as typer has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from agent.adapters.cli.app import app as agent
from auditor.cli.app import app as auditor
from signerd.adapters.cli.app import build_app

PROGRAMS = {"birthmark-agent": agent, "birthmark-auditor": auditor, "signerd": build_app(lambda *_: None)}


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """typer has classes of its own for what click has. Groups are no commands that do something."""
    if hasattr(command, "commands"):
        for sub, each in command.commands.items():
            yield from _commands(each, f"{name} {sub}")
    else:
        yield name, command


EVERY = dict(pair for name, app in PROGRAMS.items() for pair in _commands(get_command(app), name))
"""By its whole name, for example `signerd order open`."""
