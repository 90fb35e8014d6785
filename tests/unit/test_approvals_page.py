"""Which actions ask administrators stands in three places that say the same: signerd, the auditor, and
docs/approvals.md. The page gives each entry of an administrator a row, so that a new one is thought about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auditor.core.approval import ACTIONS as AUDITORS
from birthmark.v1 import admin_pb2
from signerd.core.approval.actions import ACTIONS
from signerd.core.entry import ActionApproved, AdministratorsEntry, ClockAccepted, LogOpened

PAGE = (Path(__file__).parents[2] / "docs" / "approvals.md").read_text("utf-8")
NOBODYS = {LogOpened.type, ActionApproved.type}  # the first entry, and the approval itself


def entries_of(header: str) -> list[str]:
    """What the second column of the table under this header names."""
    table = PAGE.partition(f"{header}\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [name for row in table for name in re.findall(r"`([^`]+)`", row.split("|")[2])]


def kinds(base: type[Any]) -> Iterator[str]:
    for kind in base.__subclasses__():
        yield kind.type
        yield from kinds(kind)


def test_the_page_says_which_actions_ask() -> None:
    assert sorted(entries_of("| needs an approval | entry |")) == sorted(ACTIONS)


def test_the_auditor_asks_for_the_same() -> None:
    assert AUDITORS == ACTIONS


def test_each_action_can_be_put_to_administrators() -> None:
    actions = admin_pb2.PrepareApprovalRequest.Action.DESCRIPTOR.fields
    assert len(actions) == len(ACTIONS - {"log_succeeded"})  # put by its command, while signerd is stopped
    assert all(each.message_type and "approval" in each.message_type.fields_by_name for each in actions)


def test_every_other_entry_of_an_administrator_has_its_reason() -> None:
    known = {*kinds(AdministratorsEntry), ClockAccepted.type} - NOBODYS
    silent = entries_of("| action | entry | why it asks nobody |")
    assert len(silent) == len(set(silent))
    assert set(silent) == known - ACTIONS
