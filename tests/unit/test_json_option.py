"""Each command that prints a result prints it for machines too."""

from __future__ import annotations

import pytest

from harness.commands import EVERY

# Daemons: their logs are JSON lines.
RESULT_IS_ELSEWHERE = {"signerd run", "signerd key-holder run", "birthmark-auditor witness run"}


@pytest.mark.parametrize("name", sorted(EVERY.keys() - RESULT_IS_ELSEWHERE))
def test_it_has_the_option(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in EVERY[name].params)
