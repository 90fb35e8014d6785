"""An option with an empty value, as of a script's variable that was never set, is refused by its name, in
each command of the three programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

import agent.adapters.cli
import auditor.cli
import signerd.adapters.cli
from harness.commands import EVERY, PROGRAMS

COMMANDS: dict[str, Any] = {name: get_command(app) for name, app in PROGRAMS.items()}


def options(command: Any) -> Iterator[str]:
    """Those that take a value, by each of their names."""
    for parameter in command.params:
        if parameter.param_type_name == "option" and not parameter.is_flag:
            yield from parameter.opts


def refusal(name: str, *arguments: str) -> str:
    """What the program says of it; empty if it takes it."""
    program, *words = name.split()
    try:
        COMMANDS[program].main([*words, *arguments], prog_name=program, standalone_mode=False)
    except typer.BadParameter as error:
        return str(error.message)
    return ""


@pytest.mark.parametrize("name", sorted(EVERY))
def test_each_option_refuses_an_empty_value(name: str) -> None:
    for option in options(EVERY[name]):
        assert refusal(name, option, "") == f"{option} must not be empty"
        assert not option.startswith("--") or refusal(name, f"{option}=") == f"{option} must not be empty"


def test_there_are_options_of_all_three() -> None:
    assert {name.split()[0] for name, command in EVERY.items() if list(options(command))} == set(PROGRAMS)


def test_an_empty_argument() -> None:
    assert refusal("birthmark-agent replay", "") == "an argument must not be empty"


def test_who_gives_a_command_is_not_empty() -> None:
    assert refusal("signerd", "--by", "", "status") == "--by must not be empty"


def test_an_equals_sign_within_a_value_is_part_of_it() -> None:
    for given in (("--order", "a="), ("--order=a=",)):
        assert refusal("birthmark-agent run", *given).startswith("1 to 64 of")


def test_the_modules_are_one_text() -> None:
    packages = (agent.adapters.cli, auditor.cli, signerd.adapters.cli)
    texts = {Path(str(each.__file__)).with_name("empty_options.py").read_text("utf-8") for each in packages}
    assert len(texts) == 1
