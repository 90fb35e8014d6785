"""`make demo TOKEN=piv`: the demo's boards, with signerd's keys on YubiKeys in software."""

from __future__ import annotations

import sys

import pytest

from harness.process import REPOSITORY, run
from tokens import presence, yubikey


@pytest.mark.soak
def test_the_demo_on_yubikeys() -> None:
    presence.skip(yubikey.missing())
    said = run([sys.executable, "-m", "demo.run", "--token", "piv"], directory=REPOSITORY / "tests")
    assert "sealed to 2 tokens" in said
    assert "All checks hold" in said
