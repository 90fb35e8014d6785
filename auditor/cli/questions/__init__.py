"""The commands that ask the kept state: one module a question."""

from __future__ import annotations

from collections.abc import Callable

from auditor.cli.questions.missing import missing

QUESTIONS = (missing,)


def register(command: Callable[[], Callable[[Callable[..., None]], Callable[..., None]]]) -> None:
    """Adds them to the program."""
    for question in QUESTIONS:
        command()(question)
