"""Each command that prints a result prints it for machines too."""

from __future__ import annotations

import pytest

from harness.commands import EVERY

RESULT_IS_ELSEWHERE = {"signerd run", "signerd key-holder run"}  # daemons: their logs are JSON lines


@pytest.mark.parametrize("name", sorted(EVERY.keys() - RESULT_IS_ELSEWHERE))
def test_it_has_the_option(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in EVERY[name].params)
