"""Who stands in the ledger when nobody is named: the user who calls, where the ledger can hold the name."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from signerd.adapters.cli.options import PinOption, administrator, named
from signerd.errors import Code, Refused


@pytest.mark.parametrize("user", ["ann", "ann@plant1.example", "svc_signerd-1"])
def test_the_user_who_calls(monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    monkeypatch.setenv("SUDO_USER", user)
    assert administrator() == user


@pytest.mark.parametrize("user", [r"PLANT\ann", "ann smith", "anné", "x" * 65])
def test_a_name_that_the_ledger_cannot_hold_is_answered_with_the_option(
    monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    monkeypatch.setenv("SUDO_USER", user)
    with pytest.raises(Refused, match="--by") as refused:
        administrator()
    assert refused.value.code is Code.INVALID


@pytest.mark.parametrize("by", ["", "a b", "x" * 65, "ann\n", "a\x00"])
def test_a_name_that_is_given_must_be_one_that_the_ledger_can_hold(by: str) -> None:
    assert named("ann") == "ann"
    with pytest.raises(Refused, match="--by") as refused:
        named(by)
    assert refused.value.code is Code.INVALID


@pytest.mark.parametrize(
    ("given", "seen"),
    [("file:pin", "file:/desk/pin"), ("file:/etc/pin", "file:/etc/pin"), ("prompt", "prompt"), (None, None)],
)
def test_a_pin_is_read_from_the_folder_at_hand(
    monkeypatch: pytest.MonkeyPatch, given: str | None, seen: str | None
) -> None:
    """Of every command that takes --pin for this time, whatever the settings' folder is."""
    monkeypatch.setattr(Path, "absolute", lambda path: Path("/desk") / path)
    _, option = get_args(PinOption)
    assert option.callback(given) == seen
