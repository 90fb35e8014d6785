"""What is kept of the entries of boards: the highest place in each order, and revocations."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Any

import pytest
import rfc8785

from signerd.core.state import boards
from signerd.core.state.boards import Boards, Revocation, Revocations
from signerd.core.state.values import StateError

NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)


def issued(order: str, number: int, **members: Any) -> bytes:
    entry = {"type": "issued", "work_order": order, "number": number, "versions": {"signerd": "1"}, **members}
    return rfc8785.dumps(entry)


def revocation(number: int, reason: str = "superseded") -> Revocation:
    digest = hashlib.sha256(number.to_bytes(4, "big")).digest()
    return Revocation(digest, 2**159 - number, NOW, reason)


def test_the_highest_place_of_each_order_is_kept() -> None:
    kept = Boards()
    for order, number in (("WO-1", 1), ("WO-2", 7), ("WO-1", 3), ("WO-1", 2)):
        kept.issued(issued(order, number))
    assert kept.highest == {"WO-1": 3, "WO-2": 7}


def test_what_a_board_says_moves_no_place() -> None:
    """Names of components are the board's word, and their versions are texts."""
    kept = Boards()
    words = {"number": "1", "work_order": "WO-9", "type": "revoked"}
    locks = {"number": True, "work_order": False}
    kept.issued(issued("WO-1", 5, measured=words, claims={"firmware": {}, "security_state": locks}))
    assert kept.highest == {"WO-1": 5}
    with pytest.raises(StateError):
        kept.issued(rfc8785.dumps({"type": "issued", "measured": words}))


def test_revocations_are_given_back_as_they_came() -> None:
    kept, wanted = Revocations(), [revocation(number, "ab"[number % 2]) for number in range(500)]
    for each in wanted:
        kept.add(each)
    assert list(kept) == wanted
    assert all(kept.hold(each.certificate_sha256) for each in wanted)
    assert not any(kept.hold(secrets.token_bytes(32)) for _ in range(500))
    assert not Revocations().hold(bytes(32))


def test_revocations_are_found_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "_UNSORTED", 16)
    kept, wanted = Revocations(), [revocation(number) for number in range(100)]
    for count, each in enumerate(wanted, 1):
        kept.add(each)
        assert all(kept.hold(known.certificate_sha256) for known in wanted[:count])
        assert not any(kept.hold(other.certificate_sha256) for other in wanted[count:])


def test_an_entry_is_read_as_a_revocation() -> None:
    kept = Boards()
    members = {
        "type": "revoked",
        "time": "2026-11-15T12:00:00Z",
        "certificate_sha256": revocation(1).certificate_sha256.hex(),
        "certificate_serial": f"{revocation(1).certificate_serial:040x}",
        "reason": "superseded",
    }
    kept.revoked(members)
    assert list(kept.revocations) == [revocation(1)]
    for name, wrong in (
        ("certificate_sha256", "00"),
        ("certificate_serial", "xx"),
        ("certificate_serial", "ff" * 33),
        ("time", "yesterday"),
        ("reason", None),
    ):
        with pytest.raises(StateError):
            Boards().revoked({key: value for key, value in (members | {name: wrong}).items() if value})
