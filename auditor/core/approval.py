"""Approvals by administrators: each verified by what stands in the log alone.

Where administrators are asked, an `action_approved` entry stands right before each entry of `ACTIONS`: with
the text that was signed, which holds the very members of the entry that follows, and the signatures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from auditor.core.entry import ActionApproved, AdministratorsSet
from auditor.core.forms import Administrator
from auditor.core.ssh_signature import check_signature
from auditor.errors import Malformed

ACTIONS = frozenset(
    {
        "administrators_set",
        "product_added",
        "order_opened",
        "share_given",
        "chips_personalized",
        "identities_imported",
        "revoked",
        "issuer_added",
        "issuer_activated",
        "issuer_retired",
        "keys_committed",
        "checkpoint_key_added",
        "checkpoint_key_retired",
        "log_succeeded",
    }
)
MAX_VALID = timedelta(days=90)
MAX_STATEMENT = 24_576  # bytes
_MAX_DEPTH = 16  # levels of lists and objects in a value
_TITLE = "Birthmark approval, form 1"
_HEADER = {"action", "deployment", "emergency", "expires", "inputs_sha256", "log", "request"}
_ANY_ENTRY = ("v", "type", "id", "time", "by")  # members that no approval is about


@dataclass(frozen=True, slots=True)
class Statement:
    """What was signed: its header, and a block for each entry, as JSON."""

    header: Mapping[str, Any]
    entries: tuple[Mapping[str, Any], ...]


def read_statement(text: str) -> Statement:
    """Reads the text, which has one form. Raises Malformed."""
    if len(text) > MAX_STATEMENT or not text.isascii() or not text.endswith("\n"):
        raise Malformed("is too long, not ASCII, or without an end")
    title, *blocks = text[:-1].split("\n\n")
    if title != _TITLE or len(blocks) < 2:  # a header and an entry
        raise Malformed("has another title, or no entry")
    header, *entries = [_block(block) for block in blocks]
    if header.keys() != _HEADER:
        raise Malformed("has other names in its first block")
    return Statement(header, tuple(entries))


def _block(block: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    try:
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            members[name] = json.loads(value)
        again = "\n".join(f"{name}: {json.dumps(members[name], sort_keys=True)}" for name in sorted(members))
    except (ValueError, RecursionError) as error:
        raise Malformed("has a line that is not `name: value`") from error
    if again != block or any(map(_deep, members.values())):
        raise Malformed("is not in its one form")
    return members


def _deep(value: object) -> bool:
    """True beyond a bound of our own. Python's differs from version to version."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        lists = [
            each.values() if isinstance(each, dict) else each
            for each in level
            if isinstance(each, (dict, list))
        ]
        level = [inner for each in lists for inner in each]
    return bool(level)


def problems(
    entry: ActionApproved, asked: AdministratorsSet | None, deployment: str, vkey: str
) -> Iterator[str]:
    """What is wrong with an approval, as it stands in the log."""
    if asked is None or asked.threshold == 0:
        yield "an approval where nobody is asked"
        return
    try:
        statement = read_statement(entry.statement)
        expires = _time(statement.header["expires"])
    except Malformed as error:
        yield f"what was signed {error}"
        return
    header = statement.header
    for name, found in (
        ("deployment", deployment),
        ("log", vkey),
        ("action", entry.action),
        ("request", entry.request.hex()),
    ):
        if header[name] != found:
            yield f"what was signed names another {name}"
    if not entry.time < expires <= entry.time + MAX_VALID + timedelta(minutes=2):
        yield "it was used when it was not valid"
    if entry.part >= len(statement.entries):
        yield "what was signed has fewer entries"
    emergency = header["emergency"] is True
    if emergency and entry.action != "revoked":
        yield "an emergency that is no revocation"
    yield from _signatures(entry, asked, deployment, needed=1 if emergency else asked.threshold)


def _signatures(
    entry: ActionApproved, asked: AdministratorsSet, deployment: str, *, needed: int
) -> Iterator[str]:
    names = [each.administrator for each in entry.signatures]
    if len(set(names)) != len(names) or len(names) < needed:
        yield f"{len(set(names))} administrators signed, and {needed} are needed"
    namespace = f"birthmark-approval-v1@{deployment}"
    for each in entry.signatures:
        keys = [key for key in asked.administrators if key.name == each.administrator]
        try:
            counter = _check(each.sshsig, keys, entry.statement.encode(), namespace)
        except Malformed as error:
            yield f"the signature of {each.administrator} {error}"
            continue
        if counter != each.counter:
            yield f"another counter than the security key of {each.administrator} signed"


def _check(sshsig: bytes, keys: list[Administrator], message: bytes, namespace: str) -> int | None:
    """The counter that its security key signed. Raises Malformed: none of the keys signed it as it should."""
    failed = Malformed("is of nobody who is asked")
    for administrator in keys:
        try:
            touch = check_signature(sshsig, administrator.key, message, namespace)
        except Malformed as error:
            failed = error
            continue
        if administrator.verify_required and (touch is None or not touch.verified):
            failed = Malformed("is of a security key that did not ask for PIN or fingerprint")
            continue
        return None if touch is None else touch.counter
    raise failed


def approved_members(entry: ActionApproved) -> str | None:
    """The members that the next entry must have, in one form; None where what was signed has none."""
    try:
        entries = read_statement(entry.statement).entries
    except Malformed:
        return None
    return one_form(entries[entry.part]) if entry.part < len(entries) else None


def one_form(members: Mapping[str, Any]) -> str:
    """Members of an entry, without those that each entry has, so that they can be compared."""
    told = {name: value for name, value in members.items() if name not in _ANY_ENTRY}
    return json.dumps(told, sort_keys=True)


def _time(value: Any) -> datetime:
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (TypeError, ValueError) as error:
        raise Malformed("has no time to expire") from error
