"""Readers of what a log publishes: receipts with their checkpoints, and bundles of entries."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from birthmark.proof import ProofError, TileTree, parse_vkey, require_cosignatures, verify_receipt
from harness.paper_tiles import files_of

_CASES = Path(__file__).parents[1] / "vectors" / "receipts" / "receipts.jsonl"
_ENTRIES = [b"entry %d" % number for number in range(5)]
_FILES = files_of(_ENTRIES)
(_BUNDLE,) = (path for path in _FILES if "entries" in path)


def _cases() -> list[dict[str, Any]]:
    return [json.loads(line) for line in _CASES.read_text("utf-8").splitlines()]


_KEYS = [parse_vkey(text) for text in {text for case in _cases() for text in case["log_vkeys"]}]
_WITNESSES = [parse_vkey(text) for text in {text for case in _cases() for text in case["witness_vkeys"]}]


def receipt(data: bytes) -> None:
    """With every key that the cases know."""
    with contextlib.suppress(ProofError):
        verified = verify_receipt(data, b"entry", _KEYS)
        require_cosignatures(verified.checkpoint, _WITNESSES, at_least=1)


def bundle(data: bytes) -> None:
    """In the place of a tree's only bundle."""
    tree = TileTree(len(_ENTRIES), (_FILES | {_BUNDLE: data}).get)
    with contextlib.suppress(ProofError):
        assert len(list(tree.entries())) == len(_ENTRIES)


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "receipt": (receipt, lambda: [case["receipt"].encode() for case in _cases()]),
    "bundle-of-entries": (bundle, lambda: [_FILES[_BUNDLE]]),
}
