"""Receipts that outsiders can test an implementation with (docs/formats.md, "Receipts"), and ours passes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from birthmark.proof import (
    ProofError,
    Reason,
    cosignatures,
    open_checkpoint,
    parse_vkey,
    require_cosignatures,
    verify_receipt,
)
from harness.receipt_vectors import made

FOLDER = Path(__file__).parents[2] / "vectors" / "receipts"
FILE = FOLDER / "receipts.jsonl"
CASES = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]


def _verify(case: dict[str, Any]) -> None:
    log, witnesses = ([parse_vkey(text) for text in case[which]] for which in ("log_vkeys", "witness_vkeys"))
    verified = verify_receipt(case["receipt"].encode(), case["entry"].encode(), log)
    require_cosignatures(verified.checkpoint, witnesses, case["at_least"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_receipt_is_accepted_or_refused_for_its_reason(case: dict[str, Any]) -> None:
    if case["accept"]:
        _verify(case)
        return
    with pytest.raises(ProofError) as raised:
        _verify(case)
    assert raised.value.reason is Reason(case["reason"])


def test_the_file_is_what_its_script_makes() -> None:
    assert FILE.read_text("utf-8") == made()


def test_the_cases_have_names_of_their_own_and_every_reason() -> None:
    assert max(Counter(case["name"] for case in CASES).values()) == 1
    assert {case["reason"] for case in CASES} == {
        None,
        *(reason.value for reason in Reason if reason is not Reason.MISSING),  # of tiles
    }


def test_a_checkpoint_that_others_signed_and_cosigned_is_read() -> None:
    made = json.loads((FOLDER / "cosigned-by-go.json").read_text("utf-8"))
    log, witness = parse_vkey(made["log_vkey"]), parse_vkey(made["witness_vkey"])
    checkpoint = open_checkpoint(made["checkpoint"].encode(), [log])
    assert [(one.witness, one.time) for one in cosignatures(checkpoint, [witness])] == [
        (witness, made["time"])
    ]
    doctored = made["checkpoint"].encode().replace(b"AABrDbWC", b"AABrDbWD")
    with pytest.raises(ProofError):
        cosignatures(open_checkpoint(doctored, [log]), [witness])
