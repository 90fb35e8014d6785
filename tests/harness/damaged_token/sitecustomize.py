"""Loaded by Python at the start of a key holder whose PYTHONPATH names this folder: its token's signatures
are damaged while a file in DAMAGED_TOKEN says so.

    certificates, checkpoints    how many more, as a number; "always" for all

`harness.damaging` sets it up.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from signerd.adapters.keyholder import token

_ASKED = Path(os.environ["DAMAGED_TOKEN"])


def _damaged(kind: str, signature: bytes) -> bytes:
    file = _ASKED / kind
    left = file.read_text(encoding="ascii") if file.exists() else "0"
    if left == "0":
        return signature
    if left != "always":
        file.write_text(str(int(left) - 1), encoding="ascii")
    # As a module does whose buffer was never filled: the right length, and nothing in it.
    return bytes(len(signature)) if kind == "checkpoints" else bytes.fromhex("3006020100020100")


def _damage(kind: str, key: Any) -> None:
    sign = key.sign
    key.sign = lambda self, message: _damaged(kind, sign(self, message))


_damage("certificates", token.CaKey)
_damage("checkpoints", token.CheckpointKey)
