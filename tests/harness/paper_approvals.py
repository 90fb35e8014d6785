"""Approvals in a paper log: administrators who are asked, statements, and what they sign."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from harness.approvals import Administrators
from harness.paper_log import DEPLOYMENT, PaperLog, vkey
from signerd.core.approval.administrators import namespace_of
from signerd.core.approval.sshsig import read_signature
from signerd.core.approval.statement import Statement

PEOPLE = Administrators.of(DEPLOYMENT, 2, "ann", "bob", "carol")
PRODUCT = {"product": "other", "product_sha256": "11" * 32}


def ask(log: PaperLog, people: Administrators = PEOPLE, verify: frozenset[str] = frozenset()) -> int:
    members = [
        {"name": name, "key": signer.public_text, "verify_required": name in verify}
        for name, signer in sorted(people.signers.items())
    ]
    return log.append("administrators_set", threshold=people.threshold, administrators=members)


def statement_of(log: PaperLog, action: str, *entries: dict[str, Any], **changes: Any) -> Statement:
    values: dict[str, Any] = {
        "deployment": DEPLOYMENT,
        "log": vkey(log.log_key),
        "action": action,
        "request": secrets.token_bytes(16),
        "expires": log.now.replace(microsecond=0) + timedelta(days=7),
        "entries": entries,
        "inputs": (None,) * len(entries),
    }
    return Statement(**values | changes)


def signed(people: Administrators, text: bytes, name: str) -> dict[str, Any]:
    signature = read_signature(people.sign(text, name)[0])
    touch = signature.verify(text, namespace_of(people.deployment))
    counter = None if touch is None else touch.counter
    return {"administrator": name, "sshsig": base64.b64encode(signature.blob).decode(), "counter": counter}


def approve(
    log: PaperLog,
    statement: Statement,
    *names: str,
    people: Administrators = PEOPLE,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    text = statement.text()
    members = {
        "action": statement.action,
        "request": statement.request.hex(),
        "part": 0,
        "statement": text.decode("ascii"),
        "signatures": [signed(people, text, name) for name in names],
    }
    return log.append("action_approved", **members | dict(changes))
