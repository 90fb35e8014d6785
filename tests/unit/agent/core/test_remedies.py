"""Every code of docs/formats.md has a verdict and a remedy; what is not a code is never believed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.core.remedies import error_for
from agent.errors import Refused, SignerUnavailable, Verdict

FORMATS = Path(__file__).parents[4] / "docs" / "formats.md"
NOT_FOR_STATIONS = {"not_found", "already_exists", "invalid", "approval_required", "approval_invalid"}
CODES = [
    code
    for code in re.findall(
        r"^\| `([a-z_]+)` \| [A-Z_]+ \|", FORMATS.read_text(encoding="utf-8"), re.MULTILINE
    )
    if code not in NOT_FOR_STATIONS
]


def test_the_table_was_found() -> None:
    assert len(CODES) > 20


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_remedy(code: str) -> None:
    error = error_for(code)
    assert error.remedy
    assert "different versions" not in error.remedy
    if code in {"rate_limited", "unavailable", "clock_wrong"}:
        assert isinstance(error, SignerUnavailable)
    else:
        assert isinstance(error, Refused)
        assert error.code == code


@pytest.mark.parametrize("code", ["granted", "", "a" * 100, "line\nbreak"])
def test_what_is_no_code(code: str) -> None:
    error = error_for(code)
    assert isinstance(error, Refused)
    assert error.verdict is Verdict.REJECT
    assert error.code in {"granted", "unknown_code"}
