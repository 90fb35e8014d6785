"""Somebody's word on a finding: why it stands, and who says so (docs/formats.md, "Acknowledgements").

    text = statement(finding, found_at, origin=..., reason=..., by=..., key=..., at=...)
    said = read_statement(text)

The statement holds the whole finding, so a signature over it cannot be moved to another one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import rfc8785

from auditor.core.findings import Finding
from auditor.core.forms import time_text
from auditor.core.ssh_signature import check_signature
from auditor.errors import Malformed

MAX_REASON = 1_000  # characters
_MEMBERS = {"v", "log", "finding", "reason", "by", "key", "at"}


def namespace(deployment: str) -> str:
    """What `ssh-keygen -Y sign` is told with `-n`."""
    return f"birthmark-acknowledgement-v1@{deployment}"


def statement(
    finding: Finding, found_at: datetime, *, origin: str, reason: str, by: str, key: str, at: datetime
) -> bytes:
    """The text that is signed, in its one form (RFC 8785). `key`: algorithm and key as in a `.pub` file;
    empty where nobody signs."""
    return rfc8785.dumps(
        {
            "v": 1,
            "log": origin,
            "finding": {
                "code": finding.code.value,
                "detail": finding.detail,
                "entry": None if finding.index is None else str(finding.index),
                "serial_number": finding.serial_number,
                "expected": finding.expected,
                "found": finding.found,
                "found_at": time_text(found_at),
            },
            "reason": reason,
            "by": by,
            "key": key,
            "at": time_text(at),
        }
    )


def read_statement(text: bytes) -> Mapping[str, Any]:
    """What it says. Raises Malformed."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Malformed("is no acknowledgement") from error
    if not isinstance(value, dict) or value.keys() != _MEMBERS or value["v"] != 1:
        raise Malformed("is no acknowledgement of form 1")
    return value


def signer(text: bytes, signature: bytes, deployment: str) -> str | None:
    """The key that signed it, as in a `.pub` file; None where nobody signed. Raises Malformed."""
    key = str(read_statement(text)["key"])
    if not signature and not key:
        return None
    check_signature(signature, key, text, namespace(deployment))
    return key
