"""Every command of the three programs explains itself in one voice: the third person, in whole sentences. An
option that all have reads the same everywhere."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from harness.commands import EVERY, PROGRAMS

DOES = re.compile(r"[A-Z][a-z]+s ")  # Lists, Signs
SENTENCE = re.compile(r"([A-Z0-9]|signerd|[a-z-]+[:,]|birthmark:).*\.", re.DOTALL)
SAME = {"--json": "Prints JSON, for machines."}


def texts(command: Any) -> Iterator[tuple[str, str]]:
    """The name and the help of each option and argument."""
    for parameter in command.params:
        if "--help" not in parameter.opts:
            yield parameter.opts[0], getattr(parameter, "help", None) or ""


def test_there_are_commands_of_all_three() -> None:
    assert len(EVERY) > 80
    assert {name.split()[0] for name in EVERY} == set(PROGRAMS)


@pytest.mark.parametrize("name", sorted(EVERY))
def test_a_command_says_what_it_does(name: str) -> None:
    first = (EVERY[name].help or "").partition("\n\n")[0].replace("\n", " ").strip()
    assert DOES.match(first), first
    assert first.endswith("."), first
    assert ";" not in first, first


@pytest.mark.parametrize("name", sorted(EVERY))
def test_each_option_of_a_command_has_a_sentence(name: str) -> None:
    said = dict(texts(EVERY[name]))
    assert [option for option, text in said.items() if not SENTENCE.fullmatch(text)] == []


@pytest.mark.parametrize("option", sorted(SAME))
def test_an_option_that_all_have_reads_the_same(option: str) -> None:
    said = defaultdict(list)
    for name, command in EVERY.items():
        for each, text in texts(command):
            if each == option:
                said[text].append(name)
    assert all(text.startswith(SAME[option]) or SAME[option][:-1] in text for text in said), said
