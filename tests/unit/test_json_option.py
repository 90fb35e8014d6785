"""Each command that prints a result prints it for machines too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from agent.adapters.cli.app import app as agent
from auditor.cli.app import app as auditor
from signerd.adapters.cli.app import build_app

PROGRAMS = {"birthmark-agent": agent, "birthmark-auditor": auditor, "signerd": build_app(lambda *_: None)}
RESULT_IS_ELSEWHERE = {"signerd run", "signerd key-holder run"}  # daemons: their logs are JSON lines


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """typer has classes of its own for what click has."""
    if hasattr(command, "commands"):
        for sub, each in command.commands.items():
            yield from commands(each, f"{name} {sub}")
    else:
        yield name, command


EVERY = dict(pair for name, app in PROGRAMS.items() for pair in commands(get_command(app), name))


@pytest.mark.parametrize("name", sorted(EVERY.keys() - RESULT_IS_ELSEWHERE))
def test_it_has_the_option(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in EVERY[name].params)
