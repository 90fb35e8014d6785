"""opencryptoki's software token, as OpenSC sees it: beside another one, lost and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import ProgramError, run
from tokens import opencryptoki, presence
from tokens.opencryptoki import OpencryptokiToken

pytestmark = pytest.mark.check
_PLACES = ("/var/lib/opencryptoki/swtok", "/var/lock/opencryptoki", "/run")


@pytest.fixture
def token() -> Iterator[OpencryptokiToken]:
    presence.skip(opencryptoki.missing())
    with OpencryptokiToken() as found:
        yield found


def _seen(token: OpencryptokiToken, *arguments: str) -> str:
    command = ["pkcs11-tool", "--module", token.module, "--token-label", token.label]
    command += ["--login", "--pin", token.pin, *arguments]
    return run(command, environment={**os.environ, **token.environment})


def _on_the_machine() -> set[Path]:
    """What opencryptoki has at its places outside."""
    return {
        each
        for place in _PLACES
        for each in Path(place).glob("*")
        if "pkcsslotd" in each.name or "LCK" in each.name or "TOK" in each.name
    }


def test_two_are_apart_and_neither_touches_the_machine(token: OpencryptokiToken) -> None:
    before = _on_the_machine()
    _seen(token, "--keypairgen", "--key-type", "rsa:2048", "--label", "ca")
    with OpencryptokiToken() as other:
        _seen(other, "--keypairgen", "--key-type", "rsa:2048", "--label", "other")
        assert "other" not in _seen(token, "--list-objects")
        assert "other" in _seen(other, "--list-objects")
        left = other.directory.name
    assert "ca" in _seen(token, "--list-objects")
    assert not [each for each in Path("/dev/shm").iterdir() if left in each.name]
    assert _on_the_machine() == before


def test_is_lost_and_returns(token: OpencryptokiToken) -> None:
    _seen(token, "--keypairgen", "--key-type", "rsa:2048", "--label", "ca")
    token.stop()
    with pytest.raises(ProgramError):
        _seen(token, "--list-objects")
    token.start()
    assert "ca" in _seen(token, "--list-objects")
