"""Who stands in the ledger when nobody is named: the user who calls, where the ledger can hold the name."""

from __future__ import annotations

import pytest

from signerd.adapters.cli.options import administrator, named
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
