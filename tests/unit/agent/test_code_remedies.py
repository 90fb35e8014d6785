"""No code reaches an operator without a remedy: signerd's, the board's, those of ports and bundles."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import errors
from agent.adapters.drivers import smp_messages
from agent.code_remedies import REMEDIES
from agent.errors import AgentError, BoardError, LineError

ROOT = Path(__file__).parents[3]
PROTOCOL = (ROOT / "docs" / "board-protocol.md").read_text(encoding="utf-8")
ERRORS = PROTOCOL.partition("\n## Errors\n")[2].partition("\n## ")[0]
# Where the code is among the arguments, and which further argument is the remedy (None: by its name alone).
RAISED = {"BoardError": (0, None), "LineError": (0, None), "LabelError": (0, None), "WorkerError": (1, 3)}
RAISED |= {"LineBrokenError": (0, 2), "BundleMismatch": (0, 0)}  # the last has one for all


def unremedied() -> Iterator[tuple[str, str]]:
    """Each place that raises a code and says no remedy, with the code."""
    for path in sorted((ROOT / "agent").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            place, remedy = RAISED.get(node.func.id, (len(node.args), None))
            said = any(word.arg == "remedy" for word in node.keywords)
            if place < len(node.args) and not said and (remedy is None or remedy >= len(node.args)):
                code = node.args[place]
                if isinstance(code, ast.Constant):
                    yield str(code.value), f"{path.name}:{node.lineno}"


def has_a_code_of_its_own(kind: type[AgentError]) -> bool:
    """True unless whoever raises it says the code; ConfigError, which has none on a line, is its own text."""
    asked = inspect.signature(kind).parameters
    return "code" not in asked and kind is not errors.ConfigError


FOUND = sorted(set(unremedied()))


def test_each_wrong_setting_comes_with_a_remedy() -> None:
    calls = [
        (f"{path.name}:{node.lineno}", any(word.arg == "remedy" for word in node.keywords))
        for path in sorted((ROOT / "agent").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"ConfigError", "NotedError"}
    ]
    assert len(calls) > 60
    assert [place for place, has_one in calls if not has_one] == []


def test_places_were_found() -> None:
    assert {"keygen_failed", "wrong_digest", "stamp_differs", "verify_differs"} <= {code for code, _ in FOUND}


@pytest.mark.parametrize(("code", "place"), FOUND)
def test_a_code_that_is_raised_without_a_remedy_has_one(code: str, place: str) -> None:
    assert REMEDIES.get(code), f"{place}: {code}"


def test_each_error_of_the_board_protocol_has_a_remedy() -> None:
    named = re.findall(r"^\| \d+ \| `([a-z_]+)` \|", ERRORS, re.MULTILINE)
    assert set(smp_messages.ERROR_NAMES.values()) == set(named)
    for code in named:
        assert BoardError(code, "the board said so").remedy


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, AgentError) and has_a_code_of_its_own(kind)
    ],
    ids=lambda kind: kind.__name__,
)
def test_no_class_of_errors_is_without(kind: type[AgentError]) -> None:
    """Those with a code of their own say their remedy themselves."""
    given: dict[str, Any] = {"delay_s": 3.0, "seconds": 3.0}
    made: Any = kind
    asked = inspect.signature(kind).parameters.values()
    error = made(**{one.name: given.get(one.name, "why") for one in asked if one.default is one.empty})
    assert error.remedy


@pytest.mark.parametrize("text", sorted(set(REMEDIES.values())))
def test_remedies_are_short(text: str) -> None:
    """One or two sentences that say what the operator does; a table cuts what is longer."""
    assert text.endswith((".", "?"))
    assert len(re.findall(r"[.?](?: |$)", text)) <= 2
    assert len(text) <= 160
    assert ";" not in text


def test_what_an_error_says_itself_comes_first() -> None:
    assert BoardError("keygen_failed", "why", remedy="Do this.").remedy == "Do this."
    assert LineError("no_answer", "why").remedy == REMEDIES["no_answer"]
