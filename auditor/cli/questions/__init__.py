"""The commands that ask the kept state: one module a question."""

from __future__ import annotations

from collections.abc import Callable

from auditor.cli.questions.chips import chips
from auditor.cli.questions.doubt import doubt
from auditor.cli.questions.missing import missing
from auditor.cli.questions.orders import orders
from auditor.cli.questions.stations import stations
from auditor.cli.questions.who import who

QUESTIONS: tuple[Callable[..., None], ...] = (missing, orders, doubt, stations, who, chips)


def register(command: Callable[[], Callable[[Callable[..., None]], Callable[..., None]]]) -> None:
    """Adds them to the program."""
    for question in QUESTIONS:
        command()(question)
