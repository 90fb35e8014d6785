"""The text that administrators sign: the ledger entries that their action is to leave, for them to read.

    Birthmark approval, form 1

    action: "order_opened"
    deployment: "acme"
    emergency: false
    expires: "2026-12-06T12:00:00Z"
    inputs_sha256: ["…"]
    log: "acme.example/log+1c5d3c8b+Ab…"
    request: "0f…"

    level: "key"
    product: "sensor"
    quantity: 500
    …

One text for one meaning: lines `name: value`, sorted in each block, values JSON in ASCII. `parse_statement`
takes exactly what `text` gives. What it says is bound whole. `request` is random, so that two requests are
never one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from signerd.core.approval.errors import ApprovalError

FORM = 1
MAX_STATEMENT = 24_576  # bytes: with its signatures it is to fit into a ledger entry
MAX_PARTS = 100  # entries in one statement
REQUEST_BYTES, DIGEST_BYTES = 16, 32
EMERGENCY: Final = "revoked"  # the one action that one administrator may approve
_TITLE = f"Birthmark approval, form {FORM}"
_MAX_DEPTH = 16  # levels of lists and objects in a value; entries have four at most
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HEADER = ("action", "deployment", "emergency", "expires", "inputs_sha256", "log", "request")
_TIME = "%Y-%m-%dT%H:%M:%SZ"

Members = Mapping[str, Any]
"""An entry's members without `v`, `type`, `id`, `time` and `by`, as JSON has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What is to be done, in which installation, until when."""

    deployment: str
    log: str  # the log's verifier key: another installation of the same name has another one
    action: str  # the type of the entries
    request: bytes
    expires: datetime  # aware, UTC, whole seconds
    entries: tuple[Members, ...]
    inputs: tuple[bytes | None, ...]  # of each entry, SHA-256 of what the command is given, such as a file
    emergency: bool = False

    def text(self) -> bytes:
        """The text to be signed. Raises ApprovalError where it would be too long."""
        header = {
            "action": self.action,
            "deployment": self.deployment,
            "emergency": self.emergency,
            "expires": self.expires.astimezone(UTC).strftime(_TIME),
            "inputs_sha256": [None if each is None else each.hex() for each in self.inputs],
            "log": self.log,
            "request": self.request.hex(),
        }
        blocks = [_TITLE, *map(_block, (header, *self.entries))]
        text = ("\n\n".join(blocks) + "\n").encode("ascii")
        if len(text) > MAX_STATEMENT:
            raise ApprovalError(
                f"what administrators would sign has {len(text)} bytes, more than {MAX_STATEMENT}: split it"
            )
        return text


def parse_statement(text: bytes) -> Statement:
    """Reads what `Statement.text` gave.

    Raises:
        ApprovalError: it is not such a text, to the byte.
    """
    if len(text) > MAX_STATEMENT:
        raise ApprovalError(f"a text of {len(text)} bytes, more than {MAX_STATEMENT}")
    try:
        title, *blocks = text.decode("ascii").removesuffix("\n").split("\n\n")
        header, *entries = [_members(block) for block in blocks]
        statement = _statement(header, tuple(entries))
        canonical = title == _TITLE and statement.text() == text
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ApprovalError("it is no request for approval, or was changed") from error
    if not canonical:
        raise ApprovalError("it is no request for approval, or was changed: not in its one form")
    return statement


def stale(statement: Statement, now: Sequence[Members]) -> str:
    """How the entries that the action would leave now differ from the statement's; empty: not at all."""
    if len(now) != len(statement.entries):
        return f"{len(now)} entries, and not {len(statement.entries)}"
    for approved, current in zip(statement.entries, now, strict=True):
        for name in sorted(approved.keys() | current.keys()):
            if approved.get(name) != current.get(name):
                return f"{name} is now {_value(current.get(name))}, and not {_value(approved.get(name))}"
    return ""


def _statement(header: dict[str, Any], entries: tuple[Members, ...]) -> Statement:
    if tuple(header) != _HEADER or not 1 <= len(entries) <= MAX_PARTS:
        raise ApprovalError("it is no request for approval")
    if not isinstance(header["emergency"], bool) or (header["emergency"] and header["action"] != EMERGENCY):
        raise ApprovalError(f"an emergency is said of `{EMERGENCY}` alone")
    for name in ("action", "deployment", "log"):
        if not isinstance(header[name], str):
            raise ApprovalError(f"{name} is no text")
    inputs = tuple(None if each is None else bytes.fromhex(each) for each in header["inputs_sha256"])
    request = bytes.fromhex(header["request"])
    if len(request) != REQUEST_BYTES or any(
        each is not None and len(each) != DIGEST_BYTES for each in inputs
    ):
        raise ApprovalError("request or inputs_sha256 is not of its form")
    if len(inputs) != len(entries):
        raise ApprovalError("inputs_sha256 is not one for each entry")
    return Statement(
        deployment=header["deployment"],
        log=header["log"],
        action=header["action"],
        request=request,
        expires=datetime.strptime(header["expires"], _TIME).replace(tzinfo=UTC),
        entries=entries,
        inputs=inputs,
        emergency=header["emergency"],
    )


def _block(members: Members) -> str:
    return "\n".join(f"{name}: {_value(members[name])}" for name in sorted(members))


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True)


def _members(block: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for line in block.split("\n"):
        name, colon, value = line.partition(": ")
        if not colon or _NAME.fullmatch(name) is None or name in members:
            raise ApprovalError("a line is not `name: value`")
        members[name] = json.loads(value, parse_float=_no_number, parse_constant=_no_number)
        _check_depth(members[name])
    return members


def _check_depth(value: object) -> None:
    """A bound of our own: how deep Python's parser goes differs from version to version."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        lists = [
            each.values() if isinstance(each, dict) else each
            for each in level
            if isinstance(each, (dict, list))
        ]
        level = [inner for each in lists for inner in each]
        if not level:
            return
    raise ApprovalError("a value is nested too deep")


def _no_number(text: str) -> object:
    raise ApprovalError(f"{text[:40]} is no whole number")
