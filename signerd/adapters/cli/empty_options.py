"""No option is taken without its value: `--site "$SITE"` of a script that never set SITE is a mistake.

    app = typer.Typer(cls=NothingEmpty)

agent, auditor and signerd each have this module, and a test holds the three equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperGroup


class NothingEmpty(TyperGroup):
    """A program that takes no empty value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `TyperGroup`. All that was typed passes here, before any of it is read."""
        _refuse_empty(args)
        return super().parse_args(ctx, args)


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Raises BadParameter, which names the option."""
    for before, argument in pairwise(("", *arguments)):
        option, equals, value = argument.partition("=")
        if not argument:
            named = before if before.startswith("-") else "an argument"
            raise typer.BadParameter(f"{named} must not be empty")
        if option.startswith("--") and equals and not value:
            raise typer.BadParameter(f"{option} must not be empty")
